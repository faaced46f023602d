//! How long a suite may take: the short form in the gate, the full form when a figure is to be shown.

/// Chosen once per run by `CAIRN_SCALE=short|full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// `make test`: the whole crate in some ten minutes on two cores.
    Short,
    /// `make accept-*`: the sizes of the acceptance table.
    Full,
}

impl Scale {
    /// The scale of this run. An unknown word stops the run: a typo must not turn an acceptance into a smoke test.
    pub fn of_this_run() -> Scale {
        match std::env::var("CAIRN_SCALE").as_deref() {
            Err(_) | Ok("short") => Scale::Short,
            Ok("full") => Scale::Full,
            Ok(other) => panic!("CAIRN_SCALE is `{other}`: it can be `short` or `full`"),
        }
    }

    /// The figure for this run: `short` in the gate, `full` for the acceptance.
    pub fn pick<T>(short: T, full: T) -> T {
        match Scale::of_this_run() {
            Scale::Short => short,
            Scale::Full => full,
        }
    }
}
