//! A bar on a terminal, and nothing anywhere else.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::control::events::{Progress, Unit};
use crate::output::Output;
use crate::text;

/// How far an operation is, for a person.
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for something called `doing`; hidden unless standard error is a terminal and neither JSON nor quiet is asked.
    pub(crate) fn new(doing: &'static str, output: Output) -> Self {
        let shown = !output.quiet && !output.json && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(doing).with_style(style());
        Self { bar }
    }

    /// Moves it.
    pub(crate) fn show(&self, progress: &Progress) {
        if let Some(total) = progress.total {
            self.bar.set_length(total.max(1));
        }
        self.bar.set_position(progress.done);
        let of = progress.total.map(|total| format!(" of {}", amount(progress.unit, total))).unwrap_or_default();
        let files = progress.files.map(|files| format!(", {files} files")).unwrap_or_default();
        self.bar.set_message(format!("{}{of}{files}", amount(progress.unit, progress.done)));
    }

    /// Prints a line above it.
    pub(crate) fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:30}] {msg} {elapsed}")
        .expect("the template is valid")
        .progress_chars("=> ")
}

fn amount(unit: Unit, count: u64) -> String {
    match unit {
        Unit::Bytes => text::size(count),
        Unit::Blocks => format!("{count} blocks"),
        Unit::Entries => format!("{count} entries"),
    }
}
