//! Golden vectors: what `tests/vectors/*.json` says, made by this code and compared byte for byte.
//!
//! A difference means that the format changed, or that a dependency did under it. If that is meant,
//! `CAIRN_WRITE_VECTORS=1 cargo test --release -p cairn-block vectors` writes the files anew, and `FORMAT.md` says why.
//! They are made inside the crate because nothing outside may choose a nonce or sign what no reader takes.

mod circle;
mod heads;
mod ids;
mod keys;
mod packs;
mod sealed;
mod shards;
mod trees;
mod volume;
mod wrapped;

use std::fmt::Debug;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::device::DeviceKey;
use crate::keys::{MasterKey, VolumeKeys};

/// Compares a file of vectors with what was checked in.
fn compare(name: &str, about: &str, valid: Vec<Value>, malformed: Vec<Value>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let document = json!({ "about": about, "valid": valid, "malformed": malformed });
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("CAIRN_WRITE_VECTORS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    // No diff of two walls of hexadecimal: the first line that differs is enough to find it.
    let differs = golden.lines().zip(text.lines()).find(|(golden, made)| golden != made);
    assert_eq!(differs, None, "{} is not what the code makes", path.display());
    assert_eq!(golden.len(), text.len(), "{} is not what the code makes", path.display());
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// Asserts that something is refused as `expected` and gives that for the file. What an error wraps follows a slash.
fn refused<T: Debug, E: Debug>(result: Result<T, E>, expected: &str) -> Value {
    let error = format!("{:?}", result.expect_err(expected));
    let ident = |text: &str| text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
    let outer = ident(&error);
    let rest = &error[outer.len()..];
    let inner = match rest.strip_prefix('(') {
        Some(inner) => Some(inner),
        None => rest.split_once("source: ").map(|(_, inner)| inner),
    };
    let found = inner.map_or(outer.clone(), |inner| format!("{outer}/{}", ident(inner)));
    assert_eq!(found, expected, "{error}");
    Value::from(expected)
}

/// The volume that vectors are of.
fn volume() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([0x11; 32]), b"vectors")
}

/// The device that vectors are of.
fn device() -> DeviceKey {
    DeviceKey::from_bytes(&[0x22; 32])
}
