//! The receiving half of a stream.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{ReadError, connection::OpenStream, until};
use crate::code::StreamCode;

/// The receiving half of a stream. Dropped before the end, it tells the peer to stop with
/// [`StreamCode::Cancelled`].
#[derive(Debug)]
pub struct Receiver {
    stream: quinn::RecvStream,
    /// The end or a reset was read: there is nothing to stop.
    ended: bool,
    /// `None` from the end on, so that a stream whose halves are done is not counted as open.
    open: Option<Arc<OpenStream>>,
}

impl Receiver {
    pub(super) fn new(stream: quinn::RecvStream, open: Arc<OpenStream>) -> Self {
        Self {
            stream,
            ended: false,
            open: Some(open),
        }
    }

    /// Reads what is there next, waiting for it until `deadline`.
    ///
    /// Returns 1..=`max` bytes, or `None` at the end, again and again.
    ///
    /// # Errors
    /// [`ReadError`]; after [`ReadError::TimedOut`] reading may go on.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read(
        &mut self,
        max: usize,
        deadline: Instant,
    ) -> Result<Option<Bytes>, ReadError> {
        until(deadline, ReadError::TimedOut, self.read_when_sent(max)).await
    }

    /// Reads what is there next, waiting for as long as the peer cares to send nothing.
    ///
    /// For bytes that nobody asked for. As [`Receiver::read`] otherwise.
    ///
    /// # Errors
    /// As [`Receiver::read`], never [`ReadError::TimedOut`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read_when_sent(&mut self, max: usize) -> Result<Option<Bytes>, ReadError> {
        let read = self.stream.read_chunk(max, true).await;
        if matches!(read, Ok(None) | Err(quinn::ReadError::Reset(_))) {
            self.ended = true;
            self.open = None;
        }
        Ok(read?.map(|chunk| chunk.bytes))
    }

    /// Tells the peer that nothing more of this stream will be read, and why.
    pub fn stop(mut self, code: StreamCode) {
        self.stop_now(code);
    }

    fn stop_now(&mut self, code: StreamCode) {
        if !self.ended {
            self.ended = true;
            // Fails if the stream is over already, which is what is wanted.
            let _ = self.stream.stop(code.number().into());
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop_now(StreamCode::Cancelled);
    }
}
