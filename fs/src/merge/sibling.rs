//! Names for what had to be put beside something: `name.~device~.ext`.

use bytes::Bytes;
use cairn_block::DeviceId;
use cairn_block::limits::NAME_BYTES_MAX;

/// Longest extension that stays at the end. What is longer isn't one.
const EXTENSION_BYTES_MAX: usize = 16;
/// Most bytes of a device's name that go into a sibling's.
const DEVICE_BYTES_MAX: usize = 64;

/// Digits of a device's id in a sibling's name. What a person calls a device is not known to all devices at once, and a name
/// that one of them gives otherwise would be another tree.
const SHORT_DIGITS: usize = 8;

/// What a device is called in sibling names: the first digits of its id.
#[must_use]
pub fn short_name(device: &DeviceId) -> String {
    device.to_string().chars().take(SHORT_DIGITS).collect()
}

/// The short name of the device whose version a sibling holds; `None` for any other name.
#[must_use]
pub fn sibling_device(name: &[u8]) -> Option<&str> {
    let (stem, _) = split_mark(name)?;
    let device = stem.get(..SHORT_DIGITS)?;
    let is_short = device.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let attempt = &stem[SHORT_DIGITS..];
    let is_attempt = attempt.is_empty()
        || attempt.strip_prefix(' ').is_some_and(|n| !n.starts_with('0') && n.parse::<u64>().is_ok_and(|n| n > 1));
    (is_short && is_attempt).then_some(device)
}

/// The name that a sibling is beside, as far as it was not cut; `None` for any other name.
#[must_use]
pub fn sibling_primary(name: &[u8]) -> Option<Bytes> {
    sibling_device(name)?;
    let (mark, after) = split_mark(name)?;
    let stem = name.len() - after.len() - mark.len() - b".~~".len();
    Some([&name[..stem], after].concat().into())
}

/// What stands between the last two tildes of a name, the first of them after a dot; and what comes after.
fn split_mark(name: &[u8]) -> Option<(&str, &[u8])> {
    let end = name.iter().rposition(|&byte| byte == b'~')?;
    let start = name[..end].windows(2).rposition(|pair| pair == b".~")?;
    let after = &name[end + 1..];
    let is_extension = after.is_empty() || after.starts_with(b".");
    let mark = std::str::from_utf8(&name[start + 2..end]).ok()?;
    is_extension.then_some((mark, after))
}

/// The `attempt`th name for the version of `name` that `device_name` has. Names of different attempts differ.
pub(super) fn sibling_name(name: &[u8], device_name: &str, attempt: u64) -> Bytes {
    let (stem, extension) = split(name);
    let device: String = device_name.chars().map(|c| if matches!(c, '/' | '\0' | '~') { '-' } else { c }).collect();
    let device = trim(device.as_bytes(), DEVICE_BYTES_MAX);
    let mut mark = b".~".to_vec();
    mark.extend_from_slice(device);
    if attempt > 1 {
        mark.extend_from_slice(format!(" {attempt}").as_bytes());
    }
    mark.push(b'~');
    let stem = trim(stem, NAME_BYTES_MAX - mark.len() - extension.len());
    [stem, &mark, extension].concat().into()
}

/// Stem and extension with its dot. A leading dot starts no extension, and a trailing one neither.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) if dot > 0 && (2..=EXTENSION_BYTES_MAX).contains(&(name.len() - dot)) => name.split_at(dot),
        _ => (name, &[]),
    }
}

/// The start of `bytes`, not longer than `len_max`, without cutting a character of UTF-8 in two.
fn trim(bytes: &[u8], len_max: usize) -> &[u8] {
    if bytes.len() <= len_max {
        return bytes;
    }
    let is_continuation = |byte: u8| byte & 0xC0 == 0x80;
    let mut end = len_max;
    // A character has at most three bytes after its first; more of them are no UTF-8 and may be cut anywhere.
    while end > 0 && len_max - end < 4 && is_continuation(bytes[end]) {
        end -= 1;
    }
    if is_continuation(bytes[end]) { &bytes[..len_max] } else { &bytes[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(name: &str, device: &str, attempt: u64) -> String {
        String::from_utf8(sibling_name(name.as_bytes(), device, attempt).to_vec()).unwrap()
    }

    #[test]
    fn the_device_goes_before_the_extension() {
        assert_eq!(sibling("report.txt", "laptop", 1), "report.~laptop~.txt");
        assert_eq!(sibling("report.tar.gz", "laptop", 1), "report.tar.~laptop~.gz");
        assert_eq!(sibling("report", "laptop", 2), "report.~laptop 2~");
    }

    #[test]
    fn a_hidden_file_has_no_extension_for_its_name() {
        assert_eq!(sibling(".profile", "pc", 1), ".profile.~pc~");
        assert_eq!(sibling("odd.", "pc", 1), "odd..~pc~");
        assert_eq!(sibling("notes.a sentence, not an extension", "pc", 1), "notes.a sentence, not an extension.~pc~");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_fits() {
        let name = format!("{}.txt", "ü".repeat(125));
        for device in ["pc", "laptop", "büro", &"ä".repeat(200)] {
            let sibling = sibling_name(name.as_bytes(), device, 12);
            assert!(sibling.len() <= NAME_BYTES_MAX);
            assert!(std::str::from_utf8(&sibling).unwrap().ends_with(".txt"));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_anywhere() {
        let sibling = sibling_name(&[0xBF; 255], "pc", 1);
        assert_eq!(sibling.len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_sibling_tells_whose_version_it_is_and_no_other_name_does() {
        let device = DeviceId::from_bytes([0xab; 32]);
        let short = short_name(&device);
        for name in ["report.txt", "report", ".profile", "a.~cafe~.b", "odd."] {
            for attempt in [1, 2, 12] {
                let sibling = sibling_name(name.as_bytes(), &short, attempt);
                assert_eq!(sibling_device(&sibling), Some("abababab"), "{sibling:?}");
                assert_eq!(sibling_primary(&sibling).unwrap(), name.as_bytes());
            }
            assert_eq!(sibling_device(name.as_bytes()), None);
        }
        for name in ["a.~ABABABAB~", "a~abababab~", "a.~abababab", "a.~abababab 1~", "a.~ababababa~", "a.~abababab~b"] {
            assert_eq!(sibling_device(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_device_cannot_smuggle_in_a_slash() {
        assert_eq!(sibling("a", "x/../y\0~", 1), "a.~x-..-y--~");
    }
}
