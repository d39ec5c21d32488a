//! How long packets take.

use std::time::Duration;

use statrs::distribution::{ContinuousCDF, Normal, Pareto};

use super::{Check, LeansOn::Timers, Measured, as_f64, millis, nanos};
use crate::{
    model::{Distribution, Quantiles},
    verify::statistics,
};

/// Every packet takes this long: to the nanosecond on the schedule, else never less and rarely
/// more than what is allowed for lateness.
pub(in crate::verify) fn constant(delay: Duration) -> Check {
    let asked = millis(nanos(delay));
    Check::certain("delay", asked, Timers, move |run| {
        let delays = run.delays_of_arrived();
        let Some(least) = delays.iter().copied().min() else {
            return Measured::wrong("nothing arrived");
        };
        let most = run.greatest(delays).unwrap_or(least);
        let allowed = nanos(delay + run.lateness_allowed());
        let shown = if least == most {
            format!("{} of all", millis(most))
        } else {
            format!("{} to {}", millis(least), millis(most))
        };
        Measured::new(shown, least >= nanos(delay) && most <= allowed)
    })
}

/// Delays less `base` have this distribution. Of correlated ones each `thin`-th is taken, so that
/// what one has of the one before is next to nothing.
pub(in crate::verify) fn distributed(
    base: Duration,
    distribution: Distribution,
    asked: &str,
    thin: usize,
) -> Check {
    Check::random("distribution", asked, Timers, move |run| {
        let offsets = run.delays_of_arrived().into_iter().step_by(thin);
        let offsets: Vec<f64> = offsets.map(|delay| as_f64(delay - nanos(base))).collect();
        if offsets.is_empty() {
            return None;
        }
        let late = as_f64(nanos(run.lateness_allowed()));
        let cdf = |offset| probability_up_to(&distribution, offset);
        let found = statistics::kolmogorov_smirnov(offsets, late, cdf);
        Some((format!("{:.4} off", found.distance), found.p_value))
    })
}

/// How a packet's delay is correlated with that of the packet before it.
pub(in crate::verify) fn autocorrelation(expected: f64) -> Check {
    let asked = format!("{expected:.4}");
    Check::random("autocorrelation", asked, Timers, move |run| {
        let delays = run.delays_of_arrived().into_iter().map(as_f64);
        let estimate = statistics::autocorrelation(&delays.collect::<Vec<_>>())?;
        Some((format!("{:.4}", estimate.value), estimate.p_value(expected)))
    })
}

/// The probability of a difference of at most this many nanoseconds, by formulas that are not the
/// emulator's.
fn probability_up_to(distribution: &Distribution, offset: f64) -> f64 {
    let length = |length: &Duration| as_f64(nanos(*length));
    match distribution {
        Distribution::Constant => f64::from(offset >= 0.0),
        Distribution::Empirical(quantiles) => between_quantiles(quantiles, offset),
        Distribution::Normal(deviation) => Normal::new(0.0, length(deviation))
            .expect("a deviation above zero")
            .cdf(offset),
        Distribution::Pareto(deviation) => {
            // Of shape 3 and least value 1: mean 3/2, variance 3/4.
            let value = offset / length(deviation) * 0.75_f64.sqrt() + 1.5;
            let pareto = Pareto::new(1.0, 3.0).expect("scale and shape above zero");
            pareto.cdf(value)
        }
        Distribution::Uniform(spread) => ((offset / length(spread) + 1.0) / 2.0).clamp(0.0, 1.0),
    }
}

fn between_quantiles(quantiles: &Quantiles, offset: f64) -> f64 {
    let points = quantiles.points();
    let above = points.partition_point(|(_, at)| as_f64(*at) <= offset);
    if above == 0 {
        return 0.0;
    }
    let (p0, t0) = points[above - 1];
    let Some((p1, t1)) = points.get(above) else {
        return 1.0;
    };
    let share = (offset - as_f64(t0)) / as_f64(t1 - t0);
    p0.as_f64() + share * (p1.as_f64() - p0.as_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Probability;

    #[test]
    fn distribution_functions_have_the_quantiles_that_the_model_documents() {
        let ms = Duration::from_millis(10);
        let at = |distribution: Distribution, millis: f64| {
            probability_up_to(&distribution, millis * 1e6)
        };
        for (distribution, millis, probability) in [
            (Distribution::Uniform(ms), -10.0, 0.0),
            (Distribution::Uniform(ms), 5.0, 0.75),
            (Distribution::Uniform(ms), 10.1, 1.0),
            (Distribution::Normal(ms), 10.0, 0.841_345),
            (Distribution::Pareto(ms), -5.78, 0.0),
            (Distribution::Pareto(ms), 98.15, 0.999),
            (Distribution::Constant, -0.1, 0.0),
            (Distribution::Constant, 0.0, 1.0),
        ] {
            let got = at(distribution.clone(), millis);
            assert!((got - probability).abs() < 1e-5, "{distribution:?}: {got}");
        }
    }

    #[test]
    fn between_quantiles_are_straight_lines_that_end_at_their_ends() {
        let points = [(0, -1_000), (500_000, 0), (1_000_000, 4_000)];
        let points = points.map(|(ppm, nanos)| (Probability::from_ppm(ppm), nanos));
        let quantiles = Quantiles::try_new(&points).unwrap();
        for (offset, probability) in [
            (-1_001.0, 0.0),
            (-500.0, 0.25),
            (0.0, 0.5),
            (2_000.0, 0.75),
            (4_000.0, 1.0),
        ] {
            let got = between_quantiles(&quantiles, offset);
            assert!((got - probability).abs() < 1e-12, "{offset}: {got}");
        }
    }
}
