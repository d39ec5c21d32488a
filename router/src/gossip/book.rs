//! The newest advert of every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::digest::{Digest, bucket};
use crate::{
    advert::{Advert, Content, State, Version},
    graph::NodeKey,
    random::SplitMix64,
    verified::Verified,
};

#[derive(Debug)]
pub(super) struct Book {
    entries: BTreeMap<NodeKey, Entry>,
    /// Who was forgotten, what it said last, and until when that is remembered.
    graves: BTreeMap<NodeKey, (Verified<Advert>, Instant)>,
    digest: Digest,
}

#[derive(Debug)]
struct Entry {
    advert: Verified<Advert>,
    /// When it was said, plus [`EXPIRY`].
    expires_at: Instant,
    /// Where the generation before this one spoke from, and when it ended.
    before: Option<(u64, Instant)>,
    contested_at: Option<Instant>,
}

impl Book {
    /// The version that is held of a node, in the mesh or not.
    pub(super) fn known(&self, node: NodeKey) -> Option<Version> {
        let entry = self.entries.get(&node)?;
        Some(entry.advert.value().version())
    }

    pub(super) fn present(&self, node: NodeKey) -> Option<&Verified<Advert>> {
        self.entries.get(&node).and_then(Entry::present)
    }

    pub(super) fn all_present(&self) -> impl Iterator<Item = &Verified<Advert>> {
        self.entries.values().filter_map(Entry::present)
    }

    pub(super) fn lost(&self) -> impl Iterator<Item = &Verified<Advert>> {
        let adverts = self.graves.values().map(|(advert, _)| advert);
        adverts.filter(|advert| advert.value().content().state != State::Left)
    }

    pub(super) fn contested(&self, now: Instant) -> impl Iterator<Item = NodeKey> {
        let is_recent = move |at: Instant| now.saturating_duration_since(at) < CONTESTED_FOR;
        let entries = self.entries.iter();
        let contested = entries.filter(move |(_, entry)| entry.contested_at.is_some_and(is_recent));
        contested.map(|(node, _)| *node)
    }

    /// Whether a version was forgotten, or is older than one that was.
    pub(super) fn is_buried(&self, version: Version) -> bool {
        let grave = self.graves.get(&version.node);
        grave.is_some_and(|(advert, _)| version <= advert.value().version())
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_NODES
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest.clone()
    }

    /// The nodes of some groups, which have a bit each.
    pub(super) fn in_buckets(&self, mask: u64) -> impl Iterator<Item = NodeKey> {
        let nodes = self.entries.keys().copied();
        nodes.filter(move |node| mask >> bucket(*node) & 1 == 1)
    }

    /// The versions that are held of these nodes.
    pub(super) fn versions(&self, nodes: &BTreeSet<NodeKey>) -> Vec<Version> {
        nodes.iter().filter_map(|node| self.known(*node)).collect()
    }

    /// What is held of a node, and how old it is.
    pub(super) fn to_send(
        &self,
        now: Instant,
        node: NodeKey,
    ) -> Option<(Verified<Advert>, Duration)> {
        let entry = self.entries.get(&node)?;
        let left = entry.expires_at.saturating_duration_since(now);
        let over = now.saturating_duration_since(entry.expires_at);
        Some((entry.advert.clone(), (EXPIRY + over).saturating_sub(left)))
    }

    /// Holds an advert that is newer than what is held. Returns whether two processes seem to speak
    /// in its node's name: a newer generation speaks from where the one before the last one did, and
    /// that one spoke from elsewhere.
    pub(super) fn put(&mut self, now: Instant, advert: Verified<Advert>, age: Duration) -> bool {
        let node = advert.value().node();
        let version = advert.value().version();
        self.graves.remove(&node);
        let old = self.remove(node);
        self.digest.toggle(version);
        let mut entry = Entry {
            expires_at: now + EXPIRY.saturating_sub(age),
            before: None,
            contested_at: None,
            advert,
        };
        let mut is_contested = false;
        if let Some(old) = old {
            (entry.before, entry.contested_at) = (old.before, old.contested_at);
            // It was said after the old one. Whoever makes it older than that is not believed.
            entry.expires_at = entry.expires_at.max(old.expires_at);
            if old.advert.value().version().generation < version.generation {
                let (was, is) = (old.place(), entry.place());
                let recent = |at: Instant| now.saturating_duration_since(at) < CONTESTED_FOR;
                is_contested = was != is
                    && old
                        .before
                        .is_some_and(|(place, at)| place == is && recent(at));
                entry.before = Some((was, now));
            }
        }
        if is_contested {
            entry.contested_at = Some(now);
        }
        self.entries.insert(node, entry);
        is_contested
    }

    /// Forgets what has expired, but ourselves. Returns who was in the mesh until now.
    pub(super) fn expire(&mut self, now: Instant, own: NodeKey) -> Vec<NodeKey> {
        self.graves.retain(|_, (_, until)| *until > now);
        let expired = |(node, entry): (&NodeKey, &Entry)| {
            (*node != own && entry.expires_at <= now).then_some(*node)
        };
        let expired: Vec<_> = self.entries.iter().filter_map(expired).collect();
        let mut gone = Vec::new();
        for node in expired {
            if let Some(entry) = self.remove(node) {
                if entry.present().is_some() {
                    gone.push(node);
                }
                self.bury(now, node, entry.advert);
            }
        }
        gone
    }

    fn bury(&mut self, now: Instant, node: NodeKey, advert: Verified<Advert>) {
        if self.graves.len() >= MAX_GRAVES {
            let oldest = self.graves.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.graves.remove(&oldest);
            }
        }
        self.graves.insert(node, (advert, now + GRAVES_FOR));
    }

    fn remove(&mut self, node: NodeKey) -> Option<Entry> {
        let entry = self.entries.remove(&node)?;
        self.digest.toggle(entry.advert.value().version());
        Some(entry)
    }

    /// How many nodes are held, and how many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.graves.len())
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            graves: BTreeMap::new(),
            digest: Digest::new(),
        }
    }
}

impl Entry {
    fn present(&self) -> Option<&Verified<Advert>> {
        match self.advert.value().content().state {
            State::Present(_) => Some(&self.advert),
            State::Left => None,
        }
    }

    /// Where it can be dialed, in short: what two processes cannot share.
    fn place(&self) -> u64 {
        let Content {
            addresses, ports, ..
        } = self.advert.value().content();
        let bytes = addresses
            .iter()
            .flat_map(|address| address.bytes().chain([0]));
        let parts = bytes
            .map(u64::from)
            .chain(ports.iter().map(|port| u64::from(*port)));
        parts.fold(0, |hash, part| SplitMix64(hash ^ part).next())
    }
}

/// How long a node that nothing is heard of stays in the mesh: two refreshes may get lost, and the
/// third be late. Routes do not wait for it, as its peers say at once that their links are lost.
pub const EXPIRY: Duration = Duration::from_secs(300);
/// How long a node that was forgotten is remembered, to be dialed now and then.
pub const GRAVES_FOR: Duration = Duration::from_secs(3_600);
/// For how long two processes of one name are reported after they spoke in turn.
pub const CONTESTED_FOR: Duration = Duration::from_secs(600);
/// Twice the largest mesh that is simulated. With 50 links each, an advert is some 3 KiB.
pub const MAX_NODES: usize = 2_048;
/// Half of a mesh that was cut in two.
pub const MAX_GRAVES: usize = 1_024;
