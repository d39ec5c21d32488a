//! Delays and how they vary.
//!
//! Distributions are measured with `Order::Free`, where each packet shows its own delay, or with
//! packets further apart than the spread, where order changes nothing.

use std::time::Duration;

use super::{BASE, Case, ms, regular, steady};
use crate::{
    model::{Correlation, Distribution, Jitter, Order, PairModel, Probability, Quantiles},
    verify::{
        checks::{Check, delay, order},
        ground::Time,
    },
};

pub(super) fn cases(time: Time) -> Vec<Case> {
    let constant = Duration::from_nanos(40_123_456);
    let quantiles = Distribution::Empirical(quantiles());
    vec![
        Case::new(
            "delay 40.123456ms",
            PairModel::delayed(constant),
            steady(time),
            vec![delay::constant(constant), order::kept()],
        ),
        free(
            time,
            "uniform 40ms ±10ms",
            Distribution::Uniform(ms(10)),
            "uniform",
        ),
        free(
            time,
            "normal 40ms ±5ms",
            Distribution::Normal(ms(5)),
            "normal",
        ),
        free(
            time,
            "pareto 40ms ±20ms",
            Distribution::Pareto(ms(20)),
            "Pareto, shape 3",
        ),
        free(time, "empirical 40ms", quantiles, "the quantiles"),
        spaced(time),
        dense(time),
        correlated(time),
    ]
}

/// Each packet arrives when its own delay says, and some overtake.
fn free(time: Time, name: &'static str, distribution: Distribution, asked: &str) -> Case {
    let check = delay::distributed(CENTRE, distribution.clone(), asked, 1);
    Case::new(
        name,
        jittered(distribution, Order::Free),
        steady(time),
        vec![check],
    )
}

/// In order, and so far apart that order changes nothing.
fn spaced(time: Time) -> Case {
    let spread = Distribution::Uniform(ms(4));
    let packets = match time {
        Time::Real => 1_000,
        Time::Virtual => 20_000,
    };
    let checks = vec![
        delay::distributed(CENTRE, spread.clone(), "uniform", 1),
        order::kept(),
    ];
    let model = jittered(spread, Order::Kept);
    Case::new(
        "uniform 40ms ±4ms, in order",
        model,
        regular(packets, ms(10)),
        checks,
    )
}

/// In order, and so close together that most would overtake.
fn dense(time: Time) -> Case {
    let model = jittered(Distribution::Uniform(ms(20)), Order::Kept);
    Case::new(
        "uniform 40ms ±20ms, in order",
        model,
        steady(time),
        vec![order::kept()],
    )
}

/// Delays that follow each other. Uniform, as that is what kernel netem shrinks.
fn correlated(time: Time) -> Case {
    let spread = Distribution::Uniform(ms(10));
    let correlation = Correlation::from_ppb(500_000_000).expect("below 1");
    // The ranks of two normal variables of correlation r have 6 / pi * asin(r / 2).
    let of_ranks = 6.0 / std::f64::consts::PI * (correlation.as_f64() / 2.0).asin();
    let mut model = jittered(spread.clone(), Order::Free);
    model.jitter.correlation = correlation;
    let checks: Vec<Check> = vec![
        // 0.5^16 is 0.00002: what is left of one packet in the next that is looked at.
        delay::distributed(CENTRE, spread, "uniform", 16),
        delay::autocorrelation(of_ranks),
    ];
    Case::new("uniform 40ms ±10ms 50%", model, steady(time), checks)
}

fn jittered(distribution: Distribution, order: Order) -> PairModel {
    PairModel {
        jitter: Jitter {
            distribution,
            order,
            ..Jitter::default()
        },
        ..PairModel::delayed(CENTRE)
    }
}

/// What a measured path may look like: narrow around its median, with a tail.
fn quantiles() -> Quantiles {
    let points = [
        (0, -8_000_000),
        (500_000, -1_000_000),
        (900_000, 3_000_000),
        (990_000, 12_000_000),
        (1_000_000, 40_000_000),
    ];
    let points = points.map(|(ppm, nanos)| (Probability::from_ppm(ppm), nanos));
    Quantiles::try_new(&points).expect("sorted, from 0 to 1")
}

/// Far enough from zero for every distribution here but for one normal packet in 10^15.
const CENTRE: Duration = Duration::from_millis(BASE.as_millis() as u64 * 4);
