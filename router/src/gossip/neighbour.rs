//! What is kept of a neighbour.

use std::{collections::BTreeSet, time::Instant};

use super::{budget::Budget, digest::Digest};
use crate::graph::NodeKey;

#[derive(Debug)]
pub(super) struct Neighbour {
    /// Nodes whose adverts are to be offered to it.
    pub(super) pending: BTreeSet<NodeKey>,
    pub(super) budget: Budget,
    /// What differed the last time; `None` before the first.
    differed: Option<u64>,
    /// It has offered something since the first comparison.
    pub(super) has_listed: bool,
    is_synced: bool,
}

impl Neighbour {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pending: BTreeSet::new(),
            budget: Budget::new(now),
            differed: None,
            has_listed: false,
            is_synced: false,
        }
    }

    /// The groups that are to be offered to it: at first all that differ, then those that did the
    /// last time too.
    pub(super) fn compare(&mut self, ours: &Digest, theirs: &Digest) -> u64 {
        let differing = ours.differing(theirs);
        let before = self.differed.replace(differing);
        differing & before.unwrap_or(u64::MAX)
    }

    pub(super) fn has_compared(&self) -> bool {
        self.differed.is_some()
    }

    /// Whether it is synced since just now.
    pub(super) fn sync_done(&mut self) -> bool {
        !std::mem::replace(&mut self.is_synced, true)
    }
}
