//! The configuration file: flat TOML. A key that isn't ours is refused with the nearest one that is.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ConfigError, SETTINGS};

/// Typos within this many edits get a suggestion.
const TYPO_EDITS_MAX: usize = 3;

/// The values of the file as text, by key; empty where there is no file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
    };
    parse(path, &text)
}

pub(super) fn parse(path: &Path, text: &str) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.into(),
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        message: error.message().to_owned(),
    })?;
    table.into_iter().map(|(key, value)| entry(path, text, &key, value)).collect()
}

fn entry(path: &Path, text: &str, key: &str, value: toml::Value) -> Result<(&'static str, String), ConfigError> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
        return Err(ConfigError::UnknownKey {
            path: path.into(),
            line: line_of_key(text, key),
            key: key.to_owned(),
            near: nearest(key),
        });
    };
    let value = match value {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        other => {
            return Err(ConfigError::Value {
                place: format!("{}:{}: {key}", path.display(), line_of_key(text, key)),
                value: other.to_string(),
                expected: setting.expected,
            });
        }
    };
    Ok((setting.key, value))
}

/// The known key with the fewest edits to `key`, where a typo is likely.
fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (strsim::damerau_levenshtein(setting.key, key), setting.key))
        .min()
        .filter(|(edits, known)| *edits <= TYPO_EDITS_MAX.max(known.len() / 3))
        .map(|(_, known)| known)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The line that sets `key`, or that opens the table of that name.
fn line_of_key(text: &str, key: &str) -> usize {
    text.lines()
        .position(|line| line.trim_start_matches(['[', ' ', '\t', '"', '\'']).starts_with(key))
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<BTreeMap<&'static str, String>, ConfigError> {
        parse(Path::new("c.toml"), text)
    }

    #[test]
    fn a_typo_is_refused_with_the_nearest_key_and_its_line() {
        match parse_text("# mine\nvolum = \"x\"\n") {
            Err(ConfigError::UnknownKey { line, key, near, .. }) => {
                assert_eq!((line, key.as_str(), near), (2, "volum", Some("volume")));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parse_text("zzzzzzzzzz = 1"), Err(ConfigError::UnknownKey { near: None, .. })));
        assert!(matches!(parse_text("[volume]\nx = 1"), Err(ConfigError::Value { .. })));
    }

    #[test]
    fn numbers_booleans_and_text_are_values() {
        let values = parse_text("volume = \"v\"\nidle_exit_seconds = 5\nallow_other = true\n").expect("valid");
        assert_eq!(values["volume"], "v");
        assert_eq!(values["idle_exit_seconds"], "5");
        assert_eq!(values["allow_other"], "true");
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        match parse_text("volume = \"v\"\n\nquota = = 3\n") {
            Err(ConfigError::Syntax { line, .. }) => assert_eq!(line, 3),
            other => panic!("{other:?}"),
        }
    }
}
