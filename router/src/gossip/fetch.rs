//! Who offers what, and who is asked for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::book::MAX_NODES;
use crate::{advert::Version, graph::NodeKey};

/// Offers that are not fetched yet. Each node's advert is asked of one offerer at a time.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// By node, then by offerer.
    offers: BTreeMap<NodeKey, BTreeMap<NodeKey, Version>>,
    /// Who is asked for a node's advert, for which, and until when.
    asked: BTreeMap<NodeKey, (NodeKey, Version, Instant)>,
    deadlines: BTreeSet<(Instant, NodeKey)>,
    offerers: BTreeMap<NodeKey, Offerer>,
    /// How many offers there are.
    standing: usize,
}

#[derive(Debug, Default)]
struct Offerer {
    /// Nodes that it offers and has not delivered.
    standing: BTreeSet<NodeKey>,
    outstanding: usize,
    /// Grows with what it did not deliver, halves with what it did.
    misses: u32,
}

impl Fetches {
    /// Takes an offer of something that is wanted. Returns whether there was room for it.
    pub(super) fn offer(&mut self, from: NodeKey, version: Version) -> bool {
        let offerer = self.offerers.entry(from).or_default();
        if !offerer.standing.contains(&version.node) {
            if offerer.standing.len() >= offerer.most_standing(self.standing) {
                return false;
            }
            offerer.standing.insert(version.node);
            self.standing += 1;
        }
        let offers = self.offers.entry(version.node).or_default();
        let offered = offers.entry(from).or_insert(version);
        *offered = version.max(*offered);
        true
    }

    /// Asks `peer` for what it offers of `node`, unless somebody is asked for that already, or it
    /// has enough to do. Returns what to ask for.
    pub(super) fn ask(&mut self, now: Instant, peer: NodeKey, node: NodeKey) -> Option<Version> {
        let version = *self.offers.get(&node)?.get(&peer)?;
        let offerer = self.offerers.get_mut(&peer)?;
        if self.asked.contains_key(&node) || offerer.outstanding >= offerer.most_outstanding() {
            return None;
        }
        offerer.outstanding += 1;
        let deadline = now + DEADLINE;
        self.asked.insert(node, (peer, version, deadline));
        self.deadlines.insert((deadline, node));
        Some(version)
    }

    /// Something came from `from`; returns what it was asked for, if it was.
    pub(super) fn delivered(&mut self, from: NodeKey, version: Version) -> Option<Version> {
        if !self.is_asked(from, version.node) {
            return None;
        }
        let (_, asked, _) = self.unask(version.node)?;
        self.withdraw(from, version.node);
        Some(asked)
    }

    pub(super) fn is_asked(&self, from: NodeKey, node: NodeKey) -> bool {
        self.asked.get(&node).is_some_and(|asked| asked.0 == from)
    }

    /// Offers of `node` that are not above `known` are of no use.
    pub(super) fn known(&mut self, node: NodeKey, known: Option<Version>) {
        let of_no_use = |(_, version): &(&NodeKey, &Version)| Some(**version) <= known;
        let offers = self.offers.get(&node).into_iter().flatten();
        let peers: Vec<_> = offers.filter(of_no_use).map(|(peer, _)| *peer).collect();
        for peer in peers {
            // What is asked for is on its way, and its offerer is still held to it.
            if !self.is_asked(peer, node) {
                self.withdraw(peer, node);
            }
        }
    }

    /// Those who offered what is `known` of `node`, or something newer.
    pub(super) fn holders(&self, node: NodeKey, known: Option<Version>) -> BTreeSet<NodeKey> {
        let offers = self.offers.get(&node).into_iter().flatten();
        let holders = offers.filter(|(_, version)| Some(**version) >= known);
        holders.map(|(peer, _)| *peer).collect()
    }

    /// What was asked for and did not come. Those offers are gone.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(NodeKey, NodeKey)> {
        let mut overdue = Vec::new();
        while let Some((_, node)) = self
            .deadlines
            .first()
            .filter(|first| first.0 <= now)
            .copied()
        {
            let Some((peer, _, _)) = self.unask(node) else {
                break;
            };
            self.withdraw(peer, node);
            overdue.push((peer, node));
        }
        overdue
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Those who offer `node`, the newest first.
    pub(super) fn offerers(&self, node: NodeKey) -> Vec<NodeKey> {
        let offers = self.offers.get(&node).into_iter().flatten();
        let mut offers: Vec<_> = offers.map(|(peer, version)| (*version, *peer)).collect();
        offers.sort_unstable_by(|a, b| b.cmp(a));
        offers.into_iter().map(|(_, peer)| peer).collect()
    }

    /// As many nodes of those that `peer` offers as it has room to be asked for.
    pub(super) fn unasked(&self, peer: NodeKey) -> Vec<NodeKey> {
        let Some(offerer) = self.offerers.get(&peer) else {
            return Vec::new();
        };
        let room = offerer
            .most_outstanding()
            .saturating_sub(offerer.outstanding);
        let nodes = offerer.standing.iter().copied();
        let unasked = nodes.filter(|node| !self.asked.contains_key(node));
        unasked.take(room).collect()
    }

    pub(super) fn has_standing(&self, peer: NodeKey) -> bool {
        let offerer = self.offerers.get(&peer);
        offerer.is_some_and(|offerer| !offerer.standing.is_empty())
    }

    /// It delivered.
    pub(super) fn trust(&mut self, peer: NodeKey) {
        if let Some(offerer) = self.offerers.get_mut(&peer) {
            offerer.misses /= 2;
        }
    }

    /// It did not deliver. If that is too often, all else that it offers is dropped.
    pub(super) fn mistrust(&mut self, peer: NodeKey) {
        let Some(offerer) = self.offerers.get_mut(&peer) else {
            return;
        };
        offerer.misses = offerer.misses.saturating_add(1);
        if offerer.misses == MISTRUSTED_AFTER {
            let standing: Vec<_> = offerer.standing.iter().copied().collect();
            for node in standing {
                if !self.is_asked(peer, node) {
                    self.withdraw(peer, node);
                }
            }
        }
    }

    /// A link ended. Returns the nodes that it was asked for.
    pub(super) fn drop_offerer(&mut self, peer: NodeKey) -> Vec<NodeKey> {
        let Some(offerer) = self.offerers.get(&peer) else {
            return Vec::new();
        };
        let standing: Vec<_> = offerer.standing.iter().copied().collect();
        let was_asked = |node: &NodeKey| self.is_asked(peer, *node);
        let asked: Vec<_> = standing.iter().copied().filter(was_asked).collect();
        for node in &asked {
            self.unask(*node);
        }
        for node in standing {
            self.withdraw(peer, node);
        }
        self.offerers.remove(&peer);
        asked
    }

    fn unask(&mut self, node: NodeKey) -> Option<(NodeKey, Version, Instant)> {
        let asked = self.asked.remove(&node)?;
        self.deadlines.remove(&(asked.2, node));
        if let Some(offerer) = self.offerers.get_mut(&asked.0) {
            offerer.outstanding = offerer.outstanding.saturating_sub(1);
        }
        Some(asked)
    }

    fn withdraw(&mut self, peer: NodeKey, node: NodeKey) {
        if let Some(offers) = self.offers.get_mut(&node) {
            offers.remove(&peer);
            if offers.is_empty() {
                self.offers.remove(&node);
            }
        }
        if let Some(offerer) = self.offerers.get_mut(&peer)
            && offerer.standing.remove(&node)
        {
            self.standing -= 1;
        }
    }

    /// How much is held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let sum = self.offers.values().map(BTreeMap::len).sum();
        assert_eq!(self.standing, sum);
        sum
    }
}

impl Offerer {
    fn is_mistrusted(&self) -> bool {
        self.misses >= MISTRUSTED_AFTER
    }

    /// - `all`: how many offers of all neighbours there are.
    fn most_standing(&self, all: usize) -> usize {
        match self.is_mistrusted() {
            true => 1,
            false if all >= SHARED_STANDING => SURE_STANDING,
            false => MAX_STANDING,
        }
    }

    fn most_outstanding(&self) -> usize {
        match self.is_mistrusted() {
            true => 1,
            false => MAX_OUTSTANDING,
        }
    }
}

/// When an offerer that was asked has failed to deliver. The longest round trip is 0.4 s, and a
/// saturated link still moves its control stream.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// How much a neighbour is asked for at once: a thousand adverts over 200 ms in some 3 s, and 64
/// adverts are less than a tenth of a stream's window.
pub const MAX_OUTSTANDING: usize = 64;
/// How much a neighbour may have offered that it was not asked for yet: all that an honest one can,
/// as it offers each node once.
pub const MAX_STANDING: usize = MAX_NODES;
/// How many offers there may be of all neighbours before each is kept to [`SURE_STANDING`]. Honest
/// ones are far from it, as what one delivers settles the offers of all.
pub const SHARED_STANDING: usize = 262_144;
/// How much each neighbour may have offered whatever the others do. The digest brings the rest.
pub const SURE_STANDING: usize = 128;
/// After how many failures to deliver what it offered a neighbour is mistrusted: not after those of
/// one short outage of the way, which take the link down with them.
pub const MISTRUSTED_AFTER: u32 = 128;
