//! What can be typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::SettingFlags;
use crate::control::routes::{Guest, MemberClass};
use crate::errors::EXIT_CODES;

/// Cairn: a folder whose every byte is encrypted, addressed by its content and kept in history.
#[derive(Debug, Parser)]
#[command(
    name = "cairn",
    version,
    // `-V` names the volume.
    disable_version_flag = true,
    about,
    after_help = "First use: `cairn up` mounts ~/Cairn. `cairn help COMMAND` explains one command.",
    disable_help_subcommand = false,
    infer_subcommands = false,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Print version
    #[arg(long = "version", action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Print JSON: one value, or one value per line for lists
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress and no remarks
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
}

/// The commands, in the order of the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the node and mount the volume at ~/Cairn; Ctrl-C unmounts
    ///
    /// On the first use this makes the node: a key in the data directory and an empty store. Nothing is asked.
    Up(UpArgs),
    /// Unmount everything and end the node
    ///
    /// What was written and can't be saved, on a full disk say, keeps the node from ending.
    Down(DownArgs),
    /// Show what is mounted, what is stored, and whether it is well
    ///
    /// With `--json` also what was done since the start, in counts: `mounts[].requests` of the kernel by kind;
    /// `volumes[].activity`, the chunks, parked runs, tree nodes, journal records and flushes that were written;
    /// `store.activity`, the bytes appended to the log, syncs, and blocks read.
    Status,
    /// Mount a volume at a directory
    Mount(MountArgs),
    /// Unmount a directory, or with --all everything
    Umount(UmountArgs),
    /// Copy files and directories into the volume
    ///
    /// Keeps modes, owners, times, extended attributes, links and holes. Into a directory that exists, each source keeps
    /// its name; otherwise the one source gets the target's name. Missing directories are made.
    Put(PutArgs),
    /// Copy files and directories out of the volume
    Get(GetArgs),
    /// List a directory of the volume
    Ls(LsArgs),
    /// Print files of the volume
    Cat(CatArgs),
    /// Keep the volume as it is now under a name
    Snapshot(SnapshotArgs),
    /// List the snapshots, or the states of one path
    History(HistoryArgs),
    /// Show what changed between two snapshots, or since one
    Diff(DiffArgs),
    /// Bring a path back as it was in a snapshot
    Restore(RestoreArgs),
    /// Take back what changed since the last snapshot; a second undo takes back the first
    Undo(UndoArgs),
    /// Forget snapshots; `cairn gc` then gives their room back
    ///
    /// Only what no other snapshot and nothing in the volume shares is lost. It can't be taken back.
    Forget(ForgetArgs),
    /// Check that everything the volumes need is there and whole
    Check(CheckArgs),
    /// Remove blocks that nothing needs any more
    Gc(GcArgs),
    /// Say where a file is and how safe it is, or what needs a block
    Why(WhyArgs),
    /// Let another machine into the circle: prints a code that is good for one of them
    ///
    /// Makes the circle if there is none yet. Waits until the other machine has joined, or the code is too old.
    Invite(InviteArgs),
    /// Join a circle with the code that `cairn invite` printed on another machine
    ///
    /// The code is asked for, or read from standard input.
    Join(JoinArgs),
    /// Show who is in the circle and how they are, or change that
    Circle(CircleArgs),
    /// List what two devices changed at the same time, with both versions
    Conflicts,
    /// Look for what keeps the node from working on this machine
    Doctor,
    /// Look after the node's key: passphrase, recovery phrase
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print every setting, its value and where that came from
    Config(ConfigArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Write the man pages into a directory
    Man(ManArgs),
    /// Print the node's structures
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Print the version
    Version,
    /// List the exit codes
    #[command(after_help = exit_codes_text())]
    ExitCodes,
    /// Run the node in the background; started by whichever command needs it
    #[command(hide = true)]
    Daemon,
}

/// See [`Command::Up`].
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Mount here instead of ~/Cairn
    #[arg(long, value_name = "DIR")]
    pub(crate) at: Option<PathBuf>,
    /// Leave the node running in the background
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// See [`Command::Mount`].
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    /// The volume (`main` unless given), then the directory
    #[arg(num_args = 1..=2, required = true, value_names = ["VOLUME", "MOUNTPOINT"])]
    pub(crate) what: Vec<OsString>,
    /// Mount options: ro, noexec, noatime, allow_other, deadline=SECONDS, max_read=BYTES
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<String>,
}

/// See [`Command::Down`].
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// End even if something can't be saved: it is lost then
    #[arg(long)]
    pub(crate) force: bool,
}

/// See [`Command::Invite`].
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// Whom to let in
    pub(crate) guest: Guest,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
}

/// What a node is in the circle, where it founds or joins one.
#[derive(Debug, Clone, Args)]
pub(crate) struct MemberArgs {
    /// What to call this machine in the circle; its host name unless given
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What this machine fails together with: a house, a provider; its own name unless given
    #[arg(long)]
    pub(crate) zone: Option<String>,
    /// How much it stores for others, such as 200G
    #[arg(long, value_name = "SIZE", value_parser = size_argument, default_value = "10G")]
    pub(crate) capacity: u64,
}

fn size_argument(text: &str) -> Result<u64, String> {
    crate::text::parse_size(text).ok_or_else(|| "it is not a size such as 200G".to_owned())
}

/// See [`Command::Join`].
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Where the other machine is, as its `cairn invite` printed it: ADDRESS:PORT
    #[arg(required = true, value_name = "ADDRESS")]
    pub(crate) addresses: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
}

/// See [`Command::Circle`].
#[derive(Debug, Args)]
pub(crate) struct CircleArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CircleCommand>,
}

/// Changes of a circle; an owner of it may make them.
#[derive(Debug, Subcommand)]
pub(crate) enum CircleCommand {
    /// Change what a member is
    Set(CircleSetArgs),
    /// Remove a member for good: its key never gets in again
    ///
    /// What it was given before it keeps: a device that had the key to your volumes can still open the blocks that it
    /// has.
    Remove(CircleRemoveArgs),
}

/// See [`CircleCommand::Set`].
#[derive(Debug, Args)]
pub(crate) struct CircleSetArgs {
    /// The member
    pub(crate) member: String,
    /// What it is called from now on
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it fails together with
    #[arg(long)]
    pub(crate) zone: Option<String>,
    /// How much it stores for others
    #[arg(long, value_name = "SIZE", value_parser = size_argument)]
    pub(crate) capacity: Option<u64>,
    /// Whether it is mostly on
    #[arg(long, value_enum)]
    pub(crate) class: Option<MemberClass>,
}

/// See [`CircleCommand::Remove`].
#[derive(Debug, Args)]
pub(crate) struct CircleRemoveArgs {
    /// The member
    pub(crate) member: String,
    /// Don't ask on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// See [`Command::Umount`].
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// What to unmount
    #[arg(value_name = "MOUNTPOINT", required_unless_present = "all")]
    pub(crate) place: Option<PathBuf>,
    /// Unmount everything of this node
    #[arg(long, conflicts_with = "place")]
    pub(crate) all: bool,
}

/// See [`Command::Put`].
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// What to copy
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<PathBuf>,
    /// Where to, in the volume
    #[arg(required = true, value_name = "PATH")]
    pub(crate) target: OsString,
}

/// See [`Command::Get`].
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to copy: PATH or PATH@SNAPSHOT
    #[arg(required = true, value_name = "PATH")]
    pub(crate) sources: Vec<OsString>,
    /// Where to, on this machine
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) at: AtArg,
}

/// Which state of the volume is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct AtArg {
    /// Look into this snapshot: its name, label, number or time
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) at: Option<String>,
}

/// See [`Command::Ls`].
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// What to list: PATH or PATH@SNAPSHOT
    #[arg(default_value = "/", value_name = "PATH")]
    pub(crate) path: OsString,
    /// Modes, owners, sizes and times as well
    #[arg(long, short)]
    pub(crate) long: bool,
    /// Everything below it as well
    #[arg(long, short = 'R')]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) at: AtArg,
}

/// See [`Command::Cat`].
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// What to print: PATH or PATH@SNAPSHOT
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
    #[command(flatten)]
    pub(crate) at: AtArg,
}

/// See [`Command::Snapshot`].
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// What to call it; a snapshot with a name is kept until it is removed
    pub(crate) label: Option<String>,
}

/// See [`Command::Forget`].
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Snapshots by name, label or number
    #[arg(value_name = "SNAPSHOT", required_unless_present = "automatic")]
    pub(crate) snapshots: Vec<String>,
    /// All that were made by themselves, but for the newest
    #[arg(long)]
    pub(crate) automatic: bool,
}

/// See [`Command::History`].
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The path; the whole volume unless given
    #[arg(default_value = "/", value_name = "PATH")]
    pub(crate) path: OsString,
    /// Show the newest so many
    #[arg(long, short = 'n', default_value_t = 100)]
    pub(crate) limit: usize,
}

/// See [`Command::Diff`].
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The older snapshot
    pub(crate) from: String,
    /// The newer one; now unless given
    pub(crate) to: Option<String>,
    /// Only below this path
    #[arg(long, default_value = "/")]
    pub(crate) path: OsString,
}

/// See [`Command::Restore`].
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// What to bring back: PATH@SNAPSHOT, or PATH with --at
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Put it here instead of where it was
    #[arg(long, value_name = "PATH")]
    pub(crate) to: Option<OsString>,
    #[command(flatten)]
    pub(crate) at: AtArg,
}

/// See [`Command::Undo`].
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// Don't ask on a terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// See [`Command::Check`].
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read and verify every byte as well
    #[arg(long)]
    pub(crate) data: bool,
    /// Mend what can be mended
    #[arg(long)]
    pub(crate) repair: bool,
}

/// See [`Command::Gc`].
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Only say what would go
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

/// See [`Command::Why`].
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// PATH or PATH@SNAPSHOT
    #[arg(value_name = "PATH", required_unless_present_any = ["block", "blocks"])]
    pub(crate) path: Option<OsString>,
    #[command(flatten)]
    pub(crate) at: AtArg,
    /// Say what needs this block (bafkr4i…)
    #[arg(long, value_name = "ID", conflicts_with_all = ["path", "blocks"])]
    pub(crate) block: Option<String>,
    /// Say of every block in the store what needs it
    #[arg(long, conflicts_with = "path")]
    pub(crate) blocks: bool,
}

/// See [`Command::Key`].
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Say where the key is and how it is locked
    Show,
    /// Lock the key with a passphrase, change it, or take it away
    #[command(subcommand)]
    Passphrase(PassphraseCommand),
    /// Print the 24 words that restore everything
    Phrase(PhraseArgs),
    /// Make the key again from the 24 words, read from the terminal or standard input
    ///
    /// With the store's directory copied to the data directory, everything is back.
    Restore(KeyRestoreArgs),
}

/// See [`KeyCommand::Passphrase`].
#[derive(Debug, Subcommand)]
pub(crate) enum PassphraseCommand {
    /// Lock an open key
    Set(NewPassphraseArgs),
    /// Lock with another passphrase
    Change(NewPassphraseArgs),
    /// Leave the key open to whoever can read the file
    Remove,
}

/// A new passphrase.
#[derive(Debug, Args)]
pub(crate) struct NewPassphraseArgs {
    /// A file whose first line is the new passphrase; asked for on the terminal unless given ('-': standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
}

/// See [`KeyCommand::Phrase`].
#[derive(Debug, Args)]
pub(crate) struct PhraseArgs {
    /// Don't ask before showing the words
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// See [`KeyCommand::Restore`].
#[derive(Debug, Args)]
pub(crate) struct KeyRestoreArgs {
    #[command(flatten)]
    pub(crate) new: NewPassphraseArgs,
    /// Ask for a passphrase for the new key
    #[arg(long)]
    pub(crate) passphrase: bool,
}

/// See [`Command::Config`].
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Print only where the configuration file is looked for
    #[arg(long)]
    pub(crate) path: bool,
}

/// See [`Command::Completions`].
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// See [`Command::Man`].
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where the pages go
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

/// See [`Command::Debug`].
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Print one structure: heads, deltas, store, or a block by its id
    Show {
        /// heads, deltas, store, or a block's id (bafkr4i…)
        what: String,
    },
}

/// `mount.fuse.cairn SOURCE MOUNTPOINT [-o OPTIONS]`: what mount(8) calls.
#[derive(Debug, Parser)]
#[command(name = "mount.fuse.cairn", version, about = "Mount a Cairn volume; called by mount(8) for `-t fuse.cairn`")]
pub(crate) struct MountHelper {
    /// The volume's name
    pub(crate) source: OsString,
    /// Where
    pub(crate) mount_point: PathBuf,
    /// ro, allow_other, data_dir=DIR, passphrase_file=FILE; what only mount(8) needs is ignored
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = ',')]
    pub(crate) options: Vec<OsString>,
    /// Mount without asking to be in mtab
    #[arg(short = 'n', hide = true)]
    pub(crate) no_mtab: bool,
    /// Tolerate options that aren't known
    #[arg(short = 's', hide = true)]
    pub(crate) sloppy: bool,
    /// Say more
    #[arg(short = 'v', hide = true)]
    pub(crate) verbose: bool,
    /// Only pretend
    #[arg(short = 'f', hide = true)]
    pub(crate) fake: bool,
    /// The type as mount(8) repeats it
    #[arg(short = 't', hide = true)]
    pub(crate) kind: Option<String>,
}

/// The table of exit codes for people.
pub(crate) fn exit_codes_text() -> String {
    let rows = EXIT_CODES.iter().map(|(_, code, meaning)| format!("  {code:>3}  {meaning}\n"));
    format!("Exit codes:\n    0  done\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        MountHelper::command().debug_assert();
    }

    #[test]
    fn no_two_arguments_share_a_letter() {
        // clap checks this where it is built with debug assertions, which releases and their tests are not.
        let mut command = Cli::command();
        command.build();
        let mut letters: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_short).collect();
        let count = letters.len();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), count, "{letters:?}");
        let shown = Cli::try_parse_from(["cairn", "--version"]).expect_err("it prints and ends");
        assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayVersion);
    }

    #[test]
    fn put_takes_its_last_argument_as_the_target() {
        let parsed = Cli::try_parse_from(["cairn", "put", "a", "b", "/c"]).expect("valid");
        match parsed.command {
            Command::Put(put) => assert_eq!((put.sources.len(), put.target), (2, "/c".into())),
            other => panic!("{other:?}"),
        }
        assert!(Cli::try_parse_from(["cairn", "put", "a"]).is_err());
    }

    #[test]
    fn a_setting_can_stand_before_and_after_the_command() {
        for line in [["cairn", "--volume", "x", "status"], ["cairn", "status", "--volume", "x"]] {
            let parsed = Cli::try_parse_from(line).expect("valid");
            assert_eq!(parsed.common.settings.volume, Some("x".into()));
        }
    }

    #[test]
    fn no_argument_has_the_name_of_a_setting() {
        // clap keeps both under one name, and only finds out when the command runs.
        let command = Cli::command();
        let settings: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
        for below in command.get_subcommands() {
            for arg in below.get_arguments() {
                assert!(!settings.contains(arg.get_id()), "{} of {}", arg.get_id(), below.get_name());
            }
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let name = arg.get_long().unwrap_or_default();
                let takes_value = arg.get_action().takes_values();
                let secret = ["passphrase", "password", "phrase", "key", "secret"].contains(&name);
                assert!(!(secret && takes_value), "--{name} of {} would put a secret into argv", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
