use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Change, Correlation, Distribution, GilbertElliott, What};

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
    Plan {
        from: u32,
        to: u32,
        schedule: Schedule,
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

fn any_probability() -> impl Strategy<Value = Probability> {
    (0..=1_000_000_u32).prop_map(Probability::from_ppm)
}

fn any_correlation() -> impl Strategy<Value = Correlation> {
    prop_oneof![
        Just(Correlation::NONE),
        (0..1_000_000_000_u32).prop_map(|ppb| Correlation::from_ppb(ppb).unwrap()),
    ]
}

fn any_chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        2 => Just(Chance::default()),
        1 => (any_probability(), any_correlation()).prop_map(|(probability, correlation)| Chance {
            probability,
            correlation,
        }),
    ]
}

fn any_loss() -> impl Strategy<Value = Loss> {
    let probability = any_probability;
    prop_oneof![
        any_chance().prop_map(Loss::Random),
        (probability(), probability(), probability(), probability()).prop_map(
            |(to_bad, to_good, loss_in_bad, loss_in_good)| {
                Loss::GilbertElliott(GilbertElliott {
                    to_bad,
                    to_good,
                    loss_in_bad,
                    loss_in_good,
                })
            }
        ),
    ]
}

fn any_jitter() -> impl Strategy<Value = Jitter> {
    let micros = (0..50_000_u64).prop_map(Duration::from_micros);
    let order = prop_oneof![4 => Just(Order::Kept), 1 => Just(Order::Free)];
    (micros, 0..3, any_correlation(), order).prop_map(|(spread, kind, correlation, order)| {
        let distribution = match kind {
            0 => Distribution::Uniform(spread),
            1 => Distribution::Normal(spread),
            _ => Distribution::Pareto(spread),
        };
        Jitter {
            distribution,
            correlation,
            order,
        }
    })
}

fn any_rate() -> impl Strategy<Value = Rate> {
    let queue = proptest::option::of(0..20_000_usize);
    (1_000..10_000_000_u64, queue, -50..50).prop_map(|(bits, queue_bytes, overhead_bytes)| Rate {
        overhead_bytes,
        queue_bytes,
        ..rate(bits, 0).unwrap()
    })
}

fn any_reorder() -> impl Strategy<Value = Reorder> {
    (any_chance(), 1..5_u32).prop_map(|(chance, gap)| Reorder {
        chance,
        gap: NonZeroU32::new(gap).unwrap(),
    })
}

fn any_model() -> impl Strategy<Value = PairModel> {
    let rarely = || proptest::option::weighted(0.2, any_reorder());
    (
        (0..200_000_u64).prop_map(Duration::from_micros),
        any_jitter(),
        any_loss(),
        (any_chance(), any_chance()),
        rarely(),
        proptest::option::of(any_rate()),
        proptest::option::weighted(0.2, 1..20_u32),
        proptest::option::weighted(0.2, 0..1_500_usize),
    )
        .prop_map(
            |(delay, jitter, loss, (duplicate, corrupt), reorder, rate, limit, max_bytes)| {
                PairModel {
                    delay,
                    jitter,
                    loss,
                    duplicate,
                    corrupt,
                    reorder,
                    rate,
                    limit_packets: limit.and_then(NonZeroU32::new),
                    max_bytes,
                }
            },
        )
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let micros = |max: u64| (1..max).prop_map(Duration::from_micros);
    let what = prop_oneof![
        any_model().prop_map(What::Set),
        (any_model(), micros(100_000)).prop_map(|(to, over)| What::Ramp { to, over }),
        micros(50_000).prop_map(|lasts| What::Down { lasts }),
        (micros(10_000), micros(10_000), micros(100_000))
            .prop_map(|(up, down, lasts)| What::Flap { up, down, lasts }),
    ];
    let change = (micros(200_000), what).prop_map(|(at, what)| Change { at, what });
    proptest::collection::vec(change, 0..5).prop_map(|changes| Schedule::try_new(changes).unwrap())
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
        1 => (end(), end(), any_schedule())
            .prop_map(|(from, to, schedule)| Operation::Plan { from, to, schedule }),
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
    // What was ever asked to reorder may.
    let mut reorders = BTreeSet::new();
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
                    // A copy is the same packet again.
                    assert!(
                        reorders.contains(&pair)
                            || before.is_none_or(|before| before <= delivery.payload),
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
                if reorders_at_all(&model) {
                    reorders.insert((HostId(from), HostId(to)));
                }
                t.engine.set_pair(HostId(from), HostId(to), model);
            }
            Operation::Plan { from, to, schedule } => {
                let models = schedule
                    .changes()
                    .iter()
                    .filter_map(|change| match &change.what {
                        What::Set(model) | What::Ramp { to: model, .. } => Some(model),
                        What::Down { .. } | What::Flap { .. } => None,
                    });
                if models.into_iter().any(reorders_at_all) {
                    reorders.insert((HostId(from), HostId(to)));
                }
                t.engine
                    .set_schedule(t.now, HostId(from), HostId(to), schedule);
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
            .queued
            .iter()
            .map(|(_, q)| q.bytes + PACKET_OVERHEAD_BYTES)
            .sum();
        assert_eq!(t.engine.queued_bytes, held);
        assert!(t.engine.queued_bytes_max() <= MAX_QUEUED_BYTES);
        for pair in &t.engine.pairs {
            assert!(pair.counters.is_conserved());
        }
    }
    seen
}

fn reorders_at_all(model: &PairModel) -> bool {
    model.reorder.is_some() || model.jitter.order == Order::Free
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
