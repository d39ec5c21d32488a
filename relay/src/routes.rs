//! Which way traffic for each node goes now, found without a lock.
//!
//! The router's task is the only writer. Whoever carries traffic holds a [`Way`] and asks it, for
//! each packet, what it is still good for: two loads of published values.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use arc_swap::ArcSwap;
pub use router::router::Traffic as Kind;
use router::{
    cost::{Cost, Load},
    graph::Service,
};

use crate::{
    id::NodeKey,
    link::Link,
    mesh::Mesh,
    wire::{Class, Frame, Relayed, RelayedBody, RemainingHops, words::words},
};

/// A path from this node, with its first link at hand.
#[derive(Debug)]
pub struct Way {
    /// The link that packets leave on.
    pub first: Arc<Link>,
    /// The nodes after the far end of `first`, the destination last; none on the direct path.
    pub hops: RemainingHops,
    /// Where it leads.
    pub destination: NodeKey,
    standing: AtomicU8,
}

words! {
    /// What the router makes of a way.
    Standing {
        /// Traffic goes here.
        InUse(0) = "in_use";
        /// Works, and is kept warm for when what is in use fails.
        Standby(1) = "standby";
        /// Carries traffic still, which should move to another.
        Left(2) = "left";
        /// Carries nothing.
        Broken(3) = "broken";
    }
}

/// What a way is good for, as far as a flow on it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It carries packets, and goes on doing so.
    Good,
    /// It carries packets, but another one takes over: the flow should move.
    Leaving,
    /// It carries nothing.
    Gone,
}

/// How to reach one destination now.
#[derive(Debug, Clone)]
pub struct Route {
    /// The way in use.
    pub primary: Arc<Way>,
    /// What shares no link with it, if there is such a way.
    pub backup: Option<Arc<Way>>,
    /// What the way in use costs.
    pub cost: Cost,
    /// How much of what it can do the destination does.
    pub load: Load,
    /// Whether the destination takes new work.
    pub service: Service,
    /// The destination fails what it is asked.
    pub ejected: bool,
}

impl From<Class> for Kind {
    fn from(class: Class) -> Self {
        match class {
            Class::Bulk => Self::Bulk,
            Class::Control | Class::Audio | Class::Video => Self::Interactive,
        }
    }
}

/// The routes of this node for each kind of traffic.
#[derive(Debug, Default)]
pub struct Routes {
    interactive: ArcSwap<BTreeMap<NodeKey, Route>>,
    bulk: ArcSwap<BTreeMap<NodeKey, Route>>,
}

impl Route {
    /// The way in use and the one to fall back on.
    pub fn ways(&self) -> impl Iterator<Item = &Arc<Way>> {
        std::iter::once(&self.primary).chain(&self.backup)
    }
}

impl Way {
    /// A way over `first` and then to `hops`.
    pub fn new(first: Arc<Link>, hops: RemainingHops, standing: Standing) -> Arc<Self> {
        let destination = hops.as_slice().last().copied();
        Arc::new(Self {
            destination: destination.unwrap_or(first.peer_key),
            first,
            hops,
            standing: AtomicU8::new(standing as u8),
        })
    }

    /// The link itself as a way, for a peer that there is no route to yet.
    pub fn direct(first: Arc<Link>) -> Arc<Self> {
        Self::new(first, RemainingHops::NONE, Standing::InUse)
    }

    /// The way back of something that came over `first`, through `hops`.
    pub(crate) fn back(first: Arc<Link>, hops: RemainingHops) -> Arc<Self> {
        Self::new(first, hops, Standing::InUse)
    }

    /// Whether it is the link to the destination and nothing else.
    pub fn is_direct(&self) -> bool {
        self.hops.as_slice().is_empty()
    }

    /// Whether both lead over the same link and the same nodes.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.first, &other.first) && self.hops == other.hops
    }

    /// Whether it goes from `at` to `next`, neither of which is this node.
    pub(crate) fn leads_over(&self, at: NodeKey, next: NodeKey) -> bool {
        let hops = self.hops.as_slice();
        let from = std::iter::once(&self.first.peer_key).chain(hops);
        from.zip(hops).any(|(from, to)| (*from, *to) == (at, next))
    }

    /// Says something to its destination; lost where a queue on the way is full.
    ///
    /// - `us`: this node.
    pub(crate) fn say(&self, us: NodeKey, body: RelayedBody) {
        self.first.send_frame(Frame::Relayed(Box::new(Relayed {
            origin: us,
            via: Vec::new(),
            hops: self.hops,
            body,
        })));
    }

    /// What the router makes of it.
    pub fn standing(&self) -> Standing {
        Standing::ALL[usize::from(self.standing.load(Ordering::Relaxed)) % Standing::ALL.len()]
    }

    /// Says what the router makes of it. The router's task is the only caller, but for tests
    /// without one.
    pub fn set_standing(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// What it is good for now.
    pub fn fit(&self) -> Fit {
        match (
            self.standing(),
            self.first.is_usable(),
            self.first.is_retiring(),
        ) {
            (Standing::Broken, _, _) | (_, false, _) => Fit::Gone,
            (Standing::Left, true, _) | (_, true, true) => Fit::Leaving,
            (Standing::InUse | Standing::Standby, true, false) => Fit::Good,
        }
    }
}

/// All ways to `destination`, the best first: what the router says, then the link, if there is one.
///
/// A way whose first link was replaced goes over the link that the pair has now: the router needs a
/// moment to say the same.
pub(crate) fn ways_to(mesh: &Mesh, kind: Kind, destination: NodeKey) -> Vec<Arc<Way>> {
    let route = mesh.routes.get(kind, destination);
    let mut ways: Vec<Arc<Way>> = route
        .into_iter()
        .flat_map(|route| std::iter::once(route.primary).chain(route.backup))
        .map(|way| over_current_link(mesh, way))
        .collect();
    if let Some(link) = mesh.links.get(destination) {
        let direct = Way::direct(link);
        if !ways.iter().any(|way| way.is_same(&direct)) {
            ways.push(direct);
        }
    }
    ways
}

fn over_current_link(mesh: &Mesh, way: Arc<Way>) -> Arc<Way> {
    if way.first.is_usable() && !way.first.is_retiring() {
        return way;
    }
    match mesh.links.get(way.first.peer_key) {
        Some(link) if !Arc::ptr_eq(&link, &way.first) => Way::new(link, way.hops, way.standing()),
        Some(_) | None => way,
    }
}

impl Routes {
    /// How to reach `destination`, if there is a way.
    pub fn get(&self, kind: Kind, destination: NodeKey) -> Option<Route> {
        self.of(kind).load().get(&destination).cloned()
    }

    /// All routes, as they were at the time of the call.
    pub fn snapshot(&self, kind: Kind) -> Arc<BTreeMap<NodeKey, Route>> {
        self.of(kind).load_full()
    }

    /// Replaces all routes for `kind`. The router's task is the only caller, but for tests without
    /// one.
    pub fn publish(&self, kind: Kind, routes: BTreeMap<NodeKey, Route>) {
        self.of(kind).store(Arc::new(routes));
    }

    fn of(&self, kind: Kind) -> &ArcSwap<BTreeMap<NodeKey, Route>> {
        match kind {
            Kind::Interactive => &self.interactive,
            Kind::Bulk => &self.bulk,
        }
    }
}
