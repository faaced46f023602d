//! Pipes, sockets and devices.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};

use cairn_fuse_tests::{Ground, command, promise, skip};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

#[test]
fn a_named_pipe_connects_two_processes() {
    promise!("Every kind of file");
    let ground = Ground::new();
    assert_eq!(ground.shell("mkfifo -m 600 p; (echo through the pipe > p) & cat p; wait"), "through the pipe\n");
    let meta = std::fs::metadata(ground.path("p")).expect("stat");
    assert!(meta.file_type().is_fifo() && meta.mode() & 0o777 == 0o600);
}

#[test]
fn a_socket_is_bound_and_found() {
    promise!("Every kind of file");
    let ground = Ground::new();
    // A socket's path has at most 107 bytes.
    let path = ground.path("s");
    if path.as_os_str().len() > 107 {
        skip!("the temporary directory's path is too long for a socket");
    }
    let listener = UnixListener::bind(&path).expect("bind");
    UnixStream::connect(&path).expect("connect");
    drop(listener);
    assert!(std::fs::metadata(&path).expect("stat").file_type().is_socket());
    assert!(UnixStream::connect(&path).is_err());
    std::fs::remove_file(&path).expect("remove");
}

#[test]
fn a_device_node_keeps_its_numbers() {
    promise!("Every kind of file");
    let ground = Ground::new();
    if !command::is_root() {
        skip!("only root may make device nodes");
    }
    for (name, kind, device) in
        [("c", FileType::CharacterDevice, makedev(1, 3)), ("b", FileType::BlockDevice, makedev(259, 70_000))]
    {
        mknodat(CWD, ground.path(name), kind, Mode::from_raw_mode(0o640), device).expect("mknod");
        let meta = std::fs::metadata(ground.path(name)).expect("stat");
        assert_eq!((meta.rdev(), meta.mode() & 0o777), (device, 0o640), "{name}");
    }
    assert!(std::fs::metadata(ground.path("c")).expect("stat").file_type().is_char_device());
}

#[test]
fn mknod_makes_plain_files_too() {
    let ground = Ground::new();
    mknodat(CWD, ground.path("f"), FileType::RegularFile, Mode::from_raw_mode(0o600), 0).expect("mknod");
    std::fs::write(ground.path("f"), b"plain").expect("write");
    assert!(std::fs::metadata(ground.path("f")).expect("stat").is_file());
}
