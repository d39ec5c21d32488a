//! How soon a cut or a wedged loop is noticed, at every moment of a probe's cycle.

use super::*;

/// Where a link is cut; in how many one-way delays after leaving a probe passes the cut last.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    BothWaysHere = 0,
    BothWaysAtThePeer = 1,
    ForwardHere = 2,
}

const CUTS: [Cut; 3] = [Cut::BothWaysHere, Cut::BothWaysAtThePeer, Cut::ForwardHere];

pub(super) fn cut_link(
    config: LivenessConfig,
    seed: u64,
    rtt: Duration,
    cut: Cut,
    at: Duration,
) -> Bench {
    let last = (at + rtt / 2 * cut as u32).saturating_sub(rtt);
    let mut bench = Bench::new(config, seed, move |sent, _| (sent <= last).then_some(rtt));
    bench.run_until(at + rtt * 2 + ms(2_000));
    bench
}

struct Bounds {
    suspect: Duration,
    confirmed: Duration,
    down: Duration,
}

/// The worst of cuts in every millisecond of a whole cycle of both loops.
fn worst_of_sweep(config: LivenessConfig, rtt: Duration, cut: Cut) -> Bounds {
    let mut worst = Bounds {
        suspect: Duration::ZERO,
        confirmed: Duration::ZERO,
        down: Duration::ZERO,
    };
    let cycle = config.interval() * 2;
    for step in 0..=cycle.as_millis() as u64 {
        let at = WARM + ms(step);
        let bench = cut_link(config, step, rtt, cut, at);
        let after = |health| bench.first(health, at).map(|time| time.checked_sub(at));
        let case = format!("rtt {rtt:?}, {cut:?} at {at:?}: {:?}", bench.changes);
        let time = |health| after(health).expect(&case).expect(&case);
        worst.suspect = worst.suspect.max(time(Health::Suspect));
        worst.confirmed = worst.confirmed.max(time(Health::Confirmed));
        worst.down = worst.down.max(time(Health::Down));
        // Not before: three probes were missed, and the loop was silent for long enough.
        let down = at + time(Health::Down);
        assert!(
            down >= bench.last_reply + config.down_after - config.interval(),
            "{case}"
        );
        assert!(time(Health::Suspect) + rtt >= config.slack, "{case}");
    }
    worst
}

#[test]
fn a_cut_is_noticed_within_the_default_bounds_at_every_moment_and_place() {
    for rtt in [ms(1), ms(70), ms(220), ms(400), ms(478)] {
        for cut in CUTS {
            let worst = worst_of_sweep(LivenessConfig::default(), rtt, cut);
            assert!(
                worst.suspect <= ms(350) + rtt,
                "{:?} {rtt:?} {cut:?}",
                worst.suspect
            );
            assert!(
                worst.confirmed <= ms(500) + rtt * 2,
                "{:?} {rtt:?} {cut:?}",
                worst.confirmed
            );
            assert!(
                worst.down <= ms(900) + rtt,
                "{:?} {rtt:?} {cut:?}",
                worst.down
            );
        }
    }
}

#[test]
fn a_cut_is_noticed_within_the_fast_bounds_at_every_moment_and_place() {
    for rtt in [ms(1), ms(70), ms(220), ms(400), ms(1_000)] {
        for cut in CUTS {
            let worst = worst_of_sweep(LivenessConfig::fast(), rtt, cut);
            assert!(
                worst.suspect <= ms(150) + rtt,
                "{:?} {rtt:?} {cut:?}",
                worst.suspect
            );
            assert!(
                worst.confirmed <= ms(200) + rtt * 2,
                "{:?} {rtt:?} {cut:?}",
                worst.confirmed
            );
            assert!(
                worst.down <= ms(300) + rtt,
                "{:?} {rtt:?} {cut:?}",
                worst.down
            );
        }
    }
}

#[test]
fn above_478_ms_only_a_forward_cut_at_our_end_is_noticed_later() {
    for rtt in [ms(700), ms(1_000), ms(1_500)] {
        for cut in CUTS {
            let bound = match cut {
                Cut::BothWaysHere | Cut::BothWaysAtThePeer => ms(900),
                Cut::ForwardHere => ms(1_110),
            };
            let worst = worst_of_sweep(LivenessConfig::default(), rtt, cut);
            assert!(
                worst.down <= bound + rtt,
                "{:?} {rtt:?} {cut:?}",
                worst.down
            );
        }
    }
}

#[test]
fn one_wedged_loop_takes_the_link_down_while_the_other_answers() {
    let profiles = [
        (LivenessConfig::default(), ms(1_500)),
        (LivenessConfig::fast(), ms(500)),
    ];
    for (config, bound) in profiles {
        for rtt in [ms(1), ms(70), ms(220), ms(400)] {
            for wedged in LOOPS {
                for step in 0..=config.interval().as_millis() as u64 * 2 {
                    let at = WARM + ms(step);
                    let mut bench = Bench::new(config, step, move |sent, r#loop| {
                        (r#loop != wedged || sent <= at).then_some(rtt)
                    });
                    bench.run_until(at + ms(2_000) + rtt);
                    let down = bench.first(Health::Down, ms(0)).unwrap();
                    assert!(down <= at + bound + rtt, "{:?} {rtt:?}", down - at);
                    let reason = bench.changes.last().unwrap().2;
                    assert_eq!(reason, Reason::LoopSilent(wedged));
                    assert_eq!(bench.live.state(), Health::Down);
                }
            }
        }
    }
}
