//! Sources that are a little wrong, each in one way.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{Case, PairModel, PairRun, case, emulate};
use crate::model::{
    Chance, Change, Correlation, Distribution, GilbertElliott, Loss, Order, Probability, Quantiles,
    Rate, Schedule, What,
};

/// A case's traffic through something wrong.
pub(super) struct Breakage {
    pub(super) case: &'static str,
    pub(super) what: &'static str,
    pub(super) run: PairRun,
    pub(super) noticed_by: Vec<&'static str>,
}

pub(super) fn all() -> Vec<Breakage> {
    let groups = [delays(), losses(), damages(), limits(), schedules()];
    groups.into_iter().flatten().collect()
}

/// The engine with another model or schedule than was asked for.
fn other(
    name: &'static str,
    what: &'static str,
    noticed_by: &[&'static str],
    change: impl FnOnce(&mut Case),
) -> Breakage {
    let mut case = case(name);
    change(&mut case);
    Breakage {
        case: name,
        what,
        run: emulate(&case, SEED),
        noticed_by: noticed_by.to_vec(),
    }
}

/// The engine with what was asked for, and then something done to what came of it.
fn after(
    name: &'static str,
    what: &'static str,
    noticed_by: &[&'static str],
    change: impl FnOnce(&mut PairRun),
) -> Breakage {
    let mut run = emulate(&case(name), SEED);
    change(&mut run);
    Breakage {
        case: name,
        what,
        run,
        noticed_by: noticed_by.to_vec(),
    }
}

/// What kernel netem makes of correlated uniform jitter.
const SHRUNK: f64 = 0.77;

pub(super) fn shrunk(case: &mut Case) {
    let distribution = &mut case.model.jitter.distribution;
    *distribution = match distribution.clone() {
        Distribution::Constant => Distribution::Constant,
        Distribution::Empirical(quantiles) => {
            let points = quantiles.points().iter();
            let points: Vec<_> = points.map(|(p, nanos)| (*p, nanos / 100 * 77)).collect();
            Distribution::Empirical(Quantiles::try_new(&points).unwrap())
        }
        Distribution::Normal(by) => Distribution::Normal(by.mul_f64(SHRUNK)),
        Distribution::Pareto(by) => Distribution::Pareto(by.mul_f64(SHRUNK)),
        Distribution::Uniform(by) => Distribution::Uniform(by.mul_f64(SHRUNK)),
    };
}

/// Two neighbours change places; their times stay.
fn swapped(run: &mut PairRun) {
    run.arrivals.swap(500, 501);
}

fn delays() -> Vec<Breakage> {
    let distribution: &[_] = &["distribution"];
    vec![
        other(
            "delay 40.123456ms",
            "a nanosecond more",
            &["delay"],
            |case| {
                case.model.delay += Duration::from_nanos(1);
            },
        ),
        other(
            "delay 40.123456ms",
            "a nanosecond less",
            &["delay"],
            |case| {
                case.model.delay -= Duration::from_nanos(1);
            },
        ),
        after("delay 40.123456ms", "reordered", &["order"], swapped),
        other("uniform 40ms ±10ms", "shrunk", distribution, shrunk),
        other("uniform 40ms ±10ms", "normal", distribution, |case| {
            // The deviation is right.
            case.model.jitter.distribution = Distribution::Normal(Duration::from_micros(5_774));
        }),
        other("uniform 40ms ±10ms", "0.3 ms late", distribution, |case| {
            case.model.delay += Duration::from_micros(300);
        }),
        other("normal 40ms ±5ms", "shrunk", distribution, shrunk),
        other("normal 40ms ±5ms", "in order", distribution, |case| {
            case.model.jitter.order = Order::Kept;
        }),
        other("pareto 40ms ±20ms", "shrunk", distribution, shrunk),
        other("empirical 40ms", "shrunk", distribution, shrunk),
        other(
            "uniform 40ms ±4ms, in order",
            "shrunk",
            distribution,
            shrunk,
        ),
        after(
            "uniform 40ms ±4ms, in order",
            "reordered",
            &["order"],
            swapped,
        ),
        other("uniform 40ms ±20ms, in order", "free", &["order"], |case| {
            case.model.jitter.order = Order::Free;
        }),
        other("uniform 40ms ±10ms 50%", "shrunk", distribution, shrunk),
        other(
            "uniform 40ms ±10ms 50%",
            "45%",
            &["autocorrelation"],
            |case| {
                case.model.jitter.correlation = Correlation::from_ppb(450_000_000).unwrap();
            },
        ),
    ]
}

fn chance(ppm: u32) -> Chance {
    Chance::independent(Probability::from_ppm(ppm))
}

fn lossy(ppm: u32) -> impl FnOnce(&mut Case) {
    move |case| case.model.loss = Loss::from_ppm(ppm)
}

/// Another probability for a random loss, and the same correlation.
fn lossy_alike(ppm: u32) -> impl FnOnce(&mut Case) {
    move |case| {
        let Loss::Random(chance) = &mut case.model.loss else {
            panic!("{} has another loss", case.name);
        };
        chance.probability = Probability::from_ppm(ppm);
    }
}

/// As kernel netem correlates losses: the next number is an average of a fresh one and the last,
/// so that small ones are rare.
fn as_kernel(probability: f64, correlation: f64) -> impl FnOnce(&mut PairRun) {
    move |run| {
        let mut state = 1_u64;
        let mut last = 0.5;
        let mut lost = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let fresh = f64::from((state >> 32) as u32) / f64::from(u32::MAX);
            last = fresh * (1.0 - correlation) + last * correlation;
            last < probability
        };
        let arrival = run.arrivals[0];
        run.arrivals.clear();
        for sequence in 0..u32::try_from(run.sent.len()).unwrap() {
            if !lost() {
                run.arrivals.push(super::Arrival {
                    sequence,
                    ..arrival
                });
            }
        }
    }
}

fn bursts(ppm: u32, burst_packets: f64) -> impl FnOnce(&mut Case) {
    let loss = Probability::from_ppm(ppm);
    let model = GilbertElliott::try_from_means(loss, burst_packets).unwrap();
    move |case| case.model.loss = Loss::GilbertElliott(model)
}

fn gilbert_elliott(ppm: [u32; 4]) -> impl FnOnce(&mut Case) {
    let [to_bad, to_good, loss_in_bad, loss_in_good] = ppm.map(Probability::from_ppm);
    let model = GilbertElliott {
        to_bad,
        to_good,
        loss_in_bad,
        loss_in_good,
    };
    move |case| case.model.loss = Loss::GilbertElliott(model)
}

fn losses() -> Vec<Breakage> {
    let (lost, after_loss): (&[_], &[_]) = (&["lost"], &["loss after loss"]);
    let both: &[_] = &["lost", "loss after loss"];
    let gemodel = "gemodel 2% 20% 50% 0.5%";
    vec![
        other("loss 1%", "1.3%", lost, lossy(13_000)),
        other("loss 1%", "0.8%", lost, lossy(8_000)),
        other("loss 20%", "20.6%", lost, lossy(206_000)),
        other("loss 20%", "in pairs", &["bursts"], bursts(200_000, 1.35)),
        after("loss 1% 25%", "kernel's", both, as_kernel(0.01, 0.25)),
        other("loss 1% 25%", "1.3%", lost, lossy_alike(13_000)),
        other("loss 1% 25%", "independent", after_loss, lossy(10_000)),
        after("loss 10% 50%", "kernel's", both, as_kernel(0.1, 0.5)),
        other("loss 10% 50%", "10.6%", lost, lossy_alike(106_000)),
        other("loss 10% 50%", "independent", after_loss, lossy(100_000)),
        other(
            "loss 20%, bursts of 5",
            "of 4.5",
            &["bursts"],
            bursts(200_000, 4.5),
        ),
        other("loss 20%, bursts of 5", "21.5%", lost, bursts(215_000, 5.0)),
        other(
            gemodel,
            "60%",
            both,
            gilbert_elliott([20_000, 200_000, 600_000, 5_000]),
        ),
        other(
            gemodel,
            "1.5%",
            both,
            gilbert_elliott([20_000, 200_000, 500_000, 15_000]),
        ),
        other(
            gemodel,
            "3% 30%",
            after_loss,
            gilbert_elliott([30_000, 300_000, 500_000, 5_000]),
        ),
        after("loss trace of 1,000", "off by one", lost, |run| {
            for arrival in &mut run.arrivals {
                arrival.sequence += 1;
            }
        }),
    ]
}

fn damages() -> Vec<Breakage> {
    let gap = |gap| {
        move |case: &mut Case| {
            case.model.reorder.as_mut().unwrap().gap = NonZeroU32::new(gap).unwrap();
        }
    };
    vec![
        other("duplicate 5%", "5.5%", &["copies"], |case| {
            case.model.duplicate = chance(55_000);
        }),
        after(
            "duplicate 5%",
            "copies come later",
            &["copy's place"],
            |run| {
                let twins = run.arrivals.windows(2);
                let place = twins
                    .into_iter()
                    .position(|twins| twins[0].sequence == twins[1].sequence);
                run.arrivals.swap(place.unwrap() + 1, place.unwrap() + 2);
            },
        ),
        other("corrupt 5%", "5.5%", &["corrupted"], |case| {
            case.model.corrupt = chance(55_000);
        }),
        after(
            "corrupt 5%",
            "two bits of one packet",
            &["flipped bits"],
            |run| {
                let mut corrupted = run.arrivals.iter_mut().filter(|a| a.flipped_bits > 0);
                corrupted.next().unwrap().flipped_bits = 2;
            },
        ),
        other("reorder 25% gap 5", "27%", &["reordered"], |case| {
            case.model.reorder.as_mut().unwrap().chance = chance(270_000);
        }),
        other(
            "reorder 25% gap 5",
            "gap 4",
            &["reordered", "shortest gap"],
            gap(4),
        ),
        other(
            "reorder 25% gap 5",
            "gap 6",
            &["reordered", "shortest gap"],
            gap(6),
        ),
    ]
}

fn with_rate(change: impl FnOnce(&mut Rate)) -> impl FnOnce(&mut Case) {
    move |case| change(case.model.rate.as_mut().unwrap())
}

fn limits() -> Vec<Breakage> {
    let overhead = "rate 7mbit overhead 38";
    let queue = "rate 8mbit, queue of 20,000 B";
    let size = "at most 1,200 B";
    vec![
        other(
            overhead,
            "2% fast",
            &["rate", "serialization"],
            with_rate(|rate| {
                rate.bits_per_second = NonZeroU64::new(7_140_000).unwrap();
            }),
        ),
        other(
            overhead,
            "no overhead",
            &["rate", "serialization"],
            with_rate(|rate| {
                rate.overhead_bytes = 0;
            }),
        ),
        after(
            overhead,
            "rounded to a microsecond",
            &["serialization"],
            |run| {
                for arrival in &mut run.arrivals {
                    arrival.due = arrival
                        .due
                        .map(|due| Duration::from_micros(due.as_micros() as u64));
                }
            },
        ),
        other(
            queue,
            "22 packets",
            &["longest wait", "lost"],
            with_rate(|rate| {
                rate.queue_bytes = Some(22_000);
            }),
        ),
        other(
            queue,
            "19 packets",
            &["lost"],
            with_rate(|rate| {
                rate.queue_bytes = Some(19_999);
            }),
        ),
        after(queue, "dropped from the head", &["lost"], |run| {
            for arrival in &mut run.arrivals {
                arrival.sequence += 20;
            }
        }),
        other(
            queue,
            "7 Mbit/s",
            &["longest wait"],
            with_rate(|rate| {
                rate.bits_per_second = NonZeroU64::new(7_000_000).unwrap();
            }),
        ),
        other("limit 10 packets", "11", &["lost"], |case| {
            case.model.limit_packets = NonZeroU32::new(11);
        }),
        other(size, "a byte more", &["size"], |case| {
            case.model.max_bytes = Some(1_201)
        }),
        other(size, "a byte less", &["size"], |case| {
            case.model.max_bytes = Some(1_199)
        }),
    ]
}

fn schedules() -> Vec<Breakage> {
    let ms = Duration::from_millis;
    let changed = |at, what| {
        move |case: &mut Case| case.schedule = Schedule::try_new(vec![Change { at, what }]).unwrap()
    };
    let over_time: &[_] = &["delay over time"];
    let step = What::Set(PairModel::delayed(ms(30)));
    let ramp = What::Ramp {
        to: PairModel::delayed(ms(50)),
        over: ms(1_001),
    };
    let flap = What::Flap {
        up: ms(151),
        down: ms(100),
        lasts: ms(1_000),
    };
    vec![
        other(
            "step to 30ms at 1s",
            "a packet later",
            over_time,
            changed(ms(1_001), step),
        ),
        other(
            "ramp to 50ms from 0.5s",
            "1 ms longer",
            over_time,
            changed(ms(500), ramp),
        ),
        other("down at 0.7s for 0.3s", "1 ms longer", &["lost"], {
            changed(ms(700), What::Down { lasts: ms(301) })
        }),
        other("down at 0.7s for 0.3s", "never", &["lost"], |case| {
            case.schedule = Schedule::default();
        }),
        other(
            "flap at 0.3s for 1s",
            "1 ms longer up",
            &["lost"],
            changed(ms(300), flap),
        ),
    ]
}

/// Any will do.
const SEED: u64 = 77;
