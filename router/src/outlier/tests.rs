use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A region of nodes 0.., as seen from outside.
struct Region {
    outliers: Outliers<u32>,
    now: Instant,
    outputs: Vec<Output<u32>>,
}

impl Region {
    fn of(nodes: u32) -> Self {
        let now = origin();
        let mut outliers = Outliers::new(now);
        for node in 0..nodes {
            outliers.handle_member(now, node);
        }
        Self {
            outliers,
            now,
            outputs: Vec::new(),
        }
    }

    fn outcomes(&mut self, node: u32, successes: u32, failures: u32) {
        // Failures apart from each other, as far as they can be.
        let mut owed = 0;
        for _ in 0..successes + failures {
            owed += failures;
            let fails = owed >= successes + failures;
            owed -= if fails { successes + failures } else { 0 };
            self.outliers.handle_outcome(self.now, node, !fails);
        }
        self.drain();
    }

    fn view(&mut self, observer: u32, node: u32, delivered: u64, lost: u64) {
        let seen = Loss { delivered, lost };
        self.outliers.on_view(self.now, observer, node, seen);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.outliers.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.outliers.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(output) = self.outliers.poll_output() {
            self.outputs.push(output);
        }
    }

    fn ejected(&self) -> Vec<u32> {
        let nodes = self.outliers.nodes.keys().copied();
        nodes
            .filter(|node| self.outliers.is_ejected(*node))
            .collect()
    }

    fn candidates(&self) -> Vec<u32> {
        self.outliers.candidates(|_| true).nodes
    }
}

fn ejected(node: u32, reason: Reason, seconds: u64) -> Output<u32> {
    Output::Ejected {
        node,
        reason,
        time: secs(seconds),
    }
}

#[test]
fn the_fifth_failure_in_a_row_ejects_and_a_success_in_between_starts_anew() {
    let mut region = Region::of(4);
    region.outcomes(1, 0, 4);
    region.outcomes(1, 1, 0);
    region.outcomes(1, 0, 4);
    assert_eq!(region.ejected(), [0; 0]);
    region.outcomes(1, 0, 1);
    assert_eq!(region.outputs, [ejected(1, Reason::Run, 10)]);
    assert_eq!(region.candidates(), [0, 2, 3]);
    region.wait(ms(9_999));
    assert_eq!(region.ejected(), [1]);
    region.wait(ms(1));
    assert_eq!(region.outputs[1..], [Output::Returned { node: 1 }]);
    assert_eq!(region.candidates(), [0, 1, 2, 3]);
}

#[test]
fn on_trial_two_failures_in_a_row_eject_until_five_successes_end_it() {
    for (successes, failures) in [(4, 2), (5, 5)] {
        let mut region = Region::of(4);
        region.outcomes(1, 0, 5);
        region.wait(secs(10));
        region.outcomes(1, successes, 0);
        region.outcomes(1, 0, failures - 1);
        assert_eq!(region.ejected(), [0; 0]);
        region.outcomes(1, 0, 1);
        assert_eq!(region.ejected(), [1]);
    }
}

#[test]
fn each_ejection_is_twice_as_long_up_to_five_minutes_and_good_minutes_take_it_back() {
    let mut region = Region::of(4);
    region.outcomes(1, 0, 5);
    for seconds in [20, 40, 80, 160, 300, 300] {
        region.wait(secs(300));
        // Whatever is left of the wait was in service: start right at the return.
        let Some(Output::Returned { .. }) = region.outputs.last() else {
            panic!("{:?}", region.outputs);
        };
        region.outliers.nodes.get_mut(&1).unwrap().standing = Standing::InService {
            since: region.now,
            trial: TRIAL,
        };
        region.outcomes(1, 0, 2);
        assert_eq!(
            region.outputs.last(),
            Some(&ejected(1, Reason::Run, seconds))
        );
    }
    region.wait(secs(300));
    region.outcomes(1, 5, 0);
    region.wait(secs(120));
    region.outcomes(1, 0, 5);
    // Two whole minutes: a quarter of 320 s.
    assert_eq!(region.outputs.last(), Some(&ejected(1, Reason::Run, 80)));
}

#[test]
fn a_share_more_than_the_margin_below_the_median_of_the_others_ejects() {
    for (failures, out) in [(20, false), (21, true)] {
        let mut region = Region::of(4);
        for node in [0, 2, 3] {
            region.outcomes(node, 100, 0);
        }
        region.outcomes(1, 100 - failures, failures);
        region.wait(secs(2));
        assert_eq!(region.ejected() == [1], out, "{:?}", region.outputs);
    }
}

#[test]
fn nineteen_outcomes_or_a_single_other_node_are_not_enough_to_compare() {
    for (outcomes, others, out) in [(19, 3, false), (20, 3, true), (20, 1, false), (20, 2, true)] {
        let mut region = Region::of(others + 1);
        region.outcomes(0, outcomes / 2, outcomes - outcomes / 2);
        for node in 1..=others {
            region.outcomes(node, 20, 0);
        }
        region.wait(secs(2));
        assert_eq!(region.ejected() == [0], out, "{outcomes} and {others}");
    }
}

#[test]
fn a_region_that_fails_as_a_whole_has_no_outlier() {
    let mut region = Region::of(6);
    for node in 0..6 {
        region.outcomes(node, 40, 60);
    }
    region.wait(secs(2));
    assert_eq!(region.ejected(), [0; 0]);
}

#[test]
fn never_more_than_half_is_ejected_rounded_down_and_the_rest_is_counted() {
    for nodes in 1..=7 {
        let mut region = Region::of(nodes);
        for node in 0..nodes {
            region.outcomes(node, 0, 5);
        }
        assert_eq!(region.ejected().len() as u32, nodes / 2);
        assert_eq!(region.outliers.withheld() as u32, nodes - nodes / 2);
        assert!(!region.candidates().is_empty());
    }
}

#[test]
fn when_nodes_leave_who_would_be_back_first_is_back() {
    let mut region = Region::of(4);
    region.outcomes(2, 0, 5);
    region.wait(secs(1));
    region.outcomes(1, 0, 5);
    assert_eq!(region.ejected(), [1, 2]);
    region.outliers.handle_left(region.now, 0);
    assert_eq!(region.ejected(), [1]);
    region.outliers.handle_left(region.now, 3);
    region.outliers.handle_left(region.now, 2);
    assert_eq!(region.ejected(), [0; 0]);
}

#[test]
fn ejected_nodes_are_the_last_resort_where_no_other_can_be_used() {
    let mut region = Region::of(4);
    region.outcomes(1, 0, 5);
    let of = |usable: &[u32]| region.outliers.candidates(|node| usable.contains(&node));
    assert_eq!(of(&[1, 2]).nodes, [2]);
    assert!(!of(&[1, 2]).last_resort);
    assert_eq!(of(&[1]).nodes, [1]);
    assert!(of(&[1]).last_resort);
    assert!(of(&[]).nodes.is_empty() && !of(&[]).last_resort);
}

/// What an observer says of nodes 0 to 3, of which node 1 does badly.
fn speaks_ill(region: &mut Region, observer: u32) {
    for node in [0, 2, 3] {
        region.view(observer, node, 100, 0);
    }
    region.view(observer, 1, 50, 50);
}

#[test]
fn votes_of_more_than_half_of_at_least_three_eject() {
    // Those who speak ill, those who speak well.
    for (ill, well, out) in [(2, 0, false), (3, 0, true), (2, 1, true), (2, 2, false)] {
        let mut region = Region::of(4);
        for observer in 0..ill {
            speaks_ill(&mut region, 100 + observer);
        }
        for observer in 0..well {
            for node in 0..4 {
                region.view(200 + observer, node, 100, 0);
            }
        }
        region.wait(secs(2));
        let outputs = if out {
            vec![ejected(1, Reason::Votes, 10)]
        } else {
            vec![]
        };
        assert_eq!(region.outputs, outputs, "{ill} against {well}");
    }
}

#[test]
fn our_own_view_is_a_vote_among_others() {
    let mut region = Region::of(4);
    for observer in 0..2 {
        speaks_ill(&mut region, 100 + observer);
    }
    for node in 0..4 {
        region.outcomes(node, 100, 0);
    }
    region.wait(secs(2));
    assert_eq!(region.ejected(), [1], "two of three");
}

#[test]
fn an_observer_whose_own_network_is_bad_sees_no_outlier() {
    let mut region = Region::of(4);
    for observer in 0..5 {
        for node in 0..4 {
            region.view(100 + observer, node, 50, 50);
        }
    }
    region.wait(secs(2));
    assert_eq!(region.ejected(), [0; 0]);
}

#[test]
fn a_node_has_no_say_about_itself_and_good_words_bring_nobody_back() {
    let mut region = Region::of(4);
    region.view(1, 1, 1_000, 0);
    assert!(region.outliers.observers.is_empty());
    region.outcomes(1, 0, 5);
    for observer in 0..10 {
        for node in 0..4 {
            region.view(100 + observer, node, 1_000, 0);
        }
    }
    region.wait(ms(9_999));
    assert_eq!(region.ejected(), [1]);
}

#[test]
fn views_count_for_as_long_as_adverts_are_apart_and_those_before_a_return_not_at_all() {
    for (age, out) in [(149_000, true), (150_000, false)] {
        let mut region = Region::of(4);
        for observer in 0..3 {
            speaks_ill(&mut region, 100 + observer);
        }
        // No sweep meanwhile.
        region.outliers.next_sweep = region.now + ms(age);
        region.wait(ms(age));
        assert_eq!(region.ejected() == [1], out);
    }
    let mut region = Region::of(4);
    region.outcomes(1, 0, 5);
    for (after, out) in [(10_000, false), (29_999, false), (1, true)] {
        region.wait(ms(after));
        for observer in 0..3 {
            speaks_ill(&mut region, 100 + observer);
        }
        region.outliers.next_sweep = region.now;
        region.wait(ms(0));
        assert_eq!(region.ejected() == [1], out, "{after}");
    }
}

#[test]
fn what_an_observer_says_takes_the_place_of_all_that_it_said_before() {
    for (takes_back, out) in [(false, true), (true, false)] {
        let mut region = Region::of(4);
        for observer in 0..3 {
            speaks_ill(&mut region, 100 + observer);
        }
        if takes_back {
            let well = [0, 2, 3].map(|node| {
                let seen = Loss {
                    delivered: 100,
                    lost: 0,
                };
                (node, seen)
            });
            region.outliers.handle_views(region.now, 100, well);
        }
        region.wait(secs(2));
        assert_eq!(region.ejected() == [1], out);
    }
}

#[test]
fn observers_are_bounded_and_a_silent_one_makes_room() {
    let mut region = Region::of(4);
    for observer in 0..1_000 {
        region.view(100 + observer, 0, 100, 0);
    }
    assert_eq!(region.outliers.observers.len(), MAX_OBSERVERS);
    region.view(100, 77, 100, 0);
    assert_eq!(region.outliers.observers[&100].len(), 1, "no such node");
    region.wait(VIEW_AGE + SWEEP);
    assert!(region.outliers.observers.is_empty());
}

#[test]
fn a_timer_late_by_more_than_a_second_forgets_what_our_stall_made_fail() {
    for (late, out) in [(1_000, true), (1_001, false)] {
        let mut region = Region::of(4);
        for node in [0, 2, 3] {
            region.outcomes(node, 100, 0);
        }
        region.outcomes(1, 50, 50);
        region.now = region.outliers.poll_timeout().unwrap() + ms(late);
        region.outliers.handle_timeout(region.now);
        assert_eq!(region.ejected() == [1], out);
    }
}

#[test]
fn a_node_that_takes_all_and_does_nothing_costs_a_peer_35_requests_in_an_hour() {
    // F11: it says that it is healthy, and is asked first whenever it may be.
    let mut region = Region::of(4);
    let mut wasted = 0;
    for _ in 0..36_000 {
        region.wait(ms(100));
        let first = region.outliers.candidates(|_| true).nodes.contains(&1);
        let node = if first { 1 } else { 0 };
        wasted += u32::from(first);
        region.outcomes(node, u32::from(!first), u32::from(first));
    }
    assert_eq!(wasted, 35);
}

proptest! {
    /// Whatever is seen, said, joins and leaves: half is in service, there is something to choose
    /// wherever something can be used, and who is ejected is back in five minutes.
    #[test]
    fn any_order_of_events_leaves_half_of_the_region_and_a_last_resort(
        steps in proptest::collection::vec((0_u8..7, 0_u32..9, 0_u32..6, 0_u64..4_000), 1..300),
    ) {
        let mut region = Region::of(5);
        let mut told = BTreeSet::new();
        for (action, node, other, pass) in steps {
            match action {
                0 => region.outliers.handle_member(region.now, node),
                1 if pass < 400 => {
                    region.outliers.handle_left(region.now, node);
                    told.remove(&node);
                }
                1 | 2 => region.outcomes(node, 0, other),
                3 => region.outcomes(node, 20, other),
                4 => {
                    for of in 0..9 {
                        region.view(100 + other, of, 100, if of == node { 60 } else { 0 });
                    }
                }
                5 => region.wait(ms(pass)),
                _ => {
                    region.now += ms(pass);
                    region.outliers.handle_timeout(region.now);
                }
            }
            region.drain();
            for output in region.outputs.drain(..) {
                match output {
                    Output::Ejected { node, time, .. } => {
                        prop_assert!(time >= secs(10) && time <= secs(300));
                        prop_assert!(told.insert(node));
                    }
                    Output::Returned { node } => prop_assert!(told.remove(&node)),
                }
            }
            let nodes = region.outliers.nodes.len();
            let ejected = region.ejected();
            prop_assert!(ejected.len() <= nodes / 2);
            prop_assert!(ejected.iter().eq(&told));
            prop_assert_eq!(region.candidates().is_empty(), nodes == 0);
            for only in region.outliers.nodes.keys() {
                let candidates = region.outliers.candidates(|node| node == *only);
                prop_assert_eq!(candidates.nodes, vec![*only]);
            }
        }
        region.wait(secs(300));
        prop_assert_eq!(region.ejected(), vec![0; 0]);
    }
}
