use proptest::prelude::*;

use super::*;
use crate::random::SplitMix64;

/// Two clocks and the way between them. All times are of the receiver's clock, from its start.
struct Way {
    estimator: OneWayDelay,
    start: Instant,
    /// What the sender's clock shows when the receiver's shows its start.
    offset: Duration,
    /// How much slower the sender's clock runs, in millionths.
    slower_ppm: i64,
}

impl Way {
    fn new() -> Self {
        let start = origin();
        Self {
            estimator: OneWayDelay::new(start),
            start,
            offset: secs(1_000_000),
            slower_ppm: 0,
        }
    }

    /// A packet leaves at `sent` and takes `delay`.
    fn packet(&mut self, sent: Duration, delay: Duration) -> Option<Duration> {
        let slower = sent.as_nanos() as i64 / 1_000_000 * self.slower_ppm;
        let shown = (self.offset + sent).as_nanos() as i64 - slower;
        let shown = Duration::from_nanos(shown.cast_unsigned());
        self.estimator
            .handle_packet(self.start + sent + delay, shown)
    }

    /// Packets 20 ms apart, all of one delay; the variation of the last.
    fn steady(&mut self, from: Duration, until: Duration, delay: Duration) -> Option<Duration> {
        let mut last = None;
        let mut sent = from;
        while sent < until {
            last = self.packet(sent, delay);
            sent += ms(20);
        }
        last
    }
}

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

#[test]
fn a_queue_shows_as_what_it_adds_and_is_gone_when_it_is_gone() {
    let mut way = Way::new();
    assert_eq!(way.steady(secs(0), secs(5), ms(80)), Some(ms(0)));
    assert_eq!(way.steady(secs(5), secs(8), ms(125)), Some(ms(45)));
    assert_eq!(way.steady(secs(8), secs(9), ms(80)), Some(ms(0)));
}

#[test]
fn jitter_is_variation_above_the_luckiest_packet() {
    let mut way = Way::new();
    let mut random = SplitMix64(7);
    let mut sum = Duration::ZERO;
    for nth in 0..1_000 {
        let jitter = Duration::from_micros(random.below(10_000));
        let variation = way.packet(ms(20 * nth), ms(80) + jitter).unwrap();
        assert!(variation <= jitter);
        sum += variation;
    }
    let mean = sum / 1_000;
    assert!(
        mean.abs_diff(ms(5)) < Duration::from_micros(300),
        "{mean:?}"
    );
}

#[test]
fn a_clock_that_runs_slower_adds_no_more_than_the_window_times_its_drift() {
    let mut way = Way::new();
    way.slower_ppm = 200;
    let mut worst = Duration::ZERO;
    for nth in 0..30_000 {
        worst = worst.max(way.packet(ms(20 * nth), ms(80)).unwrap());
    }
    // 31 s at 200 ppm, and nearly reached: the bound is no looser than it has to be.
    assert!(worst <= Duration::from_micros(6_200), "{worst:?}");
    assert!(worst >= Duration::from_micros(6_000), "{worst:?}");
}

#[test]
fn a_clock_that_runs_faster_adds_nothing_and_hides_little_of_a_queue() {
    let mut way = Way::new();
    way.slower_ppm = -200;
    for nth in 0..30_000 {
        let variation = way.packet(ms(20 * nth), ms(80)).unwrap();
        assert_eq!(variation, Duration::ZERO);
    }
    // Of a queue of 50 ms, 10 s at 200 ppm are 2 ms.
    let shown = way.steady(secs(600), secs(610), ms(130)).unwrap();
    assert!(shown > ms(48) - Duration::from_micros(1), "{shown:?}");
    assert!(shown < ms(50), "{shown:?}");
}

#[test]
fn a_longer_path_is_learned_when_the_window_is_over_and_not_before() {
    let mut way = Way::new();
    way.steady(secs(0), secs(40), ms(80));
    assert_eq!(way.steady(secs(40), secs(69), ms(120)), Some(ms(40)));
    assert_eq!(way.steady(secs(69), ms(71_020), ms(120)), Some(ms(0)));
}

#[test]
fn a_shorter_path_is_learned_with_its_first_packet() {
    let mut way = Way::new();
    way.steady(secs(0), secs(40), ms(120));
    assert_eq!(way.packet(secs(40), ms(80)), Some(ms(0)));
    assert_eq!(way.packet(ms(40_020), ms(120)), Some(ms(40)));
}

#[test]
fn a_stepped_clock_is_doubted_for_a_second_and_then_starts_the_estimate_anew() {
    let steps = [secs(2), secs(60), secs(3 * 3_600), secs(900_000)];
    for step in steps {
        for forward in [true, false] {
            let mut way = Way::new();
            way.steady(secs(0), secs(10), ms(80));
            way.offset = if forward {
                way.offset + step
            } else {
                way.offset - step
            };
            for nth in 0..50 {
                assert_eq!(way.packet(secs(10) + ms(20 * nth), ms(85)), None);
            }
            assert_eq!(way.packet(secs(11), ms(95)), Some(ms(10)), "{step:?}");
            assert_eq!(way.packet(ms(11_020), ms(80)), Some(ms(0)), "{step:?}");
            assert_eq!(way.estimator.steps(), 1);
        }
    }
}

#[test]
fn three_packets_in_a_second_make_a_step_and_two_do_not() {
    let mut way = Way::new();
    way.steady(secs(0), secs(10), ms(80));
    way.offset -= secs(3_600);
    assert_eq!(way.packet(secs(10), ms(80)), None);
    assert_eq!(way.packet(secs(12), ms(80)), None, "long enough, too few");
    assert_eq!(way.packet(secs(13), ms(80)), Some(ms(0)));
}

#[test]
fn up_to_a_second_from_one_packet_to_the_next_is_delay_and_beyond_it_doubt() {
    for (delay, variation) in [(1_080, Some(ms(1_000))), (1_081, None)] {
        let mut way = Way::new();
        way.steady(secs(0), secs(10), ms(80));
        assert_eq!(way.packet(secs(10), ms(delay)), variation);
    }
}

#[test]
fn a_queue_that_grows_to_many_seconds_is_never_taken_for_a_step() {
    let mut way = Way::new();
    way.steady(secs(0), secs(1), ms(80));
    for nth in 0..100 {
        let queue = ms(80 * nth);
        let variation = way.packet(secs(1) + ms(200 * nth), ms(80) + queue);
        assert_eq!(variation, Some(queue));
    }
    assert_eq!(way.estimator.steps(), 0);
}

#[test]
fn what_a_stall_held_back_for_five_seconds_leaves_no_trace() {
    let mut way = Way::new();
    way.steady(secs(0), secs(10), ms(80));
    let woke = secs(15);
    for nth in 0..250 {
        let sent = secs(10) + ms(20 * nth);
        let read = woke + Duration::from_micros(nth * 10);
        if let Some(variation) = way.packet(sent, read.saturating_sub(sent).max(ms(80))) {
            assert!(variation <= ms(1_000), "{variation:?}");
        }
    }
    assert_eq!(way.steady(secs(15), secs(16), ms(80)), Some(ms(0)));
    assert_eq!(way.estimator.steps(), 0);
}

#[test]
fn one_wild_timestamp_is_doubted_and_the_next_good_packet_judged_as_before() {
    for wild in [Duration::ZERO, Duration::MAX, secs(1_000_100)] {
        let mut way = Way::new();
        way.steady(secs(0), secs(10), ms(80));
        let now = way.start + secs(10);
        assert_eq!(way.estimator.handle_packet(now, wild), None);
        assert_eq!(way.packet(secs(10), ms(90)), Some(ms(10)));
    }
}

#[test]
fn strays_that_agree_with_each_other_and_not_with_the_packets_between_are_no_step() {
    let mut way = Way::new();
    way.steady(secs(0), secs(10), ms(80));
    for nth in 0..10 {
        way.offset -= secs(3_600);
        assert_eq!(way.packet(secs(10 + nth), ms(80)), None);
        way.offset += secs(3_600);
        assert_eq!(way.packet(secs(10 + nth), ms(80)), Some(ms(0)));
    }
    assert_eq!(way.estimator.steps(), 0);
}

#[test]
fn after_a_silence_longer_than_the_window_the_first_packet_is_the_base() {
    let mut way = Way::new();
    way.steady(secs(0), secs(10), ms(80));
    way.offset -= secs(3_600);
    assert_eq!(way.packet(secs(42), ms(80)), Some(ms(0)));
    assert_eq!(way.estimator.steps(), 0);
}

#[test]
fn loss_and_reordering_change_nothing_for_the_packets_that_come() {
    let mut random = SplitMix64(7);
    let mut whole = Way::new();
    let mut lossy = Way::new();
    lossy.start = whole.start;
    lossy.estimator = whole.estimator.clone();
    let mut arrivals: Vec<_> = (0..2_000)
        .map(|nth| {
            (
                ms(20 * nth),
                ms(80) + Duration::from_micros(random.below(60_000)),
            )
        })
        .collect();
    // Of the luckiest packets none may be lost, or the base would differ: rightly.
    arrivals[0].1 = ms(80);
    arrivals.sort_by_key(|(sent, delay)| *sent + *delay);
    let late = arrivals.windows(2).filter(|pair| pair[0].0 > pair[1].0);
    assert!(late.count() > 100);
    for (sent, delay) in arrivals {
        let variation = whole.packet(sent, delay);
        if random.below(5) > 0 || delay == ms(80) {
            assert_eq!(lossy.packet(sent, delay), variation);
        }
    }
}

#[test]
fn memory_is_within_the_value_and_below_400_bytes() {
    assert!(size_of::<OneWayDelay>() < 400);
}

#[test]
fn timestamps_of_32_bits_go_on_where_they_wrap_and_may_be_out_of_order() {
    let mut stamps = WrappingMicros::default();
    let first = stamps.handle_stamp(u32::MAX - 9);
    assert_eq!(stamps.handle_stamp(10), first + Duration::from_micros(20));
    assert_eq!(
        stamps.handle_stamp(u32::MAX - 19),
        first - Duration::from_micros(10)
    );
    assert_eq!(stamps.handle_stamp(0), first + Duration::from_micros(10));
    let mut stamps = WrappingMicros::default();
    let first = stamps.handle_stamp(5);
    let before = stamps.handle_stamp(u32::MAX);
    assert_eq!(first - before, Duration::from_micros(6));
}

proptest! {
    /// Whatever the stamps and gaps: no variation is larger than what lies between the largest and
    /// the least difference, none is negative (the type says so, and no subtraction panics), and
    /// the size of the value is what it was.
    #[test]
    fn any_stamps_give_no_variation_beyond_the_spread_of_their_differences(
        packets in proptest::collection::vec((0_u64..40_000, any::<u64>(), 0_u32..3), 1..200),
    ) {
        let start = origin();
        let mut estimator = OneWayDelay::new(start);
        let mut now = start;
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for (gap, stamp, kind) in packets {
            now += ms(gap);
            let sent = match kind {
                0 => Duration::from_secs(stamp),
                1 => Duration::from_nanos(stamp),
                _ => (now - start) + Duration::from_micros(stamp % 100_000),
            };
            let variation = estimator.handle_packet(now, sent);
            least = least.min(estimator.difference());
            most = most.max(estimator.difference());
            if let Some(variation) = variation {
                prop_assert!(variation.as_nanos() <= u128::from(most.abs_diff(least)));
            }
        }
    }

    /// An offset that stays as it is changes nothing.
    #[test]
    fn any_constant_offset_gives_the_same_variations(
        offset_us in 0_u64..10_000_000_000_000,
        packets in proptest::collection::vec((0_u64..3_000, 0_u64..3_000), 1..200),
    ) {
        let mut zero = Way::new();
        zero.offset = Duration::ZERO;
        let mut other = Way::new();
        other.start = zero.start;
        other.estimator = zero.estimator.clone();
        other.offset = Duration::from_micros(offset_us);
        let mut sent = Duration::ZERO;
        for (gap, delay) in packets {
            sent += ms(gap);
            prop_assert_eq!(zero.packet(sent, ms(delay)), other.packet(sent, ms(delay)));
        }
    }

    /// Differences within a second of each other are never doubted, and the least is the base.
    #[test]
    fn within_a_second_variation_is_exactly_the_difference_to_the_least_of_the_window(
        packets in proptest::collection::vec((0_u64..2_000, 0_u64..1_000), 1..300),
    ) {
        let mut way = Way::new();
        let mut seen: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (gap, delay) in packets {
            now += gap;
            // By the receiver's clock, whose whole seconds make the slots.
            let sent = ms(now + 1_000 - delay);
            let variation = way.packet(sent, ms(delay));
            let second = (now + 1_000) / 1_000;
            seen.push((second, delay));
            let window = seen.iter().filter(|(at, _)| at + WINDOW.as_secs() >= second);
            let least = window.map(|(_, delay)| *delay).min().unwrap();
            prop_assert_eq!(variation, Some(ms(delay - least)));
        }
    }
}
