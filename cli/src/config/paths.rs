//! Where things are by default: the XDG places.

use std::ffi::OsString;
use std::path::PathBuf;

/// A look at the environment; tests bring their own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The directories that everything else is placed under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// For the mount point.
    pub(crate) home: PathBuf,
    /// For the configuration file.
    pub(crate) config: PathBuf,
    /// For the key and the store.
    pub(crate) data: PathBuf,
    /// For logs.
    pub(crate) state: PathBuf,
}

impl Places {
    /// From HOME and the XDG variables; `None` without a home. Empty and relative values count as unset, as the XDG
    /// specification asks.
    pub(crate) fn find(environment: Environment<'_>) -> Option<Self> {
        let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // A root service without HOME still has a home.
        let home = absolute("HOME").or_else(|| rustix::process::getuid().is_root().then(|| PathBuf::from("/root")))?;
        let place =
            |name: &str, below_home: &str| absolute(name).unwrap_or_else(|| home.join(below_home)).join("cairn");
        Some(Self {
            config: place("XDG_CONFIG_HOME", ".config"),
            data: place("XDG_DATA_HOME", ".local/share"),
            state: place("XDG_STATE_HOME", ".local/state"),
            home,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn xdg_places_win_over_home_and_relative_ones_are_ignored() {
        let places = Places::find(&|name| match name {
            "HOME" => Some("/home/a".into()),
            "XDG_CONFIG_HOME" => Some("/etc/x".into()),
            "XDG_DATA_HOME" => Some("relative".into()),
            _ => None,
        })
        .expect("there is a home");
        assert_eq!(places.config, Path::new("/etc/x/cairn"));
        assert_eq!(places.data, Path::new("/home/a/.local/share/cairn"));
        assert_eq!(places.state, Path::new("/home/a/.local/state/cairn"));
    }
}
