//! Values of the document, each read as what it has to be.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    document::{Notes, Table, shown},
    error::Fault,
};
use crate::{
    model::PairModel,
    words::{table, units},
};

/// One value of the document.
#[derive(Debug, Clone)]
pub(super) struct Value<'d> {
    pub(super) path: String,
    pub(super) value: &'d Spanned<DeValue<'d>>,
    pub(super) notes: &'d Notes<'d>,
}

impl<'d> Value<'d> {
    /// Notes a fault of the value.
    pub(super) fn fault(&self, fault: impl Into<Fault>) {
        self.notes
            .note(Some(self.value.span()), self.path.clone(), fault);
    }

    /// Notes that the value is not what was expected.
    pub(super) fn refuse(&self, expected: &'static str) {
        let got = match self.value.get_ref() {
            // Of sections, the span is that of the first one's heading.
            DeValue::Array(items) => format!("a list of {}", items.len()),
            _ => shown(self.notes.text.get(self.value.span()).unwrap_or_default()),
        };
        self.fault(Fault::Wrong { got, expected });
    }

    /// The key and line, for a fault of another value.
    pub(super) fn place(&self) -> String {
        let line = self.notes.line(self.value.span().start);
        format!("{} of line {line}", self.path)
    }

    /// A string that is not empty.
    pub(super) fn text(&self, expected: &'static str) -> Option<&'d str> {
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

    /// A whole number that is not below zero.
    pub(super) fn number(&self) -> Option<u64> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if number.is_none() {
            self.refuse("a whole number from 0 to 18446744073709551615");
        }
        number
    }

    /// A time within `limits`.
    pub(super) fn time(&self, limits: Times) -> Option<Duration> {
        let text = self.text("a time like \"10s\"")?;
        match units::parse_time(text) {
            Ok(time) if (limits.least()..=MAX_TIME).contains(&time) => Some(time),
            Ok(_) => {
                let (got, limits) = (shown(text), limits.name());
                self.fault(Fault::TimeRange { got, limits });
                None
            }
            Err(fault) => {
                let got = shown(text);
                self.fault(Fault::Time { got, fault });
                None
            }
        }
    }

    /// An address with a port.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        const EXPECTED: &str = "an address like \"127.0.0.1:7001\"";
        let address = self.text(EXPECTED)?.parse().ok();
        if address.is_none() {
            self.refuse(EXPECTED);
        }
        address
    }

    /// The items of a list of `least` to `most`.
    pub(super) fn list(&self, least: usize, most: usize, expected: &'static str) -> Vec<Self> {
        let items = match self.value.get_ref() {
            DeValue::Array(items) if (least..=most).contains(&items.len()) => items,
            _ => {
                self.refuse(expected);
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
    pub(super) fn table(
        &self,
        known: &'static [&'static str],
        expected: &'static str,
    ) -> Option<Table<'d>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.refuse(expected);
            return None;
        };
        let table = Table {
            path: format!("{}.", self.path),
            span: Some(self.value.span()),
            table,
            notes: self.notes,
        };
        table.note_unknown(known);
        Some(table)
    }

    /// A model: words, or a table of them.
    pub(super) fn model(&self) -> Option<PairModel> {
        match self.value.get_ref() {
            DeValue::String(words) => match words.parse() {
                Ok(model) => Some(model),
                Err(fault) => {
                    self.fault(fault);
                    None
                }
            },
            DeValue::Table(_) => self.model_table(),
            _ => {
                self.refuse("words like \"delay 40ms loss 1%\", or a table of them");
                None
            }
        }
    }

    fn model_table(&self) -> Option<PairModel> {
        let keys = self.table(table::KEYS, "a table")?;
        let mut entries = BTreeMap::new();
        for key in table::KEYS {
            let Some(value) = keys.value(key) else {
                continue;
            };
            let words = match value.value.get_ref() {
                DeValue::Boolean(given) if *key == "unordered" => given.then(String::new),
                DeValue::String(words) if *key != "unordered" => Some(words.to_string()),
                DeValue::Integer(number)
                    if table::NUMBER_KEYS.contains(key) && number.radix() == 10 =>
                {
                    Some(number.as_str().to_owned())
                }
                _ => {
                    let is_switch = *key == "unordered";
                    value.refuse(if is_switch {
                        "true or false"
                    } else {
                        "a string"
                    });
                    None
                }
            };
            entries.extend(words.map(|words| (*key, (words, value))));
        }
        let words = entries.iter().map(|(key, (words, _))| (*key, &**words));
        let faults = match table::read(words) {
            Ok(model) => return Some(model),
            Err(faults) => faults,
        };
        for (key, fault) in faults {
            match entries.get(&*key) {
                Some((_, value)) => value.fault(fault),
                None => self.fault(fault),
            }
        }
        None
    }
}

/// What a time must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Times {
    /// A moment.
    At,
    /// A length.
    Lasts,
}

impl Times {
    fn least(self) -> Duration {
        match self {
            Self::At => Duration::ZERO,
            Self::Lasts => Duration::from_nanos(1),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::At => "at most 366 days",
            Self::Lasts => "more than 0s and at most 366 days",
        }
    }
}

/// Keeps the sum of two times, and a time added to any clock, from overflowing.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3_600);
