//! statfs(2) and st_blocks: what df and du say.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, Random, promise};

#[test]
fn df_shows_a_disk_with_room() {
    promise!("Space is told truthfully");
    let ground = Ground::new();
    let space = rustix::fs::statvfs(&*ground).expect("statvfs");
    assert!(space.f_blocks > 0 && space.f_bfree > 0 && space.f_bavail <= space.f_bfree);
    assert!(space.f_bfree <= space.f_blocks && space.f_bsize >= 512 && space.f_frsize >= 512);
    assert_eq!(space.f_namemax, 255);
    assert!(ground.shell("df . | tail -1").contains('%'));
}

#[test]
fn du_counts_what_was_written() {
    promise!("Space is told truthfully");
    let ground = Ground::new();
    std::fs::write(ground.path("f"), Random::new(4).bytes(1 << 20)).expect("write");
    File::open(ground.path("f")).expect("open").sync_all().expect("fsync");
    let meta = std::fs::metadata(ground.path("f")).expect("stat");
    let allocated = meta.blocks() * 512;
    assert!((1 << 20..1 << 21).contains(&allocated), "{allocated} bytes for 1 MiB");
    assert!(meta.blksize() >= 512);
}
