//! Frames of one stream, read with and without a deadline.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::{
    deadline::{ReadError, Receiver},
    wire::{Frame, FrameDecoder, FrameError, Minors, TooLong},
};

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader {
    receiver: Receiver,
    decoder: FrameDecoder,
    /// Bytes that came and are not decoded.
    ahead: Bytes,
}

impl FrameReader {
    /// Reads a link's control stream, from its start.
    pub fn control(receiver: Receiver, ours: Minors) -> Self {
        Self {
            receiver,
            decoder: FrameDecoder::for_control(ours),
            ahead: Bytes::new(),
        }
    }

    /// Reads another stream of a link whose ends speak `minor`, from its start.
    pub fn stream(receiver: Receiver, minor: u32) -> Self {
        Self {
            receiver,
            decoder: FrameDecoder::for_stream(minor),
            ahead: Bytes::new(),
        }
    }

    /// The minor that both ends speak, once Hello has come.
    pub fn minor(&self) -> Option<u32> {
        self.decoder.minor()
    }

    /// The next frame, which the peer sends when it likes; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ReadFrameError`]; nothing more can be read.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes of an incomplete frame are kept.
    pub async fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.ahead)? {
                return Ok(Some(frame));
            }
            match self.receiver.read_when_sent(READ_BYTES).await? {
                Some(bytes) => self.ahead = bytes,
                None => return Ok(self.decoder.check_end().map(|()| None)?),
            }
        }
    }

    /// The next frame that this build knows, which was asked for; `skipped` is called for others.
    ///
    /// # Errors
    /// [`ReadFrameError`]; nothing more can be read.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes of an incomplete frame are kept.
    pub(crate) async fn next_known_by(
        &mut self,
        deadline: Instant,
        mut skipped: impl FnMut(),
    ) -> Result<Frame, ReadFrameError> {
        loop {
            match self.next_by(deadline).await? {
                Frame::Unknown { .. } => skipped(),
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame, which was asked for.
    ///
    /// # Errors
    /// [`ReadFrameError`]; nothing more can be read.
    ///
    /// # Cancel safety
    /// Cancel safe: bytes of an incomplete frame are kept.
    pub async fn next_by(&mut self, deadline: Instant) -> Result<Frame, ReadFrameError> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.ahead)? {
                return Ok(frame);
            }
            match self.receiver.read(READ_BYTES, deadline).await? {
                Some(bytes) => self.ahead = bytes,
                None => {
                    self.decoder.check_end()?;
                    return Err(ReadFrameError::Ended);
                }
            }
        }
    }

    /// What follows the last frame: the bytes that came with it, and the stream.
    pub fn into_rest(self) -> (Bytes, Receiver) {
        (self.ahead, self.receiver)
    }
}

/// The bytes of a frame.
///
/// # Errors
/// [`TooLong`]: its message is larger than a frame may be.
pub fn encoded(frame: &Frame) -> Result<Bytes, TooLong> {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes)?;
    Ok(bytes.freeze())
}

/// Why no frame could be read.
#[derive(Debug, Error)]
pub enum ReadFrameError {
    /// The stream ended where a frame was expected.
    #[error("the peer ended the stream")]
    Ended,
    /// The bytes are not a frame, or not one that belongs there.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream broke.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Frames are small; a large one takes a few turns.
const READ_BYTES: usize = 4 << 10;
