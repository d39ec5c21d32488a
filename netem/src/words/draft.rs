//! A draft becomes a model.

use std::{num::NonZeroU32, time::Duration};

use super::{
    error::WordsFault,
    options::{Draft, Shape},
};
use crate::model::{Correlation, Distribution, Jitter, Order, PairModel, Rate, Reorder};

impl Draft {
    /// The model: what was said, on top of `base`.
    ///
    /// A word replaces all that it governs: `delay` the jitter too, `rate` the queue too.
    ///
    /// # Errors
    /// Options that do not go together: the one that is wrong, and why.
    pub(super) fn model(self, base: PairModel) -> Result<PairModel, Contradiction> {
        let jitter = self.jitter(base.jitter)?;
        let reorder = match (self.reorder, base.reorder) {
            (Some(chance), _) => Some(Reorder {
                chance,
                gap: self.gap.unwrap_or(NonZeroU32::MIN),
            }),
            (None, Some(base)) => Some(Reorder {
                gap: self.gap.unwrap_or(base.gap),
                ..base
            }),
            (None, None) if self.gap.is_some() => {
                return Err(("gap", WordsFault::Misplaced("needs a reorder")));
            }
            (None, None) => None,
        };
        let rate = match (self.rate, base.rate) {
            (Some(bits), _) => Some(Rate {
                queue_bytes: match (self.queue, self.limit) {
                    (Some(queue), _) => queue,
                    (None, Some(_)) => None,
                    (None, None) => Rate::new(bits).queue_bytes,
                },
                overhead_bytes: self.overhead.unwrap_or(0),
                ..Rate::new(bits)
            }),
            (None, Some(base)) => Some(Rate {
                queue_bytes: self.queue.unwrap_or(base.queue_bytes),
                overhead_bytes: self.overhead.unwrap_or(base.overhead_bytes),
                ..base
            }),
            (None, None) if self.queue.is_some() => {
                return Err(("queue", WordsFault::Misplaced("needs a rate to wait for")));
            }
            (None, None) if self.overhead.is_some() => {
                return Err(("overhead", WordsFault::Misplaced("needs a rate")));
            }
            (None, None) => None,
        };
        Ok(PairModel {
            delay: self.delay.unwrap_or(base.delay),
            jitter,
            loss: self.loss.unwrap_or(base.loss),
            duplicate: self.duplicate.unwrap_or(base.duplicate),
            corrupt: self.corrupt.unwrap_or(base.corrupt),
            reorder,
            rate,
            limit_packets: self.limit.or(base.limit_packets),
            max_bytes: self.max_bytes.or(base.max_bytes),
        })
    }

    fn jitter(&self, base: Jitter) -> Result<Jitter, Contradiction> {
        let misplaced = |option, why| Err((option, WordsFault::Misplaced(why)));
        let order = if self.unordered {
            Order::Free
        } else {
            base.order
        };
        if let Some(quantiles) = &self.quantiles {
            if self.jitter.is_some() || self.shape.is_some() {
                return misplaced(
                    "quantiles",
                    "stand in place of a jitter and its distribution",
                );
            }
            return Ok(Jitter {
                distribution: Distribution::Empirical(quantiles.clone()),
                correlation: self.correlation.unwrap_or(Correlation::NONE),
                order,
            });
        }
        let is_new = self.delay.is_some() || self.jitter.is_some();
        let base = if is_new { Jitter::default() } else { base };
        let spread = self.jitter.or_else(|| spread(&base.distribution));
        if self.correlation.is_some() && spread.is_none() {
            return misplaced("correlation", "needs a jitter");
        }
        let distribution = match (self.shape, spread) {
            (None, _) if self.jitter.is_none() => base.distribution,
            (None | Some(Shape::Uniform), Some(spread)) => Distribution::Uniform(spread),
            (Some(Shape::Normal), Some(spread)) => Distribution::Normal(spread),
            (Some(Shape::Pareto), Some(spread)) => Distribution::Pareto(spread),
            (Some(Shape::Constant), Some(spread)) if !spread.is_zero() => {
                return misplaced("distribution", "a constant delay has a jitter of 0");
            }
            (Some(Shape::Constant), _) => Distribution::Constant,
            (_, None) => return misplaced("distribution", "needs a jitter"),
        };
        Ok(Jitter {
            distribution,
            correlation: self.correlation.unwrap_or(base.correlation),
            order,
        })
    }
}

/// An option, and why it cannot be where it is.
pub(super) type Contradiction = (&'static str, WordsFault);

/// The jitter that was asked for, where it is one number.
pub(super) fn spread(distribution: &Distribution) -> Option<Duration> {
    match distribution {
        Distribution::Constant | Distribution::Empirical(_) => None,
        Distribution::Normal(spread)
        | Distribution::Pareto(spread)
        | Distribution::Uniform(spread) => Some(*spread),
    }
}
