//! A mesh of routers on a clock of its own, whose links are what a test says.

use std::collections::BTreeMap;

use super::*;
use crate::{
    cost::{Loss, Measure},
    health::Condition,
    paths::Path,
};

/// Routers that hear each other over the links that are up.
pub(super) struct Mesh {
    pub(super) now: Instant,
    routers: BTreeMap<NodeKey, Router>,
    /// What each end sees of a link, by (who sees, whom).
    pairs: BTreeMap<(NodeKey, NodeKey), Pair>,
    on_the_way: BTreeMap<(Instant, u64), (NodeKey, NodeKey, Message)>,
    sent: u64,
    /// What happened, but for messages and signatures.
    pub(super) facts: Vec<(Instant, NodeKey, Output)>,
}

impl Mesh {
    pub(super) fn new() -> Self {
        Self {
            now: origin(),
            routers: BTreeMap::new(),
            pairs: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            facts: Vec::new(),
        }
    }

    /// Nodes of these regions, all linked, with round trips of `rtt_ms(region, region)`.
    pub(super) fn full(regions: &[u32], rtt_ms: impl Fn(u32, u32) -> u64) -> Self {
        let mut mesh = Self::new();
        for (index, region) in regions.iter().enumerate() {
            mesh.start(node(index), *region, 1);
        }
        for (a, from) in regions.iter().enumerate() {
            for (b, to) in regions.iter().enumerate().filter(|(b, _)| *b > a) {
                mesh.link(node(a), node(b), rtt_ms(*from, *to));
            }
        }
        mesh.run(secs(15));
        mesh
    }

    /// Starts a node, or starts it again: its old process is gone, and so are its links.
    pub(super) fn start(&mut self, key: NodeKey, region: u32, generation: u64) {
        self.kill(key);
        let says = Own {
            region: RegionId(region),
            service: Service::Serving,
            load: Load::IDLE,
            addresses: Vec::new(),
            ports: Vec::new(),
            release: String::new(),
            labels: BTreeMap::new(),
        };
        let router = Router::new(key, generation, says, key.0, 2, self.now);
        self.routers.insert(key, router);
        self.drain(key);
    }

    /// Takes a router out of the mesh, for a test of it alone.
    pub(super) fn take(mut self, key: NodeKey) -> Router {
        self.routers.remove(&key).unwrap()
    }

    /// Ends a node: its peers see the links closed.
    pub(super) fn kill(&mut self, key: NodeKey) {
        self.routers.remove(&key);
        let ends: Vec<_> = self.pairs.keys().copied().collect();
        for (a, b) in ends.into_iter().filter(|(a, b)| *a == key || *b == key) {
            self.pairs.remove(&(a, b));
            if let Some(router) = self.routers.get_mut(&a) {
                router.handle_pair(self.now, b, GONE);
                router.handle_unlinked(self.now, b);
                self.drain(a);
            }
        }
    }

    /// A node says that it leaves, and is there for a while yet.
    pub(super) fn leave(&mut self, key: NodeKey) {
        let now = self.now;
        self.router_mut(key).handle_leave(now);
        self.drain(key);
    }

    /// A link comes up.
    pub(super) fn link(&mut self, a: NodeKey, b: NodeKey, rtt_ms: u64) {
        for (a, b) in [(a, b), (b, a)] {
            let pair = Pair {
                linked: true,
                condition: Condition::Up,
                measure: Some(Measure {
                    rtt: Duration::from_millis(rtt_ms),
                    loss: Loss::NONE,
                }),
                limit_bytes: 1_200,
            };
            self.pairs.insert((a, b), pair);
            let router = self.routers.get_mut(&a).unwrap();
            router.handle_link(self.now, b);
            router.handle_pair(self.now, b, pair);
            self.drain(a);
        }
    }

    /// Both ends see a link so from now on; when it carries nothing, messages on it are lost.
    pub(super) fn judge(&mut self, a: NodeKey, b: NodeKey, condition: Condition) {
        for (a, b) in [(a, b), (b, a)] {
            let Some(pair) = self.pairs.get_mut(&(a, b)) else {
                continue;
            };
            pair.condition = condition;
            let pair = *pair;
            let now = self.now;
            self.router_mut(a).handle_pair(now, b, pair);
            self.drain(a);
        }
    }

    /// Both ends measure another round trip.
    pub(super) fn measure(&mut self, a: NodeKey, b: NodeKey, rtt_ms: u64) {
        for (a, b) in [(a, b), (b, a)] {
            let now = self.now;
            let pair = self.pairs.get_mut(&(a, b)).unwrap();
            pair.measure = Some(Measure {
                rtt: Duration::from_millis(rtt_ms),
                loss: Loss::NONE,
            });
            let pair = *pair;
            self.router_mut(a).handle_pair(now, b, pair);
            self.drain(a);
        }
    }

    /// All links of a node at once, as when its own network is gone.
    pub(super) fn judge_all(&mut self, node: NodeKey, condition: Condition) {
        for peer in self.peers(node) {
            self.judge(node, peer, condition);
        }
    }

    /// What `node` asks of another fails.
    pub(super) fn fail(&mut self, node: NodeKey, other: NodeKey) {
        self.outcome(node, other, false);
    }

    /// What `node` asks of another succeeds or fails.
    pub(super) fn outcome(&mut self, node: NodeKey, other: NodeKey, success: bool) {
        let now = self.now;
        self.router_mut(node).handle_outcome(now, other, success);
        self.drain(node);
    }

    /// A node says that it does that much of what it can.
    pub(super) fn say_load(&mut self, node: NodeKey, permille: u16) {
        let now = self.now;
        let router = self.router_mut(node);
        let says = Own {
            load: Load::from_permille(permille),
            ..router.says.clone()
        };
        router.handle_own(now, says);
        self.drain(node);
    }

    pub(super) fn peers(&self, node: NodeKey) -> Vec<NodeKey> {
        let ends = self.pairs.keys().filter(|(a, _)| *a == node);
        ends.map(|(_, b)| *b).collect()
    }

    pub(super) fn router(&self, node: NodeKey) -> &Router {
        &self.routers[&node]
    }

    pub(super) fn router_mut(&mut self, node: NodeKey) -> &mut Router {
        self.routers.get_mut(&node).unwrap()
    }

    /// The path that interactive traffic takes.
    pub(super) fn path(&self, from: NodeKey, to: NodeKey) -> Option<Vec<NodeKey>> {
        let mut routes = self.router(from).routes(Traffic::Interactive);
        let route = routes.find(|route| route.destination == to)?;
        Some(route.path?.hops().to_vec())
    }

    /// The backup of that path.
    pub(super) fn backup(&self, from: NodeKey, to: NodeKey) -> Option<Path> {
        let mut routes = self.router(from).routes(Traffic::Interactive);
        let route = routes.find(|route| route.destination == to)?;
        route.backup.copied()
    }

    /// How often traffic moved from one path to another since `from`.
    pub(super) fn moves(&self, from: Instant) -> usize {
        let since = self.facts.iter().filter(|(at, _, _)| *at >= from);
        let is_move = |fact: &Output| match fact {
            Output::Moved(Traffic::Interactive, _, decision) => {
                decision.from.is_some() && decision.to.is_some()
            }
            _ => false,
        };
        since.filter(|(_, _, fact)| is_move(fact)).count()
    }

    /// How often a node was judged as a destination.
    pub(super) fn verdicts(&self) -> usize {
        let is_verdict = |fact: &Output| matches!(fact, Output::Judged(..));
        let facts = self.facts.iter();
        facts.filter(|(_, _, fact)| is_verdict(fact)).count()
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut idle = 0;
        loop {
            let timers = self.routers.values().map(Router::poll_timeout);
            let message = self.on_the_way.keys().next().map(|(at, _)| *at);
            let next = timers.chain(message).min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return;
            }
            idle = if next > self.now { 0 } else { idle + 1 };
            assert!(idle < 10_000, "a timer that is due stays due");
            self.now = self.now.max(next);
            self.deliver();
            let now = self.now;
            let due = self.routers.iter();
            let due = due.filter(|(_, router)| router.poll_timeout() <= now);
            for key in due.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.router_mut(key).handle_timeout(now);
                assert!(self.routers[&key].outputs.len() < 10_000);
                self.drain(key);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (from, to, message) = entry.remove();
            if self.carries(from, to) {
                let now = self.now;
                self.router_mut(to).handle_message(now, from, message);
                self.drain(to);
            }
        }
    }

    fn carries(&self, from: NodeKey, to: NodeKey) -> bool {
        let pair = self.pairs.get(&(from, to));
        pair.is_some_and(|pair| pair.condition <= Condition::Degraded)
    }

    fn drain(&mut self, key: NodeKey) {
        let now = self.now;
        while let Some(output) = self.router_mut(key).poll_output() {
            match output {
                Output::Sign(advert) => {
                    let advert = Verified::vouch(*advert, Vec::new());
                    self.router_mut(key).handle_signed(now, advert);
                }
                Output::Send(to, message) => {
                    let Some(measure) = self.pairs.get(&(key, to)).and_then(|p| p.measure) else {
                        continue;
                    };
                    self.sent += 1;
                    let at = (now + measure.rtt / 2, self.sent);
                    self.on_the_way.insert(at, (key, to, message));
                }
                fact => self.facts.push((now, key, fact)),
            }
        }
    }
}

/// What a peer whose process has ended looks like.
const GONE: Pair = Pair {
    linked: false,
    condition: Condition::Down,
    measure: None,
    limit_bytes: 0,
};
