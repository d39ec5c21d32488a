//! Sets up logging, once for a process.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of text for each event, coloured on a terminal.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

impl LogFormat {
    /// Each with its word in the configuration and on the command line.
    pub const WORDS: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Someone must act.
    Error,
    /// Odd, but recovered.
    Warn,
    /// What an operator wants to know afterwards.
    #[default]
    Info,
    /// Decisions.
    Debug,
    /// Packets.
    Trace,
}

impl Level {
    /// Each with its word in the configuration.
    pub const WORDS: [(&str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].0
    }
}

/// Logs to standard error from now on. `CAUSEWAY_LOG` in the environment, such as
/// `info,causeway::link=debug`, takes the place of `level`.
///
/// # Errors
/// - [`LogError::Filter`]: `CAUSEWAY_LOG` cannot be parsed.
/// - [`LogError::Twice`]: the process logs already; that goes on unchanged.
pub fn init(format: LogFormat, level: Level) -> Result<(), LogError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => EnvFilter::try_new(&filter).map_err(|source| LogError::Filter {
            filter,
            source: Box::new(source),
        })?,
        Err(_) => EnvFilter::new(level.word()),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let colour = io::stderr().is_terminal();
            let layer = fmt::layer().with_ansi(colour).with_writer(io::stderr);
            registry.with(layer).try_init()
        }
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true);
            registry.with(layer.with_writer(io::stderr)).try_init()
        }
    };
    started.map_err(|_| LogError::Twice)
}

/// Why logging was not set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter in the environment cannot be parsed.
    #[error("{FILTER_VARIABLE}={filter:?} is not a filter like info,causeway::link=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The process logs already.
    #[error("logging is set up already")]
    Twice,
}

const FILTER_VARIABLE: &str = "CAUSEWAY_LOG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_own_word() {
        for (word, level) in Level::WORDS {
            assert_eq!(level.word(), word);
        }
    }
}
