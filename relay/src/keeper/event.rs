//! What goes into a keeper and what comes out.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use router::liveness::Health;
use thiserror::Error;

use crate::{
    code::CloseCode,
    id::{LinkGeneration, NodeGeneration, NodeKey},
};

/// Which of a pair's two nodes decides between their links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The node with the smaller key: promotes links.
    Arbiter,
    /// The other one: takes the links that are promoted.
    Follower,
}

impl Role {
    /// The role of `own` towards `peer`. Equal keys are a collision and never get this far.
    pub fn of(own: NodeKey, peer: NodeKey) -> Self {
        if own < peer {
            Self::Arbiter
        } else {
            Self::Follower
        }
    }
}

/// What a keeper is built from.
#[derive(Debug, Clone, Copy)]
pub struct KeeperConfig {
    /// This node's role towards the peer.
    pub role: Role,
    /// Seeds the jitter of the backoff; another one for every peer.
    pub seed: u64,
    /// Promotions count up from here. Must lie above those of an earlier keeper for the same peer in
    /// this process, or the peer takes them for old ones: milliseconds since the process started do.
    pub epoch_floor: u64,
    /// The longest pause between two dials.
    pub backoff_max: Duration,
    /// How long a link must be current before the failures before it are forgotten.
    pub backoff_reset: Duration,
}

/// Tells a keeper's dials apart; counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Which permits a dial draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialPool {
    /// For peers that are believed to answer.
    Fresh,
    /// For peers whose last dial failed or whose last link fell silent, so that black holes queue
    /// among themselves.
    Retry,
}

/// A link over which both Hellos went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkFacts {
    /// The link's generation, by which it is known from here on. Must differ from that of every
    /// link that the keeper holds: see [`Keeper::holds`](super::Keeper::holds).
    pub link: LinkGeneration,
    /// When the dial was started, or the first packet from the dialer came in. The peer's Hello was
    /// sent after that.
    pub began: Instant,
    /// The peer's node generation, as in its Hello.
    pub peer_generation: NodeGeneration,
    /// `current_link` of the peer's Hello.
    pub peer_holds: Option<LinkGeneration>,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}: {text}")]
pub struct DialError {
    /// The kind, for counters.
    pub kind: DialErrorKind,
    /// What exactly, for people.
    pub text: Arc<str>,
}

/// Kinds of [`DialError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialErrorKind {
    /// The deadline passed before the peer's Hello.
    Deadline,
    /// TLS failed, on either side.
    Handshake,
    /// Hello was absent, malformed or did not fit.
    Hello,
    /// This node could not dial: no socket, no address.
    Local,
    /// The peer closed with this code.
    Refused(CloseCode),
    /// The name was not found.
    Resolve,
    /// No address answered.
    Unreachable,
}

impl fmt::Display for DialErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("deadline passed"),
            Self::Handshake => f.write_str("handshake failed"),
            Self::Hello => f.write_str("hello failed"),
            Self::Local => f.write_str("cannot dial"),
            Self::Refused(code) => write!(f, "refused ({code})"),
            Self::Resolve => f.write_str("name not found"),
            Self::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// How a link ended, when it was not the keeper that closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// The peer closed it.
    Peer(CloseCode),
    /// Something else on this node closed it.
    Local(CloseCode),
    /// The transport gave it up.
    Lost,
    /// The peer answered that it knows no such link, as after its restart.
    PeerLost,
}

/// Why a link that works is to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplaceReason {
    /// The peer's certificate no longer passes. The link is closed within
    /// [`REPLACE_DEADLINE`] even if no other comes up.
    Untrusted,
    /// This node's generation moved; the link carries the old one.
    GenerationMoved,
    /// Its congestion window is too small for the traffic that is about to come back.
    Collapsed,
}

/// What a reader needs to know to use a peer, wait for it, or fail at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerStatus {
    /// Nobody wants the peer and it has no link. Fail.
    Idle,
    /// Being dialed, or a link of it is about to be promoted. Wait, up to one's own deadline.
    Dialing {
        /// Since when.
        since: Instant,
    },
    /// Usable.
    Up {
        /// The current link.
        link: LinkGeneration,
        /// How it does; never [`Health::Down`].
        health: Health,
    },
    /// There is a link, but its peer does not answer on it. Another is dialed. Fail.
    Down {
        /// The current link.
        link: LinkGeneration,
        /// Since when it is Down.
        since: Instant,
    },
    /// The next dial is some time away. Fail.
    Backoff {
        /// When it is.
        until: Instant,
        /// Why there is no link.
        reason: Reason,
    },
    /// There is no link, and none will be dialed until the node is told otherwise. Fail.
    Halted {
        /// Why.
        reason: Reason,
    },
    /// The peer was removed or this node ends. Fail.
    Gone {
        /// The code with which its links are closed.
        code: CloseCode,
    },
}

/// Why a keeper did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The backoff is over.
    BackoffOver,
    /// The current link is Down.
    CurrentDown,
    /// The dial failed.
    DialFailed(DialError),
    /// Two processes use this node's name.
    DuplicateName,
    /// A link came up.
    Established(LinkGeneration),
    /// The peer was removed, or this node ends.
    Forgotten(CloseCode),
    /// This node's generation moved.
    GenerationMoved,
    /// The peer was heard of.
    HeardOf,
    /// A link's work was done.
    LinkIdle(LinkGeneration),
    /// A link ended.
    LinkClosed(LinkGeneration, CloseCause),
    /// A link was silent for too long.
    LinkSilent(LinkGeneration),
    /// The peer sent, on this link, what its role forbids.
    Misbehaved(LinkGeneration),
    /// The peer's Hello was of an older process of its name than is known.
    PeerStale {
        /// The Hello's.
        got: NodeGeneration,
        /// The highest seen.
        known: NodeGeneration,
    },
    /// A link was promoted.
    Promoted(LinkGeneration),
    /// A link's certificate no longer passes.
    Replaced(LinkGeneration, ReplaceReason),
    /// The peer knows a newer process of this node's name.
    Stale {
        /// The generation it knows.
        known: NodeGeneration,
    },
    /// A deadline passed.
    TimedOut,
    /// The peer is wanted.
    Wanted,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Dial the peer. Ends with one of `handle_dialed`, `handle_dial_failed` and `handle_stale`.
    /// The shell holds the deadline, armed before the first byte; waiting for a permit is not part
    /// of it. Nothing else is dialed until then.
    Dial {
        /// Given back with the result.
        dial: DialId,
        /// Where the permit comes from.
        pool: DialPool,
        /// Why.
        reason: Reason,
    },
    /// Abort this dial; its result no longer counts.
    CancelDial {
        /// Which.
        dial: DialId,
    },
    /// Send `Promote` on this link.
    SendPromote {
        /// Which.
        link: LinkGeneration,
        /// The promotion's number.
        epoch: u64,
    },
    /// Send `Promoted` on this link.
    SendPromoted {
        /// Which.
        link: LinkGeneration,
        /// The number of the promotion that this answers.
        epoch: u64,
    },
    /// Put no new work on this link, move what can be moved, and report `handle_link_idle` once
    /// nothing is in flight. A later promotion or status with this link takes it back.
    Retire {
        /// Which.
        link: LinkGeneration,
        /// When it is closed at the latest.
        until: Instant,
    },
    /// Close this link and forget it. There is never another output for it.
    Close {
        /// Which.
        link: LinkGeneration,
        /// The code to close with.
        code: CloseCode,
        /// For [`CloseCode::Stale`]: the highest generation seen, which the peer must exceed.
        known: Option<NodeGeneration>,
    },
    /// Publish this to readers; it differs from the last.
    Publish(PeerStatus),
    /// The peer knows this generation of our name: the node must persist and exceed it, and then
    /// tell every keeper with `handle_generation_moved`, or with `handle_duplicate_name` if it
    /// happens again.
    StaleReported {
        /// The generation that the peer knows.
        known: NodeGeneration,
    },
}

/// How long a replaced link of an untrusted peer lives at most.
pub const REPLACE_DEADLINE: Duration = Duration::from_secs(30);
