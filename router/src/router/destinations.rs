//! Which nodes fail what they are asked, region by region.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    advert::MAX_VIEWS,
    graph::{NodeKey, RegionId},
    outlier::{Outliers, Output, Reason},
    window::Loss,
};

/// Judges every node as a destination, among those of its region: see
/// [`outlier`](crate::outlier).
///
/// This node's own requests count, and as a vote what each other node says of its own.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    regions: BTreeMap<RegionId, Outliers<NodeKey>>,
    members: BTreeMap<NodeKey, RegionId>,
    outputs: VecDeque<(NodeKey, Verdict)>,
}

/// What was decided about a node as a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is to get nothing new, but where there is nobody else.
    Ejected {
        /// Why.
        reason: Reason,
        /// For how long.
        time: Duration,
    },
    /// It may get something again.
    Returned,
}

impl Destinations {
    /// A node is in the mesh.
    pub(super) fn handle_member(&mut self, now: Instant, node: NodeKey, region: RegionId) {
        let before = self.members.insert(node, region);
        if before.is_some_and(|before| before != region) {
            self.leave(now, node, before);
        }
        let region = self.regions.entry(region);
        region
            .or_insert_with(|| Outliers::new(now))
            .handle_member(now, node);
    }

    /// A node is not in the mesh any more.
    pub(super) fn handle_gone(&mut self, now: Instant, node: NodeKey) {
        let region = self.members.remove(&node);
        self.leave(now, node, region);
        self.handle_views(now, node, &BTreeMap::new());
    }

    /// What another node saw of its own requests, all of it.
    pub(super) fn handle_views(
        &mut self,
        now: Instant,
        observer: NodeKey,
        views: &BTreeMap<NodeKey, Loss>,
    ) {
        for (region, outliers) in &mut self.regions {
            let here = views
                .iter()
                .filter(|(node, _)| self.members.get(node) == Some(region));
            outliers.handle_views(now, observer, here.map(|(node, seen)| (*node, *seen)));
        }
    }

    /// What this node saw of its own requests, for others: first those that it sees far below the
    /// others of their region, then those that it asked most.
    pub(super) fn views(&self) -> BTreeMap<NodeKey, Loss> {
        let of_region = |outliers: &Outliers<NodeKey>| {
            let views = outliers.views().map(|(node, seen)| {
                let is_below = outliers.below().contains(&node);
                (Reverse((is_below, seen.packets())), node, seen)
            });
            views.collect::<Vec<_>>()
        };
        let mut views: Vec<_> = self.regions.values().flat_map(of_region).collect();
        views.sort_unstable_by_key(|(order, node, _)| (*order, *node));
        let told = views.into_iter().take(MAX_VIEWS);
        told.map(|(_, node, seen)| (node, seen)).collect()
    }

    /// Those that this node sees far below the others of their region.
    pub(super) fn below(&self) -> BTreeSet<NodeKey> {
        let below = self.regions.values().flat_map(Outliers::below);
        below.copied().collect()
    }

    /// A request of ours to a node succeeded, or failed for a reason that is the node's.
    pub(super) fn handle_outcome(
        &mut self,
        now: Instant,
        (node, region): (NodeKey, RegionId),
        success: bool,
    ) {
        if let Some(outliers) = self.regions.get_mut(&region) {
            outliers.handle_outcome(now, node, success);
            self.drain(region);
        }
    }

    /// Time passed. Calling it early does nothing.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let is_due =
            |outliers: &Outliers<NodeKey>| outliers.poll_timeout().is_some_and(|at| at <= now);
        let due = self.regions.iter().filter(|(_, region)| is_due(region));
        for region in due.map(|(region, _)| *region).collect::<Vec<_>>() {
            if let Some(outliers) = self.regions.get_mut(&region) {
                outliers.handle_timeout(now);
            }
            self.drain(region);
        }
    }

    /// When to call [`Destinations::handle_timeout`], if ever.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.regions.values().filter_map(Outliers::poll_timeout);
        timers.min()
    }

    /// The next verdict, until there is none.
    pub(super) fn poll_output(&mut self) -> Option<(NodeKey, Verdict)> {
        self.outputs.pop_front()
    }

    /// Whether a node is to get nothing new now.
    pub(super) fn is_ejected(&self, node: NodeKey) -> bool {
        let region = self.members.get(&node);
        let outliers = region.and_then(|region| self.regions.get(region));
        outliers.is_some_and(|outliers| outliers.is_ejected(node))
    }

    fn leave(&mut self, now: Instant, node: NodeKey, region: Option<RegionId>) {
        let Some(region) = region else { return };
        if let Some(outliers) = self.regions.get_mut(&region) {
            outliers.handle_left(now, node);
            self.drain(region);
        }
        if !self.members.values().any(|of| *of == region) {
            self.regions.remove(&region);
        }
    }

    fn drain(&mut self, region: RegionId) {
        let Some(outliers) = self.regions.get_mut(&region) else {
            return;
        };
        while let Some(output) = outliers.poll_output() {
            self.outputs.push_back(match output {
                Output::Ejected { node, reason, time } => (node, Verdict::Ejected { reason, time }),
                Output::Returned { node } => (node, Verdict::Returned),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: RegionId = RegionId(1);
    const THERE: RegionId = RegionId(2);

    /// Nodes 0 to 3 in one region, as one of their peers knows them.
    struct Bench {
        destinations: Destinations,
        now: Instant,
    }

    impl Bench {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests need some instant to start from"
        )]
        fn new() -> Self {
            let now = Instant::now();
            let mut destinations = Destinations::default();
            for node in 0..4 {
                destinations.handle_member(now, NodeKey(node), HERE);
            }
            Self { destinations, now }
        }

        /// What is asked of a node fails until it is ejected, if it is to be.
        fn fail(&mut self, node: u64, region: RegionId) {
            for _ in 0..crate::outlier::RUN {
                let node = (NodeKey(node), region);
                self.destinations.handle_outcome(self.now, node, false);
            }
        }

        fn ejected(&self) -> Vec<u64> {
            let nodes = 0..4;
            nodes
                .filter(|node| self.destinations.is_ejected(NodeKey(*node)))
                .collect()
        }
    }

    #[test]
    fn half_of_a_region_is_of_those_that_are_there() {
        let mut bench = Bench::new();
        bench.fail(1, HERE);
        bench.fail(2, HERE);
        assert_eq!(bench.ejected(), [1, 2]);
        bench.destinations.handle_gone(bench.now, NodeKey(3));
        assert_eq!(bench.ejected(), [2], "one of three");
        for node in 0..3 {
            bench.destinations.handle_gone(bench.now, NodeKey(node));
        }
        assert_eq!(bench.destinations.poll_timeout(), None, "nobody is left");
    }

    #[test]
    fn node_that_is_in_another_region_now_is_judged_there_and_counts_there() {
        let mut bench = Bench::new();
        for node in [3, 9] {
            bench
                .destinations
                .handle_member(bench.now, NodeKey(node), THERE);
        }
        bench.fail(1, HERE);
        bench.fail(2, HERE);
        assert_eq!(bench.ejected(), [1], "one of three");
        bench.fail(3, THERE);
        assert_eq!(bench.ejected(), [1, 3]);
    }
}
