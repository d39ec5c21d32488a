//! How long packets wait beyond the least delay of their direction.
//!
//! A table says of a round trip what half of its packets stay below and what nine tenths do. This
//! finds a law for one direction of which the sum of two independent draws has just these two
//! quantiles:
//!
//! 1. A direction takes a least delay and an exponential wait of mean `m`. Two such waits are
//!    Gamma(2, `m`): their median is 1.6783 `m`, their p90 3.8897 `m`. So `m` is
//!    (p90 - p50) / 2.2114, and the least delay is half of p50 less 0.8392 `m`.
//! 2. Much jitter on a short way would put that below what light needs. The least delay then stays
//!    where the caller bounds it, and a share of the packets does not wait at all, as at a queue
//!    that is idle at times (the wait of M/M/1). With the idle share `w` and `b = 1 - w`, two waits
//!    are longer than `x` means with the probability `b (1 + w + b x) exp(-x)`. Growing `w` from 0
//!    to 0.7071 takes (p90 - p50) / p50 of the sum from 1.3177 to infinity: so one `w` fits, and
//!    `m` follows. Median and p90 stay exact; what gives is the early part.
//!
//! The sums are solved by halving, with `libm` alone: every machine finds the same nanoseconds.

use std::f64::consts::FRAC_1_SQRT_2;

use super::MAX_NANOS;
use crate::model::{Probability, Quantiles};

/// What a direction adds to its least delay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    idle: Probability,
    /// Of the packets that wait.
    mean_nanos: f64,
    /// Half of the median of two waits.
    centre_nanos: u64,
}

impl Waiting {
    /// The law of which two draws have a median of at most twice `early_max` and a p90 that is
    /// `spread` above it. All are nanoseconds, at most an hour.
    pub(super) fn fit(spread: u64, early_max: u64) -> Self {
        let (wanted, room) = (as_f64(spread), as_f64(early_max));
        let always = Sum::of(0.0);
        let centre = always.scale(wanted) * always.median / 2.0;
        if centre <= room {
            return Self {
                idle: Probability::NEVER,
                mean_nanos: always.scale(wanted),
                centre_nanos: whole(centre),
            };
        }
        let idle = halve(0.0, FRAC_1_SQRT_2, |idle| {
            let sum = Sum::of(idle);
            (sum.p90 - sum.median) * 2.0 * room < wanted * sum.median
        });
        Self {
            idle: Probability::from_ppb(u32::try_from(whole(idle * 1e9)).unwrap_or(0))
                .expect("at most 0.7072"),
            mean_nanos: Sum::of(idle).scale(wanted),
            centre_nanos: early_max,
        }
    }

    /// The wait less [`Self::centre_nanos`], as quantiles.
    ///
    /// Straight lines lie above a curve that bends upwards: the mean wait is 0.6 % longer for it.
    pub(super) fn quantiles(&self) -> Quantiles {
        let centre = self.centre_nanos.cast_signed();
        let idle = self.idle.ppb();
        let busy = Probability::ALWAYS.ppb() - idle;
        let mut points = Vec::with_capacity(KNOTS_PPM.len() + 1);
        if idle > 0 {
            points.push((Probability::NEVER, -centre));
        }
        for knot_ppm in KNOTS_PPM {
            let ppb = u64::from(idle) + u64::from(busy) * u64::from(knot_ppm) / 1_000_000;
            let probability = u32::try_from(ppb).ok().and_then(Probability::from_ppb);
            let wait = whole(self.mean_nanos * unit_wait(knot_ppm)).min(MAX_NANOS);
            points.push((
                probability.expect("a share of all"),
                wait.cast_signed() - centre,
            ));
        }
        Quantiles::try_new(&points).expect("knots grow from 0 to 1, and waits with them")
    }
}

/// The quantile of an exponential wait of mean 1.
fn unit_wait(probability_ppm: u32) -> f64 {
    if probability_ppm == 1_000_000 {
        // Beyond any point the mean is 1 further: so is that of a line that ends 2 further.
        return unit_wait(LAST_CURVED_PPM) + 2.0;
    }
    -libm::log(f64::from(1_000_000 - probability_ppm) / 1e6)
}

/// Two quantiles of the sum of two waits of mean 1 with this idle share.
struct Sum {
    median: f64,
    p90: f64,
}

impl Sum {
    fn of(idle: f64) -> Self {
        let busy = 1.0 - idle;
        let exceeded = |by: f64| busy * (1.0 + idle + busy * by) * libm::exp(-by);
        Self {
            median: halve(0.0, 4.0, |x| exceeded(x) > 0.5),
            p90: halve(0.0, 4.0, |x| exceeded(x) > 0.1),
        }
    }

    /// The mean of a wait with which p90 and median are `spread` apart.
    fn scale(&self, spread: f64) -> f64 {
        spread / (self.p90 - self.median)
    }
}

/// Where `below` ends, which begins true.
fn halve(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    // Each halving is a bit; a double has 53.
    for _ in 0..53 {
        let middle = (low + high) / 2.0;
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Exact below 2^53, and an hour of nanoseconds is.
#[expect(clippy::cast_precision_loss, reason = "an hour at most")]
fn as_f64(nanos: u64) -> f64 {
    nanos as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates, and none here is negative"
)]
fn whole(value: f64) -> u64 {
    libm::round(value) as u64
}

/// Denser where the curve bends more. A printed table has the usual quantiles in it.
const KNOTS_PPM: [u32; 20] = [
    0,
    100_000,
    200_000,
    300_000,
    400_000,
    500_000,
    600_000,
    700_000,
    750_000,
    800_000,
    850_000,
    900_000,
    925_000,
    950_000,
    970_000,
    980_000,
    990_000,
    995_000,
    LAST_CURVED_PPM,
    1_000_000,
];

/// One packet in a thousand is on the last line.
const LAST_CURVED_PPM: u32 = 999_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_exponential_waits_have_the_quantiles_of_a_gamma_distribution() {
        let sum = Sum::of(0.0);
        assert!((sum.median - 1.678_346_990_016_661).abs() < 1e-12);
        assert!((sum.p90 - 3.889_720_169_867_429).abs() < 1e-12);
    }

    #[test]
    fn the_more_is_idle_the_wider_is_the_spread_against_the_median() {
        let ratio = |idle| {
            let sum = Sum::of(idle);
            (sum.p90 - sum.median) / sum.median
        };
        let mut last = 1.317;
        for step in 0..=70 {
            let next = ratio(f64::from(step) / 100.0);
            assert!(next > last, "{step}: {next} after {last}");
            last = next;
        }
        assert!(last > 70.0, "{last}");
    }

    #[test]
    fn the_early_part_shrinks_once_it_has_no_room_and_not_before() {
        let centre = Waiting::fit(2_211_373, u64::MAX).centre_nanos;
        assert_eq!(centre, 839_173);
        let roomy = Waiting::fit(2_211_373, centre + 1);
        assert_eq!(
            (roomy.idle, roomy.centre_nanos),
            (Probability::NEVER, centre)
        );
        let tight = Waiting::fit(2_211_373, 500_000);
        assert!(tight.idle > Probability::from_ppm(200_000), "{tight:?}");
        assert_eq!(tight.quantiles().points()[0].1, -500_000);
    }

    #[test]
    fn without_any_room_packets_are_only_ever_late() {
        let waiting = Waiting::fit(10_000_000, 0);
        assert_eq!(waiting.idle.ppb(), 707_106_781);
        assert_eq!(waiting.quantiles().points()[1].1, 0);
    }

    #[test]
    fn the_widest_spread_stays_within_an_hour() {
        let quantiles = Waiting::fit(MAX_NANOS, 0).quantiles();
        let last = quantiles.points().last().unwrap().1;
        assert_eq!(last, MAX_NANOS.cast_signed());
    }

    #[test]
    fn lines_between_the_points_lengthen_the_mean_by_no_more_than_is_said() {
        let quantiles = Waiting::fit(2_211_373_000, u64::MAX).quantiles();
        let points = quantiles.points();
        let mean: f64 = points
            .windows(2)
            .map(|pair| {
                let width = pair[1].0.as_f64() - pair[0].0.as_f64();
                width * as_f64((pair[0].1 + pair[1].1 + 2 * 839_173_000).cast_unsigned()) / 2.0
            })
            .sum();
        assert!((1.0..1.006).contains(&(mean / 1e9)), "{mean}");
    }
}
