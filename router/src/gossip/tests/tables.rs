//! What nodes make of the adverts that they hold.

use proptest::prelude::*;

use super::*;
use crate::{
    graph::Graph,
    paths::{Path, Route, RouteConfig, RouteTable},
};

/// The graph and the routes of one node, which follow what it hears as it hears it.
pub(super) struct Tables {
    own: NodeKey,
    graph: Graph,
    routes: RouteTable,
}

impl Tables {
    pub(super) fn new(own: NodeKey) -> Self {
        Self {
            own,
            graph: Graph::new(),
            routes: RouteTable::new(own, RouteConfig::default()),
        }
    }

    /// Takes in what is held of a node now.
    pub(super) fn take(&mut self, gossip: &Gossip, node: NodeKey) {
        let before: Vec<_> = self.graph.links(node).map(|(to, _)| to).collect();
        self.graph.remove_node(node);
        let advert = gossip.advert(node).map(Verified::value);
        let mut after = Vec::new();
        if let Some(advert) = advert
            && let Some(known) = advert.to_node(false, 1)
        {
            self.graph.set_node(node, known);
            for (to, link) in &advert.content().links {
                self.graph.set_link(node, *to, *link);
                after.push(*to);
            }
        }
        self.routes.update_node(&self.graph, node);
        let peers: Vec<NodeKey> = before.into_iter().chain(after).collect();
        self.routes.update_links(&self.graph, node, &peers);
    }

    fn routes(&self) -> Vec<Route> {
        self.routes.routes().copied().collect()
    }
}

/// All know the same graph, each has the routes that follow from it, and there and back cost the
/// same, as links do in here.
pub(super) fn agree(all: &[Tables]) -> Result<(), TestCaseError> {
    for tables in all {
        prop_assert_eq!(&tables.graph, &all[0].graph);
        let mut rebuilt = RouteTable::new(tables.own, RouteConfig::default());
        rebuilt.rebuild(&all[0].graph);
        let rebuilt: Vec<_> = rebuilt.routes().copied().collect();
        prop_assert_eq!(tables.routes(), rebuilt);
    }
    for there in all {
        for back in all.iter().filter(|back| back.own != there.own) {
            let (from, to) = (there.own, back.own);
            let there = there.routes.route(to).map(|route| route.primary);
            let back = back.routes.route(from).map(|route| route.primary);
            prop_assert!(there.is_some(), "{from:?} does not reach {to:?}");
            let figures = |path: Option<Path>| path.map(|path| (path.tier(), path.cost()));
            prop_assert_eq!(figures(there), figures(back), "{:?} and {:?}", from, to);
        }
    }
    Ok(())
}
