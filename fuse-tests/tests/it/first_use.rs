//! The first minute: one command, no question, a writable folder.

use std::path::Path;
use std::time::Duration;

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, command, figure, skip};

/// From the start of the command to a mount that takes a write; the bar of the acceptance table.
const READY_MAX: Duration = Duration::from_secs(2);
/// A user that every system has and that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn a_first_start_is_writable_at_once() {
    let mut node = Node::prepare(Setup::default());
    let took = node.up();
    std::fs::write(node.mount().join("first"), b"words").expect("write");
    figure!("first start: writable after {took:.2?} (bar 2 s)");
    assert!(took <= READY_MAX, "{took:?}");
    let said = node.log();
    for place in [node.mount(), node.data()] {
        assert!(
            said.contains(&*place.to_string_lossy()),
            "the start doesn't say where {} is:\n{said}",
            place.display()
        );
    }
    node.down();
    let again = node.up();
    assert_eq!(std::fs::read(node.mount().join("first")).expect("read"), b"words");
    figure!("second start: {again:.2?}");
    assert!(again <= READY_MAX, "{again:?}");
}

#[test]
fn an_ordinary_user_gets_a_mount_of_their_own() {
    if !command::is_root() {
        skip!("the other tests run as an ordinary user already");
    }
    if !command::exists("fusermount3") {
        skip!("fuse3 is not installed");
    }
    let mut node = Node::prepare(Setup { user: Some(NOBODY), ..Setup::default() });
    let took = node.up();
    let script = "echo mine > f; mkdir d; ln f d/g; cat d/g; stat -c %u f; mv d/g h; sync .; df . | tail -1 >/dev/null";
    let mut shell = node.as_user(Path::new("bash"));
    shell.args(["-euc", &format!("cd '{}'; {script}", node.mount().display())]);
    assert_eq!(command::succeed(&mut shell), format!("mine\n{NOBODY}\n"));
    assert!(took <= READY_MAX, "{took:?}");
    figure!("first start as an ordinary user: writable after {took:.2?} (bar 2 s)");
    node.say(&["status"]);
    node.down();
}

#[test]
fn commands_start_the_node_that_they_need() {
    let node = Node::prepare(Setup::default());
    std::fs::write(node.outside().join("f"), b"put without up").expect("write");
    node.say(&["put", &node.outside().join("f").display().to_string(), "/f"]);
    assert_eq!(node.say(&["cat", "/f"]), "put without up");
    assert!(node.say(&["ls"]).contains('f'));
    node.say(&["down"]);
}
