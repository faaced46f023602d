//! read(2), write(2) and what every handle sees of them.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use cairn_fuse_tests::{Ground, Random, promise};
use rustix::io::Errno;

use super::assert_fails;

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("open")
}

#[test]
fn a_read_past_the_end_is_short() {
    let ground = Ground::new();
    let file = open(&ground.path("f"));
    file.write_all_at(b"0123456789", 0).expect("write");
    let mut buffer = [0; 8];
    assert_eq!(file.read_at(&mut buffer, 6).expect("read"), 4);
    assert_eq!(&buffer[..4], b"6789");
    assert_eq!(file.read_at(&mut buffer, 10).expect("read"), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("read"), 0);
}

#[test]
fn what_is_skipped_reads_as_zeros() {
    promise!("A write is seen at once");
    let ground = Ground::new();
    let file = open(&ground.path("f"));
    file.write_all_at(b"start", 0).expect("write");
    file.write_all_at(b"end", 1_000_000).expect("write");
    let bytes = std::fs::read(ground.path("f")).expect("read");
    assert_eq!(bytes.len(), 1_000_003);
    assert!(bytes.starts_with(b"start") && bytes.ends_with(b"end"));
    assert!(bytes[5..1_000_000].iter().all(|byte| *byte == 0));
}

#[test]
fn random_writes_of_all_sizes_read_back() {
    let ground = Ground::new();
    let mut random = Random::new(11);
    let file = open(&ground.path("f"));
    let mut model = Vec::new();
    for round in 0..400 {
        let offset = random.below(3 << 20) as usize;
        let len = 1 + random.below(*random.clone().choose(&[50, 5_000, 500_000])) as usize;
        let bytes = random.bytes(len);
        file.write_all_at(&bytes, offset as u64).expect("write");
        model.resize(model.len().max(offset + len), 0);
        model[offset..offset + len].copy_from_slice(&bytes);
        if round % 40 == 0 {
            file.sync_data().expect("fdatasync");
        }
    }
    assert!(std::fs::read(ground.path("f")).expect("read") == model);
}

#[test]
fn every_handle_sees_a_write_at_once() {
    promise!("A write is seen at once");
    let ground = Ground::new();
    let (writer, reader) = (open(&ground.path("f")), open(&ground.path("f")));
    for round in 0u64..200 {
        writer.write_all_at(&round.to_le_bytes(), round * 700).expect("write");
        let mut seen = [0; 8];
        reader.read_exact_at(&mut seen, round * 700).expect("read");
        assert_eq!(u64::from_le_bytes(seen), round);
        assert_eq!(reader.metadata().expect("stat").len(), round * 700 + 8);
    }
}

#[test]
fn several_writers_of_one_file_do_not_disturb_each_other() {
    promise!("A write is seen at once");
    let ground = Ground::new();
    let path = ground.path("f");
    const PIECE: u64 = 10_007;
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let path = &path;
            scope.spawn(move || {
                let file = open(path);
                for turn in 0..60 {
                    let bytes = vec![writer as u8 + 1; PIECE as usize];
                    file.write_all_at(&bytes, (turn * 4 + writer) * PIECE).expect("write");
                }
            });
        }
    });
    let bytes = std::fs::read(&path).expect("read");
    for (index, piece) in bytes.chunks(PIECE as usize).enumerate() {
        assert!(piece.iter().all(|byte| u64::from(*byte) == index as u64 % 4 + 1), "piece {index} is mixed");
    }
}

#[test]
fn the_position_moves_with_reads_writes_and_seeks() {
    let ground = Ground::new();
    let mut file = open(&ground.path("f"));
    file.write_all(b"hello world").expect("write");
    assert_eq!(file.stream_position().expect("tell"), 11);
    file.seek(SeekFrom::End(-5)).expect("seek");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "world");
    assert!(file.seek(SeekFrom::Current(-100)).is_err());
}

#[test]
fn a_handle_allows_only_what_it_was_opened_for() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"x").expect("write");
    let reader = File::open(ground.path("f")).expect("open");
    assert_fails(reader.write_at(b"y", 0), Errno::BADF);
    let writer = OpenOptions::new().write(true).open(ground.path("f")).expect("open");
    assert_fails(writer.read_at(&mut [0], 0), Errno::BADF);
}

#[test]
fn a_write_beyond_the_largest_file_is_refused() {
    let ground = Ground::new();
    let file = open(&ground.path("f"));
    assert!(file.write_at(b"x", i64::MAX as u64).is_err());
    assert_eq!(file.metadata().expect("stat").len(), 0);
}

#[test]
fn a_vectored_write_arrives_whole_and_in_order() {
    let ground = Ground::new();
    let mut file = open(&ground.path("f"));
    let (first, second) = (vec![1; 70_000], vec![2; 3]);
    let written =
        file.write_vectored(&[std::io::IoSlice::new(&first), std::io::IoSlice::new(&second)]).expect("writev");
    assert_eq!(written, 70_003);
    assert!(std::fs::read(ground.path("f")).expect("read") == [first, second].concat());
}

#[test]
fn fsync_of_files_and_folders_succeeds() {
    let ground = Ground::new();
    let file = open(&ground.path("f"));
    file.write_all_at(b"kept", 0).expect("write");
    file.sync_all().expect("fsync");
    file.sync_data().expect("fdatasync");
    File::open(&*ground).expect("open").sync_all().expect("fsync of the folder");
}

#[test]
fn a_program_runs_from_the_mount() {
    promise!("Memory maps");
    let ground = Ground::new();
    ground.shell("cp $(command -v bash) ./shell; ./shell -c 'echo from inside' > out");
    assert_eq!(std::fs::read_to_string(ground.path("out")).expect("read"), "from inside\n");
    std::fs::write(ground.path("script"), "#!/bin/sh\necho script").expect("write");
    assert_eq!(ground.shell("chmod 755 script; ./script"), "script\n");
}
