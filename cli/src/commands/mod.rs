//! What each command does on the client's side: ask, print, end with a code.

mod about;
mod care;
mod circle;
mod content;
mod doctor;
mod history;
mod key;
mod mount;
mod node;
mod session;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command, MountHelper};
use crate::config::Settings;
use crate::errors::{Failure, Kind, Outcome};
use crate::output::Output;
use session::Session;

/// Names of the binary under which it is mount(8)'s helper.
const HELPER_NAMES: [&str; 2] = ["mount.fuse.cairn", "mount.cairn"];

/// Runs what was typed and reports how it ended.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let name = arguments.first().and_then(|argument| Path::new(argument).file_name()).map(OsStr::to_owned);
    if name.is_some_and(|name| HELPER_NAMES.iter().any(|helper| name == *helper)) {
        return match MountHelper::try_parse_from(arguments) {
            Ok(helper) => report(mount::helper(&helper), Output { json: false, quiet: false }),
            Err(error) => usage(&error),
        };
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let output = Output { json: cli.common.json, quiet: cli.common.quiet };
            report(run(cli, output), output)
        }
        Err(error) => usage(&error),
    }
}

/// A command line that can't be understood has the code of the table; help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard output has no place to say so.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Kind::Usage.exit_code()) } else { ExitCode::SUCCESS }
}

fn report(outcome: Outcome<()>, output: Output) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `cairn cat … | head`: the reader has what it wanted.
        Err(failure) if is_closed_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.exit()
        }
    }
}

fn is_closed_pipe(failure: &Failure) -> bool {
    failure.kind == Kind::Interrupted && failure.message.starts_with("Broken pipe")
}

fn run(cli: Cli, output: Output) -> Outcome<()> {
    // What needs no settings works with broken ones.
    match &cli.command {
        Command::Completions(args) => return about::completions(args.shell),
        Command::Man(args) => return about::man(&args.directory),
        Command::Version => return about::version(output),
        Command::ExitCodes => return about::exit_codes(output),
        _ => {}
    }
    let settings = Settings::find(&cli.common.settings, &|name| std::env::var_os(name))?;
    let mut session = Session::new(settings, output);
    match cli.command {
        Command::Up(args) => node::up(&mut session, args),
        Command::Down(args) => node::down(&mut session, &args),
        Command::Status => node::status(&mut session),
        Command::Daemon => node::daemon(&session),
        Command::Mount(args) => mount::mount(&mut session, args),
        Command::Umount(args) => mount::umount(&mut session, args),
        Command::Put(args) => content::put(&mut session, args),
        Command::Get(args) => content::get(&mut session, args),
        Command::Ls(args) => content::ls(&mut session, args),
        Command::Cat(args) => content::cat(&mut session, args),
        Command::Snapshot(args) => history::snapshot(&mut session, args),
        Command::History(args) => history::history(&mut session, args),
        Command::Diff(args) => history::diff(&mut session, args),
        Command::Restore(args) => history::restore(&mut session, args),
        Command::Undo(args) => history::undo(&mut session, &args),
        Command::Forget(args) => history::forget(&mut session, args),
        Command::Check(args) => care::check(&mut session, &args),
        Command::Gc(args) => care::gc(&mut session, &args),
        Command::Why(args) => care::why(&mut session, args),
        Command::Debug(args) => care::debug(&mut session, args),
        Command::Invite(args) => circle::invite(&mut session, args),
        Command::Join(args) => circle::join(&mut session, args),
        Command::Circle(args) => circle::circle(&mut session, args),
        Command::Conflicts => circle::conflicts(&mut session),
        Command::Doctor => doctor::doctor(&mut session),
        Command::Key(args) => key::key(&mut session, args),
        Command::Config(args) => about::config(&session, &args),
        Command::Completions(_) | Command::Man(_) | Command::Version | Command::ExitCodes => Ok(()),
    }
}
