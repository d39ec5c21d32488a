//! The sending half of a stream.

use std::{
    future::{self, Future},
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::timeout_at};

use super::{SendError, connection::OpenStream, error::stream_code, until};
use crate::code::StreamCode;

/// The sending half of a stream. Dropped before [`Sender::finish`] succeeded, it resets the stream
/// with [`StreamCode::Cancelled`].
#[derive(Debug)]
pub struct Sender {
    stream: quinn::SendStream,
    state: State,
    closing: Arc<Closing>,
    _open: Arc<OpenStream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A write ended half-way.
    Torn,
    /// Acknowledged to the end, or reset.
    Done,
}

impl Sender {
    pub(super) fn new(stream: quinn::SendStream, open: Arc<OpenStream>) -> Self {
        Self {
            stream,
            state: State::Open,
            closing: Arc::default(),
            _open: open,
        }
    }

    /// Writes all of `bytes`, waiting until `deadline` for the peer to make room.
    ///
    /// Resolving means that the transport holds the bytes, not that the peer does.
    ///
    /// # Errors
    /// [`SendError`]. A prefix may have been written, so the stream takes nothing more:
    /// [`Sender::reset`] it with a reason, or drop it.
    ///
    /// # Cancel safety
    /// Not cancel safe: a prefix may have been written, and the stream takes nothing more.
    pub async fn write(&mut self, mut bytes: Bytes, deadline: Instant) -> Result<(), SendError> {
        if self.state == State::Torn {
            return Err(SendError::Torn);
        }
        // Taken back when all is written; whoever drops this future leaves it so.
        self.state = State::Torn;
        while !bytes.is_empty() {
            self.write_next(&mut bytes, deadline).await?;
        }
        self.state = State::Open;
        Ok(())
    }

    /// Writes as much of `bytes` as the peer has room for, waiting until `deadline` for some room.
    ///
    /// Cuts what was written off `bytes` and returns its length, 1 at least unless `bytes` is
    /// empty. For copies whose deadline is on progress: a slow reader is not a stalled one.
    ///
    /// # Errors
    /// [`SendError`]; nothing was written, and after [`SendError::TimedOut`] writing may go on.
    ///
    /// # Cancel safety
    /// Cancel safe: until the future resolves, nothing was written.
    pub async fn write_some(
        &mut self,
        bytes: &mut Bytes,
        deadline: Instant,
    ) -> Result<usize, SendError> {
        if self.state == State::Torn {
            return Err(SendError::Torn);
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        self.write_next(bytes, deadline).await
    }

    /// Ends the stream and waits until the peer has acknowledged all of it; else it is reset with
    /// [`StreamCode::Deadline`] at `deadline`.
    ///
    /// To end streams without waiting for the peer, see [`crate::reaper`].
    ///
    /// # Errors
    /// [`SendError`]; the stream is reset.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future resets the stream.
    pub async fn finish(mut self, deadline: Instant) -> Result<(), SendError> {
        let acknowledged = self.start_finish()?;
        let ended = timeout_at(deadline.into(), acknowledged)
            .await
            .unwrap_or(Err(SendError::TimedOut));
        self.settle(&ended);
        ended
    }

    /// Gives the stream up: the peer reads `code`, and what it has not read yet is lost.
    pub fn reset(mut self, code: StreamCode) {
        self.reset_now(code);
    }

    /// Sets the stream's turn among the connection's streams: higher first, 0 at the start.
    pub fn set_priority(&self, priority: i32) {
        // Fails if the stream is over, when there is nothing to order any more.
        let _ = self.stream.set_priority(priority);
    }

    /// Resolves when the peer will take nothing more of an unfinished stream: it said so, or the
    /// connection has ended. For those who wait for bytes to write, and would not notice.
    pub(crate) fn given_up(&self) -> impl Future<Output = SendError> + Send + use<> {
        let stopped = self.stream.stopped();
        async move {
            match stopped.await {
                Ok(Some(code)) => SendError::Stopped(stream_code(code)),
                Err(quinn::StoppedError::ConnectionLost(error)) => SendError::Closed(error.into()),
                // Finished meanwhile, and acknowledged: nobody gave up.
                Ok(None) | Err(quinn::StoppedError::ZeroRttRejected) => future::pending().await,
            }
        }
    }

    /// What ends this stream from elsewhere.
    pub fn handle(&self) -> CloseHandle {
        CloseHandle(self.closing.clone())
    }

    /// Ends the stream; the returned future resolves when the peer has acknowledged all of it, or
    /// when that can no longer be. It holds no part of `self`, which must stay alive until then and
    /// be told by [`Sender::settle`].
    pub(crate) fn start_finish(
        &mut self,
    ) -> Result<impl Future<Output = Result<(), SendError>> + Send + use<>, SendError> {
        if self.state == State::Torn {
            return Err(SendError::Torn);
        }
        // Fails if it was finished before, which changes nothing.
        let _ = self.stream.finish();
        let stopped = self.stream.stopped();
        let closing = self.closing.clone();
        Ok(async move {
            tokio::select! {
                biased;
                code = closing.closed() => Err(SendError::Reset(code)),
                stopped = stopped => match stopped {
                    Ok(None) => Ok(()),
                    Ok(Some(code)) => Err(SendError::Stopped(stream_code(code))),
                    Err(quinn::StoppedError::ConnectionLost(error)) => {
                        Err(SendError::Closed(error.into()))
                    }
                    // There is no 0-RTT.
                    Err(quinn::StoppedError::ZeroRttRejected) => {
                        Err(SendError::Reset(StreamCode::Cancelled))
                    }
                },
            }
        })
    }

    /// Does what is left to do after [`Sender::start_finish`].
    pub(crate) fn settle(&mut self, ended: &Result<(), SendError>) {
        match ended {
            Ok(()) => self.state = State::Done,
            Err(SendError::Reset(code)) => self.reset_now(*code),
            Err(SendError::TimedOut) => self.reset_now(StreamCode::Deadline),
            Err(SendError::Closed(_) | SendError::Stopped(_) | SendError::Torn) => {
                self.reset_now(StreamCode::Cancelled);
            }
        }
    }

    async fn write_next(
        &mut self,
        bytes: &mut Bytes,
        deadline: Instant,
    ) -> Result<usize, SendError> {
        let closing = self.closing.clone();
        let written = until(deadline, SendError::TimedOut, async {
            tokio::select! {
                biased;
                code = closing.closed() => Err(SendError::Reset(code)),
                written = self.stream.write_chunks(slice::from_mut(bytes)) => Ok(written?.bytes),
            }
        })
        .await;
        if let Err(SendError::Reset(code)) = written {
            self.reset_now(code);
        }
        written
    }

    fn reset_now(&mut self, code: StreamCode) {
        if self.state != State::Done {
            self.state = State::Done;
            // Fails if the stream is over already, which is what is wanted.
            let _ = self.stream.reset(code.number().into());
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let code = self.closing.code().unwrap_or(StreamCode::Cancelled);
        self.reset_now(code);
    }
}

/// Ends a stream while somebody else holds its [`Sender`]. Cloning shares it.
#[derive(Debug, Clone)]
pub struct CloseHandle(Arc<Closing>);

impl CloseHandle {
    /// Makes the sender reset its stream with `code`.
    ///
    /// Never waits; may be repeated, and only the first call counts. A write or finish that is in
    /// progress, however blocked, fails at once with [`SendError::Reset`]; an idle sender resets
    /// when it is next used or dropped. A stream that has ended already is not touched.
    pub fn close(&self, code: StreamCode) {
        let stored = u64::from(code.number());
        if self
            .0
            .code
            .compare_exchange(OPEN, stored, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            self.0.wake.notify_one();
        }
    }
}

/// How a [`CloseHandle`] reaches its sender.
#[derive(Debug)]
struct Closing {
    /// [`OPEN`], or the code to reset with.
    code: AtomicU64,
    wake: Notify,
}

impl Default for Closing {
    fn default() -> Self {
        Self {
            code: AtomicU64::new(OPEN),
            wake: Notify::new(),
        }
    }
}

impl Closing {
    fn code(&self) -> Option<StreamCode> {
        match self.code.load(Ordering::Acquire) {
            OPEN => None,
            code => Some(StreamCode::from_number(code)),
        }
    }

    /// Resolves when the handle was closed. Only the sender waits here, so that the permit of
    /// `notify_one`, which stays if nobody waits yet, cannot go to somebody else.
    async fn closed(&self) -> StreamCode {
        loop {
            if let Some(code) = self.code() {
                return code;
            }
            self.wake.notified().await;
        }
    }
}

/// Above every code, which has 32 bits.
const OPEN: u64 = u64::MAX;
