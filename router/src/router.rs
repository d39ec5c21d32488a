//! One node's whole view of the mesh, and what follows from it.

mod destinations;
mod own;
mod redial;
mod routing;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use self::{
    destinations::Destinations,
    own::{Doubt, OwnLinks},
    redial::Redial,
    routing::{Changes, Routing},
};
pub use self::{destinations::Verdict, own::Pair, routing::RouteView};
use crate::{
    advert::{Advert, Content, Publisher, PublisherConfig, State, Version},
    choice::Decision,
    cost::{CostPolicy, Load},
    gossip::{self, Absence, Farewell, Gossip, Message},
    graph::{Graph, Link, LinkHealth, Node, NodeKey, RegionId, Service},
    paths::RouteConfig,
    verified::Verified,
    wanted::{self, WantedLinks},
    warmup::WarmUp,
};

/// Knows the mesh as one node does, and decides which way its traffic goes.
///
/// ```text
///   own pairs ──▶ own links ──▶ isolation guard ──▶ own advert ──▶ gossip ──▶ neighbours
///                    │                                               │
///                    │           adverts of the others ◀─────────────┤
///                    ▼                 ▼                             ▼
///                  graph ──▶ a table of paths ──▶ a choice       wanted links
///                            for each kind of     for each
///                            traffic              destination
/// ```
///
/// What this node sees of its own links counts for its own packets at once; what it tells others
/// passes the [`IsolationGuard`](crate::isolation::IsolationGuard), and what it does not hear counts
/// only when it is warm.
///
/// Changes of links are taken in one by one, since a failover waits for them. Nodes that come and go
/// change everything; they are taken in together, [`REBUILD_AFTER`] after the first.
///
/// Call a `handle_*` on every input, then drain [`Router::poll_output`], then arm
/// [`Router::poll_timeout`]. `now` must never go backwards.
#[derive(Debug)]
pub struct Router {
    own: NodeKey,
    says: Own,
    links: OwnLinks,
    publisher: Publisher,
    gossip: Gossip,
    warm_up: WarmUp,
    wanted: WantedLinks,
    redial: Redial,
    destinations: Destinations,
    graph: Graph,
    /// In the order of [`Traffic::ALL`].
    routings: [Routing; Traffic::ALL.len()],
    rebuild_at: Option<Instant>,
    /// When what others may be told is looked at again, if figures have moved since.
    publish_at: Option<Instant>,
    /// Links that somebody on the way could not use, until when that is believed.
    unreachable: BTreeMap<(NodeKey, NodeKey), Instant>,
    /// Pairs with nodes that left and are linked still, as they are now: what is told of such links
    /// would be news for everybody, and of use to nobody.
    left: BTreeMap<NodeKey, Pair>,
    /// This node has said its last word.
    is_leaving: bool,
    outputs: VecDeque<Output>,
}

/// A kind of traffic, by what matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Traffic {
    /// Delay: sound, pictures, requests.
    Interactive,
    /// Throughput.
    Bulk,
}

/// What a node says of itself beside its links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Where it is.
    pub region: RegionId,
    /// Whether it takes new work. A node that is not warm yet says so whatever this is.
    pub service: Service,
    /// How much of what it can do it does.
    pub load: Load,
    /// Where it can be dialed.
    pub addresses: Vec<String>,
    /// The ports of its workers.
    pub ports: Vec<u16>,
    /// What it runs.
    pub release: String,
    /// What operators wrote on it.
    pub labels: BTreeMap<String, String>,
}

/// What the caller is to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Two processes seem to speak in the name of this node.
    Contested(NodeKey),
    /// Oneself is suspected, or no longer.
    Doubting(bool),
    /// A node is to get nothing new for a while, or may again.
    Judged(NodeKey, Verdict),
    /// A node left the mesh.
    Gone(NodeKey, Farewell),
    /// Something speaks in our own name with this version, above ours.
    Outbid(Version),
    /// Traffic of this kind for this node takes another path.
    Moved(Traffic, NodeKey, Box<Decision>),
    /// A path in use or a backup of this kind of traffic may be another now.
    Rerouted(Traffic),
    /// Say this to that neighbour.
    Send(NodeKey, Message),
    /// Sign this and give it to [`Router::handle_signed`].
    Sign(Box<Advert>),
    /// There is no reason any more to have a link to this peer.
    Unwant(NodeKey),
    /// Have a link to this peer.
    Want(NodeKey),
}

impl Router {
    /// Knows nothing but itself.
    ///
    /// - `generation`: the node's at this start.
    /// - `seed`: should differ between nodes.
    /// - `sources`: how many peers it was told to start from.
    pub fn new(
        own: NodeKey,
        generation: u64,
        says: Own,
        seed: u64,
        sources: usize,
        now: Instant,
    ) -> Self {
        let publisher = PublisherConfig::default();
        let mut router = Self {
            own,
            links: OwnLinks::default(),
            publisher: Publisher::new(publisher, own, generation, seed, now),
            gossip: Gossip::new(own, now),
            warm_up: WarmUp::new(sources, now),
            wanted: WantedLinks::new(own, says.region),
            redial: Redial::new(now),
            destinations: Destinations::default(),
            graph: Graph::new(),
            routings: Traffic::ALL.map(|traffic| {
                let policy = traffic.policy();
                let config = RouteConfig {
                    policy,
                    ..RouteConfig::default()
                };
                Routing::new(own, config)
            }),
            rebuild_at: None,
            publish_at: None,
            unreachable: BTreeMap::new(),
            left: BTreeMap::new(),
            is_leaving: false,
            outputs: VecDeque::new(),
            says,
        };
        router.put_self(now);
        router.rebuild(now);
        router.publish(now);
        router
    }

    /// What this node says of itself is this now.
    pub fn handle_own(&mut self, now: Instant, says: Own) {
        if says != self.says {
            self.says = says;
            self.put_self(now);
            self.publish(now);
        }
    }

    /// The node's generation has moved. One that leaves stays what it was: above whoever runs in its
    /// name now, it would take that one out of the mesh.
    pub fn handle_generation(&mut self, now: Instant, generation: u64) {
        if !self.is_leaving {
            self.publisher.handle_generation(now, generation);
            self.publish(now);
        }
    }

    /// This node ends. Its last word is signed and sent to all neighbours before anything else
    /// happens, and it says nothing of itself after that.
    pub fn handle_leave(&mut self, now: Instant) {
        self.is_leaving = true;
        self.publish(now);
    }

    /// What [`Output::Sign`] asked for is signed.
    pub fn handle_signed(&mut self, now: Instant, advert: Verified<Advert>) {
        self.gossip.handle_own(now, advert);
        self.drain_gossip(now);
    }

    /// Another link to this peer is current than before; what was said on the last is said again.
    pub fn handle_link(&mut self, now: Instant, peer: NodeKey) {
        self.gossip.handle_link(now, peer);
        self.drain_gossip(now);
    }

    /// There is no link to this peer any more.
    pub fn handle_unlinked(&mut self, now: Instant, peer: NodeKey) {
        self.gossip.handle_unlinked(now, peer);
        self.drain_gossip(now);
    }

    /// Something about the pair with this peer changed.
    pub fn handle_pair(&mut self, now: Instant, peer: NodeKey, pair: Pair) {
        if peer == self.own {
            return;
        }
        if self.gossip.has_left(peer) {
            match pair.linked {
                true => drop(self.left.insert(peer, pair)),
                false => drop(self.left.remove(&peer)),
            }
            return;
        }
        self.left.remove(&peer);
        let before = self.links.told_of(peer);
        if let Some(seen) = self.links.handle_pair(now, peer, pair) {
            self.put_own_link(now, peer, seen);
        }
        let has_turned = self.drain_links(now);
        let told = self.links.told_of(peer);
        let fact = |link: Link| (link.health, link.limit_bytes);
        if has_turned || told.map(fact) != before.map(fact) {
            self.publish(now);
        } else if told != before {
            // Comparing all links with what was told is too much for each figure of each of them,
            // and figures have time.
            self.publish_at.get_or_insert(now + PUBLISH_AFTER);
        }
    }

    /// A neighbour said something.
    pub fn handle_message(&mut self, now: Instant, from: NodeKey, message: Message) {
        self.gossip.handle_message(now, from, message);
        self.drain_gossip(now);
    }

    /// Whether an advert of `node` is worth the check of its signature: see [`Gossip::expects`].
    pub fn expects(&mut self, from: NodeKey, node: NodeKey, state: State) -> bool {
        self.gossip.expects(from, node, state)
    }

    /// There is traffic for this node. Not meant for each packet.
    pub fn handle_demand(&mut self, now: Instant, node: NodeKey) {
        self.wanted.handle_demand(now, node);
        self.drain_wanted();
    }

    /// A request of ours to `node` succeeded, or failed for a reason that is the node's.
    pub fn handle_outcome(&mut self, now: Instant, node: NodeKey, success: bool) {
        if let Some(known) = self.graph.node(node) {
            self.destinations
                .handle_outcome(now, (node, known.region), success);
            self.drain_destinations(now);
        }
    }

    /// A node on the way said that it cannot go on to the next. That is believed for
    /// [`UNREACHABLE_FOR`], or until the node itself says something new of its links: whoever lies
    /// about it keeps one link out of our paths for so long.
    pub fn handle_unreachable(&mut self, now: Instant, at: NodeKey, next: NodeKey) {
        let is_known = self.graph.link(at, next).is_some();
        if at == self.own || !is_known || self.unreachable.len() >= MAX_UNREACHABLE {
            return;
        }
        self.unreachable.insert((at, next), now + UNREACHABLE_FOR);
        self.put_links(now, at, [next]);
    }

    /// Our own process stood still.
    pub fn handle_stall(&mut self, now: Instant, stalled: Duration) {
        let sources = self.gossip.neighbours();
        self.warm_up.handle_deaf(now, stalled, sources);
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        for peer in self.links.handle_timeout(now) {
            self.graph.remove_link(self.own, peer);
            self.renew_links(now, self.own, &[peer]);
        }
        self.drain_links(now);
        self.warm_up.handle_timeout(now);
        let is_news = self.warm_up.is_warm(now) && !self.links.is_doubting();
        let absence = match is_news {
            true => Absence::IsNews,
            false => Absence::IsNoNews,
        };
        self.gossip.handle_timeout(now, absence);
        self.drain_gossip(now);
        self.wanted.handle_timeout(now);
        self.drain_wanted();
        self.redial_lost(now);
        self.forgive(now);
        self.destinations.handle_timeout(now);
        self.drain_destinations(now);
        if self.rebuild_at.is_some_and(|at| at <= now) {
            self.rebuild(now);
        }
        for index in 0..self.routings.len() {
            let changes = self.routings[index].handle_timeout(now);
            self.note(index, changes);
        }
        self.put_self(now);
        self.publish(now);
    }

    /// When to call [`Router::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        let routings = self.routings.iter().filter_map(Routing::poll_timeout);
        let timers = [
            self.links.poll_timeout(),
            self.publisher.poll_timeout(),
            self.warm_up.poll_timeout(),
            self.wanted.poll_timeout(),
            self.destinations.poll_timeout(),
            self.rebuild_at,
            self.publish_at,
            self.unreachable.values().min().copied(),
        ];
        let timers = timers.into_iter().flatten().chain(routings);
        let regular = self.gossip.poll_timeout().min(self.redial.poll_timeout());
        timers.fold(regular, Instant::min)
    }

    /// The next thing to do or to know, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How traffic of this kind goes, by destination.
    pub fn routes(&self, traffic: Traffic) -> impl Iterator<Item = RouteView<'_>> {
        self.routings[traffic as usize].routes()
    }

    /// The last decisions about traffic of this kind for one node, the oldest first.
    pub fn decisions(&self, traffic: Traffic, to: NodeKey) -> impl Iterator<Item = &Decision> {
        self.routings[traffic as usize].decisions(to)
    }

    /// What is known of the mesh.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Who said what.
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// Whether absence is news to this node by now.
    pub fn is_warm(&self, now: Instant) -> bool {
        self.warm_up.is_warm(now)
    }

    /// Whether this node suspects itself, and how often it did.
    pub fn doubts(&self) -> (bool, u64) {
        (self.links.is_doubting(), self.links.doubts())
    }

    /// The peers that a link is wanted to.
    pub fn wanted(&self) -> impl Iterator<Item = NodeKey> {
        self.wanted.peers()
    }

    fn put_self(&mut self, now: Instant) {
        let node = Node {
            region: self.says.region,
            service: self.service(now),
            ejected: false,
            load: self.says.load,
            weight: 1,
        };
        if self.graph.node(self.own) != Some(&node) {
            self.graph.set_node(self.own, node);
            self.renew_node(now, self.own);
        }
    }

    fn service(&self, now: Instant) -> Service {
        match self.says.service {
            Service::Serving if !self.warm_up.is_warm(now) => Service::Warming,
            service => service,
        }
    }

    /// Says what is new of this node, if that is worth it.
    fn publish(&mut self, now: Instant) {
        self.publish_at = None;
        let (state, links, views) = match self.is_leaving {
            true => (State::Left, BTreeMap::new(), BTreeMap::new()),
            false => {
                let state = State::Present(self.service(now));
                (state, self.links.told(), self.destinations.views())
            }
        };
        let content = Content {
            region: self.says.region,
            state,
            load: self.says.load,
            addresses: self.says.addresses.clone(),
            ports: self.says.ports.clone(),
            release: self.says.release.clone(),
            labels: self.says.labels.clone(),
            links,
            views,
        };
        self.publisher.handle_outliers(self.destinations.below());
        self.publisher.handle_content(now, content);
        if let Some(advert) = self.publisher.poll_output() {
            self.outputs.push_back(Output::Sign(Box::new(advert)));
        }
    }

    fn put_own_link(&mut self, now: Instant, peer: NodeKey, seen: Link) {
        if self.graph.link(self.own, peer) != Some(&seen) {
            self.graph.set_link(self.own, peer, seen);
            self.renew_links(now, self.own, &[peer]);
        }
    }

    /// Returns whether this node changed its mind about itself.
    fn drain_links(&mut self, now: Instant) -> bool {
        let mut has_turned = false;
        while let Some(doubt) = self.links.poll_output() {
            let begun = doubt == Doubt::Begun;
            if !begun {
                // Nobody was heard meanwhile, so nobody is missing for that.
                let sources = self.gossip.neighbours();
                self.warm_up
                    .handle_deaf(now, crate::warmup::SHORT_STALL, sources);
            }
            self.outputs.push_back(Output::Doubting(begun));
            has_turned = true;
        }
        has_turned
    }

    fn drain_gossip(&mut self, now: Instant) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                gossip::Output::Changed(node) => self.on_advert(now, node),
                gossip::Output::Contested(node) => self.outputs.push_back(Output::Contested(node)),
                gossip::Output::Gone(node, farewell) => self.on_gone(now, node, farewell),
                gossip::Output::Outbid(version) => {
                    self.outputs.push_back(Output::Outbid(version));
                }
                gossip::Output::Send(peer, message) => {
                    self.outputs.push_back(Output::Send(peer, message));
                }
                gossip::Output::Synced(_) => {
                    self.warm_up.handle_synced();
                    self.put_self(now);
                    self.publish(now);
                }
            }
        }
    }

    fn drain_wanted(&mut self) {
        while let Some(output) = self.wanted.poll_output() {
            self.outputs.push_back(match output {
                wanted::Output::Want(peer) => Output::Want(peer),
                wanted::Output::Unwant(peer) => Output::Unwant(peer),
            });
        }
    }

    /// A node said something new of itself.
    fn on_advert(&mut self, now: Instant, node: NodeKey) {
        let Some(advert) = self.gossip.advert(node).cloned() else {
            return;
        };
        if node == self.own {
            return;
        }
        let advert = advert.value();
        let ejected = self.destinations.is_ejected(node);
        let Some(said) = advert.to_node(ejected, 1) else {
            return;
        };
        if self.graph.node(node) != Some(&said) {
            self.graph.set_node(node, said);
            self.renew_node(now, node);
        }
        self.wanted.handle_member(now, node, said.region);
        self.destinations.handle_member(now, node, said.region);
        let views = &advert.content().views;
        self.destinations.handle_views(now, node, views);
        self.unreachable.retain(|(at, _), _| *at != node);
        let links = &advert.content().links;
        let mut peers: BTreeSet<NodeKey> = links.keys().copied().collect();
        peers.extend(self.graph.links(node).map(|(peer, _)| peer));
        self.put_links(now, node, peers);
        if let Some(pair) = self.left.remove(&node) {
            // It is back.
            self.handle_pair(now, node, pair);
        }
    }

    /// Takes in what a node says of its links, and what others found out about them.
    fn put_links(&mut self, now: Instant, node: NodeKey, peers: impl IntoIterator<Item = NodeKey>) {
        let peers = peers.into_iter();
        let changed: Vec<NodeKey> = peers.filter(|peer| self.put_link(node, *peer)).collect();
        if !changed.is_empty() {
            self.renew_links(now, node, &changed);
        }
    }

    /// Returns whether the graph says something else of the link now.
    fn put_link(&mut self, from: NodeKey, to: NodeKey) -> bool {
        let advert = self.gossip.advert(from);
        let said = advert.and_then(|advert| advert.value().content().links.get(&to).copied());
        let said = said.map(|link| match self.unreachable.contains_key(&(from, to)) {
            true => Link {
                health: LinkHealth::Down,
                ..link
            },
            false => link,
        });
        if self.graph.link(from, to) == said.as_ref() {
            return false;
        }
        match said {
            Some(link) => self.graph.set_link(from, to, link),
            None => self.graph.remove_link(from, to),
        }
        true
    }

    fn on_gone(&mut self, now: Instant, node: NodeKey, farewell: Farewell) {
        self.graph.remove_node(node);
        self.graph.remove_link(self.own, node);
        let linked = self.links.handle_gone(node);
        if let (Farewell::Left, Some(pair)) = (farewell, linked) {
            self.left.insert(node, pair);
        }
        self.unreachable
            .retain(|(at, next), _| *at != node && *next != node);
        self.rebuild_soon(now);
        self.wanted.handle_gone(now, node);
        self.destinations.handle_gone(now, node);
        self.drain_destinations(now);
        self.outputs.push_back(Output::Gone(node, farewell));
    }

    /// Takes in which nodes are to get nothing, as what they did says.
    fn drain_destinations(&mut self, now: Instant) {
        while let Some((node, verdict)) = self.destinations.poll_output() {
            if let Some(known) = self.graph.node(node).copied() {
                let ejected = self.destinations.is_ejected(node);
                self.graph.set_node(node, Node { ejected, ..known });
                self.renew_node(now, node);
            }
            self.outputs.push_back(Output::Judged(node, verdict));
        }
    }

    /// Dials those that were lost, now and then: the way back into a mesh that was cut in two.
    fn redial_lost(&mut self, now: Instant) {
        if self.redial.poll_timeout() > now {
            return;
        }
        let lost: Vec<NodeKey> = self.gossip.lost().map(|lost| lost.value().node()).collect();
        let wanted: BTreeSet<NodeKey> = self.wanted.peers().collect();
        let turn = self.redial.handle_timeout(now, &lost);
        let unwanted = turn.over.into_iter().filter(|peer| !wanted.contains(peer));
        self.outputs.extend(unwanted.map(Output::Unwant));
        self.outputs.extend(turn.next.into_iter().map(Output::Want));
    }

    /// Believes again in links whose unreachability is over.
    fn forgive(&mut self, now: Instant) {
        let over = self.unreachable.iter().filter(|(_, until)| **until <= now);
        for (at, next) in over.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.unreachable.remove(&(at, next));
            self.put_links(now, at, [next]);
        }
    }

    fn rebuild_soon(&mut self, now: Instant) {
        self.rebuild_at.get_or_insert(now + REBUILD_AFTER);
    }

    fn rebuild(&mut self, now: Instant) {
        self.rebuild_at = None;
        for index in 0..self.routings.len() {
            let changes = self.routings[index].rebuild(now, &self.graph);
            self.note(index, changes);
        }
    }

    fn renew_node(&mut self, now: Instant, node: NodeKey) {
        if node != self.own {
            // What is published with a route says how its destination is, whatever path it takes.
            for index in 0..self.routings.len() {
                let changes = Changes {
                    any: true,
                    ..Changes::default()
                };
                self.note(index, changes);
            }
        }
        let is_new = self.routings[0].is_new(&self.graph, node);
        if is_new || self.rebuild_at.is_some() {
            return self.rebuild_soon(now);
        }
        for index in 0..self.routings.len() {
            let changes = self.routings[index].update_node(now, &self.graph, node);
            self.note(index, changes);
        }
    }

    fn renew_links(&mut self, now: Instant, node: NodeKey, peers: &[NodeKey]) {
        if self.rebuild_at.is_some() {
            // What is in the table is older than the graph. Only our own links cannot wait.
            if node == self.own {
                self.rebuild(now);
            }
            return;
        }
        for index in 0..self.routings.len() {
            let changes = self.routings[index].update_links(now, &self.graph, node, peers);
            self.note(index, changes);
        }
    }

    fn note(&mut self, index: usize, changes: Changes) {
        let traffic = Traffic::ALL[index];
        for (node, decision) in changes.moves {
            let moved = Output::Moved(traffic, node, Box::new(decision));
            self.outputs.push_back(moved);
        }
        let rerouted = Output::Rerouted(traffic);
        if changes.any && self.outputs.back() != Some(&rerouted) {
            self.outputs.push_back(rerouted);
        }
    }
}

impl Traffic {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// What matters to it.
    pub fn policy(self) -> CostPolicy {
        match self {
            Self::Interactive => CostPolicy::Interactive,
            Self::Bulk => CostPolicy::Bulk,
        }
    }

    /// The word for metrics and tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

/// How long nodes that come and go wait for each other: far less than news of them takes to come.
pub const REBUILD_AFTER: Duration = Duration::from_millis(20);
/// How long figures of links wait for each other before they are compared with what was told: a
/// hundredth of the least time between two statements about them.
pub const PUBLISH_AFTER: Duration = Duration::from_millis(100);
/// As long as a silent connection is kept: then the node on the way knows, and has said so.
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// Links believed to be unusable at a time.
pub const MAX_UNREACHABLE: usize = 256;
