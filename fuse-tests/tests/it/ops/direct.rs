//! O_DIRECT: past the page cache.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use cairn_fuse_tests::{Ground, Random, promise};

const ALIGNMENT: usize = 4096;
const PIECE: usize = 64 << 10;

fn open(path: &Path) -> File {
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(direct)
        .open(path)
        .expect("open")
}

/// Calls `with` with `len` bytes that lie where direct access wants them.
fn aligned<T>(len: usize, with: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = vec![0; len + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    with(&mut buffer[start..start + len])
}

#[test]
fn direct_and_cached_access_see_the_same() {
    promise!("Direct access");
    let ground = Ground::new();
    let path = ground.path("f");
    let bytes = Random::new(12).bytes(8 * PIECE);
    let (direct, cached) = (open(&path), OpenOptions::new().read(true).write(true).open(&path).expect("open"));
    for (i, piece) in bytes.chunks(PIECE).enumerate() {
        aligned(PIECE, |buffer| {
            buffer.copy_from_slice(piece);
            direct.write_all_at(buffer, (i * PIECE) as u64).expect("direct write");
        });
    }
    assert!(std::fs::read(&path).expect("read") == bytes);
    cached.write_all_at(&[1; 100], 5_000).expect("cached write");
    aligned(PIECE, |buffer| {
        direct.read_exact_at(buffer, 0).expect("direct read");
        assert!(buffer[5_000..5_100] == [1; 100] && buffer[..5_000] == bytes[..5_000]);
        buffer[..ALIGNMENT].fill(2);
        direct.write_all_at(&buffer[..ALIGNMENT], 0).expect("direct write");
    });
    assert!(std::fs::read(&path).expect("read")[..ALIGNMENT] == [2; ALIGNMENT]);
}

#[test]
fn a_direct_read_stops_at_the_end() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), vec![7; 5_000]).expect("write");
    aligned(2 * ALIGNMENT, |buffer| {
        assert_eq!(open(&ground.path("f")).read_at(buffer, 0).expect("read"), 5_000);
    });
}
