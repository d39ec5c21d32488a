//! What is judged of a run as a whole.

use std::time::Duration;

use super::emulate;
use crate::{
    lateness::Lateness,
    verify::{
        ground::{Backend, BackendReport, Run, Time},
        judge::{judge, no_run},
        plan::{Stage, stages},
        report::{Findings, Verdict},
    },
};

fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A stage of real time with little traffic, and a run of it on a host that is always on time.
fn load() -> (Stage, Run) {
    let stage = stages(Time::Real, 1).pop().unwrap();
    assert!(stage.is_load);
    let on_time = Lateness {
        p50: us(99),
        p99: us(999),
        max: us(999),
        ..Lateness::default()
    };
    let idle = Lateness {
        p50: us(50),
        p99: us(499),
        max: us(999),
        ..Lateness::default()
    };
    let run = Run {
        pairs: stage.cases.iter().map(|case| emulate(case, 1)).collect(),
        report: BackendReport {
            lateness: on_time,
            idle_lateness: Some(idle),
            used_by_others: Some(0.09),
            queued_bytes_max: 1,
            own_drops: 0,
        },
    };
    (stage, run)
}

fn verdict_of(findings: &Findings, test: &str) -> Verdict {
    let row = findings.rows.iter().find(|row| row.test == test);
    row.unwrap_or_else(|| panic!("no row {test}")).verdict
}

/// The verdict of one test of a run that something was done to.
fn verdict(test: &str, change: impl FnOnce(&mut Run)) -> Verdict {
    let (stage, mut run) = load();
    change(&mut run);
    verdict_of(&judge(Backend::Proxy, Time::Real, &stage, &run), test)
}

#[test]
fn a_run_on_time_in_which_all_is_accounted_for_passes() {
    let (stage, run) = load();
    let findings = judge(Backend::Proxy, Time::Real, &stage, &run);
    assert_eq!(findings.verdict(), Verdict::Pass);
    assert_eq!(findings.rows.len(), 3);
}

#[test]
fn a_packet_that_nobody_accounts_for_fails() {
    let test = "accounted for";
    assert_eq!(
        verdict(test, |run| run.pairs[7].arrivals.truncate(9)),
        Verdict::Fail
    );
    assert_eq!(
        verdict(test, |run| run.pairs[7].packets.received -= 1),
        Verdict::Fail
    );
    assert_eq!(
        verdict(test, |run| run.pairs[7].packets.queued += 1),
        Verdict::Fail
    );
    assert_eq!(
        verdict(test, |run| run.pairs[7].packets.conserved = false),
        Verdict::Fail
    );
    assert_eq!(
        verdict(test, |run| run.pairs[7].sent.truncate(9)),
        Verdict::Fail
    );
    assert_eq!(verdict(test, |run| run.pairs[7].caught = 1), Verdict::Fail);
    let caught = |run: &mut Run| {
        run.pairs[7].arrivals.pop();
        run.pairs[7].caught = 1;
    };
    assert_eq!(verdict(test, caught), Verdict::Pass);
    assert_eq!(verdict(test, |run| drop(run.pairs.pop())), Verdict::Fail);
    // The emulator says itself that it was too small for the run.
    assert_eq!(
        verdict(test, |run| run.report.own_drops = 1),
        Verdict::Inconclusive
    );
}

#[test]
fn lateness_fails_at_its_bound_unless_the_host_uses_half_of_it_up() {
    let late = |run: &mut Run| run.report.lateness.p99 = us(1_000);
    assert_eq!(verdict("lateness p99", late), Verdict::Fail);
    let late_at_half = |run: &mut Run| run.report.lateness.p50 = us(100);
    assert_eq!(verdict("lateness p50", late_at_half), Verdict::Fail);
    let idle = |change: fn(&mut Lateness)| {
        verdict("lateness p99", |run| {
            late(run);
            change(run.report.idle_lateness.as_mut().unwrap());
        })
    };
    assert_eq!(idle(|timers| timers.p99 = us(499)), Verdict::Fail);
    assert_eq!(idle(|timers| timers.p99 = us(500)), Verdict::Inconclusive);
    // The host stands still at times.
    assert_eq!(idle(|timers| timers.max = us(999)), Verdict::Fail);
    assert_eq!(idle(|timers| timers.max = us(1_000)), Verdict::Inconclusive);
    // Others use too much of the host.
    let busy = |run: &mut Run| {
        late(run);
        run.report.used_by_others = Some(0.1);
    };
    assert_eq!(verdict("lateness p99", busy), Verdict::Inconclusive);
    // Nobody knows how late the host is.
    let unknown = |run: &mut Run| {
        late(run);
        run.report.idle_lateness = None;
    };
    assert_eq!(verdict("lateness p99", unknown), Verdict::Inconclusive);
}

#[test]
fn models_measured_by_timers_are_inconclusive_where_the_run_was_late_and_others_are_not() {
    let stage = stages(Time::Real, 1).swap_remove(0);
    let pairs: Vec<_> = stage.cases.iter().map(|case| emulate(case, 1)).collect();
    let (_, on_time) = load();
    let mut run = Run {
        pairs,
        report: on_time.report,
    };
    let place = |name: &str| {
        stage
            .cases
            .iter()
            .position(|case| case.name == name)
            .unwrap()
    };
    // Wrong in time, and wrong in what is lost.
    let (delay, trace) = (place("delay 40.123456ms"), place("loss trace of 1,000"));
    run.pairs[delay].arrivals[0].due = Some(us(1));
    run.pairs[trace].arrivals.remove(9);
    let verdicts = |run: &Run| {
        let findings = judge(Backend::Lab, Time::Real, &stage, run);
        let of = |case: &str| {
            let mut rows = findings.rows.iter();
            rows.find(|row| row.model == case).unwrap().verdict
        };
        [of("delay 40.123456ms"), of("loss trace of 1,000")]
    };
    assert_eq!(verdicts(&run), [Verdict::Fail; 2]);
    run.report.lateness.max = us(1_000);
    assert_eq!(verdicts(&run), [Verdict::Inconclusive, Verdict::Fail]);
    run.report.own_drops = 1;
    assert_eq!(verdicts(&run), [Verdict::Inconclusive; 2]);
}

#[test]
fn nothing_excuses_virtual_time() {
    let stage = stages(Time::Virtual, 1).pop().unwrap();
    let run = Run {
        pairs: Vec::new(),
        report: BackendReport {
            lateness: Lateness {
                max: us(1_000),
                ..Lateness::default()
            },
            own_drops: 1,
            ..BackendReport::default()
        },
    };
    let findings = judge(Backend::Sim, Time::Virtual, &stage, &run);
    assert_eq!(verdict_of(&findings, "accounted for"), Verdict::Fail);
    assert_eq!(verdict_of(&findings, "lateness max"), Verdict::Fail);
}

#[test]
fn a_backend_that_stops_fails() {
    let (stage, _) = load();
    let row = no_run(Backend::Lab, &stage, "it burns");
    assert_eq!(
        (row.verdict, row.measured.as_str()),
        (Verdict::Fail, "it burns")
    );
}

#[test]
fn the_worst_row_decides_and_no_row_decides_nothing() {
    let (stage, _) = load();
    let mut findings = Findings::default();
    assert_eq!(findings.verdict().exit_code(), 3);
    let row = no_run(Backend::Lab, &stage, "");
    for (verdict, exit_code) in [
        (Verdict::Pass, 0),
        (Verdict::Inconclusive, 3),
        (Verdict::Fail, 1),
        (Verdict::Pass, 1),
    ] {
        findings.rows.push(super::super::Row {
            verdict,
            ..row.clone()
        });
        assert_eq!(findings.verdict().exit_code(), exit_code);
    }
}
