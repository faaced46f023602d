//! What each step promises.

use cairn_block::FileType;
use cairn_fs::ReceiveError;
use cairn_fs::merge::short_name;

use super::device::{Device, devices};
use super::look::{look, root};

fn texts(device: &Device) -> Vec<(String, String)> {
    let shown = look(device).into_iter();
    shown.map(|(path, shown)| (path, String::from_utf8(shown.text).expect("text"))).collect()
}

#[test]
fn what_one_device_did_shows_on_another_and_signs_nothing() {
    let (_, [a, b]) = devices();
    a.make("d", FileType::Directory).unwrap();
    a.write("d/f", b"one").unwrap();
    a.volume.flush().unwrap();
    assert_eq!(b.hear(&a), 1);
    assert!(b.volume.is_behind());
    let absorbed = b.absorb();
    assert!(absorbed.head.is_none() && absorbed.changed > 0 && absorbed.waiting.is_empty());
    assert!(!b.volume.is_behind());
    assert_eq!(look(&a), look(&b));
    assert!(!b.heads().iter().any(|(device, ..)| *device == b.id()), "a head that says nothing new");
    assert_eq!(b.absorb().changed, 0);
    // A change on top, and back.
    b.write("d/f", b"two").unwrap();
    b.volume.flush().unwrap();
    a.hear(&b);
    a.absorb();
    assert_eq!(a.read("d/f").unwrap(), b"two");
}

#[test]
fn what_two_did_apart_is_merged_alike_by_both() {
    let (_, [a, b]) = devices();
    a.write("f", b"before").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    a.write("f", b"of a").unwrap();
    b.write("f", b"of b").unwrap();
    b.write("g", b"more").unwrap();
    a.volume.flush().unwrap();
    b.volume.flush().unwrap();
    a.hear(&b);
    b.hear(&a);
    let (of_a, of_b) = (a.absorb(), b.absorb());
    assert!(of_a.head.is_some() && of_b.head.is_some());
    assert_eq!(of_a.conflicts, of_b.conflicts);
    assert_eq!(of_a.conflicts.len(), 1);
    assert_eq!(look(&a), look(&b));
    assert_eq!(root(&a), root(&b));
    assert_eq!(texts(&a).len(), 3);
    let conflicts = a.volume.conflicts().unwrap();
    assert_eq!(conflicts, b.volume.conflicts().unwrap());
    assert!(conflicts.is_all && conflicts.siblings.len() == 1, "{conflicts:?}");
    let later = a.id().max(b.id());
    assert_eq!((&conflicts.siblings[0].primary[..], &conflicts.siblings[0].device), (&b"/f"[..], &short_name(&later)));
    // Both signed it, and neither has anything to add to the other's.
    a.hear(&b);
    b.hear(&a);
    for device in [&a, &b] {
        let absorbed = device.absorb();
        assert!(absorbed.head.is_none() && absorbed.changed == 0);
        assert!(!device.volume.is_behind());
    }
}

#[test]
fn what_is_on_top_of_another_devices_head_survives_a_crash() {
    let (_, [a, b]) = devices();
    a.write("f", b"one").unwrap();
    a.volume.flush().unwrap();
    b.write("g", b"two").unwrap();
    b.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    a.hear(&b);
    a.absorb();
    a.write("f", b"three").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    // On top of a tree of the other one, and in no tree yet.
    use cairn_fs::ops::Operations;
    b.write("h", b"four").unwrap();
    b.write("f", b"five").unwrap();
    b.volume.sync_all().unwrap();
    let b = b.again(|store| store.crash());
    b.absorb();
    let wanted = [("/f", "five"), ("/g", "two"), ("/h", "four")].map(|(path, text)| (path.into(), text.into()));
    assert_eq!(texts(&b), wanted);
    b.volume.flush().unwrap();
    a.hear(&b);
    a.absorb();
    assert_eq!(texts(&a), wanted);
}

#[test]
fn a_file_that_is_open_shows_what_came_and_outlives_its_removal() {
    use cairn_fs::ops::{KillPriv, OpenFlags, Operations};
    let (_, [a, b]) = devices();
    a.write("f", b"one").unwrap();
    a.write("g", b"gone").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    let flags = OpenFlags { read: true, write: true, truncate: false, kill_priv: KillPriv::Keep };
    let open = |path: &str| {
        let ino = b.find(path).unwrap();
        (ino, b.volume.open(super::device::wait(), ino, flags).unwrap())
    };
    let read = |ino| b.volume.read(super::device::wait(), ino, 0, 100).unwrap().into_bytes();
    let ((f, f_handle), (g, g_handle)) = (open("f"), open("g"));
    a.write("f", b"two").unwrap();
    a.rename("f", "moved").unwrap();
    a.remove("g").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    assert_eq!((&read(f)[..], &read(g)[..]), (&b"two"[..], &b"gone"[..]));
    assert_eq!(b.find("moved").unwrap(), f);
    // Written to by its number, wherever it is now.
    b.volume.write(super::device::wait(), f, 0, bytes::Bytes::from_static(b"THREE"), KillPriv::Keep).unwrap();
    assert_eq!(b.read("moved").unwrap(), b"THREE");
    b.volume.release(f_handle);
    b.volume.release(g_handle);
    b.volume.forget(g, 1);
    assert_eq!(texts(&b), [("/moved".to_owned(), "THREE".to_owned())]);
}

#[test]
fn numbers_of_two_devices_never_meet() {
    let (_, [a, b]) = devices();
    for index in 0..20 {
        a.write(&format!("a{index}"), b"a").unwrap();
        b.write(&format!("b{index}"), b"b").unwrap();
    }
    let before = [look(&a), look(&b)];
    a.volume.flush().unwrap();
    b.volume.flush().unwrap();
    a.hear(&b);
    a.absorb();
    let after = look(&a);
    for (path, shown) in before.iter().flatten() {
        assert_eq!(after[path].ino, shown.ino, "{path} got another number");
    }
}

#[test]
fn heads_that_contradict_what_is_known_are_refused() {
    let (_, [a, b, c]) = devices();
    a.write("f", b"one").unwrap();
    a.volume.flush().unwrap();
    let before = a.store.clone();
    let first = a.heads();
    assert_eq!(b.hear(&a), 1);
    assert!(!b.receive(&first[0].2).unwrap(), "known already");
    // Bytes that nobody signed.
    let mut forged = first[0].2.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let error = b.receive(&forged.into()).unwrap_err();
    assert!(matches!(error, ReceiveError::Untrusted(_)) && error.is_senders_fault(), "{error}");
    // The store of `a` is set back to nothing, and it goes on.
    drop(before);
    let a = a.again(|store| {
        let volume = super::device::keys().volume();
        use cairn_store::HeadStore;
        store.drop_heads(&volume, &[(first[0].0, first[0].1)]).unwrap();
    });
    a.write("g", b"two").unwrap();
    a.volume.flush().unwrap();
    let second = a.heads().into_iter().rfind(|(device, ..)| *device == a.id()).unwrap();
    assert_eq!(second.1, first[0].1);
    let error = b.receive(&second.2).unwrap_err();
    assert!(matches!(error, ReceiveError::Forked { .. }) && !error.is_senders_fault(), "{error}");
    // And hears of the head that it lost.
    let error = a.receive(&first[0].2).unwrap_err();
    assert!(matches!(error, ReceiveError::NotOurs { .. }), "{error}");
    // Who has heard of one history only takes that one.
    assert!(c.receive(&second.2).unwrap());
    assert!(c.receive(&first[0].2).is_err());
}

#[test]
fn a_head_whose_tree_is_out_of_reach_keeps_nobody_else_waiting() {
    let (net, [a, b, c]) = devices();
    a.write("f", b"of a").unwrap();
    b.write("g", b"of b").unwrap();
    a.volume.flush().unwrap();
    b.volume.flush().unwrap();
    c.hear(&a);
    c.hear(&b);
    net.split(|at| u8::from(at == 0));
    let absorbed = c.absorb();
    assert_eq!(absorbed.waiting, [(a.id(), 1)]);
    assert_eq!(texts(&c), [("/g".to_owned(), "of b".to_owned())]);
    assert!(c.volume.is_behind());
    net.split(|_| 0);
    assert!(c.absorb().waiting.is_empty());
    assert_eq!(texts(&c).len(), 2);
}

#[test]
fn a_device_that_joins_reads_what_it_looks_at_and_no_more() {
    let (_, [a, b]) = devices();
    for dir in 0..30 {
        a.make(&format!("d{dir}"), FileType::Directory).unwrap();
        for file in 0..200 {
            a.write(&format!("d{dir}/f{file}"), format!("{dir} {file}").as_bytes()).unwrap();
        }
    }
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    let (had, has) = (a.store.block_ids().len(), b.store.block_ids().len());
    assert!(has < had / 4, "{has} of {had} blocks");
    assert_eq!(b.read("d7/f9").unwrap(), b"7 9");
}

#[test]
fn a_collection_that_cannot_read_a_tree_removes_nothing() {
    let (net, [a, b]) = devices();
    a.make("d", FileType::Directory).unwrap();
    for file in 0..2000 {
        a.write(&format!("d/f{file}"), format!("{file}").as_bytes()).unwrap();
    }
    a.volume.flush().unwrap();
    b.write("mine", b"mine").unwrap();
    b.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    net.split(|at| at as u8);
    let collect = || {
        let volumes = [b.volume.clone()];
        cairn_fs::sweep(&volumes, &b.store, &|| Some(Vec::new()), Default::default(), &mut |_| {})
    };
    // What the join did not read is with the other one, who is away.
    let before = b.store.block_ids().len();
    let missing = b.find("d").and_then(|dir| {
        use cairn_fs::ops::Operations;
        b.volume.lookup(super::device::wait(), dir, b"f7")
    });
    if missing.is_err() {
        assert!(collect().is_err());
        assert_eq!(b.store.block_ids().len(), before);
    }
    net.split(|_| 0);
    collect().unwrap();
    // Chunks that are elsewhere are no damage, and nothing that is needed went.
    assert_eq!(b.read("d/f7").unwrap(), b"7");
    assert_eq!(b.read("mine").unwrap(), b"mine");
}

#[test]
fn copies_of_what_is_elsewhere_are_here_when_they_are_confirmed() {
    use cairn_fs::ops::{KillPriv, Operations, Place};
    let (net, [a, b]) = devices();
    let text: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    a.write("large", &text).unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    b.absorb();
    b.write("copy", b"").unwrap();
    let [source, target] = ["large", "copy"].map(|path| Place { ino: b.find(path).unwrap(), offset: 0 });
    let copied = b.volume.copy_range(super::device::wait(), source, target, 1 << 30, KillPriv::Keep).unwrap();
    assert_eq!(copied, text.len() as u64);
    b.volume.sync_all().unwrap();
    net.split(|at| at as u8);
    let b = b.again(|store| store.crash());
    let ino = b.find("copy").unwrap();
    let found = b.volume.read(super::device::wait(), ino, 0, 2_000_000).unwrap().into_bytes();
    assert!(found == text, "other bytes, or {} of {}", found.len(), text.len());
}

#[test]
fn writers_that_never_pause_are_absorbed_beside_all_the_same() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let (_, [a, b]) = devices();
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let number = written.fetch_add(1, Ordering::Relaxed);
                b.write(&format!("b{}", number % 50), number.to_string().as_bytes()).unwrap();
            }
        });
        for round in 0..20 {
            a.write(&format!("a{round}"), b"a").unwrap();
            a.volume.flush().unwrap();
            b.hear(&a);
            b.absorb();
            assert_eq!(b.read(&format!("a{round}")).unwrap(), b"a");
        }
        done.store(true, Ordering::Relaxed);
    });
    b.volume.flush().unwrap();
    a.hear(&b);
    a.absorb();
    let last = written.load(Ordering::Relaxed);
    for number in last.saturating_sub(50)..last {
        assert_eq!(a.read(&format!("b{}", number % 50)).unwrap(), number.to_string().as_bytes());
    }
    assert_eq!(root(&a), root(&b));
}

/// Not a promise in figures, but no test of a change of twenty thousand files should have to wait.
#[test]
fn many_files_are_absorbed_at_once_and_one_costs_what_differs() {
    let (_, [a, b]) = devices();
    a.make("d", FileType::Directory).unwrap();
    for file in 0..20_000 {
        a.write(&format!("d/f{file}"), b"x").unwrap();
    }
    a.volume.flush().unwrap();
    b.write("here", b"y").unwrap();
    b.hear(&a);
    let start = std::time::Instant::now();
    assert!(b.absorb().changed > 20_000);
    let many = start.elapsed();
    a.write("d/f77", b"z").unwrap();
    a.volume.flush().unwrap();
    b.hear(&a);
    let start = std::time::Instant::now();
    b.absorb();
    let one = start.elapsed();
    println!("20,000 files in {many:?}, one more in {one:?}");
    assert!(many.as_secs() < 10 && one.as_secs() < 2, "{many:?} {one:?}");
    assert_eq!(b.read("d/f77").unwrap(), b"z");
}

#[test]
fn a_store_with_another_device_key_has_everything_that_was_confirmed() {
    use cairn_fs::ops::Operations;
    for flushed in [true, false] {
        let (_, [a]) = devices();
        a.write("f", b"flushed").unwrap();
        if flushed {
            a.volume.flush().unwrap();
        }
        a.write("g", b"journaled").unwrap();
        a.volume.sync_all().unwrap();
        let b = a.with_new_key();
        let wanted = [("/f", "flushed"), ("/g", "journaled")].map(|(path, text)| (path.into(), text.into()));
        assert_eq!(texts(&b), wanted);
        b.write("h", b"more").unwrap();
        b.volume.sync_all().unwrap();
        let b = b.again(|store| store.crash());
        assert_eq!(texts(&b).len(), 3, "{:?}", texts(&b));
    }
}
