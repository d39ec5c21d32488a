//! A table of round trips that has a number for every pair of different regions.

use std::collections::BTreeMap;

use super::{MAX_NAME_CHARS, MAX_REGIONS, TableError};

/// Round trips in nanoseconds, row after row; only the diagonal may be empty.
#[derive(Debug)]
pub(super) struct Square {
    /// Sorted.
    pub(super) regions: Vec<String>,
    pub(super) cells: Vec<Option<u64>>,
}

/// A table that is being read, in any order.
#[derive(Debug, Default)]
pub(super) struct Cells {
    regions: BTreeMap<String, usize>,
    /// By the numbers that `regions` gives.
    nanos: BTreeMap<(usize, usize), u64>,
}

impl Cells {
    /// The number of a region, the next one where it is new.
    ///
    /// # Errors
    /// If there are too many, or if this is no name.
    pub(super) fn region(&mut self, name: &str) -> Result<usize, TableError> {
        if let Some(number) = self.regions.get(name) {
            return Ok(*number);
        }
        let printable = !name.is_empty()
            && name.chars().count() <= MAX_NAME_CHARS
            && name.trim() == name
            && !name.chars().any(char::is_control);
        if !printable {
            let name = name.chars().take(MAX_NAME_CHARS).collect();
            return Err(TableError::Name { name });
        }
        let number = self.regions.len();
        if number == MAX_REGIONS {
            return Err(TableError::TooManyRegions);
        }
        self.regions.insert(name.to_owned(), number);
        Ok(number)
    }

    /// Takes one number.
    ///
    /// # Errors
    /// If it is absurd, or if the pair has one.
    pub(super) fn insert(&mut self, from: &str, to: &str, ms: f64) -> Result<(), TableError> {
        let pair = (self.region(from)?, self.region(to)?);
        let nanos = nanos(ms).ok_or_else(|| TableError::Absurd {
            from: from.to_owned(),
            to: to.to_owned(),
            ms,
        })?;
        match self.nanos.insert(pair, nanos) {
            None => Ok(()),
            Some(_) => Err(TableError::Repeated {
                what: format!("{from} to {to}"),
            }),
        }
    }

    /// The table, its regions sorted.
    ///
    /// # Errors
    /// If it is empty, or has holes off the diagonal.
    pub(super) fn finish(self) -> Result<Square, TableError> {
        if self.regions.is_empty() {
            return Err(TableError::Empty);
        }
        let (regions, numbers): (Vec<_>, Vec<_>) = self.regions.into_iter().unzip();
        let mut cells = Vec::with_capacity(regions.len() * regions.len());
        let (mut count, mut first) = (0, Vec::new());
        for (row, from) in numbers.iter().enumerate() {
            for (column, to) in numbers.iter().enumerate() {
                let cell = self.nanos.get(&(*from, *to)).copied();
                if cell.is_none() && row != column {
                    count += 1;
                    if count <= HOLES_SHOWN {
                        first.push(format!("{} to {}", regions[row], regions[column]));
                    }
                }
                cells.push(cell);
            }
        }
        match count {
            0 => Ok(Square { regions, cells }),
            _ => Err(TableError::Holes { count, first }),
        }
    }
}

/// To the next nanosecond; `None` if it is negative, no number, or above an hour.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between zero and an hour of nanoseconds"
)]
fn nanos(ms: f64) -> Option<u64> {
    (0.0..=MAX_MS)
        .contains(&ms)
        .then(|| libm::round(ms * 1e6) as u64)
}

/// An hour: the most that the model delays.
const MAX_MS: f64 = 3_600_000.0;
/// Enough to find them, few enough for a line.
const HOLES_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_taken_and_what_is_above_below_zero_or_no_number_is_not() {
        assert_eq!(nanos(0.0), Some(0));
        assert_eq!(nanos(79.978_000_000_000_01), Some(79_978_000));
        assert_eq!(nanos(3_600_000.0), Some(3_600_000_000_000));
        for absurd in [-0.001, 3_600_000.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(nanos(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn regions_are_taken_up_to_the_limit_and_not_beyond() {
        let mut cells = Cells::default();
        for number in 0..MAX_REGIONS {
            assert_eq!(cells.region(&number.to_string()).unwrap(), number);
        }
        assert_eq!(cells.region("7").unwrap(), 7);
        let error = cells.region("one more").unwrap_err();
        assert!(matches!(error, TableError::TooManyRegions));
    }

    #[test]
    fn names_are_printable_and_at_most_forty_characters() {
        let mut cells = Cells::default();
        assert!(cells.region(&"ü".repeat(40)).is_ok());
        for name in ["", " a", "a\nb", &"ü".repeat(41)] {
            let error = cells.region(name).unwrap_err();
            assert!(matches!(error, TableError::Name { .. }), "{name:?}");
        }
    }

    #[test]
    fn all_holes_are_counted_and_the_first_ones_named() {
        let mut cells = Cells::default();
        for name in ["b", "a", "c"] {
            cells.region(name).unwrap();
        }
        cells.insert("b", "a", 1.0).unwrap();
        let holes = cells.finish().unwrap_err().to_string();
        assert_eq!(
            holes,
            "5 pairs of different regions have no number: \
             a to b, a to c, b to c, c to a, c to b"
        );
    }

    #[test]
    fn only_the_diagonal_may_be_empty() {
        let mut cells = Cells::default();
        cells.insert("b", "a", 1.0).unwrap();
        cells.insert("a", "b", 2.0).unwrap();
        let square = cells.finish().unwrap();
        assert_eq!(square.regions, ["a", "b"]);
        assert_eq!(square.cells, [None, Some(2_000_000), Some(1_000_000), None]);
    }

    #[test]
    fn a_pair_that_is_there_twice_is_refused() {
        let mut cells = Cells::default();
        cells.insert("a", "b", 1.0).unwrap();
        let error = cells.insert("a", "b", 1.0).unwrap_err();
        assert_eq!(error.to_string(), "\"a to b\" is there twice");
    }
}
