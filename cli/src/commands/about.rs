//! What cairn says about itself: settings, completions, man pages, version, exit codes.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Cli, ConfigArgs, MountHelper, exit_codes_text};
use crate::errors::{EXIT_CODES, Failure, Outcome};
use crate::output::{Output, Table};

use super::session::Session;

/// Prints the settings with their origins.
pub(super) fn config(session: &Session, args: &ConfigArgs) -> Outcome<()> {
    let output = session.output;
    let file = &session.settings.config_file;
    if args.path {
        return output
            .value(&serde_json::json!({ "path": file.display().to_string() }), |_| file.display().to_string());
    }
    output.rows(&session.settings.shown, |values| {
        let mut table = Table::new(&["key", "value", "from", "meaning"]);
        for value in values {
            table.row([value.key, &value.value.shown(), &value.origin.to_string(), value.meaning]);
        }
        table
    })
}

/// Prints a shell's completions.
pub(super) fn completions(shell: Shell) -> Outcome<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cairn", &mut text);
    Output { json: false, quiet: true }.text(&String::from_utf8_lossy(&text))
}

/// Writes one page per command.
pub(super) fn man(directory: &Path) -> Outcome<()> {
    let failed =
        |error: std::io::Error| Failure::from(error).while_(format!("writing man pages to {}", directory.display()));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Cli::command().after_long_help(exit_codes_text()).disable_help_subcommand(true);
    command.build();
    write_pages(&command, "cairn", directory, "1").map_err(failed)?;
    write_pages(&MountHelper::command(), "mount.fuse.cairn", directory, "8").map_err(failed)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path, section: &str) -> std::io::Result<()> {
    if command.is_hide_set() {
        return Ok(());
    }
    // clap names a subcommand's page by its own name only, and wants a name that lives as long as the program.
    let named = command.clone().name(&*Box::leak(name.to_owned().into_boxed_str()));
    let mut page = Vec::new();
    Man::new(named).section(section).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.{section}")), page)?;
    command
        .get_subcommands()
        .try_for_each(|below| write_pages(below, &format!("{name}-{}", below.get_name()), directory, section))
}

/// Prints the version.
pub(super) fn version(output: Output) -> Outcome<()> {
    let version = env!("CARGO_PKG_VERSION");
    output.value(&serde_json::json!({ "version": version }), |_| format!("cairn {version}"))
}

/// Prints the table of exit codes.
pub(super) fn exit_codes(output: Output) -> Outcome<()> {
    if output.json {
        return EXIT_CODES.iter().try_for_each(|(kind, code, meaning)| {
            output.json_line(&serde_json::json!({ "kind": kind, "code": code, "meaning": meaning }))
        });
    }
    output.text(&exit_codes_text())
}
