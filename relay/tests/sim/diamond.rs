//! Four nodes of which two have no link to each other.

use std::{sync::Arc, time::Duration};

use causeway::{
    counts::ForwardRefusal,
    id::NodeKey,
    routes::{Kind, Standing, Way},
    wire::RemainingHops,
};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    traffic::{TCP_SERVICE, UDP_SERVICE, tcp_listen, udp_listen},
};

/// The ends `i` and `e`, with `m` and `n` between them.
///
/// ```text
///            m                 one way, in ms
///      20 ╱  │  ╲ 20
///       i    │10  e            nothing gets from i to e by itself
///      20 ╲  │  ╱ 30
///            n
/// ```
///
/// So the way from `i` to `e` is over `m`, and over `n` if that cannot be: the difference is more
/// than what routers put up with.
pub(crate) struct Diamond {
    pub(crate) fleet: Fleet,
    pub(crate) i: Member,
    pub(crate) m: Member,
    pub(crate) n: Member,
    pub(crate) e: Member,
}

/// There and back between the ends, over `m`, over `n`, and over both.
pub(crate) const OVER_M: Duration = ms(80);
pub(crate) const OVER_N: Duration = ms(100);
pub(crate) const OVER_BOTH: Duration = ms(120);

impl Diamond {
    pub(crate) async fn new(seed: u64) -> Self {
        let to = "{ node = \"ap/e\" }";
        let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
        Self::with(seed, &listens, &[UDP_SERVICE, TCP_SERVICE].concat(), |_| {}).await
    }

    /// Waits until the first way and its spare are those of the drawing.
    ///
    /// - `listens`, `services`: of `i` and of `e`.
    /// - `change`: what is otherwise, before the nodes start.
    pub(crate) async fn with(
        seed: u64,
        listens: &str,
        services: &str,
        change: impl FnOnce(&mut Self),
    ) -> Self {
        let scene = Self::start(seed, listens, services, |scene| {
            scene.cut(scene.i, scene.e);
            change(scene);
        });
        let scene = scene.await;
        let Self { i, m, n, e, .. } = scene;
        scene.until_route(i, &[m, e], Some(&[n, e])).await;
        scene.until_route(e, &[m, i], Some(&[n, i])).await;
        scene
    }

    /// Waits until those next to each other are linked.
    ///
    /// - `change`: what is otherwise, before the nodes start.
    pub(crate) async fn start(
        seed: u64,
        listens: &str,
        services: &str,
        change: impl FnOnce(&mut Self),
    ) -> Self {
        let mut fleet = Fleet::new(seed);
        let i = fleet.add("eu", "i", listens);
        let m = fleet.add("us", "m", "");
        let n = fleet.add("us", "n", "");
        let e = fleet.add("ap", "e", services);
        for (a, b, one_way) in [(i, m, 20), (i, n, 20), (m, e, 20), (n, e, 30), (m, n, 10)] {
            fleet.delay(a, b, ms(one_way));
            fleet.pair(a, b);
        }
        let mut scene = Self { fleet, i, m, n, e };
        change(&mut scene);
        scene.fleet.start_all().await;
        for (a, b) in [(i, m), (i, n), (m, n), (m, e), (n, e)] {
            scene.fleet.until_linked(&[a, b], ms(5_000)).await;
        }
        sleep(ms(1_000)).await;
        scene
    }

    /// Nothing gets from one to the other any more, either way.
    pub(crate) fn cut(&self, a: Member, b: Member) {
        let fleet = &self.fleet;
        fleet.sim.cut_both(fleet.machine(a), fleet.machine(b));
    }

    pub(crate) fn heal(&self, a: Member, b: Member) {
        let fleet = &self.fleet;
        fleet.sim.heal_both(fleet.machine(a), fleet.machine(b));
    }

    /// Leaves `i`, `m`, `n`, `e` as the only way between the ends.
    pub(crate) async fn leave_the_long_way_only(&self) {
        let Self { i, m, n, e, .. } = *self;
        self.cut(m, e);
        self.cut(i, n);
        self.until_route(i, &[m, n, e], None).await;
        self.until_route(e, &[n, m, i], None).await;
    }

    /// Waits until traffic from `from` takes these nodes in turn, the last of them its destination,
    /// and has this to fall back on.
    pub(crate) async fn until_route(
        &self,
        from: Member,
        path: &[Member],
        backup: Option<&[Member]>,
    ) -> Duration {
        let keys = |path: &[Member]| -> Vec<NodeKey> {
            path.iter().map(|node| self.fleet.key(*node)).collect()
        };
        let expected = (keys(path), backup.map(keys));
        let to = *expected.0.last().unwrap();
        let is_so = |kind| {
            let route = self.fleet.mesh(from).routes.get(kind, to);
            route.is_some_and(|route| {
                let backup = route.backup.as_deref().map(nodes_of);
                (nodes_of(&route.primary), backup) == expected
            })
        };
        let what = format!("a route over {path:?}, or else {backup:?}");
        let all = || Kind::ALL.into_iter().all(is_so);
        self.fleet.until(&what, ms(15_000), all).await
    }

    /// The way from the first node of `path` along the others, whatever routes there are.
    pub(crate) fn way(&self, path: &[Member]) -> Arc<Way> {
        let first = self.fleet.link(path[0], path[1]).unwrap();
        let hops: Vec<NodeKey> = path[2..].iter().map(|node| self.fleet.key(*node)).collect();
        let hops = RemainingHops::try_new(&hops).unwrap();
        Way::new(first, hops, Standing::Standby)
    }

    pub(crate) fn forwarded(&self, at: Member) -> u64 {
        self.fleet.mesh(at).counts.packets_forwarded.value()
    }

    pub(crate) fn refused(&self, at: Member, why: ForwardRefusal) -> u64 {
        self.fleet.mesh(at).counts.forward_refused.value(why)
    }

    pub(crate) fn assert_healthy(&self) {
        for member in [self.i, self.m, self.n, self.e] {
            let counts = self.fleet.node(member).tasks().counts();
            assert_eq!((counts.panicked, counts.overdue), (0, 0));
        }
    }
}

/// The nodes that a way visits, its destination last.
pub(crate) fn nodes_of(way: &Way) -> Vec<NodeKey> {
    let first = std::iter::once(way.first.peer_key);
    first.chain(way.hops.as_slice().iter().copied()).collect()
}
