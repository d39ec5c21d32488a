//! The flows of one UDP listen: one for each client address, opened before they carry packets.

mod flow;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::flow::{Flow, Next, Phase, Spare, Wish};
use crate::routes::Fit;

/// Limits of a [`FlowTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowLimits {
    /// Clients that may have a flow at a time; packets of further ones are dropped.
    pub(crate) flows: usize,
    /// A flow with no packet either way for so long is closed.
    pub(crate) idle: Duration,
}

/// What the table asks about ways; `W` is a way's handle.
pub(crate) trait Ways<W> {
    /// What `way` is good for now.
    fn fit(&self, way: &W) -> Fit;

    /// Whether both lead over the same link and the same nodes.
    fn is_same(&self, a: &W, b: &W) -> bool;

    /// How the node that `way` leads to is reached now, if it is.
    fn course(&self, way: &W) -> Option<Course<W>>;
}

/// How a node is reached.
#[derive(Debug, Clone)]
pub(crate) struct Course<W> {
    /// The way that traffic takes.
    pub(crate) primary: W,
    /// The way that stands by.
    pub(crate) backup: Option<W>,
}

/// Decides what happens to a client's packets; `W` is a way's handle.
///
/// ```text
///            packet                    accepted
///   (none) ─────────▶ Opening, holds ──────────▶ Open ── idle ──▶ (none)
///                      │   ▲   packets            │ ▲ another way is better: opened there too,
///    refused, or late  │   └────── way is gone ───┤ ├─ sends on the old one until that is accepted
///                      ▼           and no spare   │ │
///                   Refused ── a while ──▶ (none) └─┘ way is gone: sends on the spare
/// ```
///
/// A flow is opened on a way before its first packet is sent there, since the far end drops what
/// it knows no flow for; the first packets are held for that round trip. A flow that is open on the
/// way in use is therefore opened on the one that stands by as well. When the way in use breaks and
/// the *spare* is accepted, it takes over with the next packet: nothing is held and nobody is asked.
/// The far end is told afterwards, and again until it answers, so that packets back follow.
///
/// While there are flows, the table looks at their ways every [`LOOK_EVERY`], so that a flow moves
/// even if its client is silent and only the service sends, and so that spares follow the routes. A
/// flow that was open once is kept until it is idle, however long no way is there.
#[derive(Debug)]
pub(crate) struct FlowTable<W> {
    limits: FlowLimits,
    by_client: BTreeMap<SocketAddr, u32>,
    flows: BTreeMap<u32, Flow<W>>,
    held_bytes: usize,
    /// No flow ends before; later if packets came meanwhile.
    next_end: Option<Instant>,
    /// When to look at the ways; `None` without flows.
    next_look: Option<Instant>,
    /// No look before: the frames of the last one need time to leave.
    no_look_before: Option<Instant>,
}

/// What to do with a client's packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<W> {
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
    /// It is held, and its flow must be opened: call [`FlowTable::handle_opening`] with the way.
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
        /// The way that the flow is open on.
        way: W,
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
pub(crate) struct Due<W> {
    /// Flows that have ended.
    pub(crate) ended: Vec<Ended<W>>,
    /// Flows to be opened on another way, with their clients: call [`FlowTable::handle_opening`]
    /// for each that a way was found for.
    pub(crate) to_open: Vec<(u32, SocketAddr)>,
    /// What the far ends are to be told of flows that are open.
    pub(crate) to_say: Vec<Say<W>>,
    /// Packets that were held for too long, and are dropped.
    pub(crate) dropped: usize,
}

/// Asks for an open flow on one more way, or makes that way the one in use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Say<W> {
    /// The flow.
    pub(crate) flow: u32,
    /// Its client.
    pub(crate) client: SocketAddr,
    /// The way.
    pub(crate) way: W,
    /// Whether it stands by; else packets back are to take it.
    pub(crate) spare: bool,
}

/// A flow that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended<W> {
    /// The flow.
    pub(crate) flow: u32,
    /// The way on which the far end should be told, if it may know the flow.
    pub(crate) way: Option<W>,
}

/// What was held for a flow that is open now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released<W> {
    /// The way that it is open on.
    pub(crate) way: W,
    /// The packets, with their numbers in the flow.
    pub(crate) packets: Vec<(u64, Bytes)>,
}

impl<W: Clone> FlowTable<W> {
    /// Starts with no flow.
    pub(crate) fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            by_client: BTreeMap::new(),
            flows: BTreeMap::new(),
            held_bytes: 0,
            next_end: None,
            next_look: None,
            no_look_before: None,
        }
    }

    /// Decides about a packet of `client`.
    ///
    /// - `new_flow`: mints the number of a new flow.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        client: SocketAddr,
        payload: &[u8],
        ways: &impl Ways<W>,
        new_flow: impl FnOnce() -> u32,
    ) -> Verdict<W> {
        let known = self.by_client.get(&client).copied();
        let Some((number, flow)) = known.and_then(|n| Some((n, self.flows.get_mut(&n)?))) else {
            return self.admit(now, client, payload, new_flow());
        };
        flow.last_packet = now;
        let mut fit = flow.own_fit(now, ways);
        if fit == Fit::Gone {
            flow.renew(ways);
            fit = flow.own_fit(now, ways);
        }
        let took_over = fit == Fit::Gone && flow.take_over(now, ways);
        let has_way = took_over || fit != Fit::Gone;
        let verdict = match &mut flow.phase {
            Phase::Open { way, .. } if has_way => {
                let sequence = flow.next_sequence;
                flow.next_sequence += 1;
                Verdict::Send {
                    flow: number,
                    sequence,
                    way: way.clone(),
                }
            }
            Phase::Opening { .. } if has_way => self.hold(number, payload),
            Phase::Refused { until } if now < *until => Verdict::Drop(FlowDrop::Refused),
            // Nothing was found to open it on, or its way is gone: look for one again.
            Phase::Opening { way, .. } => {
                *way = None;
                self.hold_and_open(number, payload)
            }
            Phase::Open { .. } | Phase::Refused { .. } => match flow.reopen(now, ways) {
                true => self.hold_and_open(number, payload),
                false => self.hold(number, payload),
            },
        };
        if took_over {
            self.look_soon(now);
        }
        verdict
    }

    /// The flow is being opened on `on`.
    pub(crate) fn handle_opening(&mut self, now: Instant, flow: u32, on: W) {
        match self.flows.get_mut(&flow).map(|flow| &mut flow.phase) {
            Some(Phase::Opening { way, .. }) => *way = Some(on),
            Some(Phase::Open { next, .. }) => {
                *next = Some(Next {
                    way: Some(on),
                    until: now + OPEN_WITHIN,
                });
            }
            Some(Phase::Refused { .. }) | None => {}
        }
    }

    /// Whether a node on `way` could not go on a moment ago, so that `flow` should not take it.
    pub(crate) fn avoids(&self, now: Instant, flow: u32, way: &W, ways: &impl Ways<W>) -> bool {
        let flow = self.flows.get(&flow);
        flow.is_some_and(|flow| flow.avoids(now, way, ways))
    }

    /// The far end took the flow: what was held goes out, with its sequence numbers.
    ///
    /// - `is_meant`: whether the answer came on a way.
    pub(crate) fn handle_accepted(
        &mut self,
        flow: u32,
        is_meant: impl Fn(&W) -> bool,
    ) -> Option<Released<W>> {
        let entry = self.flows.get_mut(&flow)?;
        // An answer on a way that the flow has left says nothing about the one it is on.
        let (way, held, spare) = match &mut entry.phase {
            Phase::Opening {
                way: Some(way),
                held,
                ..
            } if is_meant(way) => (way.clone(), std::mem::take(held), None),
            Phase::Open {
                way, confirm_at, ..
            } if is_meant(way) => {
                *confirm_at = None;
                return None;
            }
            Phase::Open {
                next: Some(Next { way: Some(way), .. }),
                spare,
                ..
            } if is_meant(way) => {
                let other = |spare: &Spare<W>| !spare.way().is_some_and(&is_meant);
                let spare = spare.take().filter(other);
                (way.clone(), VecDeque::new(), spare)
            }
            Phase::Open {
                spare: Some(spare), ..
            } => {
                if let Spare::Asked { way, .. } = spare
                    && is_meant(way)
                {
                    *spare = Spare::Ready { way: way.clone() };
                }
                return None;
            }
            Phase::Opening { .. } | Phase::Open { .. } | Phase::Refused { .. } => return None,
        };
        self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
        entry.was_open = true;
        entry.phase = Phase::Open {
            way: way.clone(),
            next: None,
            spare,
            confirm_at: None,
        };
        let first = entry.next_sequence;
        entry.next_sequence += held.len() as u64;
        let packets = (first..).zip(held).collect();
        Some(Released { way, packets })
    }

    /// The far end has lost the flow: it is opened again at once.
    ///
    /// - `is_meant`: whether it said so about a way.
    pub(crate) fn handle_closed(
        &mut self,
        now: Instant,
        flow: u32,
        is_meant: impl Fn(&W) -> bool,
        ways: &impl Ways<W>,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let is_its_way = matches!(&entry.phase, Phase::Open { way, .. } if is_meant(way));
        match &mut entry.phase {
            Phase::Opening { way, .. } => {
                way.take_if(|way| is_meant(way));
            }
            Phase::Open { next, spare, .. } => {
                next.take_if(|next| next.way.as_ref().is_some_and(&is_meant));
                spare.take_if(|spare| spare.way().is_some_and(&is_meant));
            }
            Phase::Refused { .. } => return,
        }
        // One flow with one socket there: if it is lost on this way, it is on the spare.
        if is_its_way {
            entry.reopen(now, ways);
        }
        self.look_soon(now);
    }

    /// A node on the way cannot go on: the flow leaves that way at once and keeps off it a while.
    ///
    /// - `is_meant`: whether a way leads there.
    pub(crate) fn handle_unreachable(
        &mut self,
        now: Instant,
        flow: u32,
        is_meant: impl Fn(&W) -> bool,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let until = now + AVOIDED_FOR;
        let mut broken = Vec::new();
        match &mut entry.phase {
            Phase::Opening { way, .. } => broken.extend(way.take_if(|way| is_meant(way))),
            Phase::Open {
                way, next, spare, ..
            } => {
                broken.extend(Some(way.clone()).filter(|way| is_meant(way)));
                let next = next.take_if(|next| next.way.as_ref().is_some_and(&is_meant));
                broken.extend(next.and_then(|next| next.way));
                if let Some(way) = spare.as_ref().and_then(Spare::way).filter(|w| is_meant(w)) {
                    broken.push(way.clone());
                    *spare = Some(Spare::Refused { until });
                }
            }
            Phase::Refused { .. } => return,
        }
        if broken.is_empty() {
            return;
        }
        for way in broken {
            entry.avoid(now, way, until);
        }
        self.look_soon(now);
    }

    /// The far end refused the flow: the number of packets dropped with it.
    ///
    /// Its client's packets are dropped for a while, so that each does not become a request. A flow
    /// that was to move there stays where it is.
    ///
    /// - `is_meant`: whether the answer came on a way.
    pub(crate) fn handle_refused(
        &mut self,
        now: Instant,
        flow: u32,
        is_meant: impl Fn(&W) -> bool,
    ) -> usize {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return 0;
        };
        let until = now + REFUSED_FOR;
        match &mut entry.phase {
            Phase::Opening {
                way: Some(way),
                held,
                ..
            } if is_meant(way) => {
                let dropped = held.len();
                self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
                entry.phase = Phase::Refused { until };
                self.ends_by(until);
                dropped
            }
            // It had taken the flow as a spare, and does not know it any more.
            Phase::Open {
                way,
                confirm_at: Some(_),
                ..
            } if is_meant(way) => {
                entry.phase = Phase::Refused { until };
                self.ends_by(until);
                0
            }
            Phase::Open {
                next: Some(next), ..
            } if next.way.as_ref().is_some_and(&is_meant) => {
                *next = Next { way: None, until };
                0
            }
            Phase::Open {
                spare: Some(spare), ..
            } if spare.way().is_some_and(&is_meant) => {
                *spare = Spare::Refused { until };
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
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        last_reply: impl Fn(u32) -> Option<Instant>,
        ways: &impl Ways<W>,
    ) -> Due<W> {
        let mut due = Due {
            ended: Vec::new(),
            to_open: Vec::new(),
            to_say: Vec::new(),
            dropped: 0,
        };
        if self.next_end.is_some_and(|at| at <= now) {
            self.end_due(now, last_reply, &mut due);
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.look_at_ways(now, ways, &mut due);
        }
        due
    }

    fn end_due(
        &mut self,
        now: Instant,
        last_reply: impl Fn(u32) -> Option<Instant>,
        due: &mut Due<W>,
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
            let way = match flow.phase {
                Phase::Opening { way, held, .. } => {
                    self.held_bytes -= held.iter().map(Bytes::len).sum::<usize>();
                    due.dropped += held.len();
                    way
                }
                // Told where it was asked for last, so that the end is not overtaken.
                Phase::Open { way, next, .. } => {
                    Some(next.and_then(|next| next.way).unwrap_or(way))
                }
                Phase::Refused { .. } => None,
            };
            due.ended.push(Ended { flow: number, way });
        }
    }

    fn look_at_ways(&mut self, now: Instant, ways: &impl Ways<W>, due: &mut Due<W>) {
        let mut wait = LOOK_EVERY;
        for (number, flow) in &mut self.flows {
            // What takes no frame is done for all of them at once.
            let stale = flow.settle(now, ways);
            due.dropped += stale.len();
            self.held_bytes -= stale.iter().map(Bytes::len).sum::<usize>();
            let Some(wish) = flow.wish(now, ways) else {
                continue;
            };
            if due.to_open.len() + due.to_say.len() == MOVES_AT_ONCE {
                wait = MOVE_PAUSE;
                continue;
            }
            flow.handle_said(now, &wish);
            let (way, spare) = match wish {
                Wish::Open => {
                    due.to_open.push((*number, flow.client));
                    continue;
                }
                Wish::Confirm(way) => (way, false),
                Wish::Spare(way) => (way, true),
            };
            due.to_say.push(Say {
                flow: *number,
                client: flow.client,
                way,
                spare,
            });
        }
        self.next_look = (!self.flows.is_empty()).then(|| now + wait);
        self.no_look_before = Some(now + MOVE_PAUSE);
    }

    /// Looks at the ways at once, unless that was done just now.
    fn look_soon(&mut self, now: Instant) {
        let at = self.no_look_before.map_or(now, |before| before.max(now));
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
    }

    fn admit(
        &mut self,
        now: Instant,
        client: SocketAddr,
        payload: &[u8],
        number: u32,
    ) -> Verdict<W> {
        if self.flows.len() >= self.limits.flows {
            return Verdict::Drop(FlowDrop::TooManyFlows);
        }
        // An open flow ends later still, which is found out then.
        self.ends_by((now + OPEN_WITHIN).min(now + self.limits.idle));
        self.next_look.get_or_insert(now + LOOK_EVERY);
        self.by_client.insert(client, number);
        self.flows.insert(number, Flow::new(now, client));
        self.hold_and_open(number, payload)
    }

    fn hold_and_open(&mut self, flow: u32, payload: &[u8]) -> Verdict<W> {
        match self.hold(flow, payload) {
            Verdict::Drop(why) => Verdict::DropAndOpen { flow, why },
            _ => Verdict::Open { flow },
        }
    }

    fn hold(&mut self, number: u32, payload: &[u8]) -> Verdict<W> {
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

/// A key frame at 1,200 bytes each, for one round trip.
const MAX_HELD: usize = 128;
/// All flows of a listen together.
const MAX_HELD_BYTES: usize = 4 << 20;
/// Several round trips between the farthest regions; what is older is of no use to real time.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// By then the router has heard of it too, and what it publishes counts.
const AVOIDED_FOR: Duration = Duration::from_secs(1);
/// A quarter of the time for which a link that another one replaces is kept.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Each move is a control frame; their queue holds twice as many.
const MOVES_AT_ONCE: usize = 128;
/// Four thousand flows have moved after 0.7 s.
const MOVE_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
#[path = "flow_table/tests.rs"]
mod tests;
