//! From the router's paths to ways that packets take.

use std::{collections::BTreeMap, sync::Arc};

use router::{
    graph::{Graph, LinkHealth},
    paths::Path,
    router::Router,
};

use crate::{
    id::NodeKey,
    link::Link,
    mesh::Mesh,
    routes::{Kind, Route, Standing, Way},
    wire::RemainingHops,
};

/// Keeps the ways that are published, so that one that stays is the same one, and one that goes
/// tells those who still hold it.
#[derive(Debug, Default)]
pub(super) struct Ways {
    published: BTreeMap<Kind, BTreeMap<NodeKey, Route>>,
}

impl Ways {
    /// Publishes the ways of one kind of traffic.
    ///
    /// - `links`: the current link to every peer.
    pub(super) fn publish(
        &mut self,
        mesh: &Mesh,
        kind: Kind,
        router: &Router,
        links: &BTreeMap<NodeKey, Arc<Link>>,
    ) {
        let before = self.published.remove(&kind).unwrap_or_default();
        let mut now = BTreeMap::new();
        for route in router.routes(kind) {
            let to = NodeKey::from(route.destination);
            let old = before.get(&to);
            let way = |path, standing| way(links, old, path, standing);
            let (Some(path), Some(node)) = (route.path, router.graph().node(route.destination))
            else {
                continue;
            };
            if let Some(primary) = way(path, Standing::InUse) {
                let route = Route {
                    primary,
                    backup: route.backup.and_then(|path| way(path, Standing::Standby)),
                    cost: path.cost(),
                    load: node.load,
                    service: node.service,
                    ejected: node.ejected,
                };
                now.insert(to, route);
            }
        }
        // Those who send look here first: nothing is let go before what replaces it is there.
        mesh.routes.publish(kind, now.clone());
        let own = mesh.id.key();
        for (to, route) in &before {
            let kept: Vec<_> = now.get(to).into_iter().flat_map(Route::ways).collect();
            for old in route.ways() {
                if !kept.iter().any(|way| Arc::ptr_eq(way, old)) {
                    old.set_standing(standing_of(router.graph(), own, old));
                }
            }
        }
        self.published.insert(kind, now);
    }
}

/// The way along a path: the one that there was, if nothing about it changed but its standing.
fn way(
    links: &BTreeMap<NodeKey, Arc<Link>>,
    old: Option<&Route>,
    path: &Path,
    standing: Standing,
) -> Option<Arc<Way>> {
    let mut hops = path.hops().iter().map(|hop| NodeKey::from(*hop));
    let first = links.get(&hops.next()?)?;
    let hops: Vec<NodeKey> = hops.collect();
    let hops = RemainingHops::try_new(&hops)?;
    let mut known = old.into_iter().flat_map(Route::ways);
    let known = known.find(|way| Arc::ptr_eq(&way.first, first) && way.hops == hops);
    Some(match known {
        Some(way) => {
            way.set_standing(standing);
            way.clone()
        }
        None => Way::new(first.clone(), hops, standing),
    })
}

/// What a way is good for that the router has left: packets go on as long as they arrive.
fn standing_of(graph: &Graph, own: NodeKey, way: &Way) -> Standing {
    let hops = [own, way.first.peer_key].into_iter();
    let hops: Vec<NodeKey> = hops.chain(way.hops.as_slice().iter().copied()).collect();
    let mut links = hops.windows(2);
    let is_down = links.any(|link| {
        let health = graph.health(link[0].into(), link[1].into());
        health == LinkHealth::Down
    });
    match is_down || way.first.is_unanswered() {
        true => Standing::Broken,
        false => Standing::Left,
    }
}
