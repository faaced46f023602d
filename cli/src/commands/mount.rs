//! mount, umount, and the helper that mount(8) calls.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::args::{MountArgs, MountHelper, UmountArgs};
use crate::config::{SettingFlags, Settings, is_volume_name};
use crate::control::routes::{MountOrder, Mounted, Nothing, Route, UmountOrder};
use crate::errors::{Failure, Kind, Outcome};
use crate::output::Output;
use crate::text::{Name, shown};

use super::session::{Session, absolute};

/// Options that mount(8) and fstab have for themselves, or that ask for what is so anyway.
const OPTIONS_IGNORED: &[&str] = &[
    "rw",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nofail",
    "_netdev",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "relatime",
    "atime",
    "noatime",
    "nodiratime",
    "async",
    "default_permissions",
];

/// Mounts a volume.
pub(super) fn mount(session: &mut Session, args: MountArgs) -> Outcome<()> {
    let mut what = args.what.into_iter();
    let (volume, mount_point) = match (what.next(), what.next()) {
        (Some(volume), Some(mount_point)) => (volume_name(&volume)?, mount_point),
        (Some(mount_point), None) => (session.settings.volume.clone(), mount_point),
        (None, _) => return Err(Failure::new(Kind::Usage, "no mount point was given")),
    };
    let mut order = MountOrder {
        volume,
        mount_point: absolute(Path::new(&mount_point))?,
        allow_other: session.settings.allow_other,
        read_only: false,
    };
    for option in &args.options {
        apply(&mut order, OsStr::new(option))?;
    }
    let mounted: Mounted = session.call(Route::Mount, &order)?;
    session
        .output
        .value(&mounted, |mounted| format!("{} is mounted at {}", mounted.volume, mounted.mount_point.shown()))
}

/// Unmounts one mount or all of them; a node that isn't running has none.
pub(super) fn umount(session: &mut Session, args: UmountArgs) -> Outcome<()> {
    let mount_point = args.mount_point.as_deref().map(absolute).transpose()?;
    match (session.running_node()?, &mount_point) {
        (Some(node), _) => {
            let Nothing {} = node.call(Route::Umount, &UmountOrder { mount_point })?;
            Ok(())
        }
        (None, None) => Ok(()),
        (None, Some(mount_point)) => {
            Err(Failure::new(Kind::NotFound, format!("nothing of this node is mounted at {}", mount_point.shown()))
                .hint("the node isn't running; a mount it left behind goes with `fusermount3 -u -z DIRECTORY`"))
        }
    }
}

/// mount(8)'s helper: comes back when the mount is there, and the node stays.
pub(super) fn helper(args: &MountHelper) -> Outcome<()> {
    let mut flags = SettingFlags::default();
    let mut order = MountOrder {
        volume: volume_name(&args.source)?,
        mount_point: absolute(&args.mount_point)?,
        // What root mounts at boot is for the machine's users; mode bits still guard it.
        allow_other: rustix::process::geteuid().is_root(),
        read_only: false,
    };
    for option in &args.options {
        let bytes = option.as_bytes();
        if let Some(directory) = bytes.strip_prefix(b"data_dir=") {
            flags.data_dir = Some(OsString::from_vec(directory.to_vec()));
        } else if let Some(file) = bytes.strip_prefix(b"passphrase_file=") {
            flags.passphrase_file = Some(OsString::from_vec(file.to_vec()));
        } else {
            match apply(&mut order, option) {
                Err(_) if args.sloppy => {}
                applied => applied?,
            }
        }
    }
    if args.fake {
        return Ok(());
    }
    let settings = Settings::find(&flags, &|name| std::env::var_os(name))?;
    let mut session = Session::new(settings, Output { json: false, quiet: true });
    let _: Mounted = session.call(Route::Mount, &order)?;
    Ok(())
}

fn apply(order: &mut MountOrder, option: &OsStr) -> Outcome<()> {
    match option.to_str() {
        Some("ro") => order.read_only = true,
        Some("allow_other") => order.allow_other = true,
        Some(ignored)
            if OPTIONS_IGNORED.contains(&ignored) || ignored.starts_with("x-") || ignored.starts_with("comment=") => {}
        _ => {
            return Err(Failure::new(Kind::Usage, format!("there is no mount option `{}`", shown(option.as_bytes())))
                .hint("ro and allow_other are there, and for mount(8) data_dir=DIR and passphrase_file=FILE"));
        }
    }
    Ok(())
}

fn volume_name(name: &OsStr) -> Outcome<String> {
    name.to_str().filter(|name| is_volume_name(name)).map(str::to_owned).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("`{}` can't be a volume's name", Name::from(name).shown()))
            .hint("1 to 64 of a-z, 0-9, '-', '_' and '.'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_fstab_are_understood_and_others_refused() {
        let mut order =
            MountOrder { volume: "main".into(), mount_point: Name::default(), allow_other: false, read_only: false };
        for option in ["ro", "noauto", "x-systemd.automount", "_netdev"] {
            apply(&mut order, OsStr::new(option)).expect("known");
        }
        assert!(order.read_only);
        assert_eq!(apply(&mut order, OsStr::new("rwx")).expect_err("unknown").kind, Kind::Usage);
    }
}
