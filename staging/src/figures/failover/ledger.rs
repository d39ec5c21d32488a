//! What was sent and what arrived of each flow, and when.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use causeway::clock;
use netem::sim::Host;
use parking_lot::Mutex;

use crate::sim::fleet::{Fleet, Member};

/// Every flow's packets. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Vec<Entry>>>);

/// How a flow sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The time between two bursts.
    pub(super) every: Duration,
    /// Packets of a burst, one behind the other.
    pub(super) burst: usize,
    /// Bytes of a packet, at least 16.
    pub(super) bytes: usize,
}

/// Sound as RTP carries it: 50 packets a second.
pub(super) const SOUND: Pace = Pace {
    every: Duration::from_millis(20),
    burst: 1,
    bytes: 160,
};

/// One flow's packets, in the order of their numbers. Times are since the simulation's start.
#[derive(Debug, Default)]
struct Entry {
    sent: Vec<Duration>,
    arrived: Vec<Option<Duration>>,
}

/// One flow in the ledger.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) from: Member,
    pub(super) to: Member,
    ledger: Ledger,
    number: usize,
}

impl Ledger {
    /// Starts a program beside `from` that sends to `listen` from now on, and does not stop.
    pub(super) fn start_flow(
        &self,
        fleet: &Fleet,
        (from, to): (Member, Member),
        listen: SocketAddr,
        pace: Pace,
    ) -> anyhow::Result<(Flow, Host)> {
        let number = {
            let mut entries = self.0.lock();
            entries.push(Entry::default());
            entries.len() - 1
        };
        let host = fleet.program(from);
        let socket = host.bind_udp(([127, 0, 0, 1], 0).into())?;
        let (ledger, start) = (self.clone(), fleet.start);
        drop(host.spawn(async move {
            let mut payload = vec![0; pace.bytes];
            payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let mut next = clock::now();
            loop {
                for _ in 0..pace.burst {
                    let packet = ledger.note_sent(number, clock::now() - start);
                    payload[8..16].copy_from_slice(&packet.to_be_bytes());
                    // What the node does not take is lost, as on any socket.
                    let _ = socket.try_send_to(&payload, listen);
                }
                next += pace.every;
                clock::sleep_until(Some(next)).await;
            }
        }));
        let flow = Flow {
            from,
            to,
            ledger: self.clone(),
            number,
        };
        Ok((flow, host))
    }

    /// Starts the program beside `member` that flows lead to.
    pub(super) fn start_sink(
        &self,
        fleet: &Fleet,
        member: Member,
        at: SocketAddr,
    ) -> anyhow::Result<Host> {
        let host = fleet.program(member);
        let socket = host.bind_udp(at)?;
        let (ledger, start) = (self.clone(), fleet.start);
        drop(host.spawn(async move {
            let mut buffer = vec![0; 2_048];
            while let Ok((length, _)) = socket.recv_from(&mut buffer).await {
                ledger.note_arrived(&buffer[..length], clock::now() - start);
            }
        }));
        Ok(host)
    }

    fn note_sent(&self, flow: usize, at: Duration) -> u64 {
        let mut entries = self.0.lock();
        let entry = &mut entries[flow];
        entry.sent.push(at);
        entry.arrived.push(None);
        entry.sent.len() as u64 - 1
    }

    fn note_arrived(&self, packet: &[u8], at: Duration) {
        let word = |from: usize| -> Option<usize> {
            let bytes = packet.get(from..from + 8)?.try_into().ok()?;
            usize::try_from(u64::from_be_bytes(bytes)).ok()
        };
        let (Some(flow), Some(packet)) = (word(0), word(8)) else {
            return;
        };
        let mut entries = self.0.lock();
        let arrived = entries.get_mut(flow).map(|entry| &mut entry.arrived);
        // The first of two copies is the one that is heard.
        if let Some(arrived) = arrived.and_then(|arrived| arrived.get_mut(packet)) {
            arrived.get_or_insert(at);
        }
    }
}

impl Flow {
    /// The packets that were sent in `[from, until)`: when each was sent, and arrived.
    pub(super) fn packets(
        &self,
        from: Duration,
        until: Duration,
    ) -> Vec<(Duration, Option<Duration>)> {
        let entries = self.ledger.0.lock();
        let entry = &entries[self.number];
        let first = entry.sent.partition_point(|at| *at < from);
        let end = entry.sent.partition_point(|at| *at < until).max(first);
        let sent = entry.sent[first..end].iter().copied();
        sent.zip(entry.arrived[first..end].iter().copied())
            .collect()
    }

    /// How many of those sent in `[from, until)` never arrived.
    pub(super) fn lost(&self, from: Duration, until: Duration) -> u64 {
        let packets = self.packets(from, until);
        packets.iter().filter(|(_, at)| at.is_none()).count() as u64
    }

    /// When the first arrives that was sent at `from` or later.
    pub(super) fn first_arrival(&self, from: Duration) -> Option<Duration> {
        let packets = self.packets(from, Duration::MAX);
        packets.iter().filter_map(|(_, at)| *at).min()
    }

    /// The longest time without an arrival between `from` and `until`; all of it without any.
    pub(super) fn longest_gap(&self, from: Duration, until: Duration) -> Duration {
        let packets = self.packets(Duration::ZERO, until);
        let mut times: Vec<Duration> = packets.iter().filter_map(|(_, at)| *at).collect();
        times.retain(|at| (from..until).contains(at));
        times.extend([from, until]);
        times.sort_unstable();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }
}
