//! Another user of the machine: what they get when they really try. They are given every directory above the node's own, so
//! that only what the node itself does is in their way.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};

use cairn_fuse_tests::node::Setup;
use cairn_fuse_tests::{Node, command, skip};

/// The user of the node, who has to have a name for fusermount3, and the one who is not.
const OWNER: u32 = 65_534;
const OTHER: u32 = 31_008;

/// By its path: the one that root finds first may lie where nobody else may go.
const PYTHON: &str = "/usr/bin/python3";

/// Asks the node for its status over its socket, in as many words as it takes, and prints what comes back.
const ASK: &str = r#"
import os, socket, sys
os.chdir(sys.argv[1])
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect("control.sock")
try:
    s.sendall(b"POST /v1/status HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    print(s.recv(4096).decode(errors="replace"))
except (BrokenPipeError, ConnectionResetError):
    print("hung up")
"#;

/// A node of an ordinary user, with a file in it. `None` where that can't be tried.
fn owned() -> Option<Node> {
    if !command::is_root() {
        return None;
    }
    let node = Node::start_with(Setup { user: Some(OWNER), ..Setup::default() });
    let write =
        node.as_user(Path::new("sh")).args(["-c", "echo private > \"$1/file\"", "sh"]).arg(node.mount()).status();
    assert!(write.expect("sh").success(), "{}", node.log());
    for folder in ["data", "config", "state"] {
        let path = node.home().join(folder);
        if path.is_dir() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("opened");
        }
    }
    Some(node)
}

/// A program as another user, where the node's mount can be seen.
fn as_other(node: &Node, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &node.pid().to_string(), "--mount", "setpriv"]);
    command.args([&format!("--reuid={OTHER}"), &format!("--regid={OTHER}"), "--clear-groups", program]);
    command
}

fn try_as_other(node: &Node, script: &str, argument: &Path) -> Output {
    command::run(as_other(node, "sh").args(["-c", script, "sh"]).arg(argument))
}

#[test]
fn the_data_directory_shows_nothing_to_another_user() {
    let Some(node) = owned() else { skip!("only root can come as two other users") };
    let data = node.data();
    let files = ["node.key", "volumes", "own/format", "own/lock", "own/log/00000001.seg", "own/index/CURRENT"];
    for file in files {
        assert!(data.join(file).exists(), "{file} is not there to be tried");
        for script in ["cat \"$1\"", "stat \"$1\"", "echo x >> \"$1\"", "rm -f \"$1\"", "mv \"$1\" \"$1.x\""] {
            let tried = try_as_other(&node, script, &data.join(file));
            assert!(!tried.status.success(), "{script} {file}: {}", command::transcript(&tried));
        }
        assert!(data.join(file).exists(), "{file} is gone");
    }
    for script in ["ls \"$1\"", "touch \"$1/new\"", "ls \"$1/own\"", "ls \"$1/run\""] {
        assert!(!try_as_other(&node, script, &data).status.success(), "{script}");
    }
    // Were the way there open, each file would still be its owner's alone.
    command::shell(&data, "chmod 755 . own own/log own/index run");
    for file in files.into_iter().filter(|file| !file.starts_with("own/index")) {
        let tried = try_as_other(&node, "cat \"$1\" || echo x >> \"$1\"", &data.join(file));
        assert!(!tried.status.success(), "{file} is open: {}", command::transcript(&tried));
    }
}

#[test]
fn the_socket_hangs_up_on_another_user_even_where_its_directory_is_open() {
    let Some(node) = owned() else { skip!("only root can come as two other users") };
    let run = node.data().join("run");
    let ask = |mut command: Command| {
        let asked = command::run(command.args(["-c", ASK]).arg(&run));
        String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr)
    };
    let closed = ask(as_other(&node, PYTHON));
    assert!(closed.contains("PermissionError"), "{closed}");
    command::shell(&node.data(), "chmod 755 .; chmod 755 run; chmod 777 run/control.sock");
    let open = ask(as_other(&node, PYTHON));
    assert!(!open.contains("HTTP/1.1") && !open.contains("PermissionError"), "another user was answered: {open}");
    let owner = ask(node.as_user(Path::new(PYTHON)));
    assert!(owner.contains("200 OK"), "the owner was not answered: {owner}");
    assert!(node.log().contains(&format!("user {OTHER} was not let in")), "{}", node.log());
}

#[test]
fn the_mount_is_closed_to_another_user_and_to_root() {
    let Some(node) = owned() else { skip!("only root can come as two other users") };
    let mount = node.mount();
    for script in
        ["ls \"$1\"", "cat \"$1/file\"", "cd \"$1\"", "stat \"$1\"", "echo x > \"$1/new\"", "ls \"$1/.snapshots\""]
    {
        let tried = try_as_other(&node, script, &mount);
        assert!(!tried.status.success(), "{script}: {}", command::transcript(&tried));
    }
    // The kernel keeps root out as well, unless root becomes the owner.
    let mut root = Command::new("nsenter");
    let tried = command::run(root.args(["--target", &node.pid().to_string(), "--mount", "ls"]).arg(&mount));
    assert!(!tried.status.success(), "{}", command::transcript(&tried));
}

#[test]
fn where_others_may_enter_mode_bits_decide() {
    if !command::is_root() {
        skip!("only root mounts for all users");
    }
    let node = Node::start();
    command::shell(
        &node.mount(),
        "chmod 755 .; echo a > open; chmod 644 open; echo b > closed; chmod 600 closed; mkdir -m 700 d",
    );
    let tried = |script: &str| try_as_other(&node, script, &node.mount()).status.success();
    assert!(tried("cat \"$1/open\""));
    for script in [
        "cat \"$1/closed\"",
        "echo x >> \"$1/open\"",
        "ls \"$1/d\"",
        "touch \"$1/new\"",
        "rm -f \"$1/open\"",
        "chmod 777 \"$1/open\"",
    ] {
        assert!(!tried(script), "{script}");
    }
}

#[test]
fn the_process_is_closed_to_another_user() {
    let Some(node) = owned() else { skip!("only root can come as two other users") };
    let process = Path::new("/proc").join(node.pid().to_string());
    for file in ["environ", "maps", "mem", "fd", "cwd", "root"] {
        let script = if file == "fd" { "ls \"$1\"" } else { "head -c 1 \"$1\" || ls -d \"$1/.\"" };
        let tried = try_as_other(&node, script, &process.join(file));
        assert!(!tried.status.success(), "{file}: {}", command::transcript(&tried));
    }
    let tried = try_as_other(&node, &format!("kill -0 {}", node.pid()), Path::new("/"));
    assert!(!tried.status.success(), "another user may signal the node");
    // Not even the owner reads its memory: it is not dumpable.
    let own = command::run(node.as_user(Path::new("head")).args(["-c", "1"]).arg(process.join("environ")));
    assert!(!own.status.success(), "the node's environment is open to its user's other programs");
}

#[test]
fn a_key_of_another_user_is_refused() {
    let Some(mut node) = owned() else { skip!("only root can come as two other users") };
    node.down();
    let key = node.data().join("node.key");
    chown(&key, Some(OTHER), Some(OTHER)).expect("given away");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("so that it can be read");
    let log = node.try_up().expect_err("a key of somebody else");
    assert!(log.contains("31008") || log.contains("open to others"), "{log}");
}

#[test]
fn a_data_directory_that_others_may_change_is_refused_with_the_command_that_helps() {
    let Some(mut node) = owned() else { skip!("only root can come as two other users") };
    node.down();
    for (mode, owner) in [(0o777, OWNER), (0o770, OWNER), (0o755, OTHER)] {
        std::fs::set_permissions(node.data(), std::fs::Permissions::from_mode(mode)).expect("chmod");
        chown(node.data(), Some(owner), None).expect("chown");
        let log = node.try_up().expect_err("a directory in which somebody else can exchange the key");
        assert!(log.contains("chmod 700") || log.contains("belongs to user"), "{log}");
    }
    std::fs::set_permissions(node.data(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    chown(node.data(), Some(OWNER), None).expect("chown");
    node.up();
}

#[test]
fn what_get_cannot_give_its_owner_loses_its_set_id_bits() {
    let Some(node) = owned() else { skip!("only root can come as two other users") };
    let source = node.outside().join("privileged");
    std::fs::write(&source, "x").expect("write");
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o6755)).expect("chmod");
    node.say(&["put", &source.display().to_string(), "/privileged"]);
    let kept = node.say(&["ls", "-l"]);
    assert!(kept.contains("-rwsr-sr-x"), "the volume keeps what the file was: {kept}");
    let target = node.outside().join("got");
    std::fs::create_dir(&target).expect("mkdir");
    chown(&target, Some(OWNER), Some(OWNER)).expect("chown");
    node.say(&["get", "/privileged", &target.display().to_string()]);
    let got = std::fs::metadata(target.join("privileged")).expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&got), OWNER, "an ordinary user can't give files away");
    assert_eq!(got.permissions().mode() & 0o7777, 0o755, "a program of root's would run as whoever copied it");
}
