//! The graph in the form that a search wants: dense, sorted, weighed.

use std::collections::BTreeMap;

use super::{path::Path, path::Tier, search::Trail, weight::Weight};
use crate::{
    cost::{CostParts, CostPolicy},
    graph::{Graph, Link, LinkHealth, Node, NodeKey, RegionId, Service},
};

/// Nodes numbered in the order of their keys, so that comparing numbers compares keys.
#[derive(Debug)]
pub(super) struct Mesh {
    policy: CostPolicy,
    keys: Vec<NodeKey>,
    nodes: Vec<Node>,
    transit: Vec<Weight>,
    /// For each node its links, by the other end's number.
    edges: Vec<Vec<Edge>>,
    /// What the node reports of them, in the same places. Apart, because no search reads it.
    reports: Vec<Vec<Option<Link>>>,
    regions: BTreeMap<RegionId, Vec<u32>>,
    /// For each node its region's place among the regions.
    region_places: Vec<u32>,
}

/// A link as seen from the node that it is listed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) peer: u32,
    /// From this node to the peer.
    pub(super) outward: Weight,
    /// From the peer to this node.
    pub(super) inward: Weight,
}

impl Mesh {
    pub(super) fn empty(policy: CostPolicy) -> Self {
        Self {
            policy,
            keys: Vec::new(),
            nodes: Vec::new(),
            transit: Vec::new(),
            edges: Vec::new(),
            reports: Vec::new(),
            regions: BTreeMap::new(),
            region_places: Vec::new(),
        }
    }

    /// Takes the whole graph in, and forgets what was there.
    pub(super) fn compile(&mut self, graph: &Graph) {
        (self.keys, self.nodes) = graph.nodes().map(|(key, node)| (key, *node)).unzip();
        let weigh = |node| weigh_node(self.policy, node);
        self.transit = self.nodes.iter().map(weigh).collect();
        self.regions.clear();
        for (index, node) in self.nodes.iter().enumerate() {
            let members = self.regions.entry(node.region).or_default();
            members.push(index as u32);
        }
        self.region_places.resize(self.keys.len(), 0);
        for (place, members) in (0..).zip(self.regions.values()) {
            for member in members {
                self.region_places[*member as usize] = place;
            }
        }
        // The lists are used again: they are megabytes in a large mesh.
        self.edges.iter_mut().for_each(Vec::clear);
        self.edges.resize_with(self.keys.len(), Vec::new);
        self.reports.iter_mut().for_each(Vec::clear);
        self.reports.resize_with(self.keys.len(), Vec::new);
        let (mut from, mut to) = (Cursor::default(), Cursor::default());
        for (from_key, to_key, link) in graph.reports() {
            if from.seek(&self.keys, from_key) {
                to = Cursor::default();
            }
            to.seek(&self.keys, to_key);
            if let (Some(from), Some(to)) = (from.found, to.found)
                && from != to
            {
                self.report(from, to, Some(*link));
                self.entry(to, from);
            }
        }
        for from in 0..self.keys.len() as u32 {
            for place in 0..self.edges[from as usize].len() {
                let to = self.edges[from as usize][place].peer;
                if from < to {
                    self.weigh(from, to);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn index(&self, key: NodeKey) -> Option<u32> {
        let index = self.keys.binary_search(&key).ok()?;
        Some(index as u32)
    }

    pub(super) fn key(&self, index: u32) -> NodeKey {
        self.keys[index as usize]
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    pub(super) fn region(&self, index: u32) -> RegionId {
        self.nodes[index as usize].region
    }

    /// How many regions there are.
    pub(super) fn region_count(&self) -> usize {
        self.regions.len()
    }

    /// The place of a node's region among the regions.
    pub(super) fn region_place(&self, index: u32) -> usize {
        self.region_places[index as usize] as usize
    }

    pub(super) fn members(&self, region: RegionId) -> &[u32] {
        self.regions.get(&region).map_or(&[], Vec::as_slice)
    }

    /// What passing through a node adds to a path.
    pub(super) fn transit(&self, index: u32) -> Weight {
        self.transit[index as usize]
    }

    pub(super) fn edges(&self, index: u32) -> &[Edge] {
        &self.edges[index as usize]
    }

    pub(super) fn outward(&self, from: u32, to: u32) -> Weight {
        let place = self.place(from, to);
        place.map_or(Weight::UNUSABLE, |place| {
            self.edges[from as usize][place].outward
        })
    }

    /// Takes in what is newly known of a node. Returns whether passing through it weighs another
    /// amount.
    pub(super) fn update_node(&mut self, index: u32, node: Node) -> bool {
        debug_assert_eq!(node.region, self.region(index), "compile anew instead");
        let weight = weigh_node(self.policy, &node);
        self.nodes[index as usize] = node;
        std::mem::replace(&mut self.transit[index as usize], weight) != weight
    }

    /// Takes in both reports of a link. Returns whether anything changed in the direction from `a`
    /// to `b`, and in the other.
    pub(super) fn update_link(
        &mut self,
        a: u32,
        b: u32,
        from_a: Option<Link>,
        from_b: Option<Link>,
    ) -> (bool, bool) {
        let (at_a, at_b) = (self.entry(a, b), self.entry(b, a));
        let state = |mesh: &Self| {
            let edge = mesh.edges[a as usize][at_a];
            let there = (edge.outward, mesh.reports[a as usize][at_a]);
            let back = (edge.inward, mesh.reports[b as usize][at_b]);
            (there, back)
        };
        let before = state(self);
        self.report(a, b, from_a);
        self.report(b, a, from_b);
        self.weigh(a, b);
        let after = state(self);
        (before.0 != after.0, before.1 != after.1)
    }

    /// The path that a trail stands for.
    pub(super) fn path(&self, source: u32, trail: &Trail, destination: u32) -> Path {
        let mut path = Path {
            hops: [NodeKey(0); 3],
            links: 0,
            limit_bytes: u16::MAX,
            tier: Tier::default(),
            parts: CostParts::default(),
        };
        let mut from = source;
        for &to in trail.via().iter().chain([&destination]) {
            let place = self.place(from, to).expect("a trail follows edges");
            let report = self.reports[from as usize][place];
            if let Some(report) = report {
                path.limit_bytes = path.limit_bytes.min(report.limit_bytes);
                path.parts += self.policy.link(report.measure);
            }
            path.hops[usize::from(path.links)] = self.key(to);
            path.links += 1;
            if to != destination {
                path.parts.load += self.policy.transit(self.node(to).load);
            }
            from = to;
        }
        path.tier = trail.weight.tier();
        path
    }

    fn place(&self, from: u32, to: u32) -> Option<usize> {
        let edges = &self.edges[from as usize];
        edges.binary_search_by_key(&to, |edge| edge.peer).ok()
    }

    /// Where the link to `to` is listed with `from`; lists it if it is not.
    fn entry(&mut self, from: u32, to: u32) -> usize {
        let edges = &mut self.edges[from as usize];
        // Compiling mostly appends.
        let found = match edges.last() {
            Some(last) if last.peer >= to => edges.binary_search_by_key(&to, |edge| edge.peer),
            Some(_) | None => Err(edges.len()),
        };
        match found {
            Ok(place) => place,
            Err(place) => {
                let edge = Edge {
                    peer: to,
                    outward: Weight::UNUSABLE,
                    inward: Weight::UNUSABLE,
                };
                edges.insert(place, edge);
                self.reports[from as usize].insert(place, None);
                place
            }
        }
    }

    fn report(&mut self, from: u32, to: u32, report: Option<Link>) {
        let place = self.entry(from, to);
        self.reports[from as usize][place] = report;
    }

    /// Weighs both directions of a link from what its ends reported.
    fn weigh(&mut self, a: u32, b: u32) {
        let (at_a, at_b) = (self.entry(a, b), self.entry(b, a));
        let from_a = self.reports[a as usize][at_a];
        let from_b = self.reports[b as usize][at_b];
        let there = weigh_link(self.policy, from_a, from_b);
        let back = weigh_link(self.policy, from_b, from_a);
        let edge_a = &mut self.edges[a as usize][at_a];
        (edge_a.outward, edge_a.inward) = (there, back);
        let edge_b = &mut self.edges[b as usize][at_b];
        (edge_b.outward, edge_b.inward) = (back, there);
    }
}

/// Finds ascending keys, each from where the last was found: a thousandfold search of its own for
/// each report is most of what compiling costs.
#[derive(Default)]
struct Cursor {
    place: usize,
    key: Option<NodeKey>,
    found: Option<u32>,
}

impl Cursor {
    /// Returns whether the key is another than the last.
    fn seek(&mut self, keys: &[NodeKey], key: NodeKey) -> bool {
        if self.key.replace(key) == Some(key) {
            return false;
        }
        self.place += keys[self.place..]
            .iter()
            .take_while(|other| **other < key)
            .count();
        let is_found = keys.get(self.place) == Some(&key);
        self.found = is_found.then_some(self.place as u32);
        true
    }
}

/// The weight of a link in the direction that `near` sends in. [`Graph::health`] is the same rule.
fn weigh_link(policy: CostPolicy, near: Option<Link>, far: Option<Link>) -> Weight {
    let Some(near) = near else {
        return Weight::UNUSABLE;
    };
    let cost = || policy.link(near.measure).total();
    let far = far.map_or(LinkHealth::Usable, |link| link.health);
    match near.health.max(far) {
        LinkHealth::Usable => Weight::link(cost(), false),
        LinkHealth::Suspect => Weight::link(cost(), true),
        LinkHealth::Down => Weight::UNUSABLE,
    }
}

fn weigh_node(policy: CostPolicy, node: &Node) -> Weight {
    let draining = match node.service {
        Service::Draining => true,
        Service::Serving | Service::Warming => false,
    };
    Weight::transit(policy.transit(node.load), draining)
}
