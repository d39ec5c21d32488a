//! How many changes a link can cause that comes and goes.

use proptest::prelude::*;

use super::*;

/// What [`Choice`] promises for any rhythm.
const MOST_PER_MINUTE: usize = 13;
const MINUTE: Duration = Duration::from_secs(60);

/// Changes from one path to another; losing the only path and finding it again are none.
fn changes(moves: &[Decision]) -> Vec<Instant> {
    let mut last = moves.first().and_then(|decision| decision.from);
    let mut changes = Vec::new();
    for decision in moves {
        if let Some(to) = decision.to {
            if last.is_some_and(|last| !last.is_same_way(&to)) {
                changes.push(decision.at);
            }
            last = Some(to);
        }
    }
    changes
}

fn most_in_a_minute(changes: &[Instant]) -> usize {
    let within = |first: &Instant| {
        let minute = *first..*first + MINUTE;
        changes.iter().filter(|at| minute.contains(at)).count()
    };
    changes.iter().map(within).max().unwrap_or(0)
}

#[test]
fn link_that_is_up_for_as_long_as_down_causes_at_most_seven_changes_in_a_minute() {
    let mut most = 0;
    for half_ms in (500..=30_000).step_by(250) {
        for down in [LinkHealth::Down, LinkHealth::Suspect] {
            let mut bench = Bench::well();
            let start = bench.now;
            while bench.now < start + 10 * MINUTE {
                bench.direct_is(down).wait(half_ms);
                bench.direct(100).wait(half_ms);
            }
            let changes = changes(&bench.moves);
            most = most.max(most_in_a_minute(&changes));
        }
    }
    assert_eq!(most, 7);
}

#[test]
fn link_with_a_period_below_24_s_is_returned_to_three_times_at_the_most() {
    for half_ms in (500..12_000).step_by(250) {
        let mut bench = Bench::well();
        for _ in 0..200 {
            bench.direct_is(LinkHealth::Down).wait(half_ms);
            bench.direct(100).wait(half_ms);
        }
        let returns = bench
            .moves
            .iter()
            .filter(|decision| decision.reason == Reason::DirectWell);
        assert!(returns.count() <= 3, "{half_ms} ms");
    }
}

#[test]
fn worst_rhythm_causes_thirteen_changes_in_a_minute_and_no_more() {
    // Suspect at first, so that the way back to the overlay needs no wait the first time; then the
    // link fails whenever it has just been taken again.
    let mut bench = Bench::new();
    bench.direct_is(LinkHealth::Suspect).via(X, 110);
    bench.wait(600_000).moves.clear();
    for _ in 0..20 {
        bench
            .via_is(X, LinkHealth::Down)
            .via_is(X, LinkHealth::Usable);
        bench.settle();
        assert_eq!(bench.path(), "x");
    }
    let most = most_in_a_minute(&changes(&bench.moves));
    assert_eq!(most, MOST_PER_MINUTE);
}

/// What a link does next, and for how many milliseconds.
fn phase() -> impl Strategy<Value = (LinkHealth, u64, u64)> {
    let health = prop_oneof![
        3 => Just(LinkHealth::Usable),
        2 => Just(LinkHealth::Down),
        2 => Just(LinkHealth::Suspect),
    ];
    // Around the waits, and anything up to half a minute.
    let time = prop_oneof![
        Just(5_000),
        Just(10_000),
        Just(12_000),
        Just(2_000),
        Just(4_000),
        Just(8_000),
        0..1_500_u64,
        0..30_000_u64,
    ];
    let rtt_ms = prop_oneof![3 => Just(50), 1 => 1..200_u64];
    (health, rtt_ms, time)
}

proptest! {
    /// Five nodes in any state of health, and one link among them that does anything; half of the
    /// time it is mean, and waits until the choice wants nothing more before it changes.
    #[test]
    fn one_link_causes_a_bounded_number_of_changes_whatever_the_mesh_and_the_rhythm(
        links in prop::collection::vec((0..5_u64, 0..5_u64, 1..100_u64, 0..6_u8), 0..20),
        draining in prop::option::of(2..5_u64),
        flapping in (0..5_u64, 0..5_u64).prop_filter("two ends", |(a, b)| a != b),
        phases in prop::collection::vec((phase(), any::<bool>()), 1..120),
    ) {
        let mut bench = Bench::new();
        bench.graph.set_node(NodeKey(5), Node::serving(RegionId(5)));
        if let Some(node) = draining {
            let draining = Node { service: Service::Draining, ..*bench.graph.node(NodeKey(node + 1)).unwrap() };
            bench.graph.set_node(NodeKey(node + 1), draining);
        }
        for (a, b, rtt_ms, health) in links {
            let health = match health {
                0 => LinkHealth::Down,
                1 => LinkHealth::Suspect,
                _ => LinkHealth::Usable,
            };
            bench.graph.set_link(NodeKey(a + 1), NodeKey(b + 1), link(rtt_ms, health));
            bench.graph.set_link(NodeKey(b + 1), NodeKey(a + 1), link(rtt_ms, health));
        }
        bench.table.rebuild(&bench.graph);
        bench.offer();
        let (a, b) = (NodeKey(flapping.0 + 1), NodeKey(flapping.1 + 1));
        for ((health, rtt_ms, time), is_mean) in phases {
            bench.link(a, b, rtt_ms, health);
            if is_mean {
                bench.settle();
            } else {
                bench.wait(time);
            }
        }
        let changes = changes(&bench.moves);
        prop_assert!(most_in_a_minute(&changes) <= MOST_PER_MINUTE, "{changes:?}");
    }

    /// Whatever happened before, at the end the choice is what a fresh one would take, or within
    /// the margins of it; and if all is well, it is direct within twelve seconds.
    #[test]
    fn direct_is_taken_within_twelve_seconds_of_its_being_well_whatever_went_before(
        phases in prop::collection::vec((phase(), 0..3_usize), 1..60),
    ) {
        let mut bench = Bench::well();
        for ((health, rtt_ms, time), which) in phases {
            match which {
                0 => bench.link(HERE, THERE, rtt_ms, health),
                1 => bench.link(X, THERE, rtt_ms, health),
                _ => bench.link(Y, THERE, rtt_ms, health),
            };
            bench.wait(time);
        }
        bench.via(X, 110).via(Y, 120).direct(100);
        bench.wait(12_000);
        prop_assert_eq!(bench.path(), "direct");
    }

    /// No rhythm makes it hold a path that cannot be used, or a bad one while a good one has been
    /// there for twelve seconds.
    #[test]
    fn path_in_use_is_usable_and_after_twelve_quiet_seconds_of_the_best_tier(
        phases in prop::collection::vec((phase(), 0..3_usize), 1..60),
    ) {
        let mut bench = Bench::well();
        for ((health, rtt_ms, time), which) in phases {
            let node = [THERE, X, Y][which];
            match node {
                THERE => bench.link(HERE, THERE, rtt_ms, health),
                _ => bench.link(node, THERE, rtt_ms, health),
            };
            let route = bench.table.route(THERE).copied();
            prop_assert_eq!(bench.choice.path().is_some(), route.is_some());
            bench.wait(time);
            if let (Some(path), Some(route)) = (bench.choice.path(), route) {
                prop_assert!(bench.table.path(path.hops()).is_some());
                prop_assert!(time < 12_000 || path.tier() == route.primary.tier());
            }
        }
    }
}
