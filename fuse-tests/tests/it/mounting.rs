//! mount(8), fstab and mount points.

use std::os::unix::fs::symlink;

use cairn_fuse_tests::node::{Setup, binary};
use cairn_fuse_tests::{Node, command, mounts, promise, skip};

/// Where mount(8) looks for helpers; a test may put a link there only if nobody else did.
const HELPER: &str = "/sbin/mount.fuse.cairn";

/// A helper that is ours for as long as this value lives.
struct Helper;

impl Helper {
    fn install() -> Option<Helper> {
        symlink(binary(), HELPER).is_ok().then_some(Helper)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(HELPER);
    }
}

#[test]
fn mount_of_type_fuse_cairn_works() {
    if !command::is_root() {
        skip!("only root may mount with mount(8)");
    }
    let Some(_helper) = Helper::install() else { skip!("{HELPER} is there already, and isn't ours to replace") };
    let node = Node::prepare(Setup::default());
    let mount_point = node.outside().join("mounted here");
    std::fs::create_dir(&mount_point).expect("mkdir");
    let mut mount = command::command(&node.outside(), "mount");
    mount.args(["-t", "fuse.cairn", "-o", &format!("data_dir={}", node.data().display()), "main"]).arg(&mount_point);
    node.into_home(&mut mount);
    command::succeed(&mut mount);

    // It returns when the mount is there, under the name it was given.
    let seen = mounts::at(&mount_point).expect("a mount");
    assert_eq!((seen.kind.as_str(), seen.source.as_str()), ("fuse.cairn", "main"));
    std::fs::write(mount_point.join("f"), b"through mount(8)").expect("write");
    command::succeed(command::command(&node.outside(), "umount").arg(&mount_point));
    assert!(mounts::at(&mount_point).is_none());
    assert_eq!(node.say(&["cat", "/f"]), "through mount(8)");
    node.say(&["down"]);
}

#[test]
fn a_volume_is_mounted_where_it_is_asked_for_and_unmounted_again() {
    let node = Node::start();
    let second = node.outside().join("second");
    std::fs::create_dir(&second).expect("mkdir");
    let second_text = second.display().to_string();
    node.say(&["mount", "other", &second_text]);
    std::fs::write(second.join("f"), b"another volume").expect("write");
    assert!(!node.mount().join("f").exists(), "two volumes show the same files");
    let status = node.json(&["status"]);
    assert_eq!(status["mounts"].as_array().map(Vec::len), Some(2), "{status}");
    node.say(&["umount", &second_text]);
    assert!(mounts::at(&second).is_none());
    node.say(&["mount", "other", &second_text]);
    assert_eq!(std::fs::read(second.join("f")).expect("read"), b"another volume");
}

#[test]
fn a_read_only_mount_takes_no_change() {
    promise!("What a mount allows");
    let node = Node::start();
    std::fs::write(node.mount().join("f"), b"x").expect("write");
    let second = node.outside().join("second");
    std::fs::create_dir(&second).expect("mkdir");
    node.say(&["umount", &node.mount().display().to_string()]);
    node.say(&["mount", "-o", "ro", "main", &second.display().to_string()]);
    assert_eq!(std::fs::read(second.join("f")).expect("read"), b"x");
    let refused = std::fs::write(second.join("f"), b"y").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn others_come_in_at_roots_mount_and_devices_and_set_id_do_not_work() {
    promise!("What a mount allows");
    if !command::is_root() {
        skip!("only root mounts for all users");
    }
    let node = Node::start();
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let line = table.lines().find(|line| line.contains(&*node.mount().to_string_lossy())).expect("the mount");
    for option in ["nosuid", "nodev", "allow_other", "default_permissions"] {
        assert!(line.contains(option), "{option} is missing in {line}");
    }
    command::shell(&node.mount(), "mknod null c 1 3; chmod 666 null");
    let used = std::fs::File::open(node.mount().join("null")).expect_err("a device on this mount");
    assert_eq!(used.kind(), std::io::ErrorKind::PermissionDenied);
}
