//! Finds frames in the bytes of a stream.

use bytes::Buf;
use thiserror::Error;

use crate::{
    code::CloseCode,
    wire::{
        frame::{Frame, FrameKind, messages},
        hello::{Hello, Minors, NoCommonProtocol},
        limits::{FRAME_HEAD_BYTES, MAX_MESSAGE_BYTES},
        words::words,
    },
};

/// Decodes the frames of one direction of one stream, in whatever pieces its bytes come.
///
/// Holds at most one frame, and never more of it than came. It takes no byte beyond a frame before
/// that frame was returned: after [`Frame::Open`] or [`Frame::Accept`] what is left in the input is
/// payload.
#[derive(Debug)]
pub struct FrameDecoder {
    phase: Phase,
    // Head and message of the frame in progress, as far as they came.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Phase {
    /// Nothing but Hello may come.
    Hello { ours: Minors },
    /// Anything but Hello may come.
    Settled { minor: u32 },
}

impl FrameDecoder {
    /// For the control stream of a link, where the peer's Hello comes first and settles the minor.
    ///
    /// - `ours`: what this node offers, [`PROTOCOL`](crate::wire::PROTOCOL) outside of tests.
    pub fn for_control(ours: Minors) -> Self {
        Self::new(Phase::Hello { ours })
    }

    /// For every other stream of a link whose ends have settled on `minor`.
    pub fn for_stream(minor: u32) -> Self {
        Self::new(Phase::Settled { minor })
    }

    /// The minor that both ends settled on; `None` before the peer's Hello.
    pub fn minor(&self) -> Option<u32> {
        match self.phase {
            Phase::Hello { .. } => None,
            Phase::Settled { minor } => Some(minor),
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next frame.
    ///
    /// Returns the frame, or `None` if `input` was used up before its end. To be called until it
    /// returns `None`.
    ///
    /// # Errors
    /// [`FrameError`], for the caller to count; the link or stream is then to be closed.
    pub fn decode(&mut self, input: &mut impl Buf) -> Result<Option<Frame>, FrameError> {
        self.fill(input, FRAME_HEAD_BYTES);
        let Some([a, b, c, d, type_high, type_low]) = self.buffer.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let type_number = u16::from_be_bytes([*type_high, *type_low]);
        // Before any of the message is taken, let alone kept.
        let length = match usize::try_from(length) {
            Ok(length) if length <= MAX_MESSAGE_BYTES => length,
            _ => {
                let got_bytes = length;
                return Err(FrameError::Oversized { got_bytes });
            }
        };
        self.fill(input, FRAME_HEAD_BYTES + length);
        if self.buffer.len() < FRAME_HEAD_BYTES + length {
            return Ok(None);
        }
        // Frames are rare: an idle link keeps no buffer.
        let whole = std::mem::take(&mut self.buffer);
        self.read(type_number, &whole[FRAME_HEAD_BYTES..]).map(Some)
    }

    /// To be called when the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if it ended within a frame.
    pub fn check_end(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            got_bytes => Err(FrameError::Truncated { got_bytes }),
        }
    }

    fn new(phase: Phase) -> Self {
        let buffer = Vec::new();
        Self { phase, buffer }
    }

    fn read(&mut self, type_number: u16, body: &[u8]) -> Result<Frame, FrameError> {
        match (&self.phase, FrameKind::from_number(type_number)) {
            (Phase::Hello { ours }, Some(FrameKind::Hello)) => {
                let (hello, minor) = Hello::read(*ours, body)?;
                self.phase = Phase::Settled { minor };
                Ok(Frame::Hello(Box::new(hello)))
            }
            (Phase::Hello { .. }, _) => Err(FrameError::OutOfPlace { type_number }),
            (Phase::Settled { minor }, Some(frame)) => messages::read(frame, *minor, body),
            (Phase::Settled { .. }, None) => Ok(Frame::Unknown { type_number }),
        }
    }

    /// Takes from `input` until the buffer holds `len` bytes.
    fn fill(&mut self, input: &mut impl Buf, len: usize) {
        while self.buffer.len() < len && input.has_remaining() {
            let chunk = input.chunk();
            let take = chunk.len().min(len - self.buffer.len());
            self.buffer.extend_from_slice(&chunk[..take]);
            input.advance(take);
        }
    }
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A field holds what it must not.
    #[error("field {field} of frame {frame} is {why}")]
    BadField {
        /// The frame.
        frame: FrameKind,
        /// Its field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The message has no bytes at all.
    #[error("frame {frame} is empty")]
    Empty {
        /// The frame.
        frame: FrameKind,
    },
    /// A path names a node twice.
    #[error("path of frame {frame} names a node twice")]
    Loop {
        /// The frame.
        frame: FrameKind,
    },
    /// The message is not protobuf, or not of these fields.
    #[error("frame {frame} cannot be decoded")]
    Malformed {
        /// The frame.
        frame: FrameKind,
    },
    /// A field is absent.
    #[error("frame {frame} lacks field {field}")]
    MissingField {
        /// The frame.
        frame: FrameKind,
        /// Its field.
        field: &'static str,
    },
    /// Hello of a peer with which no minor is common.
    #[error(transparent)]
    NoCommonProtocol(#[from] NoCommonProtocol),
    /// Something before Hello, or Hello again, or on another stream.
    #[error("frame of type {type_number} is out of place")]
    OutOfPlace {
        /// The frame's type.
        type_number: u16,
    },
    /// The message is longer than any may be.
    #[error("message of a frame is {got_bytes} bytes, limit is {MAX_MESSAGE_BYTES}")]
    Oversized {
        /// Its length, as announced.
        got_bytes: u32,
    },
    /// The stream ended within a frame.
    #[error("stream ended {got_bytes} bytes into a frame")]
    Truncated {
        /// Bytes of the frame that came, head included.
        got_bytes: usize,
    },
}

impl FrameError {
    /// What to count it under.
    pub fn reason(&self) -> FrameErrorReason {
        match self {
            Self::BadField { .. } => FrameErrorReason::BadField,
            Self::Empty { .. } => FrameErrorReason::Empty,
            Self::Loop { .. } => FrameErrorReason::Loop,
            Self::Malformed { .. } => FrameErrorReason::Malformed,
            Self::MissingField { .. } => FrameErrorReason::MissingField,
            Self::NoCommonProtocol(_) => FrameErrorReason::NoCommonProtocol,
            Self::OutOfPlace { .. } => FrameErrorReason::OutOfPlace,
            Self::Oversized { .. } => FrameErrorReason::Oversized,
            Self::Truncated { .. } => FrameErrorReason::Truncated,
        }
    }

    /// The code to close the link with.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::NoCommonProtocol(_) => CloseCode::NoCommonProtocol,
            _ => CloseCode::Malformed,
        }
    }
}

words! {
    /// The kinds of [`FrameError`].
    FrameErrorReason {
        /// [`FrameError::BadField`].
        BadField = "bad_field";
        /// [`FrameError::Empty`].
        Empty = "empty";
        /// [`FrameError::Loop`].
        Loop = "loop";
        /// [`FrameError::Malformed`].
        Malformed = "malformed";
        /// [`FrameError::MissingField`].
        MissingField = "missing_field";
        /// [`FrameError::NoCommonProtocol`].
        NoCommonProtocol = "no_common_protocol";
        /// [`FrameError::OutOfPlace`].
        OutOfPlace = "out_of_place";
        /// [`FrameError::Oversized`].
        Oversized = "oversized";
        /// [`FrameError::Truncated`].
        Truncated = "truncated";
    }
}

#[cfg(test)]
mod tests;
