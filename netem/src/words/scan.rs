//! Words one after the other, and where they stand.

use super::{
    error::{WordsError, WordsFault},
    units::Quantity,
};
use crate::{
    model::{Correlation, Probability},
    nearest::nearest,
};

/// A text that is read word by word.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    text: &'a str,
    /// Where the next word is searched.
    next: usize,
    /// Before the text, when an error quotes it: the key that it stands behind.
    key: &'a str,
    /// Where the option that is being read begins.
    option: usize,
    /// Where the last word that was read begins and ends.
    last: (usize, usize),
}

impl<'a> Scan<'a> {
    /// Words of a line.
    pub(super) fn new(text: &'a str) -> Self {
        Self::of_key("", text)
    }

    /// Words that stand behind a key.
    pub(super) fn of_key(key: &'a str, text: &'a str) -> Self {
        Self {
            text,
            next: 0,
            key,
            option: 0,
            last: (0, 0),
        }
    }

    pub(super) fn peek(&self) -> Option<&'a str> {
        let rest = &self.text[self.next..];
        rest.split_ascii_whitespace().next()
    }

    pub(super) fn word(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.next..];
        let blank = rest.bytes().take_while(u8::is_ascii_whitespace).count();
        let begin = self.next + blank;
        let word = self.peek()?;
        self.next = begin + word.len();
        self.last = (begin, self.next);
        Some(word)
    }

    /// Where the last word begins.
    pub(super) fn place(&self) -> usize {
        self.last.0
    }

    /// The next word, which begins an option.
    pub(super) fn option(&mut self) -> Option<&'a str> {
        let word = self.word()?;
        self.option = self.last.0;
        Some(word)
    }

    /// Whether the next word looks like a number. As in tc, this is how optional words are told.
    pub(super) fn number_follows(&self) -> bool {
        let may_begin = |first: char| first.is_ascii_digit() || "-+.".contains(first);
        self.peek().is_some_and(|word| word.starts_with(may_begin))
    }

    /// The next word, if it looks like a number.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        if self.number_follows() {
            self.word()
        } else {
            None
        }
    }

    /// An error about the last word.
    pub(super) fn error(&self, fault: impl Into<WordsFault>) -> WordsError {
        let (begin, end) = self.last;
        let quoted = &self.text[self.option..end];
        let words = match (self.key, quoted) {
            ("", quoted) => quoted.to_owned(),
            (key, "") => key.to_owned(),
            (key, quoted) => format!("{key} {quoted}"),
        };
        WordsError {
            words: clip(&words),
            at: begin,
            fault: fault.into(),
        }
    }

    /// An error about a word that is missing after the last.
    pub(super) fn missing(&self, quantity: Quantity) -> WordsError {
        WordsError {
            at: self.text.len(),
            ..self.error(WordsFault::Missing(quantity))
        }
    }

    /// An error about the last word, which is not among `known`.
    pub(super) fn unknown(&self, word: &str, known: &'static [&'static str]) -> WordsError {
        self.error(WordsFault::Unknown {
            nearest: nearest(word, known.iter().copied()),
            known,
        })
    }

    /// The amount of `word`, the last one.
    pub(super) fn amount(&self, quantity: Quantity, word: &str) -> Result<u128, WordsError> {
        quantity.parse(word).map_err(|fault| self.error(fault))
    }

    /// The next word, which must be there.
    pub(super) fn required(&mut self, quantity: Quantity) -> Result<&'a str, WordsError> {
        self.word().ok_or_else(|| self.missing(quantity))
    }

    /// The next word as a probability.
    pub(super) fn probability(&mut self) -> Result<Probability, WordsError> {
        let word = self.required(Quantity::Percentage)?;
        self.probability_of(word)
    }

    /// The next word as a probability, if it is a number.
    pub(super) fn optional_probability(&mut self) -> Result<Option<Probability>, WordsError> {
        let word = self.number();
        word.map(|word| self.probability_of(word)).transpose()
    }

    /// The probability that `word`, the last one, is or has in it.
    pub(super) fn probability_of(&self, word: &str) -> Result<Probability, WordsError> {
        let ppb = self.amount(Quantity::Percentage, word)?;
        u32::try_from(ppb)
            .ok()
            .and_then(Probability::from_ppb)
            .ok_or_else(|| self.error(WordsFault::Probability))
    }

    /// The next word as a correlation, if it is a number.
    pub(super) fn optional_correlation(&mut self) -> Result<Option<Correlation>, WordsError> {
        let Some(word) = self.number() else {
            return Ok(None);
        };
        let ppb = self.amount(Quantity::Percentage, word)?;
        let correlation = u32::try_from(ppb).ok().and_then(Correlation::from_ppb);
        let correlation = correlation.ok_or_else(|| self.error(WordsFault::Correlation))?;
        Ok(Some(correlation))
    }

    /// The next word as a size in bytes.
    pub(super) fn bytes(&mut self) -> Result<usize, WordsError> {
        let word = self.required(Quantity::Size)?;
        let bytes = self.amount(Quantity::Size, word)?;
        let most = u64::try_from(usize::MAX).unwrap_or(u64::MAX);
        let range = || self.error(WordsFault::Range { least: 0, most });
        usize::try_from(bytes).map_err(|_| range())
    }
}

/// The words on one line that a terminal can show, the end of a long one left out.
pub(super) fn clip(words: &str) -> String {
    let mut shown = String::new();
    for (count, letter) in words.chars().enumerate() {
        match letter {
            _ if count == MAX_SHOWN_CHARS => return shown + "...",
            ' ' | '\t' | '\n' | '\r' => shown.push(' '),
            _ if letter.is_control() => shown.extend(letter.escape_default()),
            '\u{2028}' | '\u{2029}' => shown.extend(letter.escape_default()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// Enough to recognise the words; a pasted trace must not fill the screen.
const MAX_SHOWN_CHARS: usize = 60;
