//! The table of targets.

pub(crate) mod blocks;
mod heads;
mod journal;
mod log;
pub(crate) mod messages;
mod packs;
mod text;
mod trees;
mod values;

/// One thing that is read from outside.
pub(crate) struct Target {
    /// What `scripts/fuzz.sh` calls it.
    pub(crate) name: &'static str,
    /// Reads one input.
    pub(crate) run: fn(&[u8]),
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "block", run: blocks::block },
    Target { name: "chunk", run: blocks::chunk },
    Target { name: "wrapped", run: blocks::wrapped },
    Target { name: "map_node", run: trees::map_node },
    Target { name: "file_node", run: trees::file_node },
    Target { name: "map_tree", run: trees::map_tree },
    Target { name: "file_tree", run: trees::file_tree },
    Target { name: "volume_root", run: values::volume_root },
    Target { name: "entry", run: values::entry },
    Target { name: "xattrs", run: values::xattrs },
    Target { name: "ids", run: values::ids },
    Target { name: "head", run: heads::head },
    Target { name: "pack", run: packs::pack },
    Target { name: "descriptor", run: packs::descriptor },
    Target { name: "proof", run: packs::proof },
    Target { name: "journal", run: journal::journal },
    Target { name: "log", run: log::log },
    Target { name: "config", run: text::config },
    Target { name: "key_file", run: text::key_file },
    Target { name: "phrase", run: text::phrase },
    Target { name: "volumes", run: text::volumes },
    Target { name: "circle_file", run: text::circle_file },
    Target { name: "message", run: messages::message },
    Target { name: "epoch", run: messages::epoch },
    Target { name: "control", run: text::control },
    Target { name: "answer", run: text::answer },
    Target { name: "arguments", run: text::arguments },
    Target { name: "words", run: text::words },
    Target { name: "mount_options", run: text::mount_options },
];
