//! What a run says besides pass and fail: skips with their reason, figures, and the promise that a test holds.
//!
//! The test runner hides the output of tests that pass, so these lines go to the terminal directly, and to the
//! files named by `CAIRN_SKIPS` and `CAIRN_FIGURES`, from which the closing line of the gate is made.

use std::io::Write;

/// Leaves the test, saying why aloud. The closing line counts it as skipped, not as passed.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::report::skipped($crate::here!(), &format!($($reason)*));
        return;
    }};
}

/// Records a measured figure, beside its bar where it has one.
#[macro_export]
macro_rules! figure {
    ($($figure:tt)*) => { $crate::report::figure($crate::here!(), &format!($($figure)*)) };
}

/// Names the paragraph of docs/SEMANTICS.md that the test holds true, by its heading, word for word.
/// When the test fails, so does the promise: the message says which.
#[macro_export]
macro_rules! promise {
    ($heading:literal) => {
        let _promise = $crate::report::Promise($heading);
    };
}

/// The path of the function it is used in.
#[macro_export]
macro_rules! here {
    () => {
        $crate::report::name_of(std::any::type_name_of_val(&|| {}))
    };
}

/// A promise that is being tested; a panic while it is alive breaks it.
#[derive(Debug)]
pub struct Promise(pub &'static str);

impl Drop for Promise {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("broken promise of docs/SEMANTICS.md: {}", self.0));
        }
    }
}

/// The name as the test runner prints it: without the crate, without the closure that asked.
pub fn name_of(closure: &'static str) -> &'static str {
    let name = closure.trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_, name)| name)
}

/// See [`skip!`].
pub fn skipped(test: &str, reason: &str) {
    say(&format!("skipped {test}: {reason}"));
    append("CAIRN_SKIPS", &format!("test {test}: {reason}"));
}

/// Says that a part of a test, or one case inside a judge of others, was not run. Not counted as a test of its own.
pub fn left_out(test: &str, reason: &str) {
    say(&format!("left out in {test}: {reason}"));
    append("CAIRN_FIGURES", &format!("{test}: left out: {reason}"));
}

/// See [`figure!`].
pub fn figure(test: &str, figure: &str) {
    say(&format!("{test}: {figure}"));
    append("CAIRN_FIGURES", &format!("{test}: {figure}"));
}

/// Writes past the runner's capture.
pub fn say(line: &str) {
    // A closed terminal is no reason to fail a test.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn append(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "can't record in {}: {written:?}", path.display());
}
