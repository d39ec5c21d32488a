use super::*;

const REGION: RegionId = RegionId(2);
const FLOWS: u64 = 20_000;

/// Node 10 with links to `count` nodes of region 2: 20, 21 and so on.
fn plan(count: u64) -> Plan {
    let links: Vec<_> = (20..20 + count).map(|node| (10, node, 50)).collect();
    Plan::new(&links)
}

/// A well-spread hash of a flow's number.
fn flow(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn pick(table: &RouteTable, number: u64) -> Option<u64> {
    let picked = table.pick(REGION, flow(number), None, |_| true);
    picked.map(|key| key.0)
}

/// Of many flows, the share that each node of the region gets, in percent.
fn shares(table: &RouteTable, count: u64) -> Vec<f64> {
    let mut shares = vec![0.0; count as usize];
    for number in 0..FLOWS {
        shares[(pick(table, number).unwrap() - 20) as usize] += 100.0 / FLOWS as f64;
    }
    shares
}

#[test]
fn equal_nodes_get_equal_shares() {
    for share in shares(&plan(4).table(10), 4) {
        // Four standard deviations of 20,000 draws at a quarter are 1.2 %.
        assert!((share - 25.0).abs() < 1.2, "{share}");
    }
}

#[test]
fn less_loaded_node_of_two_takes_the_flow_and_the_most_loaded_one_takes_none() {
    let mut plan = plan(4);
    for (node, load) in [(20, 100), (21, 200), (22, 300), (23, 400)] {
        plan.node(node, |node| node.load = Load::from_permille(load));
    }
    let shares = shares(&plan.table(10), 4);
    // Of six pairs the first is in three, the second is the lesser of two, the third of one.
    for (share, pairs) in shares.iter().zip([3.0, 2.0, 1.0, 0.0]) {
        assert!((share - pairs * 100.0 / 6.0).abs() < 1.5, "{shares:?}");
    }
}

#[test]
fn five_percent_are_five_percent_however_idle_that_leaves_the_canary() {
    let mut plan = plan(4);
    plan.node(20, |node| node.weight = 5);
    for node in 21..24 {
        plan.node(node, |node| {
            node.weight = 95;
            node.load = Load::from_permille(900);
        });
    }
    let share = shares(&plan.table(10), 4)[0];
    let expected = 100.0 * 5.0 / (5.0 + 3.0 * 95.0);
    assert!((share - expected).abs() < 0.4, "{share}, {expected}");
}

#[test]
fn node_behind_a_path_that_is_worse_by_the_margin_loses_to_any_and_by_less_to_none() {
    let shares_at = |rtt_ms| {
        let mut plan = plan(2);
        plan.link(10, 20, |link| link.measure = measure(rtt_ms, 0));
        shares(&plan.table(10), 2)[0]
    };
    assert_eq!(shares_at(60), 0.0);
    assert!((shares_at(59) - 50.0).abs() < 1.5);
}

#[test]
fn ejected_warming_weightless_unreachable_and_ineligible_nodes_get_nothing() {
    let mut plan = plan(6);
    plan.node(20, |node| node.ejected = true);
    plan.node(21, |node| node.service = Service::Warming);
    plan.node(22, |node| node.weight = 0);
    plan.health(10, 23, LinkHealth::Down);
    let table = plan.table(10);
    for number in 0..1_000 {
        let picked = table.pick(REGION, flow(number), None, |key| key != NodeKey(24));
        assert_eq!(picked, Some(NodeKey(25)));
    }
    assert_eq!(
        table.pick(REGION, 1, None, |key| key.0 < 25 && key.0 != 24),
        None
    );
    assert_eq!(table.pick(RegionId(9), 1, None, |_| true), None);
}

#[test]
fn draining_node_takes_a_flow_only_if_nobody_else_does() {
    let mut plan = plan(2);
    plan.service(20, Service::Draining);
    let table = plan.table(10);
    assert!((0..1_000).all(|number| pick(&table, number) == Some(21)));
    let mut other_ejected = plan;
    other_ejected.node(21, |node| node.ejected = true);
    assert_eq!(pick(&other_ejected.table(10), 1), Some(20));
}

#[test]
fn flow_stays_where_it_is_whatever_the_loads_until_its_node_drains() {
    let mut plan = plan(4);
    plan.node(20, |node| node.load = Load::from_permille(2_000));
    let current = Some(NodeKey(20));
    let table = plan.table(10);
    assert!(
        (0..1_000).all(|number| table.pick(REGION, flow(number), current, |_| true) == current)
    );
    plan.service(20, Service::Draining);
    let table = plan.table(10);
    assert!(
        (0..1_000).all(|number| table.pick(REGION, flow(number), current, |_| true) != current)
    );
}

#[test]
fn node_that_leaves_moves_only_the_flows_that_drew_it() {
    let mut plan = plan(4);
    let before = plan.table(10);
    plan.graph.remove_node(NodeKey(23));
    let after = plan.table(10);
    for number in 0..2_000 {
        let held = pick(&before, number);
        if held != Some(23) {
            assert_eq!(pick(&after, number), held);
        }
    }
}

#[test]
fn the_same_flow_picks_the_same_node_wherever_it_enters() {
    let mut plan = plan(8);
    for node in 20..28 {
        plan.node(11, |_| {});
        plan.link(11, node, |link| link.measure = measure(90, 0));
    }
    let (one, other) = (plan.table(10), plan.table(11));
    assert!((0..1_000).all(|number| pick(&one, number) == pick(&other, number)));
}
