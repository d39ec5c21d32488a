//! The round trips between some regions, within 80 columns.

use std::time::Duration;

use super::{Matrix, RoundTrip, SAME_REGION, UnknownRegion};

impl Matrix {
    /// The round trips between `regions` in milliseconds, each as p50/p90 where the matrix has
    /// p90. Columns that are too many for a line follow below the others.
    ///
    /// # Errors
    /// If the matrix does not have all of them.
    pub fn table(&self, regions: &[impl AsRef<str>]) -> Result<String, UnknownRegion> {
        let trips = self.round_trips(regions)?;
        let mut text = match self.has_p90 {
            true => format!("{}: round trips in ms, p50/p90\n", self.name),
            false => format!(
                "{}: round trips in ms, p50 (no p90, hence no jitter)\n",
                self.name
            ),
        };
        let names: Vec<&str> = regions.iter().map(AsRef::as_ref).collect();
        let mut columns: Vec<Column> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let of_column = trips.iter().skip(index).step_by(names.len());
                Column::new(name, of_column.map(cell).collect())
            })
            .collect();
        let label = names.iter().map(|name| name.chars().count()).max();
        let label = label.unwrap_or(0);
        let width = |columns: &[Column]| columns.iter().map(|c| GAP + c.width).sum::<usize>();
        if label + width(&columns) > WIDTH {
            columns.iter_mut().for_each(Column::wrap_heading);
        }
        let mut rest = columns.as_slice();
        while !rest.is_empty() {
            let fits = (1..=rest.len()).rev();
            let fitting = fits.clone().find(|n| label + width(&rest[..*n]) <= WIDTH);
            let (block, after) = rest.split_at(fitting.unwrap_or(1));
            push_block(&mut text, &names, label, block);
            rest = after;
        }
        if trips.iter().any(|trip| trip.assumed) {
            text.push_str(&format!("\n* not in the table, {SAME_REGION:?} assumed\n"));
        }
        Ok(text)
    }
}

struct Column {
    heading: Vec<String>,
    cells: Vec<String>,
    width: usize,
}

impl Column {
    fn new(name: &str, cells: Vec<String>) -> Self {
        let widest = cells.iter().map(String::len).max().unwrap_or(0);
        Self {
            heading: vec![name.to_owned()],
            width: widest.max(name.chars().count()),
            cells,
        }
    }

    /// Breaks the heading between words, and within those that are too long, so that the column
    /// is as narrow as its cells and longest word permit.
    fn wrap_heading(&mut self) {
        let words: Vec<String> = self.heading[0]
            .split_inclusive([' ', '-', '_', '.'])
            .flat_map(|word| {
                let chars: Vec<char> = word.chars().collect();
                let parts: Vec<String> = chars
                    .chunks(MAX_WORD_CHARS)
                    .map(|part| part.iter().collect())
                    .collect();
                parts
            })
            .collect();
        let length = |line: &str| line.trim_end().chars().count();
        let widest = self.cells.iter().map(String::len).max().unwrap_or(0);
        self.width = words
            .iter()
            .map(|word| length(word))
            .fold(widest, usize::max);
        self.heading.clear();
        for word in words {
            match self.heading.last_mut() {
                Some(line) if line.chars().count() + length(&word) <= self.width => {
                    line.push_str(&word);
                }
                _ => self.heading.push(word),
            }
        }
    }
}

fn push_block(text: &mut String, names: &[&str], label: usize, columns: &[Column]) {
    text.push('\n');
    let height = columns.iter().map(|column| column.heading.len()).max();
    let height = height.unwrap_or(0);
    for line in 0..height {
        // Headings of fewer lines stand right above their cells.
        let cells = columns.iter().map(|column| {
            let above = height - column.heading.len();
            let index = line.checked_sub(above);
            (
                index.map_or("", |index| column.heading[index].trim_end()),
                column.width,
            )
        });
        push_line(text, "", label, cells);
    }
    for (row, name) in names.iter().enumerate() {
        let cells = columns
            .iter()
            .map(|column| (column.cells[row].as_str(), column.width));
        push_line(text, name, label, cells);
    }
}

fn push_line<'a>(
    text: &mut String,
    name: &str,
    label: usize,
    cells: impl Iterator<Item = (&'a str, usize)>,
) {
    let mut line = format!("{name:label$}");
    for (cell, width) in cells {
        line.push_str(&format!("{:GAP$}{cell:>width$}", ""));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn cell(trip: &RoundTrip) -> String {
    let p50 = tenths(trip.p50);
    match trip.p90 {
        Some(p90) => format!("{p50}/{}", tenths(p90)),
        None if trip.assumed => format!("{p50}*"),
        None => p50,
    }
}

/// Milliseconds to the nearest tenth, halves up.
fn tenths(duration: Duration) -> String {
    let tenths = (duration.as_nanos() + 50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The width of a terminal that nobody has made larger.
const WIDTH: usize = 80;
/// Between columns.
const GAP: usize = 2;
/// The longest name and one such column fit a line.
const MAX_WORD_CHARS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions::MAX_NAME_CHARS;

    #[test]
    fn times_are_rounded_to_the_nearest_tenth() {
        for (us, shown) in [
            (0, "0.0"),
            (49, "0.0"),
            (50, "0.1"),
            (68_149, "68.1"),
            (99_950, "100.0"),
        ] {
            assert_eq!(tenths(Duration::from_micros(us)), shown);
        }
    }

    #[test]
    fn every_table_of_five_regions_has_one_block_within_80_columns() {
        for matrix in Matrix::NAMES.map(|name| Matrix::named(name).unwrap()) {
            let regions = matrix.regions();
            let mut longest: Vec<&String> = regions.iter().collect();
            longest.sort_by_key(|name| std::cmp::Reverse(name.len()));
            for five in longest
                .chunks(5)
                .chain(regions.iter().collect::<Vec<_>>().chunks(5))
            {
                let table = matrix.table(five).unwrap();
                assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
                // A blank line begins each block, and what is assumed.
                let gaps = table.matches("\n\n").count();
                assert_eq!(gaps, 1 + usize::from(table.contains('*')), "{table}");
            }
        }
    }

    #[test]
    fn more_columns_than_fit_follow_below_with_the_same_rows() {
        let matrix = Matrix::named("aws").unwrap();
        let table = matrix.table(matrix.regions()).unwrap();
        assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
        let cells: usize = table.lines().map(|line| line.matches('/').count()).sum();
        assert_eq!(cells, 33 * 33 + 1);
    }

    #[test]
    fn the_longest_names_and_times_fit_80_columns() {
        let (a, b) = ("a".repeat(MAX_NAME_CHARS), "b".repeat(MAX_NAME_CHARS));
        let csv = format!(",{a},{b}\n{a},,3600000\n{b},3600000,\n");
        let matrix = Matrix::parse_csv("long", &csv, Some(&csv)).unwrap();
        let table = matrix.table(&[a, b]).unwrap();
        assert!(table.lines().all(|line| line.len() <= WIDTH), "{table}");
        assert!(table.contains("3600000.0/3600000.0"), "{table}");
    }

    #[test]
    fn headings_break_between_words_right_above_their_cells() {
        let mut column = Column::new("ap-southeast-1", vec!["1.0".to_owned()]);
        column.wrap_heading();
        assert_eq!(column.heading, ["ap-", "southeast-", "1"]);
        assert_eq!(column.width, 10);
    }
}
