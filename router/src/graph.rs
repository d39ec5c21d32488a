//! What is known of the mesh: nodes, and the links between them as their ends report them.

use std::collections::BTreeMap;

use crate::cost::{Load, Measure};

/// Which node: the first 8 bytes of the SHA-256 of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub u64);

/// Which region. Only equality means anything, so each process may number regions as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

/// A node, as far as choosing it or passing through it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Where it is.
    pub region: RegionId,
    /// Whether it takes new work.
    pub service: Service,
    /// Its peers see it fail. It is then no answer to "some node of this region".
    pub ejected: bool,
    /// How much of what it can do it does.
    pub load: Load,
    /// Its share of its region's flows, against the other nodes' weights. Zero takes none.
    pub weight: u32,
}

/// Whether a node takes new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Just started: passed through, and no answer to "some node of this region".
    Warming,
    /// In full service.
    Serving,
    /// Leaving: used where there is nothing else.
    Draining,
}

/// One direction of a link, as the end reports it that sends in this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// `None` until it is measured, which makes it a bad link that is used if it must be.
    pub measure: Option<Measure>,
    /// What this end thinks of the link.
    pub health: LinkHealth,
    /// The largest packet that fits.
    pub limit_bytes: u16,
}

/// What one end of a link thinks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkHealth {
    /// Carries traffic.
    Usable,
    /// Confirmed suspect, or degraded: carries traffic that has no other path.
    Suspect,
    /// Carries nothing.
    Down,
}

/// The nodes of the mesh and their links: facts without conclusions.
///
/// A link is reported by each of its ends by itself, so a node can lie about its own links only. A
/// link is as healthy as the worse of its reports; where just one end has reported, as while the
/// other's news travels, that one counts. What a direction costs and carries is what its sending
/// end says; a direction that its sending end does not report is not used.
///
/// Reports may come before the nodes that they are about, and stay when those leave. They then
/// count for nothing. How many nodes and reports there are is for the caller to bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    nodes: BTreeMap<NodeKey, Node>,
    links: BTreeMap<(NodeKey, NodeKey), Link>,
}

impl Graph {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node, or replaces what was known of it.
    pub fn set_node(&mut self, key: NodeKey, node: Node) {
        self.nodes.insert(key, node);
    }

    /// Forgets a node and what it reported.
    pub fn remove_node(&mut self, key: NodeKey) {
        self.nodes.remove(&key);
        let reported: Vec<_> = self.links(key).map(|(to, _)| to).collect();
        for to in reported {
            self.links.remove(&(key, to));
        }
    }

    /// Takes in what `from` reports of its link to `to`.
    pub fn set_link(&mut self, from: NodeKey, to: NodeKey, link: Link) {
        self.links.insert((from, to), link);
    }

    /// Takes in that `from` no longer reports a link to `to`.
    pub fn remove_link(&mut self, from: NodeKey, to: NodeKey) {
        self.links.remove(&(from, to));
    }

    /// What is known of a node.
    pub fn node(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.get(&key)
    }

    /// All nodes by key.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeKey, &Node)> {
        self.nodes.iter().map(|(key, node)| (*key, node))
    }

    /// What `from` reports of its link to `to`.
    pub fn link(&self, from: NodeKey, to: NodeKey) -> Option<&Link> {
        self.links.get(&(from, to))
    }

    /// What `from` reports of its links, by the other end's key.
    pub fn links(&self, from: NodeKey) -> impl Iterator<Item = (NodeKey, &Link)> {
        self.links
            .range((from, NodeKey(0))..=(from, NodeKey(u64::MAX)))
            .map(|((_, to), link)| (*to, link))
    }

    /// Every report, by the keys of its two ends.
    pub fn reports(&self) -> impl Iterator<Item = (NodeKey, NodeKey, &Link)> {
        self.links
            .iter()
            .map(|((from, to), link)| (*from, *to, link))
    }

    /// How well a packet fares that `from` sends to `to`: the worse of both ends' reports.
    ///
    /// Down where `from` reports no such link, where an end of it is not known, and from a node to
    /// itself.
    pub fn health(&self, from: NodeKey, to: NodeKey) -> LinkHealth {
        let known = self.nodes.contains_key(&from) && self.nodes.contains_key(&to);
        match self.link(from, to) {
            Some(link) if known && from != to => {
                let other = self.link(to, from).map(|link| link.health);
                link.health.max(other.unwrap_or(LinkHealth::Usable))
            }
            Some(_) | None => LinkHealth::Down,
        }
    }
}

impl Node {
    /// A node in full service with nothing to do, of weight 1.
    pub fn serving(region: RegionId) -> Self {
        Self {
            region,
            service: Service::Serving,
            ejected: false,
            load: Load::IDLE,
            weight: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeKey = NodeKey(1);
    const B: NodeKey = NodeKey(2);

    fn graph() -> Graph {
        let mut graph = Graph::new();
        graph.set_node(A, Node::serving(RegionId(0)));
        graph.set_node(B, Node::serving(RegionId(1)));
        graph
    }

    fn link(health: LinkHealth) -> Link {
        Link {
            measure: None,
            health,
            limit_bytes: 1_200,
        }
    }

    #[test]
    fn one_report_is_enough_for_its_direction_and_says_nothing_of_the_other() {
        let mut graph = graph();
        graph.set_link(A, B, link(LinkHealth::Usable));
        assert_eq!(graph.health(A, B), LinkHealth::Usable);
        assert_eq!(graph.health(B, A), LinkHealth::Down);
    }

    #[test]
    fn the_worse_of_two_reports_counts_in_both_directions() {
        let mut graph = graph();
        graph.set_link(A, B, link(LinkHealth::Usable));
        graph.set_link(B, A, link(LinkHealth::Suspect));
        assert_eq!(graph.health(A, B), LinkHealth::Suspect);
        assert_eq!(graph.health(B, A), LinkHealth::Suspect);
        graph.set_link(A, B, link(LinkHealth::Down));
        assert_eq!(graph.health(B, A), LinkHealth::Down);
    }

    #[test]
    fn link_to_a_node_that_is_not_known_is_down_until_it_is() {
        let mut graph = graph();
        let late = NodeKey(3);
        graph.set_link(A, late, link(LinkHealth::Usable));
        assert_eq!(graph.health(A, late), LinkHealth::Down);
        graph.set_node(late, Node::serving(RegionId(2)));
        assert_eq!(graph.health(A, late), LinkHealth::Usable);
    }

    #[test]
    fn node_that_leaves_takes_its_own_reports_along_and_not_those_about_it() {
        let mut graph = graph();
        graph.set_link(A, B, link(LinkHealth::Usable));
        graph.set_link(B, A, link(LinkHealth::Usable));
        graph.remove_node(A);
        assert_eq!(graph.link(A, B), None);
        assert!(graph.link(B, A).is_some());
        assert_eq!(graph.health(B, A), LinkHealth::Down);
    }
}
