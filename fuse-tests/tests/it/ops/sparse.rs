//! Holes: made, found, punched, and not paid for.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};

use cairn_fuse_tests::{Ground, Random, promise};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::assert_fails;

/// Coarser than any allocation unit.
const STEP: u64 = 1 << 20;

fn new(ground: &Ground) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(ground.path("f")).expect("create")
}

fn allocated(file: &File) -> u64 {
    file.metadata().expect("stat").blocks() * 512
}

#[test]
fn a_hole_costs_nothing_and_reads_as_zeros() {
    promise!("Holes");
    let ground = Ground::new();
    let file = new(&ground);
    file.set_len(1 << 36).expect("truncate");
    file.write_all_at(b"island", 1 << 35).expect("write");
    file.sync_all().expect("fsync");
    assert_eq!(file.metadata().expect("stat").len(), 1 << 36);
    assert!(allocated(&file) < 2 * STEP, "{} bytes allocated", allocated(&file));
    let mut seen = vec![1; 100_000];
    file.read_exact_at(&mut seen, (1 << 35) - 50_000).expect("read");
    assert_eq!(&seen[50_000..50_006], b"island");
    assert!(seen[..50_000].iter().chain(&seen[50_006..]).all(|byte| *byte == 0));
}

#[test]
fn data_and_holes_are_found_by_seeking() {
    promise!("Holes");
    let ground = Ground::new();
    let file = new(&ground);
    file.set_len(8 * STEP).expect("truncate");
    file.write_all_at(&Random::new(2).bytes(STEP as usize), 3 * STEP).expect("write");
    for round in ["before", "after"] {
        assert_eq!(seek(&file, SeekFrom::Data(0)), Ok(3 * STEP), "{round} a sync");
        assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(0), "{round} a sync");
        assert_eq!(seek(&file, SeekFrom::Hole(3 * STEP)), Ok(4 * STEP), "{round} a sync");
        assert_fails(seek(&file, SeekFrom::Data(4 * STEP)), Errno::NXIO);
        assert_eq!(seek(&file, SeekFrom::Hole(5 * STEP)), Ok(5 * STEP), "{round} a sync");
        assert_fails(seek(&file, SeekFrom::Hole(8 * STEP)), Errno::NXIO);
        file.sync_all().expect("fsync");
    }
}

#[test]
fn a_full_file_ends_in_a_hole() {
    let ground = Ground::new();
    let file = new(&ground);
    file.write_all_at(&[1; 5_000], 0).expect("write");
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(5_000));
    assert_eq!(seek(&file, SeekFrom::Data(17)), Ok(17));
}

#[test]
fn a_punched_hole_gives_its_space_back() {
    promise!("Holes");
    let ground = Ground::new();
    let file = new(&ground);
    let bytes = Random::new(9).bytes(8 * STEP as usize);
    file.write_all_at(&bytes, 0).expect("write");
    file.sync_all().expect("fsync");
    let before = allocated(&file);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, flags, STEP, 4 * STEP).expect("punch");
    fallocate(&file, flags, 6 * STEP + 100, 1_000).expect("punch of a part");
    file.sync_all().expect("fsync");
    assert!(allocated(&file) <= before - 3 * STEP, "{before} bytes became {}", allocated(&file));
    let mut model = bytes;
    model[STEP as usize..5 * STEP as usize].fill(0);
    model[6 * STEP as usize + 100..6 * STEP as usize + 1_100].fill(0);
    assert!(std::fs::read(ground.path("f")).expect("read") == model);
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(STEP));
}

#[test]
fn a_punch_beyond_the_end_changes_nothing() {
    let ground = Ground::new();
    let file = new(&ground);
    file.write_all_at(&[3; 10_000], 0).expect("write");
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, flags, 20_000, 50_000).expect("punch");
    fallocate(&file, flags, 9_000, 50_000).expect("punch over the end");
    assert_eq!(file.metadata().expect("stat").len(), 10_000);
    assert_fails(fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 10), Errno::OPNOTSUPP);
}

#[test]
fn allocating_grows_the_file_unless_told_otherwise() {
    promise!("Holes");
    let ground = Ground::new();
    let file = new(&ground);
    file.write_all_at(b"start", 0).expect("write");
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 50_000).expect("keep size");
    assert_eq!(file.metadata().expect("stat").len(), 5);
    fallocate(&file, FallocateFlags::empty(), 0, 50_000).expect("grow");
    assert_eq!(file.metadata().expect("stat").len(), 50_000);
    assert_eq!(&std::fs::read(ground.path("f")).expect("read")[..6], b"start\0");
}

#[test]
fn a_zeroed_range_reads_as_zeros() {
    promise!("Holes");
    let ground = Ground::new();
    let file = new(&ground);
    file.write_all_at(&[9; 300_000], 0).expect("write");
    match fallocate(&file, FallocateFlags::ZERO_RANGE, 100, 250_000) {
        Err(Errno::OPNOTSUPP) => cairn_fuse_tests::skip!("this filesystem zeroes no ranges"),
        outcome => outcome.expect("zero"),
    }
    let bytes = std::fs::read(ground.path("f")).expect("read");
    assert!(bytes[100..250_100].iter().all(|byte| *byte == 0));
    assert!(bytes[..100].iter().chain(&bytes[250_100..]).all(|byte| *byte == 9));
}

#[test]
fn cp_and_tar_keep_holes() {
    let ground = Ground::new();
    ground.shell("truncate -s 64M f; echo data | dd of=f bs=1 seek=33554432 conv=notrunc status=none; sync f");
    ground.shell(
        "cp --sparse=auto f g; tar -cS -f t.tar f; mkdir x; tar -xS -f t.tar -C x; cmp f g; cmp f x/f; sync g x/f",
    );
    for name in ["g", "x/f"] {
        let meta = std::fs::metadata(ground.path(name)).expect("stat");
        assert!(meta.blocks() * 512 < 4 * STEP, "{name} takes {} bytes", meta.blocks() * 512);
    }
}
