//! Reads a parsed TOML document key by key and collects everything that is wrong with it.
//!
//! Serde would stop at the first fault and forget lines; here a fault is noted with its key and line,
//! and reading goes on, so that one run names them all.

use std::{cell::RefCell, ops::Range};

use toml::de::DeTable;

use super::{
    error::{Fault, Problem},
    value::Value,
};
use crate::nearest::nearest;

/// Everything that is wrong with a document, noted while it is read.
#[derive(Debug)]
pub(super) struct Notes<'d> {
    pub(super) text: &'d str,
    /// Where each line ends.
    line_ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl<'d> Notes<'d> {
    pub(super) fn new(text: &'d str) -> Self {
        let line_ends = text.match_indices('\n').map(|(end, _)| end).collect();
        Self {
            text,
            line_ends,
            problems: RefCell::default(),
        }
    }

    /// All problems, in the order of the file; what is absent from the whole of it comes first.
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
        let message = error.message().to_owned();
        self.note(error.span(), String::new(), Fault::Syntax { message });
    }

    pub(super) fn note(&self, span: Option<Range<usize>>, key: String, fault: impl Into<Fault>) {
        let line = span.map(|span| self.line(span.start));
        let fault = fault.into();
        self.problems
            .borrow_mut()
            .push(Problem { line, key, fault });
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Table<'d> {
    /// The path of its keys, with a dot at the end where it is not empty.
    pub(super) path: String,
    pub(super) span: Option<Range<usize>>,
    pub(super) table: &'d DeTable<'d>,
    pub(super) notes: &'d Notes<'d>,
}

impl<'d> Table<'d> {
    /// The top level of the document. Notes keys that are not known.
    pub(super) fn root(
        table: &'d DeTable<'d>,
        known: &'static [&'static str],
        notes: &'d Notes<'d>,
    ) -> Self {
        let table = Self {
            path: String::new(),
            span: None,
            table,
            notes,
        };
        table.note_unknown(known);
        table
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&self, name: &str) -> Option<Value<'d>> {
        Some(Value {
            path: format!("{}{name}", self.path),
            value: self.table.get(name)?,
            notes: self.notes,
        })
    }

    /// The value of a key; notes that it is missing if it is.
    pub(super) fn required(&self, name: &str, expected: &'static str) -> Option<Value<'d>> {
        let value = self.value(name);
        if value.is_none() {
            let key = format!("{}{name}", self.path);
            self.notes
                .note(self.span.clone(), key, Fault::Missing { expected });
        }
        value
    }

    pub(super) fn note_unknown(&self, known: &'static [&'static str]) {
        for key in self.table.keys() {
            let name = &**key.get_ref();
            if !known.contains(&name) {
                let nearest = nearest(name, known.iter().copied());
                let fault = Fault::UnknownKey { nearest, known };
                let path = format!("{}{}", self.path, shown(name));
                self.notes.note(Some(key.span()), path, fault);
            }
        }
    }
}

/// A text on one line that a terminal can show, the end of a long one left out.
pub(super) fn shown(source: &str) -> String {
    let first = source.lines().next().unwrap_or_default();
    let mut shown: String = first
        .chars()
        .take(MAX_SHOWN_CHARS)
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    if shown.len() < source.len() {
        shown.push_str("...");
    }
    shown
}

/// Enough to recognise a value; a pasted file must not fill the screen.
const MAX_SHOWN_CHARS: usize = 60;
