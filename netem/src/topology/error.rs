//! What is wrong with a file, all of it at once.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use crate::{
    model::ScheduleError,
    nearest::did_you_mean,
    words::{QuantityFault, WordsError},
};

/// Why there is no topology.
#[derive(Debug, Error)]
pub enum TopologyError {
    /// The text was read and cannot be used.
    #[error("{}", listing(path.as_ref(), problems))]
    Invalid {
        /// The file, where it came from one.
        path: Option<PathBuf>,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
    /// The file could not be read.
    #[error("{} could not be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The line in the file, from 1; none where something is absent from the whole of it.
    pub line: Option<usize>,
    /// The full path of the key, like `path[2].change[0].at`, counted from 0. Empty for syntax.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Fault {
    /// Another key of its table excludes it.
    #[error("cannot stand beside {other}")]
    Beside {
        /// The other key.
        other: &'static str,
    },
    /// It has to be there and is not.
    #[error("is missing, expected {expected}")]
    Missing {
        /// What belongs there.
        expected: &'static str,
    },
    /// The words are no model.
    #[error(transparent)]
    Model(#[from] WordsError),
    /// The changes are no schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The file is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// Another host has it.
    #[error("{value} is taken by {by}")]
    Taken {
        /// What both have.
        value: String,
        /// The key of the other, and its line.
        by: String,
    },
    /// Not a time.
    #[error("{got}: {fault}")]
    Time {
        /// What stands there.
        got: String,
        /// What is wrong with it.
        fault: QuantityFault,
    },
    /// Not within its limits.
    #[error("{got} must be {limits}")]
    TimeRange {
        /// What stands there.
        got: String,
        /// The least and the most.
        limits: &'static str,
    },
    /// There is no such key.
    #[error(
        "is not a known key{}",
        if nearest.is_empty() {
            format!(", expected one of {}", known.join(", "))
        } else {
            did_you_mean(nearest)
        }
    )]
    UnknownKey {
        /// The known keys that are written most like it.
        nearest: Vec<String>,
        /// All keys that are known there.
        known: &'static [&'static str],
    },
    /// No host has that name.
    #[error("no host is named {name}{}", did_you_mean(nearest))]
    UnknownHost {
        /// The name, shortened.
        name: String,
        /// The hosts whose names are written most like it.
        nearest: Vec<String>,
    },
    /// It is of the wrong kind.
    #[error("is {got}, expected {expected}")]
    Wrong {
        /// What stands there, shortened.
        got: String,
        /// What belongs there.
        expected: &'static str,
    },
}

impl TopologyError {
    /// The same on one line, for a log.
    pub fn one_line(&self) -> String {
        match self {
            Self::Invalid { path, problems } => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                format!("{} {}", heading(path.as_ref()), problems.join("; "))
            }
            Self::Read { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let separator = match &self.fault {
            _ if self.key.is_empty() => "",
            Fault::Beside { .. }
            | Fault::Missing { .. }
            | Fault::UnknownKey { .. }
            | Fault::Wrong { .. } => " ",
            Fault::Model(_)
            | Fault::Schedule(_)
            | Fault::Syntax { .. }
            | Fault::Taken { .. }
            | Fault::Time { .. }
            | Fault::TimeRange { .. }
            | Fault::UnknownHost { .. } => ": ",
        };
        write!(f, "{}{separator}{}", self.key, self.fault)
    }
}

fn listing(path: Option<&PathBuf>, problems: &[Problem]) -> String {
    let mut text = heading(path);
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
    }
    text
}

fn heading(path: Option<&PathBuf>) -> String {
    match path {
        Some(path) => format!("{} cannot be used:", path.display()),
        None => "the topology cannot be used:".to_owned(),
    }
}
