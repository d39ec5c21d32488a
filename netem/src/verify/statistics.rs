//! Tests of what was measured against what was asked for. Pure.
//!
//! Each gives the probability that a right source gives something at least this far off; what is
//! below [`ALPHA`] is taken for wrong.

use statrs::distribution::{Binomial, ChiSquared, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

#[cfg(test)]
mod tests;

/// How often each test calls a right source wrong. With some twenty of them a run of all is wrong
/// about one right emulator in five hundred; with a fixed seed, always or never.
pub const ALPHA: f64 = 1e-4;

/// Whether `hits` of `trials` are too few or too many for something that happens to each by itself
/// with this probability, 0 to 1.
///
/// Exact while the variance is below [`EXACT_VARIANCE`], else by the normal distribution.
pub(super) fn binomial(hits: u64, trials: u64, probability: f64) -> f64 {
    let variance = as_f64(trials) * probability * (1.0 - probability);
    if variance >= EXACT_VARIANCE {
        return share(hits, trials, probability, 1.0);
    }
    let binomial = Binomial::new(probability, trials).expect("a probability is from 0 to 1");
    let at_most = binomial.cdf(hits);
    // P(X >= hits) = P(X > hits - 1).
    let at_least = hits.checked_sub(1).map_or(1.0, |below| binomial.sf(below));
    (2.0 * at_most.min(at_least)).min(1.0)
}

/// As [`binomial`], where one trial's luck follows that of others and so multiplies the variance
/// of the sum by `inflation`. By the normal distribution.
pub(super) fn share(hits: u64, trials: u64, probability: f64, inflation: f64) -> f64 {
    let variance = as_f64(trials) * probability * (1.0 - probability) * inflation;
    let distance = (as_f64(hits) - as_f64(trials) * probability).abs();
    // A whole number is away from its neighbours by one, hence the half.
    two_sided((distance - 0.5).max(0.0) / variance.sqrt())
}

/// How far the samples are from a distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct KolmogorovSmirnov {
    /// The greatest distance between the two distribution functions.
    pub(super) distance: f64,
    pub(super) p_value: f64,
}

/// The test of Kolmogorov and Smirnov, by the limit for many samples with Stephens' correction.
///
/// `late` is by how much all but a hundredth of the samples may exceed what was drawn: the samples'
/// distribution function must then lie between that of `cdf` and the same moved by `late`, less the
/// hundredth. Zero demands the distribution itself.
///
/// Sources: M. A. Stephens, "EDF Statistics for Goodness of Fit and Some Comparisons", JASA 69
/// (1974).
pub(super) fn kolmogorov_smirnov(
    mut samples: Vec<f64>,
    late: f64,
    cdf: impl Fn(f64) -> f64,
) -> KolmogorovSmirnov {
    samples.sort_by(f64::total_cmp);
    let count = index_as_f64(samples.len());
    let later_still = if late > 0.0 { 0.01 } else { 0.0 };
    let mut distance = 0.0_f64;
    for (index, sample) in samples.iter().enumerate() {
        let (below, up_to) = (index_as_f64(index) / count, index_as_f64(index + 1) / count);
        let too_early = up_to - cdf(*sample);
        let too_late = cdf(sample - late) - later_still - below;
        distance = distance.max(too_early).max(too_late);
    }
    let root = count.sqrt();
    KolmogorovSmirnov {
        distance,
        p_value: kolmogorov((root + 0.12 + 0.11 / root) * distance),
    }
}

/// How well run lengths fit a geometric distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct GeometricFit {
    pub(super) mean: f64,
    pub(super) p_value: f64,
}

/// The chi-square test of run lengths, 1 or more each, against a run that goes on after each packet
/// with the probability `goes_on`.
///
/// Lengths are merged into cells in which at least [`MIN_EXPECTED`] runs are expected each. `None`
/// if there are too few for two cells.
pub(super) fn geometric_fit(lengths: &[u64], goes_on: f64) -> Option<GeometricFit> {
    let runs = index_as_f64(lengths.len());
    let mean = as_f64(lengths.iter().sum()) / runs;
    let mut statistic = 0.0;
    let mut cells = 0_u32;
    // The cell that is being filled: from this length on, which this share of runs reaches.
    let (mut from, mut reach) = (1, 1.0);
    for length in 1..=lengths.iter().copied().max().unwrap_or(0) {
        // `length` runs from 1, so this is the share that goes beyond it.
        let beyond = goes_on.powf(as_f64(length));
        let is_full = runs * (reach - beyond) >= MIN_EXPECTED;
        // What is left must fill a cell too.
        if !is_full || runs * beyond < MIN_EXPECTED {
            continue;
        }
        statistic += cell(lengths, from..=length, runs * (reach - beyond));
        cells += 1;
        (from, reach) = (length + 1, beyond);
    }
    statistic += cell(lengths, from..=u64::MAX, runs * reach);
    // One degree of freedom less than there are cells, and so none with the last one alone.
    let distribution = ChiSquared::new(f64::from(cells)).ok()?;
    Some(GeometricFit {
        mean,
        p_value: distribution.sf(statistic),
    })
}

fn cell(lengths: &[u64], range: std::ops::RangeInclusive<u64>, expected: f64) -> f64 {
    let observed = lengths
        .iter()
        .filter(|length| range.contains(length))
        .count();
    (index_as_f64(observed) - expected).powi(2) / expected
}

/// A value that was estimated from a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) standard_error: f64,
}

impl Estimate {
    /// How likely a right source is at least this far from `expected`.
    pub(super) fn p_value(&self, expected: f64) -> f64 {
        let t = (self.value - expected).abs() / self.standard_error;
        let freedom = index_as_f64(BLOCKS - 1);
        let student = StudentsT::new(0.0, 1.0, freedom).expect("freedom above zero");
        2.0 * student.sf(t)
    }
}

/// The correlation of each value with the one before it.
///
/// Its standard error is the jackknife's: how much the estimate moves as each of [`BLOCKS`] blocks
/// is left out. That holds for any series that forgets within a block, normal or not. `None` if
/// the values are too few or all alike.
pub(super) fn autocorrelation(values: &[f64]) -> Option<Estimate> {
    if values.len() < 2 * BLOCKS {
        return None;
    }
    let mean = values.iter().sum::<f64>() / index_as_f64(values.len());
    let (mut products, mut squares) = ([0.0; BLOCKS], [0.0; BLOCKS]);
    for (index, pair) in values.windows(2).enumerate() {
        let block = index * BLOCKS / values.len();
        products[block] += (pair[0] - mean) * (pair[1] - mean);
        squares[block] += (pair[0] - mean).powi(2);
    }
    let (product, square): (f64, f64) = (products.iter().sum(), squares.iter().sum());
    let without = |block: usize| (product - products[block]) / (square - squares[block]);
    let centre = (0..BLOCKS).map(without).sum::<f64>() / index_as_f64(BLOCKS);
    let spread: f64 = (0..BLOCKS)
        .map(|block| (without(block) - centre).powi(2))
        .sum();
    let standard_error = (spread * index_as_f64(BLOCKS - 1) / index_as_f64(BLOCKS)).sqrt();
    (standard_error > 0.0).then(|| Estimate {
        value: product / square,
        standard_error,
    })
}

/// The probability that two standard normal variables of this correlation, 0 to below 1, are both
/// below the quantile of `probability`.
///
/// Integrated with Simpson's rule over the correlation, which is Plackett's formula.
///
/// Sources: R. L. Plackett, "A reduction formula for normal multivariate integrals", Biometrika 41
/// (1954).
pub(super) fn both(probability: f64, correlation: f64) -> f64 {
    let threshold = standard_normal().inverse_cdf(probability);
    let density = |r: f64| {
        (-threshold * threshold / (1.0 + r)).exp() / (std::f64::consts::TAU * (1.0 - r * r).sqrt())
    };
    let width = correlation / f64::from(SIMPSON_STEPS);
    let sum: f64 = (0..SIMPSON_STEPS)
        .map(|step| {
            let left = f64::from(step) * width;
            density(left) + 4.0 * density(left + width / 2.0) + density(left + width)
        })
        .sum();
    probability * probability + sum * width / 6.0
}

/// The probability to be at least this many standard deviations away, on either side.
fn two_sided(deviations: f64) -> f64 {
    2.0 * standard_normal().sf(deviations)
}

fn standard_normal() -> Normal {
    Normal::new(0.0, 1.0).expect("a deviation above zero")
}

/// The limit of the probability that the scaled distance is at least this.
fn kolmogorov(scaled: f64) -> f64 {
    // The series needs ever more terms towards zero, where the probability is 1 to ten digits.
    if scaled < 0.3 {
        return 1.0;
    }
    let sum: f64 = (1..=20)
        .map(|term| {
            let sign = if term % 2 == 1 { 1.0 } else { -1.0 };
            sign * (-2.0 * (f64::from(term) * scaled).powi(2)).exp()
        })
        .sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

/// Counts of packets are exact far beyond what fits into memory.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn index_as_f64(index: usize) -> f64 {
    index as f64
}

/// Where exact tails stop to differ from normal ones in a way that matters at [`ALPHA`], and well
/// before the continued fraction behind the exact ones needs more terms than it is given.
const EXACT_VARIANCE: f64 = 1_000.0;

/// The usual least for the chi-square distribution to hold.
const MIN_EXPECTED: f64 = 5.0;

/// Enough for the error of the standard error to be a tenth of it, and few enough for blocks to be
/// longer than what they remember.
const BLOCKS: usize = 32;

/// The integrand is smooth: the error is below 1e-9 for correlations up to 0.9.
const SIMPSON_STEPS: u32 = 200;
