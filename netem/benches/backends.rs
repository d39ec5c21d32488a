//! What the backends carry: throughput and lateness of `proxy` and `lab` as the rate grows, and how
//! much faster than real time `sim` is.
//!
//! Prints a table; nothing is asserted. The lab is left out where it is not allowed.

use std::time::{Duration, Instant};

use netem::{
    lateness::Lateness,
    model::{PairModel, Schedule},
    verify::{Ground, LabGround, PairPlan, Plan, ProxyGround, Run, SimGround, Traffic},
};

const RATES: [u32; 4] = [1_000, 10_000, 50_000, 100_000];
const PAYLOAD_BYTES: usize = 1_100;
const SECONDS: u32 = 5;

const SIM_HOSTS: u32 = 20;
const SIM_SECONDS: u32 = 60;

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() {
    println!("one pair, delay 20 ms, {PAYLOAD_BYTES} B, bursts of a millisecond, {SECONDS} s each");
    println!("backend  asked/s  arrived  own drops  late p50 / p99 / p99.9  idle timer p50 / p99");
    let grounds: [Box<dyn Ground>; 2] = [Box::new(ProxyGround), Box::new(LabGround)];
    for mut ground in grounds {
        for rate in RATES {
            match ground.run(&one_pair(rate)) {
                Ok(run) => println!("{:<8} {}", ground.backend(), row(rate, &run)),
                Err(error) => println!("{:<8} {rate:>7}  {error}", ground.backend()),
            }
        }
    }
    println!(
        "\nsim: {SIM_HOSTS} hosts in full mesh, 20 packets/s for each pair, {SIM_SECONDS} simulated s"
    );
    let began = now();
    match SimGround.run(&full_mesh()) {
        Ok(run) => {
            let wall = (now() - began).as_secs_f64();
            let arrived: usize = run.pairs.iter().map(|pair| pair.arrivals.len()).sum();
            let speed = full_mesh().lasts().as_secs_f64() / wall;
            println!("{arrived} packets in {wall:.2} s: {speed:.0} simulated s for each second");
        }
        Err(error) => println!("{error}"),
    }
}

fn row(rate: u32, run: &Run) -> String {
    let (sent, arrived) = (run.pairs[0].sent.len(), run.pairs[0].arrivals.len());
    let Lateness { p50, p99, p999, .. } = run.report.lateness;
    let idle = run.report.idle_lateness.unwrap_or_default();
    let share = 100.0 * arrived as f64 / sent as f64;
    let us = |duration: Duration| duration.as_micros();
    format!(
        "{rate:>7}  {share:>6.2}%  {:>9}  {:>5} / {:>5} / {:>5} us  {:>5} / {:>5} us",
        run.report.own_drops,
        us(p50),
        us(p99),
        us(p999),
        us(idle.p50),
        us(idle.p99),
    )
}

fn one_pair(rate: u32) -> Plan {
    let every = Duration::from_millis(1);
    Plan {
        seed: 1,
        hosts: 2,
        pairs: vec![pair(
            0,
            1,
            rate * SECONDS,
            rate / 1_000,
            every,
            PAYLOAD_BYTES,
        )],
        linger: Duration::from_millis(500),
    }
}

fn full_mesh() -> Plan {
    let hosts = (0..SIM_HOSTS).flat_map(|from| (0..SIM_HOSTS).map(move |to| (from, to)));
    let every = Duration::from_millis(50);
    let pairs = hosts.filter(|(from, to)| from != to);
    Plan {
        seed: 1,
        hosts: SIM_HOSTS,
        pairs: pairs
            .map(|(from, to)| pair(from, to, 20 * SIM_SECONDS, 1, every, 200))
            .collect(),
        linger: Duration::from_millis(500),
    }
}

fn pair(from: u32, to: u32, packets: u32, burst: u32, every: Duration, bytes: usize) -> PairPlan {
    PairPlan {
        from,
        to,
        model: PairModel::delayed(Duration::from_millis(20)),
        schedule: Schedule::default(),
        traffic: Traffic {
            packets,
            burst,
            every,
            payload_bytes: vec![bytes],
        },
    }
}

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
fn now() -> Instant {
    Instant::now()
}
