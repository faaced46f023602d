//! mount, umount, and the helper that mount(8) calls.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cairn_fs::mount::MountOptions;

use crate::args::{MountArgs, MountHelper, UmountArgs};
use crate::config::{SettingFlags, Settings, is_volume_name};
use crate::control::routes::{MountOrder, Mounted, Nothing, Route, UmountOrder};
use crate::errors::{Failure, Kind, Outcome};
use crate::output::Output;
use crate::text::{Name, shown};

use super::node::mount_options;
use super::session::{Session, absolute};

/// Mounts a volume.
pub(super) fn mount(session: &mut Session, args: MountArgs) -> Outcome<()> {
    let mut what = args.what.into_iter();
    let (volume, mount_point) = match (what.next(), what.next()) {
        (Some(volume), Some(mount_point)) => (volume_name(&volume)?, mount_point),
        (Some(mount_point), None) => (session.settings.volume.clone(), mount_point),
        (None, _) => return Err(Failure::new(Kind::Usage, "no mount point was given")),
    };
    let mut options = mount_options(&session.settings);
    options.extend(args.options);
    let order = MountOrder { volume, mount_point: absolute(Path::new(&mount_point))?, options };
    let mounted: Mounted = session.call(Route::Mount, &order)?;
    session
        .output
        .value(&mounted, |mounted| format!("{} is mounted at {}", mounted.volume, mounted.mount_point.shown()))
}

/// Unmounts one mount or all of them; a node that isn't running has none.
pub(super) fn umount(session: &mut Session, args: UmountArgs) -> Outcome<()> {
    let mount_point = args.place.as_deref().map(absolute).transpose()?;
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
    let mut options = Vec::new();
    for option in &args.options {
        let bytes = option.as_bytes();
        if let Some(directory) = bytes.strip_prefix(b"data_dir=") {
            flags.data_dir = Some(OsString::from_vec(directory.to_vec()));
        } else if let Some(file) = bytes.strip_prefix(b"passphrase_file=") {
            flags.passphrase_file = Some(OsString::from_vec(file.to_vec()));
        } else {
            options.extend(checked(option, args.sloppy)?);
        }
    }
    if args.fake {
        return Ok(());
    }
    let settings = Settings::find(&flags, &|name| std::env::var_os(name))?;
    let order = MountOrder { volume: volume_name(&args.source)?, mount_point: absolute(&args.mount_point)?, options };
    let mut session = Session::new(settings, Output { json: false, quiet: true });
    let _: Mounted = session.call(Route::Mount, &order)?;
    Ok(())
}

/// An option of the mount's own; `None` for one that is passed over because mount(8) asked to be tolerant.
fn checked(option: &OsStr, sloppy: bool) -> Outcome<Option<String>> {
    let refused = || {
        Failure::new(Kind::Usage, format!("there is no mount option `{}`", shown(option.as_bytes())))
            .hint("for mount(8) there are data_dir=DIR and passphrase_file=FILE besides those of `cairn mount`")
    };
    let known = option.to_str().filter(|option| MountOptions::new("").apply_list(option).is_ok());
    match known {
        Some(option) => Ok(Some(option.to_owned())),
        None if sloppy => Ok(None),
        None => Err(refused()),
    }
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
        for option in ["ro", "noauto", "x-systemd.automount", "_netdev"] {
            assert_eq!(checked(OsStr::new(option), false).expect("known"), Some(option.to_owned()));
        }
        assert_eq!(checked(OsStr::new("rwx"), false).expect_err("unknown").kind, Kind::Usage);
        assert_eq!(checked(OsStr::new("rwx"), true).expect("tolerated"), None);
    }
}
