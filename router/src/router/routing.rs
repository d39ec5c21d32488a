//! The routes for one kind of traffic: a table, and a choice for each destination.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    choice::{Choice, ChoiceConfig, Decision, Offer, Wish},
    graph::{Graph, NodeKey},
    paths::{Path, RouteConfig, RouteTable},
};

/// Keeps the path in use and its backup for every destination.
#[derive(Debug)]
pub(super) struct Routing {
    table: RouteTable,
    config: ChoiceConfig,
    routes: BTreeMap<NodeKey, Chosen>,
}

/// How traffic for one destination goes.
#[derive(Debug)]
struct Chosen {
    choice: Choice,
    backup: Option<Path>,
}

/// How traffic for one destination goes, and what else there is.
#[derive(Debug, Clone, Copy)]
pub struct RouteView<'a> {
    /// Where it leads.
    pub destination: NodeKey,
    /// The path in use; `None` if there is none.
    pub path: Option<&'a Path>,
    /// What to fall back on.
    pub backup: Option<&'a Path>,
    /// What would move the traffic if it lasted.
    pub wish: Option<Wish>,
    /// Why the path was taken, and when.
    pub last: Option<&'a Decision>,
}

impl Routing {
    pub(super) fn new(source: NodeKey, config: RouteConfig) -> Self {
        Self {
            table: RouteTable::new(source, config),
            config: ChoiceConfig {
                margin: config.margin,
                ..ChoiceConfig::default()
            },
            routes: BTreeMap::new(),
        }
    }

    /// Computes everything anew; what is not in the mesh any more is forgotten.
    pub(super) fn rebuild(&mut self, now: Instant, graph: &Graph) -> Changes {
        self.table.rebuild(graph);
        let before = self.routes.len();
        self.routes.retain(|node, _| graph.node(*node).is_some());
        let mut changes = self.renew(now);
        changes.any |= self.routes.len() != before;
        changes
    }

    /// Takes in what the graph newly says of a node.
    pub(super) fn update_node(&mut self, now: Instant, graph: &Graph, node: NodeKey) -> Changes {
        self.table.update_node(graph, node);
        self.renew(now)
    }

    /// Takes in what the graph newly says of links of a node.
    pub(super) fn update_links(
        &mut self,
        now: Instant,
        graph: &Graph,
        node: NodeKey,
        peers: &[NodeKey],
    ) -> Changes {
        self.table.update_links(graph, node, peers);
        self.renew(now)
    }

    /// Whether taking in what the graph says of a node changes everything.
    pub(super) fn is_new(&self, graph: &Graph, node: NodeKey) -> bool {
        self.table.is_new(graph, node)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Changes {
        let is_due = |chosen: &Chosen| chosen.choice.poll_timeout().is_some_and(|at| at <= now);
        let due = self.routes.iter().filter(|(_, chosen)| is_due(chosen));
        let due: Vec<NodeKey> = due.map(|(node, _)| *node).collect();
        let mut changes = Changes::default();
        for node in due {
            if let Some(chosen) = self.routes.get_mut(&node) {
                chosen.choice.handle_timeout(now);
                settle(&self.table, node, chosen, &mut changes);
            }
        }
        changes
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timers = self.routes.values();
        timers
            .filter_map(|chosen| chosen.choice.poll_timeout())
            .min()
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = RouteView<'_>> {
        let routes = self.routes.iter();
        routes.map(|(node, chosen)| view(*node, chosen))
    }

    pub(super) fn decisions(&self, destination: NodeKey) -> impl Iterator<Item = &Decision> {
        let chosen = self.routes.get(&destination).into_iter();
        chosen.flat_map(|chosen| chosen.choice.decisions())
    }

    /// Offers every destination what the table has for it now. A path in use that is neither the
    /// direct one nor the best overlay path changes without its route changing, so it is looked at
    /// too.
    fn renew(&mut self, now: Instant) -> Changes {
        let off_table = |(node, chosen): (&NodeKey, &Chosen)| {
            let route = self.table.route(*node)?;
            let held = chosen.choice.path()?;
            let listed = [route.direct, route.overlay].into_iter().flatten();
            let is_listed = listed.into_iter().any(|path| path.is_same_way(held));
            (!is_listed).then_some(*node)
        };
        let mut nodes = self.table.changed().to_vec();
        nodes.extend(self.routes.iter().filter_map(off_table));
        nodes.sort_unstable();
        nodes.dedup();
        let mut changes = Changes::default();
        for node in nodes {
            let is_known = self.routes.contains_key(&node);
            if !is_known && self.table.route(node).is_none() {
                continue;
            }
            let chosen = self.routes.entry(node).or_insert_with(|| Chosen {
                choice: Choice::new(self.config),
                backup: None,
            });
            let offer = Offer::new(&self.table, node, chosen.choice.path());
            chosen.choice.handle_offer(now, offer);
            settle(&self.table, node, chosen, &mut changes);
        }
        changes
    }
}

/// What a call has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// A path in use or a backup is another, or has other figures.
    pub(super) any: bool,
    /// Traffic for these destinations moved.
    pub(super) moves: Vec<(NodeKey, Decision)>,
}

/// Takes in what a choice decided, and finds the backup that belongs to it.
fn settle(table: &RouteTable, node: NodeKey, chosen: &mut Chosen, changes: &mut Changes) {
    while let Some(decision) = chosen.choice.poll_output() {
        changes.moves.push((node, decision));
    }
    let path = chosen.choice.path();
    let backup = path.and_then(|path| table.backup(path));
    let backup = backup.filter(|backup| path.is_some_and(|path| !path.is_same_way(backup)));
    chosen.backup = backup;
    changes.any = true;
}

fn view(node: NodeKey, chosen: &Chosen) -> RouteView<'_> {
    RouteView {
        destination: node,
        path: chosen.choice.path(),
        backup: chosen.backup.as_ref(),
        wish: chosen.choice.wish(),
        last: chosen.choice.decisions().last(),
    }
}
