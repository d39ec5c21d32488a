//! The flows of one UDP listen: one for each client address, opened before they carry packets.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

/// Limits of a [`FlowTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowLimits {
    /// Clients that may have a flow at a time; packets of further ones are dropped.
    pub(crate) flows: usize,
    /// A flow with no packet either way for so long is closed.
    pub(crate) idle: Duration,
}

/// Decides what happens to a client's packets; `L` is a link's handle.
///
/// ```text
///            packet                    accepted
///   (none) ─────────▶ Opening, holds ──────────▶ Open ── idle ──▶ (none)
///                      │   ▲   packets             │
///    refused, or late  │   └────── link is gone ───┘
///                      ▼
///                   Refused ── a while ──▶ (none)
/// ```
///
/// A flow is opened on a link before its first packet is sent there, since the far end drops what
/// it knows no flow for; the first packets are held for that round trip.
#[derive(Debug)]
pub(crate) struct FlowTable<L> {
    limits: FlowLimits,
    by_client: BTreeMap<SocketAddr, u32>,
    flows: BTreeMap<u32, Flow<L>>,
    held_bytes: usize,
}

#[derive(Debug)]
struct Flow<L> {
    client: SocketAddr,
    next_sequence: u64,
    last_packet: Instant,
    phase: Phase<L>,
}

#[derive(Debug)]
enum Phase<L> {
    Opening {
        link: Option<L>,
        give_up_at: Instant,
        held: VecDeque<Bytes>,
    },
    Open {
        link: L,
    },
    Refused {
        until: Instant,
    },
}

/// What to do with a client's packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<L> {
    /// It is dropped, for this reason.
    Drop(FlowDrop),
    /// It is held until its flow is open.
    Hold,
    /// It is held, and its flow must be opened: call [`FlowTable::handle_opening`] with the link.
    Open {
        /// The flow.
        flow: u32,
    },
    /// It goes out now.
    Send {
        /// The flow.
        flow: u32,
        /// Its number in the flow.
        sequence: u64,
        /// The link that the flow is open on.
        link: L,
    },
}

/// Why a client's packet was dropped at the listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowDrop {
    /// More packets came while the flow was opened than are held.
    HeldFull,
    /// The far end refused the flow a moment ago.
    Refused,
    /// The listen has as many flows as it may.
    TooManyFlows,
}

/// What a timeout has brought to an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended<L> {
    /// The flow.
    pub(crate) flow: u32,
    /// The link on which the far end should be told, if it may know the flow.
    pub(crate) link: Option<L>,
    /// Packets that were held and are dropped now.
    pub(crate) dropped: usize,
}

impl<L: Clone> FlowTable<L> {
    /// Starts with no flow.
    pub(crate) fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            by_client: BTreeMap::new(),
            flows: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    /// Decides about a packet of `client`.
    ///
    /// - `usable`: whether a flow may go on using the link it is on.
    /// - `new_flow`: mints the number of a new flow.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        client: SocketAddr,
        payload: &[u8],
        usable: impl Fn(&L) -> bool,
        new_flow: impl FnOnce() -> u32,
    ) -> Verdict<L> {
        let Some(&number) = self.by_client.get(&client) else {
            return self.admit(now, client, payload, new_flow());
        };
        let flow = self
            .flows
            .get_mut(&number)
            .expect("both maps hold the same flows");
        flow.last_packet = now;
        match &mut flow.phase {
            Phase::Open { link } if usable(link) => {
                let sequence = flow.next_sequence;
                flow.next_sequence += 1;
                return Verdict::Send {
                    flow: number,
                    sequence,
                    link: link.clone(),
                };
            }
            Phase::Opening {
                link: Some(link), ..
            } if usable(link) => {}
            Phase::Refused { until } if now < *until => return Verdict::Drop(FlowDrop::Refused),
            // Nothing was found to open it on, or its link is gone: look for one again.
            Phase::Opening { link, .. } => {
                *link = None;
                return match self.hold(number, payload) {
                    Verdict::Hold => Verdict::Open { flow: number },
                    dropped => dropped,
                };
            }
            Phase::Open { .. } | Phase::Refused { .. } => {
                flow.phase = opening(now);
                return match self.hold(number, payload) {
                    Verdict::Hold => Verdict::Open { flow: number },
                    dropped => dropped,
                };
            }
        }
        self.hold(number, payload)
    }

    /// The flow is being opened on `link`.
    pub(crate) fn handle_opening(&mut self, flow: u32, on: L) {
        if let Some(Flow {
            phase: Phase::Opening { link, .. },
            ..
        }) = self.flows.get_mut(&flow)
        {
            *link = Some(on);
        }
    }

    /// The far end of `link` took the flow: what was held goes out, with its sequence numbers.
    pub(crate) fn handle_accepted(
        &mut self,
        flow: u32,
        on: &L,
        same: impl Fn(&L, &L) -> bool,
    ) -> Vec<(u64, Bytes)> {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return Vec::new();
        };
        let Phase::Opening {
            link: Some(link),
            held,
            ..
        } = &mut entry.phase
        else {
            return Vec::new();
        };
        // An answer from a link that the flow has left says nothing about the one it is on.
        if !same(link, on) {
            return Vec::new();
        }
        let (held, link) = (std::mem::take(held), link.clone());
        self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
        entry.phase = Phase::Open { link };
        let first = entry.next_sequence;
        entry.next_sequence += held.len() as u64;
        (first..).zip(held).collect()
    }

    /// The far end of `link` has lost the flow: it is opened again with its next packet.
    pub(crate) fn handle_closed(
        &mut self,
        now: Instant,
        flow: u32,
        on: &L,
        same: impl Fn(&L, &L) -> bool,
    ) {
        if let Some(Flow { phase, .. }) = self.flows.get_mut(&flow)
            && matches!(phase, Phase::Open { link } if same(link, on))
        {
            *phase = opening(now);
        }
    }

    /// The far end refused the flow: the number of packets dropped with it.
    ///
    /// Its client's packets are dropped for a while, so that each does not become a request.
    pub(crate) fn handle_refused(&mut self, now: Instant, flow: u32) -> usize {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return 0;
        };
        let refused = Phase::Refused {
            until: now + REFUSED_FOR,
        };
        let was = std::mem::replace(&mut entry.phase, refused);
        self.release(&was)
    }

    /// When [`FlowTable::handle_timeout`] has something to do, at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.flows
            .values()
            .map(|flow| self.ends_at(flow, flow.last_packet))
            .min()
    }

    /// Ends what was idle or could not be opened for too long.
    ///
    /// - `last_reply`: when the last packet of a flow came back, for those that had one.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        last_reply: impl Fn(u32) -> Option<Instant>,
    ) -> Vec<Ended<L>> {
        let mut due = Vec::new();
        for (number, flow) in &mut self.flows {
            if let Some(reply) = last_reply(*number) {
                flow.last_packet = flow.last_packet.max(reply);
            }
        }
        for (number, flow) in &self.flows {
            if self.ends_at(flow, flow.last_packet) <= now {
                due.push(*number);
            }
        }
        due.into_iter()
            .filter_map(|number| self.end(number))
            .collect()
    }

    /// Ends every flow, as when the listen closes.
    pub(crate) fn end_all(&mut self) -> Vec<Ended<L>> {
        let all: Vec<u32> = self.flows.keys().copied().collect();
        all.into_iter()
            .filter_map(|number| self.end(number))
            .collect()
    }

    fn admit(
        &mut self,
        now: Instant,
        client: SocketAddr,
        payload: &[u8],
        number: u32,
    ) -> Verdict<L> {
        if self.flows.len() >= self.limits.flows {
            return Verdict::Drop(FlowDrop::TooManyFlows);
        }
        let flow = Flow {
            client,
            next_sequence: 0,
            last_packet: now,
            phase: opening(now),
        };
        self.by_client.insert(client, number);
        self.flows.insert(number, flow);
        match self.hold(number, payload) {
            Verdict::Hold => Verdict::Open { flow: number },
            dropped => dropped,
        }
    }

    fn hold(&mut self, number: u32, payload: &[u8]) -> Verdict<L> {
        let flow = self
            .flows
            .get_mut(&number)
            .expect("the caller has found it");
        let Phase::Opening { held, .. } = &mut flow.phase else {
            unreachable!("only flows that are being opened hold packets")
        };
        if held.len() >= MAX_HELD || self.held_bytes + payload.len() > MAX_HELD_BYTES {
            return Verdict::Drop(FlowDrop::HeldFull);
        }
        held.push_back(Bytes::copy_from_slice(payload));
        self.held_bytes += payload.len();
        Verdict::Hold
    }

    fn ends_at(&self, flow: &Flow<L>, last_packet: Instant) -> Instant {
        match flow.phase {
            Phase::Opening { give_up_at, .. } => give_up_at,
            Phase::Open { .. } => last_packet + self.limits.idle,
            Phase::Refused { until } => until,
        }
    }

    fn end(&mut self, number: u32) -> Option<Ended<L>> {
        let flow = self.flows.remove(&number)?;
        self.by_client.remove(&flow.client);
        let dropped = self.release(&flow.phase);
        let link = match flow.phase {
            Phase::Opening { link, .. } => link,
            Phase::Open { link } => Some(link),
            Phase::Refused { .. } => None,
        };
        Some(Ended {
            flow: number,
            link,
            dropped,
        })
    }

    /// Gives back what a phase held of the table's bytes: the number of packets.
    fn release(&mut self, phase: &Phase<L>) -> usize {
        let Phase::Opening { held, .. } = phase else {
            return 0;
        };
        self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
        held.len()
    }
}

fn opening<L>(now: Instant) -> Phase<L> {
    Phase::Opening {
        link: None,
        give_up_at: now + OPEN_WITHIN,
        held: VecDeque::new(),
    }
}

/// A key frame at 1,200 bytes each, for one round trip.
const MAX_HELD: usize = 128;
/// All flows of a listen together.
const MAX_HELD_BYTES: usize = 4 << 20;
/// Several round trips between the farthest regions; what is older is of no use to real time.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
const REFUSED_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "flow_table/tests.rs"]
mod tests;
