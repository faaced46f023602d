//! A volume over a store in memory, used through the kernel as programs use it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{DeviceKey, Ino, MasterKey, VolumeKeys};
use cairn_fs::mount::Mount;
use cairn_fs::ops::{Change, Watcher};
use cairn_fs::{Volume, VolumeConfig, VolumeOptions};
use cairn_store::faulty::{Call, Fault, Rule};
use cairn_store::{FaultyStore, MemoryStore};
use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::place::{DEADLINE, Place, cut_connection, errno};

const NOBODY: u32 = 65534;

type Store = Arc<FaultyStore<MemoryStore>>;

/// One device's volume, which can be opened again and again over the same store.
struct Node {
    store: Store,
    place: Place,
}

impl Node {
    fn new() -> Option<Self> {
        Some(Self { store: Arc::new(FaultyStore::new(MemoryStore::new(), 1)), place: Place::new()? })
    }

    fn open(&self) -> Arc<Volume> {
        let keys = VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"photos");
        Volume::open(VolumeConfig {
            keys,
            device: DeviceKey::from_bytes(&[9; 32]),
            store: self.store.clone(),
            heads: self.store.clone(),
            hints: self.store.clone(),
            options: VolumeOptions::default(),
        })
        .unwrap()
    }

    fn start(&self) -> Running<'_> {
        let volume = self.open();
        let mount = self.place.mount(volume.clone());
        fs::set_permissions(self.place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Running { node: self, volume, mount: Some(mount) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// A mounted volume.
struct Running<'a> {
    node: &'a Node,
    volume: Arc<Volume>,
    mount: Option<Mount>,
}

impl Running<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.node.path(name)
    }

    fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    /// As a node ends that is told to.
    fn stop(mut self) {
        let outcome = self.mount.take().unwrap().unmount();
        assert!(outcome.synced.is_ok(), "{outcome:?}");
        self.volume.close().unwrap();
    }

    /// As a node ends that is killed, on a machine that loses its power: what wasn't synced is gone.
    fn crash(mut self) {
        cut_connection(&self.node.place.path());
        std::mem::forget(self.mount.take());
        self.node.store.inner().crash();
    }
}

/// Runs a shell command as someone who isn't root.
fn as_nobody(script: &str, file: &Path) -> bool {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("sh").arg(file).uid(NOBODY).gid(NOBODY);
    command.status().unwrap().success()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[test]
fn files_are_made_read_renamed_listed_and_removed() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    fs::create_dir_all(run.path("a/b")).unwrap();
    fs::write(run.path("a/b/file"), b"content").unwrap();
    fs::rename(run.path("a/b/file"), run.path("a/moved")).unwrap();
    assert_eq!(fs::read(run.path("a/moved")).unwrap(), b"content");
    fs::hard_link(run.path("a/moved"), run.path("second")).unwrap();
    assert_eq!(fs::metadata(run.path("second")).unwrap().nlink(), 2);
    std::os::unix::fs::symlink("a/moved", run.path("link")).unwrap();
    assert_eq!(fs::read(run.path("link")).unwrap(), b"content");
    let names: BTreeSet<_> = fs::read_dir(node.place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a", "link", "second"].map(Into::into).into());
    assert_eq!(fs::remove_dir(run.path("a")).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
    fs::remove_dir_all(run.path("a")).unwrap();
    assert_eq!(fs::read(run.path("second")).unwrap(), b"content");
    run.stop();
}

#[test]
fn everything_is_there_after_a_restart() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let data = pattern(5 << 20);
    fs::write(run.path("large"), &data).unwrap();
    fs::set_permissions(run.path("large"), fs::Permissions::from_mode(0o640)).unwrap();
    let number = fs::metadata(run.path("large")).unwrap().ino();
    run.stop();
    let run = node.start();
    assert_eq!(fs::read(run.path("large")).unwrap(), data);
    let metadata = fs::metadata(run.path("large")).unwrap();
    assert_eq!((metadata.ino(), metadata.mode() & 0o7777), (number, 0o640));
    run.stop();
}

#[test]
fn a_crash_keeps_what_fsync_confirmed_and_the_mount_point_is_taken_over() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let mut file = File::create(run.path("kept")).unwrap();
    file.write_all(&pattern(300_000)).unwrap();
    fs::rename(run.path("kept"), run.path("renamed")).unwrap();
    file.sync_all().unwrap();
    run.crash();
    let run = node.start();
    assert_eq!(fs::read(run.path("renamed")).unwrap(), pattern(300_000));
    assert!(!run.path("kept").exists());
    run.stop();
}

#[test]
fn long_folders_list_each_name_once_while_names_go() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    fs::create_dir(run.path("many")).unwrap();
    for n in 0..3000 {
        File::create(run.path(&format!("many/{n}"))).unwrap();
    }
    let mut seen = BTreeSet::new();
    for (at, entry) in fs::read_dir(run.path("many")).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if at % 3 == 0 {
            fs::remove_file(run.path("many").join(&name)).unwrap();
        }
        assert!(seen.insert(name), "twice");
    }
    assert_eq!(seen.len(), 3000);
    assert_eq!(fs::read_dir(run.path("many")).unwrap().count(), 2000);
    run.stop();
}

#[test]
fn attributes_are_kept_and_strange_namespaces_refused() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let file = run.path("file");
    File::create(&file).unwrap();
    rustix::fs::setxattr(&file, "user.color", b"blue", XattrFlags::CREATE).unwrap();
    assert_eq!(rustix::fs::setxattr(&file, "user.color", b"x", XattrFlags::CREATE), Err(Errno::EXIST));
    assert_eq!(rustix::fs::setxattr(&file, "user.none", b"x", XattrFlags::REPLACE), Err(Errno::NODATA));
    let mut value = [0; 16];
    assert_eq!(rustix::fs::getxattr(&file, "user.color", &mut value[..]), Ok(4));
    assert_eq!(rustix::fs::getxattr(&file, "user.color", &mut value[..2]), Err(Errno::RANGE));
    assert_eq!(rustix::fs::setxattr(&file, "strange.name", b"x", XattrFlags::empty()), Err(Errno::OPNOTSUPP));
    let mut list = [0; 64];
    let len = rustix::fs::listxattr(&file, &mut list[..]).unwrap();
    assert_eq!(&list[..len], b"user.color\0");
    rustix::fs::removexattr(&file, "user.color").unwrap();
    assert_eq!(rustix::fs::getxattr(&file, "user.color", &mut value[..]), Err(Errno::NODATA));
    run.stop();
}

#[test]
fn programs_run_from_the_mount() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    fs::copy("/bin/cat", run.path("cat")).unwrap();
    fs::write(run.path("text"), b"shown").unwrap();
    let output = Command::new(run.path("cat")).arg(run.path("text")).output().unwrap();
    assert_eq!(output.stdout, b"shown");
    run.stop();
}

#[test]
fn writes_of_others_take_set_id_bits_away_and_root_s_do_not() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let file = run.path("program");
    let reset = || {
        fs::write(&file, b"some text").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6777)).unwrap();
    };
    reset();
    fs::write(&file, b"by root").unwrap();
    assert_eq!(mode(&file), 0o6777);
    let scripts = [
        "echo more >> \"$1\"",
        ": > \"$1\"",
        "truncate -s 3 \"$1\"",
        "fallocate -l 100000 \"$1\"",
        "dd if=/dev/zero of=\"$1\" bs=1 count=1 conv=notrunc status=none",
    ];
    for script in scripts {
        reset();
        assert!(as_nobody(script, &file), "{script}");
        assert_eq!(mode(&file), 0o777, "{script}");
    }
    reset();
    std::os::unix::fs::chown(&file, Some(NOBODY), None).unwrap();
    assert_eq!(mode(&file), 0o777, "chown");
    run.stop();
}

#[test]
fn rename_flags_reach_the_volume() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let (a, b) = (run.path("a"), run.path("b"));
    fs::write(&a, b"a").unwrap();
    fs::write(&b, b"b").unwrap();
    let with = |flags| rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, flags);
    assert_eq!(with(RenameFlags::NOREPLACE), Err(Errno::EXIST));
    with(RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read(&a).unwrap(), b"b");
    with(RenameFlags::WHITEOUT).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"b");
    assert_eq!(fs::metadata(&a).unwrap().rdev(), 0);
    run.stop();
}

#[test]
fn holes_are_found_made_and_copied() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(run.path("sparse")).unwrap();
    file.write_all_at(b"end", 10 << 20).unwrap();
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).unwrap() >> 20, 9 + 1);
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0)), Ok(0));
    let end = (10 << 20) + 3;
    assert_eq!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(end)), Err(Errno::NXIO));
    file.write_all_at(&pattern(1 << 20), 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 4096, 8192).unwrap();
    let mut seen = vec![1; 16384];
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_exact(&mut seen).unwrap();
    let mut wanted = pattern(16384);
    wanted[4096..4096 + 8192].fill(0);
    assert_eq!(seen, wanted);
    let copy = File::create(run.path("copy")).unwrap();
    let copied = rustix::fs::copy_file_range(&file, Some(&mut 0), &copy, Some(&mut 0), 1 << 30).unwrap();
    assert_eq!(copied as u64, end);
    assert!(fs::read(run.path("copy")).unwrap() == fs::read(run.path("sparse")).unwrap());
    run.stop();
}

#[test]
fn a_file_without_a_name_lives_until_it_is_closed() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(run.path("gone")).unwrap();
    fs::remove_file(run.path("gone")).unwrap();
    file.write_all(b"still here").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "still here");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    drop(file);
    run.stop();
}

#[test]
fn what_is_not_offered_is_refused_in_words() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let refused = rustix::fs::open(node.place.path(), flags, Mode::from_raw_mode(0o600)).map(|_| ());
    assert_eq!(refused, Err(Errno::OPNOTSUPP));
    let long = run.path(&"n".repeat(256));
    assert_eq!(errno(&File::create(&long).unwrap_err()), Some(Errno::NAMETOOLONG));
    assert_eq!(errno(&fs::metadata(&long).unwrap_err()), Some(Errno::NAMETOOLONG));
    run.stop();
}

#[test]
fn a_store_that_hangs_ends_a_read_and_an_fsync_at_their_deadline() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    fs::write(run.path("cold"), pattern(1 << 20)).unwrap();
    run.stop();
    let run = node.start();
    let hot = File::create(run.path("hot")).unwrap();
    let faults = node.store.faults();
    for call in [Call::Get, Call::Put, Call::Sync, Call::AppendDelta] {
        faults.add(Rule::from(call, 1, Fault::Stuck));
    }
    let within = |what: &str, result: io::Result<()>, start: Instant| {
        assert_eq!(errno(&result.unwrap_err()), Some(Errno::TIMEDOUT), "{what}");
        assert!(start.elapsed() < 4 * DEADLINE, "{what} took {:?}", start.elapsed());
    };
    let start = Instant::now();
    let cold = File::open(run.path("cold")).and_then(|file| file.read_at(&mut [0; 4096], 0));
    within("read", cold.map(|_| ()), start);
    let start = Instant::now();
    hot.write_all_at(b"x", 0).unwrap();
    within("fsync", hot.sync_all(), start);
    assert_eq!(fs::read(run.path("hot")).unwrap(), b"x", "what is in memory is answered all the same");
    faults.clear();
    hot.sync_all().unwrap();
    assert_eq!(fs::read(run.path("cold")).unwrap(), pattern(1 << 20));
    drop(hot);
    run.stop();
}

#[test]
fn a_mount_whose_store_hangs_is_unmounted_all_the_same() {
    let Some(node) = Node::new() else { return };
    let mut run = node.start();
    fs::write(run.path("file"), b"x").unwrap();
    for call in [Call::Put, Call::Sync, Call::AppendDelta] {
        node.store.faults().add(Rule::from(call, 1, Fault::Stuck));
    }
    let start = Instant::now();
    let outcome = run.mount.take().unwrap().unmount();
    assert!(outcome.synced.is_err(), "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    assert_eq!(fs::read_dir(node.place.path()).unwrap().count(), 0);
    node.store.faults().clear();
}

#[test]
fn the_kernel_asks_no_more_than_it_must() {
    let Some(node) = Node::new() else { return };
    let run = node.start();
    let count = |what: &mut dyn FnMut()| {
        let before = run.mount().counts().requests;
        what();
        run.mount().counts().requests - before
    };
    let file = run.path("file");
    // LOOKUP, CREATE, WRITE, RELEASE, and the one FLUSH of this mount that is told never to come again. Others on this machine
    // may make the kernel forget something meanwhile: the fewest on three fresh mounts is what it must ask.
    let first = count(&mut || fs::write(&file, [1; 4096]).unwrap());
    let others = (0..2).filter_map(|_| Node::new()).map(|node| {
        let run = node.start();
        let before = run.mount().counts().requests;
        fs::write(run.path("file"), [1; 4096]).unwrap();
        let create = run.mount().counts().requests - before;
        run.stop();
        create
    });
    let create = others.chain([first]).min().unwrap();
    assert!(create <= 5, "create, write and close took {create} requests");
    let _ = fs::metadata(&file).unwrap();
    let stat = count(&mut || {
        (0..100).for_each(|_| assert_eq!(fs::metadata(&file).unwrap().len(), 4096));
    });
    assert_eq!(stat, 0, "stat of what is known");
    let handle = OpenOptions::new().write(true).open(&file).unwrap();
    let write = count(&mut || (0..100).for_each(|at| handle.write_all_at(&[2; 4096], at * 4096).unwrap()));
    assert!(write <= 101, "one request per write and one for security.capability, not {write}");
    drop(handle);
    let list = count(&mut || assert_eq!(fs::read_dir(node.place.path()).unwrap().count(), 1));
    assert!(list <= 5, "listing took {list} requests");
    run.stop();
}

#[test]
fn announcing_changes_while_the_same_files_are_used_stops_nobody() {
    const TIME: Duration = Duration::from_secs(2);
    let Some(node) = Node::new() else { return };
    let mut run = node.start();
    let names: Vec<String> = (0..8).map(|n| format!("file{n}")).collect();
    names.iter().for_each(|name| fs::write(run.path(name), pattern(200_000)).unwrap());
    let inos: Vec<_> = names.iter().map(|name| fs::metadata(run.path(name)).unwrap().ino()).collect();
    let invalidator = run.mount().invalidator();
    let (root, until) = (node.place.path(), Instant::now() + TIME);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while Instant::now() < until {
                for (name, ino) in names.iter().zip(&inos) {
                    invalidator.changed(Change::Inode(Ino::new(*ino)));
                    let name = Bytes::copy_from_slice(name.as_bytes());
                    invalidator.changed(Change::Entry { parent: Ino::ROOT, name });
                }
                invalidator.changed(Change::Inode(Ino::ROOT));
            }
        });
        for worker in 0..4 {
            let (names, root) = (&names, &root);
            scope.spawn(move || {
                for round in (worker..).take_while(|_| Instant::now() < until) {
                    let path = root.join(&names[round % names.len()]);
                    match worker {
                        0 => assert_eq!(fs::read(path).unwrap().len(), 200_000),
                        1 => File::options().write(true).open(path).unwrap().write_all_at(b"x", 100_000).unwrap(),
                        2 => assert!(fs::read_dir(root).unwrap().count() >= names.len()),
                        _ => {
                            let own = root.join("moving");
                            fs::write(&own, b"x").unwrap();
                            fs::rename(&own, root.join("moved")).unwrap();
                            fs::remove_file(root.join("moved")).unwrap();
                        }
                    }
                }
            });
        }
    });
    assert_eq!(run.mount().counts().timed_out, 0);
    invalidator.changed(Change::Inode(Ino::ROOT));
    let start = Instant::now();
    let outcome = run.mount.take().unwrap().unmount();
    assert!(outcome.synced.is_ok() && !outcome.busy, "{outcome:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}
