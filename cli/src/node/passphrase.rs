//! The passphrase: where it comes from, and what keeps it out of sight.
//!
//! It is typed on a terminal or read from a file or from standard input. It is never an argument and never a variable:
//! both are open to other processes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::errors::{Failure, Kind, Outcome};
use crate::terminal;
use crate::text::shell_quoted;

/// Anything longer isn't typed and isn't remembered; the bound keeps a wrong file from being read whole.
const PASSPHRASE_BYTES_MAX: u64 = 1024;
/// Bits that let others read a file.
const OTHERS_MAY_READ: u32 = 0o044;

/// A passphrase in memory; wiped when dropped.
pub(crate) struct Passphrase(Zeroizing<Vec<u8>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

impl Passphrase {
    /// From bytes that were typed or read; `None` when there is nothing.
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// The bytes. Handle them as what they are.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first line of `input`, without its end.
    pub(crate) fn read_line(input: impl Read) -> io::Result<Option<Self>> {
        let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX as usize + 2));
        BufReader::new(input.take(PASSPHRASE_BYTES_MAX + 2)).read_until(b'\n', &mut line)?;
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        if line.len() as u64 > PASSPHRASE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the passphrase is longer than 1024 bytes"));
        }
        Ok(Self::new(std::mem::take(&mut *line)))
    }

    /// The first line of a file that only its owner may read; `-` is standard input.
    pub(crate) fn from_file(path: &Path) -> Outcome<Self> {
        let doing = || format!("reading the passphrase from {}", path.display());
        let read = if path == Path::new("-") {
            Self::read_line(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| Failure::from(error).while_(doing()))?;
            let metadata = file.metadata().map_err(|error| Failure::from(error).while_(doing()))?;
            if metadata.is_file() && metadata.mode() & OTHERS_MAY_READ != 0 {
                return Err(Failure::new(
                    Kind::Denied,
                    format!("the passphrase file {} can be read by others", path.display()),
                )
                .hint(format!("run `chmod 600 {}`", shell_quoted(path))));
            }
            Self::read_line(file)
        };
        read.map_err(|error| Failure::from(error).while_(doing()))?
            .ok_or_else(|| Failure::new(Kind::Denied, format!("the first line of {} is empty", path.display())))
    }

    /// What opens the key: from the file of the settings, or asked for on the terminal; `None` where neither is.
    pub(crate) fn obtain(file: Option<&Path>) -> Outcome<Option<Self>> {
        match file {
            Some(file) => Self::from_file(file).map(Some),
            None if terminal::is_interactive() => Self::ask("Passphrase: "),
            None => Ok(None),
        }
    }

    /// A new passphrase, typed twice or from the file.
    pub(crate) fn obtain_new(file: Option<&Path>) -> Outcome<Self> {
        if let Some(file) = file {
            return Self::from_file(file);
        }
        if !terminal::is_interactive() {
            return Err(Failure::new(Kind::Usage, "there is no terminal to ask for the passphrase")
                .hint("put it in a file that only you can read and name that file"));
        }
        let first = Self::ask("New passphrase: ")?;
        let second = Self::ask("Once more: ")?;
        match (first, second) {
            (Some(first), Some(second)) if first.as_bytes() == second.as_bytes() => Ok(first),
            (Some(_), _) => {
                Err(Failure::new(Kind::Usage, "the two passphrases differ").hint("nothing was changed; try again"))
            }
            (None, _) => {
                Err(Failure::new(Kind::Usage, "an empty passphrase protects nothing").hint("nothing was changed"))
            }
        }
    }

    fn ask(prompt: &str) -> Outcome<Option<Self>> {
        let typed = rpassword::prompt_password(prompt)
            .map_err(|error| Failure::from(error).while_("asking for the passphrase"))?;
        Ok(Self::new(typed.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_not_part_of_the_passphrase() {
        for text in ["se cret", "se cret\n", "se cret\r\n", "se cret\nmore"] {
            let read = Passphrase::read_line(text.as_bytes()).expect("readable").expect("not empty");
            assert_eq!(read.as_bytes(), b"se cret");
        }
        assert!(Passphrase::read_line(&b"\n"[..]).expect("readable").is_none());
        assert!(Passphrase::read_line(&[b'x'; 2000][..]).is_err());
    }

    #[test]
    fn debug_shows_nothing() {
        let passphrase = Passphrase::new(b"se cret".to_vec()).expect("not empty");
        assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
    }
}
