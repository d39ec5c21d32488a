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

/// What a link is good for, as far as a flow on it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It carries packets, and goes on doing so.
    Good,
    /// It carries packets, but another one takes over: the flow should move.
    Leaving,
    /// It carries nothing.
    Gone,
}

/// Decides what happens to a client's packets; `L` is a link's handle.
///
/// ```text
///            packet                    accepted
///   (none) ─────────▶ Opening, holds ──────────▶ Open ── idle ──▶ (none)
///                      │   ▲   packets            │ ▲ link is leaving: opened on another,
///    refused, or late  │   └────── link is gone ──┘ └─ sends on the old one until that is accepted
///                      ▼
///                   Refused ── a while ──▶ (none)
/// ```
///
/// A flow is opened on a link before its first packet is sent there, since the far end drops what
/// it knows no flow for; the first packets are held for that round trip. While there are flows, the
/// table looks at their links every [`LOOK_EVERY`], so that a flow moves even if its client is
/// silent and only the service sends. A flow that was open once is kept until it is idle, however
/// long no link is there.
#[derive(Debug)]
pub(crate) struct FlowTable<L> {
    limits: FlowLimits,
    by_client: BTreeMap<SocketAddr, u32>,
    flows: BTreeMap<u32, Flow<L>>,
    held_bytes: usize,
    /// No flow ends before; later if packets came meanwhile.
    next_end: Option<Instant>,
    /// When to look at the links; `None` without flows.
    next_look: Option<Instant>,
}

#[derive(Debug)]
struct Flow<L> {
    client: SocketAddr,
    next_sequence: u64,
    last_packet: Instant,
    /// Whether it was accepted once.
    was_open: bool,
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
        next: Option<Next<L>>,
    },
    Refused {
        until: Instant,
    },
}

/// The way of an open flow to another link.
#[derive(Debug)]
struct Next<L> {
    /// Where it is being opened; `None` if it was refused there.
    link: Option<L>,
    /// When to try again.
    until: Instant,
}

/// What to do with a client's packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<L> {
    /// It is dropped, for this reason.
    Drop(FlowDrop),
    /// It is dropped, for this reason, but its flow is to be opened all the same, as with
    /// [`Verdict::Open`]: what is held waits for that.
    DropAndOpen {
        /// The flow.
        flow: u32,
        /// Why the packet is dropped.
        why: FlowDrop,
    },
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

/// What a timeout has brought about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<L> {
    /// Flows that have ended.
    pub(crate) ended: Vec<Ended<L>>,
    /// Flows to be opened on another link, with their clients: call [`FlowTable::handle_opening`]
    /// for each that a link was found for.
    pub(crate) to_open: Vec<(u32, SocketAddr)>,
    /// Packets that were held for too long, and are dropped.
    pub(crate) dropped: usize,
}

/// A flow that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended<L> {
    /// The flow.
    pub(crate) flow: u32,
    /// The link on which the far end should be told, if it may know the flow.
    pub(crate) link: Option<L>,
}

impl<L: Clone> FlowTable<L> {
    /// Starts with no flow.
    pub(crate) fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            by_client: BTreeMap::new(),
            flows: BTreeMap::new(),
            held_bytes: 0,
            next_end: None,
            next_look: None,
        }
    }

    /// Decides about a packet of `client`.
    ///
    /// - `fit`: what a link is good for.
    /// - `new_flow`: mints the number of a new flow.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        client: SocketAddr,
        payload: &[u8],
        fit: impl Fn(&L) -> Fit,
        new_flow: impl FnOnce() -> u32,
    ) -> Verdict<L> {
        let known = self.by_client.get(&client).copied();
        let Some((number, flow)) = known.and_then(|n| Some((n, self.flows.get_mut(&n)?))) else {
            return self.admit(now, client, payload, new_flow());
        };
        flow.last_packet = now;
        match &mut flow.phase {
            Phase::Open { link, .. } if fit(link) != Fit::Gone => {
                let sequence = flow.next_sequence;
                flow.next_sequence += 1;
                Verdict::Send {
                    flow: number,
                    sequence,
                    link: link.clone(),
                }
            }
            Phase::Opening {
                link: Some(link), ..
            } if fit(link) != Fit::Gone => self.hold(number, payload),
            Phase::Refused { until } if now < *until => Verdict::Drop(FlowDrop::Refused),
            // Nothing was found to open it on, or its link is gone: look for one again.
            Phase::Opening { link, .. } => {
                *link = None;
                self.hold_and_open(number, payload)
            }
            Phase::Open { next, .. } => {
                let on_its_way = next
                    .take()
                    .and_then(|next| next.link)
                    .filter(|link| fit(link) != Fit::Gone);
                let opened = on_its_way.is_some();
                flow.phase = opening(now, on_its_way);
                if opened {
                    self.hold(number, payload)
                } else {
                    self.hold_and_open(number, payload)
                }
            }
            Phase::Refused { .. } => {
                flow.phase = opening(now, None);
                self.hold_and_open(number, payload)
            }
        }
    }

    /// The flow is being opened on `link`.
    pub(crate) fn handle_opening(&mut self, now: Instant, flow: u32, on: L) {
        match self.flows.get_mut(&flow).map(|flow| &mut flow.phase) {
            Some(Phase::Opening { link, .. }) => *link = Some(on),
            Some(Phase::Open { next, .. }) => {
                *next = Some(Next {
                    link: Some(on),
                    until: now + OPEN_WITHIN,
                });
            }
            Some(Phase::Refused { .. }) | None => {}
        }
    }

    /// The far end of `on` took the flow: what was held goes out, with its sequence numbers.
    pub(crate) fn handle_accepted(
        &mut self,
        flow: u32,
        on: &L,
        same: impl Fn(&L, &L) -> bool,
    ) -> Vec<(u64, Bytes)> {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return Vec::new();
        };
        // An answer from a link that the flow has left says nothing about the one it is on.
        let held = match &mut entry.phase {
            Phase::Opening {
                link: Some(link),
                held,
                ..
            } if same(link, on) => std::mem::take(held),
            Phase::Open {
                next: Some(Next {
                    link: Some(link), ..
                }),
                ..
            } if same(link, on) => VecDeque::new(),
            Phase::Opening { .. } | Phase::Open { .. } | Phase::Refused { .. } => {
                return Vec::new();
            }
        };
        self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
        entry.was_open = true;
        entry.phase = Phase::Open {
            link: on.clone(),
            next: None,
        };
        let first = entry.next_sequence;
        entry.next_sequence += held.len() as u64;
        (first..).zip(held).collect()
    }

    /// The far end of `on` has lost the flow: it is opened again at once.
    pub(crate) fn handle_closed(
        &mut self,
        now: Instant,
        flow: u32,
        on: &L,
        same: impl Fn(&L, &L) -> bool,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        match &mut entry.phase {
            Phase::Open { link, next } if same(link, on) => {
                let on_its_way = next.take().and_then(|next| next.link);
                entry.phase = opening(now, on_its_way.filter(|link| !same(link, on)));
            }
            Phase::Open { next, .. } => {
                let lost = |next: &mut Next<L>| next.link.as_ref().is_some_and(|l| same(l, on));
                next.take_if(lost);
            }
            Phase::Opening { link, .. } => {
                link.take_if(|link| same(link, on));
            }
            Phase::Refused { .. } => return,
        }
        self.next_look = Some(now);
    }

    /// The far end of `on` refused the flow: the number of packets dropped with it.
    ///
    /// Its client's packets are dropped for a while, so that each does not become a request. A flow
    /// that was to move there stays where it is.
    pub(crate) fn handle_refused(
        &mut self,
        now: Instant,
        flow: u32,
        on: &L,
        same: impl Fn(&L, &L) -> bool,
    ) -> usize {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return 0;
        };
        let until = now + REFUSED_FOR;
        match &mut entry.phase {
            Phase::Opening {
                link: Some(link),
                held,
                ..
            } if same(link, on) => {
                let dropped = held.len();
                self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
                entry.phase = Phase::Refused { until };
                self.ends_by(until);
                dropped
            }
            Phase::Open {
                next: Some(next), ..
            } if next.link.as_ref().is_some_and(|link| same(link, on)) => {
                *next = Next { link: None, until };
                0
            }
            Phase::Opening { .. } | Phase::Open { .. } | Phase::Refused { .. } => 0,
        }
    }

    /// When [`FlowTable::handle_timeout`] may have something to do. Costs nothing: asked for with
    /// every packet.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.next_end, self.next_look].into_iter().flatten().min()
    }

    /// Ends what was idle or could not be opened for too long, and moves what has to move.
    ///
    /// - `last_reply`: when the last packet of a flow came back, for those that had one.
    /// - `fit`: what a link is good for.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        last_reply: impl Fn(u32) -> Option<Instant>,
        fit: impl Fn(&L) -> Fit,
    ) -> Due<L> {
        let mut due = Due {
            ended: Vec::new(),
            to_open: Vec::new(),
            dropped: 0,
        };
        if self.next_end.is_some_and(|at| at <= now) {
            self.end_due(now, last_reply, &mut due);
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.look_at_links(now, fit, &mut due);
        }
        due
    }

    fn end_due(
        &mut self,
        now: Instant,
        last_reply: impl Fn(u32) -> Option<Instant>,
        due: &mut Due<L>,
    ) {
        let mut over = Vec::new();
        self.next_end = None;
        for (number, flow) in &mut self.flows {
            if let Some(reply) = last_reply(*number) {
                flow.last_packet = flow.last_packet.max(reply);
            }
            let ends_at = flow.ends_at(self.limits.idle);
            if ends_at <= now {
                over.push(*number);
            } else {
                self.next_end = Some(self.next_end.map_or(ends_at, |next| next.min(ends_at)));
            }
        }
        for number in over {
            let Some(flow) = self.flows.remove(&number) else {
                continue;
            };
            self.by_client.remove(&flow.client);
            let link = match flow.phase {
                Phase::Opening { link, held, .. } => {
                    self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
                    due.dropped += held.len();
                    link
                }
                // Told where it was asked for last, so that the end is not overtaken.
                Phase::Open { link, next } => Some(next.and_then(|next| next.link).unwrap_or(link)),
                Phase::Refused { .. } => None,
            };
            due.ended.push(Ended { flow: number, link });
        }
    }

    fn look_at_links(&mut self, now: Instant, fit: impl Fn(&L) -> Fit, due: &mut Due<L>) {
        let mut wait = LOOK_EVERY;
        for (number, flow) in &mut self.flows {
            let moves = match &mut flow.phase {
                Phase::Open { link, next } => match fit(link) {
                    Fit::Good => {
                        *next = None;
                        false
                    }
                    Fit::Leaving => next.as_ref().is_none_or(|next| next.until <= now),
                    Fit::Gone => {
                        let next = next.take().and_then(|next| next.link);
                        let next = next.filter(|link| fit(link) != Fit::Gone);
                        let moves = next.is_none();
                        flow.phase = opening(now, next);
                        moves
                    }
                },
                Phase::Opening {
                    link,
                    give_up_at,
                    held,
                } => {
                    // The first opening ends the flow when it is late, another one starts over.
                    if flow.was_open && *give_up_at <= now {
                        due.dropped += held.len();
                        self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
                        held.clear();
                        *link = None;
                        *give_up_at = now + OPEN_WITHIN;
                    }
                    link.take_if(|link| fit(link) == Fit::Gone);
                    link.is_none()
                }
                Phase::Refused { .. } => false,
            };
            if !moves {
                continue;
            }
            if due.to_open.len() == MOVES_AT_ONCE {
                wait = MOVE_PAUSE;
                break;
            }
            due.to_open.push((*number, flow.client));
        }
        self.next_look = (!self.flows.is_empty()).then(|| now + wait);
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
            was_open: false,
            phase: opening(now, None),
        };
        // An open flow ends later still, which is found out then.
        self.ends_by((now + OPEN_WITHIN).min(now + self.limits.idle));
        self.next_look.get_or_insert(now + LOOK_EVERY);
        self.by_client.insert(client, number);
        self.flows.insert(number, flow);
        self.hold_and_open(number, payload)
    }

    fn hold_and_open(&mut self, flow: u32, payload: &[u8]) -> Verdict<L> {
        match self.hold(flow, payload) {
            Verdict::Drop(why) => Verdict::DropAndOpen { flow, why },
            _ => Verdict::Open { flow },
        }
    }

    fn hold(&mut self, number: u32, payload: &[u8]) -> Verdict<L> {
        let phase = self.flows.get_mut(&number).map(|flow| &mut flow.phase);
        let Some(Phase::Opening { held, .. }) = phase else {
            unreachable!("only flows that are being opened hold packets")
        };
        if held.len() >= MAX_HELD || self.held_bytes + payload.len() > MAX_HELD_BYTES {
            return Verdict::Drop(FlowDrop::HeldFull);
        }
        held.push_back(Bytes::copy_from_slice(payload));
        self.held_bytes += payload.len();
        Verdict::Hold
    }

    fn ends_by(&mut self, at: Instant) {
        self.next_end = Some(self.next_end.map_or(at, |next| next.min(at)));
    }
}

impl<L> Flow<L> {
    fn ends_at(&self, idle: Duration) -> Instant {
        match self.phase {
            Phase::Opening { give_up_at, .. } if !self.was_open => give_up_at,
            Phase::Opening { .. } | Phase::Open { .. } => self.last_packet + idle,
            Phase::Refused { until } => until,
        }
    }
}

fn opening<L>(now: Instant, link: Option<L>) -> Phase<L> {
    Phase::Opening {
        link,
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
/// A quarter of the time for which a link that another one replaces is kept.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Each move is a control frame; their queue holds twice as many.
const MOVES_AT_ONCE: usize = 128;
/// Four thousand flows have moved after 0.7 s.
const MOVE_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
#[path = "flow_table/tests.rs"]
mod tests;
