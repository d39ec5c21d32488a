//! How connections and streams end, and how operations on them fail.

use bytes::Bytes;
use quinn::ConnectionError;
use thiserror::Error;

use crate::{
    code::{CloseCode, StreamCode},
    wire::CloseReason,
};

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Closed {
    /// The peer closed it with a code of ours.
    #[error("closed by the peer: {code}{}", suffix(reason))]
    ByPeer {
        /// Why.
        code: CloseCode,
        /// More about it, as the peer worded it; not to be trusted.
        reason: Bytes,
    },
    /// This side closed it, or dropped the last handle.
    #[error("closed on this side")]
    Here,
    /// Nothing came for as long as the idle timeout.
    #[error("the peer was silent for the idle timeout")]
    Idle,
    /// The peer no longer knows the connection, as after its restart.
    #[error("the peer no longer knows the connection")]
    PeerLost,
    /// The peer takes no connection from here, or takes none at all.
    #[error("the peer refused the connection")]
    Refused,
    /// This side refused the peer in the TLS handshake.
    #[error("TLS handshake refused on this side: {text}")]
    Tls {
        /// What was wrong with the peer's certificate or offer.
        text: String,
    },
    /// The peer refused this side in the TLS handshake.
    #[error("TLS handshake refused by the peer: {text}")]
    TlsByPeer {
        /// The peer's alert.
        text: String,
    },
    /// The transport failed on either side.
    #[error("transport error: {text}")]
    Transport {
        /// What quinn says about it.
        text: String,
    },
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::ByPeer {
                code: CloseCode::from_number(close.error_code.into_inner()),
                reason: close.reason,
            },
            ConnectionError::ConnectionClosed(close) if is_tls(close.error_code) => {
                Self::TlsByPeer {
                    text: close.to_string(),
                }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            ConnectionError::TransportError(error) if is_tls(error.code) => {
                Self::Tls { text: error.reason }
            }
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::Reset => Self::PeerLost,
            ConnectionError::TimedOut => Self::Idle,
            other @ (ConnectionError::CidsExhausted
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch) => Self::Transport {
                text: other.to_string(),
            },
        }
    }
}

/// Why a dial failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DialError {
    /// The connection ended before it was up.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The dial could not begin: endpoint closed, or address or configuration unusable.
    #[error("cannot dial: {text}")]
    Setup {
        /// What quinn says about it.
        text: String,
    },
    /// The handshake was not done at the deadline.
    #[error("the handshake was not done at the deadline")]
    TimedOut,
}

/// Why an inbound connection did not come up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// The connection ended before it was up.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The handshake was not done at the deadline.
    #[error("the handshake was not done at the deadline")]
    TimedOut,
}

/// Why no stream was opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The peer allowed no further stream until the deadline.
    #[error("the peer allowed no further stream until the deadline")]
    TimedOut,
}

/// Why bytes did not go out, or the end of a stream was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// This side reset the stream, through its [`super::CloseHandle`].
    #[error("stream reset on this side: {0}")]
    Reset(StreamCode),
    /// The peer takes no more of this stream.
    #[error("stream stopped by the peer: {0}")]
    Stopped(StreamCode),
    /// The peer took nothing more, or did not acknowledge the end, until the deadline.
    #[error("the peer did not take the bytes until the deadline")]
    TimedOut,
    /// An earlier write ended half-way; what follows it would be out of place.
    #[error("an earlier write ended half-way")]
    Torn,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The peer gave the stream up.
    #[error("stream reset by the peer: {0}")]
    Reset(StreamCode),
    /// The peer sent nothing until the deadline. The stream is unharmed.
    #[error("the peer sent nothing until the deadline")]
    TimedOut,
}

/// Why a datagram was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The send buffer has no room for it, or had none until the deadline.
    #[error("the send buffer is full")]
    Full,
    /// It is larger than the path carries now.
    #[error("datagram is {got_bytes} bytes, limit is {limit_bytes}")]
    TooLarge {
        /// Its size.
        got_bytes: usize,
        /// What the path carries at this time.
        limit_bytes: usize,
    },
    /// The peer, or the transport configuration of this side, has no datagrams.
    #[error("no datagrams on this connection")]
    Unsupported,
}

impl From<quinn::WriteError> for SendError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(stream_code(code)),
            quinn::WriteError::ConnectionLost(error) => Self::Closed(error.into()),
            // A sender that is finished or reset is consumed, and there is no 0-RTT.
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => {
                Self::Reset(StreamCode::Cancelled)
            }
        }
    }
}

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset(stream_code(code)),
            quinn::ReadError::ConnectionLost(error) => Self::Closed(error.into()),
            // A receiver that is stopped is consumed, reads are ordered, and there is no 0-RTT.
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Reset(StreamCode::Cancelled),
        }
    }
}

pub(super) fn stream_code(number: quinn::VarInt) -> StreamCode {
    StreamCode::from_number(number.into_inner())
}

/// TLS alerts are the transport error codes from 0x100 on (RFC 9001 section 4.8).
fn is_tls(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

/// The peer's words, fit for a log: what it sent may be anything.
fn suffix(reason: &Bytes) -> String {
    match CloseReason::decode(0, reason).message {
        message if message.is_empty() => String::new(),
        message => format!(" ({message})"),
    }
}
