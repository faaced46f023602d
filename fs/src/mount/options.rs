//! How a volume is mounted: our own options, checked, then written in the two dialects that the kernel and the setuid
//! helper read.

use std::time::Duration;

use rustix::mount::MountFlags;

use super::error::MountError;

/// Type of the filesystem in the mount table: `fuse.cairn`.
pub const SUBTYPE: &str = "cairn";

/// How long an operation may wait for store or network before the caller gets an answer anyway. Long enough for a disk
/// that spins up or a peer that is being looked for, short enough that a person waits for the message.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Threads that may wait at the same time. Each costs a stack, most only ever wait; 64 is half of what the kernel may send
/// in the background, and the rest queues.
pub const WORKERS_MAX: usize = 64;

/// Read-ahead window that root sets after mounting: one request of the largest size. Measured, the default of 128 KiB
/// halves cold sequential reading and 4 MiB gains nothing over 1 MiB.
pub(super) const READ_AHEAD_KIB: u32 = 1024;

/// Everything that a mount can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What the mount table shows as the source. Not an existing path: `umount SOURCE` must not mean something else.
    pub source: String,
    /// Nothing can be changed through this mount.
    pub read_only: bool,
    /// Users other than the one who mounts may enter; mode bits then decide. Root mounts for all, anyone else alone.
    pub allow_other: bool,
    /// Device nodes work. Off even for root: another device of the volume could have planted one.
    pub dev: bool,
    /// Set-user-id and set-group-id work. Off even for root, for the same reason.
    pub suid: bool,
    /// Programs can be run.
    pub exec: bool,
    /// Access times are kept (as relatime does).
    pub atime: bool,
    /// Largest read request, if smaller than the kernel's own.
    pub max_read: Option<u32>,
    /// After this an operation is answered, with an error if need be.
    pub deadline: Duration,
    /// Bound of the pool for operations that wait.
    pub workers_max: usize,
}

impl MountOptions {
    /// The defaults for whoever runs this process.
    #[must_use]
    pub fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            read_only: false,
            allow_other: rustix::process::geteuid().is_root(),
            dev: false,
            suid: false,
            exec: true,
            atime: true,
            max_read: None,
            deadline: DEADLINE,
            workers_max: WORKERS_MAX,
        }
    }

    /// Applies a list as `mount -o` takes it: `ro,allow_other,max_read=131072`.
    ///
    /// # Errors
    /// [`MountError::Option`] names the first word that isn't understood.
    pub fn apply_list(&mut self, list: &str) -> Result<(), MountError> {
        list.split(',').filter(|word| !word.is_empty()).try_for_each(|word| self.apply(word))
    }

    fn apply(&mut self, word: &str) -> Result<(), MountError> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("dev", None) => self.dev = true,
            ("nodev", None) => self.dev = false,
            ("suid", None) => self.suid = true,
            ("nosuid", None) => self.suid = false,
            ("exec", None) => self.exec = true,
            ("noexec", None) => self.exec = false,
            ("atime" | "relatime", None) => self.atime = true,
            ("noatime", None) => self.atime = false,
            ("allow_other", None) => self.allow_other = true,
            ("fsname", Some(source)) => self.source = source.to_owned(),
            ("max_read", Some(text)) => self.max_read = Some(number(word, text)?),
            ("deadline", Some(text)) => {
                self.deadline = Duration::from_secs(u64::from(number(word, text)?));
            }
            // What mount(8) and fstab hand on to every helper, and what is always so here.
            ("defaults" | "auto" | "noauto" | "nofail" | "_netdev" | "user" | "users", None)
            | ("default_permissions" | "async" | "loud" | "silent", None) => {}
            ("subtype", Some(SUBTYPE)) => {}
            _ if name.starts_with("x-") => {}
            _ => {
                return Err(MountError::Option { option: word.to_owned() });
            }
        }
        Ok(())
    }

    /// Refuses what could not work before anything is mounted.
    pub(super) fn check(&self) -> Result<(), MountError> {
        let bad_source = self.source.is_empty() || self.source.bytes().any(|b| b == 0 || b == b'\n');
        if bad_source {
            return Err(MountError::Option { option: format!("fsname={}", self.source.escape_debug()) });
        }
        if self.deadline.is_zero() || self.workers_max == 0 {
            return Err(MountError::Option { option: "deadline=0".to_owned() });
        }
        Ok(())
    }

    /// The flags half of `mount(2)`.
    pub(super) fn flags(&self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NODEV, !self.dev);
        flags.set(MountFlags::NOSUID, !self.suid);
        flags.set(MountFlags::NOEXEC, !self.exec);
        flags.set(MountFlags::NOATIME, !self.atime);
        flags
    }

    /// The data half of `mount(2)`. `root_mode` is the type of the mount point: a directory.
    pub(super) fn data(&self, device: i32, root_mode: u32, uid: u32, gid: u32) -> String {
        let mut data = format!("fd={device},rootmode={root_mode:o},user_id={uid},group_id={gid}");
        data.push_str(",default_permissions");
        if self.allow_other {
            data.push_str(",allow_other");
        }
        if let Some(bytes) = self.max_read {
            data.push_str(&format!(",max_read={bytes}"));
        }
        data
    }

    /// The one list that `fusermount3 -o` takes. It adds `nosuid,nodev` itself for anyone but root.
    pub(super) fn helper_list(&self) -> String {
        let mut list = format!(
            "fsname={},subtype={SUBTYPE},default_permissions",
            self.source.replace('\\', "\\\\").replace(',', "\\,")
        );
        for (word, wanted) in [
            ("allow_other", self.allow_other),
            ("ro", self.read_only),
            ("noexec", !self.exec),
            ("noatime", !self.atime),
            ("nodev", !self.dev),
            ("nosuid", !self.suid),
        ] {
            if wanted {
                list.push(',');
                list.push_str(word);
            }
        }
        if let Some(bytes) = self.max_read {
            list.push_str(&format!(",max_read={bytes}"));
        }
        list
    }
}

fn number(word: &str, text: &str) -> Result<u32, MountError> {
    text.parse().map_err(|_| MountError::Option { option: word.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> MountOptions {
        MountOptions { allow_other: false, ..MountOptions::new("photos") }
    }

    #[test]
    fn devices_and_set_id_are_off_until_asked_for() {
        assert_eq!(plain().flags(), MountFlags::NODEV | MountFlags::NOSUID);
        let mut options = plain();
        options.apply_list("dev,suid").unwrap();
        assert_eq!(options.flags(), MountFlags::empty());
    }

    #[test]
    fn kernel_data_always_asks_for_permission_checks() {
        assert_eq!(
            plain().data(7, 0o40000, 1000, 1001),
            "fd=7,rootmode=40000,user_id=1000,group_id=1001,default_permissions"
        );
        let mut options = plain();
        options.apply_list("allow_other,max_read=65536").unwrap();
        assert!(options.data(7, 0o40000, 0, 0).ends_with(",allow_other,max_read=65536"));
    }

    #[test]
    fn helper_list_escapes_commas_of_the_source() {
        let options = MountOptions { source: "a,b\\c".into(), ..plain() };
        assert!(options.helper_list().starts_with("fsname=a\\,b\\\\c,subtype=cairn,"));
    }

    #[test]
    fn words_of_fstab_are_accepted_and_unknown_words_are_named() {
        let mut options = plain();
        options.apply_list("rw,noatime,nofail,x-systemd.automount,_netdev,,deadline=5").unwrap();
        assert!(!options.atime);
        assert_eq!(options.deadline, Duration::from_secs(5));
        let error = options.apply_list("ro,writeback").unwrap_err();
        assert!(error.to_string().contains("writeback"), "{error}");
    }

    #[test]
    fn a_source_that_would_break_the_mount_table_is_refused() {
        assert!(MountOptions { source: "a\nb".into(), ..plain() }.check().is_err());
        assert!(MountOptions { source: String::new(), ..plain() }.check().is_err());
        assert!(plain().check().is_ok());
    }
}
