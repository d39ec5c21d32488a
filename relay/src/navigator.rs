//! The task around the router: tells it what was measured and said, and publishes what it decides.

use std::{sync::Arc, time::Duration};

use router::health::Condition;

use crate::{
    id::{NodeId, NodeKey},
    link::Link,
    wire::Frame,
};

/// What the router is told.
#[derive(Debug)]
pub(crate) enum NavigatorEvent {
    /// Something about a pair changed: its current link, what is thought of it, or its figures.
    Pair(Box<PairReport>),
    /// A neighbour says something of the mesh: one of the advert frames.
    Gossip {
        /// Who says it.
        from: NodeKey,
        /// What it says.
        frame: Frame,
    },
    /// There is traffic for this node: a direct link to it is worth having.
    Demand(NodeKey),
    /// A node on the way cannot go on to the next.
    Unreachable {
        /// The node that cannot go on.
        at: NodeKey,
        /// Whom it cannot reach.
        next: NodeKey,
    },
}

/// What a keeper's task knows of its peer.
#[derive(Debug)]
pub(crate) struct PairReport {
    /// The peer.
    pub(crate) peer: NodeId,
    /// The current link, usable or not.
    pub(crate) link: Option<Arc<Link>>,
    /// What is thought of the pair over all its links.
    pub(crate) condition: Condition,
    /// The smoothed round trip, once there was a reply.
    pub(crate) rtt: Option<Duration>,
    /// Share of what was sent lately that was lost on the way out, in parts per million.
    pub(crate) loss_ppm: u32,
}
