//! A plan's packets through real sockets: one thread sends them all, another receives.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags};

use super::{
    ground::{Arrival, PairRun, Plan},
    payload,
};
use crate::{clock, realtime};

/// One host's socket, and where the others reach it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) socket: UdpSocket,
    pub(super) reached_at: SocketAddr,
}

/// Sends a plan's packets from `start` on and receives until it is over. The counters of the runs
/// are left empty.
pub(super) fn exchange(plan: &Plan, ends: &[End], start: Instant) -> io::Result<Vec<PairRun>> {
    for end in ends {
        end.socket.set_nonblocking(true)?;
    }
    let (sent, arrivals) = thread::scope(|scope| {
        let arrivals = scope.spawn(|| receive(plan, ends, start));
        let sent = send(plan, ends, start);
        let arrivals = arrivals
            .join()
            .map_err(|_| io::Error::other("a receiver panicked"));
        (sent, arrivals.flatten())
    });
    let runs = sent?
        .into_iter()
        .zip(arrivals?)
        .map(|(sent, arrivals)| PairRun {
            sent,
            arrivals,
            ..PairRun::default()
        });
    Ok(runs.collect())
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
