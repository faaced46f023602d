//! Every error a person can meet: its kind, its hint, its exit code.
//!
//! The libraries say what happened; this file alone says what kind of failure that is for the person at the terminal,
//! what they can do about it, and which exit code a script sees. A failure travels over the control socket as the same
//! value, so that it reads the same whichever process met it.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use cairn_fs::changes::ChangesError;
use cairn_fs::collect::CollectError;
use cairn_fs::diff::DiffError;
use cairn_fs::mount::MountError;
use cairn_fs::reader::ReadError;
use cairn_fs::verify::CheckError;
use cairn_fs::{FsError, SweepError};
use cairn_store::StoreError;
use serde::{Deserialize, Serialize};

/// What helps against damage, from cheap to dear.
const DAMAGED_HINT: &str =
    "`cairn check --data` names every file it touches; a snapshot from before (`cairn history PATH`) may be whole";

/// What kind of failure it is; each has one exit code, listed in `cairn help exit-codes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The command ran, but some of what it was asked for failed, or a check found damage.
    Partial,
    /// The command line can't be understood.
    Usage,
    /// Bytes on the disk are not what they should be.
    Damaged,
    /// No such path, volume or snapshot.
    NotFound,
    /// The node isn't running, or didn't start.
    NotRunning,
    /// A bug of ours.
    Internal,
    /// The target exists, isn't empty, or is not fit for this.
    Refused,
    /// The disk or the kernel said no.
    Io,
    /// No space is left, on the disk or in the store's quota.
    Full,
    /// Someone else has it now; the same command may succeed later.
    Busy,
    /// Written by a newer version than this one.
    NewerVersion,
    /// A wrong passphrase, a key others can read, a file that isn't ours.
    Denied,
    /// The configuration is wrong.
    Config,
    /// Stopped by Ctrl-C or by the client going away.
    Interrupted,
}

/// Every kind, its exit code and what it means: the table of `cairn help exit-codes` and of the man page.
pub(crate) const EXIT_CODES: &[(Kind, u8, &str)] = &[
    (Kind::Partial, 1, "finished, but not with everything: each item that failed was named, or damage was found"),
    (Kind::Usage, 64, "the command line can't be understood"),
    (Kind::Damaged, 65, "bytes on the disk are not what they should be; nothing wrong was handed out"),
    (Kind::NotFound, 66, "no such path, volume or snapshot"),
    (Kind::NotRunning, 69, "the node isn't running, or didn't start"),
    (Kind::Internal, 70, "a bug in cairn"),
    (Kind::Refused, 73, "the target exists, isn't empty, or isn't fit for this"),
    (Kind::Io, 74, "the disk or the kernel refused"),
    (Kind::Full, 74, "no space is left on the disk or in the store's quota"),
    (Kind::Busy, 75, "in use by someone else now; the same command may succeed later"),
    (Kind::NewerVersion, 76, "written by a newer version of cairn"),
    (Kind::Denied, 77, "a wrong passphrase, a key file that others can read, a file that isn't yours"),
    (Kind::Config, 78, "the configuration is wrong"),
    (Kind::Interrupted, 130, "stopped by Ctrl-C"),
];

impl Kind {
    /// The process's exit code for this kind.
    pub(crate) fn exit_code(self) -> u8 {
        EXIT_CODES.iter().find(|(kind, _, _)| *kind == self).map_or(70, |(_, code, _)| *code)
    }
}

/// What a person sees when something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What kind it is.
    pub(crate) kind: Kind,
    /// What failed, by the person's own names.
    pub(crate) message: String,
    /// Why, outermost cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<String>,
    /// The command or change that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// The result of everything in this crate that a person asked for.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with a message and nothing else.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// With the command or change that helps.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done; what was the message becomes the first cause.
    pub(crate) fn while_(mut self, doing: impl fmt::Display) -> Self {
        let cause = std::mem::replace(&mut self.message, doing.to_string());
        self.causes.insert(0, cause);
        self
    }

    /// From a library's error: its message and its chain of sources.
    pub(crate) fn of(kind: Kind, error: &dyn Error) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many libraries repeat the source in their own message; once is enough.
            if !failure.message.contains(&text) && !failure.causes.contains(&text) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// The exit code of the process that reports this.
    pub(crate) fn exit(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

/// The kind and hint of an I/O error, by what the kernel said.
fn io_kind(error: &io::Error) -> (Kind, Option<&'static str>) {
    use io::ErrorKind as E;
    match error.kind() {
        E::NotFound => (Kind::NotFound, None),
        E::PermissionDenied => (Kind::Denied, None),
        E::StorageFull | E::QuotaExceeded => {
            (Kind::Full, Some("free some space: `cairn gc --dry-run` shows what the store could give back"))
        }
        E::AlreadyExists | E::DirectoryNotEmpty | E::NotADirectory | E::IsADirectory | E::ReadOnlyFilesystem => {
            (Kind::Refused, None)
        }
        E::ResourceBusy | E::TimedOut | E::WouldBlock => (Kind::Busy, None),
        E::Interrupted | E::BrokenPipe => (Kind::Interrupted, None),
        _ if error.raw_os_error() == Some(24) => (Kind::Io, Some("too many open files: raise `ulimit -n`")),
        _ => (Kind::Io, None),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let (kind, hint) = io_kind(&error);
        Self { hint: hint.map(str::to_owned), ..Self::of(kind, &error) }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        use crate::config::ConfigError as E;
        let hint = match &error {
            E::UnknownKey { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            E::UnknownKey { near: None, .. } => Some("`cairn config` lists every key".into()),
            E::Read { .. } | E::Syntax { .. } => {
                Some("`cairn config --path` prints where the file is looked for".into())
            }
            E::Value { .. } => Some("`cairn config` lists every key with the value in force".into()),
            E::NoHome => Some("set HOME, or pass --data-dir and --config".into()),
        };
        Self { hint, ..Self::of(Kind::Config, &error) }
    }
}

impl From<crate::node::keyfile::KeyFileError> for Failure {
    fn from(error: crate::node::keyfile::KeyFileError) -> Self {
        use crate::node::keyfile::KeyFileError as E;
        let (kind, hint) = match &error {
            E::Read { source, .. } | E::Write { source, .. } => {
                let (kind, hint) = io_kind(source);
                (kind, hint.map(str::to_owned))
            }
            E::OpenToOthers { path, .. } => (
                Kind::Denied,
                Some(format!(
                    "run `chmod 600 {}`; if others could have read it, move your data to a new key",
                    crate::text::shell_quoted(path)
                )),
            ),
            E::NotOurs { .. } => (Kind::Denied, Some("run as the owner of the file".into())),
            E::Newer { .. } => (Kind::NewerVersion, Some("install the newer version of cairn; nothing was changed".into())),
            E::Malformed { .. } => {
                (Kind::Damaged, Some("restore it from the 24 words: move the file away and run `cairn key restore`".into()))
            }
            E::WrongPassphrase { .. } => (
                Kind::Denied,
                Some("try again; if the passphrase is lost, the 24 words still open it: `cairn key restore`".into()),
            ),
            E::NeedsPassphrase { .. } => (
                Kind::Denied,
                Some("run `cairn up` on a terminal, or point --passphrase-file (CAIRN_PASSPHRASE_FILE) at a file that holds it".into()),
            ),
            E::Exists { .. } => (Kind::Refused, Some("nothing was changed; use another --data-dir to restore beside it".into())),
            E::Derivation { .. } => (Kind::Internal, None),
        };
        Self { hint, ..Self::of(kind, &error) }
    }
}

impl From<crate::node::phrase::PhraseError> for Failure {
    fn from(error: crate::node::phrase::PhraseError) -> Self {
        Self::of(Kind::Usage, &error)
            .hint("the phrase is the 24 English words that `cairn key phrase` showed, in their order")
    }
}

impl From<crate::control::socket::SocketError> for Failure {
    fn from(error: crate::control::socket::SocketError) -> Self {
        use crate::control::socket::SocketError as E;
        match &error {
            E::Directory { path, .. } | E::Bind { path, .. } => {
                let hint = format!("check who owns {} and that the disk isn't full or read-only", path.display());
                Self::of(Kind::Io, &error).hint(hint)
            }
            E::NotPrivate { path, .. } => {
                let hint = format!("run `chmod 700 {}`", crate::text::shell_quoted(path));
                Self::of(Kind::Denied, &error).hint(hint)
            }
        }
    }
}

impl From<crate::control::client::ClientError> for Failure {
    fn from(error: crate::control::client::ClientError) -> Self {
        use crate::control::client::ClientError as E;
        match error {
            E::Failed(failure) => failure,
            E::NotRunning => Self::new(Kind::NotRunning, "the node isn't running").hint("start it with `cairn up`"),
            E::Gone { .. } => Self::of(Kind::NotRunning, &error)
                .hint("the node stopped in the middle; its log says why: `cairn status` prints where that is"),
            E::Protocol { .. } => Self::of(Kind::Internal, &error)
                .hint("client and node may differ in version: `cairn down`, then the command again"),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        use StoreError as E;
        let (kind, hint) = match &error {
            E::Io { source, .. } => {
                let (kind, hint) = io_kind(source);
                // A file of the store that isn't there is damage, not a person's typo.
                (if kind == Kind::NotFound { Kind::Damaged } else { kind }, hint.map(str::to_owned))
            }
            E::Full { .. } => {
                (Kind::Full, Some("delete something and run `cairn gc`, raise the quota, or free space on the disk".into()))
            }
            E::TooManyFiles { .. } => (Kind::Busy, Some("raise `ulimit -n`, or close other programs".into())),
            E::Damaged { .. } => (Kind::Damaged, Some(DAMAGED_HINT.into())),
            E::ReadOnly { .. } => {
                (Kind::Refused, Some("look at the disk (`dmesg`), then restart the node with `cairn down` and `cairn up`".into()))
            }
            E::Locked { .. } => (
                Kind::Busy,
                Some("another node has this store open: `cairn status` shows it, `cairn down` ends it".into()),
            ),
            E::NewerVersion { .. } => (Kind::NewerVersion, Some("install the newer version of cairn; nothing was changed".into())),
            E::NotAStore { .. } => (Kind::Refused, Some("name another directory with --data-dir; nothing was changed".into())),
            E::Index { .. } => {
                (Kind::Io, Some("the index can be made again from the log: `cairn down`, remove the store's index directory, `cairn up`".into()))
            }
            E::NotFetched { .. } => {
                (Kind::NotFound, Some("try again once one of the nodes that may have it can be reached".into()))
            }
            E::Timeout { .. } | E::CollectionRunning => (Kind::Busy, Some("try again in a moment".into())),
            E::TooLarge { .. } | E::DeltaOutOfOrder { .. } | E::NumberTooHigh { .. } => (Kind::Internal, None),
            E::HeadConflict { .. } => (
                Kind::Damaged,
                Some("two nodes wrote with one device key: restore one of them with `cairn key restore`, which makes it a device of its own".into()),
            ),
        };
        Self { hint, ..Self::of(kind, &error) }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        use FsError as E;
        let error = match error {
            E::Store(store) => return store.into(),
            error => error,
        };
        let (kind, hint) = match &error {
            E::Store(_) => (Kind::Internal, None),
            E::NotFound | E::NoData | E::Stale => (Kind::NotFound, None),
            E::Exists
            | E::NotDirectory
            | E::IsDirectory
            | E::NotEmpty
            | E::ReadOnly
            | E::CrossDevice
            | E::IntoItself => (Kind::Refused, None),
            E::InvalidName | E::NameTooLong | E::Invalid | E::Range | E::Loop => (Kind::Usage, None),
            E::TooManyLinks | E::ValueTooLarge | E::FileTooBig | E::Unsupported => (Kind::Refused, None),
            E::NoSpace | E::Quota => {
                (Kind::Full, Some("delete something and run `cairn gc`, raise the quota, or free space on the disk"))
            }
            E::NotPermitted => (Kind::Denied, None),
            E::Io { source, .. } => io_kind(source),
            E::Damaged { .. } | E::Missing { .. } => (Kind::Damaged, Some(DAMAGED_HINT)),
            E::Newer { .. } => (Kind::NewerVersion, Some("install the newer version of cairn; nothing was changed")),
            E::TimedOut | E::Busy | E::WouldWait => (Kind::Busy, Some("try again in a moment")),
            E::Panicked { .. } => (Kind::Internal, Some("the node's log says more; `cairn status` prints where it is")),
        };
        Self { hint: hint.map(str::to_owned), ..Self::of(kind, &error) }
    }
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Store(store) => store.into(),
            error => Self::of(Kind::Damaged, &error)
                .hint("`cairn check` names what is damaged; nothing is removed while a tree can't be read"),
        }
    }
}

impl From<SweepError> for Failure {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Heads(error) => error.into(),
            SweepError::Collect(error) => error.into(),
            SweepError::Joined => Self::of(Kind::Busy, &error).hint("try again"),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(store) => store.into(),
            ReadError::WouldWait { .. } => Self::of(Kind::Internal, &error),
            error => Self::of(Kind::Damaged, &error).hint(DAMAGED_HINT),
        }
    }
}

impl From<ChangesError> for Failure {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Read(error) => error.into(),
            ChangesError::TooMany { .. } => Self::of(Kind::Full, &error)
                .hint("compare a part: `cairn diff SNAPSHOT --path PATH`, or two snapshots that are closer"),
            error => Self::of(Kind::Damaged, &error).hint(DAMAGED_HINT),
        }
    }
}

impl From<DiffError> for Failure {
    fn from(error: DiffError) -> Self {
        match error {
            DiffError::Changes(error) => error.into(),
            DiffError::Stopped => Self::of(Kind::Interrupted, &error),
        }
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Store(error) => error.into(),
            CheckError::Stopped => Self::of(Kind::Interrupted, &error),
        }
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Self {
        use MountError as E;
        // The messages say what to do; the hints name the command of ours that does it.
        let (kind, hint) = match &error {
            E::Option { .. } => (Kind::Usage, Some("ro and allow_other are there")),
            E::Absent { .. } => (Kind::NotFound, None),
            E::NotDirectory { .. } | E::NotEmpty { .. } => {
                (Kind::Refused, Some("`cairn up --at DIR` or `cairn mount DIR` takes another place"))
            }
            E::Mounted { .. } => {
                (Kind::Refused, Some("`cairn status` says whether it is this node's; `cairn umount DIR` unmounts it"))
            }
            E::DeadStranger { .. } | E::Silent { .. } => {
                (Kind::Refused, Some("`cairn doctor` lists mounts that were left behind"))
            }
            E::InsideStore { .. } | E::HoldsStore { .. } => {
                (Kind::Refused, Some("name a place apart from the data directory with --at"))
            }
            E::AllowOther => (Kind::Denied, Some("`cairn doctor` says what is missing")),
            E::NoDevice { .. } | E::NoHelper { .. } | E::Helper { .. } => {
                (Kind::Io, Some("`cairn doctor` says what is missing"))
            }
            E::Io { source, .. } => io_kind(source),
        };
        Self { hint: hint.map(str::to_owned), ..Self::of(kind, &error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_exit_code_and_none_collides_with_success() {
        for (index, (kind, code, meaning)) in EXIT_CODES.iter().enumerate() {
            assert_ne!(*code, 0);
            assert!(!meaning.is_empty());
            assert!(EXIT_CODES[index + 1..].iter().all(|(other, ..)| other != kind), "{kind:?} is listed twice");
        }
        assert_eq!(Kind::Interrupted.exit_code(), 130);
        assert_eq!(Kind::Config.exit_code(), 78);
    }

    #[test]
    fn a_full_disk_is_named_as_itself_with_a_hint() {
        let failure = Failure::from(io::Error::from_raw_os_error(28));
        assert_eq!(failure.kind, Kind::Full);
        assert!(failure.hint.unwrap_or_default().contains("cairn gc"));
    }

    #[test]
    fn a_failure_survives_the_socket() {
        let sent = Failure::new(Kind::Busy, "a").hint("b").while_("c");
        let text = serde_json::to_string(&sent).expect("a failure serialises");
        assert_eq!(serde_json::from_str::<Failure>(&text).expect("and back"), sent);
        assert_eq!(sent.to_string(), "c: a");
    }
}
