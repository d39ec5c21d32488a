//! What a node tells about itself, read from what its tasks have published.

mod mesh;
mod policy;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    admin::{
        Answer, LoopCheck, NodeView,
        view::{
            EchoView, LinkView, ListenView, MeshView, PairView, PeerDetailView, PeerView,
            PolicyView, ReadyView, RoundTripsView, RouteDetailView, RouteView, ServiceView,
            StatusView, TaskView, TransitionView,
        },
    },
    clock,
    config::{Target, Transport},
    deadline::Endpoint,
    identity::Date,
    keeper::{PeerStatus, StateName, Transition},
    link::Link,
    links::{ConditionChange, PairFigures, Peer},
    mesh::Mesh,
    routes::{Fit, Way},
    seeker::Seeking,
    services::Destination,
    tasks::{Scope, TaskRow, Tasks},
    telemetry::Metrics,
    wire::{Class, PROTOCOL, ServiceKind},
};

/// A node as the admin API shows it. Nothing here holds up the node.
#[derive(Debug)]
pub(super) struct View {
    pub(super) mesh: Arc<Mesh>,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) listens: Vec<SocketAddr>,
    /// One on each worker, to see whether it turns.
    pub(super) turns: Vec<Scope>,
}

impl NodeView for View {
    fn loops(&self) -> Vec<LoopCheck> {
        let check = |(index, scope): (usize, &Scope)| {
            let (turned, heard) = oneshot::channel();
            // A refused spawn drops the sender, and the check never resolves: as it should.
            let _ = scope.spawn("turn", |_| async move {
                let _ = turned.send(());
            });
            LoopCheck {
                name: format!("worker {index}"),
                turned: Box::pin(async move {
                    if heard.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }),
            }
        };
        self.turns.iter().enumerate().map(check).collect()
    }

    fn ready(&self) -> ReadyView {
        let mut reasons = Vec::new();
        if self.mesh.duplicate.load(Ordering::Relaxed) {
            reasons.push("another process uses this node's name".to_owned());
        }
        let material = self.mesh.material.load();
        if material.not_after() <= self.mesh.env.wall.now() {
            reasons.push(format!(
                "the certificate ended at {}",
                Date(material.not_after())
            ));
        }
        ReadyView { reasons }
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn status(&self) -> StatusView {
        let mesh = &*self.mesh;
        let peers = self.peers();
        let up = peers
            .iter()
            .filter(|peer| peer.state == StateName::Up.to_string())
            .count();
        let bound = self
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.local_address().ok());
        StatusView {
            node: mesh.id.to_string(),
            uri: mesh.id.uri().to_owned(),
            key: mesh.id.key().to_string(),
            generation: mesh.generation().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            release: mesh.release.clone(),
            protocol: (PROTOCOL.min, PROTOCOL.max),
            uptime_ms: millis(clock::now().saturating_duration_since(mesh.started)),
            ready: self.ready(),
            bound: bound.map(|address| address.to_string()).collect(),
            advertised: mesh.advertised.iter().map(ToString::to_string).collect(),
            certificate_ends: Date(mesh.material.load().not_after()).to_string(),
            labels: mesh.config.labels().clone(),
            peers_up: count(up),
            peers: count(peers.len()),
            services: self.services(),
            listens: self.listens(),
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        let now = clock::now();
        let peers = self.mesh.links.snapshot();
        let mut rows: Vec<PeerView> = peers.values().map(|peer| row(peer, now)).collect();
        let seekers = self.mesh.seekers.load();
        rows.extend(seekers.iter().map(|seeking| sought(seeking, now)));
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    fn peer(&self, name: &str) -> Option<PeerDetailView> {
        let now = clock::now();
        let peers = self.mesh.links.snapshot();
        if let Some(peer) = peers.values().find(|peer| peer.id.to_string() == name) {
            return Some(detail(peer, now));
        }
        let seekers = self.mesh.seekers.load();
        let seeking = seekers.iter().find(|seeking| seeking.name() == name)?;
        Some(sought_detail(seeking, now))
    }

    fn tasks(&self) -> Vec<TaskView> {
        self.tasks
            .list(clock::now())
            .into_iter()
            .map(task)
            .collect()
    }

    fn routes(&self) -> Answer<Vec<RouteView>> {
        Box::pin(mesh::routes(self.mesh.clone()))
    }

    fn route(&self, name: String) -> Answer<RouteDetailView> {
        Box::pin(mesh::route(self.mesh.clone(), name))
    }

    fn mesh(&self) -> Answer<MeshView> {
        Box::pin(mesh::whole(self.mesh.clone()))
    }

    fn echo(&self, name: String, hop: Option<usize>) -> Answer<EchoView> {
        Box::pin(mesh::echoed(self.mesh.clone(), name, hop))
    }

    fn policy(&self) -> Answer<Option<PolicyView>> {
        Box::pin(policy::policy(self.mesh.clone()))
    }

    fn apply_policy(&self, signed: Vec<u8>) -> Answer<PolicyView> {
        Box::pin(policy::apply(self.mesh.clone(), signed))
    }
}

impl View {
    fn services(&self) -> Vec<ServiceView> {
        let services = self.mesh.config.services().iter();
        services
            .map(|service| ServiceView {
                name: service.name.clone(),
                kind: service.transport.word().to_owned(),
                address: service.address.to_string(),
            })
            .collect()
    }

    /// The node that a way leads to, and over which peer if not straight.
    fn name_of(&self, way: &Way) -> String {
        let first = &way.first.peer;
        if way.is_direct() {
            return first.to_string();
        }
        match self.mesh.node_id(way.destination) {
            Some(node) => format!("{node} over {first}"),
            None => format!("{} over {first}", way.destination),
        }
    }

    fn listens(&self) -> Vec<ListenView> {
        let listens = self.mesh.config.listens().iter().zip(&self.listens);
        listens
            .map(|(listen, address)| {
                let kind = match listen.transport {
                    Transport::Udp { .. } => ServiceKind::Udp,
                    Transport::Tcp { .. } => ServiceKind::Tcp,
                };
                let to = match &listen.to {
                    Target::Node(node) => node.to_string(),
                    Target::Region(region) => region.clone(),
                };
                let destination = Destination::new(listen.service.clone(), listen.to.clone());
                let class = Class::from(listen.class);
                let ways = destination.ways(&self.mesh, class.into(), kind, 0, None);
                let via = ways.into_iter().find(|way| way.fit() != Fit::Gone);
                ListenView {
                    kind: listen.transport.word().to_owned(),
                    address: address.to_string(),
                    service: listen.service.clone(),
                    to,
                    via: via.map(|way| self.name_of(&way)),
                }
            })
            .collect()
    }
}

fn row(peer: &Peer, now: Instant) -> PeerView {
    let report = peer.report.load();
    let published = peer.slot.load();
    let current = published.link.as_deref();
    let last = report.history.last();
    let kept = last.map_or(StateName::Idle, |transition| transition.to);
    // Another link, or other news, is no other state.
    let same = report.history.iter().rev().take_while(|t| t.to == kept);
    let since = same.last().map_or(now, |transition| transition.at);
    let (state, since, reason) = match &published.status {
        // The link is kept for a while; the word an operator looks for is this one.
        PeerStatus::Down { since, .. } => ("down".to_owned(), *since, published.status.to_string()),
        _ => {
            let reason = last.map(|transition| transition.reason.to_string());
            (kept.to_string(), since, reason.unwrap_or_default())
        }
    };
    PeerView {
        name: peer.id.to_string(),
        state,
        state_ms: millis(now.saturating_duration_since(since)),
        reason,
        address: current.map(|link| link.connection.remote_address().to_string()),
        srtt_us: current.and_then(srtt_us),
        loss: current.and_then(loss),
        services: current.map_or(0, |link| count(link.declared().services.len())),
    }
}

/// The row of addresses whose node is not known yet.
fn sought(seeking: &Seeking, now: Instant) -> PeerView {
    let failed = seeking.failed.load();
    let reason = match failed.as_deref() {
        Some((error, _)) => format!("dial failed: {error}"),
        None => "configured".to_owned(),
    };
    PeerView {
        name: seeking.name(),
        state: "seeking".to_owned(),
        state_ms: millis(now.saturating_duration_since(seeking.since)),
        reason,
        address: None,
        srtt_us: None,
        loss: None,
        services: 0,
    }
}

fn sought_detail(seeking: &Seeking, now: Instant) -> PeerDetailView {
    let failed = seeking.failed.load();
    let next = failed.as_deref().map(|(_, until)| until);
    PeerDetailView {
        peer: sought(seeking, now),
        key: None,
        release: None,
        labels: BTreeMap::new(),
        // Once it is over, the next dial is under way.
        backoff_ms: next
            .filter(|until| **until > now)
            .map(|until| millis(until.saturating_duration_since(now))),
        addresses: seeking.targets.iter().map(ToString::to_string).collect(),
        links: Vec::new(),
        services: Vec::new(),
        pair: None,
        conditions: Vec::new(),
        transitions: Vec::new(),
    }
}

fn detail(peer: &Peer, now: Instant) -> PeerDetailView {
    let report = peer.report.load();
    let state = peer.slot.load();
    let current = state.link.as_ref();
    let mut links: Vec<LinkView> = report
        .links
        .iter()
        .map(|link| LinkView {
            generation: link.generation.to_string(),
            direction: if link.dialed { "dialed" } else { "accepted" }.to_owned(),
            current: current.is_some_and(|current| Arc::ptr_eq(current, link)),
            address: link.connection.remote_address().to_string(),
            age_ms: millis(now.saturating_duration_since(link.since)),
            srtt_us: srtt_us(link),
            loss: loss(link),
            sent_bytes: link.connection.stats().sent_bytes,
            received_bytes: link.connection.stats().received_bytes,
        })
        .collect();
    links.sort_by_key(|link| !link.current);
    PeerDetailView {
        peer: row(peer, now),
        key: Some(peer.id.key().to_string()),
        release: current.map(|link| link.release.clone()),
        labels: current.map(|link| link.labels.clone()).unwrap_or_default(),
        backoff_ms: match &state.status {
            PeerStatus::Backoff { until, .. } => Some(millis(until.saturating_duration_since(now))),
            _ => None,
        },
        addresses: report.addresses.iter().map(ToString::to_string).collect(),
        links,
        services: current.map(services_of).unwrap_or_default(),
        pair: Some(pair(peer, report.figures)),
        conditions: report
            .conditions
            .iter()
            .map(|change| judged(change, now))
            .collect(),
        transitions: report
            .history
            .iter()
            .map(|transition| passed(transition, now))
            .collect(),
    }
}

fn services_of(link: &Arc<Link>) -> Vec<String> {
    link.declared()
        .services
        .iter()
        .map(|service| service.name.clone())
        .collect()
}

fn passed(transition: &Transition, now: Instant) -> TransitionView {
    TransitionView {
        ago_ms: millis(now.saturating_duration_since(transition.at)),
        from: transition.from.to_string(),
        to: transition.to.to_string(),
        reason: transition.reason.to_string(),
    }
}

fn judged(change: &ConditionChange, now: Instant) -> TransitionView {
    TransitionView {
        ago_ms: millis(now.saturating_duration_since(change.at)),
        from: change.from.to_string(),
        to: change.to.to_string(),
        reason: change.reason.to_string(),
    }
}

fn pair(peer: &Peer, figures: PairFigures) -> PairView {
    PairView {
        condition: peer.condition().to_string(),
        falls: figures.falls,
        loss: f64::from(figures.loss_ppm) / 1_000_000.0,
        jitter_us: micros(figures.jitter),
        round_trips: figures.round_trips.map(|of| RoundTripsView {
            p50_us: micros(of.p50),
            p90_us: micros(of.p90),
            p99_us: micros(of.p99),
            max_us: micros(of.max),
        }),
    }
}

fn task(row: TaskRow) -> TaskView {
    TaskView {
        name: row.name.to_owned(),
        owner: row.owner.to_string(),
        age_ms: millis(row.age),
        waits_for: row.waits_for.word().to_owned(),
        overdue: row.overdue,
    }
}

fn srtt_us(link: &Link) -> Option<u64> {
    let us = micros(link.srtt());
    (us > 0).then_some(us)
}

/// The share of all packets of the link that QUIC counted as lost.
fn loss(link: &Link) -> Option<f64> {
    let stats = link.connection.stats();
    (stats.sent_packets > 0).then(|| stats.lost_packets as f64 / stats.sent_packets as f64)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
