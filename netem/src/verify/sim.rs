//! The simulated network as a ground: a paused clock, so that hours take seconds.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{runtime, sync::oneshot};

use super::{
    ground::{
        Arrival, Backend, BackendReport, Ground, GroundError, PairPlan, PairRun, Plan, Run, Time,
    },
    payload,
};
use crate::{
    clock,
    engine::DropCause,
    lateness::LatenessHistogram,
    report::Packets,
    sim::{Event, Host, Outcome, Sim, SimConfig, UdpSocket, Undelivered},
};

/// The `sim` backend. Must not be run within a tokio runtime: it makes its own, whose time is
/// paused.
///
/// Programs on it see the milliseconds of tokio's clock; deadlines come from the simulation's
/// events, to the nanosecond.
#[derive(Debug, Default)]
pub struct SimGround;

impl Ground for SimGround {
    fn backend(&self) -> Backend {
        Backend::Sim
    }

    fn time(&self) -> Time {
        Time::Virtual
    }

    fn run(&mut self, plan: &Plan) -> Result<Run, GroundError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(failed)?;
        runtime.block_on(run(plan))
    }
}

async fn run(plan: &Plan) -> Result<Run, GroundError> {
    let start = clock::now();
    let sim = Sim::new(SimConfig {
        events_kept: 0,
        ..SimConfig::new(plan.seed)
    });
    let hosts: Vec<Host> = (0..plan.hosts)
        .map(|host| sim.host(&format!("host-{host}"), address(host)))
        .collect();
    let deadlines = observe_deadlines(&sim, plan.pairs.len());

    let ends = start + plan.lasts();
    let mut running = Vec::new();
    for (index, pair) in (0..).zip(&plan.pairs) {
        let (from, to) = (&hosts[pair.from as usize], &hosts[pair.to as usize]);
        sim.set_pair(from, to, pair.model.clone());
        sim.set_schedule(from, to, pair.schedule.clone());
        let port = FIRST_PORT + index;
        let socket = to.bind_udp((to.ip(), port).into()).map_err(failed)?;
        let arrivals = to.spawn(receive(start, ends, u32::from(index), socket));
        let socket = from.bind_udp((from.ip(), port).into()).map_err(failed)?;
        let target = SocketAddr::new(to.ip(), port);
        let sent = from.spawn(send(start, u32::from(index), pair.clone(), socket, target));
        running.push((sent, arrivals));
    }
    let mut pairs = Vec::new();
    for ((sent, arrivals), pair) in running.into_iter().zip(&plan.pairs) {
        let (from, to) = (&hosts[pair.from as usize], &hosts[pair.to as usize]);
        pairs.push(PairRun {
            began: Duration::ZERO,
            sent: finished(sent).await?,
            arrivals: finished(arrivals).await?,
            // Sockets of the simulation get what was corrupted.
            caught: 0,
            packets: Packets::from(&sim.pair_counters(from, to)),
        });
    }
    let mut lateness = LatenessHistogram::new();
    for (pair, deadlines) in pairs.iter_mut().zip(deadlines.lock().iter()) {
        // A socket gives its packets in the order in which they reached it.
        for (arrival, due) in pair.arrivals.iter_mut().zip(deadlines) {
            arrival.due = Some(*due);
            lateness.record(arrival.at.saturating_sub(*due));
        }
    }
    let report = sim.report();
    let undelivered = Undelivered::ALL.map(|cause| report.undelivered(cause));
    let own_drops = report.pairs.dropped(DropCause::EngineFull) + undelivered.iter().sum::<u64>();
    Ok(Run {
        pairs,
        report: BackendReport {
            lateness: lateness.summary(),
            idle_lateness: None,
            used_by_others: None,
            queued_bytes_max: report.queued_bytes_max as u64,
            own_drops,
        },
    })
}

/// The deadlines of the packets that reached their sockets, in that order, for each pair.
fn observe_deadlines(sim: &Sim, pairs: usize) -> Arc<Mutex<Vec<Vec<Duration>>>> {
    let deadlines = Arc::new(Mutex::new(vec![Vec::new(); pairs]));
    let seen = deadlines.clone();
    sim.observe(move |event: &Event| {
        if let Outcome::Delivered { late } = event.outcome {
            let pair = usize::from(event.to.port() - FIRST_PORT);
            seen.lock()[pair].push(event.at - late);
        }
    });
    deadlines
}

async fn send(
    start: Instant,
    index: u32,
    pair: PairPlan,
    socket: UdpSocket,
    target: SocketAddr,
) -> Result<Vec<Duration>, GroundError> {
    let mut sent = Vec::with_capacity(pair.traffic.packets as usize);
    for departure in pair.traffic.departures() {
        let at = start + departure.at;
        let mut now = clock::now();
        if at > now {
            clock::sleep_until(Some(at)).await;
            now = clock::now();
        }
        let payload = payload::write(index, departure.sequence, departure.payload_bytes);
        sent.push(now - start);
        socket.try_send_to(&payload, target).map_err(failed)?;
    }
    Ok(sent)
}

async fn receive(
    start: Instant,
    ends: Instant,
    index: u32,
    socket: UdpSocket,
) -> Result<Vec<Arrival>, GroundError> {
    let mut arrivals = Vec::new();
    let mut buffer = [0; MAX_PAYLOAD_BYTES];
    let over = clock::sleep_until(Some(ends));
    tokio::pin!(over);
    loop {
        let bytes = tokio::select! {
            biased;
            received = socket.recv_from(&mut buffer) => received.map_err(failed)?.0,
            () = &mut over => return Ok(arrivals),
        };
        let read = payload::read(&buffer[..bytes]).filter(|read| read.pair == index);
        let read = read.ok_or_else(|| failed("a packet arrived that nobody sent"))?;
        arrivals.push(Arrival {
            sequence: read.sequence,
            at: clock::now() - start,
            due: None,
            flipped_bits: read.flipped_bits,
        });
    }
}

async fn finished<T>(task: oneshot::Receiver<Result<T, GroundError>>) -> Result<T, GroundError> {
    task.await
        .unwrap_or_else(|_| Err(failed("a task ended early")))
}

fn failed(reason: impl ToString) -> GroundError {
    GroundError::Failed {
        reason: reason.to_string(),
    }
}

fn address(host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + host)
}

/// Each pair has a port of its own at both ends, from this one on.
const FIRST_PORT: u16 = 1_000;

/// Above the largest payload of any plan.
const MAX_PAYLOAD_BYTES: usize = 2_048;
