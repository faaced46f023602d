//! What a call costs, in counts: they are the same on a slow machine, so that none of these tests can fail by load.
//!
//! Bars are in requests of the kernel, in blocks sealed and read, and in bytes of the log. Where the kernel decides, the
//! test says what was found and holds it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use cairn_fuse_tests::costs::{Costs, undisturbed};
use cairn_fuse_tests::{Node, Random, Scale, command, figure, skip};

/// Repetitions of one call: a cost per call of less than one shows as well.
const TIMES: u64 = 100;
const PAGE: usize = 4096;
const MIB: u64 = 1 << 20;

/// Everything that is dirty gets into a tree; what follows starts from nothing.
fn settle(node: &Node) {
    node.say(&["snapshot"]);
}

/// A file of incompressible bytes, streamed as programs do.
fn stream(path: &PathBuf, mib: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut file = File::create(path).expect("create");
    (0..mib).for_each(|_| file.write_all(&random.bytes(MIB as usize)).expect("write"));
    file.sync_all().expect("fsync");
}

#[test]
fn what_the_kernel_knows_is_not_asked_again() {
    undisturbed(|| {
        let node = Node::start();
        let (file, absent) = (node.mount().join("file"), node.mount().join("absent"));
        fs::write(&file, b"x").expect("write");
        let look = || {
            assert_eq!(fs::metadata(&file).expect("stat").len(), 1);
            assert!(!absent.exists());
        };
        look();
        let costs = Costs::of(&node, || (0..TIMES).for_each(|_| look()));
        assert_eq!(costs.requests(), 0, "stat, and stat of nothing: {costs}");
        // A link's target and a listing are kept like attributes.
        std::os::unix::fs::symlink("file", node.mount().join("link")).expect("symlink");
        let look = || {
            fs::read_link(node.mount().join("link")).expect("readlink");
            assert_eq!(fs::read_dir(node.mount()).expect("list").count(), 2);
        };
        look();
        look();
        let costs = Costs::of(&node, || (0..TIMES).for_each(|_| look()));
        assert_eq!(costs.requests_of("readlink"), 0, "{costs}");
        assert_eq!(costs.requests_of("readdir") + costs.requests_of("readdirplus"), 0, "{costs}");
        assert!(costs.requests() <= 2 * TIMES, "opening and closing a folder: {costs}");
    });
}

#[test]
fn a_small_file_is_made_with_what_the_kernel_asks_and_no_more() {
    undisturbed(|| {
        let node = Node::start();
        let bytes = Random::new(1).bytes(PAGE);
        let folder = node.mount().join("folder");
        fs::create_dir(&folder).expect("mkdir");
        fs::write(folder.join("first"), &bytes).expect("write"); // Takes the mount's one FLUSH along.
        let costs = Costs::of(&node, || {
            (0..TIMES).for_each(|i| fs::write(folder.join(format!("f{i}")), &bytes).expect("write"))
        });
        figure!("create + write 4 KiB + close, {TIMES} times: {costs}");
        for kind in ["lookup", "create", "write", "release"] {
            assert_eq!(costs.requests_of(kind), TIMES, "{kind}: {costs}");
        }
        // The kernel forgets the folder's attributes with each new name and asks for its mode before the next one; and before
        // the first write to an inode it asks for `security.capability`. No flag spares either, as long as it checks
        // permissions and there are extended attributes.
        assert!(costs.requests_of("getattr") <= TIMES && costs.requests_of("getxattr") <= TIMES, "{costs}");
        assert!(costs.requests() <= 6 * TIMES, "{costs}");
    });
}

#[test]
fn a_write_is_one_request_and_asks_for_no_attribute() {
    undisturbed(|| {
        let node = Node::start();
        let path = node.mount().join("file");
        fs::write(&path, b"x").expect("write");
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        let write = |at: u64| file.write_all_at(&[at as u8; PAGE], at * PAGE as u64).expect("write");
        let costs = Costs::of(&node, || (0..TIMES).for_each(write));
        assert_eq!(costs.requests_of("write"), TIMES, "{costs}");
        assert_eq!(costs.requests(), TIMES, "{costs}");
    });
}

#[test]
fn opening_closing_and_removing_cost_one_request_each() {
    undisturbed(|| {
        let node = Node::start();
        let names: Vec<PathBuf> = (0..TIMES).map(|i| node.mount().join(format!("f{i}"))).collect();
        names.iter().for_each(|name| fs::write(name, b"x").expect("write"));
        let costs = Costs::of(&node, || names.iter().for_each(|name| drop(File::open(name).expect("open"))));
        assert_eq!((costs.requests_of("open"), costs.requests_of("release")), (TIMES, TIMES), "{costs}");
        // The folder's mode, once: a name in it is new.
        assert!(costs.requests() <= 2 * TIMES + 1, "{costs}");
        let costs = Costs::of(&node, || names.iter().for_each(|name| fs::remove_file(name).expect("unlink")));
        figure!("unlink, {TIMES} times: {costs}");
        assert_eq!(costs.requests_of("unlink"), TIMES, "{costs}");
        // As with create, the kernel asks for the folder's mode after each change.
        assert!(costs.requests_of("getattr") <= TIMES, "{costs}");
        assert!(costs.requests() <= 2 * TIMES, "{costs}");
    });
}

#[test]
fn a_large_folder_is_listed_in_few_requests_and_few_blocks() {
    undisturbed(|| {
        const ENTRIES: u64 = 10_000;
        let mut node = Node::start();
        let folder = node.mount().join("folder");
        fs::create_dir(&folder).expect("mkdir");
        (0..ENTRIES).for_each(|i| drop(File::create(folder.join(format!("entry-{i}"))).expect("create")));
        node.down();
        node.up();
        let costs = Costs::of(&node, || assert_eq!(fs::read_dir(&folder).expect("list").count() as u64, ENTRIES));
        figure!("listing {ENTRIES} entries, cold: {costs}");
        assert!(costs.requests_of("readdir") + costs.requests_of("readdirplus") <= ENTRIES / 50, "{costs}");
        assert!(costs.store("blocks_read") <= ENTRIES / 50, "{costs}");
        assert!(costs.requests() <= ENTRIES / 50 + 10, "{costs}");
        node.down();
        node.up();
        let stat_all = || fs::read_dir(&folder).expect("list").for_each(|entry| drop(entry.expect("entry").metadata()));
        let costs = Costs::of(&node, stat_all);
        figure!("ls -l of {ENTRIES} entries, cold: {costs}");
        assert!(costs.store("blocks_read") <= ENTRIES / 50, "{costs}");
        // What `ls` asks: names first, which must not make the long form look each name up, and then every file for an access
        // list, as the kernel doesn't know that there is none. It asks for a label only once.
        node.down();
        node.up();
        let list = |flag: &str| {
            let listed = command::command(&folder, "ls").arg(flag).output().expect("ls runs");
            assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        };
        list("-f");
        let costs = Costs::of(&node, || list("-l"));
        figure!("ls -l of {ENTRIES} entries after ls -f: {costs}");
        assert!(costs.requests_of("getxattr") <= ENTRIES + 10, "{costs}");
        assert!(costs.requests() <= ENTRIES + ENTRIES / 50 + 10, "{costs}");
        // Moving the folder moves its entries in no way.
        settle(&node);
        let costs = Costs::of(&node, || {
            fs::rename(&folder, node.mount().join("renamed")).expect("rename");
            settle(&node);
        });
        figure!("renaming a folder of {ENTRIES} entries: {costs}");
        assert_eq!(costs.requests_of("rename"), 1, "{costs}");
        assert!(costs.requests() <= 5, "{costs}");
        assert!(costs.volume("delta_bytes") <= 4096, "{costs}");
        assert!(costs.volume("nodes") <= 4, "{costs}");
        assert_eq!(costs.volume("chunks") + costs.volume("parked"), 0, "{costs}");
    });
}

#[test]
fn a_stream_is_written_once() {
    undisturbed(|| {
        let mib = Scale::pick(128, 1024);
        let node = Node::start();
        let path = node.mount().join("stream");
        let costs = Costs::of(&node, || {
            stream(&path, mib, 2);
            settle(&node);
        });
        figure!("streaming {mib} MiB: {costs}");
        assert!(costs.volume("delta_bytes") <= MIB, "{costs}");
        let blocks = costs.volume("chunk_bytes") + costs.volume("parked_bytes") + costs.volume("node_bytes");
        let beside = costs.store("log_bytes_written") - blocks;
        assert!(beside <= MIB, "{beside} bytes of log beside the blocks: {costs}");
        // The end of a file that grows is parked at each cut of the journal, until its last chunk is known.
        assert!(costs.volume("parked_bytes") <= mib * MIB / 16, "{costs}");
        assert_eq!(costs.requests_of("write"), mib, "{costs}");
    });
}

#[test]
fn a_page_of_a_large_file_costs_one_chunk() {
    undisturbed(|| {
        let mib = Scale::pick(128, 1280);
        let node = Node::start();
        let path = node.mount().join("large");
        stream(&path, mib, 3);
        settle(&node);
        let file = OpenOptions::new().write(true).open(&path).expect("open");
        let costs = Costs::of(&node, || {
            file.write_all_at(&Random::new(4).bytes(PAGE), (mib / 2) * MIB + 12_288).expect("write");
            file.sync_all().expect("fsync");
            settle(&node);
        });
        figure!("4 KiB in a file of {mib} MiB: {costs}");
        assert!(costs.volume("delta_bytes") + costs.volume("parked_bytes") <= 16 << 10, "the journal: {costs}");
        assert_eq!(costs.volume("chunks"), 1, "{costs}");
        // The path to it: file tree, folder, root, and once more if a flush came between.
        assert!(costs.volume("nodes") <= 8, "{costs}");
    });
}

#[test]
fn nothing_is_written_for_nothing() {
    undisturbed(|| {
        let node = Node::start();
        let path = node.mount().join("file");
        fs::write(&path, Random::new(5).bytes(1 << 20)).expect("write");
        let file = File::open(&path).expect("open");
        file.sync_all().expect("fsync");
        settle(&node);
        // A look around may leave access times behind; they cost nothing by themselves.
        assert_eq!(fs::read(&path).expect("read").len(), 1 << 20);
        let costs = Costs::of(&node, || (0..TIMES).for_each(|_| file.sync_all().expect("fsync")));
        assert_eq!(costs.store("syncs"), 0, "{costs}");
        assert_eq!(costs.store("log_bytes_written"), 0, "{costs}");
        assert_eq!(costs.requests_of("fsync"), TIMES, "{costs}");
        settle(&node);
        let costs = Costs::of(&node, || settle(&node));
        assert_eq!(costs.volume("chunks") + costs.volume("parked") + costs.volume("nodes"), 0, "{costs}");
        assert!(costs.store("log_bytes_written") <= 4096, "a head: {costs}");
    });
}

#[test]
fn a_file_is_read_once_and_then_the_kernel_has_it() {
    undisturbed(|| {
        let mut node = Node::start();
        let path = node.mount().join("file");
        let bytes = Random::new(6).bytes(8 << 20);
        fs::write(&path, &bytes).expect("write");
        node.down();
        node.up();
        let read = || assert!(fs::read(&path).expect("read") == bytes);
        let costs = Costs::of(&node, read);
        figure!("reading 8 MiB, cold: {costs}");
        assert!(costs.store("block_bytes_read") <= (8 << 20) + (1 << 20), "each block once: {costs}");
        let costs = Costs::of(&node, read);
        assert_eq!((costs.store("blocks_read"), costs.requests_of("read")), (0, 0), "{costs}");
        assert!(costs.requests() <= 3, "open, release, and the access time: {costs}");
    });
}

/// A flush in the middle of a file still ends a chunk there, and when it comes is a matter of time: only what is put with
/// no flush before its end can be judged, so a few are tried.
#[test]
fn what_is_put_again_falls_into_the_same_chunks() {
    const TRIES: u64 = 12;
    undisturbed(|| {
        let mib = 40;
        let node = Node::start();
        for turn in 0..TRIES {
            let source = node.outside().join(format!("source-{turn}"));
            stream(&source, mib, 7 + turn);
            let source = source.display().to_string();
            let put = |target: String| {
                Costs::of(&node, || {
                    node.say(&["put", &source, &target]);
                    settle(&node);
                })
            };
            let (first, again) = (put(format!("/first-{turn}")), put(format!("/again-{turn}")));
            if first.volume("flushes") + again.volume("flushes") > 2 {
                continue;
            }
            figure!("putting {mib} MiB again: {again}");
            assert_eq!(again.volume("chunks"), 0, "wherever the journal was cut meanwhile: {again}");
            assert_eq!(again.volume("known_bytes"), again.volume("data_bytes"), "{again}");
            return;
        }
        skip!("a flush came into the middle of each of {TRIES} files: this machine is too slow at present");
    });
}
