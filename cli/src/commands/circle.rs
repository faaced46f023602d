//! invite, join, circle, conflicts.

use std::io::{self, BufRead, IsTerminal};

use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::args::{CircleArgs, CircleCommand, CircleSetArgs, InviteArgs, JoinArgs, MemberArgs};
use crate::control::routes::{
    Circle, CircleOrder, Conflict, Guest, Invitation, InviteOrder, Member, MemberClass, MemberWish, Nothing, Route,
    VolumeQuestion,
};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::circle::join;
use crate::node::harden;
use crate::output::Table;
use crate::terminal;
use crate::text::size;

use super::session::Session;

/// The longest code has 22 letters; more is none.
const CODE_BYTES_MAX: u64 = 64;

/// Prints a code and waits for whoever uses it.
pub(super) fn invite(session: &mut Session, args: InviteArgs) -> Outcome<()> {
    let output = session.output;
    let guest = args.guest;
    let order = InviteOrder { guest, founder: wish(args.member)? };
    let member: Member = session.stream("invite", Route::Invite, &order, |invitation: Invitation| {
        if output.json {
            return output.json_line(&invitation);
        }
        output.text(&format!("code  {}", invitation.code))?;
        let addresses: Vec<String> = invitation.addresses.iter().map(ToString::to_string).collect();
        output.remark(format!("  on the other machine   cairn join {}", addresses.join(" ")));
        let minutes = invitation.seconds / 60;
        output.remark(format!("  it asks for the code, which is good for {minutes} minutes and one machine"));
        if guest == Guest::Device {
            output.remark("  whoever uses it gets the key to all your volumes: only for a machine of yours");
        }
        Ok(())
    })?;
    output.value(&member, |member| format!("{} has joined", member.name))
}

/// Joins with a code.
pub(super) fn join(session: &mut Session, args: JoinArgs) -> Outcome<()> {
    if session.running_node()?.is_some() {
        return Err(Failure::new(Kind::Refused, "the node of this machine is running")
            .hint("`cairn down` ends it; then join, and `cairn up` again"));
    }
    harden::keep_memory_private();
    let wish = wish(args.member)?;
    let code = read_code()?;
    let joined = join::join(&session.settings, &args.addresses, &code, &wish)?;
    session
        .output
        .value(&joined, |joined| format!("this machine is {} in a circle of {}", joined.name, joined.members))?;
    if joined.kept_own_key {
        session.output.remark(
            "  this machine has volumes of its own, so it keeps its own key: the other machine's volumes are not here.\n  \
             For those, join with an empty --data-dir",
        );
    }
    if joined.has_volumes {
        session
            .output
            .remark("  your volumes are here too: `cairn up` mounts them; files are fetched when they are read");
    } else {
        session.output.remark("  `cairn up --detach` keeps it in the circle");
    }
    Ok(())
}

/// What this machine is to be in the circle.
fn wish(args: MemberArgs) -> Outcome<MemberWish> {
    let name = match args.name {
        Some(name) => name,
        None => host_name()?,
    };
    let zone = args.zone.unwrap_or_else(|| name.clone());
    Ok(MemberWish { name, zone, capacity: args.capacity })
}

fn host_name() -> Outcome<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
    match name.is_empty() {
        false => Ok(name),
        true => Err(Failure::new(Kind::Usage, "this machine has no host name").hint("say what to call it: --name")),
    }
}

/// The code from the terminal, or from standard input. It is typed where it can be seen: it is worth nothing once used.
fn read_code() -> Outcome<Zeroizing<String>> {
    use io::{Read, Write};
    if io::stdin().is_terminal() {
        eprint!("The code: ");
        io::stderr().flush()?;
    }
    let mut text = Zeroizing::new(String::with_capacity(CODE_BYTES_MAX as usize));
    let read = io::stdin().lock().take(CODE_BYTES_MAX).read_line(&mut text);
    read.map_err(|error| Failure::from(error).while_("reading the code"))?;
    Ok(text)
}

/// Shows the circle, or changes it.
pub(super) fn circle(session: &mut Session, args: CircleArgs) -> Outcome<()> {
    let circle: Circle = match args.command {
        None => session.call(Route::Circle, &Nothing {})?,
        Some(CircleCommand::Set(args)) => {
            let CircleSetArgs { member, name, zone, capacity, class } = args;
            let order = CircleOrder::Set { member, name, zone, capacity, class };
            session.call(Route::CircleChange, &order)?
        }
        Some(CircleCommand::Remove(args)) => {
            let asked = format!(
                "Remove {} for good? What it was given it keeps: nobody can take back a key, or blocks, that it has.",
                args.member
            );
            terminal::confirm(&asked, args.yes)?;
            session.call(Route::CircleChange, &CircleOrder::Remove { member: args.member })?
        }
    };
    let output = session.output;
    circle.remarks.iter().for_each(|remark| output.remark(remark));
    output.value(&circle, circle_text)
}

fn circle_text(circle: &Circle) -> String {
    let Some(id) = &circle.circle else {
        return "this node is in no circle: `cairn invite` makes one, `cairn join` gets into another".to_owned();
    };
    let mut table = Table::new(&["member", "role", "state", "ping", "stores", "zone", "class", "where"]).right(&[3, 4]);
    for member in &circle.members {
        let ping = member.round_trip_ms.map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
        let place = match (&member.trouble, member.addresses.first()) {
            (Some(trouble), _) if member.state == "away" => trouble.clone(),
            (_, Some(address)) => address.to_string(),
            (_, None) => String::new(),
        };
        table.row([
            member.name.clone(),
            member.role.clone(),
            member.state.clone(),
            ping,
            size(member.capacity),
            member.zone.clone(),
            word(member.class),
            place,
        ]);
    }
    let mut text = table.render();
    for member in circle.members.iter().filter(|member| !member.strikes.is_empty()) {
        text.push_str(&format!("{} misbehaves: {}\n", member.name, member.strikes.join("; ")));
    }
    for copy in &circle.copies {
        let state = match (&copy.trouble, copy.is_whole) {
            (Some(trouble), _) => format!("not everything is here: {trouble}"),
            (None, true) => "everything is here".to_owned(),
            (None, false) => format!("being copied, {} blocks so far", copy.fetched),
        };
        text.push_str(&format!("volume {}: {state}\n", copy.volume));
    }
    text.push_str(&format!("circle {id}, epoch {}\n", circle.epoch));
    text
}

/// What a class is called where it is typed.
fn word(class: MemberClass) -> String {
    class.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Lists what two devices changed at once.
pub(super) fn conflicts(session: &mut Session) -> Outcome<()> {
    let output = session.output;
    let question = VolumeQuestion { volume: session.settings.volume.clone() };
    let mut found: Vec<Conflict> = Vec::new();
    let Nothing {} = session.stream("conflicts", Route::Conflicts, &question, |conflict| {
        found.push(conflict);
        Ok(())
    })?;
    if found.is_empty() && !output.json {
        output.remark("no conflicts");
        return Ok(());
    }
    output.rows(&found, |found| {
        let mut table = Table::new(&["kept", "beside it"]);
        found.iter().for_each(|conflict| table.row([conflict.path.shown(), conflict.sibling.shown()]));
        table
    })
}
