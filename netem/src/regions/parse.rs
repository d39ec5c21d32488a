//! Tables of round trips as text.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::{
    MAX_REGIONS, MAX_TABLE_BYTES, TableError,
    square::{Cells, Square},
};

/// How a table is read.
pub(super) type Parse = fn(&str) -> Result<Square, TableError>;

/// Regions in the first line and in the first cell of every other line, milliseconds elsewhere.
/// What the very first cell says does not matter.
pub(super) fn csv(text: &str) -> Result<Square, TableError> {
    let mut lines = within_limit(text)?
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let (_, first) = lines.next().ok_or(TableError::Empty)?;
    let columns: Vec<&str> = first.split(',').map(str::trim).collect();
    let mut cells = Cells::default();
    let mut seen = BTreeSet::new();
    for name in &columns[1..] {
        cells.region(name)?;
        once(&mut seen, name)?;
    }
    seen.clear();
    for (index, row) in lines {
        let (line, got) = (index + 1, row.split(',').count());
        if got != columns.len() {
            let expected = columns.len();
            return Err(TableError::Columns {
                line,
                got,
                expected,
            });
        }
        let mut values = row.split(',').map(str::trim);
        let from = values.next().unwrap_or_default();
        cells.region(from)?;
        once(&mut seen, from)?;
        for (to, value) in columns[1..].iter().zip(values) {
            if !value.is_empty() {
                cells.insert(from, to, number(line, value)?)?;
            }
        }
    }
    cells.finish()
}

/// `{"data": {FROM: {TO: MILLISECONDS}}}`; what else the outer object holds does not matter, and
/// `null` is no number.
pub(super) fn json(text: &str) -> Result<Square, TableError> {
    let table: Table = serde_json::from_str(within_limit(text)?).map_err(TableError::Json)?;
    let mut cells = Cells::default();
    let mut seen = BTreeSet::new();
    for (from, row) in &table.data.0 {
        cells.region(from)?;
        once(&mut seen, from)?;
        for (to, ms) in &row.0 {
            cells.region(to)?;
            if let Some(ms) = ms {
                cells.insert(from, to, *ms)?;
            }
        }
    }
    cells.finish()
}

/// The text without the mark that some editors begin files with.
fn within_limit(text: &str) -> Result<&str, TableError> {
    if text.len() > MAX_TABLE_BYTES {
        return Err(TableError::TooLarge);
    }
    Ok(text.trim_start_matches('\u{feff}'))
}

fn once<'a>(seen: &mut BTreeSet<&'a str>, name: &'a str) -> Result<(), TableError> {
    if seen.insert(name) {
        return Ok(());
    }
    Err(TableError::Repeated {
        what: name.to_owned(),
    })
}

fn number(line: usize, text: &str) -> Result<f64, TableError> {
    text.parse().map_err(|_| TableError::Cell {
        line,
        text: text.chars().take(CELL_CHARS_SHOWN).collect(),
    })
}

#[derive(Deserialize)]
struct Table {
    data: Entries<Entries<Option<f64>>>,
}

/// An object in the order of its text: a map would forget what is there twice.
struct Entries<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of regions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            // Here, and not later: repetitions could fill memory.
            if entries.len() == MAX_REGIONS {
                return Err(A::Error::custom(TableError::TooManyRegions));
            }
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

const CELL_CHARS_SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(parse: Parse, text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn both_shapes_hold_the_same_table_in_any_order() {
        let from_csv = csv("\u{feff}any,b,a\r\n\r\nb,,2.5\r\na, 4 ,\r\n").unwrap();
        let from_json =
            json(r#"{"data": {"b": {"a": 2.5, "b": null}, "a": {"b": 4}}, "unit": 1}"#).unwrap();
        for square in [from_csv, from_json] {
            assert_eq!(square.regions, ["a", "b"]);
            assert_eq!(square.cells, [None, Some(4_000_000), Some(2_500_000), None]);
        }
    }

    #[test]
    fn csv_errors_name_the_line() {
        for (text, wrong) in [
            ("", "there are no regions"),
            (
                ",a,b\na,,1\nb,x,\n",
                "line 3: \"x\" is no number of milliseconds",
            ),
            (
                ",a,b\na,,1\nb,1\n",
                "line 3 has 2 cells, must have 3 as the first line",
            ),
            (",a,a\n", "\"a\" is there twice"),
            (",a,b\na,,1\na,,1\n", "\"a\" is there twice"),
            (",a,b\na,,-1\n", "a to b is -1 ms, must be 0 ms to an hour"),
            (
                ",a,b\na,,NaN\n",
                "a to b is NaN ms, must be 0 ms to an hour",
            ),
            (
                ",a,b\na,,1\n",
                "1 pair of different regions have no number: b to a",
            ),
            (
                ",a,\n",
                "\"\" is no name: it must be 1 to 40 printable characters",
            ),
        ] {
            assert_eq!(error(csv, text), wrong, "{text:?}");
        }
    }

    #[test]
    fn json_errors_name_the_place() {
        for (text, wrong) in [
            ("{", "EOF while parsing an object at line 1 column 1"),
            (r#"{"a": {}}"#, "missing field `data` at line 1 column 9"),
            (r#"{"data": {}}"#, "there are no regions"),
            (
                r#"{"data": {"a": 1}}"#,
                "expected an object of regions at line 1 column 16",
            ),
            (
                r#"{"data": {"a": {"b": "1"}}}"#,
                "expected f64 at line 1 column 24",
            ),
            (r#"{"data": {"a": {"b": 1e999}}}"#, "number out of range"),
            (
                r#"{"data": {"a": {"b": 1, "b": 1}}}"#,
                "\"a to b\" is there twice",
            ),
            (r#"{"data": {"a": {}, "a": {}}}"#, "\"a\" is there twice"),
            (r#"{"data": {"a": {"b": null}}}"#, "a to b, b to a"),
            (
                r#"{"data": {"a": {"b": 3600000.1}}}"#,
                "a to b is 3600000.1 ms",
            ),
        ] {
            let error = error(json, text);
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn more_entries_than_regions_are_refused_while_they_are_read() {
        let entries = vec![r#""a": null"#; MAX_REGIONS + 1].join(",");
        let error = error(json, &format!(r#"{{"data": {{"a": {{{entries}}}}}}}"#));
        assert!(error.contains("more than 1000 regions"), "{error}");
    }

    #[test]
    fn text_is_read_up_to_the_limit_and_not_beyond() {
        let mut text = ",a\na,\n".to_owned();
        text.push_str(&" ".repeat(MAX_TABLE_BYTES - text.len()));
        assert!(csv(&text).is_ok());
        text.push(' ');
        assert!(matches!(csv(&text), Err(TableError::TooLarge)));
    }
}
