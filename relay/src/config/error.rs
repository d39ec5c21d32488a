//! What is wrong with a configuration file, all of it at once.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
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

impl ConfigError {
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

/// One thing that is wrong: which key, where, and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, from 1; none where a whole section is absent.
    pub line: Option<usize>,
    /// The full path of the key, like `peer[2].addresses[0]`; counted from 0. Empty for syntax.
    pub key: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It has to be there and is not.
    Missing {
        /// What belongs there.
        expected: String,
    },
    /// The file is not TOML.
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// There is no such key.
    Unknown {
        /// The known key that is written most alike, if one is close.
        nearest: Option<&'static str>,
        /// All keys that are known there.
        known: Vec<&'static str>,
    },
    /// Its value cannot be used.
    Wrong {
        /// The value as the file has it, shortened.
        got: String,
        /// What belongs there.
        expected: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let key = &self.key;
        match &self.fault {
            Fault::Missing { expected } => write!(f, "{key} is missing, expected {expected}"),
            Fault::Syntax { message } => write!(f, "not TOML: {message}"),
            Fault::Unknown {
                nearest: Some(nearest),
                ..
            } => write!(f, "{key} is not a known key, did you mean {nearest}?"),
            Fault::Unknown { known, .. } => {
                write!(f, "{key} is not a known key, expected one of ")?;
                f.write_str(&known.join(", "))
            }
            Fault::Wrong { got, expected } => write!(f, "{key} = {got}, expected {expected}"),
        }
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
        None => "the configuration cannot be used:".to_owned(),
    }
}
