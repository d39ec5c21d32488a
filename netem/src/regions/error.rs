//! Why there is no matrix, no region.

use std::{fmt, io};

/// Why there is no matrix.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The tables of p50 and p90 are not of the same regions.
    #[error("{matrix}: only one of p50 and p90 has {}", Names(regions))]
    OtherRegions {
        /// The matrix.
        matrix: String,
        /// Those that only one of them has.
        regions: Vec<String>,
    },
    /// A file could not be read.
    #[error("{path} could not be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// A table cannot be used.
    #[error("{table}: {source}")]
    Table {
        /// The table, or its file.
        table: String,
        /// What is wrong with it.
        source: TableError,
    },
    /// Neither a matrix that comes with this program, nor a file.
    #[error(
        "no matrix is called {name:?}; there is {}, or a file that ends in .csv or .json",
        Names(nearest)
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The matrices that are called most like it; all where none is.
        nearest: Vec<String>,
    },
}

/// What is wrong with a table of round trips.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// No round trip on Earth.
    #[error("{from} to {to} is {ms} ms, must be 0 ms to an hour")]
    Absurd {
        /// Where it begins.
        from: String,
        /// Where it turns.
        to: String,
        /// What the table says.
        ms: f64,
    },
    /// A cell of a CSV table is no number.
    #[error("line {line}: {text:?} is no number of milliseconds")]
    Cell {
        /// Counted from 1.
        line: usize,
        /// What it is.
        text: String,
    },
    /// A line of a CSV table is too long or too short.
    #[error("line {line} has {got} cells, must have {expected} as the first line")]
    Columns {
        /// Counted from 1.
        line: usize,
        /// Its cells.
        got: usize,
        /// Those of the first line.
        expected: usize,
    },
    /// No regions.
    #[error("there are no regions")]
    Empty,
    /// Pairs of different regions without a number.
    #[error("{} of different regions have no number: {}", Count(*count), List(first, *count))]
    Holes {
        /// How many.
        count: usize,
        /// The first of them, from and to.
        first: Vec<String>,
    },
    /// Not the JSON that is asked for.
    #[error("must be {{\"data\": {{FROM: {{TO: MILLISECONDS}}}}}}: {0}")]
    Json(#[source] serde_json::Error),
    /// A region that cannot be shown.
    #[error(
        "{name:?} is no name: it must be 1 to {} printable characters",
        super::MAX_NAME_CHARS
    )]
    Name {
        /// What it is called.
        name: String,
    },
    /// A pair, or a line, that is there twice.
    #[error("{what:?} is there twice")]
    Repeated {
        /// Which.
        what: String,
    },
    /// More text than is read.
    #[error("more than {} MB", super::MAX_TABLE_BYTES / 1_000_000)]
    TooLarge,
    /// More regions than are held.
    #[error("more than {} regions", super::MAX_REGIONS)]
    TooManyRegions,
}

/// A region that the matrix does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{matrix} has no region {name:?}; {}", Hint { matrix, nearest })]
pub struct UnknownRegion {
    /// The matrix.
    pub matrix: String,
    /// What was asked for.
    pub name: String,
    /// The regions that are called most like it, the nearest first.
    pub nearest: Vec<String>,
}

struct Hint<'a> {
    matrix: &'a str,
    nearest: &'a [String],
}

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nearest {
            [] => write!(f, "`netem regions {}` lists them", self.matrix),
            nearest => write!(f, "nearest: {}", Names(nearest)),
        }
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pair{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

/// The first of so many.
struct List<'a>(&'a [String], usize);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))?;
        match self.1 - self.0.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
