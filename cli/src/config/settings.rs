//! The settings: one table of keys, and the values in force.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::paths::{Environment, Places};
use super::{ConfigError, Origin, file};
use crate::text::{self, Name};

/// One key of the configuration.
pub(crate) struct Setting {
    /// In the file; the flag is the same with dashes, the variable is `CAIRN_` and the same in capitals.
    pub(crate) key: &'static str,
    /// What a value has to be, to complete "is not …".
    pub(crate) expected: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
}

impl Setting {
    /// The environment variable that overrides it.
    pub(crate) fn variable(&self) -> String {
        format!("CAIRN_{}", self.key.to_ascii_uppercase())
    }
}

/// Where a node listens for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The addresses; a port of 0 takes a free one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether somebody asked for these: then no others are taken instead.
    pub(crate) is_asked_for: bool,
}

/// Every key, in the order they are printed.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting { key: "data_dir", expected: "a path", meaning: "the node's directory: its key and its store" },
    Setting { key: "mount_point", expected: "a path", meaning: "where `up` mounts the volume" },
    Setting {
        key: "volume",
        expected: "a volume's name: 1 to 64 of a-z, 0-9, '-', '_', '.'",
        meaning: "the volume that commands work on",
    },
    Setting { key: "passphrase_file", expected: "a path", meaning: "a file whose first line is the passphrase" },
    Setting {
        key: "quota",
        expected: "a size such as 500G (0: none)",
        meaning: "the most bytes the store may take on the disk",
    },
    Setting {
        key: "workers",
        expected: "a number from 1 to 64",
        meaning: "files that put and get copy at the same time",
    },
    Setting {
        key: "allow_other",
        expected: "true or false",
        meaning: "let other users of this machine into the mount",
    },
    Setting {
        key: "listen",
        expected: "addresses such as 0.0.0.0:4870 with commas between them, or none",
        meaning: "where other nodes of the circle find this one; nothing is listened on before there is a circle",
    },
    Setting {
        key: "keep",
        expected: "everything or used",
        meaning: "what this device keeps of volumes that other devices write to: a copy of everything, or what was read here",
    },
    Setting {
        key: "idle_exit_seconds",
        expected: "a number of seconds (0: never)",
        meaning: "a node that nobody asks and that mounts nothing ends after this",
    },
    Setting {
        key: "log",
        expected: "a level or filter such as info or cairn_store=debug",
        meaning: "what is written to the log",
    },
];

/// A worker holds up to a few chunks of 1 MiB and a file descriptor or two; more than this only costs memory.
const WORKERS_MAX: usize = 64;
/// More workers than this don't help one disk and one sealing pipeline by default.
const WORKERS_DEFAULT_MAX: usize = 8;
/// All interfaces. Another node of this machine may have the port already: then any free one will do.
const LISTEN_DEFAULT: &str = "0.0.0.0:4870,[::]:4870";
/// More addresses than a machine has use for.
const LISTEN_MAX: usize = 16;
/// Long enough for a session of commands, short enough that nothing lingers after it.
const IDLE_EXIT_SECONDS_DEFAULT: &str = "300";
/// Longer names gain nothing; the bound keeps status lines and the sealed list small.
const VOLUME_NAME_BYTES_MAX: usize = 64;

/// The flags that override settings; each command takes all of them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings (also CAIRN_… variables and the configuration file)")]
pub(crate) struct SettingFlags {
    /// Read this configuration file instead of $XDG_CONFIG_HOME/cairn/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The node's directory: its key and its store
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<OsString>,
    /// Where `up` mounts the volume
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) mount_point: Option<OsString>,
    /// The volume to work on
    #[arg(long, short = 'V', global = true, value_name = "NAME")]
    pub(crate) volume: Option<OsString>,
    /// A file whose first line is the passphrase ('-': standard input)
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) passphrase_file: Option<OsString>,
    /// The most bytes the store may take on the disk, such as 500G
    #[arg(long, global = true, value_name = "SIZE", hide_short_help = true)]
    pub(crate) quota: Option<OsString>,
    /// Files that put and get copy at the same time
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub(crate) workers: Option<OsString>,
    /// Let other users of this machine into the mount
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
    pub(crate) allow_other: Option<OsString>,
    /// Where other nodes of the circle find this one: addresses with commas between them, or none
    #[arg(long, global = true, value_name = "ADDRESSES", hide_short_help = true)]
    pub(crate) listen: Option<OsString>,
    /// What to keep of volumes that other devices write to: everything, or what was used here
    #[arg(long, global = true, value_name = "WHAT", hide_short_help = true)]
    pub(crate) keep: Option<OsString>,
    /// End a node that nobody asks and that mounts nothing after this many seconds (0: never)
    #[arg(long, global = true, value_name = "SECONDS", hide_short_help = true)]
    pub(crate) idle_exit_seconds: Option<OsString>,
    /// What is written to the log: error, warn, info, debug, trace or a filter
    #[arg(long, global = true, value_name = "FILTER", hide_short_help = true)]
    pub(crate) log: Option<OsString>,
}

impl SettingFlags {
    fn get(&self, key: &str) -> Option<&OsStr> {
        match key {
            "data_dir" => self.data_dir.as_deref(),
            "mount_point" => self.mount_point.as_deref(),
            "volume" => self.volume.as_deref(),
            "passphrase_file" => self.passphrase_file.as_deref(),
            "quota" => self.quota.as_deref(),
            "workers" => self.workers.as_deref(),
            "allow_other" => self.allow_other.as_deref(),
            "listen" => self.listen.as_deref(),
            "keep" => self.keep.as_deref(),
            "idle_exit_seconds" => self.idle_exit_seconds.as_deref(),
            "log" => self.log.as_deref(),
            _ => None,
        }
    }
}

/// A value as `cairn config` prints it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownValue {
    /// The key.
    pub(crate) key: &'static str,
    /// The value in force.
    pub(crate) value: Name,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// The variable that would override it.
    pub(crate) variable: String,
    /// What it does.
    pub(crate) meaning: &'static str,
}

/// The values in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The node's directory.
    pub(crate) data_dir: PathBuf,
    /// Where `up` mounts.
    pub(crate) mount_point: PathBuf,
    /// The volume that commands work on.
    pub(crate) volume: String,
    /// Where the passphrase is, unless it is asked for. `-` is standard input.
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The store's ceiling.
    pub(crate) quota: Option<u64>,
    /// Files copied at the same time.
    pub(crate) workers: usize,
    /// Whether other users may use the mount.
    pub(crate) allow_other: bool,
    /// Where other nodes find this one.
    pub(crate) listen: Listen,
    /// Whether this device keeps a copy of what other devices put into its volumes, and not only what was used here.
    pub(crate) keeps_everything: bool,
    /// How long an unused node stays; `None` for ever.
    pub(crate) idle_exit: Option<Duration>,
    /// The log's filter.
    pub(crate) log: String,
    /// Where logs go.
    pub(crate) state_dir: PathBuf,
    /// The configuration file that was looked for.
    pub(crate) config_file: PathBuf,
    /// Every value as text with its origin.
    pub(crate) shown: Vec<ShownValue>,
}

/// The text of every key with its origin, before it is parsed.
struct Raw {
    values: BTreeMap<&'static str, (OsString, Origin)>,
    config_file: PathBuf,
}

impl Settings {
    /// The volume where none is named.
    pub(crate) const VOLUME_DEFAULT: &str = "main";

    /// The values in force, from the flags, the environment, the file and the defaults.
    pub(crate) fn find(flags: &SettingFlags, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let places = Places::find(environment).ok_or(ConfigError::NoHome)?;
        Raw::collect(flags, environment, &places)?.parse(&places)
    }

    /// The variables that hand the values that were typed or set to a node this process starts. Paths are handed on as
    /// they are meant here: the node works in another directory.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = (String, OsString)> + '_ {
        self.shown
            .iter()
            // The passphrase goes through a pipe, not through a file's name that the node would read again.
            .filter(|value| value.origin != Origin::Default && value.key != "passphrase_file")
            .map(|value| {
                let meant = match value.key {
                    "data_dir" => self.data_dir.clone(),
                    "mount_point" => self.mount_point.clone(),
                    _ => value.value.to_path(),
                };
                (value.variable.clone(), meant.into_os_string())
            })
    }

    /// The log of a node that runs in the background.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.state_dir.join("node.log")
    }
}

/// The settings that a configuration file of this text gives.
#[cfg(feature = "fuzzing")]
pub(crate) fn of_text(text: &str) -> Result<Settings, ConfigError> {
    let places = Places::find(&|name| (name == "HOME").then(|| "/home/fuzz".into())).ok_or(ConfigError::NoHome)?;
    let in_file = file::parse(Path::new("config.toml"), text)?;
    let value = |key| match in_file.get(key) {
        Some(value) => (value.into(), Origin::File),
        None => (default(key, &places), Origin::Default),
    };
    let values = SETTINGS.iter().map(|setting| (setting.key, value(setting.key))).collect();
    Raw { values, config_file: "config.toml".into() }.parse(&places)
}

impl Raw {
    fn collect(flags: &SettingFlags, environment: Environment<'_>, places: &Places) -> Result<Self, ConfigError> {
        let config_file = flags
            .config
            .clone()
            .or_else(|| environment("CAIRN_CONFIG").map(PathBuf::from))
            .unwrap_or_else(|| places.config.join("config.toml"));
        let config_file = std::path::absolute(&config_file).unwrap_or(config_file);
        let in_file = file::read(&config_file)?;
        let values = SETTINGS
            .iter()
            .map(|setting| {
                let key = setting.key;
                let value = flags
                    .get(key)
                    .map(|value| (value.to_owned(), Origin::Flag))
                    .or_else(|| environment(&setting.variable()).map(|value| (value, Origin::Environment)))
                    .or_else(|| in_file.get(key).map(|value| (value.into(), Origin::File)))
                    .unwrap_or_else(|| (default(key, places), Origin::Default));
                (key, value)
            })
            .collect();
        Ok(Self { values, config_file })
    }

    fn parse(self, places: &Places) -> Result<Settings, ConfigError> {
        let idle_seconds: u64 = self.parsed("idle_exit_seconds", |text| text.parse().ok())?;
        Ok(Settings {
            data_dir: self.path("data_dir", places)?,
            mount_point: self.path("mount_point", places)?,
            volume: self.parsed("volume", |text| is_volume_name(text).then(|| text.to_owned()))?,
            passphrase_file: self.optional_path("passphrase_file", places)?,
            quota: Some(self.parsed("quota", text::parse_size)?).filter(|bytes| *bytes > 0),
            workers: self.parsed("workers", |text| text.parse().ok().filter(|n| (1..=WORKERS_MAX).contains(n)))?,
            allow_other: self.parsed("allow_other", |text| text.parse().ok())?,
            listen: Listen {
                addresses: self.parsed("listen", parse_listen)?,
                is_asked_for: self.values["listen"].1 != Origin::Default,
            },
            keeps_everything: self.parsed("keep", |text| match text {
                "everything" => Some(true),
                "used" => Some(false),
                _ => None,
            })?,
            idle_exit: (idle_seconds > 0).then(|| Duration::from_secs(idle_seconds)),
            log: self
                .parsed("log", |text| text.parse::<tracing_subscriber::EnvFilter>().is_ok().then(|| text.to_owned()))?,
            state_dir: places.state.clone(),
            shown: self.shown(),
            config_file: self.config_file,
        })
    }

    fn parsed<T>(&self, key: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ConfigError> {
        self.values[key].0.to_str().and_then(parse).ok_or_else(|| self.misfit(key))
    }

    fn path(&self, key: &'static str, places: &Places) -> Result<PathBuf, ConfigError> {
        self.optional_path(key, places)?.ok_or_else(|| self.misfit(key))
    }

    /// An absolute path: `~/` is the home, anything else relative starts at the working directory.
    fn optional_path(&self, key: &'static str, places: &Places) -> Result<Option<PathBuf>, ConfigError> {
        let written = Path::new(&self.values[key].0);
        if written.as_os_str().is_empty() {
            return Ok(None);
        }
        if written == Path::new("-") {
            return Ok(Some(written.into()));
        }
        let path = match written.strip_prefix("~") {
            Ok(below) => places.home.join(below),
            Err(_) => written.to_owned(),
        };
        std::path::absolute(path).map(Some).map_err(|_| self.misfit(key))
    }

    fn misfit(&self, key: &'static str) -> ConfigError {
        let (value, origin) = &self.values[key];
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let place = match origin {
            Origin::Default => format!("the default of {key}"),
            Origin::File => format!("{}: {key}", self.config_file.display()),
            Origin::Environment => format!("CAIRN_{}", key.to_ascii_uppercase()),
            Origin::Flag => format!("--{}", key.replace('_', "-")),
        };
        let expected = setting.map_or("a value", |setting| setting.expected);
        ConfigError::Value { place, value: value.to_string_lossy().into_owned(), expected }
    }

    fn shown(&self) -> Vec<ShownValue> {
        SETTINGS
            .iter()
            .map(|setting| {
                let (value, origin) = &self.values[setting.key];
                ShownValue {
                    key: setting.key,
                    value: Name::from(value.as_os_str()),
                    origin: *origin,
                    variable: setting.variable(),
                    meaning: setting.meaning,
                }
            })
            .collect()
    }
}

fn parse_listen(text: &str) -> Option<Vec<SocketAddr>> {
    if text == "none" {
        return Some(Vec::new());
    }
    let addresses: Vec<SocketAddr> = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    (addresses.len() <= LISTEN_MAX).then_some(addresses)
}

/// Names that are the same in a shell, a path, fstab and JSON.
pub(crate) fn is_volume_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=VOLUME_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['.', '-'])
}

fn default(key: &str, places: &Places) -> OsString {
    match key {
        "data_dir" => places.data.clone().into(),
        "mount_point" => places.home.join("Cairn").into(),
        "volume" => Settings::VOLUME_DEFAULT.into(),
        "quota" => "0".into(),
        "workers" => {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            cores.clamp(2, WORKERS_DEFAULT_MAX).to_string().into()
        }
        "allow_other" => "false".into(),
        "listen" => LISTEN_DEFAULT.into(),
        "keep" => "everything".into(),
        "idle_exit_seconds" => IDLE_EXIT_SECONDS_DEFAULT.into(),
        "log" => "info".into(),
        _ => OsString::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "HOME" => Some("/home/a".into()),
            "CAIRN_VOLUME" => Some("from-env".into()),
            "CAIRN_QUOTA" => Some("2G".into()),
            "CAIRN_CONFIG" => Some("/nonexistent/cairn.toml".into()),
            _ => None,
        }
    }

    #[test]
    fn flags_win_over_variables_and_each_value_knows_its_origin() {
        let flags = SettingFlags { volume: Some("from-flag".into()), ..SettingFlags::default() };
        let settings = Settings::find(&flags, &environment).expect("valid");
        assert_eq!(settings.volume, "from-flag");
        assert_eq!(settings.quota, Some(2 << 30));
        assert_eq!(settings.mount_point, Path::new("/home/a/Cairn"));
        let origin = |key: &str| settings.shown.iter().find(|value| value.key == key).map(|value| value.origin);
        assert_eq!(origin("volume"), Some(Origin::Flag));
        assert_eq!(origin("quota"), Some(Origin::Environment));
        assert_eq!(origin("log"), Some(Origin::Default));
    }

    #[test]
    fn a_misfit_names_its_place_and_what_would_fit() {
        let flags = SettingFlags { workers: Some("0".into()), ..SettingFlags::default() };
        let error = Settings::find(&flags, &environment).expect_err("0 workers copy nothing");
        assert_eq!(error.to_string(), "--workers: `0` is not a number from 1 to 64");
    }

    #[test]
    fn addresses_are_read_and_a_default_is_no_wish() {
        let listen = |flag: Option<&str>| {
            let flags = SettingFlags { listen: flag.map(Into::into), ..SettingFlags::default() };
            Settings::find(&flags, &environment).map(|settings| settings.listen)
        };
        let default = listen(None).expect("valid");
        assert!(!default.is_asked_for && default.addresses.len() == 2);
        let asked = listen(Some("127.0.0.1:0, [::1]:7")).expect("valid");
        assert_eq!(asked.addresses, ["127.0.0.1:0".parse().unwrap(), "[::1]:7".parse().unwrap()]);
        assert!(asked.is_asked_for);
        assert!(listen(Some("none")).expect("valid").addresses.is_empty());
        for bad in ["", "4870", "localhost:4870", "1.2.3.4"] {
            assert!(listen(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_is_told_paths_that_hold_in_any_directory() {
        let flags = SettingFlags { data_dir: Some("here".into()), ..SettingFlags::default() };
        let settings = Settings::find(&flags, &environment).expect("valid");
        let told: BTreeMap<_, _> = settings.overrides().collect();
        assert!(Path::new(&told["CAIRN_DATA_DIR"]).is_absolute(), "{told:?}");
        assert!(!told.contains_key("CAIRN_LOG"), "a default needs no telling");
    }

    #[test]
    fn a_tilde_is_the_home() {
        let flags = SettingFlags { data_dir: Some("~/x".into()), ..SettingFlags::default() };
        assert_eq!(Settings::find(&flags, &environment).expect("valid").data_dir, Path::new("/home/a/x"));
    }

    #[test]
    fn volume_names_are_plain() {
        assert!(is_volume_name("main") && is_volume_name("photos-2024.a_b"));
        for bad in ["", "Main", "a/b", "..", "-x", "a b", &"x".repeat(65)] {
            assert!(!is_volume_name(bad), "{bad}");
        }
    }

    #[test]
    fn every_setting_has_a_flag_of_its_name() {
        let command = SettingFlags::augment_args(clap::Command::new("x"));
        for setting in SETTINGS {
            let flag = setting.key.replace('_', "-");
            assert!(command.get_arguments().any(|arg| arg.get_long() == Some(&flag)), "--{flag}");
        }
    }
}
