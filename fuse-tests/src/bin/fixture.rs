//! Writes the fixture of this state of the project: `fixture NAME`, as root, once for each release.
//!
//! A node gets files of every kind, is asked for snapshots, goes on, and is killed with changes that only its journal has.

use std::path::Path;

use cairn_fuse_tests::{Node, command, fixture};

/// The first state.
const FIRST: &str = r#"
mkdir -p a/b/c empty many
echo text > a/text; : > a/nothing; head -c 2048 /dev/zero | tr '\0' i > a/inline; seq 1 30000 > a/numbers
head -c 100000 /dev/urandom > a/random; head -c 300000 /dev/zero | tr '\0' f > fixed
truncate -s 1T sparse; printf far | dd of=sparse bs=1 seek=5G conv=notrunc status=none
ln -s ../text a/b/link; ln -s nowhere dangling; ln a/text a/second-name; mkfifo pipe; mknod null c 1 3; mknod disk b 7 0
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
setfattr -n user.small -v value a/text; setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\0' x)" a/text
setfacl -m u:1234:r a/text; setfacl -d -m g:4321:rwx a/b
chmod 4755 a/inline; chmod 1777 empty; chown 1000:1001 a/numbers; touch -d '1969-12-31T23:59:58.123456789Z' a/nothing
printf x > 'with space'; printf x > $'new\nline'; printf x > $'not\xffutf8'; printf x > "$(head -c 255 /dev/zero | tr '\0' n)"
for i in $(seq 1 400); do echo "$i" > "many/entry $i"; done
"#;

/// What differs in the second.
const SECOND: &str = r#"
printf overwritten | dd of=fixed bs=1 seek=150000 conv=notrunc status=none
mv a/numbers a/b/c/moved; rm a/random; echo more >> a/text; rmdir empty; rm many/*7
"#;

/// What only the journal has.
const LAST: &str = r#"
echo "written last" > last; seq 1 20000 > last-numbers; mkdir last-dir; mv dangling last-dir/; rm null
printf again | dd of=fixed bs=1 seek=10 conv=notrunc status=none; setfattr -n user.last -v late a/text
sync .
"#;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| panic!("usage: fixture NAME"));
    assert!(command::is_root(), "a fixture has devices and owners, which only root makes");
    let listed = (0..20).any(|_| write(&name));
    assert!(listed, "the journal was always in a tree before the kill");
}

/// Whether the journal had something to itself.
fn write(name: &str) -> bool {
    let mut node = Node::start();
    command::shell(&node.mount(), FIRST);
    node.say(&["snapshot", "first"]);
    command::shell(&node.mount(), SECOND);
    node.say(&["snapshot", "second"]);
    command::shell(&node.mount(), LAST);
    node.kill();
    node.unmount_dead();
    pack(&node, name);

    node.up();
    let replayed = node.log().contains("journal replayed");
    let mut text = String::new();
    for (title, path) in [("now", ""), ("first", ".snapshots/first/"), ("second", ".snapshots/second/")] {
        text += &format!("== {title}\n{}", fixture::listing(&node.mount().join(path)));
    }
    std::fs::write(fixture::folder().join(format!("{name}.txt")), text).expect("a listing");
    node.down();
    replayed
}

/// The directory as a tar, and its key under a passphrase beside it.
fn pack(node: &Node, name: &str) {
    let (data, folder) = (node.data(), fixture::folder());
    let passphrase = node.outside().join("passphrase");
    std::fs::write(&passphrase, format!("{}\n", fixture::PASSPHRASE)).expect("a passphrase");
    command::shell(&node.outside(), "chmod 600 passphrase; rm -rf copy; mkdir -m 700 copy");
    let copy = node.outside().join("copy");
    command::succeed(command::command(&data, "cp").args(["node.key", "volumes"]).arg(&copy));
    let mut lock = node.cairn(&["key", "passphrase", "set", "--new-passphrase-file"]);
    command::succeed(lock.arg(&passphrase).arg("--data-dir").arg(&copy));
    command::succeed(command::command(&copy, "cp").arg("node.key").arg(data.join("node.key.locked")));
    let tar = folder.join(format!("{name}.tar"));
    let left_out = ["--exclude=own/reserve", "--exclude=run", "--exclude=own/index/LOG*"];
    command::succeed(command::command(Path::new(&data), "tar").args(left_out).arg("-cf").arg(&tar).arg("."));
    std::fs::remove_file(data.join("node.key.locked")).expect("our own copy");
    let bytes = std::fs::metadata(&tar).expect("a tar").len();
    assert!(bytes < 1 << 20, "{bytes} bytes are too many to keep");
    println!("{}: {bytes} bytes", tar.display());
}
