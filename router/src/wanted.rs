//! Which links a node should have.

mod rendezvous;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

pub use self::rendezvous::{OWN_REGION, PER_REGION, wish};
use crate::graph::{NodeKey, RegionId};

/// Keeps the set of peers to which this node should have a link.
///
/// Most follow from who is in the mesh alone, see [`wish`], so that both ends wish for the same
/// links without talking about them. The rest are *on demand*: somebody here has traffic for that
/// node, and the direct path is worth having. Only this end knows of those.
///
/// A link is wished for at once, and given up [`LINGER`] after the last reason for it has gone, so
/// that a node which comes and goes, or a moment in which two nodes know different members, closes
/// no links.
///
/// Call a `handle_*` on every input, then drain [`WantedLinks::poll_output`], then arm
/// [`WantedLinks::poll_timeout`]. The wish is computed once for all inputs since the last
/// [`WantedLinks::handle_timeout`], which is due at once after a change of members.
#[derive(Debug, Clone)]
pub struct WantedLinks {
    own: NodeKey,
    members: BTreeMap<NodeKey, RegionId>,
    /// Until when each link is wanted; `None` while it is by membership.
    wanted: BTreeMap<NodeKey, Option<Instant>>,
    stale: Option<Instant>,
    refused: u64,
    outputs: VecDeque<Output>,
}

/// What is to be done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Have one to this peer.
    Want(NodeKey),
    /// There is no reason any more to have one to this peer.
    Unwant(NodeKey),
}

impl WantedLinks {
    /// Knows itself only.
    pub fn new(own: NodeKey, region: RegionId) -> Self {
        Self {
            own,
            members: BTreeMap::from([(own, region)]),
            wanted: BTreeMap::new(),
            stale: None,
            refused: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The peers to have links to, in order.
    pub fn peers(&self) -> impl Iterator<Item = NodeKey> {
        self.wanted.keys().copied()
    }

    /// How often a link on demand was refused because there were [`MAX_ON_DEMAND`].
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A node is in the mesh.
    pub fn handle_member(&mut self, now: Instant, node: NodeKey, region: RegionId) {
        if node != self.own && self.members.insert(node, region) != Some(region) {
            self.stale = Some(self.stale.map_or(now, |at| at.min(now)));
        }
    }

    /// A node is not in the mesh any more. What is wanted of it, is for [`LINGER`].
    pub fn handle_gone(&mut self, now: Instant, node: NodeKey) {
        if node != self.own && self.members.remove(&node).is_some() {
            self.stale = Some(self.stale.map_or(now, |at| at.min(now)));
        }
    }

    /// There is traffic for this peer. Returns whether a link to it is wanted now: not if
    /// [`MAX_ON_DEMAND`] are already, and not for nodes that are not in the mesh.
    ///
    /// Cheap, but not meant for each packet: once in a while is enough, as a link on demand stays
    /// for [`LINGER`].
    pub fn handle_demand(&mut self, now: Instant, peer: NodeKey) -> bool {
        if peer == self.own || !self.members.contains_key(&peer) {
            return false;
        }
        if let Some(until) = self.wanted.get_mut(&peer) {
            *until = until.map(|until| until.max(now + LINGER));
            return true;
        }
        let on_demand = self.wanted.values().flatten().count();
        if on_demand >= MAX_ON_DEMAND {
            self.refused += 1;
            return false;
        }
        self.wanted.insert(peer, Some(now + LINGER));
        self.outputs.push_back(Output::Want(peer));
        true
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.stale.take_if(|at| *at <= now).is_some() {
            self.compute(now);
        }
        let outputs = &mut self.outputs;
        self.wanted.retain(|peer, until| {
            let stays = until.is_none_or(|until| until > now);
            if !stays {
                outputs.push_back(Output::Unwant(*peer));
            }
            stays
        });
    }

    /// When to call [`WantedLinks::handle_timeout`], if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.wanted.values().flatten().copied();
        ends.chain(self.stale).min()
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn compute(&mut self, now: Instant) {
        let wish: BTreeSet<NodeKey> = wish(&self.members, self.own);
        for (peer, until) in &mut self.wanted {
            if wish.contains(peer) {
                *until = None;
            } else if until.is_none() {
                *until = Some(now + LINGER);
            }
        }
        for peer in wish {
            self.wanted.entry(peer).or_insert_with(|| {
                self.outputs.push_back(Output::Want(peer));
                None
            });
        }
    }
}

/// How long a link outlives its last reason. Longer than a restart, so that a rolling one moves no
/// links of others; and than what news takes to reach all.
pub const LINGER: Duration = Duration::from_secs(60);
/// Links beyond those by membership. Those that linger count too.
pub const MAX_ON_DEMAND: usize = 64;
