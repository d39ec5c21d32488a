//! The stated bounds, over networks that do what they did elsewhere.

use super::{bench::Network, *};
use crate::random::SplitMix64;

/// Loses a share of everything, in thousandths.
fn random(seed: u64, per_mille: impl Fn(Duration, Way) -> u64 + 'static) -> Network {
    let mut random = SplitMix64(seed);
    Box::new(move |at, way| random.below(1_000) < per_mille(at, way))
}

/// Up and down in turn. `down` is the share of a period in hundredths.
fn flapping(period: Duration, down: u128, until: Duration) -> Network {
    let period = period.as_nanos();
    Box::new(move |at, _| at < until && at.as_nanos() % period * 100 < period * down)
}

fn rtt(seed: u64) -> Duration {
    ms([1, 80, 250][seed as usize % 3])
}

#[test]
fn one_percent_of_loss_each_way_for_ten_minutes_never_moves_traffic() {
    for rate in [50, 75, 1_000] {
        for seed in 0..20 {
            let network = random(seed, |_, _| 10);
            let mut bench = Bench::new(false, seed, rtt(seed), rate, network);
            bench.run_until(secs(600));
            assert_eq!(bench.pair.falls(), 0, "seed {seed}: {:?}", bench.changes);
            // Yet the lost probes were seen.
            assert!(bench.changes.len() > 30);
        }
    }
}

#[test]
fn where_liveness_alone_can_tell_one_percent_each_way_moves_once_in_hours() {
    // Without traffic, and with probes so fast that three lost ones are Down at once: of 200
    // minutes each. One way alone it is an eighth of that.
    for (fast, rate, limit) in [(false, 0, 2), (true, 0, 5), (true, 75, 5)] {
        let falls = (0..20).map(|seed| {
            let network = random(seed, |_, _| 10);
            let mut bench = Bench::new(fast, seed, rtt(seed), rate, network);
            bench.run_until(secs(600));
            bench.pair.falls()
        });
        let falls: u64 = falls.sum();
        assert!(falls <= limit, "fast {fast}, {rate} packets/s: {falls}");
    }
}

#[test]
fn a_fifth_lost_on_one_way_moves_traffic_in_under_three_seconds() {
    for fast in [false, true] {
        for rate in [50, 100, 1_000] {
            for lossy in [Way::Out, Way::In] {
                let worst = fell_after_a_fifth_is_lost(fast, rate, lossy, 100);
                assert!(worst < secs(3), "fast {fast}, {rate}, {lossy:?}: {worst:?}");
            }
        }
    }
}

#[test]
fn a_fifth_lost_of_probes_alone_is_noticed_in_half_a_minute_and_when_fast_in_eight_seconds() {
    for (fast, bound) in [(false, secs(30)), (true, secs(8))] {
        for lossy in [Way::Out, Way::In] {
            let worst = fell_after_a_fifth_is_lost(fast, 0, lossy, 100);
            assert!(worst < bound, "fast {fast}, {lossy:?}: {worst:?}");
        }
    }
}

/// The longest of so many seeds.
fn fell_after_a_fifth_is_lost(fast: bool, rate: u64, lossy: Way, seeds: u64) -> Duration {
    let fell = (0..seeds).map(|seed| {
        let from = secs(20) + ms(seed);
        let network = random(
            seed,
            move |at, way| {
                if at >= from && way == lossy { 200 } else { 0 }
            },
        );
        let mut bench = Bench::new(fast, seed, rtt(seed), rate, network);
        bench.run_until(secs(80));
        bench.fell(from).unwrap() - from
    });
    fell.max().unwrap()
}

#[test]
fn a_fifth_lost_for_good_keeps_traffic_away_but_for_a_few_tries() {
    for seed in 0..40 {
        let network = random(seed, |at, way| {
            if at >= secs(20) && way == Way::In {
                200
            } else {
                0
            }
        });
        let mut bench = Bench::new(false, seed, rtt(seed), 50, network);
        bench.run_until(secs(620));
        let tries = bench.pair.falls() - 1;
        assert!(tries <= 20, "seed {seed}: {tries} in ten minutes");
    }
}

#[test]
fn when_the_network_is_clean_traffic_is_back_within_the_bound_whatever_it_did_before() {
    let clean = secs(60);
    for (fast, bound) in [(false, secs(12)), (true, secs(7))] {
        for rate in [0, 50] {
            for seed in 0..12 {
                let lossy = |per_mille: u64, way: Option<Way>| {
                    random(seed, move |at, of| {
                        let bad = at >= secs(20) && at < clean && way.is_none_or(|way| way == of);
                        if bad { per_mille } else { 0 }
                    })
                };
                let outage = |time: Duration| -> Network {
                    Box::new(move |at, _| at < clean && at + time >= clean)
                };
                let mut networks: Vec<Network> = vec![
                    lossy(200, Some(Way::Out)),
                    lossy(200, Some(Way::In)),
                    lossy(500, None),
                    lossy(900, None),
                ];
                networks.extend(
                    [300, 700, 1_000, 2_000, 4_000, 10_000, 40_000].map(|time| outage(ms(time))),
                );
                for period in [1_000, 1_700, 3_100, 6_500, 10_000, 20_000] {
                    // So that the last down ends when it is clean.
                    networks.push(flapping(ms(period + seed), 50, clean));
                }
                for (nth, network) in networks.into_iter().enumerate() {
                    let mut bench = Bench::new(fast, seed, rtt(seed), rate, network);
                    bench.run_until(clean + secs(60));
                    let moves = |change: &Change| change.from.carries() != change.to.carries();
                    let last = bench.changes.iter().rfind(|(_, change)| moves(change));
                    let back = last.map_or(Duration::ZERO, |(at, _)| *at);
                    assert!(bench.pair.condition().carries());
                    assert!(
                        back <= clean + bound + rtt(seed),
                        "network {nth}, seed {seed}, fast {fast}: {back:?} {:?}",
                        bench.changes
                    );
                }
            }
        }
    }
}

#[test]
fn after_a_short_loss_event_a_pair_is_isolated_for_seconds_and_not_for_longer() {
    // F12: half a minute of loss kept a region isolated for two hours.
    let network = random(7, |at, _| {
        if (secs(20)..secs(50)).contains(&at) {
            300
        } else {
            0
        }
    });
    let mut bench = Bench::new(false, 7, ms(80), 50, network);
    bench.run_until(secs(50));
    assert!(!bench.pair.condition().carries());
    bench.run_until(secs(62));
    assert_eq!(bench.pair.condition(), Condition::Up);
    let settled = bench.changes.len();
    bench.run_until(secs(3_600));
    assert_eq!(bench.changes.len(), settled);
}

#[test]
fn an_outage_of_minutes_is_over_five_seconds_after_it_ends() {
    let network: Network = Box::new(|at, _| (secs(20)..secs(200)).contains(&at));
    let mut bench = Bench::new(false, 7, ms(80), 50, network);
    bench.run_until(secs(260));
    let fell = bench.fell(secs(20)).unwrap();
    assert!(fell <= ms(20_500 + 2 * 80), "{fell:?}");
    let back = bench.first(secs(200), |change| change.to == Condition::Up);
    let back = back.unwrap() - secs(200);
    assert!(back >= secs(3) && back <= secs(5), "{back:?}");
}

#[test]
fn a_link_that_flaps_at_any_period_from_one_to_sixty_seconds_moves_traffic_boundedly_often() {
    for (fast, falls_bound, changes_bound) in [(false, 9, 45), (true, 16, 90)] {
        for period in (1..16)
            .map(|half| half * 500)
            .chain((8..60).step_by(3).map(|s| s * 1_000))
        {
            for down in [25, 50, 75] {
                let network = flapping(ms(period.max(1_000)), down, secs(300));
                let mut bench = Bench::new(fast, 7, ms(80), 50, network);
                bench.run_until(secs(320));
                let minute = |is: &dyn Fn(&Change) -> bool| {
                    let of = |from: Duration| {
                        let minute = from..from + secs(60);
                        let changes = bench.changes.iter();
                        changes
                            .filter(|(at, change)| minute.contains(at) && is(change))
                            .count()
                    };
                    bench.changes.iter().map(|(at, _)| of(*at)).max().unwrap()
                };
                let falls = minute(&|change| change.from.carries() && !change.to.carries());
                let changes = minute(&|_| true);
                let case = format!("{period} ms, {down} % down, fast {fast}");
                assert!(falls <= falls_bound, "{case}: {falls} falls");
                assert!(changes <= changes_bound, "{case}: {changes} changes");
                assert_eq!(bench.pair.condition(), Condition::Up, "{case}");
            }
        }
    }
}

#[test]
fn our_own_stalls_move_nothing() {
    for stall in [ms(150), ms(400), secs(1), secs(20)] {
        let mut bench = Bench::new(false, 7, ms(80), 50, Box::new(|_, _| false));
        for _ in 0..20 {
            let next = bench.since() + secs(7);
            bench.run_until(next);
            bench.stall(stall);
        }
        let end = bench.since() + secs(1);
        bench.run_until(end);
        assert_eq!(bench.pair.falls(), 0, "{stall:?}: {:?}", bench.changes);
        // Of 150 ms, most end before a timer of liveness would be late enough.
        let voided = bench.pair.voided();
        assert!(voided >= 19 || stall == ms(150), "{stall:?}: {voided}");
    }
}
