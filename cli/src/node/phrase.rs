//! The recovery phrase: the master key as 24 words.

use bip39::{Language, Mnemonic};
use cairn_block::MasterKey;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Words of a phrase: 256 bits and a checksum.
pub(crate) const PHRASE_WORDS: usize = 24;

/// Why a text is not a phrase. The words themselves are in none of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PhraseError {
    /// Too few words or too many.
    #[error("a phrase has {PHRASE_WORDS} words, this has {found}")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A word that isn't in the list.
    #[error("word {position} is not in the word list")]
    Word {
        /// Which, from 1.
        position: usize,
    },
    /// All are in the list, but they don't belong together.
    #[error("the words don't fit together: one of them is wrong, or their order is")]
    Checksum,
}

/// The 24 words of a key, in lower case with single blanks.
pub(crate) fn words(master: &MasterKey) -> Zeroizing<String> {
    // 32 bytes are a valid entropy length; nothing else can fail here.
    let mut mnemonic = Mnemonic::from_entropy_in(Language::English, master.as_bytes()).expect("32 bytes are 24 words");
    let mut text = Zeroizing::new(String::with_capacity(PHRASE_WORDS * 9));
    for word in mnemonic.words() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    mnemonic.zeroize();
    text
}

/// The key of a phrase as it was typed: any blanks, any case.
pub(crate) fn parse(text: &str) -> Result<MasterKey, PhraseError> {
    let typed = Zeroizing::new(text.to_lowercase());
    // Copied from the screen or from paper, the words may have their numbers with them.
    let is_word = |word: &&str| word.chars().any(char::is_alphabetic);
    let found = typed.split_whitespace().filter(is_word).count();
    if found != PHRASE_WORDS {
        return Err(PhraseError::Count { found });
    }
    let mut plain = Zeroizing::new(String::with_capacity(typed.len()));
    for word in typed.split_whitespace().filter(is_word) {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    let mut mnemonic = Mnemonic::parse_in_normalized(Language::English, &plain).map_err(|error| match error {
        bip39::Error::UnknownWord(index) => PhraseError::Word { position: index + 1 },
        _ => PhraseError::Checksum,
    })?;
    let entropy = Zeroizing::new(mnemonic.to_entropy());
    mnemonic.zeroize();
    let bytes: [u8; 32] = entropy.as_slice().try_into().map_err(|_| PhraseError::Count { found })?;
    Ok(MasterKey::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_the_key() {
        let master = MasterKey::from_bytes([7; 32]);
        let words = words(&master);
        assert_eq!(words.split(' ').count(), PHRASE_WORDS);
        let typed = format!("  1. {}\n", words.to_uppercase().replace(' ', " \n 2 "));
        assert_eq!(parse(&typed).expect("a phrase").as_bytes(), &[7; 32]);
    }

    #[test]
    fn the_words_of_zero_are_the_published_ones() {
        let words = words(&MasterKey::from_bytes([0; 32]));
        assert_eq!(*words, format!("{}art", "abandon ".repeat(23)));
    }

    #[test]
    fn a_wrong_phrase_says_what_is_wrong_without_the_words() {
        let words = words(&MasterKey::from_bytes([7; 32]));
        let short = words.rsplit_once(' ').expect("many words").0;
        assert_eq!(parse(short).expect_err("23 words"), PhraseError::Count { found: 23 });
        let unknown = words.replacen(words.split(' ').nth(2).expect("a third"), "zzzz", 1);
        assert!(matches!(parse(&unknown), Err(PhraseError::Word { .. })));
        let other = format!("{}abandon", "abandon ".repeat(23));
        assert_eq!(parse(&other).expect_err("a wrong checksum"), PhraseError::Checksum);
    }
}
