//! How a running emulator is told what to do: one JSON line for a command, one for its answer, over
//! a Unix socket.

use serde::{Deserialize, Serialize};

use crate::report::{Path, Report};

pub use self::{
    client::{Client, ClientError},
    server::{Interest, Server, ServerError},
};

mod client;
mod server;
#[cfg(test)]
mod tests;

/// What can be asked of a running emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Sets what paths do. It takes the place of all that they did, their schedules included.
    Set {
        /// Which paths.
        paths: Paths,
        /// What they do, as words.
        netem: String,
    },
    /// Drops every packet of these paths from now on.
    Cut(Paths),
    /// Ends their cuts.
    Heal(Paths),
    /// Tells what was done so far.
    Show,
    /// Ends the emulator.
    Stop,
}

/// One or both directions between two hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// A host.
    pub from: String,
    /// Another.
    pub to: String,
    /// Only from `from` to `to`, and not back.
    pub one_way: bool,
}

/// What a running emulator answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; the paths as they are now.
    Done(Vec<Path>),
    /// What was asked for by [`Command::Show`].
    Report(Box<Report>),
    /// Nothing was done.
    Refused {
        /// Why, in one line.
        reason: String,
    },
}

/// The longest line of a command: a loss trace of a hundred thousand packets fits.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// The longest line of an answer: fifteen thousand paths between regions and their counters fit.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;
