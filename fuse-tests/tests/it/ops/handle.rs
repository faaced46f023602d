//! Inode numbers, and handles made of them: what NFS servers and backup programs hold on to.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, command, promise, skip};

#[test]
fn numbers_are_unique_and_stay() {
    promise!("Inode numbers are stable");
    let ground = Ground::new();
    ground.shell("for i in $(seq 500); do echo $i > f$i; done; mkdir d; ln -s f1 s");
    let numbers = || -> BTreeSet<(u64, std::ffi::OsString)> {
        let entries = std::fs::read_dir(&*ground).expect("list").map(|entry| entry.expect("an entry"));
        entries.map(|entry| (entry.metadata().expect("stat").ino(), entry.file_name())).collect()
    };
    let before = numbers();
    assert_eq!(before.iter().map(|(ino, _)| ino).collect::<BTreeSet<_>>().len(), 502);
    ground.shell("echo more >> f7; touch f8; sync .");
    assert_eq!(numbers(), before);
}

#[test]
fn a_file_is_opened_by_its_handle() {
    promise!("Inode numbers are stable");
    let ground = Ground::new();
    if !command::is_root() || !command::exists("python3") {
        skip!("opening by handle needs root and python3");
    }
    ground.python(
        "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
os.mkdir('d')
open('d/f', 'w').write('by handle')
handle, mount = Handle(bytes=128), ctypes.c_int()
if libc.name_to_handle_at(-100, b'd/f', ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
    raise SystemExit('no handle: ' + os.strerror(ctypes.get_errno()))
os.rename('d/f', 'g')
here = os.open('.', os.O_RDONLY)
fd = libc.open_by_handle_at(here, ctypes.byref(handle), os.O_RDONLY)
if fd < 0:
    raise SystemExit('not opened: ' + os.strerror(ctypes.get_errno()))
assert os.read(fd, 100) == b'by handle'
",
    );
}
