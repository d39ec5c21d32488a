//! Connections and streams whose every wait has an end.
//!
//! This is the only module that may name quinn's connections and streams. What it offers instead:
//!
//! - Every wait for a reply, or for progress that we asked for, takes a deadline, and the deadline
//!   stands before the first byte is sent. A deadline that has passed still takes what is there at
//!   once, then fails.
//! - Waits for what the peer may do on its own initiative have none, and their names say so:
//!   [`Endpoint::accept`], [`Connection::accept_stream`], [`Connection::read_datagram`],
//!   [`Connection::closed`] and [`Receiver::read_when_sent`]. They end when the connection does.
//! - Closing never waits and may be repeated: [`Connection::close`] wakes everybody who is blocked
//!   on the connection, [`CloseHandle::close`] a writer that is blocked on its stream.
//! - A [`Sender`] that is dropped before it is done resets its stream (quinn's own finishes it, and
//!   a cancelled copy looks complete to the peer); a [`Receiver`] stops it.

#![expect(
    clippy::disallowed_types,
    reason = "the one module that wraps them, so that no other has to"
)]

use std::{future::Future, time::Instant};

use tokio::time::timeout_at;

pub use self::{
    connection::{Connection, ConnectionStats},
    endpoint::{Endpoint, Incoming, SERVER_NAME},
    error::{AcceptError, Closed, DatagramError, DialError, OpenError, ReadError, SendError},
    receiver::Receiver,
    sender::{CloseHandle, Sender},
};

mod connection;
mod endpoint;
mod error;
mod receiver;
mod sender;
#[cfg(test)]
pub(crate) mod testnet;
#[cfg(test)]
mod tests;

/// Resolves to what `work` does, or to `timed_out` at `deadline`.
///
/// tokio rounds deadlines up to a millisecond.
async fn until<T, E>(
    deadline: Instant,
    timed_out: E,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout_at(deadline.into(), work)
        .await
        .unwrap_or(Err(timed_out))
}
