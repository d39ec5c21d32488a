//! Packets of one turn for local programs: each program gets all of its own together.

use std::{io, sync::Arc, time::Instant};

use bytes::Bytes;

use super::FlowSink;
use crate::{
    counts::{Counts, PacketDrop},
    env::PacketRun,
    wire::{Direction, FlowId},
};

/// Collects what a turn has for local programs, then sends it, flow after flow and in runs of equal
/// packets, each of which is one call of the system where the socket can do that.
///
/// Its lists are used again by the next turn; they hold at most what a burst brings.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    flows: Vec<Target>,
    packets: Vec<Delivery>,
    run: Vec<u8>,
}

#[derive(Debug)]
struct Target {
    direction: Direction,
    flow: FlowId,
    sink: Arc<FlowSink>,
}

#[derive(Debug)]
struct Delivery {
    /// The place of its flow in the turn's list.
    flow: usize,
    /// Keeps the packets of a flow in their order.
    order: usize,
    payload: Bytes,
}

/// A flow that this turn has packets for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(usize);

impl Deliveries {
    /// Finds a flow that this turn had a packet for already.
    pub(super) fn find(&self, direction: Direction, flow: FlowId) -> Option<Place> {
        let same = |target: &Target| target.flow == flow && target.direction == direction;
        // Packets of one flow mostly come together.
        self.flows.iter().rposition(same).map(Place)
    }

    /// Adds a flow that [`Self::find`] does not find.
    pub(super) fn add(&mut self, direction: Direction, flow: FlowId, sink: Arc<FlowSink>) -> Place {
        self.flows.push(Target {
            direction,
            flow,
            sink,
        });
        Place(self.flows.len() - 1)
    }

    /// Takes a packet for a flow of this turn.
    pub(super) fn push(&mut self, place: Place, payload: Bytes) {
        self.packets.push(Delivery {
            flow: place.0,
            order: self.packets.len(),
            payload,
        });
    }

    /// Sends everything. What a socket does not take is dropped, and counted by its reason.
    pub(super) fn flush(&mut self, now: Instant, counts: &Counts) {
        for target in &self.flows {
            target.sink.activity.touch(now);
        }
        self.packets
            .sort_unstable_by_key(|packet| (packet.flow, packet.order));
        let mut rest = &self.packets[..];
        while let Some(first) = rest.first() {
            let (together, after) = rest.split_at(run_length(rest));
            let run = if let [alone] = together {
                PacketRun::one(&alone.payload)
            } else {
                self.run.clear();
                for packet in together {
                    self.run.extend_from_slice(&packet.payload);
                }
                PacketRun::new(&self.run, first.payload.len())
            };
            send(&self.flows[first.flow].sink, run, counts);
            rest = after;
        }
        self.packets.clear();
        self.flows.clear();
    }
}

/// How many packets from the first on, at least one, go to one flow and make a run: all of one
/// length but the last, which may be shorter.
fn run_length(packets: &[Delivery]) -> usize {
    let Some(first) = packets.first() else {
        return 0;
    };
    let stride = first.payload.len();
    if stride == 0 || stride > MAX_RUN_BYTES {
        return 1;
    }
    let mut length = 1;
    for packet in packets[1..].iter().take(MAX_RUN_BYTES / stride - 1) {
        let bytes = packet.payload.len();
        if packet.flow != first.flow || bytes == 0 || bytes > stride {
            break;
        }
        length += 1;
        if bytes < stride {
            break;
        }
    }
    length
}

fn send(sink: &FlowSink, run: PacketRun<'_>, counts: &Counts) {
    let mut rest = Some(run);
    while let Some(run) = rest {
        let dealt_with = match sink.socket.try_send_run(run, sink.to) {
            Ok(sent) => {
                counts.packets_delivered.add(sent as u64);
                sent
            }
            // There will not be room for the others either.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                counts
                    .packets_dropped
                    .add(PacketDrop::LocalFull, run.len() as u64);
                return;
            }
            Err(error) => {
                counts.drop_packet(match error.kind() {
                    io::ErrorKind::ConnectionRefused => PacketDrop::LocalRefused,
                    _ => PacketDrop::LocalError,
                });
                1
            }
        };
        rest = run.skip(dealt_with);
    }
}

/// What fits one call of the system; see `host`.
const MAX_RUN_BYTES: usize = 65_000;

#[cfg(test)]
#[path = "deliveries/tests.rs"]
mod tests;
