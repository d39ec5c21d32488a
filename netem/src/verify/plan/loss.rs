//! Which packets are lost.

use super::{BASE, Case, steady};
use crate::{
    model::{Chance, Correlation, GilbertElliott, Loss, LossTrace, PairModel, Probability},
    verify::{
        checks::{Check, loss},
        ground::Time,
        statistics,
    },
};

pub(super) fn cases(time: Time) -> Vec<Case> {
    let case = |name, model, checks| {
        let model = PairModel {
            loss: model,
            ..PairModel::delayed(BASE)
        };
        Case::new(name, model, steady(time), checks)
    };
    vec![
        case(
            "loss 1%",
            Loss::from_ppm(10_000),
            vec![loss::independent(0.01)],
        ),
        case(
            "loss 20%",
            Loss::from_ppm(200_000),
            vec![loss::independent(0.2), loss::bursts(0.2)],
        ),
        {
            let (model, mut checks) = correlated(10_000, 250_000_000);
            // Of 5,000 packets, two or so are lost after a lost one: too few for an estimate.
            if time == Time::Real {
                checks.pop();
            }
            case("loss 1% 25%", model, checks)
        },
        {
            let (model, checks) = correlated(100_000, 500_000_000);
            case("loss 10% 50%", model, checks)
        },
        {
            let (model, checks) = gilbert();
            case("loss 20%, bursts of 5", model, checks)
        },
        {
            let (model, checks) = gilbert_elliott();
            case("gemodel 2% 20% 50% 0.5%", model, checks)
        },
        {
            let (model, checks) = trace();
            case("loss trace of 1,000", model, checks)
        },
    ]
}

/// Luck that goes on: the hidden normal variables of two packets `k` apart are correlated by
/// `correlation^k`.
fn correlated(ppm: u32, correlation_ppb: u32) -> (Loss, Vec<Check>) {
    let chance = Chance {
        probability: Probability::from_ppm(ppm),
        correlation: Correlation::from_ppb(correlation_ppb).expect("below 1"),
    };
    let probability = chance.probability.as_f64();
    let correlation_of_losses = |apart: i32| {
        let both = statistics::both(probability, chance.correlation.as_f64().powi(apart));
        (both - probability.powi(2)) / (probability * (1.0 - probability))
    };
    // Further apart, 0.5^40 is left at the most.
    let inflation = 1.0 + 2.0 * (1..=40).map(correlation_of_losses).sum::<f64>();
    let checks = vec![
        loss::correlated(probability, inflation),
        loss::autocorrelation(correlation_of_losses(1)),
    ];
    (Loss::Random(chance), checks)
}

/// By means. A run of losses goes on unless the bad state is left, with 1 / 5. Four packets arrive
/// for each that is lost, so the state is entered with a quarter of that.
fn gilbert() -> (Loss, Vec<Check>) {
    let mean = Probability::from_ppm(200_000);
    let model = GilbertElliott::try_from_means(mean, 5.0).expect("20 % allow bursts of 5");
    let sum = sum_of_correlations(1.0, 1.0 - 0.05 - 0.2);
    let checks = vec![loss::correlated(0.2, 1.0 + 2.0 * sum), loss::bursts(0.8)];
    (Loss::GilbertElliott(model), checks)
}

/// By its four parameters.
fn gilbert_elliott() -> (Loss, Vec<Check>) {
    let (p, r, lost_in_bad, lost_in_good) = (0.02, 0.2, 0.5, 0.005);
    let model = GilbertElliott {
        to_bad: Probability::from_ppm(20_000),
        to_good: Probability::from_ppm(200_000),
        loss_in_bad: Probability::from_ppm(500_000),
        loss_in_good: Probability::from_ppm(5_000),
    };
    let in_bad = p / (p + r);
    let mean = in_bad * lost_in_bad + (1.0 - in_bad) * lost_in_good;
    // What the variance of a packet's loss owes to the state, which is what others share.
    let of_state = in_bad * (1.0 - in_bad) * f64::powi(lost_in_bad - lost_in_good, 2);
    let share = of_state / (mean * (1.0 - mean));
    let kept = 1.0 - p - r;
    let checks = vec![
        loss::correlated(mean, 1.0 + 2.0 * sum_of_correlations(share, kept)),
        loss::autocorrelation(share * kept),
    ];
    (Loss::GilbertElliott(model), checks)
}

/// The sum of a packet's correlations with all that follow: `share * kept` with the next, of which
/// `kept` stays with each one more.
fn sum_of_correlations(share: f64, kept: f64) -> f64 {
    share * kept / (1.0 - kept)
}

/// A trace whose losses no shift of it repeats.
fn trace() -> (Loss, Vec<Check>) {
    let is_square = |index: u32| index.isqrt().pow(2) == index;
    let lost: Vec<bool> = (0..TRACE_PACKETS).map(is_square).collect();
    let trace = LossTrace::try_new(&lost).expect("a thousand packets");
    let check = loss::exactly("lost", "those at squares", move |sequence| {
        Some(is_square(sequence % TRACE_PACKETS))
    });
    (Loss::Trace(trace), vec![check])
}

const TRACE_PACKETS: u32 = 1_000;
