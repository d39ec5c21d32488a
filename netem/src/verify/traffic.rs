//! A plan's packets through real sockets: one thread sends them all, another receives.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use super::{
    ground::{Arrival, PairRun, Plan},
    payload,
};
use crate::{
    clock,
    lateness::{Lateness, LatenessHistogram},
    realtime,
};

/// One host's socket, and where the others reach it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) socket: UdpSocket,
    pub(super) reached_at: SocketAddr,
}

/// What was sent and received, and how late a timer was meanwhile that had nothing else to do.
#[derive(Debug)]
pub(super) struct Exchanged {
    /// Without the backend's counters.
    pub(super) pairs: Vec<PairRun>,
    pub(super) timer: Lateness,
}

/// Sends a plan's packets from `start` on and receives until it is over.
pub(super) fn exchange(plan: &Plan, ends: &[End], start: Instant) -> io::Result<Exchanged> {
    for end in ends {
        end.socket.set_nonblocking(true)?;
    }
    let (sent, arrivals, timer) = thread::scope(|scope| {
        let timer = scope.spawn(|| watch(start + plan.lasts()));
        let arrivals = scope.spawn(|| receive(plan, ends, start));
        let sent = send(plan, ends, start);
        (sent, joined(arrivals), joined(timer))
    });
    let pairs = sent?.into_iter().zip(arrivals?);
    let pairs = pairs.map(|(sent, arrivals)| PairRun {
        sent,
        arrivals,
        ..PairRun::default()
    });
    Ok(Exchanged {
        pairs: pairs.collect(),
        timer: timer?,
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    let panicked = |_| io::Error::other("a thread of the measurement panicked");
    thread.join().map_err(panicked)?
}

/// How late a timer of a millisecond is, again and again.
fn watch(until: Instant) -> io::Result<Lateness> {
    realtime::be_precise()?;
    let mut histogram = LatenessHistogram::new();
    while clock::now() < until {
        let due = clock::now() + Duration::from_millis(1);
        realtime::wait(&mut [], Some(due))?;
        histogram.record(clock::now().saturating_duration_since(due));
    }
    Ok(histogram.summary())
}

/// When each packet of each pair was sent.
fn send(plan: &Plan, ends: &[End], start: Instant) -> io::Result<Vec<Vec<Duration>>> {
    realtime::be_precise()?;
    let pairs = plan.pairs.iter().zip(0..);
    let mut departures: Vec<_> = pairs
        .flat_map(|(pair, index)| pair.traffic.departures().map(move |packet| (packet, index)))
        .collect();
    departures.sort_by_key(|(packet, pair)| (packet.at, *pair, packet.sequence));
    let mut sent = vec![Vec::new(); plan.pairs.len()];
    for (packet, index) in departures {
        let pair = &plan.pairs[index as usize];
        let payload = payload::write(index, packet.sequence, packet.payload_bytes);
        let due = start + packet.at;
        if clock::now() < due {
            realtime::wait(&mut [], Some(due))?;
        }
        let (from, to) = (&ends[pair.from as usize], &ends[pair.to as usize]);
        sent[index as usize].push(clock::now().saturating_duration_since(start));
        from.socket.send_to(&payload, to.reached_at)?;
    }
    Ok(sent)
}

/// What arrived of each pair.
fn receive(plan: &Plan, ends: &[End], start: Instant) -> io::Result<Vec<Vec<Arrival>>> {
    realtime::be_precise()?;
    let over = start + plan.lasts();
    let mut arrivals = vec![Vec::new(); plan.pairs.len()];
    let mut buffer = vec![0; MAX_PAYLOAD_BYTES];
    while clock::now() < over {
        let waits = ends
            .iter()
            .map(|end| PollFd::from_borrowed_fd(end.socket.as_fd(), PollFlags::IN));
        let mut waits: Vec<_> = waits.collect();
        realtime::wait(&mut waits, Some(over))?;
        for (end, wait) in ends.iter().zip(&waits) {
            if wait.revents().is_empty() {
                continue;
            }
            loop {
                let bytes = match end.socket.recv_from(&mut buffer) {
                    Ok((bytes, _)) => bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let at = clock::now().saturating_duration_since(start);
                // What is none of ours was damaged beyond what any model does; it shows as lost.
                if let Some(read) = payload::read(&buffer[..bytes])
                    && let Some(arrivals) = arrivals.get_mut(read.pair as usize)
                {
                    arrivals.push(Arrival {
                        sequence: read.sequence,
                        at,
                        due: None,
                        flipped_bits: read.flipped_bits,
                    });
                }
            }
        }
    }
    Ok(arrivals)
}

const MAX_PAYLOAD_BYTES: usize = 65_536;
