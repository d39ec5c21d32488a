//! The emulator's end of the control socket, served by the emulator's own loop.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};

use super::{Answer, Command, MAX_ANSWER_BYTES, MAX_COMMAND_BYTES};

/// A Unix socket that takes commands, never blocks, and is removed at its end.
///
/// Only its owner may connect. At most eight do at a time; one more pushes the oldest out.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Of the socket's file, as far as it is known.
    inode: Option<u64>,
    listener: UnixListener,
    clients: Vec<Client>,
}

/// A connection: what of a command was read, and what of answers was not yet written.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    /// Whether it will say no more.
    ended: bool,
    output: Vec<u8>,
}

impl Server {
    /// Listens at `path`. A socket there that nobody answers on any more is replaced.
    ///
    /// # Errors
    /// - [`ServerError::InUse`]: an emulator answers there.
    /// - [`ServerError::Bind`]: the socket cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        match UnixStream::connect(path) {
            Ok(_) => return Err(ServerError::InUse { path: path.into() }),
            // Left by an emulator that was killed. A file of another kind refuses as well.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && is_socket(path) => {
                let _ = fs::remove_file(path);
            }
            Err(_) => {}
        }
        let bound = (|| {
            // From the first moment on: permissions that are set afterwards come too late.
            let before = umask(Mode::RWXG | Mode::RWXO);
            let listener = UnixListener::bind(path);
            umask(before);
            let listener = listener?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })();
        match bound {
            Ok(listener) => Ok(Self {
                path: path.into(),
                inode: inode(path),
                listener,
                clients: Vec::new(),
            }),
            Err(source) => Err(ServerError::Bind {
                path: path.into(),
                source,
            }),
        }
    }

    /// What to wait on, and for what.
    pub fn sources(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let clients = self.clients.iter().map(|client| {
            let interest = match (client.ended, client.output.is_empty()) {
                (false, true) => Interest::Read,
                (false, false) => Interest::ReadAndWrite,
                // It stays readable, and nothing comes.
                (true, _) => Interest::Write,
            };
            (client.stream.as_fd(), interest)
        });
        std::iter::once((self.listener.as_fd(), Interest::Read)).chain(clients)
    }

    /// Reads what is there, has each whole command answered, and writes what goes out.
    pub fn serve(&mut self, mut answer: impl FnMut(Command) -> Answer) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() == MAX_CLIENTS {
                self.clients.remove(0);
            }
            self.clients.push(Client {
                stream,
                input: Vec::new(),
                ended: false,
                output: Vec::new(),
            });
        }
        self.clients.retain_mut(|client| client.serve(&mut answer));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not that of another, which was bound after somebody removed this one.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            // Nothing is left to tell anybody who might care.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Client {
    /// Whether the connection goes on.
    fn serve(&mut self, answer: &mut impl FnMut(Command) -> Answer) -> bool {
        let mut chunk = [0; 4_096];
        while !self.ended {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            if self.input.len() > MAX_COMMAND_BYTES {
                return false;
            }
        }
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let answered = match serde_json::from_slice(&line) {
                Ok(command) => answer(command),
                Err(error) => Answer::Refused {
                    reason: format!("not a command: {error}"),
                },
            };
            self.output.extend(line_of(&answered));
            // Whoever does not read the answers to what it asks is not worth their memory.
            if self.output.len() > 2 * MAX_ANSWER_BYTES {
                return false;
            }
        }
        self.flush().is_ok() && (!self.ended || !self.output.is_empty())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.output.drain(..bytes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An answer as a line; one that is too long for whoever asked is refused.
fn line_of(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    if line.is_empty() || line.len() >= MAX_ANSWER_BYTES {
        let reason = format!(
            "the answer has {} bytes, limit is {MAX_ANSWER_BYTES}",
            line.len()
        );
        line = serde_json::to_vec(&Answer::Refused { reason }).unwrap_or_default();
    }
    line.push(b'\n');
    line
}

/// What to wait for at a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// More of a command.
    Read,
    /// That, and room for more of an answer.
    ReadAndWrite,
    /// Room for more of an answer.
    Write,
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|file| file.ino())
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The system refused it.
    #[error("control socket {}: {source}", path.display())]
    Bind {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another emulator has it.
    #[error("control socket {}: an emulator is running there already", path.display())]
    InUse {
        /// Where it is.
        path: PathBuf,
    },
}

/// Commands are typed by people and sent by tests.
const MAX_CLIENTS: usize = 8;
