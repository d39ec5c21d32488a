//! Which nodes of a region fail what they are asked, whatever they say of themselves.

#[cfg(test)]
mod tests;
mod votes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use self::votes::{Ballot, View, outliers};
use crate::window::{Loss, LossWindow, Stretch};

/// Judges the nodes of one region as destinations, by what is seen to succeed there.
///
/// ```text
///                  5 failures in a row, or far below the others
///     in service ───────────────────────────────────────────────▶ ejected
///         ▲                            2 failures in a row           │
///         │ 5 successes   on trial ─────────────────────────▶        │
///         └─────────────────── ◀─────── 10 s, 20 s, ... 5 min ───────┘
/// ```
///
/// A node that is up and says that it is well may still bring nothing about. It is found by its
/// results:
///
/// - [`RUN`] requests of ours in a row failed;
/// - of our requests in half a minute, twenty at least, a share succeeded that is more than
///   [`MARGIN`] below the median of the region's others;
/// - or more than half of at least three nodes, ourselves among them, see it that far below the
///   others, each by its own figures, which come with adverts. A share is only ever compared with
///   others of the same observer, so one whose own network is bad sees no outliers.
///
/// An ejected node gets nothing for ten seconds, then twice as long each time, up to five minutes; a
/// minute in service takes one doubling back. When it returns it is on trial: two failures in a row
/// eject it again.
///
/// Never more than half of a region is ejected, rounded down; and when of the rest none can be
/// used, [`Outliers::candidates`] gives those that are ejected: a bad node is better than none.
///
/// # What a liar can do
///
/// - One that draws requests and fails them all: five of each peer's, then two for each ejection,
///   which in an hour are sixteen: 35 requests.
/// - One that fails some of them: if more than [`MARGIN`], it is ejected; else that share is what it
///   can do.
/// - One that speaks ill of others: it has one vote of at least three, and never takes out more
///   than half. Good words do not bring a node back. Its figures count by their shares alone, so
///   large ones weigh no more.
///
/// A timer that fires late forgets what was seen: our own stall made requests fail.
///
/// Call a `handle_*` on every input, then drain [`Outliers::poll_output`], then arm
/// [`Outliers::poll_timeout`]. Memory is a kilobyte for each node, and 64 bytes for each pair of a
/// node and one of at most [`MAX_OBSERVERS`] observers.
#[derive(Debug, Clone)]
pub struct Outliers<N> {
    nodes: BTreeMap<N, Node>,
    observers: BTreeMap<N, BTreeMap<N, View>>,
    /// Our own vote, as of the last sweep.
    own: Ballot<N>,
    next_sweep: Instant,
    withheld: u64,
    outputs: VecDeque<Output<N>>,
}

/// What the caller is to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<N> {
    /// This node is to get nothing for a while.
    Ejected {
        /// Which.
        node: N,
        /// Why.
        reason: Reason,
        /// For how long.
        time: Duration,
    },
    /// This node may get something again.
    Returned {
        /// Which.
        node: N,
    },
}

/// Why a node was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Too many failures in a row.
    Run,
    /// Far below the others.
    Share,
    /// Far below the others, as most of its peers see it.
    Votes,
}

/// What may be chosen from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates<N> {
    /// In their order. Empty only if none can be used at all.
    pub nodes: Vec<N>,
    /// Whether these are ejected, and there are no others.
    pub last_resort: bool,
}

#[derive(Debug, Clone)]
struct Node {
    window: LossWindow,
    /// Failures in a row.
    run: u32,
    standing: Standing,
    /// How often the time of an ejection is doubled.
    doublings: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    InService {
        since: Instant,
        /// Successes that are missing until it is trusted again.
        trial: u32,
    },
    Ejected {
        until: Instant,
    },
}

impl<N: Ord + Copy> Outliers<N> {
    /// A region without nodes.
    pub fn new(now: Instant) -> Self {
        Self {
            nodes: BTreeMap::new(),
            observers: BTreeMap::new(),
            own: Ballot::default(),
            next_sweep: now + SWEEP,
            withheld: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A node belongs to the region. Said again, it changes nothing.
    pub fn handle_member(&mut self, now: Instant, node: N) {
        self.nodes.entry(node).or_insert_with(|| Node {
            window: LossWindow::new(now),
            run: 0,
            standing: Standing::InService {
                since: now,
                trial: 0,
            },
            doublings: 0,
        });
    }

    /// A node belongs to the region no longer.
    pub fn handle_left(&mut self, now: Instant, node: N) {
        self.nodes.remove(&node);
        // The half may be smaller now. Who would have been back first is back.
        while self.ejected() > self.nodes.len() / 2 {
            let until = |node: &Node| match node.standing {
                Standing::Ejected { until } => Some(until),
                Standing::InService { .. } => None,
            };
            let ejected = self
                .nodes
                .iter()
                .filter_map(|(n, node)| Some((until(node)?, *n)));
            if let Some((_, first)) = ejected.min() {
                self.put_back(now, first);
            }
        }
    }

    /// A request of ours to `node` succeeded, or failed for a reason that is the node's.
    pub fn handle_outcome(&mut self, now: Instant, node: N, success: bool) {
        let Some(seen) = self.nodes.get_mut(&node) else {
            return;
        };
        let one = |is: bool| u64::from(is);
        let loss = Loss {
            delivered: one(success),
            lost: one(!success),
        };
        seen.window.handle_loss(now, loss);
        seen.run = if success { 0 } else { seen.run + 1 };
        let Standing::InService { trial, .. } = &mut seen.standing else {
            // Asked before it was ejected, or as a last resort.
            return;
        };
        if success {
            *trial = trial.saturating_sub(1);
        }
        let limit = if *trial > 0 { RUN_ON_TRIAL } else { RUN };
        if seen.run >= limit {
            self.eject(now, node, Reason::Run);
        }
    }

    /// What `observer` saw of its own requests in its last half a minute, node by node. It takes the
    /// place of all that it said before.
    ///
    /// That counts until it says something else, up to [`VIEW_AGE`]. Of nodes that do not belong to
    /// the region or returned since, of observers beyond the bound, and of a node about itself,
    /// nothing is kept.
    pub fn handle_views(
        &mut self,
        now: Instant,
        observer: N,
        views: impl IntoIterator<Item = (N, Loss)>,
    ) {
        self.observers.remove(&observer);
        for (node, seen) in views {
            self.on_view(now, observer, node, seen);
        }
    }

    fn on_view(&mut self, now: Instant, observer: N, node: N, seen: Loss) {
        let Some(known) = self.nodes.get(&node) else {
            return;
        };
        if observer == node || known.returned_since(now, VIEW_SPAN) {
            return;
        }
        if !self.observers.contains_key(&observer) && self.observers.len() >= MAX_OBSERVERS {
            return;
        }
        let views = self.observers.entry(observer).or_default();
        views.insert(node, View { seen, at: now });
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.due();
        if now < due {
            return;
        }
        if now.duration_since(due) > TOLERANCE {
            for node in self.nodes.values_mut() {
                node.window.clear();
                node.run = 0;
            }
        }
        self.return_due(now);
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP;
            self.sweep(now);
        }
    }

    /// When to call [`Outliers::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due())
    }

    /// The next thing to know, until there is none.
    pub fn poll_output(&mut self) -> Option<Output<N>> {
        self.outputs.pop_front()
    }

    /// The nodes to choose from, of those that `usable` says can be used at all.
    pub fn candidates(&self, usable: impl Fn(N) -> bool) -> Candidates<N> {
        let of = |ejected: bool| {
            let nodes = self.nodes.iter();
            let nodes = nodes.filter(|(n, node)| node.is_ejected() == ejected && usable(**n));
            nodes.map(|(n, _)| *n).collect::<Vec<_>>()
        };
        let nodes = of(false);
        if !nodes.is_empty() {
            return Candidates {
                nodes,
                last_resort: false,
            };
        }
        let nodes = of(true);
        Candidates {
            last_resort: !nodes.is_empty(),
            nodes,
        }
    }

    /// Whether a node is ejected now.
    pub fn is_ejected(&self, node: N) -> bool {
        self.nodes.get(&node).is_some_and(Node::is_ejected)
    }

    /// What we saw of each node that we can compare with others, as of the last sweep.
    pub fn views(&self) -> impl Iterator<Item = (N, Loss)> {
        self.own.judged.iter().map(|(node, seen)| (*node, *seen))
    }

    /// Those of them that we see far below the others.
    pub fn below(&self) -> &BTreeSet<N> {
        &self.own.below
    }

    /// How often a node was not ejected because half of the region was already.
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    fn due(&self) -> Instant {
        let until = self.nodes.values().filter_map(|node| match node.standing {
            Standing::Ejected { until } => Some(until),
            Standing::InService { .. } => None,
        });
        until.fold(self.next_sweep, Instant::min)
    }

    fn ejected(&self) -> usize {
        self.nodes.values().filter(|node| node.is_ejected()).count()
    }

    /// Judges all by their shares.
    fn sweep(&mut self, now: Instant) {
        let recent = |view: &View| now.saturating_duration_since(view.at) < VIEW_AGE;
        for views in self.observers.values_mut() {
            views.retain(|node, view| recent(view) && self.nodes.contains_key(node));
        }
        self.observers.retain(|_, views| !views.is_empty());

        let own = self
            .nodes
            .iter_mut()
            .map(|(n, node)| (*n, node.window.trailing(now, STRETCH)));
        let own = outliers(own);
        self.own = own.clone();
        for node in own.below.iter().copied() {
            self.eject(now, node, Reason::Share);
        }
        let mut votes: BTreeMap<N, (usize, usize)> = BTreeMap::new();
        let others = self
            .observers
            .values()
            .map(|views| outliers(views.iter().map(|(n, view)| (*n, view.seen))));
        for ballot in others.chain([own]) {
            for node in ballot.judged.into_keys() {
                let (below, voters) = votes.entry(node).or_default();
                *voters += 1;
                *below += usize::from(ballot.below.contains(&node));
            }
        }
        for (node, (below, voters)) in votes {
            if voters >= MIN_VOTERS && below * 2 > voters {
                self.eject(now, node, Reason::Votes);
            }
        }
    }

    fn eject(&mut self, now: Instant, n: N, reason: Reason) {
        let full = self.ejected() >= self.nodes.len() / 2;
        let Some(node) = self.nodes.get_mut(&n) else {
            return;
        };
        let Standing::InService { since, .. } = node.standing else {
            return;
        };
        if full {
            self.withheld += 1;
            return;
        }
        let minutes = now.saturating_duration_since(since).as_secs() / FORGIVE.as_secs();
        let forgiven = u32::try_from(minutes).unwrap_or(u32::MAX);
        let doublings = node.doublings.saturating_sub(forgiven);
        let time = (EJECTION * (1 << doublings)).min(MAX_EJECTION);
        node.doublings = (doublings + 1).min(MAX_DOUBLINGS);
        node.standing = Standing::Ejected { until: now + time };
        let node = n;
        self.outputs
            .push_back(Output::Ejected { node, reason, time });
    }

    fn return_due(&mut self, now: Instant) {
        let is_due = |node: &Node| match node.standing {
            Standing::Ejected { until } => until <= now,
            Standing::InService { .. } => false,
        };
        let due = self.nodes.iter().filter(|(_, node)| is_due(node));
        for n in due.map(|(n, _)| *n).collect::<Vec<_>>() {
            self.put_back(now, n);
        }
    }

    fn put_back(&mut self, now: Instant, n: N) {
        let Some(node) = self.nodes.get_mut(&n) else {
            return;
        };
        node.standing = Standing::InService {
            since: now,
            trial: TRIAL,
        };
        // It is judged by what it does from here.
        node.run = 0;
        node.window.clear();
        for views in self.observers.values_mut() {
            views.remove(&n);
        }
        self.outputs.push_back(Output::Returned { node: n });
    }
}

impl Node {
    /// Whether an ejection ended that recently.
    fn returned_since(&self, now: Instant, time: Duration) -> bool {
        match self.standing {
            Standing::InService { since, .. } => {
                self.doublings > 0 && now.saturating_duration_since(since) < time
            }
            Standing::Ejected { .. } => false,
        }
    }

    fn is_ejected(&self) -> bool {
        match self.standing {
            Standing::Ejected { .. } => true,
            Standing::InService { .. } => false,
        }
    }
}

/// Failures in a row that eject. With 5 % of requests failing for other reasons, a run of five is
/// one request in three million.
pub const RUN: u32 = 5;
/// The same on trial: what was bad a moment ago need not prove it again, and one failure is chance.
const RUN_ON_TRIAL: u32 = 2;
/// Successes that end a trial.
const TRIAL: u32 = 5;

/// How far below the median, in thousandths, is an outlier. With twenty outcomes each, a good node
/// of a region that succeeds nineteen times in twenty is that far below in one case of 400, and
/// then is out for ten seconds.
pub const MARGIN: u64 = 200;

/// Of our own requests: twenty of them, or half a minute.
const STRETCH: Stretch = Stretch {
    least: Duration::from_secs(10),
    packets: votes::MIN_OUTCOMES,
    most: Duration::from_secs(30),
};

/// Two nodes that agree could be one mistake.
const MIN_VOTERS: usize = 3;
/// Whom we listen to. Beyond it newcomers have no vote until somebody falls silent.
pub const MAX_OBSERVERS: usize = 32;
/// How long what an observer said counts if it says nothing else. Adverts that tell nothing new are
/// two minutes apart, and half a minute is for their way.
///
/// It is longer than what a view describes. If it were not, those who see a node do well, which is
/// news to nobody and not said again, would have lost their votes by the time that three others speak
/// ill of it. Ill words are no older than they should be: that a node is no longer far below the
/// others is said at once, as is that it is.
pub const VIEW_AGE: Duration = Duration::from_secs(150);
/// What a view describes. After a node's return, those of that time before it count for nothing.
const VIEW_SPAN: Duration = Duration::from_secs(30);

/// How often shares are compared.
const SWEEP: Duration = Duration::from_secs(2);
/// Above this lateness of a timer, the stall was our own and judges nobody.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The first ejection: longer than it takes to restart a process.
const EJECTION: Duration = Duration::from_secs(10);
/// 10 s * 2^5 are 320 s.
const MAX_DOUBLINGS: u32 = 5;
/// The longest ejection: twelve tries an hour, and a node that was repaired is back in minutes.
const MAX_EJECTION: Duration = Duration::from_secs(300);
/// Time in service that takes back one doubling.
const FORGIVE: Duration = Duration::from_secs(60);
