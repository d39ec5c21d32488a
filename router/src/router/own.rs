//! This node's own links: what it sees of them, and what it tells of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    advert::MAX_LINKS,
    cost::Measure,
    graph::{Link, LinkHealth, NodeKey},
    health::Condition,
    isolation::{IsolationGuard, Output},
};

/// What is known of the pair that this node and a peer make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Whether there is a link, answering or not.
    pub linked: bool,
    /// What is thought of it.
    pub condition: Condition,
    /// Its figures; `None` until they are measured.
    pub measure: Option<Measure>,
    /// The largest packet that fits.
    pub limit_bytes: u16,
}

/// The links of this node.
///
/// What it sees decides about its own packets at once. What it tells of a link that has fallen
/// silent waits for the [`IsolationGuard`]: many at once are its own fault first.
#[derive(Debug, Default)]
pub(super) struct OwnLinks {
    links: BTreeMap<NodeKey, Own>,
    /// Peers without any link, since when: few, beside those that are linked.
    unlinked: BTreeMap<NodeKey, Instant>,
    guard: IsolationGuard<NodeKey>,
}

#[derive(Debug)]
struct Own {
    pair: Pair,
    seen: Link,
    told: LinkHealth,
}

impl OwnLinks {
    /// Takes in what a pair is now. Returns how its link is seen; nothing if it never had one.
    pub(super) fn handle_pair(&mut self, now: Instant, peer: NodeKey, pair: Pair) -> Option<Link> {
        if !pair.linked && !self.links.contains_key(&peer) {
            return None;
        }
        let seen = Link {
            measure: pair.measure,
            health: health(pair.condition),
            limit_bytes: pair.limit_bytes,
        };
        let own = self.links.entry(peer).or_insert(Own {
            pair,
            seen,
            told: seen.health,
        });
        // A link that is gone has no figures of its own; those of the last one stay.
        own.pair = pair;
        own.seen = Link {
            measure: pair.measure.or(own.seen.measure),
            ..seen
        };
        match pair.linked {
            true => drop(self.unlinked.remove(&peer)),
            false => drop(self.unlinked.entry(peer).or_insert(now)),
        }
        match pair.condition {
            Condition::Up | Condition::Suspect | Condition::Degraded => {
                own.told = seen.health;
                self.guard.handle_alive(now, peer);
            }
            // Nothing comes back, which may be our fault; nothing is certain yet.
            Condition::Confirmed => own.told = own.told.max(seen.health),
            Condition::Down if pair.linked => self.guard.handle_lost(now, peer),
            // Somebody has closed it, or it was known to be silent before.
            Condition::Down if !self.guard.holds(peer) => {
                own.told = LinkHealth::Down;
                self.guard.handle_forgotten(peer);
            }
            Condition::Down => {}
        }
        Some(self.links[&peer].seen)
    }

    /// A peer left the mesh. Returns what the pair is if it is linked still.
    pub(super) fn handle_gone(&mut self, peer: NodeKey) -> Option<Pair> {
        self.guard.handle_forgotten(peer);
        self.unlinked.remove(&peer);
        let own = self.links.remove(&peer);
        own.map(|own| own.pair).filter(|pair| pair.linked)
    }

    /// Time passed. Returns the peers whose links are over for so long that they are nothing to
    /// tell any more.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<NodeKey> {
        self.guard.handle_timeout(now);
        let unlinked = self.unlinked.iter();
        let over = unlinked.filter(|(_, since)| **since + FORGET_AFTER <= now);
        let over: Vec<_> = over.map(|(peer, _)| *peer).collect();
        for peer in &over {
            self.handle_gone(*peer);
        }
        over
    }

    /// When to call [`OwnLinks::handle_timeout`], if ever.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let forget = self.unlinked.values().min();
        let forget = forget.map(|since| *since + FORGET_AFTER);
        [self.guard.poll_timeout(), forget]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in what the guard lets out; what it says of oneself, until there is nothing.
    pub(super) fn poll_output(&mut self) -> Option<Doubt> {
        while let Some(output) = self.guard.poll_output() {
            match output {
                Output::TellLost(peer) => {
                    if let Some(own) = self.links.get_mut(&peer) {
                        own.told = LinkHealth::Down;
                    }
                }
                // It is told as it is seen, which the caller of `handle_pair` has taken in.
                Output::TellAlive(_) => {}
                Output::Doubting => return Some(Doubt::Begun),
                Output::Resolved(_) => return Some(Doubt::Over),
            }
        }
        None
    }

    /// Whether this node suspects itself.
    pub(super) fn is_doubting(&self) -> bool {
        self.guard.is_doubting()
    }

    /// How often it did.
    pub(super) fn doubts(&self) -> u64 {
        self.guard.doubts()
    }

    /// What others may be told.
    pub(super) fn told(&self) -> BTreeMap<NodeKey, Link> {
        let told = self.links.iter().take(MAX_LINKS);
        told.map(|(peer, own)| (*peer, own.tellable())).collect()
    }

    /// What others may be told of the link to this peer.
    pub(super) fn told_of(&self, peer: NodeKey) -> Option<Link> {
        self.links.get(&peer).map(Own::tellable)
    }
}

impl Own {
    fn tellable(&self) -> Link {
        Link {
            health: self.told,
            ..self.seen
        }
    }
}

/// What a node makes of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Begun,
    Over,
}

/// What a condition means to whoever plans a path.
fn health(condition: Condition) -> LinkHealth {
    match condition {
        Condition::Up | Condition::Suspect => LinkHealth::Usable,
        Condition::Degraded | Condition::Confirmed => LinkHealth::Suspect,
        Condition::Down => LinkHealth::Down,
    }
}

/// How long a link that is closed is told as Down: longer than any backoff, so that one that comes
/// back was never missing.
const FORGET_AFTER: Duration = Duration::from_secs(60);
