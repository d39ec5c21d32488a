//! How a keeper's reasons and answers read to people.

use std::fmt;

use super::event::{CloseCause, PeerStatus, Reason, ReplaceReason};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackoffOver => f.write_str("backoff over"),
            Self::CurrentDown => f.write_str("the current link does not answer"),
            Self::DialFailed(error) => write!(f, "dial failed: {error}"),
            Self::DuplicateName => f.write_str("another process uses this node's name"),
            Self::Established(_) => f.write_str("link established"),
            Self::Forgotten(code) => write!(f, "no longer wanted: {code}"),
            Self::GenerationMoved => f.write_str("this node's generation moved"),
            Self::HeardOf => f.write_str("heard of the peer"),
            Self::LinkIdle(_) => f.write_str("the old link's work is done"),
            Self::LinkClosed(_, cause) => write!(f, "link {cause}"),
            Self::LinkSilent(_) => f.write_str("link silent"),
            Self::Misbehaved(_) => f.write_str("the peer did what its role forbids"),
            Self::PeerStale { got, known } => {
                write!(
                    f,
                    "refused the peer's generation {got}, as {known} is known: another process \
                     uses the peer's name, or its clock was set back"
                )
            }
            Self::Promoted(_) => f.write_str("link promoted"),
            Self::Replaced(_, reason) => write!(f, "link to be replaced: {reason}"),
            Self::Stale { known } => write!(f, "the peer knows this name's generation {known}"),
            Self::TimedOut => f.write_str("deadline passed"),
            Self::Wanted => f.write_str("configured"),
        }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(code) => write!(f, "closed by the peer: {code}"),
            Self::Local(code) => write!(f, "closed here: {code}"),
            Self::Lost => f.write_str("lost"),
            Self::PeerLost => f.write_str("lost: the peer no longer knows it"),
        }
    }
}

impl fmt::Display for ReplaceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untrusted => "the peer's certificate no longer passes",
            Self::GenerationMoved => "it carries this node's old generation",
            Self::Collapsed => "its congestion window has collapsed",
        })
    }
}

/// Why a request fails now, for whoever asked.
impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("nobody dials it, and it has not dialed"),
            Self::Dialing { .. } => f.write_str("being dialed"),
            Self::Up { .. } => f.write_str("up"),
            Self::Down { .. } => f.write_str("its link does not answer"),
            Self::Backoff { reason, .. } => write!(f, "backing off ({reason})"),
            Self::Halted { reason } => write!(f, "not dialed ({reason})"),
            Self::Gone { code } => write!(f, "gone ({code})"),
        }
    }
}
