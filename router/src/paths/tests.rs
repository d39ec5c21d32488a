mod aws;
mod brute;
mod random;
mod regions;

use std::time::Duration;

use super::*;
use crate::{
    cost::{Cost, Load, Loss, Measure},
    graph::{Link, LinkHealth, Node, RegionId, Service},
};

/// A mesh described in a few words. Nodes are keys, each in the region of its key over ten.
#[derive(Default)]
struct Plan {
    graph: Graph,
}

impl Plan {
    /// Links with their round trips in milliseconds, the same in both directions.
    fn new(links: &[(u64, u64, u64)]) -> Self {
        let mut plan = Self::default();
        for &(a, b, rtt_ms) in links {
            plan.node(a, |_| {}).node(b, |_| {});
            plan.link(a, b, |link| link.measure = measure(rtt_ms, 0));
        }
        plan
    }

    fn node(&mut self, key: u64, change: impl FnOnce(&mut Node)) -> &mut Self {
        let known = self.graph.node(NodeKey(key)).copied();
        let mut node = known.unwrap_or_else(|| Node::serving(RegionId((key / 10) as u32)));
        change(&mut node);
        self.graph.set_node(NodeKey(key), node);
        self
    }

    fn link(&mut self, a: u64, b: u64, change: impl Fn(&mut Link)) -> &mut Self {
        for (from, to) in [(a, b), (b, a)] {
            let known = self.graph.link(NodeKey(from), NodeKey(to)).copied();
            let mut link = known.unwrap_or(Link {
                measure: None,
                health: LinkHealth::Usable,
                limit_bytes: 1_200,
            });
            change(&mut link);
            self.graph.set_link(NodeKey(from), NodeKey(to), link);
        }
        self
    }

    fn health(&mut self, a: u64, b: u64, health: LinkHealth) -> &mut Self {
        self.link(a, b, |link| link.health = health)
    }

    fn service(&mut self, key: u64, service: Service) -> &mut Self {
        self.node(key, |node| node.service = service)
    }

    fn table(&self, source: u64) -> RouteTable {
        let mut table = RouteTable::new(NodeKey(source), RouteConfig::default());
        table.rebuild(&self.graph);
        table
    }

    fn route(&self, source: u64, destination: u64) -> Route {
        *self.table(source).route(NodeKey(destination)).unwrap()
    }
}

fn measure(rtt_ms: u64, loss_ppm: u32) -> Option<Measure> {
    Some(Measure {
        rtt: Duration::from_millis(rtt_ms),
        loss: Loss::from_ppm(loss_ppm),
    })
}

fn hops(path: &Path) -> Vec<u64> {
    path.hops().iter().map(|key| key.0).collect()
}

/// From 10 to 20 directly and by way of 30, 40 and 50.
fn diamond(direct: u64, halves: [u64; 3]) -> Plan {
    let [a, b, c] = halves;
    Plan::new(&[
        (10, 20, direct),
        (10, 30, a),
        (30, 20, a),
        (10, 40, b),
        (40, 20, b),
        (10, 50, c),
        (50, 20, c),
    ])
}

#[test]
fn direct_is_kept_until_an_overlay_is_better_by_ten_milliseconds_and_five_percent() {
    let primary = |direct| hops(&diamond(direct, [40, 80, 80]).route(10, 20).primary);
    assert_eq!(primary(89), [20]);
    assert_eq!(primary(90), [30, 20]);
    // Of 300 ms, 5 % are 15 ms.
    let primary = |half| hops(&diamond(300, [half, 300, 300]).route(10, 20).primary);
    assert_eq!(primary(143), [20]);
    assert_eq!(primary(142), [30, 20]);
}

#[test]
fn suspect_direct_link_gives_way_to_any_overlay_that_is_not() {
    let mut plan = diamond(10, [200, 300, 300]);
    plan.health(10, 20, LinkHealth::Suspect);
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
    // It is still better than a suspect one.
    for node in [30, 40, 50] {
        plan.health(node, 20, LinkHealth::Suspect);
    }
    assert_eq!(hops(&plan.route(10, 20).primary), [20]);
}

#[test]
fn draining_node_is_passed_only_where_there_is_nothing_else_not_even_a_suspect_link() {
    let mut plan = diamond(100, [10, 500, 500]);
    plan.service(30, Service::Draining);
    plan.health(10, 20, LinkHealth::Down);
    assert_eq!(hops(&plan.route(10, 20).primary), [40, 20]);
    plan.health(10, 20, LinkHealth::Suspect);
    plan.health(10, 40, LinkHealth::Down)
        .health(10, 50, LinkHealth::Down);
    assert_eq!(hops(&plan.route(10, 20).primary), [20]);
    plan.health(10, 20, LinkHealth::Down);
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
}

#[test]
fn draining_destination_is_reached_like_any_other() {
    let mut plan = diamond(10, [40, 80, 80]);
    plan.service(20, Service::Draining);
    let route = plan.route(10, 20);
    assert_eq!(
        (hops(&route.primary), route.primary.tier()),
        (vec![20], Tier::default())
    );
}

#[test]
fn link_that_one_end_calls_down_carries_nothing_either_way() {
    let mut plan = diamond(10, [40, 80, 80]);
    let mut link = *plan.graph.link(NodeKey(20), NodeKey(10)).unwrap();
    link.health = LinkHealth::Down;
    plan.graph.set_link(NodeKey(20), NodeKey(10), link);
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
    assert_eq!(hops(&plan.route(20, 10).primary), [30, 10]);
}

#[test]
fn new_link_is_not_preferred_to_a_measured_detour_and_is_used_where_it_is_the_only_one() {
    let mut plan = diamond(10, [150, 300, 300]);
    plan.link(10, 20, |link| link.measure = None);
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
    for node in [30, 40, 50] {
        plan.health(10, node, LinkHealth::Down);
    }
    assert_eq!(hops(&plan.route(10, 20).primary), [20]);
}

#[test]
fn equal_paths_are_told_apart_by_fewer_links_and_smaller_keys() {
    let mut plan = diamond(10, [40, 40, 40]);
    plan.health(10, 20, LinkHealth::Down);
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
    let plan = Plan::new(&[
        (10, 30, 20),
        (30, 40, 20),
        (40, 20, 20),
        (10, 50, 30),
        (50, 20, 30),
    ]);
    assert_eq!(hops(&plan.route(10, 20).primary), [50, 20]);
}

#[test]
fn equal_backups_are_told_apart_by_the_smaller_key_next_to_the_source() {
    let plan = Plan::new(&[
        (10, 20, 20),
        (10, 30, 20),
        (30, 60, 20),
        (60, 20, 20),
        (10, 40, 20),
        (40, 50, 20),
        (50, 20, 20),
    ]);
    // The search meets 50 before 60.
    assert_eq!(hops(&plan.route(10, 20).backup.unwrap()), [30, 60, 20]);
}

#[test]
fn backup_shares_no_link_and_avoids_node_and_region_where_it_can() {
    // 31 is in the region of 30.
    let mut plan = diamond(200, [20, 150, 300]);
    plan.node(31, |_| {});
    for end in [10, 20] {
        plan.link(end, 31, |link| link.measure = measure(25, 0));
    }
    let backup = |plan: &Plan| hops(&plan.route(10, 20).backup.unwrap());
    assert_eq!(hops(&plan.route(10, 20).primary), [30, 20]);
    assert_eq!(backup(&plan), [20]);
    plan.health(10, 20, LinkHealth::Down);
    assert_eq!(backup(&plan), [40, 20]);
    plan.health(10, 40, LinkHealth::Suspect)
        .health(10, 50, LinkHealth::Suspect);
    // Neither would be better than a neighbour of 30 that is well.
    assert_eq!(backup(&plan), [31, 20]);
}

#[test]
fn neighbour_that_crosses_the_same_pair_of_regions_is_the_lesser_backup_of_a_direct_link() {
    let mut plan = diamond(100, [180, 190, 195]);
    plan.node(11, |_| {});
    plan.link(10, 11, |link| link.measure = measure(1, 0));
    plan.link(11, 20, |link| link.measure = measure(101, 0));
    assert_eq!(hops(&plan.route(10, 20).primary), [20]);
    assert_eq!(hops(&plan.route(10, 20).backup.unwrap()), [30, 20]);
    for node in [30, 40, 50] {
        plan.health(node, 20, LinkHealth::Down);
    }
    assert_eq!(hops(&plan.route(10, 20).backup.unwrap()), [11, 20]);
}

#[test]
fn backup_may_share_a_node_where_no_path_avoids_it_and_never_a_link() {
    // 20 has two neighbours, and 30 is the only neighbour of 10 but 40, which leads to 30 alone.
    let plan = Plan::new(&[
        (10, 30, 10),
        (30, 20, 10),
        (10, 40, 10),
        (40, 30, 10),
        (30, 50, 10),
        (50, 20, 10),
    ]);
    let route = plan.route(10, 20);
    assert_eq!(hops(&route.primary), [30, 20]);
    // By way of 40, 30 and 50 it would be four links.
    assert_eq!(route.backup, None);
    let plan = Plan::new(&[
        (10, 30, 10),
        (30, 20, 10),
        (10, 40, 10),
        (40, 30, 10),
        (30, 50, 10),
        (50, 20, 10),
        (40, 50, 90),
    ]);
    assert_eq!(hops(&plan.route(10, 20).backup.unwrap()), [40, 50, 20]);
}

#[test]
fn backup_can_be_asked_for_from_a_path_that_is_neither_best_nor_usable() {
    let mut plan = diamond(100, [40, 60, 70]);
    plan.health(10, 40, LinkHealth::Down);
    let table = plan.table(10);
    assert_eq!(table.path(&[NodeKey(40), NodeKey(20)]), None);
    let held = diamond(100, [40, 60, 70])
        .table(10)
        .path(&[NodeKey(40), NodeKey(20)])
        .unwrap();
    assert_eq!(hops(&table.backup(&held).unwrap()), [30, 20]);
    let third = table.path(&[NodeKey(50), NodeKey(20)]).unwrap();
    assert_eq!(
        (third.cost(), hops(&table.backup(&third).unwrap())),
        (Cost::from_millis(140), vec![30, 20])
    );
}

#[test]
fn no_path_is_made_of_hops_that_loop_or_are_too_many_or_unknown() {
    let table = diamond(100, [40, 60, 70]).table(10);
    let path = |hops: &[u64]| table.path(&hops.iter().map(|&key| NodeKey(key)).collect::<Vec<_>>());
    assert!(path(&[20]).is_some() && path(&[30, 20, 40]).is_some());
    assert_eq!(path(&[]), None);
    assert_eq!(path(&[30, 10]), None);
    assert_eq!(path(&[30, 20, 30]), None);
    assert_eq!(path(&[30, 20, 40, 10]), None);
    assert_eq!(path(&[30, 40]), None);
    assert_eq!(path(&[99]), None);
}

#[test]
fn path_says_what_its_cost_is_made_of_and_what_fits_through_it() {
    let mut plan = diamond(900, [40, 400, 400]);
    plan.node(30, |node| node.load = Load::from_permille(500));
    plan.link(10, 30, |link| link.limit_bytes = 1_180);
    plan.link(30, 20, |link| link.measure = measure(40, 30_000));
    let path = plan.route(10, 20).primary;
    assert_eq!((hops(&path), path.limit_bytes()), (vec![30, 20], 1_180));
    let back = plan.route(20, 10).primary;
    assert_eq!((hops(&back), back.limit_bytes()), (vec![30, 10], 1_180));
    let parts = path.parts();
    assert_eq!(parts.delay, Cost::from_millis(80));
    // One percent beyond what is tolerated.
    assert_eq!(parts.loss.as_micros() / 1_000, 54);
    assert_eq!(parts.load, Cost::from_millis(2));
    assert_eq!(path.cost(), parts.total());
}

#[test]
fn source_has_no_route_to_itself_and_none_at_all_while_it_is_not_known() {
    let mut plan = diamond(100, [40, 60, 70]);
    assert_eq!(plan.table(10).route(NodeKey(10)), None);
    plan.graph.remove_node(NodeKey(10));
    let table = plan.table(10);
    assert_eq!(table.routes().count(), 0);
    assert_eq!(
        (
            table.path(&[NodeKey(20)]),
            table.backup(&diamond(100, [1; 3]).route(10, 20).primary)
        ),
        (None, None)
    );
}

#[test]
fn update_names_the_destinations_whose_routes_changed_and_no_others() {
    let mut plan = diamond(100, [45, 60, 70]);
    let mut table = plan.table(10);
    plan.health(10, 20, LinkHealth::Down);
    table.update_links(&plan.graph, NodeKey(10), &[NodeKey(20)]);
    // The backups of 30 and others led over that link.
    assert!(table.changed().contains(&NodeKey(20)));
    table.update_links(&plan.graph, NodeKey(10), &[NodeKey(20)]);
    assert_eq!(table.changed(), []);
    plan.node(40, |node| node.load = Load::from_permille(1));
    table.update_node(&plan.graph, NodeKey(40));
    assert!(!table.changed().contains(&NodeKey(40)));
}
