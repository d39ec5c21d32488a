//! What is verified: each model with the traffic that shows it, and what is measured then.

use std::time::Duration;

use super::{
    checks::Check,
    ground::{PairPlan, Plan, Time, Traffic},
    payload,
};
use crate::{
    ip::{IPV4_HEADER_BYTES, UDP_HEADER_BYTES},
    model::{PairModel, Schedule},
};

mod damage;
mod jitter;
mod limits;
mod loss;
mod schedules;

/// One run: a plan, and what is measured of each of its pairs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) plan: Plan,
    /// As the plan's pairs.
    pub(super) cases: Vec<Case>,
    /// Whether the backend's lateness is measured in it.
    pub(super) is_load: bool,
}

/// One model, and what is measured of it.
#[derive(Debug)]
pub(super) struct Case {
    /// The model in words, as the table shows it.
    pub(super) name: &'static str,
    pub(super) model: PairModel,
    pub(super) schedule: Schedule,
    pub(super) traffic: Traffic,
    pub(super) checks: Vec<Check>,
}

impl Case {
    fn new(name: &'static str, model: PairModel, traffic: Traffic, checks: Vec<Check>) -> Self {
        Self {
            name,
            model,
            schedule: Schedule::default(),
            traffic,
            checks,
        }
    }
}

/// The runs of a backend, in order.
pub(super) fn stages(time: Time, seed: u64) -> Vec<Stage> {
    let models = stage("models", cases(time), seed, time == Time::Virtual);
    match time {
        Time::Real => vec![models, stage("10,000 packets/s", load(), seed, true)],
        // What is late there is late by the clock's tick, whatever the load.
        Time::Virtual => vec![models],
    }
}

/// Every model.
pub(super) fn cases(time: Time) -> Vec<Case> {
    let mut cases = jitter::cases(time);
    cases.extend(loss::cases(time));
    cases.extend(damage::cases(time));
    cases.extend(limits::cases(time));
    cases.extend(schedules::cases());
    cases
}

/// Nothing but load, for the lateness under it: 20 pairs of 500 packets/s, for three seconds.
fn load() -> Vec<Case> {
    let traffic = Traffic {
        packets: 1_500,
        ..steady(Time::Real)
    };
    let case = || {
        Case::new(
            "load",
            PairModel::delayed(BASE),
            traffic.clone(),
            Vec::new(),
        )
    };
    (0..20).map(|_| case()).collect()
}

fn stage(name: &'static str, cases: Vec<Case>, seed: u64, is_load: bool) -> Stage {
    let pairs = cases
        .iter()
        .zip(directed_pairs())
        .map(|(case, (from, to))| PairPlan {
            from,
            to,
            model: case.model.clone(),
            schedule: case.schedule.clone(),
            traffic: case.traffic.clone(),
        });
    let pairs: Vec<_> = pairs.collect();
    assert_eq!(pairs.len(), cases.len(), "more cases than pairs of hosts");
    Stage {
        name,
        plan: Plan {
            seed,
            hosts: HOSTS,
            pairs,
            linger: LINGER,
        },
        cases,
        is_load,
    }
}

/// Every two hosts in both directions.
fn directed_pairs() -> impl Iterator<Item = (u32, u32)> {
    let pairs = (0..HOSTS).flat_map(|from| (0..HOSTS).map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to)
}

/// Packets that are always alike, as many as time allows: what random models are measured with.
fn steady(time: Time) -> Traffic {
    match time {
        Time::Real => regular(5_000, Duration::from_millis(2)),
        Time::Virtual => regular(200_000, Duration::from_millis(1)),
    }
}

/// Small packets one by one.
fn regular(packets: u32, every: Duration) -> Traffic {
    Traffic {
        packets,
        burst: 1,
        every,
        payload_bytes: vec![payload::MIN_BYTES],
    }
}

/// Packets of this size, IP and UDP headers included, in bursts.
fn bursts(bursts: u32, burst: u32, every: Duration, packet_bytes: usize) -> Traffic {
    Traffic {
        packets: bursts * burst,
        burst,
        every,
        payload_bytes: vec![packet_bytes - HEADER_BYTES],
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs are over IPv4.
const HEADER_BYTES: usize = IPV4_HEADER_BYTES + UDP_HEADER_BYTES;

/// 30 directed pairs.
const HOSTS: u32 = 6;

/// The delay of models that are about something else: on the schedule it shows, and nothing is
/// clamped at zero.
const BASE: Duration = Duration::from_millis(10);

/// Twice what the slowest packet of the widest jitter takes among 100,000.
const LINGER: Duration = Duration::from_secs(3);
