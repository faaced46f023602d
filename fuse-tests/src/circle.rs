//! Nodes in a circle: real processes on loopback that were joined by their commands.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};

use crate::{Node, Setup};

/// What goes between two processes of one machine takes milliseconds; this is for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// A home for a node that will be in a circle: it listens on a free port of loopback.
#[track_caller]
pub fn prepare(setup: Setup) -> Node {
    let mut setup = setup;
    setup.environment.push(("CAIRN_LISTEN".into(), "127.0.0.1:0".into()));
    Node::prepare(setup)
}

/// An invitation that waits.
pub struct Invite {
    child: Child,
    output: BufReader<ChildStdout>,
    /// The code that it printed.
    pub code: String,
    /// Where the inviting node is.
    pub addresses: Vec<String>,
}

impl Invite {
    /// Has `host` invite a `guest`: `device`, `friend` or `storage`.
    #[track_caller]
    pub fn open(host: &Node, guest: &str, name: &str) -> Invite {
        let mut command = host.cairn(&["invite", guest, "--name", name, "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cairn");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let Ok(said) = serde_json::from_str::<serde_json::Value>(&line) else {
            let left = child.wait_with_output().map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            panic!("`cairn invite` printed no invitation: {line:?}\n{left:?}\n{}", host.log())
        };
        let addresses = said["addresses"].as_array().expect("addresses").iter();
        Invite {
            code: said["code"].as_str().expect("a code").to_owned(),
            addresses: addresses.map(|address| address.as_str().expect("an address").to_owned()).collect(),
            child,
            output,
        }
    }

    /// Waits until it has ended; gives what it printed last, or its error.
    pub fn end(mut self) -> Result<serde_json::Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable");
        let Invite { child, .. } = self;
        let output = child.wait_with_output().expect("it ends");
        match output.status.success() {
            true => Ok(serde_json::from_str(&line).expect("JSON")),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

/// Has a node join with a code.
#[track_caller]
pub fn join(node: &Node, addresses: &[String], code: &str, name: &str) -> Output {
    let mut arguments = vec!["join", "--name", name, "--json"];
    arguments.extend(addresses.iter().map(String::as_str));
    let mut command = node.cairn(&arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("cairn");
    let mut input = child.stdin.take().expect("a pipe");
    // One that ends before it reads the code says why.
    let _ = writeln!(input, "{code}");
    drop(input);
    child.wait_with_output().expect("it ends")
}

/// Makes `guest`, which doesn't run, a member of the circle of `host`, which does.
#[track_caller]
pub fn let_in(host: &Node, host_name: &str, kind: &str, guest: &Node, guest_name: &str) {
    let invite = Invite::open(host, kind, host_name);
    let joined = join(guest, &invite.addresses, &invite.code, guest_name);
    let error = String::from_utf8_lossy(&joined.stderr);
    assert!(joined.status.success(), "{guest_name} could not join: {error}\n{}", host.log());
    let member = invite.end().unwrap_or_else(|error| panic!("the invitation failed: {error}"));
    assert_eq!(member["name"], guest_name);
}

/// Waits until something is so; gives the time it took.
#[track_caller]
pub fn wait_until(what: &str, nodes: &[&Node], mut is_so: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        let logs = || nodes.iter().map(|node| node.log()).collect::<Vec<_>>().join("\n---\n");
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}\n{}", logs());
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

/// Waits until a node is connected with so many members.
#[track_caller]
pub fn connected(node: &Node, count: usize) {
    wait_until("connected", &[node], || {
        let circle = node.json(&["circle"]);
        let members = circle["members"].as_array().expect("members");
        members.iter().filter(|member| member["state"] == "connected").count() >= count
    });
}
