//! Which way the node of each flow sends, as it changes.

use std::{sync::Arc, time::Duration};

use causeway::{
    clock,
    id::NodeKey,
    mesh::Mesh,
    routes::{Kind, Route, Way},
};
use netem::sim::Host;
use parking_lot::Mutex;

use crate::sim::fleet::{Fleet, Member, sleep};

/// Looks at a node's route to another from time to time, and keeps what it saw change.
#[derive(Debug, Clone)]
pub(super) struct RouteLog(Arc<Mutex<Vec<Seen>>>);

/// From a moment on, since the simulation's start, this was the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Duration,
    /// The nodes after the first, the destination last; none if there is no route.
    pub(super) path: Vec<NodeKey>,
}

impl RouteLog {
    /// Looks every `every`, in a task of `program`.
    pub(super) fn start(
        fleet: &Fleet,
        program: &Host,
        (from, to): (Member, Member),
        every: Duration,
    ) -> Self {
        let log = Self(Arc::default());
        let (seen, start) = (log.clone(), fleet.start);
        let (mesh, to) = (fleet.mesh(from).clone(), fleet.key(to));
        drop(program.spawn(async move {
            loop {
                seen.note(clock::now() - start, path(&mesh, to));
                sleep(every).await;
            }
        }));
        log
    }

    fn note(&self, at: Duration, path: Vec<NodeKey>) {
        let mut seen = self.0.lock();
        if seen.last().is_none_or(|last| last.path != path) {
            seen.push(Seen { at, path });
        }
    }

    /// The path now.
    pub(super) fn now(&self) -> Vec<NodeKey> {
        self.at(Duration::MAX)
    }

    /// The path just before `at`.
    pub(super) fn at(&self, at: Duration) -> Vec<NodeKey> {
        let seen = self.0.lock();
        let mut before = seen.iter().rev().skip_while(|seen| seen.at >= at);
        before
            .next()
            .map(|seen| seen.path.clone())
            .unwrap_or_default()
    }

    /// The changes in `[from, until)`.
    pub(super) fn changes(&self, from: Duration, until: Duration) -> Vec<Seen> {
        let seen = self.0.lock();
        let mut changes: Vec<Seen> = seen.iter().skip(1).cloned().collect();
        changes.retain(|change| (from..until).contains(&change.at));
        changes
    }

    /// When the path first changed, at `from` or later.
    pub(super) fn first_change(&self, from: Duration) -> Option<Duration> {
        self.changes(from, Duration::MAX)
            .first()
            .map(|change| change.at)
    }

    /// Since when the path is `path`, if it is now.
    pub(super) fn since(&self, path: &[NodeKey]) -> Option<Duration> {
        let seen = self.0.lock();
        let last = seen.last()?;
        (last.path == path).then_some(last.at)
    }
}

fn path(mesh: &Mesh, to: NodeKey) -> Vec<NodeKey> {
    let route = mesh.routes.get(Kind::Interactive, to);
    route.map(|route| nodes(&route.primary)).unwrap_or_default()
}

/// Whether a route is the link and has something else to fall back on.
pub(super) fn is_settled(route: &Route) -> bool {
    route.primary.is_direct() && route.backup.is_some()
}

fn nodes(way: &Way) -> Vec<NodeKey> {
    let hops = way.hops.as_slice().iter().copied();
    std::iter::once(way.first.peer_key).chain(hops).collect()
}
