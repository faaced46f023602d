//! up, down, status, and the node's own process.

use std::io::IsTerminal;
use std::path::Path;

use crate::args::{DownArgs, UpArgs};
use crate::config::Settings;
use crate::control::client::ClientError;
use crate::control::routes::{DownOrder, MountOrder, MountStatus, Mounted, Nothing, Route, Status};
use crate::errors::{Failure, Outcome};
use crate::node::keyfile::KeyFile;
use crate::node::lifecycle::Announcement;
use crate::node::log;
use crate::node::passphrase::Passphrase;
use crate::node::{self, harden};
use crate::output::Table;
use crate::text::{Name, duration, size};

use super::session::{Session, absolute};

/// Starts the node, mounts the volume and says where things are.
pub(super) fn up(session: &mut Session, args: UpArgs) -> Outcome<()> {
    if let Some(at) = args.at {
        session.settings.mount_point = absolute(&at)?.to_path();
    }
    let order = order(session);
    let first_use = !session.data_dir().key_file().exists();
    if args.detach || session.running_node()?.is_some() {
        let mounted: Mounted = session.call(Route::Mount, &order)?;
        return announce(session, &mounted, first_use, Some("`cairn down` unmounts and ends the node"));
    }
    harden::keep_memory_private();
    log::to_standard_error(&session.settings)?;
    let passphrase = match KeyFile::read(&session.data_dir().key_file())? {
        Some(key) if key.is_locked() => Passphrase::obtain(session.settings.passphrase_file.as_deref())?,
        _ => None,
    };
    // Somebody looks at it: it ends when it is told to, and not because nothing is mounted for a while.
    let settings = Settings { idle_exit: None, ..session.settings.clone() };
    node::run(&settings, passphrase.as_ref(), |node| {
        announce(session, &node.mount(order)?, first_use, Some("Ctrl-C unmounts and ends"))
    })
}

fn order(session: &Session) -> MountOrder {
    MountOrder {
        volume: session.settings.volume.clone(),
        mount_point: Name::from(session.settings.mount_point.as_path()),
        options: mount_options(&session.settings),
    }
}

/// What the settings say about every mount.
pub(super) fn mount_options(settings: &Settings) -> Vec<String> {
    settings.allow_other.then(|| "allow_other".to_owned()).into_iter().collect()
}

fn announce(session: &Session, mounted: &Mounted, first_use: bool, end: Option<&str>) -> Outcome<()> {
    let output = session.output;
    output.value(mounted, |mounted| {
        let already = if mounted.already { " (it was already)" } else { "" };
        format!("{} is mounted at {}{already}", mounted.volume, mounted.mount_point.shown())
    })?;
    output.remark(format!("  data     {}", session.settings.data_dir.display()));
    output.remark("  history  in .snapshots/ of the mount; `cairn history` lists it, `cairn undo` goes back");
    if first_use {
        output.remark(
            "  key      made now: `cairn key phrase` shows the 24 words that restore everything. Write them down",
        );
        output.remark(
            "  note     one node: your data lives as long as this disk. Copy the data directory to keep it longer",
        );
    }
    if let Some(end) = end {
        output.remark(format!("  end      {end}"));
    }
    Ok(())
}

/// Ends the node; one that isn't running is down already.
pub(super) fn down(session: &mut Session, args: &DownArgs) -> Outcome<()> {
    let output = session.output;
    let Some(node) = session.running_node()? else {
        output.remark("the node isn't running");
        return Ok(());
    };
    // A node that can't say how it is can still be ended.
    let status = node.call::<Status>(Route::Status, &Nothing {}).ok();
    let process = node::Process::of(status.map_or(0, |status| status.pid));
    match node.call::<Nothing>(Route::Down, &DownOrder { force: args.force }) {
        Ok(Nothing {}) => {}
        Err(ClientError::Gone { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    node::wait_until_gone(process, &session.data_dir())?;
    output.remark(match args.force {
        false => "everything is unmounted and saved; the node has ended",
        true => "the node has ended; its log names what could not be saved",
    });
    Ok(())
}

/// Shows what the node says, or that it isn't there.
pub(super) fn status(session: &mut Session) -> Outcome<()> {
    let output = session.output;
    let data_dir = session.settings.data_dir.clone();
    let log_file = session.settings.log_file();
    match session.running_node()? {
        Some(node) => {
            let status: Status = node.call(Route::Status, &Nothing {})?;
            output.value(&status, |status| status_text(status, &log_file))
        }
        None => {
            let state = if session.data_dir().key_file().exists() { "stopped" } else { "new" };
            let stopped = serde_json::json!({ "state": state, "data_dir": Name::from(data_dir.as_path()) });
            output.value(&stopped, |_| match state {
                "new" => format!("state    new: nothing is in {} yet; `cairn up` starts", data_dir.display()),
                _ => format!("state    stopped\ndata     {}\nlog      {}", data_dir.display(), log_file.display()),
            })
        }
    }
}

fn status_text(status: &Status, log_file: &Path) -> String {
    let store = &status.store;
    let mut table = Table::bare();
    table.row(["state", &status.state]);
    for reason in &store.reasons {
        table.row(["", reason]);
    }
    for MountStatus { mounted, .. } in &status.mounts {
        table.row(["mounted", &format!("{} at {}", mounted.volume, mounted.mount_point.shown())]);
    }
    for volume in &status.volumes {
        let name =
            volume.name.as_deref().unwrap_or("(name not known here: `cairn mount NAME …` with its name finds it)");
        table.row(["volume", &format!("{name}  {}", volume.id)]);
    }
    let quota = store.quota_bytes.map(|quota| format!(", quota {}", size(quota))).unwrap_or_default();
    table.row([
        "store",
        &format!(
            "{}: {} blocks in {} of log, {} segments{quota}",
            store.state,
            store.blocks,
            size(store.log_bytes),
            store.segments
        ),
    ]);
    if store.dropped_bytes > 0 {
        // A record that was never durable and one that was damaged since look the same at the end of a log.
        table.row([
            "",
            &format!(
                "its log ended in {} that were not sound: cut off by a crash before they were durable, or damage",
                size(store.dropped_bytes)
            ),
        ]);
    }
    table.row(["disk", &format!("{} free", size(store.disk_free_bytes))]);
    table.row(["data", &status.data_dir.shown()]);
    table.row(["log", &log_file.display().to_string()]);
    table.row(["device", &status.device]);
    let uptime = duration(std::time::Duration::from_secs(status.uptime_seconds));
    table.row([
        "node",
        &format!(
            "version {}, process {}, up {uptime}, {} of memory",
            status.version,
            status.pid,
            size(status.resident_bytes)
        ),
    ]);
    table.render()
}

/// The node in the background: says on standard output whether it runs, and runs.
pub(super) fn daemon(session: &Session) -> Outcome<()> {
    harden::keep_memory_private();
    log::to_standard_error(&session.settings)?;
    // Fails for the leader of a process group, which then was started by hand and may stay where it is.
    let _ = rustix::process::setsid();
    let passphrase = if std::io::stdin().is_terminal() {
        None
    } else {
        Passphrase::read_line(std::io::stdin().lock())
            .map_err(|error| Failure::from(error).while_("reading the passphrase"))?
    };
    let mut ready = false;
    let ended = node::run(&session.settings, passphrase.as_ref(), |_| {
        Announcement::Ready.say();
        ready = true;
        Ok(())
    });
    if let Err(failure) = &ended {
        tracing::error!("{failure}");
        if !ready {
            Announcement::Failed(failure.clone()).say();
        }
    }
    ended
}
