//! Entries to what this crate reads from outside, for the fuzz targets in `fuzz/`. Nothing here acts: no file is opened,
//! no node is asked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use cairn_block::wrap;
use clap::Parser;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::args::{Cli, MountHelper};
use crate::control::events::EventReader;
use crate::control::server::idle;
use crate::node::circle::shelf;
use crate::node::keyfile::KeyFile;
use crate::node::{phrase, volumes};
use crate::text::{self, Name};

/// What a connection may hold in flight; the targets' inputs are far smaller.
const CONNECTION_BYTES: usize = 64 << 10;

/// A configuration file.
pub fn config(text: &str) {
    if let Err(error) = crate::config::of_text(text) {
        assert!(!error.to_string().is_empty());
    }
}

/// A key file. Locked ones are not opened: that is Argon2's time, which a file's bounds keep finite.
pub fn key_file(bytes: &[u8]) {
    if let Ok(file) = KeyFile::parse(Path::new("node.key"), bytes)
        && !file.is_locked()
    {
        // Broken or not, it says so.
        let _ = file.unlock(None);
    }
}

/// A recovery phrase. What is accepted has exactly one spelling.
pub fn phrase(text: &str) {
    if let Ok(master) = phrase::parse(text) {
        let words = phrase::words(&master);
        let again = phrase::parse(&words).expect("its own words");
        assert_eq!(master.as_bytes(), again.as_bytes());
    }
}

/// A list of volumes: as it lies on the disk, and what its seal may hold.
pub fn volume_list(bytes: &[u8]) {
    let key = [7; 32];
    assert!(volumes::decode(bytes, &key).is_err(), "nobody guesses a seal");
    let sealed = [&[1][..], &wrap(&key, "volume names", &[1], bytes)].concat();
    // Only its text can be wrong.
    assert_eq!(volumes::decode(&sealed, &key).is_ok(), std::str::from_utf8(bytes).is_ok());
}

/// What a node knows of its circle: as it lies on the disk, and what its seal may hold.
pub fn circle_file(bytes: &[u8]) {
    let key = [7; 32];
    assert!(shelf::open(bytes, &key).is_err(), "nobody guesses a seal");
    let sealed = [&[1][..], &wrap(&key, "circle", &[1], bytes)].concat();
    if let Ok(circle) = shelf::open(&sealed, &key) {
        assert_eq!(shelf::encode(&circle).expect("it was accepted"), bytes);
    }
}

/// All that a client sends over one connection to the node, read by the node's own table of routes.
pub fn connection(runtime: &tokio::runtime::Runtime, bytes: &[u8]) {
    runtime.block_on(async {
        let (mut client, server) = tokio::io::duplex(CONNECTION_BYTES);
        client.write_all(&bytes[..bytes.len().min(CONNECTION_BYTES)]).await.expect("it fits");
        client.shutdown().await.expect("an end");
        let service = TowerToHyperService::new(idle::router());
        // A request that makes no sense ends the connection with an error, and that is an answer.
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:?}");
    });
}

/// A node's answer, as a command reads it.
pub fn answer(bytes: &[u8]) {
    let mut reader = EventReader::default();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    if reader.push(first).and_then(|()| reader.push(second)).is_ok() {
        while let Some(event) = reader.pop() {
            assert!(!format!("{event:?}").is_empty());
        }
    }
}

/// A command line, its words apart by NULs.
pub fn arguments(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let line: Vec<OsString> = std::iter::once("cairn".into()).chain(words).collect();
    let _ = Cli::try_parse_from(line.clone());
    let _ = MountHelper::try_parse_from(line);
}

/// Small texts: sizes, names in JSON, hexadecimal, names as they are shown.
pub fn words(bytes: &[u8]) {
    assert!(!text::shown(bytes).chars().any(char::is_control));
    if let Ok(typed) = std::str::from_utf8(bytes) {
        if let Some(size) = text::parse_size(typed) {
            assert!(!text::size(size).is_empty());
        }
        if let Some(bytes) = text::from_hex(typed) {
            assert_eq!(text::to_hex(&bytes), typed.to_ascii_lowercase());
        }
        let _ = typed.parse::<jiff::Timestamp>();
    }
    if let Ok(name) = serde_json::from_slice::<Name>(bytes) {
        let text = serde_json::to_vec(&name).expect("a name serialises");
        assert_eq!(serde_json::from_slice::<Name>(&text).expect("and back"), name);
    }
}
