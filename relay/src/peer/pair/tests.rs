use super::*;
use crate::{
    clock,
    id::{NodeGeneration, NodeKey},
};

/// A pair alone, with a clock of its own.
struct Bench {
    pair: Pair,
    now: Instant,
    reasons: Vec<Reason>,
}

impl Bench {
    fn new() -> Self {
        let now = clock::now();
        Self {
            pair: Pair::new(HealthConfig::default(), now),
            now,
            reasons: Vec::new(),
        }
    }

    /// Linked, and the router knows.
    fn linked() -> Self {
        let mut bench = Self::new();
        bench.current(Some(1));
        assert!(bench.pair.is_news(bench.now));
        bench.pair.handle_said(bench.now, true);
        assert!(!bench.pair.is_news(bench.now));
        bench
    }

    fn current(&mut self, dial: Option<u32>) {
        let link = dial.map(|dial| (link(dial), Health::Up));
        self.pair.handle_current(self.now, link);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(change) = self.pair.poll_change(self.now) {
            self.reasons.push(change.reason);
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.pair.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.pair.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn sent(&mut self, delivered: u64, lost: u64) {
        let measure = Measure::Sent {
            loss: Loss { delivered, lost },
            delay: Some(Duration::ZERO),
            jitter: Duration::ZERO,
        };
        self.pair.handle_measure(self.now, link(1), measure);
        self.drain();
    }

    fn round_trip(&mut self, of: LinkGeneration, srtt: Duration) {
        self.probed(of, Some(srtt), srtt);
    }

    /// - `round_trip`: of the packet loop, if that was among what answered.
    fn probed(&mut self, of: LinkGeneration, round_trip: Option<Duration>, srtt: Duration) {
        let measure = Measure::Probed {
            loss: Loss {
                delivered: 2,
                lost: 0,
            },
            round_trip,
            srtt,
        };
        self.pair.handle_measure(self.now, of, measure);
    }

    /// Whether the router hears something now; it takes it.
    fn says(&mut self) -> bool {
        let says = self.pair.is_news(self.now);
        if says {
            self.pair.handle_said(self.now, true);
        }
        says
    }
}

fn link(dial: u32) -> LinkGeneration {
    LinkGeneration {
        dialer: NodeKey([1; NodeKey::LEN]),
        node: NodeGeneration(1),
        dial,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn peer_that_was_never_linked_is_down_and_no_news() {
    let mut bench = Bench::new();
    bench.wait(ms(60_000));
    assert_eq!(bench.pair.condition(), Condition::Down);
    assert!(!bench.says());
}

#[test]
fn another_link_or_condition_is_news_at_once_and_the_same_again_is_none() {
    let mut bench = Bench::linked();
    bench.current(Some(1));
    assert!(!bench.says());
    bench.current(Some(2));
    assert!(bench.says(), "another link");
    bench
        .pair
        .handle_health(bench.now, link(2), Health::Suspect);
    assert!(bench.says(), "another condition");
    bench.current(None);
    assert!(bench.says(), "no link");
    assert!(!bench.says());
}

#[test]
fn what_other_links_than_the_current_one_show_changes_nothing() {
    let mut bench = Bench::linked();
    bench.current(Some(2));
    bench.drain();
    bench.pair.handle_health(bench.now, link(1), Health::Down);
    bench.round_trip(link(1), ms(70));
    bench.sent(0, 1_000);
    assert_eq!(bench.pair.condition(), Condition::Up);
    let figures = bench.pair.figures(bench.now);
    assert_eq!((figures.rtt, figures.loss_ppm), (None, 0));
}

#[test]
fn figures_are_news_once_a_second_and_only_if_they_moved() {
    let mut bench = Bench::linked();
    bench.round_trip(link(1), ms(100));
    bench.wait(ms(999));
    assert!(!bench.says());
    bench.wait(ms(1));
    assert!(bench.says(), "the first round trip");
    bench.wait(ms(1_000));
    bench.round_trip(link(1), Duration::from_micros(101_999));
    assert!(!bench.says(), "less than a fiftieth");
    bench.round_trip(link(1), ms(102));
    assert!(bench.says());
    // Within a region, a fiftieth is nothing.
    bench.wait(ms(1_000));
    bench.round_trip(link(1), ms(1));
    assert!(bench.says());
    bench.wait(ms(1_000));
    bench.round_trip(link(1), Duration::from_micros(1_499));
    assert!(!bench.says());
    bench.round_trip(link(1), Duration::from_micros(1_500));
    assert!(bench.says());
    // One in 1,001 is less than a thousandth, and two are more.
    bench.wait(ms(1_000));
    bench.sent(1_000, 1);
    assert!(!bench.says());
    bench.sent(0, 1);
    assert!(bench.says());
}

#[test]
fn news_that_the_router_has_no_room_for_is_told_a_tenth_of_a_second_later() {
    let mut bench = Bench::linked();
    bench.current(None);
    assert!(bench.pair.is_news(bench.now));
    bench.pair.handle_said(bench.now, false);
    assert!(
        !bench.pair.is_news(bench.now),
        "not before there may be room"
    );
    assert_eq!(bench.pair.poll_timeout(), Some(bench.now + ms(100)));
    bench.wait(ms(100));
    assert!(bench.says());
    assert_eq!(bench.pair.poll_timeout(), None);
}

#[test]
fn loss_of_what_was_sent_makes_it_degraded_and_the_history_says_why() {
    let mut bench = Bench::linked();
    for _ in 0..30 {
        bench.wait(ms(100));
        bench.sent(4, 1);
    }
    assert_eq!(bench.pair.condition(), Condition::Degraded);
    assert_eq!(bench.reasons.last(), Some(&Reason::Lossy(Way::Out)));
    let last = bench.pair.changes().last().copied().unwrap();
    assert_eq!((last.from, last.to), (Condition::Up, Condition::Degraded));
    let figures = bench.pair.figures(bench.now);
    assert_eq!((figures.falls, figures.loss_ppm), (1, 200_000));
}

#[test]
fn what_was_lost_before_it_recovered_does_not_count_against_it_afterwards() {
    let mut bench = Bench::linked();
    for _ in 0..30 {
        bench.wait(ms(100));
        bench.sent(80, 20);
    }
    assert!(!bench.pair.condition().carries());
    assert!(bench.pair.loss_ppm(bench.now) > 100_000);
    while bench.pair.condition() != Condition::Up {
        bench.wait(ms(100));
        bench.sent(10, 0);
    }
    assert_eq!(bench.pair.loss_ppm(bench.now), 0);
}

#[test]
fn link_is_to_be_replaced_once_all_else_is_well_and_its_window_is_not() {
    let mut bench = Bench::linked();
    bench.pair.handle_health(bench.now, link(1), Health::Down);
    bench.wait(ms(500));
    bench.pair.handle_health(bench.now, link(1), Health::Up);
    let mut asked = None;
    for _ in 0..100 {
        bench.wait(ms(100));
        if bench.pair.is_returning() && bench.pair.handle_window(bench.now, COLLAPSED_BYTES - 1) {
            asked = Some(bench.now);
            break;
        }
    }
    let asked = asked.expect("asked for another link");
    assert_eq!(bench.pair.condition(), Condition::Degraded);
    // Another one is there, with a whole window.
    bench.current(Some(2));
    assert!(!bench.pair.handle_window(bench.now, COLLAPSED_BYTES));
    assert_eq!(bench.pair.condition(), Condition::Up);
    assert_eq!(bench.now, asked);
}

#[test]
fn after_our_own_stall_loss_is_not_believed_for_a_moment() {
    let mut bench = Bench::linked();
    bench.pair.handle_stall(bench.now, link(1), ms(500));
    bench.wait(ms(100));
    bench.sent(100, 1_000);
    assert_eq!(bench.pair.condition(), Condition::Up);
    bench.wait(ms(150));
    bench.sent(100, 1_000);
    assert_eq!(bench.pair.condition(), Condition::Degraded);
}

#[test]
fn replies_of_the_packet_loop_alone_outweigh_what_probes_miss() {
    for (round_trip, condition) in [
        (Some(ms(70)), Condition::Suspect),
        (None, Condition::Confirmed),
    ] {
        let mut bench = Bench::linked();
        bench.probed(link(1), round_trip, ms(70));
        bench.wait(ms(400));
        let health = Health::Confirmed;
        bench.pair.handle_health(bench.now, link(1), health);
        assert_eq!(bench.pair.condition(), condition);
    }
}

#[test]
fn history_keeps_the_last_32_changes() {
    let mut bench = Bench::linked();
    for _ in 0..20 {
        for health in [Health::Suspect, Health::Up] {
            bench.pair.handle_health(bench.now, link(1), health);
            bench.drain();
        }
    }
    assert_eq!(bench.pair.changes().count(), 32);
    assert_eq!(bench.pair.changes().last().unwrap().to, Condition::Up);
}
