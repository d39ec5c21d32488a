//! A command's way to a running emulator.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Answer, Command, MAX_ANSWER_BYTES};

/// Asks one emulator.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// For the emulator whose control socket is at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Sends one command and waits for its answer, 5 s at the most.
    ///
    /// # Errors
    /// - [`ClientError::Absent`]: no emulator is there.
    /// - [`ClientError::Failed`]: it did not answer in time, or in other words.
    /// - [`ClientError::Refused`]: it answered that it cannot be done.
    pub fn ask(&self, command: &Command) -> Result<Answer, ClientError> {
        let failed = |source| ClientError::Failed {
            path: self.path.clone(),
            source,
        };
        let stream = UnixStream::connect(&self.path).map_err(|source| match source.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => ClientError::Absent {
                path: self.path.clone(),
            },
            _ => failed(source),
        })?;
        match exchange(stream, command).map_err(failed)? {
            Answer::Refused { reason } => Err(ClientError::Refused { reason }),
            answer => Ok(answer),
        }
    }

    /// Where the control socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn exchange(mut stream: UnixStream, command: &Command) -> io::Result<Answer> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES as u64)).read_until(b'\n', &mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Why a command was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no emulator is running at {}", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The conversation broke off.
    #[error("the emulator at {} did not answer: {source}", path.display())]
    Failed {
        /// Where it is.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It said no.
    #[error("{reason}")]
    Refused {
        /// Why, in its own words.
        reason: String,
    },
}

/// The loop that answers has other things to do, but nothing that takes a second.
const DEADLINE: Duration = Duration::from_secs(5);
