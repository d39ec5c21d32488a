//! What neighbours say to each other, and what the caller is told.

use std::time::Duration;

use super::{BUCKETS, Digest};
use crate::{
    advert::{Advert, Version},
    graph::NodeKey,
    verified::Verified,
};

/// What neighbours say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A newest advert. Unsigned is how long ago its node said it.
    Advert {
        /// The advert.
        advert: Verified<Advert>,
        /// Time since its node said it, without the time on the way.
        age: Duration,
    },
    /// All that the sender holds, in short.
    Digest(Box<Digest>),
    /// What the sender holds, and the receiver may not.
    Offer(Vec<Version>),
    /// What the sender wants.
    Request(Vec<Version>),
}

/// What the caller is to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// There is news of this node, which is in the mesh: see [`Gossip::advert`](super::Gossip::advert).
    Changed(NodeKey),
    /// Two processes seem to speak in the name of this node, in turn and from different addresses.
    Contested(NodeKey),
    /// This node is not in the mesh any more.
    Gone(NodeKey, Farewell),
    /// Something speaks in our own name with this version, above ours: our former self, when clock
    /// or state were lost, or another process.
    Outbid(Version),
    /// Say this to that neighbour.
    Send(NodeKey, Message),
    /// All that this neighbour held when the link began is here: see
    /// [`WarmUp`](crate::warmup::WarmUp).
    Synced(NodeKey),
}

/// How a node went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing was heard of it for [`EXPIRY`](super::EXPIRY).
    Expired,
    /// It said so.
    Left,
}

/// Whether a node of which nothing is heard is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It is.
    IsNews,
    /// It may be us who do not hear: warming up, or in doubt.
    IsNoNews,
}

/// What happened that should be rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Offers of a generation that no clock has.
    pub absurd: u64,
    /// Adverts that came when they had expired.
    pub aged: u64,
    /// Offers of nodes beyond [`MAX_NODES`](super::MAX_NODES).
    pub full: u64,
    /// Messages dropped because their neighbour says too much.
    pub limited: u64,
    /// Requests that were not answered in time, or with something older.
    pub missed: u64,
    /// Offers dropped because their neighbour had offered too much, or was mistrusted.
    pub overflowed: u64,
    /// Offers and adverts of an older generation than is known.
    pub stale_generation: u64,
    /// Offers and adverts of an older sequence than is known, and of ones that were forgotten.
    pub replayed: u64,
    /// Adverts that were not asked for, or that came too late.
    pub unasked: u64,
    /// Neighbours beyond [`MAX_NEIGHBOURS`](super::MAX_NEIGHBOURS), and messages from such.
    pub strangers: u64,
}

impl Message {
    /// What it costs to be told.
    pub(super) fn items(&self) -> u32 {
        match self {
            Self::Advert { .. } => 1,
            Self::Digest(_) => BUCKETS as u32,
            Self::Offer(versions) | Self::Request(versions) => {
                u32::try_from(versions.len()).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}
