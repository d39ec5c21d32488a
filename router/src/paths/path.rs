//! A path and its figures.

use std::fmt;

use crate::{
    cost::{Cost, CostParts, Margin},
    graph::NodeKey,
};

/// A way to a destination over one to three links, with its figures when it was computed.
///
/// It visits no node twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub(super) hops: [NodeKey; MAX_LINKS],
    pub(super) links: u8,
    pub(super) limit_bytes: u16,
    pub(super) tier: Tier,
    pub(super) parts: CostParts,
}

/// How far a path is a last resort. A lower tier beats any cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tier {
    /// Draining nodes between its links. Worse than anything else.
    pub draining: u8,
    /// Its links that are suspect.
    pub suspect: u8,
}

/// Links of a path at most.
pub const MAX_LINKS: usize = 3;

impl Path {
    /// The far ends of its links in order; the last is the destination.
    pub fn hops(&self) -> &[NodeKey] {
        &self.hops[..usize::from(self.links)]
    }

    /// The nodes between its links.
    pub fn transit(&self) -> &[NodeKey] {
        &self.hops[..usize::from(self.links) - 1]
    }

    /// Where it leads.
    pub fn destination(&self) -> NodeKey {
        self.hops[usize::from(self.links) - 1]
    }

    /// Whether it is the link to the destination and nothing else.
    pub fn is_direct(&self) -> bool {
        self.links == 1
    }

    /// Whether both lead over the same links, whatever their figures.
    pub fn is_same_way(&self, other: &Self) -> bool {
        self.hops() == other.hops()
    }

    /// What it costs.
    pub fn cost(&self) -> Cost {
        self.parts.total()
    }

    /// What the cost is made of.
    pub fn parts(&self) -> CostParts {
        self.parts
    }

    /// How far it is a last resort.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The largest packet that fits through all its links.
    pub fn limit_bytes(&self) -> u16 {
        self.limit_bytes
    }

    /// Whether this path is to be preferred: it is of a better tier, or of the same and cheaper by
    /// the margin.
    pub fn beats(&self, incumbent: &Self, margin: Margin) -> bool {
        self.tier < incumbent.tier
            || self.tier == incumbent.tier && margin.is_better(self.cost(), incumbent.cost())
    }

    /// The one to take of the direct path and the best overlay path: direct, unless the other beats
    /// it.
    pub fn preferred(direct: Option<Self>, overlay: Option<Self>, margin: Margin) -> Option<Self> {
        match (direct, overlay) {
            (Some(direct), Some(overlay)) if overlay.beats(&direct, margin) => Some(overlay),
            (direct, overlay) => direct.or(overlay),
        }
    }
}

impl fmt::Display for Path {
    /// Its hops in hexadecimal and its cost.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in self.hops() {
            write!(f, "{:016x} ", hop.0)?;
        }
        write!(f, "{}", self.cost())
    }
}
