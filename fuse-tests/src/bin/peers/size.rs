//! How much is done.

use std::time::Duration;

use cairn_fuse_tests::Scale;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) scale: Scale,
    pub(crate) rounds: usize,
    /// What the archivers are given.
    pub(crate) data_bytes: u64,
    /// What is streamed through a mount.
    pub(crate) stream_mib: u64,
    /// Small files in a mount.
    pub(crate) files: u32,
    /// What real programs work on.
    pub(crate) sources_bytes: u64,
    /// Modules of the crate that is compiled.
    pub(crate) modules: usize,
    /// How long idleness is watched, after it began.
    pub(crate) idle: Duration,
}

impl Size {
    pub(crate) fn of(scale: Scale) -> Size {
        match scale {
            // Under two minutes: to see that it works.
            Scale::Short => Size {
                scale,
                rounds: 1,
                data_bytes: 32 << 20,
                stream_mib: 32,
                files: 300,
                sources_bytes: 8 << 20,
                modules: 10,
                idle: Duration::from_secs(5),
            },
            // What is published.
            Scale::Full => Size {
                scale,
                rounds: 5,
                data_bytes: 1 << 30,
                stream_mib: 512,
                files: 5_000,
                sources_bytes: 128 << 20,
                modules: 60,
                idle: Duration::from_secs(60),
            },
        }
    }
}
