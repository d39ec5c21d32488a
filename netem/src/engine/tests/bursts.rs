use super::*;
use crate::model::{Correlation, GilbertElliott, LossTrace};

/// Which of so many packets are lost.
fn losses(seed: u64, loss: Loss, packets: usize) -> Vec<bool> {
    let model = PairModel {
        loss,
        ..PairModel::default()
    };
    let mut t = Fixture::new(seed, model);
    (0..packets).map(|_| t.delay(1).is_none()).collect()
}

fn lost(losses: &[bool]) -> usize {
    losses.iter().filter(|lost| **lost).count()
}

/// Lengths of runs of losses.
fn bursts(losses: &[bool]) -> Vec<usize> {
    losses
        .split(|lost| !lost)
        .map(<[bool]>::len)
        .filter(|packets| *packets > 0)
        .collect()
}

#[test]
fn bursts_have_the_mean_loss_and_the_mean_length_that_were_asked_for() {
    let model = GilbertElliott::try_from_means(Probability::from_ppm(20_000), 5.0).unwrap();
    let losses = losses(21, Loss::GilbertElliott(model), 500_000);
    // 2,000 bursts of 5: the loss's deviation is near 10,000 * sqrt((1 + 0.8) / 2,000 / 5) = 134 *
    // sqrt(10) packets at the most; 5 % is more than 3 of them.
    let lost = lost(&losses);
    assert!((9_300..=10_700).contains(&lost), "{lost}");
    let bursts = bursts(&losses);
    // Geometric lengths have a deviation of sqrt(20); of their mean, 0.1.
    let mean = lost as f64 / bursts.len() as f64;
    assert!(
        (mean - 5.0).abs() < 0.5,
        "{mean} in {} bursts",
        bursts.len()
    );
    // A fifth of the bursts is of one packet.
    let single = bursts.iter().filter(|packets| **packets == 1).count();
    let share = single as f64 / bursts.len() as f64;
    assert!((share - 0.2).abs() < 0.045, "{share}");
}

#[test]
fn bursts_begin_in_either_state_as_likely_as_in_the_long_run() {
    let model = GilbertElliott::try_from_means(Probability::from_ppm(300_000), 100.0).unwrap();
    let first_lost = (0..2_000)
        .filter(|seed| losses(*seed, Loss::GilbertElliott(model), 1)[0])
        .count();
    // 600 of 2,000 with a deviation of 20.5.
    assert!((498..=702).contains(&first_lost), "{first_lost}");
}

#[test]
fn both_states_lose_what_they_were_told_to() {
    let ppm = Probability::from_ppm;
    let model = GilbertElliott {
        to_bad: ppm(100_000),
        to_good: ppm(300_000),
        loss_in_bad: ppm(500_000),
        loss_in_good: ppm(10_000),
    };
    // A quarter of the time half of it, else a hundredth.
    assert!((model.mean_loss() - 0.1325).abs() < 1e-9);
    let lost = lost(&losses(22, Loss::GilbertElliott(model), 100_000));
    assert!((12_500..=14_000).contains(&lost), "{lost}");
}

#[test]
fn correlated_loss_keeps_its_mean_and_comes_in_bursts() {
    let chance = |correlation| {
        Loss::Random(Chance {
            probability: Probability::from_ppm(10_000),
            correlation: Correlation::from_ppb(correlation).unwrap(),
        })
    };
    let apart = losses(23, chance(0), 400_000);
    let near = losses(23, chance(900_000_000), 400_000);
    // 4,000 with a deviation of 63, and of about 4 times that where one drags others along.
    assert!((3_685..=4_315).contains(&lost(&apart)));
    assert!((2_800..=5_200).contains(&lost(&near)), "{}", lost(&near));
    let mean = |losses: &[bool]| lost(losses) as f64 / bursts(losses).len() as f64;
    assert!(mean(&apart) < 1.1);
    assert!(mean(&near) > 1.5, "{}", mean(&near));
}

#[test]
fn trace_is_followed_to_the_packet_and_repeated() {
    let trace = LossTrace::try_new(&[false, true, true, false, false]).unwrap();
    let losses = losses(24, Loss::Trace(trace), 12);
    let drawn: String = losses
        .iter()
        .map(|lost| if *lost { 'x' } else { '.' })
        .collect();
    assert_eq!(drawn, ".xx...xx...x");
}

#[test]
fn model_that_is_set_again_begins_its_trace_anew() {
    let traced = PairModel {
        loss: Loss::Trace(LossTrace::try_new(&[true, false, false]).unwrap()),
        ..PairModel::default()
    };
    let mut t = Fixture::new(25, traced.clone());
    assert_eq!(t.delay(1), None);
    t.engine.set_pair(A, B, traced);
    assert_eq!(t.delay(1), None);
    assert!(t.delay(1).is_some());
}
