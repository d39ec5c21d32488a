//! What a node knows of the mesh, and how its traffic goes.
//!
//! Costs are in equivalent milliseconds: the round trip that would be as bad. Paths are lists of
//! names: this node, the nodes between the links, the destination.

use serde::{Deserialize, Serialize};

/// A row of `/v1/routes`: how traffic of one kind for one node goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// The destination.
    pub to: String,
    /// `interactive` or `bulk`.
    pub kind: String,
    /// The path in use; none if there is none.
    pub path: Option<Vec<String>>,
    /// Why it is that path, in words.
    pub why: String,
    /// Since it was taken, or the last one was lost; none if there never was one.
    pub since_ms: Option<u64>,
    /// What it costs: the sum of the next three.
    pub cost_ms: Option<f64>,
    /// The measured round trip.
    pub delay_ms: Option<f64>,
    /// What loss is worth.
    pub loss_ms: Option<f64>,
    /// What the load of the nodes between its links is worth.
    pub load_ms: Option<f64>,
    /// Links of it that are suspect.
    pub suspect_links: u8,
    /// Nodes between its links that drain.
    pub draining_nodes: u8,
    /// Links of it that are not measured yet, each of which counts as 1,000 ms.
    pub unmeasured_links: u8,
    /// What to fall back on; none if there is nothing.
    pub backup: Option<Vec<String>>,
    /// What that costs.
    pub backup_cost_ms: Option<f64>,
}

/// `/v1/routes/{name}`: how traffic for one node goes, and what led to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteDetailView {
    /// The destination.
    pub to: String,
    /// For each kind of traffic.
    pub kinds: Vec<RouteHistoryView>,
}

/// How traffic of one kind for one node goes, and what led to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteHistoryView {
    /// How it goes now.
    pub now: RouteView,
    /// What would move it if it lasted.
    pub wish: Option<WishView>,
    /// The last decisions, the newest last; at most 32.
    pub decisions: Vec<DecisionView>,
}

/// A reason to move traffic that has not lasted long enough yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishView {
    /// The reason's word: see [`DecisionView::reason`].
    pub reason: String,
    /// In a sentence's words, without when.
    pub why: String,
    /// Since it holds.
    pub since_ms: u64,
    /// Until it will have held long enough.
    pub due_ms: u64,
}

/// A change of path and what led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// How long ago.
    pub ago_ms: u64,
    /// `found`, `lost`, `suspect`, `draining`, `sounder`, `better` or `direct_well`.
    pub reason: String,
    /// In words.
    pub why: String,
    /// The path that was left, with its last figures.
    pub from: Option<PathView>,
    /// The path that was taken.
    pub to: Option<PathView>,
    /// The direct path at that moment.
    pub direct: Option<PathView>,
    /// The best overlay path at that moment.
    pub overlay: Option<PathView>,
    /// For how long the reason had held.
    pub waited_ms: u64,
    /// How often the waits were doubled, because changes followed each other.
    pub doublings: u32,
}

/// A path and what it cost at some moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathView {
    /// Its nodes.
    pub path: Vec<String>,
    /// What it costs: the sum of the next three.
    pub cost_ms: f64,
    /// The measured round trip.
    pub delay_ms: f64,
    /// What loss is worth.
    pub loss_ms: f64,
    /// What the load of the nodes between its links is worth.
    pub load_ms: f64,
    /// Links of it that are suspect.
    pub suspect_links: u8,
    /// Nodes between its links that drain.
    pub draining_nodes: u8,
}

/// `/v1/mesh`: every node that is known, and every link that is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeshView {
    /// The node that was asked.
    pub node: String,
    /// It has just started, and does not take what it has not heard of for absent.
    pub warming: bool,
    /// It suspects itself: many of its links were lost at once.
    pub doubting: bool,
    /// All nodes, by name.
    pub nodes: Vec<MeshNodeView>,
    /// All pairs of regions with a link between them, each once.
    pub regions: Vec<RegionsView>,
    /// All links, each as both of its ends report it.
    pub links: Vec<ReportView>,
}

/// A node of the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeshNodeView {
    /// `region/name`, or the key of a node whose name is not known.
    pub name: String,
    /// Its node key, in hex.
    pub key: String,
    /// Its region.
    pub region: String,
    /// `serving`, `warming` or `draining`.
    pub state: String,
    /// Its peers see it fail: it gets no traffic that is for its region.
    pub ejected: bool,
    /// What it runs, where it said so.
    pub release: Option<String>,
    /// The share of what it can do that it does.
    pub load: f64,
    /// Its links that carry traffic.
    pub links: u32,
    /// Two processes seem to speak in its name.
    pub contested: bool,
}

/// What there is between two regions, or within one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionsView {
    /// One region.
    pub a: String,
    /// The other, or the same.
    pub b: String,
    /// Links between them, those that are down included.
    pub links: u32,
    /// The shortest round trip of those, if one was measured.
    pub rtt_us: Option<u64>,
    /// The largest share lost in one direction of those.
    pub loss: Option<f64>,
    /// How the worst of those is: `ok`, `suspect` or `down`.
    pub health: String,
}

/// One direction of a link, as the end reports it that sends in this direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportView {
    /// The end that reports.
    pub from: String,
    /// The other end.
    pub to: String,
    /// The round trip, once it was measured.
    pub rtt_us: Option<u64>,
    /// The share of what was sent that did not arrive.
    pub loss: Option<f64>,
    /// `ok`, `suspect` or `down`.
    pub health: String,
}

/// `/v1/echo/{name}`: one echo over the path in use, or no echo and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EchoView {
    /// The destination.
    pub to: String,
    /// The path in use when it was sent; empty if there is none.
    pub path: Vec<String>,
    /// The node on the path that was asked.
    pub asked: String,
    /// The round trip.
    pub rtt_us: Option<u64>,
    /// Why nothing came back.
    pub error: Option<String>,
}
