//! What a mesh does as a whole.

use super::{fleet::*, *};

/// `nodes` that start at `per_second`, and know process 0.
fn joined(nodes: u64, regions: u64, per_second: u64) -> Fleet {
    let mut fleet = Fleet::new();
    for number in 0..nodes {
        fleet.start(number, NodeKey(number), (number % regions) as u32, 1_000);
        if number % per_second == per_second - 1 {
            fleet.run(secs(1));
        }
    }
    fleet
}

/// Runs for some time, in which some processes restart; returns what each sends in bytes a second.
fn measure(fleet: &mut Fleet, time: Duration, restarts: &[(u64, u32)], what: &str) -> u64 {
    fleet.bytes = Bytes::default();
    fleet.busiest_bytes = 0;
    fleet
        .processes
        .values_mut()
        .for_each(|process| process.sent_bytes = 0);
    let nodes = fleet.processes.len() as u64;
    let end = fleet.now + time;
    let generation = 2_000 + fleet.now.duration_since(fleet.start).as_secs();
    for (number, region) in restarts {
        fleet.kill(*number);
        fleet.run(secs(2));
        fleet.start(*number, NodeKey(*number), *region, generation);
    }
    fleet.run(end - fleet.now);
    let each = |bytes: u64| bytes / nodes / time.as_secs();
    let Bytes {
        adverts,
        digests,
        offers,
        requests,
    } = fleet.bytes;
    let most = fleet
        .processes
        .values()
        .map(|process| process.sent_bytes)
        .max()
        .unwrap();
    let total = each(fleet.bytes.total());
    println!(
        "{nodes:4} nodes, {:.0} links, {what}: {total} B/s a node sent (adverts {}, offers {}, \
         requests {}, digests {}), the busiest one {}; in the busiest second {}",
        mean_links(fleet),
        each(adverts),
        each(offers),
        each(requests),
        each(digests),
        most / time.as_secs(),
        fleet.busiest_bytes / nodes,
    );
    total
}

/// Joins, converges and measures a fleet; in churn, one node of a hundred restarts each minute.
fn figures(nodes: u64, regions: u64, per_second: u64, time: Duration) -> (Duration, u64, u64) {
    let mut fleet = joined(nodes, regions, per_second);
    let took = fleet.converge(secs(120));
    // Until the links are those of all members.
    fleet.run(secs(20));
    println!(
        "{nodes:4} nodes: all know all {took:?} after the last one started; to start took {} B a \
         node, {} in the busiest second",
        fleet.bytes.total() / nodes,
        fleet.busiest_bytes / nodes,
    );
    let counts = fleet.processes.values().map(|p| p.gossip.counts());
    for counts in counts {
        let dropped = counts.limited + counts.overflowed + counts.strangers + counts.missed;
        assert_eq!(dropped, 0, "{counts:?}");
    }
    // Links by joining linger for a minute.
    fleet.run(secs(60));
    let steady = measure(&mut fleet, time, &[], "steady");
    fleet.converge(secs(60));
    let mut churn = 0;
    for round in 0..time.as_secs() / 60 {
        let restarts = (0..nodes.div_ceil(100)).map(|restart| {
            let number = 1 + (round * 37 + restart * 101) % (nodes - 1);
            (number, (number % regions) as u32)
        });
        let restarts: Vec<_> = restarts.collect();
        churn += measure(&mut fleet, secs(60), &restarts, "churn");
    }
    fleet.converge(secs(120));
    (took, steady, churn / (time.as_secs() / 60).max(1))
}

#[test]
fn ten_nodes_converge_within_seconds_and_cost_each_less_than_a_kilobyte_a_second() {
    let (took, steady, churn) = figures(10, 3, 10, secs(240));
    assert!(took < secs(10), "{took:?}");
    assert!(steady < 1_000 && churn < 1_000);
}

#[test]
fn hundred_nodes_converge_within_seconds_and_cost_each_some_kilobytes_a_second() {
    let (took, steady, churn) = figures(100, 5, 20, secs(240));
    assert!(took < secs(20), "{took:?}");
    assert!(steady < 4_000 && churn < 8_000);
}

#[test]
#[ignore = "takes a minute"]
fn three_hundred_nodes_converge_within_seconds_and_cost_each_some_ten_kilobytes_a_second() {
    let (took, steady, churn) = figures(300, 10, 100, secs(120));
    assert!(took < secs(20), "{took:?}");
    assert!(steady < 12_000 && churn < 25_000);
}

#[test]
#[ignore = "takes ten minutes"]
fn thousand_nodes_that_start_at_once_converge_within_seconds() {
    let (took, steady, churn) = figures(1_000, 10, 1_000, secs(120));
    assert!(took < secs(10), "{took:?}");
    assert!(steady < 50_000 && churn < 100_000);
}

#[test]
fn node_that_restarts_replaces_itself_and_one_that_dies_is_forgotten_in_time() {
    let mut fleet = joined(30, 3, 30);
    fleet.converge(secs(30));
    fleet.kill(7);
    fleet.run(secs(1));
    fleet.start(7, NodeKey(7), 1, 2_000);
    assert!(fleet.converge(secs(30)) < secs(5));
    let died = fleet.now;
    fleet.kill(11);
    fleet.run(secs(170));
    assert!(!fleet.all_know(&fleet.said()));
    fleet.run(secs(140));
    fleet.converge(secs(5));
    for process in fleet.processes.values() {
        let gone = process.facts.iter().find_map(|(at, fact)| match fact {
            Output::Gone(NodeKey(11), Farewell::Expired) => Some(*at - died),
            _ => None,
        });
        // From its last advert, at most two minutes before its death, to the sweep.
        let gone = gone.unwrap();
        assert!(
            gone > secs(170) && gone <= EXPIRY + SWEEP_EVERY + secs(1),
            "{gone:?}"
        );
    }
}

#[test]
fn node_that_leaves_is_gone_everywhere_within_two_seconds_and_stays_gone() {
    let mut fleet = joined(30, 3, 30);
    fleet.converge(secs(30));
    fleet.leave(11);
    fleet.run(secs(1));
    assert!(
        fleet
            .processes
            .values()
            .all(|process| process.gossip.advert(NodeKey(11)).is_none())
    );
    fleet.run(secs(400));
    fleet.converge(secs(5));
}

#[test]
fn halves_of_a_mesh_forget_each_other_and_are_whole_within_half_a_minute_of_healing() {
    let mut fleet = joined(40, 4, 40);
    fleet.converge(secs(30));
    for (cut, forgotten) in [(secs(60), false), (secs(900), true)] {
        fleet.part = |number| number % 2;
        fleet.run(cut);
        for (number, process) in &fleet.processes {
            let others = process.gossip.adverts();
            let others = others
                .filter(|advert| advert.value().node().0 % 2 != number % 2)
                .count();
            assert_eq!(others, if forgotten { 0 } else { 20 });
        }
        fleet.part = |_| 0;
        let took = fleet.converge(secs(60));
        println!("cut for {cut:?}: whole after {took:?}");
        assert!(took < secs(30), "{took:?}");
    }
}

#[test]
fn two_processes_of_one_name_are_reported_everywhere_and_told_themselves() {
    let mut fleet = joined(20, 2, 20);
    fleet.converge(secs(30));
    // One copies the other's certificate, and both move above each other once.
    let twin = NodeKey(5);
    fleet.start(5 + TWIN, twin, 0, 1_500);
    fleet.run(secs(5));
    let outbid = |fleet: &Fleet, number: u64| {
        let facts = fleet.processes[&number].facts.iter();
        let outbid = facts.filter_map(|(_, fact)| match fact {
            Output::Outbid(version) => Some(version.generation),
            _ => None,
        });
        outbid.max()
    };
    assert_eq!(outbid(&fleet, 5), Some(1_500));
    let now = fleet.now;
    let first = fleet.processes.get_mut(&5).unwrap();
    first.publisher.handle_generation(now, 1_501);
    first.tell(now);
    fleet.run(secs(5));
    assert_eq!(outbid(&fleet, 5 + TWIN), Some(1_501));
    for (number, process) in &fleet.processes {
        let sees = process.gossip.contested(fleet.now).any(|node| node == twin);
        assert!(sees || process.node == twin, "{number}");
    }
}

#[test]
fn node_whose_clock_was_years_ahead_comes_back_above_its_former_self() {
    let mut fleet = joined(20, 2, 20);
    fleet.kill(5);
    fleet.start(5, NodeKey(5), 1, 9_000_000);
    fleet.converge(secs(30));
    fleet.kill(5);
    fleet.run(secs(2));
    // The clock was put right, and its state is lost.
    fleet.start(5, NodeKey(5), 1, 1_001);
    fleet.run(secs(5));
    let process = fleet.processes.get_mut(&5).unwrap();
    let known = process.facts.iter().find_map(|(_, fact)| match fact {
        Output::Outbid(version) => Some(version.generation),
        _ => None,
    });
    assert_eq!(known, Some(9_000_000));
    process.publisher.handle_generation(fleet.now, 9_000_001);
    process.tell(fleet.now);
    assert!(fleet.converge(secs(30)) < secs(5));
}
