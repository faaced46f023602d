//! Maps of files. Safe Rust can't make them, so Python does.

use cairn_fuse_tests::{Ground, command, promise, skip};

macro_rules! needs_python {
    () => {
        if !command::exists("python3") {
            skip!("python3 is not installed");
        }
    };
}

#[test]
fn a_shared_map_and_the_file_show_the_same() {
    promise!("Memory maps");
    let ground = Ground::new();
    needs_python!();
    ground.python(
        "import mmap, os
f = os.open('f', os.O_RDWR | os.O_CREAT)
os.truncate(f, 1 << 20)
m = mmap.mmap(f, 1 << 20)
m[5000:5005] = b'map->'
assert os.pread(f, 5, 5000) == b'map->', 'a write through the map is not read'
os.pwrite(f, b'file', 900_000)
assert m[900_000:900_004] == b'file', 'a write is not seen through the map'
m.flush(); os.fsync(f); m.close(); os.close(f)
b = open('f', 'rb').read()
assert len(b) == 1 << 20 and b[5000:5005] == b'map->' and b[900_000:900_004] == b'file'
",
    );
}

#[test]
fn a_change_through_a_map_survives_closing_everything() {
    promise!("Memory maps");
    let ground = Ground::new();
    needs_python!();
    ground.python(
        "import mmap, os
open('f', 'wb').write(b'a' * 300_000)
f = os.open('f', os.O_RDWR)
m = mmap.mmap(f, 0)
os.close(f)
m[299_990:] = b'b' * 10
m.close()
os.sync()
",
    );
    let bytes = std::fs::read(ground.path("f")).expect("read");
    assert!(bytes[..299_990].iter().all(|byte| *byte == b'a') && bytes[299_990..].iter().all(|byte| *byte == b'b'));
}

#[test]
fn a_private_map_changes_nothing() {
    promise!("Memory maps");
    let ground = Ground::new();
    needs_python!();
    ground.python(
        "import mmap, os
open('f', 'wb').write(b'a' * 10_000)
f = os.open('f', os.O_RDWR)
m = mmap.mmap(f, 0, access=mmap.ACCESS_COPY)
m[:] = b'x' * 10_000
m.close()
assert open('f', 'rb').read() == b'a' * 10_000
",
    );
}

#[test]
fn a_map_outlives_the_name_of_its_file() {
    let ground = Ground::new();
    needs_python!();
    ground.python(
        "import mmap, os
open('f', 'wb').write(bytes(range(256)) * 4000)
f = os.open('f', os.O_RDWR)
m = mmap.mmap(f, 0)
os.close(f)
os.unlink('f')
open('f', 'wb').write(b'other')
assert m[:] == bytes(range(256)) * 4000
m[7] = 77
assert m[7] == 77
",
    );
}

#[test]
fn a_cut_file_shows_zeros_behind_its_new_end() {
    let ground = Ground::new();
    needs_python!();
    ground.python(
        "import mmap, os
open('f', 'wb').write(b'z' * 8192)
f = os.open('f', os.O_RDWR)
m = mmap.mmap(f, 8192)
os.truncate(f, 100)
os.truncate(f, 8192)
assert m[:100] == b'z' * 100
assert m[100:] == bytes(8092), 'cut bytes show through the map'
",
    );
}
