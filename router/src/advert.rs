//! What a node says of itself and its links.

mod publisher;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use self::{
    publisher::{OUTLIERS_REFRESH, Publisher, PublisherConfig},
    raw::{
        Adjustments, AdvertError, MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_GENERATION,
        MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LINKS, MAX_OUTCOMES,
        MAX_PACKET_BYTES, MAX_PORTS, MAX_RELEASE_BYTES, MAX_VIEWS, RawAdvert, RawLink, RawView,
    },
};
use crate::{
    cost::Load,
    graph::{Link, Node, NodeKey, RegionId, Service},
    window::Loss,
};

/// One node's statement about itself, whole: what it says replaces all that it said before.
///
/// Made from a [`RawAdvert`] by [`Advert::try_new`], so every list is bounded and every figure is
/// one that a network can have.
///
/// # What a liar can do
///
/// A node speaks for itself only. It can make its own links look better or worse, which draws
/// traffic to it or keeps it away; a link is as healthy as the worse of its two reports, so it
/// cannot revive one that its peer saw fail, and what it draws and does not deliver is found by its
/// results (see [`outlier`](crate::outlier)). It can report links to nodes that do not exist, which
/// count for nothing, and at most [`MAX_LINKS`] of them. What it says of others is one vote among at
/// least three, on at most [`MAX_VIEWS`] of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    version: Version,
    content: Content,
}

/// Which statement of which node. Of two about the same node, the greater replaces the lesser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Who speaks, and about whom.
    pub node: NodeKey,
    /// Grows at each start of the node.
    pub generation: u64,
    /// Grows with each statement within a generation.
    pub sequence: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Where it is.
    pub region: RegionId,
    /// What it does, or that it is gone.
    pub state: State,
    /// How much of what it can do it does.
    pub load: Load,
    /// Where it can be dialed, in the order to try. Means nothing in here.
    pub addresses: Vec<String>,
    /// The ports of its workers. Mean nothing in here.
    pub ports: Vec<u16>,
    /// What it runs.
    pub release: String,
    /// What operators wrote on it.
    pub labels: BTreeMap<String, String>,
    /// What it thinks of its links, by the other end.
    pub links: BTreeMap<NodeKey, Link>,
    /// What it saw of its own requests lately, by whom it asked: of nodes that it asked often enough
    /// to compare them with others of their region.
    pub views: BTreeMap<NodeKey, Loss>,
}

/// Whether a node is there, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is in the mesh.
    Present(Service),
    /// The last thing that it says: it ends, and is to be forgotten.
    Left,
}

impl Advert {
    /// Which statement of which node.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Who speaks.
    pub fn node(&self) -> NodeKey {
        self.version.node
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// How the node enters the [`Graph`](crate::graph::Graph); `None` if it left.
    ///
    /// - `ejected`, `weight`: not for the node itself to say.
    pub fn to_node(&self, ejected: bool, weight: u32) -> Option<Node> {
        match self.content.state {
            State::Left => None,
            State::Present(service) => Some(Node {
                region: self.content.region,
                service,
                ejected,
                load: self.content.load,
                weight,
            }),
        }
    }
}
