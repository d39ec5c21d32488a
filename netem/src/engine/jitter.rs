//! How much a packet's delay differs from its pair's.

use std::time::Duration;

use super::{MAX_DELAY, chance::Latent, random};
use crate::{
    model::{Correlation, Distribution, Jitter},
    normal,
};

/// What stays of the last packet's jitter.
#[derive(Debug, Default)]
pub(super) struct JitterState {
    latent: Latent,
}

impl JitterState {
    /// The difference in nanoseconds, at most an hour either way.
    pub(super) fn offset(&mut self, luck: u64, jitter: &Jitter) -> i64 {
        if jitter.correlation == Correlation::NONE {
            self.latent.forget();
            return match &jitter.distribution {
                Distribution::Constant => 0,
                // Whole numbers all the way: this one is the most used.
                Distribution::Uniform(spread) => {
                    let spread = nanos(*spread);
                    random::up_to(luck, spread.unsigned_abs() * 2).cast_signed() - spread
                }
                Distribution::Normal(_) | Distribution::Pareto(_) | Distribution::Empirical(_) => {
                    quantile(&jitter.distribution, random::fraction(luck))
                }
            };
        }
        let latent = self.latent.advance(luck, jitter.correlation);
        match &jitter.distribution {
            // The hidden variable is one already.
            Distribution::Normal(deviation) => scaled(*deviation, latent),
            Distribution::Constant
            | Distribution::Empirical(_)
            | Distribution::Pareto(_)
            | Distribution::Uniform(_) => {
                quantile(&jitter.distribution, normal::probability(latent))
            }
        }
    }
}

/// The quantile of a distribution in nanoseconds; `probability` is between 0 and 1.
fn quantile(distribution: &Distribution, probability: f64) -> i64 {
    match distribution {
        Distribution::Constant => 0,
        Distribution::Empirical(quantiles) => whole(quantiles.at(probability)),
        Distribution::Normal(deviation) => scaled(*deviation, normal::quantile(probability)),
        Distribution::Pareto(deviation) => scaled(*deviation, pareto(probability)),
        Distribution::Uniform(spread) => scaled(*spread, 2.0 * probability - 1.0),
    }
}

/// The quantile of a Pareto distribution of shape 3, with a mean of zero and a deviation of one.
///
/// With a least value of 1, its quantiles are `(1 - p)^(-1/3)`, its mean is 3/2 and its variance
/// 3/4.
pub(crate) fn pareto(probability: f64) -> f64 {
    let quantile = 1.0 / libm::cbrt(1.0 - probability);
    (quantile - 1.5) / SQRT_3_4
}

#[expect(
    clippy::cast_precision_loss,
    reason = "at most an hour of nanoseconds, which is below 2^53"
)]
fn scaled(unit: Duration, by: f64) -> i64 {
    whole(nanos(unit) as f64 * by)
}

/// To the next nanosecond, within [`MAX_DELAY`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates, and is clamped to an hour anyway"
)]
fn whole(value: f64) -> i64 {
    let max = nanos(MAX_DELAY);
    (libm::round(value) as i64).clamp(-max, max)
}

/// At most an hour.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.min(MAX_DELAY).as_nanos()).expect("an hour of nanoseconds")
}

const SQRT_3_4: f64 = 0.866_025_403_784_438_6;
