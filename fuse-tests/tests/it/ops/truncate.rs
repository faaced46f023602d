//! truncate(2) and ftruncate(2).

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use cairn_fuse_tests::{Ground, Random, promise};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn what_was_cut_off_never_comes_back() {
    promise!("What was cut off never comes back");
    let ground = Ground::new();
    std::fs::write(ground.path("f"), vec![0xff; 600_000]).expect("write");
    let file = OpenOptions::new().write(true).open(ground.path("f")).expect("open");
    for size in [599_999, 131_073, 131_072, 4_097, 2_049, 2_048, 1] {
        file.set_len(size).expect("shrink");
        file.set_len(600_000).expect("grow");
        let bytes = std::fs::read(ground.path("f")).expect("read");
        assert_eq!(bytes.len(), 600_000);
        assert!(bytes[..size as usize].iter().all(|byte| *byte == 0xff), "kept bytes changed at {size}");
        assert!(bytes[size as usize..].iter().all(|byte| *byte == 0), "cut bytes came back at {size}");
        file.write_all_at(&vec![0xff; 600_000], 0).expect("rewrite");
    }
}

#[test]
fn a_sequence_of_writes_and_cuts_matches_its_model() {
    let ground = Ground::new();
    let mut random = Random::new(5);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(ground.path("f")).expect("open");
    let mut model: Vec<u8> = Vec::new();
    for _ in 0..300 {
        if random.below(3) == 0 {
            let size = random.below(400_000);
            file.set_len(size).expect("truncate");
            model.resize(size as usize, 0);
        } else {
            let (offset, len) = (random.below(300_000) as usize, random.below(20_000) as usize);
            let bytes = random.bytes(len);
            file.write_all_at(&bytes, offset as u64).expect("write");
            // Writing nothing doesn't grow the file.
            if len > 0 {
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].copy_from_slice(&bytes);
            }
        }
        assert_eq!(file.metadata().expect("stat").len(), model.len() as u64);
    }
    assert!(std::fs::read(ground.path("f")).expect("read") == model);
}

#[test]
fn folders_and_read_only_handles_are_not_truncated() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"kept").expect("write");
    assert_fails(File::open(ground.path("f")).expect("open").set_len(0), Errno::INVAL);
    let missing = OpenOptions::new().write(true).open(ground.path("missing"));
    assert_fails(missing, Errno::NOENT);
    assert_eq!(std::fs::read(ground.path("f")).expect("read"), b"kept");
}

#[test]
fn a_size_beyond_the_largest_is_refused() {
    let ground = Ground::new();
    let file = File::create(ground.path("f")).expect("create");
    assert!(file.set_len(u64::MAX).is_err());
    assert_eq!(file.metadata().expect("stat").len(), 0);
}
