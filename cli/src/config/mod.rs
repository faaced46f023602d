//! The configuration: every value, where it came from, and what it means.
//!
//! A value is taken from the first of: its flag, its environment variable, the file, the default. No file is needed.
//! All origins carry text that goes through the same parser, so a value means the same wherever it stands.

mod file;
pub(crate) mod paths;
mod settings;

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

#[cfg(feature = "fuzzing")]
pub(crate) use settings::of_text;
pub(crate) use settings::{Listen, SETTINGS, SettingFlags, Settings, is_volume_name};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// Why the configuration can't be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file is there but can't be read.
    #[error("can't read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key that isn't one of ours, most likely a typo.
    #[error("{}:{line}: unknown key `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The key that it is nearest to.
        near: Option<&'static str>,
    },
    /// A value that doesn't fit its key.
    #[error("{place}: `{value}` is not {expected}")]
    Value {
        /// The flag, variable or file and key.
        place: String,
        /// The value as written.
        value: String,
        /// What would fit.
        expected: &'static str,
    },
    /// Nothing says where to keep things.
    #[error("there is no home directory")]
    NoHome,
}
