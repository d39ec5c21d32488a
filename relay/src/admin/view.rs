//! What the admin API says, as plain values: JSON on the wire, tables in the CLI.
//!
//! Ages and durations are in milliseconds, round-trip times in microseconds, shares from 0 to 1.
//! Fields may be added; a client skips those it does not know.

mod mesh;
mod policy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::mesh::{
    DecisionView, EchoView, MeshNodeView, MeshView, PathView, RegionsView, ReportView,
    RouteDetailView, RouteHistoryView, RouteView, WishView,
};
pub use self::policy::PolicyView;

/// `/healthz`: whether the process works. Says nothing about other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Each dispatch loop of the node.
    pub loops: Vec<LoopView>,
}

impl HealthView {
    /// Whether every loop answers, and there is one.
    pub fn is_healthy(&self) -> bool {
        !self.loops.is_empty() && self.loops.iter().all(|found| found.answers)
    }
}

/// A dispatch loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopView {
    /// Its name, such as `worker 0`.
    pub name: String,
    /// Whether it answered within the deadline.
    pub answers: bool,
    /// How long it took to answer, or has not answered yet.
    pub after_ms: u64,
}

/// `/readyz`: whether the node should get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyView {
    /// Why not; ready if there is none.
    pub reasons: Vec<String>,
}

impl ReadyView {
    /// Whether nothing speaks against it.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// `/v1/status`: the node itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its name, `region/name`.
    pub node: String,
    /// Its SPIFFE URI.
    pub uri: String,
    /// Its node key, in hex.
    pub key: String,
    /// Its generation.
    pub generation: u64,
    /// The version of the build.
    pub version: String,
    /// What is rolled out: build, shared keys and protocol.
    pub release: String,
    /// The lowest and the highest protocol minor it speaks.
    pub protocol: (u32, u32),
    /// Since its start.
    pub uptime_ms: u64,
    /// Whether it should get traffic.
    pub ready: ReadyView,
    /// The UDP addresses that are bound, one for each worker.
    pub bound: Vec<String>,
    /// What it tells others to dial.
    pub advertised: Vec<String>,
    /// When its certificate ends: `2026-12-31T23:59:59Z`.
    pub certificate_ends: String,
    /// What the operator calls it.
    pub labels: BTreeMap<String, String>,
    /// Peers that are up.
    pub peers_up: u32,
    /// All peers that are wanted.
    pub peers: u32,
    /// What it exposes.
    pub services: Vec<ServiceView>,
    /// What it carries elsewhere.
    pub listens: Vec<ListenView>,
}

/// A service of the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `udp` or `tcp`.
    pub kind: String,
    /// Where it is.
    pub address: String,
}

/// A listen of the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenView {
    /// `udp` or `tcp`.
    pub kind: String,
    /// Where local programs reach it.
    pub address: String,
    /// The service's name.
    pub service: String,
    /// The region or the node, `region/name`, that has the service.
    pub to: String,
    /// The node that new traffic would go to; none if nobody declares the service.
    pub via: Option<String>,
}

/// A row of `/v1/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// `region/name`, or the configured address of a node that is not known yet.
    pub name: String,
    /// The keeper's state, `up` or `backoff`, or `seeking`.
    pub state: String,
    /// How long it has been in that state.
    pub state_ms: u64,
    /// Why it is in that state.
    pub reason: String,
    /// Where its current link leads.
    pub address: Option<String>,
    /// The smoothed round-trip time of its current link.
    pub srtt_us: Option<u64>,
    /// The share of packets lost lately on its current link.
    pub loss: Option<f64>,
    /// The services it declares.
    pub services: u32,
}

/// `/v1/peers/{name}`: everything about one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerDetailView {
    /// Its row.
    pub peer: PeerView,
    /// Its node key, in hex, where it is known.
    pub key: Option<String>,
    /// The release it runs, where it said so.
    pub release: Option<String>,
    /// What its operator calls it.
    pub labels: BTreeMap<String, String>,
    /// Until the next dial, while it backs off.
    pub backoff_ms: Option<u64>,
    /// Where it is dialed, as configured; none for a peer that only dials this node.
    pub addresses: Vec<String>,
    /// Its links, the current one first.
    pub links: Vec<LinkView>,
    /// The names of the services it declares.
    pub services: Vec<String>,
    /// What is thought of it and what was measured; none of a node that is not known yet.
    pub pair: Option<PairView>,
    /// The last changes of what is thought of it, the newest last; at most 32.
    pub conditions: Vec<TransitionView>,
    /// The last changes of state, the newest last; at most 32.
    pub transitions: Vec<TransitionView>,
}

/// What is thought of a peer over all its links, and what was measured lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairView {
    /// `up`, `suspect`, `degraded`, `confirmed` or `down`; the first two carry traffic.
    pub condition: String,
    /// How often it ceased to carry traffic.
    pub falls: u64,
    /// The share of packets sent to it lately that the link lost.
    pub loss: f64,
    /// Interarrival jitter of what was sent, at the peer.
    pub jitter_us: u64,
    /// Round trips of the last minute, if there were any.
    pub round_trips: Option<RoundTripsView>,
}

/// Quantiles of round trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundTripsView {
    /// Half took this long at most.
    pub p50_us: u64,
    /// Nine in ten.
    pub p90_us: u64,
    /// Ninety-nine in a hundred.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// One link of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Its generation.
    pub generation: String,
    /// `dialed` or `accepted`.
    pub direction: String,
    /// Whether it is the current one.
    pub current: bool,
    /// The far end.
    pub address: String,
    /// Since it was established.
    pub age_ms: u64,
    /// Its smoothed round-trip time.
    pub srtt_us: Option<u64>,
    /// The share of packets lost lately.
    pub loss: Option<f64>,
    /// Bytes sent, all headers of UDP included.
    pub sent_bytes: u64,
    /// Bytes received, all headers of UDP included.
    pub received_bytes: u64,
}

/// A change of a peer's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionView {
    /// How long ago.
    pub ago_ms: u64,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// A row of `/v1/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// What it is.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// Since it was started.
    pub age_ms: u64,
    /// What it waits for.
    pub waits_for: String,
    /// Whether it should be gone by now.
    pub overdue: bool,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// What was wrong with it.
    pub error: String,
}
