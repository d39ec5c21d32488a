//! Models without the oddities that only this crate has.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use netem::model::{Chance, Distribution, Jitter, Loss, PairModel, Rate, Reorder};
use proptest::{option, prelude::*};

use crate::models::{gilbert_elliott, order, probability};

/// Models that tc may well have words for.
pub(crate) fn plain_model() -> impl Strategy<Value = PairModel> {
    let plain = probability().prop_map(Chance::independent);
    let micros = prop_oneof![Just(0), 0_u64..2_000_000].prop_map(Duration::from_micros);
    let distribution = prop_oneof![
        2 => Just(Distribution::Constant),
        1 => micros.clone().prop_map(Distribution::Uniform),
        1 => micros.clone().prop_map(Distribution::Normal),
    ];
    let loss = prop_oneof![
        Just(Loss::default()),
        plain.clone().prop_map(Loss::Random),
        gilbert_elliott(),
    ];
    let chance = prop_oneof![3 => Just(Chance::default()), 1 => plain.clone()];
    let reorder = (plain, 1_u32..10).prop_map(|(chance, gap)| Reorder {
        chance,
        gap: NonZeroU32::new(gap).unwrap(),
    });
    let rate = (1_u64..1 << 40, -30_i32..100).prop_map(|(bytes, overhead_bytes)| Rate {
        overhead_bytes,
        queue_bytes: None,
        ..Rate::new(NonZeroU64::new(bytes * 8).unwrap())
    });
    let delay = (micros, distribution, order());
    let chances = (loss, chance.clone(), chance, option::weighted(0.2, reorder));
    let limits = (option::of(rate), option::of(any::<NonZeroU32>()));
    (delay, chances, limits).prop_map(|(delay, chances, limits)| PairModel {
        delay: delay.0,
        jitter: Jitter {
            distribution: delay.1,
            order: delay.2,
            ..Jitter::default()
        },
        loss: chances.0,
        duplicate: chances.1,
        corrupt: chances.2,
        reorder: chances.3,
        rate: limits.0,
        limit_packets: limits.1,
        max_bytes: None,
    })
}
