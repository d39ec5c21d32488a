//! What is kept of a neighbour.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    time::Instant,
};

use super::{budget::Budget, digest::Digest};
use crate::graph::NodeKey;

#[derive(Debug)]
pub(super) struct Neighbour {
    /// Nodes whose adverts are to be offered to it.
    pub(super) pending: BTreeSet<NodeKey>,
    /// The last one that was offered to it when not all could be.
    turn: NodeKey,
    /// What it may say to us.
    pub(super) budget: Budget,
    /// What we may say to it.
    pub(super) own_budget: Budget,
    /// There was more to ask of it than we may say.
    pub(super) has_unasked: bool,
    /// What differed the last time; `None` before the first.
    differed: Option<u64>,
    /// It has offered something since the first comparison.
    pub(super) has_listed: bool,
    is_synced: bool,
    /// A last word of it was looked at already, whoever wrote it.
    pub(super) has_left: bool,
}

impl Neighbour {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pending: BTreeSet::new(),
            turn: NodeKey(0),
            budget: Budget::of_neighbour(now),
            own_budget: Budget::own(now),
            has_unasked: false,
            differed: None,
            has_listed: false,
            is_synced: false,
            has_left: false,
        }
    }

    /// Takes what is to be offered to it now: as much as we may say, in turn, so that nothing waits
    /// for ever where there is always more.
    pub(super) fn take_pending(&mut self, now: Instant) -> BTreeSet<NodeKey> {
        let most = self.own_budget.left(now);
        if self.pending.len() <= most {
            return std::mem::take(&mut self.pending);
        }
        let after = self.pending.range((Excluded(self.turn), Unbounded));
        let in_turn = after.chain(&self.pending).take(most).copied();
        let taken: Vec<_> = in_turn.collect();
        self.turn = taken.last().copied().unwrap_or(self.turn);
        let taken = BTreeSet::from_iter(taken);
        self.pending.retain(|node| !taken.contains(node));
        taken
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
