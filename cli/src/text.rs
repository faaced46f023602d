//! Bytes as text: names that may not be UTF-8, sizes, durations and times as people and JSON read them.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name or path in JSON without loss: a string where it is UTF-8, else `{"hex": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Name(pub(crate) Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum NameJson<'a> {
    Text(std::borrow::Cow<'a, str>),
    Raw { hex: String },
}

impl Name {
    /// As a path of this machine.
    pub(crate) fn to_path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.0.clone()))
    }

    /// For a person: control characters and bytes that are not UTF-8 are shown as `\xNN`, so that a name can't
    /// move the cursor or change the terminal's title.
    pub(crate) fn shown(&self) -> String {
        shown(&self.0)
    }
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&OsStr> for Name {
    fn from(text: &OsStr) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => NameJson::Text(text.into()),
            Err(_) => NameJson::Raw { hex: to_hex(&self.0) },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NameJson::deserialize(deserializer)? {
            NameJson::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            NameJson::Raw { hex } => from_hex(&hex)
                .map(Self)
                .ok_or_else(|| D::Error::custom("a name's hex has an odd length or a wrong digit")),
        }
    }
}

/// Bytes for a terminal; see [`Name::shown`].
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut utf8 = [0; 4];
                c.encode_utf8(&mut utf8).bytes().for_each(|byte| push_escaped(&mut text, byte));
            } else {
                text.push(c);
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escaped(&mut text, *byte));
    }
    text
}

fn push_escaped(text: &mut String, byte: u8) {
    // Writing to a String can't fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// A path as it can be pasted into a shell.
pub(crate) fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+~".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a hex text; `None` for an odd length or a wrong digit.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A size for people: `0 B`, `1023 B`, `1.5 KiB`, `2.0 TiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let unit = (bytes.ilog2() / 10) as usize;
    // Two significant digits past the point are noise; f64 is exact enough for one.
    let value = bytes as f64 / (1u64 << (10 * unit)) as f64;
    format!("{value:.1} {}", UNITS[unit])
}

/// A size as people type it: `500`, `64K`, `10MiB`, `1.5G`, `2T` (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let bytes = value * (1u64 << shift) as f64;
    (bytes.is_finite() && (0.0..=i64::MAX as f64).contains(&bytes)).then_some(bytes as u64)
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf8_survives_json() {
        for bytes in [b"plain".to_vec(), "gr\u{fc}n".into(), vec![0xff, 0xfe, b'a'], vec![]] {
            let name = Name(bytes);
            let text = serde_json::to_string(&name).expect("a name serialises");
            assert_eq!(serde_json::from_str::<Name>(&text).expect("and back"), name);
        }
        assert_eq!(serde_json::to_string(&Name(vec![0xff])).expect("serialises"), r#"{"hex":"ff"}"#);
        assert!(serde_json::from_str::<Name>(r#"{"hex":"f"}"#).is_err());
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(shown(b"a\x1b[2Jb\xff\n"), "a\\x1b[2Jb\\xff\\x0a");
        assert_eq!(shown("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
    }

    #[test]
    fn sizes_are_printed_and_read() {
        assert_eq!((size(0), size(1023), size(1536)), ("0 B".into(), "1023 B".into(), "1.5 KiB".into()));
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(parse_size("1.5K"), Some(1536));
        assert_eq!(parse_size("10 MiB"), Some(10 << 20));
        assert_eq!(
            (parse_size("ten"), parse_size("-1"), parse_size("1X"), parse_size("1e400")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_path_is_quoted_for_a_shell() {
        assert_eq!(shell_quoted(Path::new("/a/b-c")), "/a/b-c");
        assert_eq!(shell_quoted(Path::new("/a b'c")), r"'/a b'\''c'");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(std::time::Duration::from_millis(430)), "0.4 s");
        assert_eq!(duration(std::time::Duration::from_secs(3_700)), "1 h 1 min");
    }
}
