use super::*;
use crate::model::{Correlation, Distribution, Quantiles};

#[test]
fn jitter_stays_within_its_span_reaches_both_ends_and_centres_on_the_delay() {
    let model = PairModel {
        jitter: Jitter::uniform(ms(10)),
        ..PairModel::delayed(ms(50))
    };
    let mut t = Fixture::new(3, model);
    let mut delays = Vec::new();
    for _ in 0..10_000 {
        delays.push(t.delay(1).unwrap());
        // Further apart than the span, so that keeping order changes nothing.
        t.now += ms(100);
    }
    let (least, most) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    assert!(least >= ms(40) && least < Duration::from_micros(40_020));
    assert!(most <= ms(60) && most > Duration::from_micros(59_980));
    // The mean of 10,000 has a standard deviation of 10 ms / sqrt(3 * 10,000) = 58 us; 5 of them.
    let mean = delays.iter().sum::<Duration>() / 10_000;
    assert!(
        mean.abs_diff(ms(50)) < Duration::from_micros(290),
        "{mean:?}"
    );
}

#[test]
fn jitter_above_the_delay_never_goes_back_in_time() {
    let model = PairModel {
        jitter: Jitter::uniform(ms(10)),
        ..PairModel::delayed(ms(1))
    };
    let mut t = Fixture::new(3, model);
    let mut at_once = 0;
    for _ in 0..1_000 {
        let delay = t.delay(1).unwrap();
        assert!(delay <= ms(11));
        at_once += u32::from(delay.is_zero());
        t.now += ms(100);
    }
    // 9 of 20 parts are cut off at zero; 5 standard deviations are 79.
    assert!((371..=529).contains(&at_once), "{at_once}");
}

/// Delays of packets that are too far apart to meet.
fn delays(seed: u64, jitter: Jitter, packets: usize) -> Vec<Duration> {
    let model = PairModel {
        jitter,
        ..PairModel::delayed(ms(50))
    };
    let mut t = Fixture::new(seed, model);
    let mut delays = Vec::new();
    for _ in 0..packets {
        delays.push(t.delay(1).unwrap());
        t.now += Duration::from_secs(10);
    }
    delays
}

fn drawn_from(distribution: Distribution) -> Jitter {
    Jitter {
        distribution,
        ..Jitter::default()
    }
}

fn every_distribution() -> [(Distribution, [u64; 3]); 4] {
    let points = [(0, -10), (500_000, 0), (900_000, 10), (1_000_000, 30)].map(|(ppm, millis)| {
        let nanos = millis * 1_000_000;
        (Probability::from_ppm(ppm), nanos)
    });
    // With each, the delays in us that a tenth, a half and nine tenths of the packets have at most.
    [
        (Distribution::Uniform(ms(10)), [42_000, 50_000, 58_000]),
        (Distribution::Normal(ms(10)), [37_184, 50_000, 62_816]),
        // ((1 - p)^(-1/3) - 1.5) / sqrt(0.75) deviations from the mean.
        (Distribution::Pareto(ms(10)), [44_639, 47_228, 57_557]),
        (
            Distribution::Empirical(Quantiles::try_new(&points).unwrap()),
            [42_000, 50_000, 60_000],
        ),
    ]
}

#[test]
fn each_distribution_has_its_quantiles_with_and_without_correlation() {
    for (distribution, expected) in every_distribution() {
        for correlation in [0, 500_000_000] {
            let jitter = Jitter {
                distribution: distribution.clone(),
                correlation: Correlation::from_ppb(correlation).unwrap(),
                order: Order::Kept,
            };
            let delays = delays(11, jitter, 40_000);
            for (share, expected) in [0.1, 0.5, 0.9].into_iter().zip(expected) {
                let most = Duration::from_micros(expected);
                let got = delays.iter().filter(|delay| **delay <= most).count();
                // Correlation leaves as much information as a third of the packets: a deviation
                // of 0.0043 at the median. 4 of them.
                let off = got as f64 / delays.len() as f64 - share;
                assert!(off.abs() < 0.017, "{distribution:?} at {share}: {off}");
            }
        }
    }
}

#[test]
fn correlated_jitter_has_the_correlation_that_was_asked_for() {
    let jitter = Jitter {
        correlation: Correlation::from_ppb(700_000_000).unwrap(),
        ..drawn_from(Distribution::Normal(ms(5)))
    };
    let offsets: Vec<f64> = delays(12, jitter, 40_000)
        .iter()
        .map(|delay| delay.as_secs_f64() - 0.05)
        .collect();
    let variance: f64 = offsets.iter().map(|x| x * x).sum();
    let covariance: f64 = offsets.windows(2).map(|pair| pair[0] * pair[1]).sum();
    // Its deviation is sqrt((1 - 0.7^2) / 40,000) = 0.0036; 5 of them.
    let correlation = covariance / variance;
    assert!((correlation - 0.7).abs() < 0.018, "{correlation}");
}

#[test]
fn jitter_in_order_never_reorders_and_free_jitter_arrives_when_its_delay_says() {
    let arrivals = |order| {
        let model = PairModel {
            jitter: Jitter {
                order,
                ..Jitter::uniform(ms(10))
            },
            ..PairModel::delayed(ms(20))
        };
        let mut t = Fixture::new(13, model);
        let mut deadlines = Vec::new();
        for _ in 0..1_000 {
            deadlines.push(t.now + t.delay(1).unwrap());
            t.now += ms(1);
        }
        deadlines
    };
    let (kept, free) = (arrivals(Order::Kept), arrivals(Order::Free));
    let overtaken = |deadlines: &[Instant]| deadlines.windows(2).filter(|w| w[0] > w[1]).count();
    assert_eq!(overtaken(&kept), 0);
    // Two uniform delays with spreads of 10 ms either way, 1 ms apart: 45 in a hundred.
    assert!((380..=525).contains(&overtaken(&free)));
}

#[test]
fn a_seed_means_the_same_numbers_on_every_platform_and_in_every_release() {
    // Computed apart from this code, from the published definitions of PCG and SplitMix64 and from
    // another implementation of the normal quantile.
    let uniform = [
        53_039_941, 0, 55_636_450, 45_317_793, 41_130_766, 0, 0, 53_512_419,
    ];
    let normal = [
        53_907_178, 24_444_137, 57_783_631, 43_747_079, 34_154_852, 55_867_014, 47_468_632,
        54_554_881,
    ];
    let pareto = [
        49_095_784, 44_246_971, 51_860_262, 45_479_658, 44_452_694, 50_357_063, 46_370_599,
        49_485_004,
    ];
    let lossy = lossy(200_000);
    for (jitter, loss, expected) in [
        (Distribution::Uniform(ms(10)), lossy.loss, uniform),
        (Distribution::Normal(ms(10)), Loss::default(), normal),
        (Distribution::Pareto(ms(10)), Loss::default(), pareto),
    ] {
        let model = PairModel {
            jitter: drawn_from(jitter),
            loss,
            ..PairModel::delayed(ms(50))
        };
        let mut t = Fixture::new(42, model);
        let delays = expected.map(|_| {
            t.now += ms(1_000);
            t.delay(1).map_or(0, |delay| delay.as_nanos())
        });
        assert_eq!(delays, expected);
    }
}
