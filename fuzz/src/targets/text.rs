//! What the command and the node read as text: configuration, keys, requests, what is typed.

use std::cell::OnceCell;

use cairn_cli::fuzzing;
use cairn_fs::mount::MountOptions;

fn with_text(data: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// A configuration file.
pub(crate) fn config(data: &[u8]) {
    with_text(data, fuzzing::config);
}

/// A key file.
pub(crate) fn key_file(data: &[u8]) {
    fuzzing::key_file(data);
}

/// A recovery phrase.
pub(crate) fn phrase(data: &[u8]) {
    with_text(data, fuzzing::phrase);
}

/// The list of volumes.
pub(crate) fn volumes(data: &[u8]) {
    fuzzing::volume_list(data);
}

/// What a node knows of its circle.
pub(crate) fn circle_file(data: &[u8]) {
    fuzzing::circle_file(data);
}

/// A connection to the node.
pub(crate) fn control(data: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|cell| {
        let make = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        fuzzing::connection(cell.get_or_init(make), data);
    });
}

/// The node's answer.
pub(crate) fn answer(data: &[u8]) {
    fuzzing::answer(data);
}

/// A command line.
pub(crate) fn arguments(data: &[u8]) {
    fuzzing::arguments(data);
}

/// Sizes, names, times.
pub(crate) fn words(data: &[u8]) {
    fuzzing::words(data);
}

/// What `mount -o` takes. Options that were applied once change nothing when they are applied again.
pub(crate) fn mount_options(data: &[u8]) {
    with_text(data, |text| {
        let mut options = MountOptions::new("volume");
        if options.apply_list(text).is_ok() {
            let mut again = options.clone();
            again.apply_list(text).expect("it was taken before");
            assert_eq!(again, options);
        }
    });
}
