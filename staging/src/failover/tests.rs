use super::*;

const MS: Duration = Duration::from_millis(1);

fn direct(way: usize) -> Option<PathInUse> {
    match way {
        0 => PathInUse::new(["us-east-1", "eu-west-1"]),
        _ => PathInUse::new(["eu-west-1", "us-east-1"]),
    }
}

fn detour(way: usize) -> Option<PathInUse> {
    match way {
        0 => PathInUse::new(["us-east-1", "ca-central-1", "eu-west-1"]),
        _ => PathInUse::new(["eu-west-1", "ca-central-1", "us-east-1"]),
    }
}

/// A link that is cut after 5 s, left after 0.5 s and 0.6 s.
pub(crate) fn cut() -> Failover {
    let mut failover = Failover::new("us-east-1", "eu-west-1");
    for way in [0, 1] {
        failover.handle_path(4_980 * MS, way, direct(way));
    }
    failover.handle_cut(5_000 * MS);
    failover.handle_path(5_020 * MS, 0, direct(0));
    failover.handle_path(5_500 * MS, 0, detour(0));
    failover.handle_path(5_610 * MS, 1, detour(1));
    failover
}

/// And healed after 9 s, back after 6.1 s and 6.2 s. A packet every 20 ms; 30 are lost each way.
pub(crate) fn healed() -> Failover {
    let mut failover = cut();
    failover.handle_healed(9_000 * MS);
    failover.handle_path(9_020 * MS, 0, detour(0));
    failover.handle_path(15_100 * MS, 0, direct(0));
    failover.handle_path(15_200 * MS, 1, direct(1));
    let trace = trace(|n| (250..280).contains(&n));
    for way in [0, 1] {
        failover.handle_trace(way, &trace);
    }
    failover
}

/// Twenty seconds of packets, without those that are `lost`.
fn trace(lost: impl Fn(u32) -> bool) -> Trace {
    let mut trace = Trace::default();
    for number in 0..1_000 {
        trace.handle_sent(20 * MS * number);
        if !lost(number) {
            trace.handle_arrival(number.into(), 20 * MS * number + 35 * MS);
        }
    }
    trace
}

#[test]
fn what_is_told_of_both_ways_is_the_worse_of_the_two_and_losses_add_up() {
    let failover = healed();
    assert_eq!(failover.detected(), Some(610 * MS));
    assert_eq!(failover.gap(), Some(620 * MS));
    assert_eq!(failover.packets_lost(), Some(60));
    assert_eq!(failover.returned(), Some(6_200 * MS));
    assert_eq!(failover.ways[0].returned, Some(6_100 * MS));
    assert_eq!(failover.lost_on_return(), Some(0));
    assert_eq!(failover.problems(), Vec::<String>::new());
    assert_eq!(
        failover.sentence().unwrap(),
        "us-east-1 <> eu-west-1 cut after 5.0 s: noticed in 0.61 s, longest gap 0.62 s,\n\
         60 packets lost; healed: back on the direct path after 6.2 s, nothing lost."
    );
}

#[test]
fn losses_around_the_return_count_by_themselves() {
    let mut failover = healed();
    // Sent at 5 s to 5.6 s, at 15.2 s, and long after the return.
    let cut = |n| (250..280).contains(&n);
    let trace = trace(|n| cut(n) || (760..763).contains(&n) || (900..910).contains(&n));
    failover.handle_trace(1, &trace);
    assert_eq!(failover.packets_lost(), Some(60));
    assert_eq!(failover.lost_on_return(), Some(3));
}

#[test]
fn without_another_path_the_gap_lasts_until_the_heal_and_nothing_else_happened() {
    let mut failover = Failover::new("us-east-1", "eu-west-1");
    for way in [0, 1] {
        failover.handle_path(4_980 * MS, way, direct(way));
    }
    failover.handle_cut(5_000 * MS);
    failover.handle_healed(9_000 * MS);
    for way in [0, 1] {
        failover.handle_path(9_020 * MS, way, direct(way));
        failover.handle_trace(way, &trace(|n| (250..450).contains(&n)));
    }
    assert_eq!((failover.detected(), failover.returned()), (None, None));
    assert_eq!(failover.gap(), Some(4_020 * MS));
    assert_eq!(
        failover.sentence().unwrap(),
        "us-east-1 <> eu-west-1 cut after 5.0 s: not noticed, longest gap 4.02 s,\n\
         400 packets lost; healed."
    );
    assert_eq!(
        failover.problems(),
        [
            "the cut was not noticed: us-east-1 never took another path to eu-west-1",
            "the cut was not noticed: eu-west-1 never took another path to us-east-1",
        ]
    );
}

#[test]
fn a_node_that_does_not_say_its_path_has_not_changed_it() {
    let mut failover = Failover::new("us-east-1", "eu-west-1");
    failover.handle_path(4_980 * MS, 0, direct(0));
    failover.handle_cut(5_000 * MS);
    failover.handle_path(5_020 * MS, 0, None);
    assert_eq!(failover.ways[0].detected, None);
    failover.handle_path(5_060 * MS, 0, direct(0));
    assert_eq!(failover.ways[0].detected, None);
    failover.handle_path(5_100 * MS, 0, detour(0));
    assert_eq!(failover.ways[0].detected, Some(100 * MS));
    assert_eq!(failover.ways[0].detour, detour(0));
}

#[test]
fn the_direct_path_after_none_that_was_known_is_no_other_path() {
    let mut failover = Failover::new("us-east-1", "eu-west-1");
    failover.handle_cut(5_000 * MS);
    failover.handle_path(5_020 * MS, 0, direct(0));
    assert_eq!(failover.ways[0].detected, None);
}

#[test]
fn a_detour_that_was_taken_before_the_cut_is_no_other_path() {
    let mut failover = Failover::new("us-east-1", "eu-west-1");
    failover.handle_path(4_980 * MS, 0, detour(0));
    failover.handle_cut(5_000 * MS);
    failover.handle_path(5_020 * MS, 0, None);
    failover.handle_path(5_060 * MS, 0, detour(0));
    assert_eq!(failover.ways[0].detected, None);
}

#[test]
fn the_direct_path_before_the_heal_is_no_return() {
    let mut failover = cut();
    failover.handle_path(6_000 * MS, 0, direct(0));
    failover.handle_path(6_100 * MS, 0, detour(0));
    failover.handle_healed(9_000 * MS);
    assert_eq!(failover.ways[0].returned, None);
    failover.handle_path(14_000 * MS, 0, direct(0));
    assert_eq!(failover.ways[0].returned, Some(5_000 * MS));
}

#[test]
fn one_way_that_stays_on_the_detour_is_a_problem_by_itself() {
    let mut failover = cut();
    failover.handle_healed(9_000 * MS);
    failover.handle_path(15_000 * MS, 0, direct(0));
    for way in [0, 1] {
        failover.handle_trace(way, &trace(|n| (250..280).contains(&n)));
    }
    assert_eq!(failover.returned(), None);
    assert_eq!(
        failover.problems(),
        ["eu-west-1 was not back on the direct path to us-east-1 by the end"]
    );
    let sentence = failover.sentence().unwrap();
    let end = "60 packets lost; healed: not back on the direct path by the end.";
    assert!(sentence.ends_with(end), "{sentence}");
}
