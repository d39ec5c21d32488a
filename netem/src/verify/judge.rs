//! From what happened to rows.

use std::time::Duration;

use super::{
    checks::{LATENESS_ALLOWED, LeansOn, Measured},
    ground::{Backend, BackendReport, Run, Time},
    plan::Stage,
    report::{Findings, Row, Verdict},
};
use crate::lateness::Lateness;

/// The rows of one stage.
pub(super) fn judge(backend: Backend, time: Time, stage: &Stage, run: &Run) -> Findings {
    let mut findings = Findings::default();
    let doubts = Doubts::of(time, &run.report);
    let row = |model: &str, test: &str, asked: &str, measured: Measured, doubtful: bool| Row {
        backend,
        model: model.to_owned(),
        test: test.to_owned(),
        asked: asked.to_owned(),
        verdict: verdict(measured.holds, doubtful),
        measured: measured.shown,
    };
    for (case, pair) in stage.cases.iter().zip(&run.pairs) {
        for check in &case.checks {
            findings.random_tests += u32::from(check.is_random);
            let measured = check.judge(pair);
            let doubtful = doubts.about(check.leans_on);
            let checked = row(case.name, check.test, &check.asked, measured, doubtful);
            findings.rows.push(checked);
        }
    }
    let books = accounted_for(stage, run);
    let doubtful = doubts.about(LeansOn::Packets);
    findings.rows.push(row(
        stage.name,
        "accounted for",
        "every packet",
        books,
        doubtful,
    ));
    if stage.is_load {
        for (test, bound, measured) in latenesses(time, &run.report) {
            let holds = measured < bound;
            let measured = Measured {
                shown: format!("{} us", measured.as_micros()),
                holds,
            };
            let asked = format!("below {bound:?}");
            findings
                .rows
                .push(row(stage.name, test, &asked, measured, doubts.host_is_late));
        }
    }
    findings
}

/// The row of a stage that could not be run.
pub(super) fn no_run(backend: Backend, stage: &Stage, reason: &str) -> Row {
    Row {
        backend,
        model: stage.name.to_owned(),
        test: "run".to_owned(),
        asked: "to its end".to_owned(),
        measured: reason.to_owned(),
        verdict: Verdict::Fail,
    }
}

impl Findings {
    /// Appends those of another stage.
    pub(super) fn add(&mut self, others: Self) {
        self.rows.extend(others.rows);
        self.random_tests += others.random_tests;
    }
}

/// Why a failure may say nothing about the emulator.
#[derive(Debug, Clone, Copy)]
struct Doubts {
    /// Its timers are late while nothing happens, or others used it during the run.
    host_is_late: bool,
    /// The emulator was late with a packet, for whatever reason.
    run_was_late: bool,
    lost_own: bool,
}

impl Doubts {
    fn of(time: Time, report: &BackendReport) -> Self {
        if time == Time::Virtual {
            return Self {
                host_is_late: false,
                run_was_late: false,
                lost_own: false,
            };
        }
        // The emulator may use as much again. A host that stands still for longer than that at times
        // does so in the run as well: rows that look at the worst packet see it, and so does the
        // median, since what is due meanwhile leaves late together.
        let timers_are_late = |idle: Option<Lateness>| {
            let is_late =
                |idle: Lateness| idle.p99 >= LATENESS_ALLOWED / 2 || idle.max >= LATENESS_ALLOWED;
            idle.is_none_or(is_late)
        };
        let is_busy = |share: Option<f64>| share.is_none_or(|share| share >= BUSY);
        Self {
            host_is_late: timers_are_late(report.idle_lateness) || is_busy(report.used_by_others),
            run_was_late: report.lateness.max >= LATENESS_ALLOWED,
            lost_own: report.own_drops > 0,
        }
    }

    fn about(self, leans_on: LeansOn) -> bool {
        match leans_on {
            LeansOn::Packets => self.lost_own,
            LeansOn::Timers => self.lost_own || self.host_is_late || self.run_was_late,
        }
    }
}

fn verdict(holds: bool, doubtful: bool) -> Verdict {
    match (holds, doubtful) {
        (true, _) => Verdict::Pass,
        (false, true) => Verdict::Inconclusive,
        (false, false) => Verdict::Fail,
    }
}

/// Whether what was sent, what the backend counted and what arrived are one.
fn accounted_for(stage: &Stage, run: &Run) -> Measured {
    let wrong = |what: String| Measured {
        shown: what,
        holds: false,
    };
    if run.report.own_drops > 0 {
        return wrong(format!("{} lost by the emulator", run.report.own_drops));
    }
    if run.pairs.len() != stage.cases.len() {
        return wrong(format!("{} pairs ran", run.pairs.len()));
    }
    let mut total = 0;
    for (case, pair) in stage.cases.iter().zip(&run.pairs) {
        let packets = &pair.packets;
        let (sent, arrived) = (pair.sent.len() as u64, pair.arrivals.len() as u64);
        total += sent;
        let name = case.name;
        if sent != u64::from(case.traffic.packets) {
            return wrong(format!("{name}: {sent} sent"));
        }
        if packets.received != sent {
            return wrong(format!(
                "{name}: {sent} sent, {} received",
                packets.received
            ));
        }
        if packets.delivered != arrived + pair.caught {
            return wrong(format!(
                "{name}: {} delivered, {arrived} arrived, {} caught",
                packets.delivered, pair.caught
            ));
        }
        if !packets.conserved || packets.queued > 0 {
            return wrong(format!("{name}: {packets:?}"));
        }
    }
    Measured {
        shown: format!("all {total}"),
        holds: true,
    }
}

/// A share of the host's processors beyond which others delay who sends, emulates and receives,
/// which take two of them at times.
const BUSY: f64 = 0.1;

/// What the lateness must be below.
fn latenesses(time: Time, report: &BackendReport) -> Vec<(&'static str, Duration, Duration)> {
    let lateness = report.lateness;
    match time {
        Time::Real => vec![
            ("lateness p50", MEDIAN_LATENESS_ALLOWED, lateness.p50),
            ("lateness p99", LATENESS_ALLOWED, lateness.p99),
        ],
        Time::Virtual => vec![("lateness max", TICK, lateness.max)],
    }
}

/// At 10,000 packets/s.
const MEDIAN_LATENESS_ALLOWED: Duration = Duration::from_micros(100);

/// Of tokio's clock.
const TICK: Duration = Duration::from_millis(1);
