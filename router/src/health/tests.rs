mod bench;
mod network;
mod table;

use proptest::prelude::*;

use self::bench::{Bench, ms, origin, secs};
use super::*;
use crate::liveness::Health;

fn loss(delivered: u64, lost: u64) -> Loss {
    Loss { delivered, lost }
}

/// A pair alone, told what to think.
struct Pair {
    health: PairHealth,
    now: Instant,
}

impl Pair {
    fn up() -> Self {
        let now = origin();
        let mut pair = Self {
            health: PairHealth::new(HealthConfig::default(), now),
            now,
        };
        pair.liveness(Health::Up);
        assert_eq!(pair.condition(), Condition::Up);
        pair
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.health.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.health.handle_timeout(self.now);
        }
        self.now = until;
    }

    fn liveness(&mut self, health: Health) {
        self.health.handle_liveness(self.now, Some(health));
    }

    fn condition(&self) -> Condition {
        self.health.condition()
    }

    fn reasons(&mut self) -> Vec<Reason> {
        std::iter::from_fn(|| self.health.poll_output())
            .map(|change| change.reason)
            .collect()
    }
}

#[test]
fn first_link_is_up_at_once_and_the_next_after_a_stay() {
    let mut pair = Pair::up();
    assert_eq!(pair.reasons(), [Reason::Linked]);
    pair.health.handle_liveness(pair.now, None);
    assert_eq!(pair.condition(), Condition::Down);
    pair.wait(secs(60));
    pair.liveness(Health::Up);
    assert_eq!(pair.condition(), Condition::Degraded);
    pair.wait(ms(2_999));
    assert_eq!(pair.condition(), Condition::Degraded);
    pair.wait(ms(1));
    assert_eq!(pair.condition(), Condition::Up);
    assert_eq!(
        pair.reasons(),
        [Reason::NoLink, Reason::Answered, Reason::Recovered]
    );
}

#[test]
fn a_link_that_replaces_a_good_one_changes_nothing() {
    let mut pair = Pair::up();
    pair.reasons();
    pair.liveness(Health::Up);
    assert_eq!(pair.reasons(), []);
}

#[test]
fn down_lasts_three_seconds_at_least() {
    let mut pair = Pair::up();
    pair.liveness(Health::Down);
    pair.wait(ms(100));
    pair.liveness(Health::Up);
    pair.wait(ms(2_899));
    assert_eq!(pair.condition(), Condition::Down);
    pair.wait(ms(1));
    assert_eq!(pair.condition(), Condition::Degraded);
}

#[test]
fn confirmed_is_not_believed_until_nothing_arrived_for_a_quarter_of_a_second() {
    let mut pair = Pair::up();
    pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
    pair.wait(ms(100));
    pair.liveness(Health::Confirmed);
    assert_eq!(pair.condition(), Condition::Suspect);
    // Another report, and then none.
    pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
    pair.wait(ms(249));
    assert_eq!(pair.condition(), Condition::Suspect);
    pair.wait(ms(1));
    assert_eq!(pair.condition(), Condition::Confirmed);
}

#[test]
fn answers_of_the_packet_loop_are_evidence_for_as_long_as_one_of_them_may_be_missing() {
    let mut pair = Pair::up();
    for _ in 0..5 {
        pair.health.handle_answer(pair.now);
        pair.wait(ms(100));
        pair.liveness(Health::Confirmed);
        pair.wait(ms(300));
        assert_eq!(pair.condition(), Condition::Suspect);
    }
    pair.wait(ms(49));
    assert_eq!(pair.condition(), Condition::Suspect);
    pair.wait(ms(1));
    assert_eq!(pair.condition(), Condition::Confirmed);
    // A peer whose requests hang is Down all the same.
    pair.health.handle_answer(pair.now);
    pair.liveness(Health::Down);
    assert_eq!(pair.condition(), Condition::Down);
}

#[test]
fn of_a_report_and_an_answer_the_one_that_outweighs_for_longer_counts() {
    // An answer outweighs for 450 ms and a report for 250.
    for (report_after, until) in [(0, 450), (100, 450), (300, 550)] {
        let mut pair = Pair::up();
        pair.health.handle_answer(pair.now);
        pair.wait(ms(report_after));
        pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
        pair.liveness(Health::Confirmed);
        pair.wait(ms(until - report_after - 1));
        assert_eq!(pair.condition(), Condition::Suspect, "{report_after}");
        pair.wait(ms(1));
        assert_eq!(pair.condition(), Condition::Confirmed, "{report_after}");
    }
}

#[test]
fn answers_that_our_stall_left_unread_have_their_time_after_it() {
    for stalled in [None, Some(ms(400))] {
        let mut pair = Pair::up();
        pair.health.handle_answer(pair.now);
        pair.wait(ms(400));
        if let Some(stalled) = stalled {
            pair.health.handle_stall(pair.now, stalled);
        }
        pair.liveness(Health::Confirmed);
        let left = if stalled.is_some() { 450 } else { 50 };
        pair.wait(ms(left - 1));
        assert_eq!(pair.condition(), Condition::Suspect);
        pair.wait(ms(1));
        assert_eq!(pair.condition(), Condition::Confirmed);
    }
}

#[test]
fn only_what_we_sent_and_what_arrived_is_evidence_against_confirmed_and_none_against_down() {
    for (way, what) in [
        (Way::Out, loss(0, 5)),
        (Way::In, loss(5, 0)),
        (Way::Round, loss(1, 0)),
    ] {
        let mut pair = Pair::up();
        pair.health.handle_loss(pair.now, way, what);
        pair.liveness(Health::Confirmed);
        assert_eq!(pair.condition(), Condition::Confirmed);
    }
    let mut pair = Pair::up();
    pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
    pair.liveness(Health::Down);
    assert_eq!(pair.condition(), Condition::Down);
}

#[test]
fn the_twelfth_loss_of_few_packets_ends_up_and_of_probes_the_eighteenth() {
    for (way, limit) in [(Way::Out, 12), (Way::In, 12), (Way::Round, 18)] {
        let mut pair = Pair::up();
        for _ in 1..limit {
            pair.health.handle_loss(pair.now, way, loss(3, 1));
        }
        assert_eq!(pair.condition(), Condition::Up);
        pair.health.handle_loss(pair.now, way, loss(0, 1));
        assert_eq!(pair.condition(), Condition::Degraded);
        assert_eq!(pair.reasons()[1..], [Reason::Lossy(way)]);
    }
}

#[test]
fn an_overflow_of_a_tenth_of_a_second_moves_no_busy_link_and_one_of_a_fifth_does() {
    for (tenths, condition) in [(1, Condition::Up), (2, Condition::Degraded)] {
        let mut pair = Pair::up();
        for _ in 0..40 {
            pair.health.handle_loss(pair.now, Way::Out, loss(10_000, 0));
            pair.wait(ms(100));
        }
        for _ in 0..tenths {
            pair.health.handle_loss(pair.now, Way::Out, loss(0, 10_000));
            pair.wait(ms(100));
        }
        assert_eq!(pair.condition(), condition);
    }
}

#[test]
fn loss_between_the_limits_neither_ends_up_nor_lets_back() {
    let mut pair = Pair::up();
    let steady = |pair: &mut Pair, delivered, lost, tenths| {
        for _ in 0..tenths {
            pair.health
                .handle_loss(pair.now, Way::In, loss(delivered, lost));
            pair.wait(ms(100));
        }
    };
    steady(&mut pair, 93, 7, 100);
    assert_eq!(pair.condition(), Condition::Up);
    steady(&mut pair, 80, 20, 100);
    assert_eq!(pair.condition(), Condition::Degraded);
    steady(&mut pair, 96, 4, 300);
    assert_eq!(pair.condition(), Condition::Degraded);
    assert_eq!(pair.health.hold(pair.now), Some(Hold::Lossy(Way::In)));
    steady(&mut pair, 97, 3, 30);
    assert_eq!(pair.condition(), Condition::Up);
}

#[test]
fn a_queue_that_stands_for_a_second_ends_up_and_one_that_drains_in_between_does_not() {
    for drains in [None, Some(99), Some(40)] {
        let mut pair = Pair::up();
        for tenth in 0..10 {
            pair.health.handle_delay(pair.now, Way::Out, ms(100));
            pair.wait(ms(100));
            if let Some(drained) = drains.filter(|_| tenth == 5) {
                pair.health.handle_delay(pair.now, Way::Out, ms(drained));
            }
        }
        assert_eq!(pair.condition(), Condition::Up);
        pair.health.handle_delay(pair.now, Way::Out, ms(100));
        assert_eq!(pair.condition() == Condition::Up, drains.is_some());
    }
}

#[test]
fn reports_more_than_two_seconds_apart_do_not_make_one_queue() {
    for (gap, condition) in [(2_000, Condition::Degraded), (2_001, Condition::Up)] {
        let mut pair = Pair::up();
        for _ in 0..5 {
            pair.health.handle_delay(pair.now, Way::In, ms(300));
            pair.wait(ms(gap));
        }
        assert_eq!(pair.condition(), condition);
    }
}

#[test]
fn a_queue_above_40_ms_keeps_from_coming_back_until_it_is_gone_for_a_stay() {
    let mut pair = Pair::up();
    let steady = |pair: &mut Pair, variation, tenths| {
        for _ in 0..tenths {
            pair.health.handle_delay(pair.now, Way::In, ms(variation));
            pair.wait(ms(100));
        }
    };
    steady(&mut pair, 150, 11);
    assert_eq!(pair.condition(), Condition::Degraded);
    steady(&mut pair, 41, 100);
    assert_eq!(pair.health.hold(pair.now), Some(Hold::Delayed(Way::In)));
    // The last of those came a tenth ago.
    steady(&mut pair, 40, 28);
    assert_eq!(pair.condition(), Condition::Degraded);
    // And a tick.
    steady(&mut pair, 40, 4);
    assert_eq!(pair.condition(), Condition::Up);
}

#[test]
fn what_made_it_fall_does_not_make_it_fall_again_when_it_is_back() {
    let mut pair = Pair::up();
    // Of 150 packets in 30 s, twelve are lost at once.
    pair.health.handle_loss(pair.now, Way::Out, loss(0, 12));
    assert_eq!(pair.condition(), Condition::Degraded);
    pair.wait(ms(8_500));
    assert_eq!(pair.condition(), Condition::Up);
    pair.health.handle_loss(pair.now, Way::Out, loss(1, 1));
    assert_eq!(pair.condition(), Condition::Up);
}

#[test]
fn what_was_lost_while_down_does_not_delay_the_way_back() {
    let mut pair = Pair::up();
    pair.liveness(Health::Down);
    for _ in 0..50 {
        pair.health.handle_loss(pair.now, Way::Round, loss(0, 1));
        pair.wait(ms(200));
    }
    pair.liveness(Health::Up);
    pair.wait(ms(3_000));
    assert_eq!(pair.condition(), Condition::Up);
}

#[test]
fn a_pair_that_would_be_back_waits_for_a_whole_window_and_no_longer_than_two_seconds() {
    for replaced_after in [Some(ms(600)), None] {
        let mut pair = Pair::up();
        pair.liveness(Health::Down);
        pair.wait(ms(1_000));
        pair.liveness(Health::Up);
        let back = pair.now;
        // Asked before each timeout, as its owner does.
        let mut collapsed = true;
        let mut asked = None;
        while pair.condition() != Condition::Up && pair.now < back + ms(30_000) {
            pair.health.handle_window(pair.now, collapsed);
            if pair.health.hold(pair.now) == Some(Hold::Collapsed) {
                let asked = *asked.get_or_insert(pair.now);
                let replaced = |time| pair.now >= asked + time;
                collapsed = !replaced_after.is_some_and(replaced);
            }
            pair.wait(ms(50));
        }
        let waited = pair.now - asked.expect("asked for another link");
        let bound = replaced_after.unwrap_or(RENEW_WITHIN);
        assert_eq!(pair.condition(), Condition::Up);
        assert!(waited >= bound && waited <= bound + ms(350), "{waited:?}");
        // Not before all else is well.
        assert!(asked.unwrap() >= back + pair.health.config.stay);
    }
}

#[test]
fn frequent_falls_are_damped_and_the_hold_names_it() {
    let mut pair = Pair::up();
    for _ in 0..2 {
        assert_eq!(pair.condition(), Condition::Up);
        pair.liveness(Health::Confirmed);
        pair.liveness(Health::Up);
        pair.wait(ms(3_000));
    }
    assert_eq!(pair.condition(), Condition::Degraded);
    assert_eq!(pair.health.hold(pair.now), Some(Hold::Damped));
    // 1,660 decay to 500 in 8.7 s, of which three are over.
    pair.wait(ms(5_400));
    assert_eq!(pair.condition(), Condition::Degraded);
    pair.wait(ms(600));
    assert_eq!(pair.condition(), Condition::Up);
    assert_eq!(pair.health.falls(), 2);
}

#[test]
fn a_timer_late_by_more_than_half_a_tick_voids_and_up_to_it_judges() {
    for (late, condition) in [(125, Condition::Up), (126, Condition::Degraded)] {
        let mut pair = Pair::up();
        pair.liveness(Health::Confirmed);
        pair.liveness(Health::Up);
        pair.now = pair.health.poll_timeout().unwrap() + ms(late);
        pair.health.handle_timeout(pair.now);
        assert_eq!(pair.condition(), condition);
        assert_eq!(pair.health.voided(), u64::from(late == 126));
        // The wait is longer by the stall, which is over at the next tick.
        pair.wait(ms(250));
        assert_eq!(pair.condition(), Condition::Up);
    }
}

#[test]
fn what_our_own_stall_lost_and_delayed_counts_for_nothing() {
    for (after, condition) in [(249, Condition::Up), (250, Condition::Degraded)] {
        for way in [Way::Out, Way::In, Way::Round] {
            let mut pair = Pair::up();
            pair.wait(secs(10));
            pair.health.handle_stall(pair.now, secs(2));
            pair.wait(ms(after));
            pair.health.handle_loss(pair.now, way, loss(100, 100));
            assert_eq!(pair.condition(), condition);
        }
    }
}

#[test]
fn a_queue_that_stands_over_our_own_stall_is_counted_from_a_quarter_of_a_second_after_it() {
    let mut pair = Pair::up();
    pair.health.handle_delay(pair.now, Way::In, ms(500));
    pair.wait(ms(900));
    pair.health.handle_stall(pair.now, ms(900));
    for tenth in 0..=13 {
        assert_eq!(pair.condition(), Condition::Up, "{tenth}");
        pair.health.handle_delay(pair.now, Way::In, ms(500));
        pair.wait(ms(100));
    }
    // The first that counted came after three tenths, the last a second later.
    assert_eq!(pair.condition(), Condition::Degraded);
}

#[test]
fn the_stay_starts_anew_with_each_silence_and_does_not_run_in_our_own_stall() {
    for stalled in [0, 2_000] {
        let mut pair = Pair::up();
        pair.liveness(Health::Confirmed);
        pair.liveness(Health::Up);
        pair.wait(ms(2_000));
        pair.liveness(Health::Confirmed);
        pair.liveness(Health::Up);
        pair.wait(ms(1_000));
        pair.now += ms(stalled);
        pair.health.handle_stall(pair.now, ms(stalled));
        pair.wait(ms(1_999));
        // Anything that comes in makes it look.
        pair.health.handle_loss(pair.now, Way::In, loss(1, 0));
        assert_eq!(pair.condition(), Condition::Degraded);
        pair.wait(ms(1));
        assert_eq!(pair.condition(), Condition::Up);
    }
}

#[test]
fn reports_that_our_stall_left_unread_have_their_time_after_it() {
    let mut pair = Pair::up();
    pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
    pair.liveness(Health::Confirmed);
    pair.now = pair.health.poll_timeout().unwrap() + secs(5);
    pair.health.handle_timeout(pair.now);
    assert_eq!(pair.condition(), Condition::Suspect);
    pair.wait(ms(249));
    assert_eq!(pair.condition(), Condition::Suspect);
    pair.wait(ms(1));
    assert_eq!(pair.condition(), Condition::Confirmed);
}

#[test]
fn a_pair_that_is_well_or_waits_for_its_link_needs_no_timer() {
    let mut pair = Pair::up();
    assert_eq!(pair.health.poll_timeout(), None);
    for health in [Health::Suspect, Health::Confirmed, Health::Down] {
        pair.liveness(health);
        assert_eq!(pair.health.poll_timeout(), None, "{health:?}");
    }
}

/// What can come in, drawn at random.
#[derive(Debug, Clone)]
enum Event {
    Liveness(Option<Health>),
    Loss(Way, Loss),
    Delay(Way, Duration),
    Stall(Duration),
    Pass(Duration),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let way = prop_oneof![Just(Way::Out), Just(Way::In), Just(Way::Round)];
    let health = prop_oneof![
        4 => Just(Some(Health::Up)),
        2 => Just(Some(Health::Suspect)),
        2 => Just(Some(Health::Confirmed)),
        1 => Just(Some(Health::Down)),
        1 => Just(None),
    ];
    let event = prop_oneof![
        health.prop_map(Event::Liveness),
        (way.clone(), 0_u64..100, 0_u64..15)
            .prop_map(|(way, delivered, lost)| Event::Loss(way, loss(delivered, lost))),
        (way, 0_u64..200).prop_map(|(way, delay)| Event::Delay(way, ms(delay))),
        (0_u64..3_000).prop_map(|stall| Event::Stall(ms(stall))),
        (0_u64..4_000).prop_map(|pass| Event::Pass(ms(pass))),
        (0_u64..4_000).prop_map(|pass| Event::Pass(ms(pass))),
    ];
    proptest::collection::vec(event, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happened, in whatever order.
    #[test]
    fn any_order_of_events_keeps_the_rules(fast: bool, events in events()) {
        let config = if fast { HealthConfig::fast() } else { HealthConfig::default() };
        let start = origin();
        let mut pair = Pair { health: PairHealth::new(config, start), now: start };
        let mut shown = Condition::Down;
        let mut link = None;
        let mut falls: Vec<Instant> = Vec::new();
        let mut linked = false;
        for event in events {
            match event {
                Event::Liveness(health) => {
                    link = health;
                    pair.health.handle_liveness(pair.now, health);
                }
                Event::Loss(way, loss) => pair.health.handle_loss(pair.now, way, loss),
                Event::Delay(way, delay) => pair.health.handle_delay(pair.now, way, delay),
                Event::Stall(stall) => {
                    pair.now += stall;
                    pair.health.handle_stall(pair.now, stall);
                }
                Event::Pass(pass) => pair.wait(pass),
            }
            while let Some(change) = pair.health.poll_output() {
                prop_assert_eq!(change.from, shown);
                prop_assert_ne!(change.to, shown);
                // There is one gate, and one exception to it.
                if change.to.carries() && !linked {
                    prop_assert_eq!(change.reason, Reason::Linked);
                } else if change.to.carries() && !shown.carries() {
                    prop_assert_eq!((shown, change.reason, change.to),
                        (Condition::Degraded, Reason::Recovered, Condition::Up));
                }
                if shown.carries() && !change.to.carries() {
                    falls.push(pair.now);
                }
                linked |= change.to != Condition::Down;
                shown = change.to;
            }
            prop_assert_eq!(pair.condition(), shown);
            // What does not answer never carries, and what is gone is Down.
            let gone = matches!(link, None | Some(Health::Down));
            prop_assert!(!gone || shown == Condition::Down);
            // A timer is in the future, and there is one wherever time alone changes something.
            if let Some(due) = pair.health.poll_timeout() {
                prop_assert!(due > pair.now);
            }
            if link == Some(Health::Up) {
                prop_assert!(shown.carries() || pair.health.poll_timeout().is_some());
            }
        }
        let limit = if fast { 16 } else { 9 };
        for fall in &falls {
            let minute = falls.iter().filter(|at| *at >= fall && **at < *fall + secs(60));
            prop_assert!(minute.count() <= limit);
        }
        // And when all is quiet: Up, by the stated bound.
        pair.liveness(Health::Up);
        pair.wait(if fast { secs(6) } else { secs(11) });
        prop_assert_eq!(pair.condition(), Condition::Up);
    }
}
