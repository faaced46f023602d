//! Several nodes as real processes: joining, one folder on two machines, conflicts, removal.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use cairn_fuse_tests::circle::{self, Invite, connected, let_in, wait_until};
use cairn_fuse_tests::{Node, Random, Scale, Setup, command, figure, promise};

/// Two devices of one person, both mounted and connected.
fn pair() -> (Node, Node) {
    let mut a = circle::prepare(Setup::default());
    let mut b = circle::prepare(Setup::default());
    a.up();
    let_in(&a, "a", "device", &b, "b");
    b.up();
    connected(&a, 1);
    connected(&b, 1);
    (a, b)
}

fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

#[test]
fn what_is_closed_on_one_device_is_read_on_the_other() {
    promise!("What another device did shows whole");
    let (a, b) = pair();
    let mut random = Random::new(1);
    let mut times = Vec::new();
    for round in 0..Scale::pick(40, 300) {
        // Both ways, new files and changed ones.
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let name = format!("f{}", round % 7);
        let bytes = random.bytes(1 + (round as usize * 7919) % 300_000);
        fs::write(from.mount().join(&name), &bytes).expect("write");
        let closed = Instant::now();
        let there = to.mount().join(&name);
        wait_until("read on the other", &[from, to], || fs::read(&there).is_ok_and(|read| read == bytes));
        times.push(closed.elapsed());
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    figure!("a closed file is read on another device after {p50:?} (median), {p99:?} (99 of 100)");
    assert!(a.everything().differences(&b.everything(), 5).is_empty());
}

#[test]
fn a_tree_that_is_copied_in_appears_on_the_other_device() {
    let (a, b) = pair();
    let count = Scale::pick(2_000, 20_000);
    let folder = a.mount().join("many");
    fs::create_dir(&folder).expect("mkdir");
    for number in 0..count {
        fs::write(folder.join(number.to_string()), format!("content of {number}")).expect("write");
    }
    let closed = Instant::now();
    let there = b.mount().join("many");
    wait_until("all files", &[&a, &b], || fs::read_dir(&there).is_ok_and(|names| names.count() == count));
    figure!("{count} small files are seen on another device {:?} after the last was closed", closed.elapsed());
    assert!(a.everything().differences(&b.everything(), 5).is_empty());
}

#[test]
fn an_open_file_and_a_working_directory_stay_good_while_the_other_device_changes_things() {
    promise!("Open files follow");
    let (a, b) = pair();
    command::shell(&a.mount(), "mkdir -p d/e; echo one > d/e/f; echo gone > d/g");
    wait_until("the start", &[&a, &b], || fs::read(b.mount().join("d/g")).is_ok_and(|read| read == b"gone\n"));
    let open = fs::File::open(b.mount().join("d/e/f")).expect("open");
    let removed = fs::File::open(b.mount().join("d/g")).expect("open");
    command::shell(&a.mount(), "echo two > d/e/f; rm d/g; mv d/e d/moved");
    wait_until("the move", &[&a, &b], || b.mount().join("d/moved/f").exists() && !b.mount().join("d/e").exists());
    let mut bytes = [0; 4];
    wait_until("the open file's new content", &[&a, &b], || {
        open.read_exact_at(&mut bytes, 0).is_ok() && &bytes == b"two\n"
    });
    let mut bytes = [0; 5];
    removed.read_exact_at(&mut bytes, 0).expect("a removed file that is open stays readable");
    assert_eq!(&bytes, b"gone\n");
}

#[test]
fn what_both_changed_while_apart_is_kept_from_both() {
    promise!("Two versions are both kept");
    let (a, mut b) = pair();
    fs::write(a.mount().join("shared"), "before").expect("write");
    fs::write(a.mount().join("kept"), "kept").expect("write");
    wait_until("the start", &[&a, &b], || fs::read(b.mount().join("kept")).is_ok());
    wait_until("the start", &[&a, &b], || fs::read(b.mount().join("shared")).is_ok_and(|read| read == b"before"));
    b.down();
    fs::write(a.mount().join("shared"), "of a").expect("write");
    fs::write(a.mount().join("only-a"), "a").expect("write");
    command::shell(&a.mount(), "rm kept; sync .");
    // Alone: it can't reach the other one.
    let listen = a.json(&["circle"])["listening"][0].as_str().expect("an address").to_owned();
    let mut a = a;
    a.down();
    b.up();
    fs::write(b.mount().join("shared"), "of b").expect("write");
    fs::write(b.mount().join("only-b"), "b").expect("write");
    fs::write(b.mount().join("kept"), "edited").expect("write");
    command::shell(&b.mount(), "sync .");
    // On its old port, where the other one looks for it.
    a.set("CAIRN_LISTEN", &listen);
    a.up();
    connected(&b, 1);
    wait_until("both are the same", &[&a, &b], || {
        let (ours, theirs) = (a.everything(), b.everything());
        a.mount().join("only-b").exists() && ours.differences(&theirs, 1).is_empty()
    });
    let names: Vec<String> = fs::read_dir(a.mount())
        .expect("list")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let sibling = names.iter().find(|name| name.starts_with("shared.~")).expect("both versions are there");
    let mut both =
        [&"shared".to_owned(), sibling].map(|name| fs::read_to_string(a.mount().join(name)).expect("readable"));
    both.sort_unstable();
    assert_eq!(both, ["of a", "of b"]);
    assert_eq!(fs::read_to_string(b.mount().join("kept")).expect("an edit wins over a deletion"), "edited");
    assert!(["only-a", "only-b"].iter().all(|name| b.mount().join(name).exists()));
    for node in [&a, &b] {
        let listed = node.say(&["conflicts", "--json"]);
        assert!(listed.contains(sibling.as_str()), "{listed}");
    }
}

#[test]
fn wrong_used_and_late_codes_are_refused_in_words() {
    let mut a = circle::prepare(Setup::default());
    a.up();
    let b = circle::prepare(Setup::default());
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let invite = Invite::open(&a, "device", "a");
    let no_code = circle::join(&b, &invite.addresses, "hello", "b");
    assert!(said(&no_code).contains("that is no code"), "{}", said(&no_code));
    let wrong = if invite.code.starts_with("0000") { "0001-zoo-zoo" } else { "0000-zoo-zoo" };
    let other = circle::join(&b, &invite.addresses, wrong, "b");
    assert!(!other.status.success() && said(&other).contains("code"), "{}", said(&other));
    let (code, addresses) = (invite.code.clone(), invite.addresses.clone());
    let taken = circle::join(&b, &addresses, &code, "a");
    assert!(!taken.status.success() && said(&taken).contains("name"), "{}", said(&taken));
    let joined = circle::join(&b, &addresses, &code, "b");
    assert!(joined.status.success(), "{}", said(&joined));
    invite.end().expect("it tells who joined");
    let c = circle::prepare(Setup::default());
    let used = circle::join(&c, &addresses, &code, "c");
    assert!(!used.status.success(), "a code lets one in");
    let again = circle::join(&b, &addresses, &code, "b");
    assert!(said(&again).contains("in a circle already"), "{}", said(&again));
    let nobody = circle::join(&c, &["127.0.0.1:1".to_owned()], &code, "c");
    assert!(said(&nobody).contains("127.0.0.1:1"), "{}", said(&nobody));
    for text in [said(&used), said(&other)] {
        assert!(text.contains(r#""hint":""#), "{text}");
    }
}

#[test]
fn a_friend_sees_nothing_of_mine_and_a_removed_member_is_cut_off() {
    let mut a = circle::prepare(Setup::default());
    let mut b = circle::prepare(Setup::default());
    a.up();
    let_in(&a, "a", "friend", &b, "b");
    b.up();
    connected(&a, 1);
    let canary = "a canary that nobody else may read";
    fs::write(a.mount().join("canary"), canary).expect("write");
    command::shell(&a.mount(), "sync .");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::read_dir(b.mount()).expect("list").count(), 0, "its volume is another one");
    let circle = b.json(&["circle"]);
    assert_eq!(circle["members"].as_array().expect("members").len(), 2);
    let change = b.ask(&["circle", "remove", "a", "--yes"]);
    assert!(!change.status.success(), "it is no owner");
    a.say(&["circle", "set", "b", "--zone", "attic", "--capacity", "1G"]);
    wait_until("the change", &[&a, &b], || b.json(&["circle"])["members"].to_string().contains("attic"));
    a.say(&["circle", "remove", "b", "--yes"]);
    wait_until("cut off", &[&a, &b], || {
        b.json(&["circle"])["members"].as_array().expect("members").iter().all(|member| member["state"] != "connected")
    });
}

#[test]
fn what_is_not_here_is_fetched_and_a_copy_needs_nobody() {
    promise!("What is elsewhere is fetched");
    let mut a = circle::prepare(Setup::default());
    let mut copy = circle::prepare(Setup::default());
    let mut reader = circle::prepare(Setup::default());
    reader.set("CAIRN_KEEP", "used");
    a.up();
    let_in(&a, "a", "device", &copy, "copy");
    let_in(&a, "a", "device", &reader, "reader");
    copy.up();
    reader.up();
    connected(&a, 2);
    let mut random = Random::new(5);
    let (read, unread) = (random.bytes(3 << 20), random.bytes(3 << 20));
    fs::write(a.mount().join("read"), &read).expect("write");
    fs::write(a.mount().join("unread"), &unread).expect("write");
    fs::create_dir(a.mount().join("folder")).expect("mkdir");
    fs::write(a.mount().join("folder/deep"), &unread[..100_000]).expect("write");
    command::shell(&a.mount(), "sync .");
    let nodes = [&a, &copy, &reader];
    wait_until("seen", &nodes, || reader.mount().join("folder/deep").exists());
    assert_eq!(fs::read(reader.mount().join("read")).expect("fetched"), read);
    wait_until("copied", &nodes, || {
        let why = copy.json(&["why", "/unread"]);
        why["state"] == "here" && why["survives_losses"] == 1
    });
    let holders = a.json(&["why", "/unread"])["holders"].to_string();
    assert!(holders.contains("copy") && !holders.contains("reader"), "{holders}");
    let used = reader.json(&["why", "/unread"]);
    assert_eq!(used["state"], "elsewhere", "{used}");
    a.kill();
    assert_eq!(fs::read(copy.mount().join("unread")).expect("its own copy"), unread);
    assert_eq!(fs::read(copy.mount().join("folder/deep")).expect("its own copy"), unread[..100_000]);
    // From the copy: the reader never talked with it before the first one let both in.
    assert_eq!(fs::read(reader.mount().join("unread")).expect("fetched from the copy"), unread);
    copy.kill();
    assert_eq!(fs::read(reader.mount().join("read")).expect("it was used here"), read);
    let error = fs::read(reader.mount().join("folder/deep")).expect_err("nobody who has it is there");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::HOSTDOWN.raw_os_error()), "{error}");
}
