//! The task around the router: tells it what was measured and said, and does what it decides.

mod neighbours;
mod policy;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use router::{
    advert::Advert,
    choice::{Decision, Wish},
    cost::{Load, Loss, Measure},
    gossip::{Farewell, Message},
    graph::{Graph, NodeKey as RouterKey, RegionId, Service},
    health::Condition,
    paths::Path,
    router::{Output, Own, Pair, Router, Verdict},
    verified::Verified,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use self::{neighbours::Neighbours, policy::Policies, ways::Ways};
use crate::{
    adverts::Regions,
    clock,
    config::HostPort,
    id::{NodeGeneration, NodeId, NodeKey},
    link::Link,
    load::LoadWatch,
    mesh::Mesh,
    policies::{PolicyInForce, PolicyRefused},
    roster::RosterEvent,
    routes::Kind,
    tasks::{Task, Wait},
    wire::Frame,
};

/// What the router is told.
#[derive(Debug)]
pub(crate) enum NavigatorEvent {
    /// There is traffic for this node: a direct link to it is worth having.
    Demand(NodeKey),
    /// This node's generation has moved.
    GenerationMoved(NodeGeneration),
    /// A neighbour says something of the mesh: one of the advert frames.
    Gossip {
        /// Who says it.
        from: NodeKey,
        /// What it says.
        frame: Frame,
    },
    /// Somebody wants to see what the router knows.
    Inspect {
        /// Whose decisions are asked for.
        of: Option<NodeKey>,
        /// Where the answer goes.
        answer: oneshot::Sender<Box<Inspection>>,
    },
    /// The node ends: all neighbours are to know.
    Leave {
        /// Told when that is on its way to them, with how long it takes there.
        said: oneshot::Sender<Duration>,
    },
    /// A request of ours to a node succeeded, or failed for a reason that is the node's.
    Outcome {
        /// The node.
        node: NodeKey,
        /// Whether it succeeded.
        success: bool,
    },
    /// A program on this machine brings a policy of the fleet.
    ApplyPolicy {
        /// As an administrator signed it.
        signed: Vec<u8>,
        /// Where what became of it goes.
        answer: oneshot::Sender<Result<PolicyInForce, PolicyRefused>>,
    },
    /// Somebody wants to see the policy of the fleet.
    InspectPolicy(oneshot::Sender<Option<PolicyInForce>>),
    /// Something about a pair changed: its current link, what is thought of it, or its figures.
    Pair(Box<PairReport>),
    /// A node on the way cannot go on to the next.
    Unreachable {
        /// The node that cannot go on.
        at: NodeKey,
        /// Whom it cannot reach.
        next: NodeKey,
    },
}

/// What a keeper's task knows of its peer.
#[derive(Debug)]
pub(crate) struct PairReport {
    /// The peer.
    pub(crate) peer: NodeId,
    /// The current link, usable or not.
    pub(crate) link: Option<Arc<Link>>,
    /// What is thought of the pair over all its links.
    pub(crate) condition: Condition,
    /// The smoothed round trip, once there was a reply.
    pub(crate) rtt: Option<Duration>,
    /// Share of what was sent lately that was lost on the way out, in parts per million.
    pub(crate) loss_ppm: u32,
}

/// What the router knows, at one moment.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// The moment.
    pub(crate) at: Instant,
    /// This node.
    pub(crate) own: NodeKey,
    /// Every node that is known, and every link that is reported.
    pub(crate) graph: Graph,
    /// Their names.
    pub(crate) names: BTreeMap<NodeKey, NodeId>,
    /// What they run, where they said so.
    pub(crate) releases: BTreeMap<NodeKey, String>,
    /// How traffic goes, by kind and destination.
    pub(crate) routes: Vec<RouteReport>,
    /// The last decisions about the node that was asked for, oldest first.
    pub(crate) decisions: Vec<(Kind, Decision)>,
    /// Names in which two processes seem to speak.
    pub(crate) contested: BTreeSet<NodeKey>,
    /// This node has just started, and does not take what it has not heard of for absent.
    pub(crate) is_warming: bool,
    /// This node suspects itself.
    pub(crate) is_doubting: bool,
}

/// How traffic for one destination goes.
#[derive(Debug, Clone)]
pub(crate) struct RouteReport {
    /// The kind of traffic.
    pub(crate) kind: Kind,
    /// Where it leads.
    pub(crate) destination: NodeKey,
    /// The path in use.
    pub(crate) path: Option<Path>,
    /// What to fall back on.
    pub(crate) backup: Option<Path>,
    /// What would move the traffic if it lasted.
    pub(crate) wish: Option<Wish>,
    /// The last decision.
    pub(crate) last: Option<Decision>,
}

/// Owns the node's router.
pub(crate) struct Navigator {
    mesh: Arc<Mesh>,
    router: Router,
    neighbours: Neighbours,
    policies: Policies,
    ways: Ways,
    load: LoadWatch,
    region: RegionId,
    /// Who is known by adverts, by key.
    names: BTreeMap<NodeKey, NodeId>,
    /// Others have yet to see a name among those.
    unnamed: bool,
    /// When names that nothing needs any more are forgotten next.
    next_sweep: Instant,
    /// Links that are wanted, and the addresses that the roster was told.
    wanted: BTreeMap<RouterKey, Vec<String>>,
    /// The roster has yet to hear something of that.
    unsaid: bool,
    /// Who is to know when the last word is out.
    leaving: Option<oneshot::Sender<Duration>>,
    /// Kinds of traffic whose ways are to be published.
    rerouted: BTreeSet<Kind>,
    events: mpsc::Receiver<NavigatorEvent>,
    events_in_row: usize,
}

enum Wake {
    Event(NavigatorEvent),
    Stop,
    Timer,
}

impl Navigator {
    pub(crate) fn new(mesh: &Arc<Mesh>, events: mpsc::Receiver<NavigatorEvent>) -> Self {
        let now = clock::now();
        let mut regions = Regions::default();
        let region = regions.intern(mesh.id.region());
        let region = region.expect("one region fits");
        let key = mesh.id.key();
        let router = Router::new(
            key.into(),
            mesh.generation().0,
            says(mesh, region, Load::IDLE),
            mesh.seed_for(b"router"),
            mesh.config.peers().len(),
            now,
        );
        Self {
            neighbours: Neighbours::new(mesh.clone(), regions),
            policies: Policies::load(mesh.clone()),
            router,
            ways: Ways::default(),
            load: LoadWatch::new(mesh.config.limits(), now),
            region,
            names: BTreeMap::from([(key, mesh.id.clone())]),
            unnamed: false,
            next_sweep: now + SWEEP_EVERY,
            wanted: BTreeMap::new(),
            unsaid: false,
            leaving: None,
            rerouted: BTreeSet::new(),
            events,
            events_in_row: 0,
            mesh: mesh.clone(),
        }
    }

    /// Runs until the owner's end.
    pub(crate) async fn run(mut self: Box<Self>, task: Task) {
        self.perform_outputs(clock::now()).await;
        loop {
            let wake = self.next_wake(&task).await;
            let now = clock::now();
            match wake {
                Wake::Stop => return,
                Wake::Timer => self.handle_timeout(now),
                Wake::Event(event) => {
                    let is_costly = self.handle_event(now, event);
                    // A flood of events does not stop the clock.
                    self.events_in_row += 1;
                    if self.events_in_row >= EVENTS_IN_ROW {
                        self.handle_timeout(now);
                    }
                    if is_costly {
                        // A signature was checked; packets go between two of these.
                        tokio::task::yield_now().await;
                    }
                }
            }
            self.perform_outputs(now).await;
        }
    }

    async fn next_wake(&mut self, task: &Task) -> Wake {
        task.waits(Wait::Message);
        let timer = self.router.poll_timeout().min(self.load.poll_timeout());
        tokio::select! {
            biased;
            () = task.stopping() => Wake::Stop,
            Some(event) = self.events.recv() => Wake::Event(event),
            () = clock::sleep_until(Some(timer)) => Wake::Timer,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(load) = self.load.handle_timeout(now, &self.mesh) {
            let says = says(&self.mesh, self.region, load);
            self.router.handle_own(now, says);
        }
        let late = now.saturating_duration_since(self.router.poll_timeout());
        if self.events_in_row == 0 && late > TOLERANCE {
            self.router.handle_stall(now, late);
        }
        self.events_in_row = 0;
        self.router.handle_timeout(now);
        self.forget_names(now);
        self.survey(now);
    }

    /// Whether it cost as much as a signature.
    fn handle_event(&mut self, now: Instant, event: NavigatorEvent) -> bool {
        match event {
            NavigatorEvent::Demand(node) => self.router.handle_demand(now, node.into()),
            NavigatorEvent::GenerationMoved(generation) => {
                self.router.handle_generation(now, generation.0);
            }
            NavigatorEvent::Gossip { from, frame } => return self.handle_gossip(now, from, frame),
            NavigatorEvent::ApplyPolicy { signed, answer } => {
                let applied = self.policies.apply(&signed);
                let applied = applied.map(|news| self.tell_policy(news, None));
                let report = |()| self.policies.report().ok_or(PolicyRefused::Expired);
                // Whoever asked may have given up.
                let _ = answer.send(applied.and_then(report));
                return true;
            }
            NavigatorEvent::InspectPolicy(answer) => {
                let _ = answer.send(self.policies.report());
            }
            NavigatorEvent::Inspect { of, answer } => {
                // Whoever asked may have given up.
                let _ = answer.send(Box::new(self.inspect(now, of)));
            }
            NavigatorEvent::Leave { said } => {
                self.router.handle_leave(now);
                self.leaving = Some(said);
            }
            NavigatorEvent::Outcome { node, success } => {
                self.router.handle_outcome(now, node.into(), success);
            }
            NavigatorEvent::Pair(report) => self.handle_pair(now, *report),
            NavigatorEvent::Unreachable { at, next } => {
                self.router.handle_unreachable(now, at.into(), next.into());
            }
        }
        false
    }

    fn handle_gossip(&mut self, now: Instant, from: NodeKey, frame: Frame) -> bool {
        match frame {
            Frame::Policy { signed } => {
                let news = self.policies.handle_policy(now, from, &signed);
                self.tell_policy(news, Some(from));
                return true;
            }
            Frame::PolicyDigest { epoch, hash } => {
                if let Some(answer) = self.policies.handle_digest(epoch, hash) {
                    self.neighbours.send_frame(from, answer);
                }
                return false;
            }
            _ => {}
        }
        let router = &mut self.router;
        let expects = |node, state| router.expects(from.into(), node, state);
        let is_costly = matches!(frame, Frame::Advert { .. });
        if let Some((message, author)) = self.neighbours.read(frame, expects) {
            self.router.handle_message(now, from.into(), message);
            if let Some(author) = author {
                let key = author.key().into();
                self.name(author);
                let told = self.wanted.get(&key);
                self.unsaid |= told.is_some_and(|told| *told != self.addresses(key));
            }
        }
        is_costly
    }

    /// Passes a new policy on, but not back.
    fn tell_policy(&self, news: Option<Frame>, from: Option<NodeKey>) {
        let Some(news) = news else {
            return;
        };
        for peer in self.neighbours.links().keys() {
            if Some(*peer) != from {
                self.neighbours.send_frame(*peer, news.clone());
            }
        }
    }

    fn handle_pair(&mut self, now: Instant, report: PairReport) {
        let key = report.peer.key();
        self.name(report.peer);
        let limit_bytes = report.link.as_ref().and_then(|link| link.limit_bytes());
        let pair = Pair {
            linked: report.link.is_some(),
            condition: report.condition,
            measure: report.rtt.map(|rtt| Measure {
                rtt,
                loss: Loss::from_ppm(report.loss_ppm),
            }),
            limit_bytes: limit_bytes.unwrap_or(0),
        };
        let is_linked = report.link.is_some();
        if self.neighbours.handle_link(key, report.link) {
            match is_linked {
                true => self.router.handle_link(now, key.into()),
                false => self.router.handle_unlinked(now, key.into()),
            }
            // The same paths lead over another link now.
            self.rerouted.extend(Kind::ALL);
        }
        self.router.handle_pair(now, key.into(), pair);
    }

    /// Remembers who has a key, so that others can be told apart by name.
    fn name(&mut self, node: NodeId) {
        let key = node.key();
        if self.names.get(&key) != Some(&node) {
            self.names.insert(key, node);
            self.unnamed = true;
        }
    }

    /// Shows others the names, once for all that came together: a thousand links in a second are
    /// not a thousand copies of a thousand names.
    fn publish_names(&mut self) {
        if self.unnamed && (self.events.is_empty() || self.events_in_row == 0) {
            self.unnamed = false;
            self.mesh.names.store(Arc::new(self.names.clone()));
        }
    }

    /// Forgets the names of nodes that have no link and are neither in the mesh nor lost.
    fn forget_names(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_EVERY;
        let gossip = self.router.gossip();
        let known = gossip.adverts().chain(gossip.lost());
        let known = known.map(|advert| NodeKey::from(advert.value().node()));
        let mut needed: BTreeSet<NodeKey> = known.collect();
        needed.extend(self.neighbours.links().keys());
        needed.insert(self.mesh.id.key());
        let before = self.names.len();
        self.names.retain(|key, _| needed.contains(key));
        self.unnamed |= self.names.len() != before;
    }

    async fn perform_outputs(&mut self, now: Instant) {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Contested(node) => {
                    self.mesh.counts.nodes_contested.incr();
                    warn!(
                        node = self.shown(node),
                        "two processes seem to speak in its name"
                    );
                }
                Output::Doubting(true) => {
                    self.mesh.counts.nodes_doubted.incr();
                    warn!(
                        "many links are lost at once: this node suspects itself, and tells nobody"
                    );
                }
                Output::Doubting(false) => info!("this node trusts what it sees again"),
                Output::Gone(node, farewell) => self.forget(node, farewell),
                Output::Judged(node, Verdict::Ejected { reason, time }) => {
                    self.mesh.counts.ejections.incr(reason.into());
                    warn!(
                        node = self.shown(node),
                        ?reason,
                        ?time,
                        "node fails what it is asked: nothing new goes there"
                    );
                }
                Output::Judged(node, Verdict::Returned) => {
                    info!(node = self.shown(node), "node may be asked again");
                }
                Output::Moved(kind, node, decision) => self.note_move(kind, node, &decision),
                Output::Outbid(version) => {
                    let known = NodeGeneration(version.generation);
                    // A full roster has reports enough; the next advert brings another.
                    let _ = self.mesh.roster.try_send(RosterEvent::Stale { known });
                }
                Output::Rerouted(kind) => drop(self.rerouted.insert(kind)),
                Output::Send(peer, message) => {
                    let digest = matches!(message, Message::Digest(_));
                    self.neighbours.send(peer.into(), message);
                    if digest && let Some(policy) = self.policies.digest() {
                        self.neighbours.send_frame(peer.into(), policy);
                    }
                }
                Output::Sign(advert) => match self.neighbours.sign(&advert) {
                    Ok(signed) => self.router.handle_signed(now, signed),
                    Err(error) => error!(%error, "cannot sign what this node says of itself"),
                },
                Output::Unwant(peer) => self.unsaid |= self.wanted.remove(&peer).is_some(),
                Output::Want(peer) => {
                    self.wanted.entry(peer).or_default();
                    self.unsaid = true;
                }
            }
        }
        if let Some(said) = self.leaving.take() {
            // Whoever ends the node may have run out of time.
            let _ = said.send(self.neighbours.last_word());
        }
        let (is_warming, is_doubting) = (!self.router.is_warm(now), self.router.doubts().0);
        self.mesh
            .survey
            .is_warming
            .store(is_warming, Ordering::Relaxed);
        self.mesh
            .survey
            .is_doubting
            .store(is_doubting, Ordering::Relaxed);
        if !self.rerouted.is_empty() {
            self.survey(now);
        }
        for kind in std::mem::take(&mut self.rerouted) {
            let links = self.neighbours.links();
            self.ways.publish(&self.mesh, kind, &self.router, links);
        }
        self.publish_names();
        if std::mem::take(&mut self.unsaid) {
            self.say_wanted().await;
        }
    }

    /// Tells the roster which links are wanted: all of them, so that nothing depends on what it
    /// heard before.
    async fn say_wanted(&mut self) {
        let mut wanted = Vec::new();
        for peer in self.wanted.keys().copied().collect::<Vec<_>>() {
            let said = self.addresses(peer);
            // What this release cannot dial may be dialed by others.
            let addresses: Vec<HostPort> = said.iter().filter_map(|a| a.parse().ok()).collect();
            self.wanted.insert(peer, said);
            if let Some(id) = self.names.get(&NodeKey::from(peer))
                && !addresses.is_empty()
            {
                wanted.push((id.clone(), addresses));
            }
        }
        let wanted = RosterEvent::Wanted(wanted);
        // The roster never waits for the router; if it is that busy, all is said again.
        let said = self.mesh.roster.send_timeout(wanted, SAY_WITHIN).await;
        self.unsaid = said.is_err();
    }

    /// Where a node says that it can be dialed, or said last before it was lost.
    fn addresses(&self, node: RouterKey) -> Vec<String> {
        let gossip = self.router.gossip();
        let advert = gossip.advert(node).or_else(|| {
            let mut lost = gossip.lost();
            lost.find(|lost| lost.value().node() == node)
        });
        let said = |advert: &Verified<Advert>| advert.value().content().addresses.clone();
        advert.map(said).unwrap_or_default()
    }

    fn forget(&mut self, node: RouterKey, farewell: Farewell) {
        let why = match farewell {
            Farewell::Expired => "nothing was heard of it",
            Farewell::Left => "it left",
        };
        self.mesh.counts.nodes_gone.incr(farewell.into());
        info!(
            node = self.shown(node),
            why, "node is not in the mesh any more"
        );
    }

    fn note_move(&mut self, kind: Kind, node: RouterKey, decision: &Decision) {
        self.mesh.counts.route_moves.incr(decision.reason.into());
        let shown = |path: Option<&Path>| match path {
            Some(path) => {
                let hops = path.hops().iter().map(|hop| self.shown(*hop));
                format!("{} ({})", hops.collect::<Vec<_>>().join(", "), path.cost())
            }
            None => "none".to_owned(),
        };
        info!(
            to = self.shown(node),
            kind = kind.word(),
            from = shown(decision.from.as_ref()),
            path = shown(decision.to.as_ref()),
            reason = ?decision.reason,
            "route changed"
        );
    }

    fn shown(&self, node: RouterKey) -> String {
        let key = NodeKey::from(node);
        let name = self.names.get(&key).map(ToString::to_string);
        name.unwrap_or_else(|| key.to_string())
    }

    /// Counts what metrics show: when a route changes, and with every timer, of which gossip has one
    /// every five seconds.
    fn survey(&self, now: Instant) {
        let survey = &self.mesh.survey;
        let nodes = self.router.graph().nodes().count();
        let contested = self.contested(now).len();
        survey.nodes.store(nodes as u64, Ordering::Relaxed);
        survey.contested.store(contested as u64, Ordering::Relaxed);
        for kind in Kind::ALL {
            let paths = self.router.routes(kind).filter_map(|route| route.path);
            survey.set_routes(kind, nodes.saturating_sub(1), paths.map(Path::is_direct));
        }
    }

    /// Names in which two processes seem to speak: by what they say, or, of our own, since a peer
    /// has met the other.
    fn contested(&self, now: Instant) -> BTreeSet<NodeKey> {
        let said = self.router.gossip().contested(now).map(NodeKey::from);
        let is_ours = self.mesh.duplicate.load(Ordering::Relaxed);
        said.chain(is_ours.then_some(self.mesh.id.key())).collect()
    }

    fn inspect(&self, now: Instant, of: Option<NodeKey>) -> Inspection {
        let routes = Kind::ALL.into_iter().flat_map(|kind| {
            let routes = self.router.routes(kind);
            routes.map(move |route| RouteReport {
                kind,
                destination: route.destination.into(),
                path: route.path.copied(),
                backup: route.backup.copied(),
                wish: route.wish,
                last: route.last.copied(),
            })
        });
        let decisions = of.into_iter().flat_map(|node| {
            Kind::ALL.into_iter().flat_map(move |kind| {
                let decisions = self.router.decisions(kind, node.into());
                decisions.map(move |decision| (kind, *decision))
            })
        });
        let releases = self.router.gossip().adverts().map(|advert| {
            let advert = advert.value();
            let release = advert.content().release.clone();
            (NodeKey::from(advert.node()), release)
        });
        Inspection {
            at: now,
            own: self.mesh.id.key(),
            graph: self.router.graph().clone(),
            names: self.names.clone(),
            releases: releases.collect(),
            routes: routes.collect(),
            decisions: decisions.collect(),
            contested: self.contested(now),
            is_warming: !self.router.is_warm(now),
            is_doubting: self.router.doubts().0,
        }
    }
}

/// What this node says of itself beside its links.
fn says(mesh: &Mesh, region: RegionId, load: Load) -> Own {
    Own {
        region,
        service: Service::Serving,
        load,
        addresses: mesh.advertised.iter().map(ToString::to_string).collect(),
        ports: mesh
            .advertised
            .iter()
            .map(|address| address.port())
            .collect(),
        release: mesh.release.clone(),
        labels: mesh.config.labels().clone(),
    }
}

/// As many as a burst of adverts and reports; then timers have a turn.
const EVENTS_IN_ROW: usize = 64;
/// Above this lateness of a timer, the stall was our own.
const TOLERANCE: Duration = Duration::from_millis(250);
/// Names are needed only by nodes that go, and an hour's worth of those that are lost stays anyway.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SAY_WITHIN: Duration = Duration::from_millis(100);
