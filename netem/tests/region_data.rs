//! Facts of the region matrices that ship, and how well the models of their pairs keep to them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::time::{Duration, Instant};

use netem::{
    engine::{Engine, EngineConfig, HostId, Verdict},
    model::{Distribution, PairModel, Quantiles},
    regions::{Matrix, RoundTrip, SameRegion},
};

fn named(name: &str) -> Matrix {
    Matrix::named(name).unwrap()
}

fn trip(matrix: &Matrix, from: &str, to: &str) -> RoundTrip {
    matrix.round_trips(&[from, to]).unwrap().swap_remove(1)
}

#[test]
fn aws_has_33_regions_with_p90_and_its_own_diagonal() {
    let aws = named("aws");
    assert_eq!(aws.regions().len(), 33);
    assert!(aws.has_jitter());
    assert_eq!(aws.summary().same_region, SameRegion::Measured);
    let within = trip(&aws, "us-east-1", "us-east-1");
    assert_eq!(within.p50, Duration::from_micros(5_506));
    assert_eq!(within.p90, Some(Duration::from_nanos(9_255_400)));
}

#[test]
fn aws_paths_are_half_of_the_numbers_of_the_table() {
    let aws = named("aws");
    let delay = |from, to| aws.path(from, to).unwrap().delay;
    assert_eq!(
        delay("ca-central-1", "us-east-1"),
        Duration::from_micros(8_156)
    );
    assert_eq!(
        delay("us-east-1", "ca-central-1"),
        Duration::from_micros(8_352)
    );
    let round = trip(&aws, "ca-central-1", "us-east-1");
    assert_eq!(round.p50, Duration::from_micros(16_508));
    assert_eq!(round.p90, Some(Duration::from_micros(21_044)));
}

#[test]
fn azure_has_54_regions_without_p90_and_assumes_its_diagonal() {
    let azure = named("azure");
    assert_eq!(azure.regions().len(), 54);
    assert!(!azure.has_jitter());
    let summary = azure.summary();
    assert_eq!(summary.same_region, SameRegion::Assumed);
    assert_eq!(
        summary.source,
        Some(
            "Azure network round-trip latency statistics, Microsoft, CC BY 4.0, \
             extracted from Markdown"
        )
    );
    let (there, back) = ("Australia Central", "Australia Central 2");
    assert_eq!(trip(&azure, there, back).p50, Duration::from_micros(3_500));
    let path = azure.path(there, back).unwrap();
    assert_eq!(path, PairModel::delayed(Duration::from_micros(1_500)));
    assert_eq!(trip(&azure, there, there).p90, None);
}

/// How likely a round trip of two independent draws takes no longer than `limit` nanoseconds.
fn within(there: &PairModel, back: &PairModel, limit: f64) -> f64 {
    let rest = limit - nanos(there.delay) - nanos(back.delay);
    let (there, back) = (quantiles(there), quantiles(back));
    let draws = (0..DRAWS).map(|draw| there.at((f64::from(draw) + 0.5) / f64::from(DRAWS)));
    draws.map(|offset| rank(back, rest - offset)).sum::<f64>() / f64::from(DRAWS)
}

/// The share of draws that are no greater.
fn rank(quantiles: &Quantiles, nanos: f64) -> f64 {
    let points = quantiles.points();
    let after = points.partition_point(|point| point.1 as f64 <= nanos);
    if after == 0 || after == points.len() {
        return if after == 0 { 0.0 } else { 1.0 };
    }
    let (before, after) = (points[after - 1], points[after]);
    let share = (nanos - before.1 as f64) / (after.1 - before.1) as f64;
    before.0.as_f64() + share * (after.0.as_f64() - before.0.as_f64())
}

fn quantiles(model: &PairModel) -> &Quantiles {
    match &model.jitter.distribution {
        Distribution::Empirical(quantiles) => quantiles,
        other => panic!("{other:?}"),
    }
}

fn nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// Three times finer than the closest bound needs.
const DRAWS: u32 = 1_000;

/// The bounds are 1 % of p90 - p50 either way. The straight lines between quantiles take most of
/// it, all to the late side: at the worst 0.16 ms, and 0.4 % of p50.
#[test]
fn every_round_trip_of_aws_has_the_median_and_the_p90_of_its_table() {
    let aws = named("aws");
    for from in aws.regions() {
        for to in aws.regions() {
            let there = aws.path(from, to).unwrap();
            let back = aws.path(to, from).unwrap();
            let trip = trip(&aws, from, to);
            let (p50, p90) = (nanos(trip.p50), nanos(trip.p90.unwrap()));
            let bound = (p90 - p50) / 100.0;
            for (share, quantile) in [(0.5, p50), (0.9, p90)] {
                let below = within(&there, &back, quantile - bound);
                let above = within(&there, &back, quantile + bound);
                assert!(
                    below < share && share < above,
                    "{from} to {to}: {share} is not between {below} and {above}"
                );
            }
        }
    }
}

#[test]
fn no_packet_of_aws_takes_less_than_half_of_its_delay() {
    let aws = named("aws");
    let mut bound = (0, 0);
    for from in aws.regions() {
        for to in aws.regions() {
            let path = aws.path(from, to).unwrap();
            let back = aws.path(to, from).unwrap();
            let earliest = -quantiles(&path).points()[0].1 as f64;
            let limit = nanos(path.delay.min(back.delay)) / 2.0;
            assert!(earliest <= limit, "{from} to {to}");
            if limit - earliest < 2.0 {
                let count = if from == to {
                    &mut bound.1
                } else {
                    &mut bound.0
                };
                *count += 1;
            }
        }
    }
    // Both directions of one pair, and within as many regions, as the module says.
    assert_eq!(bound, (2, 23));
}

/// One pair where the least delay binds and two where it does not. With 100,000 packets, the
/// deviation of p90 is 0.5 % of p90 - p50, so 3 % are never seen by chance.
#[test]
fn packets_through_the_engine_make_the_round_trips_of_the_table() {
    let aws = named("aws");
    for (from, to) in [
        ("us-east-1", "eu-west-1"),
        ("me-south-1", "us-west-2"),
        ("ap-east-1", "ap-east-2"),
    ] {
        let mut engine = Engine::new(EngineConfig {
            seed: 1,
            default_pair: PairModel::default(),
            max_queued_bytes: 1 << 20,
        });
        let (a, b) = (HostId(0), HostId(1));
        engine.set_pair(a, b, aws.path(from, to).unwrap());
        engine.set_pair(b, a, aws.path(to, from).unwrap());
        let mut trips = round_trips(&mut engine, a, b);
        trips.sort_unstable();

        let table = trip(&aws, from, to);
        let (p50, p90) = (table.p50, table.p90.unwrap());
        let bound = (p90 - p50) * 3 / 100;
        for (quantile, index) in [(p50, trips.len() / 2), (p90, trips.len() * 9 / 10)] {
            let off = trips[index].abs_diff(quantile);
            assert!(
                off < bound,
                "{from} to {to}: {quantile:?} is off by {off:?}"
            );
        }
    }
}

/// 100,000 packets that are answered at once, ten seconds apart.
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the first"
)]
fn round_trips(engine: &mut Engine<()>, a: HostId, b: HostId) -> Vec<Duration> {
    let start = Instant::now();
    let mut pass = |now, from, to| {
        let Verdict::Queued { deadline } = engine.handle_packet(now, from, to, 100, ()) else {
            panic!("nothing is dropped");
        };
        engine.poll_delivery(deadline).unwrap();
        deadline
    };
    (0..100_000)
        .map(|number| {
            let sent = start + Duration::from_secs(10) * number;
            let turned = pass(sent, a, b);
            pass(turned, b, a) - sent
        })
        .collect()
}

/// With a pair that the least delay binds; the figures were checked against another program.
#[test]
fn quantiles_are_the_same_to_the_nanosecond_everywhere() {
    let aws = named("aws");
    let points = |from, to| {
        let path = aws.path(from, to).unwrap();
        let points = quantiles(&path).points();
        [0, 1, 6, 12, points.len() - 1].map(|index| (points[index].0.ppb(), points[index].1))
    };
    assert_eq!(
        points("us-east-1", "eu-west-1"),
        [
            (0, -1_535_000),
            (100_000_000, -1_342_277),
            (600_000_000, 141_061),
            (925_000_000, 3_203_065),
            (1_000_000_000, 14_758_889)
        ]
    );
    assert_eq!(
        points("ap-east-1", "ap-east-2"),
        [
            (0, -4_401_500),
            (149_008_676, -4_401_500),
            (574_504_338, 46468),
            (914_900_867, 10_374_329),
            (1_000_000_000, 52_760_108)
        ]
    );
}
