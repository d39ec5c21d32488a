use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::model::{Probability, Rate};

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
        queue_bytes,
    })
}

fn lossy(ppm: u32) -> PairModel {
    PairModel {
        loss: Probability::from_ppm(ppm),
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
fn jitter_stays_within_its_span_reaches_both_ends_and_centres_on_the_delay() {
    let model = PairModel {
        jitter: ms(10),
        ..PairModel::delayed(ms(50))
    };
    let mut t = Fixture::new(3, model);
    let mut delays = Vec::new();
    for _ in 0..10_000 {
        delays.push(t.delay(1).unwrap());
        // Further apart than the span, so that keeping order changes nothing.
        t.now += ms(100);
    }
    let (least, most) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    assert!(least >= ms(40) && least < Duration::from_micros(40_020));
    assert!(most <= ms(60) && most > Duration::from_micros(59_980));
    // The mean of 10,000 has a standard deviation of 10 ms / sqrt(3 * 10,000) = 58 us; 5 of them.
    let mean = delays.iter().sum::<Duration>() / 10_000;
    assert!(
        mean.abs_diff(ms(50)) < Duration::from_micros(290),
        "{mean:?}"
    );
}

#[test]
fn jitter_above_the_delay_never_goes_back_in_time() {
    let model = PairModel {
        jitter: ms(10),
        ..PairModel::delayed(ms(1))
    };
    let mut t = Fixture::new(3, model);
    let mut at_once = 0;
    for _ in 0..1_000 {
        let delay = t.delay(1).unwrap();
        assert!(delay <= ms(11));
        at_once += u32::from(delay.is_zero());
        t.now += ms(100);
    }
    // 9 of 20 parts are cut off at zero; 5 standard deviations are 79.
    assert!((371..=529).contains(&at_once), "{at_once}");
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
        jitter: ms(3),
        max_bytes: Some(9),
        ..lossy(900_000)
    };
    assert_eq!(plain, losses(jittery, false));
    assert_eq!(plain, losses(PairModel::default(), true));
}

#[test]
fn a_seed_means_the_same_numbers_on_every_platform_and_in_every_release() {
    let model = PairModel {
        jitter: ms(10),
        ..lossy(200_000)
    };
    let mut t = Fixture::new(
        42,
        PairModel {
            delay: ms(50),
            ..model
        },
    );
    let mut delays = Vec::new();
    for _ in 0..8 {
        delays.push(t.delay(1).map_or(0, |delay| delay.as_nanos()));
        t.now += ms(100);
    }
    // Computed apart from this code, from the published definitions of PCG and SplitMix64.
    let expected = [0, 53_039_941, 42_139_155, 59_451_664, 0, 0, 0, 59_698_029];
    assert_eq!(delays, expected);
}

#[derive(Debug, Clone)]
enum Operation {
    Send {
        from: u32,
        to: u32,
        bytes: usize,
    },
    Advance(Duration),
    Drain,
    Set {
        from: u32,
        to: u32,
        model: PairModel,
    },
    Cut {
        from: u32,
        to: u32,
    },
    Heal {
        from: u32,
        to: u32,
    },
}

fn any_model() -> impl Strategy<Value = PairModel> {
    let micros = |max: u64| (0..max).prop_map(Duration::from_micros);
    (
        micros(200_000),
        micros(50_000),
        0..=1_000_000_u32,
        proptest::option::of((1_000..10_000_000_u64, 0..20_000_usize)),
        proptest::option::of(0..1_500_usize),
    )
        .prop_map(|(delay, jitter, ppm, limited, max_bytes)| PairModel {
            delay,
            jitter,
            loss: Probability::from_ppm(ppm),
            rate: limited.and_then(|(bits, queue_bytes)| rate(bits, queue_bytes)),
            max_bytes,
        })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let end = || 0..3_u32;
    prop_oneof![
        8 => (end(), end(), 0..1_500_usize)
            .prop_map(|(from, to, bytes)| Operation::Send { from, to, bytes }),
        4 => (0..50_000_u64).prop_map(|us| Operation::Advance(Duration::from_micros(us))),
        3 => Just(Operation::Drain),
        1 => (end(), end(), any_model())
            .prop_map(|(from, to, model)| Operation::Set { from, to, model }),
        1 => (end(), end()).prop_map(|(from, to)| Operation::Cut { from, to }),
        1 => (end(), end()).prop_map(|(from, to)| Operation::Heal { from, to }),
    ]
}

/// Runs the operations, checks what must always hold, and returns all that could be seen.
fn run(seed: u64, operations: &[Operation]) -> Vec<Seen> {
    const MAX_QUEUED_BYTES: usize = 20_000;
    let mut t = Fixture::bounded(seed, PairModel::delayed(ms(20)), MAX_QUEUED_BYTES);
    let start = t.now;
    let mut seen = Vec::new();
    let mut last_of_pair = BTreeMap::new();
    for operation in operations {
        match operation.clone() {
            Operation::Send { from, to, bytes } => {
                let verdict = t.send(HostId(from), HostId(to), bytes);
                seen.push(match verdict {
                    Verdict::Queued { deadline } => {
                        assert!(deadline >= t.now);
                        Seen::Arrives(deadline - start)
                    }
                    Verdict::Dropped(cause) => Seen::Dropped(cause),
                });
            }
            Operation::Advance(by) => t.now += by,
            Operation::Drain => {
                let mut last = None;
                for delivery in t.drain() {
                    assert!(delivery.deadline <= t.now, "before its deadline");
                    let key = (delivery.deadline, delivery.sequence);
                    assert!(last.replace(key).is_none_or(|before| before < key));
                    let pair = (delivery.from, delivery.to);
                    let before = last_of_pair.insert(pair, delivery.payload);
                    assert!(
                        before.is_none_or(|before| before < delivery.payload),
                        "reordered"
                    );
                    seen.push(Seen::Arrived {
                        at: t.now - start,
                        payload: delivery.payload,
                    });
                }
                assert!(
                    t.engine.poll_timeout().is_none_or(|at| at > t.now),
                    "kept back"
                );
            }
            Operation::Set { from, to, model } => {
                t.engine.set_pair(HostId(from), HostId(to), model);
            }
            Operation::Cut { from, to } => t.engine.cut(HostId(from), HostId(to)),
            Operation::Heal { from, to } => t.engine.heal(HostId(from), HostId(to)),
        }
        let total = t.engine.counters();
        assert!(total.is_conserved(), "{total:?}");
        assert_eq!(total.received, t.sent);
        assert_eq!(total.queued, t.engine.queue.len() as u64);
        let held: usize = t
            .engine
            .queue
            .values()
            .map(|q| q.bytes + PACKET_OVERHEAD_BYTES)
            .sum();
        assert_eq!(t.engine.queued_bytes, held);
        assert!(t.engine.queued_bytes_max() <= MAX_QUEUED_BYTES);
        for pair in t.engine.pairs.values() {
            assert!(pair.counters().is_conserved());
        }
    }
    seen
}

/// What a caller sees of one packet, with times counted from the start so that runs compare.
#[derive(Debug, PartialEq)]
enum Seen {
    Arrives(Duration),
    Dropped(DropCause),
    Arrived { at: Duration, payload: u64 },
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn order_bounds_and_conservation_hold_and_one_seed_gives_one_result(
        seed: u64,
        operations in proptest::collection::vec(any_operation(), 0..200),
    ) {
        prop_assert_eq!(run(seed, &operations), run(seed, &operations));
    }
}
