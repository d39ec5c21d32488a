use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    ground::{Arrival, PairRun, Time},
    plan::{self, Case},
};
use crate::{
    clock,
    engine::{Engine, EngineConfig, HostId},
    model::{Loss, PairModel, Schedule},
    report::Packets,
};

mod books;
mod breakages;

const A: HostId = HostId(0);
const B: HostId = HostId(1);

/// What the engine does with a case's traffic, every packet on its schedule.
fn emulate(case: &Case, seed: u64) -> PairRun {
    let mut engine = Engine::new(EngineConfig {
        seed,
        default_pair: case.model.clone(),
        max_queued_bytes: 1 << 30,
    });
    let start = clock::now();
    engine.set_schedule(start, A, B, case.schedule.clone());
    let mut run = PairRun::default();
    for departure in case.traffic.departures() {
        let now = start + departure.at;
        receive(&mut engine, start, now, &mut run);
        run.sent.push(departure.at);
        let packet = (departure.sequence, [0; 4]);
        engine.handle_packet(now, A, B, departure.payload_bytes + 28, packet);
    }
    receive(
        &mut engine,
        start,
        start + Duration::from_secs(3_600),
        &mut run,
    );
    run.packets = Packets::from(&engine.pair_counters(A, B));
    run
}

fn receive(engine: &mut Engine<(u32, [u8; 4])>, start: Instant, now: Instant, run: &mut PairRun) {
    while let Some(delivery) = engine.poll_delivery(now) {
        let (sequence, mut bytes) = delivery.payload;
        if let Some(corruption) = delivery.corruption {
            corruption.flip(&mut bytes);
        }
        let due = delivery.deadline - start;
        run.arrivals.push(Arrival {
            sequence,
            at: due,
            due: Some(due),
            flipped_bits: bytes.iter().map(|byte| byte.count_ones()).sum(),
        });
    }
}

/// A case of virtual time by its name.
fn case(name: &str) -> Case {
    let mut cases = plan::cases(Time::Virtual).into_iter();
    let found = cases.find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("there is no case {name}"))
}

/// The tests of a case that fail.
fn failing(case: &Case, run: &PairRun) -> Vec<&'static str> {
    let failed = case.checks.iter().filter(|check| !check.judge(run).holds);
    failed.map(|check| check.test).collect()
}

#[test]
fn the_engine_passes_every_test_with_other_seeds_too() {
    for time in [Time::Virtual, Time::Real] {
        for seed in 1..=3 {
            for case in plan::cases(time) {
                let run = emulate(&case, seed);
                assert_eq!(
                    failing(&case, &run),
                    [""; 0],
                    "{} with seed {seed}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn every_test_notices_a_source_that_is_a_little_wrong() {
    let mut noticed = BTreeSet::new();
    for breakage in breakages::all() {
        let failing = failing(&case(breakage.case), &breakage.run);
        let what = format!("{}: {}", breakage.case, breakage.what);
        assert_eq!(failing, breakage.noticed_by, "{what}");
        noticed.extend(failing.iter().map(|test| (breakage.case, *test)));
    }
    for case in plan::cases(Time::Virtual) {
        for check in &case.checks {
            let test = (case.name, check.test);
            assert!(
                noticed.contains(&test),
                "nothing shows that {test:?} can fail"
            );
        }
    }
}

/// As a real backend would have it: deadlines are not told, and a thread that is a tenth of a
/// millisecond late, and 5 ms for one packet in 1,000, hands packets over one after the other.
fn realised(run: &mut PairRun) {
    let mut before = Duration::ZERO;
    for (nth, arrival) in (1_u64..).zip(&mut run.arrivals) {
        let late = match nth % 1_000 {
            0 => 5_000,
            other => 50 + other % 100,
        };
        arrival.at = before.max(arrival.at + Duration::from_micros(late));
        arrival.due = None;
        before = arrival.at;
    }
}

#[test]
fn realised_times_that_are_late_within_bounds_pass_every_test() {
    for case in plan::cases(Time::Real) {
        let mut run = emulate(&case, 1);
        realised(&mut run);
        assert_eq!(failing(&case, &run), [""; 0], "{}", case.name);
    }
}

#[test]
fn realised_times_show_a_source_that_is_far_from_right() {
    let wrong = |name: &str, change: fn(&mut Case)| {
        let mut cases = plan::cases(Time::Real).into_iter();
        let mut case = cases.find(|case| case.name == name).unwrap();
        change(&mut case);
        let mut run = emulate(&case, 1);
        realised(&mut run);
        failing(&case, &run)
    };
    let early = wrong("delay 40.123456ms", |case| {
        case.model.delay -= Duration::from_millis(1)
    });
    assert_eq!(early, ["delay"]);
    let late = wrong("delay 40.123456ms", |case| {
        case.model.delay += Duration::from_millis(1)
    });
    assert_eq!(late, ["delay"]);
    let narrow = wrong("uniform 40ms ±10ms", breakages::shrunk);
    assert_eq!(narrow, ["distribution"]);
    let narrow = wrong("normal 40ms ±5ms", breakages::shrunk);
    assert_eq!(narrow, ["distribution"]);
    let lossy = wrong("loss 1%", |case| case.model.loss = Loss::from_ppm(20_000));
    assert_eq!(lossy, ["lost"]);
    let bare = wrong("rate 7mbit overhead 38", |case| {
        case.model.rate.as_mut().unwrap().overhead_bytes = 0;
    });
    assert_eq!(bare, ["rate"]);
    let constant = wrong("step to 30ms at 1s", |case| {
        case.schedule = Schedule::default()
    });
    assert_eq!(constant, ["delay over time"]);
}

#[test]
fn nothing_sent_and_nothing_arriving_fail_every_test() {
    for case in plan::cases(Time::Virtual) {
        let silent = PairRun {
            sent: case
                .traffic
                .departures()
                .map(|departure| departure.at)
                .collect(),
            ..PairRun::default()
        };
        for run in [PairRun::default(), silent] {
            assert_eq!(
                failing(&case, &run).len(),
                case.checks.len(),
                "{}",
                case.name
            );
        }
    }
}
