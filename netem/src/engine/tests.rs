use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::model::{Chance, Jitter, Loss, Order, Probability, Rate, Reorder};

mod bursts;
mod delays;
mod properties;
mod schedules;

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

/// An engine and its clock. The payload counts the packets that were handed in.
struct Fixture {
    engine: Engine<u64>,
    now: Instant,
    sent: u64,
}

impl Fixture {
    fn new(seed: u64, default_pair: PairModel) -> Self {
        Self::bounded(seed, default_pair, 1 << 30)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the origin of made-up times"
    )]
    fn bounded(seed: u64, default_pair: PairModel, max_queued_bytes: usize) -> Self {
        Self {
            engine: Engine::new(EngineConfig {
                seed,
                default_pair,
                max_queued_bytes,
            }),
            now: Instant::now(),
            sent: 0,
        }
    }

    fn send(&mut self, from: HostId, to: HostId, bytes: usize) -> Verdict {
        self.sent += 1;
        self.engine
            .handle_packet(self.now, from, to, bytes, self.sent)
    }

    /// The delay of the next packet from A to B; `None` if it is dropped.
    fn delay(&mut self, bytes: usize) -> Option<Duration> {
        match self.send(A, B, bytes) {
            Verdict::Queued { deadline } => Some(deadline - self.now),
            Verdict::Dropped(_) => None,
        }
    }

    fn drain(&mut self) -> Vec<Delivery<u64>> {
        std::iter::from_fn(|| self.engine.poll_delivery(self.now)).collect()
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn rate(bits_per_second: u64, queue_bytes: usize) -> Option<Rate> {
    Some(Rate {
        bits_per_second: NonZeroU64::new(bits_per_second).unwrap(),
        overhead_bytes: 0,
        queue_bytes: Some(queue_bytes),
    })
}

fn lossy(ppm: u32) -> PairModel {
    PairModel {
        loss: Loss::from_ppm(ppm),
        ..PairModel::default()
    }
}

#[test]
fn arrives_at_its_deadline_and_not_a_nanosecond_before() {
    let mut t = Fixture::new(1, PairModel::delayed(Duration::from_nanos(75_000_001)));
    let start = t.now;
    t.send(A, B, 100);
    let deadline = start + Duration::from_nanos(75_000_001);
    assert_eq!(t.engine.poll_timeout(), Some(deadline));
    t.now = deadline - Duration::from_nanos(1);
    assert_eq!(t.drain(), []);
    t.now = deadline;
    let delivered = t.drain();
    assert_eq!(
        delivered
            .iter()
            .map(|d| (d.from, d.to, d.bytes, d.deadline, d.payload))
            .collect::<Vec<_>>(),
        [(A, B, 100, deadline, 1)]
    );
    assert_eq!(t.engine.poll_timeout(), None);
}

#[test]
fn packets_of_one_deadline_arrive_in_the_order_they_were_handed_in() {
    let mut t = Fixture::new(1, PairModel::delayed(ms(5)));
    t.send(B, A, 1);
    t.send(A, B, 1);
    t.send(C, A, 1);
    t.now += ms(5);
    let order: Vec<_> = t.drain().iter().map(|d| d.payload).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn rate_spaces_packets_by_their_size_and_its_queue_takes_what_fits_exactly() {
    // 1,000 bytes take 1 ms; three of them fit, the one being sent included.
    let model = PairModel {
        rate: rate(8_000_000, 3_000),
        ..PairModel::delayed(ms(10))
    };
    let mut t = Fixture::new(1, model);
    assert_eq!(t.delay(1_000), Some(ms(11)));
    assert_eq!(t.delay(1_000), Some(ms(12)));
    assert_eq!(t.delay(1_000), Some(ms(13)));
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::QueueFull));
    // The other direction has a queue of its own.
    assert!(matches!(t.send(B, A, 1_000), Verdict::Queued { .. }));

    t.now += ms(1) - Duration::from_nanos(1);
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::QueueFull));
    t.now += Duration::from_nanos(1);
    assert_eq!(t.delay(1_000), Some(ms(13)));
    assert_eq!(t.send(A, B, 3_001), Verdict::Dropped(DropCause::QueueFull));
}

#[test]
fn a_packet_of_the_limit_passes_and_one_byte_more_vanishes() {
    let model = PairModel {
        max_bytes: Some(1_200),
        ..PairModel::default()
    };
    let mut t = Fixture::new(1, model);
    assert!(matches!(t.send(A, B, 1_200), Verdict::Queued { .. }));
    assert_eq!(t.send(A, B, 1_201), Verdict::Dropped(DropCause::TooLarge));
}

#[test]
fn a_cut_is_for_one_direction_and_for_packets_handed_in_while_it_lasts() {
    let mut t = Fixture::new(1, PairModel::delayed(ms(10)));
    t.send(A, B, 1);
    t.engine.cut(A, B);
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::Cut));
    assert!(matches!(t.send(B, A, 1), Verdict::Queued { .. }));
    // A new model does not end the cut.
    t.engine.set_pair(A, B, PairModel::delayed(ms(20)));
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::Cut));
    t.engine.heal(A, B);
    assert_eq!(t.delay(1), Some(ms(20)));
    t.now += ms(20);
    let arrived: Vec<_> = t.drain().iter().map(|d| d.payload).collect();
    assert_eq!(arrived, [1, 3, 5]);
}

#[test]
fn a_shorter_delay_does_not_let_packets_overtake() {
    let mut t = Fixture::new(1, PairModel::delayed(ms(50)));
    assert_eq!(t.delay(1), Some(ms(50)));
    t.engine.set_pair(A, B, PairModel::delayed(ms(5)));
    t.now += ms(10);
    assert_eq!(t.delay(1), Some(ms(40)));
    t.now += ms(40);
    assert_eq!(t.delay(1), Some(ms(5)));
}

#[test]
fn the_engine_refuses_what_goes_over_its_bound_and_takes_it_again_once_drained() {
    let room = 2 * (100 + PACKET_OVERHEAD_BYTES);
    let mut t = Fixture::bounded(1, PairModel::delayed(ms(1)), room);
    t.send(A, B, 100);
    assert!(matches!(t.send(A, C, 100), Verdict::Queued { .. }));
    assert_eq!(t.send(B, C, 0), Verdict::Dropped(DropCause::EngineFull));
    assert_eq!(t.engine.queued_bytes_max(), room);
    t.now += ms(1);
    assert_eq!(t.drain().len(), 2);
    assert!(matches!(t.send(B, C, 100), Verdict::Queued { .. }));
    assert!(t.engine.counters().is_conserved());
}

#[test]
fn loss_is_within_five_standard_deviations_of_its_probability() {
    for (seed, ppm) in [(1, 20_000_u32), (2, 1_000), (3, 500_000), (4, 990_000)] {
        let mut t = Fixture::new(seed, lossy(ppm));
        let packets = 100_000;
        for _ in 0..packets {
            t.send(A, B, 1);
        }
        let lost = t.engine.pair_counters(A, B).dropped(DropCause::Loss);
        // Squared, in units of packets: (lost - np)^2 <= 25 np(1 - p).
        let million = 1_000_000;
        let expected = packets * u64::from(ppm) / million;
        let variance = expected * (million - u64::from(ppm)) / million;
        assert!(
            lost.abs_diff(expected).pow(2) <= 25 * variance,
            "{lost} of {ppm} ppm"
        );
    }
    let mut t = Fixture::new(1, lossy(1_000_000));
    assert_eq!(t.delay(1), None);
}

#[test]
fn pairs_do_not_disturb_each_other() {
    let losses = |others: bool| {
        let mut t = Fixture::new(9, lossy(300_000));
        (0..200)
            .map(|_| {
                if others {
                    t.send(B, A, 1);
                    t.send(A, C, 1);
                }
                t.delay(1).is_some()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(false), losses(true));
}

#[test]
fn pairs_and_directions_have_luck_of_their_own() {
    let mut t = Fixture::new(9, lossy(300_000));
    let mut losses = |from, to| -> Vec<_> {
        (0..200)
            .map(|_| matches!(t.send(from, to, 1), Verdict::Dropped(_)))
            .collect()
    };
    let (there, back, aside) = (losses(A, B), losses(B, A), losses(A, C));
    assert!(there != back && there != aside && back != aside);
}

#[test]
fn a_packets_luck_does_not_depend_on_the_models_before_it() {
    let losses = |before: PairModel, cut: bool| {
        let mut t = Fixture::new(9, before);
        if cut {
            t.engine.cut(A, B);
        }
        for _ in 0..50 {
            t.send(A, B, 10);
        }
        t.engine.heal(A, B);
        t.engine.set_pair(A, B, lossy(300_000));
        (0..200).map(|_| t.delay(1).is_some()).collect::<Vec<_>>()
    };
    let plain = losses(PairModel::default(), false);
    let jittery = PairModel {
        jitter: Jitter::uniform(ms(3)),
        max_bytes: Some(9),
        ..lossy(900_000)
    };
    assert_eq!(plain, losses(jittery, false));
    assert_eq!(plain, losses(PairModel::default(), true));
}

#[test]
fn a_limit_counts_packets_that_are_delayed_and_makes_room_as_they_arrive() {
    let model = PairModel {
        limit_packets: NonZeroU32::new(2),
        ..PairModel::delayed(ms(10))
    };
    let mut t = Fixture::new(1, model);
    assert_eq!(t.delay(1), Some(ms(10)));
    t.now += ms(5);
    assert_eq!(t.delay(1), Some(ms(10)));
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::QueueFull));
    t.now += ms(5);
    assert_eq!(t.drain().len(), 1);
    assert_eq!(t.delay(1), Some(ms(10)));
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::QueueFull));
}

#[test]
fn a_rate_without_a_queue_of_its_own_takes_what_the_engine_holds() {
    let model = PairModel {
        rate: Some(Rate {
            overhead_bytes: 100,
            queue_bytes: None,
            ..rate(8_000_000, 0).unwrap()
        }),
        ..PairModel::default()
    };
    let mut t = Fixture::bounded(1, model, 10 * (900 + PACKET_OVERHEAD_BYTES));
    for nth in 1..=10 {
        // 900 bytes and 100 of overhead take 1 ms.
        assert_eq!(t.delay(900), Some(ms(nth)));
    }
    assert_eq!(t.send(A, B, 900), Verdict::Dropped(DropCause::EngineFull));
}

#[test]
fn a_copy_follows_its_original_and_takes_its_own_part_of_the_rate_and_of_the_queue() {
    let model = PairModel {
        duplicate: Chance::independent(Probability::ALWAYS),
        rate: rate(8_000_000, 3_000),
        ..PairModel::delayed(ms(10))
    };
    let mut t = Fixture::new(1, model);
    assert_eq!(t.delay(1_000), Some(ms(11)));
    // Its copy leaves after 2 ms; the next packet fits, and its copy does not.
    assert_eq!(t.delay(1_000), Some(ms(13)));
    let counters = t.engine.pair_counters(A, B);
    assert_eq!(
        (counters.received, counters.copied, counters.queued),
        (2, 2, 3)
    );
    assert_eq!(counters.dropped(DropCause::QueueFull), 1);
    let start = t.now;
    t.now += ms(13);
    let arrived: Vec<_> = t
        .drain()
        .iter()
        .map(|d| (d.deadline - start, d.payload))
        .collect();
    assert_eq!(arrived, [(ms(11), 1), (ms(12), 1), (ms(13), 2)]);
    assert!(t.engine.counters().is_conserved());
}

#[test]
fn a_copy_that_the_engine_or_a_limit_has_no_room_for_is_dropped_and_its_original_is_not() {
    let twice = PairModel {
        duplicate: Chance::independent(Probability::ALWAYS),
        ..PairModel::default()
    };
    let limited = PairModel {
        limit_packets: NonZeroU32::new(1),
        ..twice.clone()
    };
    let room = 1 + PACKET_OVERHEAD_BYTES;
    for (model, max_bytes, cause) in [
        (twice, room, DropCause::EngineFull),
        (limited, 10 * room, DropCause::QueueFull),
    ] {
        let mut t = Fixture::bounded(1, model, max_bytes);
        assert_eq!(t.delay(1), Some(Duration::ZERO));
        let counters = t.engine.counters();
        assert_eq!((counters.queued, counters.dropped(cause)), (1, 1));
        assert!(counters.is_conserved());
    }
}

#[test]
fn packets_of_a_chance_are_copied_or_corrupted_within_five_standard_deviations() {
    let tenth = Chance::independent(Probability::from_ppm(100_000));
    let model = PairModel {
        duplicate: tenth,
        corrupt: tenth,
        ..PairModel::default()
    };
    let mut t = Fixture::new(5, model);
    let (mut arrived, mut corrupted) = (0, 0);
    for _ in 0..10_000 {
        t.send(A, B, 1);
        for delivery in t.drain() {
            arrived += 1;
            corrupted += u64::from(delivery.corruption.is_some());
        }
    }
    let counters = t.engine.counters();
    // Of 10,000: 1,000, with a deviation of 30.
    assert!((850..=1_150).contains(&counters.copied), "{counters:?}");
    assert!((850..=1_150).contains(&counters.corrupted), "{counters:?}");
    assert_eq!(arrived, 10_000 + counters.copied);
    // Independent of each other: a tenth of the copies is of corrupted packets.
    let copies = corrupted - counters.corrupted;
    assert!((50..=150).contains(&copies), "{copies} of {counters:?}");
}

#[test]
fn luck_at_either_end_is_a_fraction_and_neither_0_nor_1() {
    for luck in [0, 1, u64::MAX - 1, u64::MAX] {
        let fraction = random::fraction(luck);
        assert!(fraction > 0.0 && fraction < 1.0, "{luck}: {fraction}");
    }
}

#[test]
fn corruption_flips_one_bit_and_any_of_them() {
    let mut seen = [false; 24];
    for luck in 0..1_000_u64 {
        let mut bytes = [0_u8; 3];
        Corruption(luck.wrapping_mul(u64::MAX / 1_000)).flip(&mut bytes);
        let flipped: Vec<_> = (0..24)
            .filter(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1)
            .collect();
        assert_eq!(flipped.len(), 1);
        seen[flipped[0]] = true;
    }
    assert_eq!(seen, [true; 24]);
    Corruption(7).flip(&mut []);
}

#[test]
fn packets_that_skip_ahead_overtake_and_keep_their_gap() {
    let model = |gap| PairModel {
        reorder: Some(Reorder {
            chance: Chance::independent(Probability::ALWAYS),
            gap: NonZeroU32::new(gap).unwrap(),
        }),
        ..PairModel::delayed(ms(10))
    };
    let mut t = Fixture::new(1, model(3));
    let delays: Vec<_> = (0..7).map(|_| t.delay(1).unwrap().as_millis()).collect();
    assert_eq!(delays, [10, 10, 0, 10, 10, 0, 10]);
    let order: Vec<_> = t.drain().iter().map(|d| d.payload).collect();
    assert_eq!(order, [3, 6]);
    assert_eq!(t.engine.counters().reordered, 2);
    // Without a gap each packet may, and here all do.
    let mut t = Fixture::new(1, model(1));
    assert_eq!(t.delay(1), Some(Duration::ZERO));
    assert_eq!(t.delay(1), Some(Duration::ZERO));
}

#[test]
fn packets_that_skip_ahead_still_wait_for_the_rate() {
    let model = PairModel {
        reorder: Some(Reorder {
            chance: Chance::independent(Probability::ALWAYS),
            gap: NonZeroU32::MIN,
        }),
        rate: rate(8_000_000, 10_000),
        ..PairModel::delayed(ms(10))
    };
    let mut t = Fixture::new(1, model);
    assert_eq!(t.delay(1_000), Some(ms(1)));
    assert_eq!(t.delay(1_000), Some(ms(2)));
}
