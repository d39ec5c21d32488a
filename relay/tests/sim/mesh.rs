//! How a mesh comes together, what it makes of those who leave it, and how they come back.

use std::{collections::BTreeMap, time::Duration};

use causeway::{
    clock,
    counts::GoneReason,
    echo::echo,
    id::{LinkGeneration, NodeKey},
    routes::Kind,
};
use router::{
    graph::{NodeKey as RouterKey, RegionId},
    health::Condition,
    wanted::wish,
};

use crate::{
    diamond::nodes_of,
    fleet::{Fleet, Member, ms, sleep},
    traffic::{UDP_SERVICE, UdpEcho, UdpFlow, udp_listen},
};

const REGIONS: [&str; 4] = ["eu", "us", "ap", "sa"];
/// There and back between the regions that are farthest from each other.
pub(crate) const FARTHEST: Duration = ms(160);
/// How long a node is known of which nothing new is heard, and how late that is looked at.
const EXPIRY: Duration = ms(300_000);
const SWEEP: Duration = ms(5_000);

/// Nodes in several regions, which are told of nothing but one of them, without its name.
///
/// Regions are as far from each other as places along a road, so that no way over another node is
/// shorter than the link.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) nodes: Vec<Member>,
}

impl World {
    /// - `tables`: what else a node is told, by its place in the order of all.
    fn new(seed: u64, regions: usize, each: usize, tables: impl Fn(usize) -> String) -> Self {
        let mut fleet = Fleet::new(seed);
        let mut nodes = Vec::new();
        for region in &REGIONS[..regions] {
            for number in 0..each {
                let tables = tables(nodes.len());
                nodes.push(fleet.add(region, &format!("n{number}"), &tables));
            }
        }
        for (at, a) in nodes.iter().enumerate() {
            for (to, b) in nodes.iter().enumerate().skip(at + 1) {
                let apart = (to / each - at / each) as u64;
                if apart > 0 {
                    fleet.delay(*a, *b, ms(20 + 20 * apart));
                }
            }
        }
        let seed = fleet.address(nodes[0]).to_string();
        for node in &nodes {
            fleet.add_seed(*node, &seed);
        }
        Self { fleet, nodes }
    }

    /// The same when all have started, and each has a direct route to every other one.
    pub(crate) async fn settled(
        seed: u64,
        regions: usize,
        each: usize,
        tables: impl Fn(usize) -> String,
    ) -> Self {
        let mut world = Self::new(seed, regions, each, tables);
        world.fleet.start_all().await;
        world.until_direct(ms(10_000)).await;
        sleep(ms(15_000)).await;
        world
    }

    fn pairs(&self) -> impl Iterator<Item = (Member, Member)> {
        let nodes = &self.nodes;
        let to_others = |from: &Member| {
            let from = *from;
            let others = nodes.iter().copied().filter(move |to| *to != from);
            others.map(move |to| (from, to))
        };
        nodes.iter().flat_map(to_others)
    }

    /// The nodes on the way that both kinds of traffic take, if there is one.
    fn route(&self, from: Member, to: Member) -> Option<Vec<NodeKey>> {
        let routes = &self.fleet.mesh(from).routes;
        let ways = Kind::ALL.map(|kind| {
            let route = routes.get(kind, self.fleet.key(to))?;
            route
                .primary
                .first
                .is_usable()
                .then(|| nodes_of(&route.primary))
        });
        let [interactive, bulk] = ways;
        interactive.filter(|way| Some(way) == bulk.as_ref())
    }

    fn is_direct(&self, from: Member, to: Member) -> bool {
        self.route(from, to) == Some(vec![self.fleet.key(to)])
    }

    /// Waits until every node has a direct route to every other one: how long it took.
    pub(crate) async fn until_direct(&self, within: Duration) -> Duration {
        let from = clock::now();
        loop {
            let pairs = self.pairs();
            let others: Vec<_> = pairs
                .filter(|(from, to)| !self.is_direct(*from, *to))
                .map(|(from, to)| (from, to, self.fleet.linked(from, to), self.route(from, to)))
                .collect();
            let took = clock::now() - from;
            if others.is_empty() {
                return took;
            }
            let at = self.fleet.elapsed();
            assert!(
                took < within,
                "at {at:?}, from, to, linked, by: {others:#?}"
            );
            sleep(ms(1)).await;
        }
    }

    /// Waits until every node has some route to every other one: how long it took.
    pub(crate) async fn until_routed(&self, within: Duration) -> Duration {
        let has_route = |(from, to)| self.route(from, to).is_some();
        let all = || self.pairs().all(has_route);
        self.fleet.until("routes to all", within, all).await
    }

    /// Waits until every node thinks well of every other one.
    async fn until_all_up(&self, within: Duration) -> Duration {
        let is_up = |(from, to)| {
            let peer = self.fleet.peer(from, to);
            peer.is_some_and(|peer| {
                let report = peer.report.load();
                let last = report.conditions.last();
                last.is_some_and(|change| change.to == Condition::Up)
            })
        };
        let all = || self.pairs().all(is_up);
        self.fleet.until("all are up", within, all).await
    }

    /// Waits until no node has a route to `gone`, which is not running.
    pub(crate) async fn until_unrouted(&self, gone: Member, within: Duration) -> Duration {
        let key = self.fleet.key(gone);
        let routed = |node: &Member| {
            let routes = &self.fleet.mesh(*node).routes;
            Kind::ALL
                .iter()
                .any(|kind| routes.get(*kind, key).is_some())
        };
        let unrouted = || !self.others(&[gone]).iter().any(routed);
        self.fleet.until("no routes to it", within, unrouted).await
    }

    pub(crate) fn others(&self, than: &[Member]) -> Vec<Member> {
        let nodes = self.nodes.iter().copied();
        nodes.filter(|node| !than.contains(node)).collect()
    }

    fn gone(&self, at: Member) -> u64 {
        self.fleet.mesh(at).counts.nodes_gone.total()
    }

    /// Nothing gets from these to the others any more, or back.
    fn cut_off(&self, inside: &[Member], is_cut: bool) {
        let hosts = |nodes: &[Member]| -> Vec<_> {
            let hosts = nodes.iter().map(|node| self.fleet.machine(*node).clone());
            hosts.collect()
        };
        let (inside, outside) = (hosts(inside), hosts(&self.others(inside)));
        let inside: Vec<_> = inside.iter().collect();
        let outside: Vec<_> = outside.iter().collect();
        match is_cut {
            true => self.fleet.sim.partition(&inside, &outside),
            false => self.fleet.sim.heal_partition(&inside, &outside),
        }
    }

    /// Asserts for `duration` that routes among these do not change.
    pub(crate) async fn assert_direct_for(&self, duration: Duration, among: &[Member]) {
        let until = clock::now() + duration;
        while clock::now() < until {
            for from in among {
                for to in among.iter().filter(|to| *to != from) {
                    assert!(
                        self.is_direct(*from, *to),
                        "{from:?} to {to:?} by {:?} at {:?}",
                        self.route(*from, *to),
                        self.fleet.elapsed()
                    );
                }
            }
            sleep(ms(5)).await;
        }
    }

    fn links(&self) -> BTreeMap<(Member, Member), Option<LinkGeneration>> {
        let link = |(from, to)| {
            let link = self.fleet.link(from, to);
            ((from, to), link.map(|link| link.generation))
        };
        self.pairs().map(link).collect()
    }

    pub(crate) fn assert_healthy(&self, running: &[Member]) {
        for node in running {
            let counts = self.fleet.node(*node).tasks().counts();
            assert_eq!((counts.panicked, counts.overdue), (0, 0));
            let refused = &self.fleet.mesh(*node).counts.adverts_refused;
            assert_eq!(refused.total(), 0);
        }
    }
}

pub(crate) fn no_tables(_: usize) -> String {
    String::new()
}

#[tokio::test(start_paused = true)]
async fn nodes_that_know_one_seed_link_up_as_wished_and_have_routes_to_all() {
    // With two in each region every pair is wished for; with four it is not.
    for (seed, each) in [(170, 2), (171, 4)] {
        let mut world = World::new(seed, 3, each, no_tables);
        world.fleet.start_all().await;
        world.until_routed(ms(4_000)).await;
        // Longer than links linger that are not wished for any more.
        sleep(ms(70_000)).await;
        let key = |node: Member| RouterKey::from(world.fleet.key(node));
        let region = |at: usize| RegionId((at / each) as u32);
        let nodes = world.nodes.iter().enumerate();
        let members: BTreeMap<_, _> = nodes.map(|(at, node)| (key(*node), region(at))).collect();
        let mut missing = 0;
        for (from, to) in world.pairs() {
            let is_wished = wish(&members, key(from)).contains(&key(to));
            // Who comes by the seed keeps the link that it is configured to have.
            let has_seed = [from, to].contains(&world.nodes[0]);
            let expected = is_wished || has_seed;
            assert_eq!(world.fleet.linked(from, to), expected, "{from:?} {to:?}");
            assert!(world.route(from, to).is_some());
            missing += u32::from(!expected);
        }
        assert_eq!(missing > 0, each > 2, "{missing} pairs are not linked");
        world.assert_healthy(&world.nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_is_unrouted_within_two_seconds_and_forgotten_in_time() {
    let mut world = World::settled(172, 3, 2, no_tables).await;
    let x = world.nodes[3];
    let others = world.others(&[x]);
    world.fleet.kill(x);
    // Down after 0.9 s and a round trip, held back for 0.5 s, and told.
    let within = ms(900) + FARTHEST + ms(500) + ms(100) + 2 * FARTHEST;
    let took = world.until_unrouted(x, within).await;
    world.assert_direct_for(ms(10_000), &others).await;
    let left = EXPIRY - ms(10_000) - took;
    // Its last advert may have been older than the link.
    sleep(left - ms(60_000)).await;
    assert!(others.iter().all(|node| world.gone(*node) == 0));
    let forgotten = || others.iter().all(|node| world.gone(*node) == 1);
    let fleet = &world.fleet;
    fleet
        .until("forgotten", ms(60_000) + SWEEP, forgotten)
        .await;
    for node in &others {
        let gone = &fleet.mesh(*node).counts.nodes_gone;
        assert_eq!(gone.value(GoneReason::Expired), 1);
    }
    // And it may come back.
    world.fleet.start(x).await;
    world.until_routed(ms(8_000)).await;
    world.until_direct(ms(20_000)).await;
    world.assert_healthy(&world.nodes);
}

#[tokio::test(start_paused = true)]
async fn flow_over_a_node_that_leaves_or_dies_takes_another_way() {
    for is_killed in [false, true] {
        let tables = |at| match at {
            0 => udp_listen(6000, "{ node = \"ap/n0\" }"),
            4 => UDP_SERVICE.to_owned(),
            _ => String::new(),
        };
        let mut world = World::settled(173, 3, 2, tables).await;
        let (from, to) = (world.nodes[0], world.nodes[4]);
        let fleet = &world.fleet;
        fleet.sim.cut_both(fleet.machine(from), fleet.machine(to));
        let is_over = |via: Member| {
            let way = vec![fleet.key(via), fleet.key(to)];
            world.route(from, to) == Some(way)
        };
        let echo = UdpEcho::start(fleet, to);
        sleep(ms(15_000)).await;
        let via = world
            .others(&[from, to])
            .into_iter()
            .find(|via| is_over(*via));
        let via = via.unwrap();
        let flow = UdpFlow::start(fleet, from, 6000, ms(10));
        sleep(ms(2_000)).await;
        let within = match is_killed {
            true => {
                world.fleet.kill(via);
                ms(500) + 2 * FARTHEST + 2 * FARTHEST
            }
            false => {
                assert!(world.fleet.shutdown(via, ms(5_000)).await.is_empty());
                2 * FARTHEST
            }
        };
        sleep(ms(5_000)).await;
        let gap = flow.longest_gap();
        assert!(gap <= within, "{gap:?}");
        let (sent, received) = flow.finish().await;
        let most = gap.as_millis() as u64 / 10 + 2;
        assert!(sent - received <= most, "{received} of {sent}");
        assert_eq!(echo.clients(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_was_cut_off_for_ten_minutes_comes_back_by_itself() {
    let world = World::settled(174, 3, 2, no_tables).await;
    // One that others know as the seed, and one that nobody is told of.
    for x in [world.nodes[0], world.nodes[5]] {
        let others = world.others(&[x]);
        let before: Vec<_> = others.iter().map(|node| world.gone(*node)).collect();
        world.cut_off(&[x], true);
        sleep(ms(600_000)).await;
        for (node, before) in others.iter().zip(before) {
            assert_eq!(world.gone(*node), before + 1);
        }
        world.cut_off(&[x], false);
        // The longest backoff and a dial, and for those who are not dialed yet a turn.
        world.until_routed(ms(8_000)).await;
        world.until_direct(ms(20_000)).await;
        sleep(ms(120_000)).await;
    }
    world.assert_direct_for(ms(1_000), &world.nodes).await;
    world.assert_healthy(&world.nodes);
}

#[tokio::test(start_paused = true)]
async fn all_but_one_that_restart_together_are_back_with_all_routes_and_nobody_is_forgotten() {
    let mut world = World::settled(175, 4, 2, no_tables).await;
    // The seed restarts too.
    let stays = world.nodes[5];
    let restarted = world.others(&[stays]);
    for (turn, node) in restarted.iter().enumerate() {
        world.fleet.kill(*node);
        sleep(ms(50 + 37 * turn as u64)).await;
        world.fleet.start(*node).await;
    }
    let took = world.until_routed(ms(15_000)).await;
    // What was said before the restarts is known on, and may lead over links that are not there
    // yet; by now, no route does.
    sleep(ms(15_000) - took).await;
    for (from, to) in world.pairs() {
        let mesh = world.fleet.mesh(from);
        let way = mesh
            .routes
            .get(Kind::Interactive, world.fleet.key(to))
            .unwrap();
        let answer = echo(mesh, &way.primary, clock::now() + ms(1_000)).await;
        assert!(answer.is_ok(), "{from:?} to {to:?}: {answer:?}");
    }
    world.until_direct(ms(5_000)).await;
    // Longer than it takes to forget one that was not heard of.
    sleep(EXPIRY + 2 * SWEEP).await;
    for node in &world.nodes {
        assert_eq!(world.gone(*node), 0, "{node:?}");
    }
    world.assert_direct_for(ms(1_000), &world.nodes).await;
    world.assert_healthy(&world.nodes);
}

#[tokio::test(start_paused = true)]
async fn region_that_was_cut_off_has_its_direct_paths_back_within_fifteen_seconds() {
    for (seed, away) in [(178, 900), (179, 5_000), (180, 60_000)] {
        let tables = |at| match at {
            0 => udp_listen(6000, "{ node = \"eu/n1\" }"),
            4 => udp_listen(6001, "{ node = \"ap/n1\" }"),
            1 | 5 => UDP_SERVICE.to_owned(),
            _ => String::new(),
        };
        let world = World::settled(seed, 3, 2, tables).await;
        let (outside, inside) = world.nodes.split_at(4);
        let fleet = &world.fleet;
        let echoes = [outside[1], inside[1]].map(|node| UdpEcho::start(fleet, node));
        let flows = [
            UdpFlow::start(fleet, outside[0], 6000, ms(20)),
            UdpFlow::start(fleet, inside[0], 6001, ms(20)),
        ];
        sleep(ms(1_000)).await;
        world.cut_off(inside, true);
        world.assert_direct_for(ms(away), outside).await;
        world.cut_off(inside, false);
        let healed = clock::now();
        world.until_all_up(ms(15_000)).await;
        world.until_direct(ms(15_000)).await;
        let took = clock::now() - healed;
        // Below the 5 s for which a silent link is kept, nothing has to be dialed.
        assert!(took <= ms(15_000), "{took:?} after {away} ms");
        // And it stays so.
        sleep(ms(1_000)).await;
        world.assert_direct_for(ms(30_000), &world.nodes).await;
        for flow in flows {
            assert!(flow.longest_gap() <= ms(30), "{:?}", flow.longest_gap());
            flow.finish_without_loss().await;
        }
        assert!(world.nodes.iter().all(|node| world.gone(*node) == 0));
        drop(echoes);
        world.assert_healthy(&world.nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn node_whose_own_network_is_gone_moves_no_routes_but_those_to_itself() {
    let world = World::settled(181, 3, 2, no_tables).await;
    let x = world.nodes[2];
    let others = world.others(&[x]);
    world.cut_off(&[x], true);
    world.assert_direct_for(ms(20_000), &others).await;
    assert_eq!(world.fleet.mesh(x).counts.nodes_doubted.value(), 1);
    for node in &others {
        assert_eq!(world.fleet.mesh(*node).counts.nodes_doubted.value(), 0);
    }
    world.cut_off(&[x], false);
    world.assert_direct_for(ms(15_000), &others).await;
    world.until_direct(ms(1)).await;
    world.assert_direct_for(ms(30_000), &world.nodes).await;
    assert!(world.nodes.iter().all(|node| world.gone(*node) == 0));
    world.assert_healthy(&world.nodes);
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_stepped_by_hours_changes_no_link_and_no_route() {
    let world = World::settled(182, 3, 2, no_tables).await;
    let before = world.links();
    let hour: i64 = 3_600_000;
    for offset in [5 * hour, 0, -hour / 6] {
        world.fleet.wall(world.nodes[1]).set_offset_ms(offset);
        world.assert_direct_for(ms(30_000), &world.nodes).await;
        sleep(ms(330_000)).await;
        world.assert_direct_for(ms(1_000), &world.nodes).await;
    }
    assert_eq!(world.links(), before);
    assert!(world.nodes.iter().all(|node| world.gone(*node) == 0));
    world.assert_healthy(&world.nodes);
}

#[tokio::test(start_paused = true)]
async fn two_processes_of_one_name_at_two_addresses_are_named_as_contested_by_others() {
    let mut world = World::settled(183, 3, 2, no_tables).await;
    let x = world.nodes[3];
    let others = world.others(&[x]);
    let contested = |world: &World, node: Member| {
        let counts = &world.fleet.mesh(node).counts;
        counts.nodes_contested.value()
    };
    assert!(others.iter().all(|node| contested(&world, *node) == 0));
    let twin = world.fleet.add("us", "n1", "");
    assert_eq!(world.fleet.key(twin), world.fleet.key(x));
    for node in &others {
        world.fleet.delay(twin, *node, ms(30));
    }
    let seed = world.fleet.address(world.nodes[0]).to_string();
    world.fleet.add_seed(twin, &seed);
    world.fleet.start(twin).await;
    sleep(ms(30_000)).await;
    // Who did not hear of the one before the other took its name back cannot know.
    let named = others.iter().filter(|node| contested(&world, **node) > 0);
    let named = named.count();
    assert!(named > others.len() / 2, "{named} name it");
}
