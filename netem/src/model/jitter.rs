//! How delays vary.

use std::{sync::Arc, time::Duration};

use super::{Correlation, Probability};

/// How each packet's delay differs from the pair's.
///
/// A packet's delay is never below zero, and never above an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jitter {
    /// What the difference is drawn from.
    pub distribution: Distribution,
    /// How much of it stays from one packet to the next.
    pub correlation: Correlation,
    /// Whether a packet that is faster than the one before it overtakes it.
    pub order: Order,
}

impl Jitter {
    /// Uniform within `spread` on either side, in order.
    pub fn uniform(spread: Duration) -> Self {
        Self {
            distribution: Distribution::Uniform(spread),
            ..Self::default()
        }
    }
}

/// What the difference from the pair's delay is drawn from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Distribution {
    /// No difference.
    #[default]
    Constant,
    /// Any quantiles.
    Empirical(Quantiles),
    /// Normal with this standard deviation.
    Normal(Duration),
    /// Pareto of shape 3, moved and scaled to a mean of zero and this standard deviation: at the
    /// least 0.577 of it early, and one packet in a thousand more than 9.8 of it late.
    Pareto(Duration),
    /// Uniform within this on either side.
    Uniform(Duration),
}

/// What jitter does to the order of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Packets stay in order: one that would overtake arrives together with the one before it, so
    /// packets that are closer together than the jitter see less of it, and later.
    #[default]
    Kept,
    /// Each packet arrives when its own delay says.
    Free,
}

/// A distribution of differences in time by its quantiles, straight lines between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantiles {
    points: Arc<[(Probability, i64)]>,
}

impl Quantiles {
    /// From points of probability and nanoseconds; below zero is earlier than the pair's delay.
    ///
    /// # Errors
    /// Unless there are 2 to [`Self::MAX_POINTS`] points, the first at probability 0, the last at
    /// 1, probabilities growing, times not falling and none beyond an hour.
    pub fn try_new(points: &[(Probability, i64)]) -> Result<Self, QuantilesError> {
        if points.len() < 2 || points.len() > Self::MAX_POINTS {
            return Err(QuantilesError::Count { got: points.len() });
        }
        let ends = (points[0].0, points[points.len() - 1].0);
        if ends != (Probability::NEVER, Probability::ALWAYS) {
            return Err(QuantilesError::Ends);
        }
        if points
            .iter()
            .any(|(_, nanos)| nanos.unsigned_abs() > MAX_NANOS)
        {
            return Err(QuantilesError::Range);
        }
        if points
            .windows(2)
            .any(|pair| pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1)
        {
            return Err(QuantilesError::Order);
        }
        Ok(Self {
            points: points.into(),
        })
    }

    /// The points, in the order of their probabilities.
    pub fn points(&self) -> &[(Probability, i64)] {
        &self.points
    }

    /// The quantile at `probability`, 0 to 1, in nanoseconds.
    pub fn at(&self, probability: f64) -> f64 {
        let after = self
            .points
            .partition_point(|(at, _)| at.as_f64() <= probability)
            .clamp(1, self.points.len() - 1);
        let ((p0, t0), (p1, t1)) = (self.points[after - 1], self.points[after]);
        let share = (probability - p0.as_f64()) / (p1.as_f64() - p0.as_f64());
        as_f64(t0) + share * (as_f64(t1) - as_f64(t0))
    }

    /// More than any table of measurements has, and few enough to print.
    pub const MAX_POINTS: usize = 1_000;
}

/// Why points are no quantiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantilesError {
    /// Too few or too many.
    #[error("{got} quantiles, must be 2 to {}", Quantiles::MAX_POINTS)]
    Count {
        /// How many.
        got: usize,
    },
    /// The distribution has no least or no greatest value.
    #[error("quantiles must begin at 0% and end at 100%")]
    Ends,
    /// Not sorted.
    #[error("quantiles must have growing probabilities and times that do not fall")]
    Order,
    /// Beyond what any delay can be.
    #[error("a quantile is more than an hour")]
    Range,
}

const MAX_NANOS: u64 = 3_600_000_000_000;

/// Exact for what [`Quantiles`] takes: an hour is less than 2^53 ns.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most an hour of nanoseconds, which is below 2^53"
)]
fn as_f64(nanos: i64) -> f64 {
    nanos as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: &[(u32, i64)]) -> Result<Quantiles, QuantilesError> {
        let points: Vec<_> = points
            .iter()
            .map(|&(ppm, nanos)| (Probability::from_ppm(ppm), nanos))
            .collect();
        Quantiles::try_new(&points)
    }

    #[test]
    fn quantiles_are_met_at_their_points_and_on_straight_lines_between() {
        let quantiles =
            points(&[(0, -100), (500_000, 0), (900_000, 400), (1_000_000, 400)]).unwrap();
        for (probability, nanos) in [
            (0.0, -100.0),
            (0.25, -50.0),
            (0.5, 0.0),
            (0.7, 200.0),
            (0.95, 400.0),
            (1.0, 400.0),
        ] {
            let got = quantiles.at(probability);
            assert!((got - nanos).abs() < 1e-6, "{probability}: {got}");
        }
    }

    #[test]
    fn points_that_are_no_distribution_are_refused() {
        use QuantilesError::{Count, Ends, Order, Range};
        assert_eq!(points(&[(0, 0)]), Err(Count { got: 1 }));
        assert_eq!(points(&[(1, 0), (1_000_000, 1)]), Err(Ends));
        assert_eq!(points(&[(0, 0), (999_999, 1)]), Err(Ends));
        assert_eq!(points(&[(0, 2), (1_000_000, 1)]), Err(Order));
        let twice = [(0, 0), (5, 0), (5, 1), (1_000_000, 1)];
        assert_eq!(points(&twice), Err(Order));
        let hour = 3_600_000_000_000;
        assert!(points(&[(0, -hour), (1_000_000, hour)]).is_ok());
        assert_eq!(points(&[(0, 0), (1_000_000, hour + 1)]), Err(Range));
    }
}
