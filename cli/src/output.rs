//! What commands print: data to standard output, remarks to standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::errors::{Failure, Outcome};

/// How a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON value per line instead of text.
    pub(crate) json: bool,
    /// No remarks.
    pub(crate) quiet: bool,
}

impl Output {
    /// A value: JSON, or what `text` makes of it.
    pub(crate) fn value<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome<()> {
        if self.json { self.json_line(value) } else { self.text(&text(value)) }
    }

    /// Rows: one JSON value per line, or a table with a head.
    pub(crate) fn rows<T: Serialize>(self, rows: &[T], table: impl FnOnce(&[T]) -> Table) -> Outcome<()> {
        if self.json { rows.iter().try_for_each(|row| self.json_line(row)) } else { self.text(&table(rows).render()) }
    }

    /// Text with a line end where it has none.
    pub(crate) fn text(self, text: &str) -> Outcome<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// One line of JSON.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Outcome<()> {
        let mut line = serde_json::to_vec(value).map_err(|error| Failure::from(io::Error::from(error)))?;
        line.push(b'\n');
        Ok(io::stdout().lock().write_all(&line)?)
    }

    /// A remark for a person.
    pub(crate) fn remark(self, text: impl AsRef<str>) {
        if !self.quiet {
            say(text.as_ref());
        }
    }

    /// One thing that failed while the rest goes on.
    pub(crate) fn trouble(self, path: &str, failure: &Failure) {
        if self.json {
            say(serde_json::json!({ "trouble": failure_json(failure), "path": path }));
        } else {
            say(format_args!("error: {path}: {failure}"));
        }
    }

    /// Why the command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            say(serde_json::json!({ "error": failure_json(failure) }));
            return;
        }
        say(format_args!("error: {failure}"));
        if let Some(hint) = &failure.hint {
            say(format_args!("hint: {hint}"));
        }
    }
}

/// A line on standard error. Nobody there to read it is no failure of what it is about.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn failure_json(failure: &Failure) -> serde_json::Value {
    serde_json::json!({
        "kind": failure.kind,
        "message": failure.message,
        "causes": failure.causes,
        "hint": failure.hint,
        "exit_code": failure.kind.exit_code(),
    })
}

/// A table for people: columns as wide as they need to be, the last one free.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// With the names of its columns.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| name.to_uppercase()).collect()], right: Vec::new() }
    }

    /// Without names.
    pub(crate) fn bare() -> Self {
        Self::default()
    }

    /// Numbers stand to the right in these columns.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// One more row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// As text.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |cell: &String| cell.chars().count();
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(width_of).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - width_of(cell));
                let cell = if self.right.contains(&column) {
                    [pad.as_str(), cell].concat()
                } else {
                    [cell, pad.as_str()].concat()
                };
                line.push_str(&cell);
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let mut table = Table::new(&["name", "size"]).right(&[1]);
        table.row(["a", "1 B"]);
        table.row(["longer", "10 MiB"]);
        assert_eq!(table.render(), "NAME      SIZE\na          1 B\nlonger  10 MiB\n");
    }
}
