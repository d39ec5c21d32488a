//! Reads a parsed TOML document key by key and collects everything that is wrong with it.
//!
//! Serde would stop at the first fault and forget lines; here a fault is noted with its key, line,
//! value and what was expected, and reading goes on, so that one run names them all. Which keys a
//! section has, what they mean and what they may be stands in one [`SectionKeys`] for each, from
//! which unknown keys are told, defaults taken, and the example printed.

use std::{cell::RefCell, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::{Fault, Problem};

/// The keys of one section of the file.
#[derive(Debug)]
pub(super) struct SectionKeys {
    /// Its name, without brackets.
    pub name: &'static str,
    /// Whether it may be given many times, as `[[name]]`.
    pub repeats: bool,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys; empty where the operator chooses them.
    pub keys: &'static [Key],
    /// More TOML that the example shows after the keys.
    pub more: &'static str,
}

/// One key of the file.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name; ends with the unit where it has one.
    pub name: &'static str,
    /// What it means, its default, and what it costs if it is too big.
    pub doc: &'static str,
    /// What may stand there.
    pub value: Shape,
}

/// What may stand behind a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// A whole number; the section's reader applies default and range.
    Number {
        /// Taken when the key is absent.
        default: u64,
        /// The least and the most that are allowed.
        range: (u64, u64),
    },
    /// May be left out; the text is an example of its value.
    Optional(&'static str),
    /// Shown in the example as it stands here, because a file without it is of little use.
    Shown(&'static str),
}

/// Everything that is wrong with a document, noted while it is read.
#[derive(Debug)]
pub(super) struct Notes<'d> {
    text: &'d str,
    problems: RefCell<Vec<Problem>>,
}

impl<'d> Notes<'d> {
    pub(super) fn new(text: &'d str) -> Self {
        Self {
            text,
            problems: RefCell::default(),
        }
    }

    /// All problems, in the order of the file; absent sections come first.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn syntax(&self, error: &toml::de::Error) {
        self.note(
            error.span(),
            String::new(),
            Fault::Syntax {
                message: error.message().to_owned(),
            },
        );
    }

    fn note(&self, span: Option<Range<usize>>, key: String, fault: Fault) {
        let line = span.map(|span| self.line(span.start));
        self.problems
            .borrow_mut()
            .push(Problem { line, key, fault });
    }

    fn line(&self, offset: usize) -> usize {
        let head = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + head.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// One section of the document, or one table within it.
#[derive(Debug)]
pub(super) struct Section<'d> {
    path: String,
    span: Option<Range<usize>>,
    table: Option<&'d DeTable<'d>>,
    known: &'static SectionKeys,
    notes: &'d Notes<'d>,
}

impl<'d> Section<'d> {
    /// A section that is not in the file: all its keys have their defaults.
    pub(super) fn absent(known: &'static SectionKeys, notes: &'d Notes<'d>) -> Self {
        Self {
            path: known.name.to_owned(),
            span: None,
            table: None,
            known,
            notes,
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn optional(&self, name: &str) -> Option<Value<'d>> {
        debug_assert!(
            self.known.keys.iter().any(|key| key.name == name),
            "{name} is not declared in {}",
            self.known.name
        );
        let value = self.table?.get(name)?;
        Some(Value {
            path: format!("{}.{name}", self.path),
            value,
            notes: self.notes,
        })
    }

    /// The value of a key; notes that it is missing if it is.
    pub(super) fn required(&self, name: &str, expected: &str) -> Option<Value<'d>> {
        let value = self.optional(name);
        if value.is_none() {
            self.missing(name, expected);
        }
        value
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, name: &str, expected: &str) {
        let expected = expected.to_owned();
        let key = format!("{}.{name}", self.path);
        self.notes
            .note(self.span.clone(), key, Fault::Missing { expected });
    }

    /// The whole number behind a key of shape [`Shape::Number`]: within its range, or its default.
    pub(super) fn number(&self, name: &str) -> u64 {
        let (default, (least, most)) = self
            .known
            .keys
            .iter()
            .find(|key| key.name == name)
            .and_then(|key| match key.value {
                Shape::Number { default, range } => Some((default, range)),
                Shape::Optional(_) | Shape::Shown(_) => None,
            })
            .expect("the sections' readers ask for numbers that they declare");
        self.optional(name)
            .and_then(|value| value.number(least, most))
            .unwrap_or(default)
    }

    /// All keys and values of a section whose keys the operator chooses.
    pub(super) fn entries(&self) -> Vec<(&'d str, Value<'d>)> {
        let Some(table) = self.table else {
            return Vec::new();
        };
        let entry = |(key, value): (&'d Spanned<_>, _)| {
            let key: &'d std::borrow::Cow<'d, str> = key.get_ref();
            let value = Value {
                path: format!("{}.{key}", self.path),
                value,
                notes: self.notes,
            };
            (&**key, value)
        };
        table.iter().map(entry).collect()
    }

    fn note_unknown(&self) {
        let known: Vec<&'static str> = self.known.keys.iter().map(|key| key.name).collect();
        let Some(table) = self.table.filter(|_| !known.is_empty()) else {
            return;
        };
        for key in table.keys() {
            let path = format!("{}.{}", self.path, key.get_ref());
            note_unknown(self.notes, key, path, known.clone());
        }
    }
}

/// One value of the document.
#[derive(Debug, Clone)]
pub(super) struct Value<'d> {
    path: String,
    value: &'d Spanned<DeValue<'d>>,
    notes: &'d Notes<'d>,
}

impl<'d> Value<'d> {
    /// Notes that the value is not what was expected.
    pub(super) fn refuse(&self, expected: impl Into<String>) {
        let span = self.value.span();
        let source = self.notes.text.get(span.clone()).unwrap_or_default();
        let fault = Fault::Wrong {
            got: clip(source),
            expected: expected.into(),
        };
        self.notes.note(Some(span), self.path.clone(), fault);
    }

    /// The line that the value stands on.
    pub(super) fn line(&self) -> usize {
        self.notes.line(self.value.span().start)
    }

    /// A string that is not empty.
    pub(super) fn text(&self, expected: &str) -> Option<&'d str> {
        let text = match self.value.get_ref() {
            DeValue::String(text) => Some(&**text),
            _ => None,
        };
        let text = text.filter(|text| !text.is_empty());
        if text.is_none() {
            self.refuse(expected);
        }
        text
    }

    /// A string that parses.
    pub(super) fn parse<T: FromStr>(&self, expected: &str) -> Option<T> {
        let parsed = self.text(expected)?.parse().ok();
        if parsed.is_none() {
            self.refuse(expected);
        }
        parsed
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = match self.value.get_ref() {
            DeValue::String(text) => words.iter().find(|(word, _)| *word == &**text),
            _ => None,
        };
        if found.is_none() {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.refuse(words.join(" or "));
        }
        found.map(|(_, value)| *value)
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.refuse(format!("a whole number from {least} to {most}"));
        }
        number
    }

    /// The items of a list of 1 to `most`.
    pub(super) fn list(&self, most: usize, expected: &str) -> Vec<Self> {
        let items = match self.value.get_ref() {
            DeValue::Array(items) if (1..=most).contains(&items.len()) => items,
            _ => {
                self.refuse(format!("a list of 1 to {most} {expected}"));
                return Vec::new();
            }
        };
        let item = |(index, value)| Self {
            path: format!("{}[{index}]", self.path),
            value,
            notes: self.notes,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// A table with known keys; notes those that are not known.
    pub(super) fn section(
        &self,
        known: &'static SectionKeys,
        expected: &str,
    ) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.refuse(expected);
            return None;
        };
        let section = Section {
            path: self.path.clone(),
            span: Some(self.value.span()),
            table: Some(table),
            known,
            notes: self.notes,
        };
        section.note_unknown();
        Some(section)
    }
}

/// The top level of the document.
#[derive(Debug)]
pub(super) struct Root<'d> {
    table: &'d DeTable<'d>,
    notes: &'d Notes<'d>,
}

impl<'d> Root<'d> {
    /// Starts to read; notes sections that are not among `known`.
    pub(super) fn new(
        table: &'d DeTable<'d>,
        known: &[&'static SectionKeys],
        notes: &'d Notes<'d>,
    ) -> Self {
        let names: Vec<&'static str> = known.iter().map(|section| section.name).collect();
        for key in table.keys() {
            note_unknown(notes, key, key.get_ref().to_string(), names.clone());
        }
        Self { table, notes }
    }

    /// A `[section]`, as if it were empty where the file has none.
    pub(super) fn section(&self, known: &'static SectionKeys) -> Section<'d> {
        self.value(known)
            .and_then(|value| value.section(known, &format!("a section [{}]", known.name)))
            .unwrap_or_else(|| Section::absent(known, self.notes))
    }

    /// All `[[section]]`s of a name, at most `most`.
    pub(super) fn sections(&self, known: &'static SectionKeys, most: usize) -> Vec<Section<'d>> {
        let Some(value) = self.value(known) else {
            return Vec::new();
        };
        let expected = format!("sections [[{}]]", known.name);
        let items = value.list(most, &expected);
        let section = |item: &Value<'d>| item.section(known, &expected);
        items.iter().filter_map(section).collect()
    }

    fn value(&self, known: &'static SectionKeys) -> Option<Value<'d>> {
        Some(Value {
            path: known.name.to_owned(),
            value: self.table.get(known.name)?,
            notes: self.notes,
        })
    }
}

fn note_unknown(
    notes: &Notes<'_>,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    path: String,
    known: Vec<&'static str>,
) {
    let name = &**key.get_ref();
    if known.contains(&name) {
        return;
    }
    let nearest = known
        .iter()
        .map(|known| (distance(name, known), *known))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
        .min()
        .map(|(_, known)| known);
    notes.note(Some(key.span()), path, Fault::Unknown { nearest, known });
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to make
/// `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let removed = rows[i - 1][j] + 1;
                let inserted = rows[i][j - 1] + 1;
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swap {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(removed).min(inserted).min(swapped)
            };
        }
    }
    rows[a.len()][b.len()]
}

fn clip(source: &str) -> String {
    let first = source.lines().next().unwrap_or_default();
    let mut clipped: String = first.chars().take(MAX_SHOWN_CHARS).collect();
    if clipped.len() < source.len() {
        clipped.push_str("...");
    }
    clipped
}

/// Enough to recognise a value; a pasted file must not fill the screen.
const MAX_SHOWN_CHARS: usize = 60;
