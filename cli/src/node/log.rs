//! The log: what the node writes about itself. Names of files are in it at `debug` only.

use tracing_subscriber::EnvFilter;

use crate::config::Settings;
use crate::errors::{Failure, Kind, Outcome};

/// To standard error: the terminal of a node in the foreground, the log file of one in the background.
pub(crate) fn to_standard_error(settings: &Settings) -> Outcome<()> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| Failure::new(Kind::Config, format!("`{}` is no log filter: {error}", settings.log)))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log on a full disk, or on a terminal that is gone, is no reason to panic in whoever had something to say.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init()
        .map_err(|error| Failure::new(Kind::Internal, format!("the log can't be started: {error}")))
}
