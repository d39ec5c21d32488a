//! The two directions of a TCP connection, as its two ends share them.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::io::ReadBuf;

/// One end of a connection. Dropping it closes the connection in order, or resets it where
/// something was left unread or [`Self::reset`] was called.
#[derive(Debug)]
pub(in crate::sim) struct End {
    connection: Arc<Mutex<Connection>>,
    side: usize,
    reset_on_drop: bool,
}

#[derive(Debug, Default)]
struct Connection {
    /// What side 0 writes, and what side 1 writes.
    directions: [Direction; 2],
    reset: bool,
}

#[derive(Debug, Default)]
struct Direction {
    /// At most [`BUFFER_BYTES`]; a writer waits when it is full.
    buffer: VecDeque<u8>,
    finished: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Makes a connection: its two ends.
pub(super) fn connect() -> (End, End) {
    let connection = Arc::new(Mutex::new(Connection::default()));
    let end = |side| End {
        connection: connection.clone(),
        side,
        reset_on_drop: false,
    };
    (end(0), end(1))
}

impl End {
    pub(super) fn poll_read(
        &self,
        context: &Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut connection = self.connection.lock();
        if connection.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let direction = &mut connection.directions[1 - self.side];
        if direction.buffer.is_empty() && !direction.finished && into.remaining() > 0 {
            direction.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let bytes = into.remaining().min(direction.buffer.len());
        let (first, second) = direction.buffer.as_slices();
        let from_first = bytes.min(first.len());
        into.put_slice(&first[..from_first]);
        into.put_slice(&second[..bytes - from_first]);
        direction.buffer.drain(..bytes);
        let writer = direction.writer.take();
        drop(connection);
        wake([writer]);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &self,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.connection.lock();
        if connection.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let direction = &mut connection.directions[self.side];
        if direction.finished || direction.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = BUFFER_BYTES - direction.buffer.len();
        if room == 0 && !bytes.is_empty() {
            direction.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        direction.buffer.extend(&bytes[..taken]);
        let reader = direction.reader.take();
        drop(connection);
        wake([reader]);
        Poll::Ready(Ok(taken))
    }

    /// Ends what this side writes; the other side reads what is there, then the end.
    pub(super) fn finish(&self) {
        let mut connection = self.connection.lock();
        let direction = &mut connection.directions[self.side];
        direction.finished = true;
        let reader = direction.reader.take();
        drop(connection);
        wake([reader]);
    }

    /// Makes the coming drop a reset.
    pub(super) fn reset(&mut self) {
        self.reset_on_drop = true;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut connection = self.connection.lock();
        let unread = !connection.directions[1 - self.side].buffer.is_empty();
        if unread || self.reset_on_drop {
            connection.reset = true;
            for direction in &mut connection.directions {
                direction.buffer = VecDeque::new();
            }
        }
        let incoming = &mut connection.directions[1 - self.side];
        incoming.reader_gone = true;
        let writer = incoming.writer.take();
        let outgoing = &mut connection.directions[self.side];
        outgoing.finished = true;
        let reader = outgoing.reader.take();
        drop(connection);
        wake([writer, reader]);
    }
}

/// Wakes without a lock held: a waker may run other code.
fn wake(wakers: impl IntoIterator<Item = Option<Waker>>) {
    for waker in wakers.into_iter().flatten() {
        waker.wake();
    }
}

/// Far above one write of a relay, far below what would hide that the reader has stopped.
const BUFFER_BYTES: usize = 64 * 1024;
