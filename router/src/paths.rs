//! For every destination the best path and one to fall back on.

mod mesh;
mod path;
mod region;
mod search;
#[cfg(test)]
mod tests;
mod weight;

pub use self::path::{MAX_LINKS, Path, Tier};
use self::{
    mesh::Mesh,
    search::{Labels, Trail},
    weight::Weight,
};
use crate::{
    cost::{Cost, CostPolicy, Margin},
    graph::{Graph, NodeKey},
};

/// The routes of one node to all others, for one kind of traffic.
///
/// A path has at most three links, uses no link that is Down, and visits no node twice. Among those,
/// one with fewer draining nodes between its links is better at any cost, then one with fewer
/// suspect links, then the cheaper one; equals are told apart by fewer links and smaller keys. The
/// direct path is preferred to an overlay path of its tier that is not better by the margin.
///
/// The table follows from the graph alone: whatever the order in which things became known, nodes
/// with equal graphs agree on every path. It knows no time; when to move from one path to another
/// is decided by [`Choice`](crate::choice::Choice).
///
/// Fill it with [`RouteTable::rebuild`]. Then, after each change to the graph, call the one
/// `update_*` that fits; after many at once, as when nodes come and go, rebuild once instead.
///
/// # Cost
///
/// Rebuilding visits each path of two links once and each link a few times. A changed link visits
/// what paths over it lead to: the links of one node for a link far away, those of a neighbour's
/// neighbours for one of our own.
#[derive(Debug)]
pub struct RouteTable {
    source: NodeKey,
    config: RouteConfig,
    mesh: Mesh,
    /// `None` while the source is not in the graph; there are no routes then.
    labels: Option<(u32, Labels)>,
    /// In the order of the keys, as the mesh numbers them.
    routes: Vec<Option<Route>>,
    changed: Vec<NodeKey>,
    /// Scratch: which routes are to be computed again.
    stale: Vec<bool>,
}

/// What a table goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteConfig {
    /// What matters to the traffic.
    pub policy: CostPolicy,
    /// By how much an overlay path must be better than the direct one.
    pub margin: Margin,
    /// Links of a path at most. Default 3; less than 1 counts as 1, more than 3 as 3.
    pub max_links: u8,
}

/// How to reach one destination, as far as its paths go: [`Path::destination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The direct path or the overlay path, whichever is to be preferred now.
    pub primary: Path,
    /// The best path that shares no link with the primary and, where possible, no node and no
    /// region. Possible means without more draining nodes or suspect links.
    pub backup: Option<Path>,
    /// The direct path, if its link is usable at all.
    pub direct: Option<Path>,
    /// The best path over more than one link.
    pub overlay: Option<Path>,
}

impl RouteTable {
    /// An empty table of the node `source`.
    pub fn new(source: NodeKey, config: RouteConfig) -> Self {
        Self {
            source,
            config,
            mesh: Mesh::empty(config.policy),
            labels: None,
            routes: Vec::new(),
            changed: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// Computes all routes from nothing. Then [`RouteTable::changed`] is every node there is.
    pub fn rebuild(&mut self, graph: &Graph) {
        self.mesh.compile(graph);
        let links = self.config.max_links.clamp(1, MAX_LINKS as u8);
        let source = self.mesh.index(self.source);
        self.labels = source.map(|index| (index, Labels::new(&self.mesh, index, links)));
        self.routes = vec![None; self.mesh.len()];
        self.stale = vec![true; self.mesh.len()];
        self.renew();
        self.changed = graph.nodes().map(|(key, _)| key).collect();
    }

    /// Whether taking in what the graph says of a node means to rebuild: it came, left or moved.
    pub fn is_new(&self, graph: &Graph, key: NodeKey) -> bool {
        match (self.mesh.index(key), graph.node(key)) {
            (Some(index), Some(node)) => node.region != self.mesh.region(index),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Takes in what the graph newly says of a node; rebuilds if it came, left or moved.
    pub fn update_node(&mut self, graph: &Graph, key: NodeKey) {
        self.changed.clear();
        match (self.mesh.index(key), graph.node(key)) {
            (Some(index), Some(node)) if node.region == self.mesh.region(index) => {
                if self.mesh.update_node(index, *node)
                    && let Some((_, labels)) = &mut self.labels
                {
                    labels.relax(&self.mesh);
                    self.stale.fill(true);
                    self.renew();
                }
            }
            (None, None) => {}
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => self.rebuild(graph),
        }
    }

    /// Takes in what the graph newly says of links between a node and some peers, in both
    /// directions. What several of them lead to is computed once.
    pub fn update_links(&mut self, graph: &Graph, node: NodeKey, peers: &[NodeKey]) {
        self.changed.clear();
        for peer in peers.iter().filter(|peer| **peer != node) {
            self.take_link(graph, node, *peer);
        }
        self.renew();
    }

    /// Marks the routes that a changed link can lead to.
    fn take_link(&mut self, graph: &Graph, a: NodeKey, b: NodeKey) {
        let (Some(from), Some(to)) = (self.mesh.index(a), self.mesh.index(b)) else {
            return;
        };
        let (from_a, from_b) = (graph.link(a, b).copied(), graph.link(b, a).copied());
        let (there, back) = self.mesh.update_link(from, to, from_a, from_b);
        let Some((_, labels)) = &mut self.labels else {
            return;
        };
        let stale = &mut self.stale;
        let mut affected = |node: u32| stale[node as usize] = true;
        if there {
            labels.update(&self.mesh, from, to, &mut affected);
        }
        if back {
            labels.update(&self.mesh, to, from, &mut affected);
        }
    }

    /// The nodes whose routes the last call changed, by key.
    pub fn changed(&self) -> &[NodeKey] {
        &self.changed
    }

    /// How to reach a node; `None` if there is no way, and for the source itself.
    pub fn route(&self, destination: NodeKey) -> Option<&Route> {
        let index = self.mesh.index(destination)?;
        self.routes[index as usize].as_ref()
    }

    /// All destinations that can be reached, by key.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().flatten()
    }

    /// A path over these hops with its figures of now; `None` if it cannot be used.
    pub fn path(&self, hops: &[NodeKey]) -> Option<Path> {
        let (source, _) = self.labels.as_ref()?;
        let (trail, destination) = self.trail(*source, hops)?;
        let path = self.mesh.path(*source, &trail, destination);
        trail.weight.is_usable().then_some(path)
    }

    /// What to fall back on from `primary`, which need not be the primary of this table, nor usable.
    pub fn backup(&self, primary: &Path) -> Option<Path> {
        let route = self.route(primary.destination());
        if let Some(route) = route.filter(|route| route.primary.is_same_way(primary)) {
            return route.backup;
        }
        let (source, labels) = self.labels.as_ref()?;
        match self.trail(*source, primary.hops()) {
            Some((trail, to)) => {
                let backup = labels.backup(&self.mesh, to, &trail)?;
                Some(self.mesh.path(*source, &backup, to))
            }
            // One of its links is gone for good: what replaces it is what there is.
            None => Some(route?.primary),
        }
    }

    /// What these hops weigh, which may be more than is usable; `None` if they visit a node twice or
    /// follow a link that was never reported.
    fn trail(&self, source: u32, hops: &[NodeKey]) -> Option<(Trail, u32)> {
        let links = usize::from(self.config.max_links.clamp(1, MAX_LINKS as u8));
        if hops.is_empty() || hops.len() > links {
            return None;
        }
        let mut nodes = [source; MAX_LINKS + 1];
        let mut weight = Weight::link(Cost::ZERO, false);
        for (place, hop) in hops.iter().enumerate() {
            let (from, to) = (nodes[place], self.mesh.index(*hop)?);
            if nodes[..=place].contains(&to) {
                return None;
            }
            self.mesh
                .edges(from)
                .binary_search_by_key(&to, |edge| edge.peer)
                .ok()?;
            weight = weight + self.mesh.outward(from, to);
            if place + 1 < hops.len() {
                weight = weight + self.mesh.transit(to);
            }
            nodes[place + 1] = to;
        }
        let trail = Trail::over(weight, &nodes[1..hops.len()])?;
        Some((trail, nodes[hops.len()]))
    }

    /// Computes the stale routes again and notes which changed.
    fn renew(&mut self) {
        for index in 0..self.stale.len() {
            if std::mem::take(&mut self.stale[index]) {
                let route = self.compute(index as u32);
                if self.routes[index] != route {
                    self.routes[index] = route;
                    self.changed.push(self.mesh.key(index as u32));
                }
            }
        }
    }

    fn compute(&self, to: u32) -> Option<Route> {
        let (source, labels) = self.labels.as_ref()?;
        if to == *source {
            return None;
        }
        let path = |trail: &Trail| self.mesh.path(*source, trail, to);
        let (direct, overlay) = (labels.direct(to), labels.overlay(&self.mesh, to));
        let direct_path = direct.as_ref().map(path);
        let overlay_path = overlay.as_ref().map(path);
        let primary = Path::preferred(direct_path, overlay_path, self.config.margin)?;
        let avoided = if primary.is_direct() { direct } else { overlay };
        let backup = avoided.and_then(|trail| labels.backup(&self.mesh, to, &trail));
        Some(Route {
            primary,
            backup: backup.as_ref().map(path),
            direct: direct_path,
            overlay: overlay_path,
        })
    }
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            policy: CostPolicy::default(),
            margin: Margin::default(),
            // Between the regions of AWS a second node in between gains in 23 pairs of 1,056, and a
            // third would gain in less; each costs egress once more.
            max_links: 3,
        }
    }
}
