//! key: its state, its passphrase, its 24 words.
//!
//! These commands read and write the key file themselves. A node that runs has its keys in memory and reads the file only
//! at its start, so a change of the passphrase doesn't disturb it.

use std::io::{self, BufRead, IsTerminal, Read};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::{KeyCommand, KeyRestoreArgs, NewPassphraseArgs, PassphraseCommand, PhraseArgs};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::durable::Existing;
use crate::node::keyfile::{KeyFile, NodeKeys};
use crate::node::passphrase::Passphrase;
use crate::node::{harden, phrase};
use crate::output::Table;
use crate::terminal;
use crate::text::Name;

use super::session::Session;

/// 24 words of at most 8 letters with room for any blanks between them.
const PHRASE_TEXT_BYTES_MAX: u64 = 4096;

/// Looks after the key.
pub(super) fn key(session: &mut Session, command: KeyCommand) -> Outcome<()> {
    harden::keep_memory_private();
    match command {
        KeyCommand::Show => show(session),
        KeyCommand::Phrase(args) => show_phrase(session, &args),
        KeyCommand::Restore(args) => restore(session, &args),
        KeyCommand::Passphrase(command) => change_passphrase(session, &command),
    }
}

#[derive(Serialize)]
struct Shown {
    path: Name,
    exists: bool,
    locked: Option<bool>,
}

fn show(session: &Session) -> Outcome<()> {
    let path = session.data_dir().key_file();
    let file = KeyFile::read(&path)?;
    let shown = Shown {
        path: Name::from(path.as_path()),
        exists: file.is_some(),
        locked: file.as_ref().map(KeyFile::is_locked),
    };
    session.output.value(&shown, |shown| {
        let mut table = Table::bare();
        table.row(["key".into(), shown.path.shown()]);
        let lock = match shown.locked {
            None => "there is none yet: `cairn up` makes one, `cairn key restore` makes it again from the 24 words",
            Some(true) => "a passphrase (Argon2id)",
            Some(false) => "none: whoever can read the file has the key; `cairn key passphrase set` locks it",
        };
        table.row(["lock".into(), lock.to_owned()]);
        table.render()
    })
}

/// The key file, which has to be there.
fn read(session: &Session) -> Outcome<KeyFile> {
    let path = session.data_dir().key_file();
    KeyFile::read(&path)?.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("there is no key at {}", path.display()))
            .hint("`cairn up` makes one, `cairn key restore` makes it again from the 24 words")
    })
}

fn unlock(session: &Session, file: &KeyFile) -> Outcome<NodeKeys> {
    let passphrase =
        if file.is_locked() { Passphrase::obtain(session.settings.passphrase_file.as_deref())? } else { None };
    Ok(file.unlock(passphrase.as_ref())?)
}

fn change_passphrase(session: &Session, command: &PassphraseCommand) -> Outcome<()> {
    let file = read(session)?;
    match (command, file.is_locked()) {
        (PassphraseCommand::Set(_), true) => {
            return Err(
                Failure::new(Kind::Refused, "the key has a passphrase already").hint("`cairn key passphrase change`")
            );
        }
        (PassphraseCommand::Change(_) | PassphraseCommand::Remove, false) => {
            return Err(Failure::new(Kind::Refused, "the key has no passphrase").hint("`cairn key passphrase set`"));
        }
        _ => {}
    }
    let keys = unlock(session, &file)?;
    let new = match command {
        PassphraseCommand::Set(args) | PassphraseCommand::Change(args) => Some(new_passphrase(args)?),
        PassphraseCommand::Remove => None,
    };
    KeyFile::write(&session.data_dir().key_file(), &keys, new.as_ref(), Existing::Replace)?;
    session.output.remark(match new {
        Some(_) => "the key is locked; the 24 words still open it without the passphrase",
        None => "the key is open: whoever can read its file has it",
    });
    Ok(())
}

fn new_passphrase(args: &NewPassphraseArgs) -> Outcome<Passphrase> {
    Passphrase::obtain_new(args.new_passphrase_file.as_deref())
}

fn show_phrase(session: &Session, args: &PhraseArgs) -> Outcome<()> {
    let file = read(session)?;
    terminal::confirm("Whoever sees the 24 words can read everything. Show them now?", args.yes)?;
    let words = phrase::words(&unlock(session, &file)?.master);
    if session.output.json {
        let list: Vec<&str> = words.split(' ').collect();
        return session.output.json_line(&serde_json::json!({ "words": list }));
    }
    if !io::stdout().is_terminal() {
        return session.output.text(&words);
    }
    let mut table = Table::bare();
    let list: Vec<&str> = words.split(' ').collect();
    for row in 0..phrase::PHRASE_WORDS / 4 {
        table.row((0..4).map(|column| {
            let index = column * (phrase::PHRASE_WORDS / 4) + row;
            format!("{:>2} {}", index + 1, list[index])
        }));
    }
    session.output.text(&table.render())
}

fn restore(session: &mut Session, args: &KeyRestoreArgs) -> Outcome<()> {
    let data_dir = session.data_dir();
    if let Some(_there) = KeyFile::read(&data_dir.key_file())? {
        return Err(Failure::new(Kind::Refused, format!("there is a key already: {}", data_dir.key_file().display()))
            .hint("nothing was changed; use another --data-dir to restore beside it"));
    }
    let master = phrase::parse(&read_phrase()?)?;
    let new = match args.passphrase || args.new.new_passphrase_file.is_some() {
        true => Some(new_passphrase(&args.new)?),
        false => None,
    };
    data_dir.create()?;
    // The old device's key is gone with the old machine: this is another device of the same volumes.
    let keys = NodeKeys { master, ..NodeKeys::generate() };
    KeyFile::write(&data_dir.key_file(), &keys, new.as_ref(), Existing::Keep)?;
    let output = session.output;
    output.remark(format!("the key is back: {}", data_dir.key_file().display()));
    if data_dir.store().exists() {
        output.remark("`cairn up` opens the store beside it");
    } else {
        output.remark(format!(
            "copy the store to {} before `cairn up`, or begin an empty one",
            data_dir.store().display()
        ));
    }
    Ok(())
}

/// The 24 words from the terminal, which doesn't show them, or from standard input.
fn read_phrase() -> Outcome<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("The 24 words: ")
            .map_err(|error| Failure::from(error).while_("asking for the words"))?;
        return Ok(Zeroizing::new(typed));
    }
    let mut text = Zeroizing::new(String::with_capacity(PHRASE_TEXT_BYTES_MAX as usize));
    let mut input = io::stdin().lock().take(PHRASE_TEXT_BYTES_MAX);
    while input.read_line(&mut text).map_err(|error| Failure::from(error).while_("reading the words"))? > 0 {}
    Ok(text)
}
