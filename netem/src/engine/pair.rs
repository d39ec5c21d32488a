//! One directed pair: its model, its luck, and the packets that wait for its rate.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::Rng;
use rand_pcg::Pcg64;

use super::{
    Corruption, DropCause, HostId, MAX_DELAY,
    chance::ChanceState,
    jitter::{self, JitterState},
    loss::LossState,
    random::Luck,
    timeline::Timeline,
};
use crate::{
    counters::Counters,
    model::{Order, PairModel, Schedule},
};

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) from: HostId,
    pub(super) to: HostId,
    model: PairModel,
    cut: bool,
    timeline: Option<Timeline>,
    random: Pcg64,
    loss: LossState,
    jitter: JitterState,
    duplicate: ChanceState,
    corrupt: ChanceState,
    reorder: ChanceState,
    /// Packets since one skipped ahead.
    since_reordered: u32,
    /// When each packet that waits for the rate has left, and its size; oldest first.
    sending: VecDeque<(Instant, usize)>,
    sending_bytes: usize,
    last_deadline: Option<Instant>,
    pub(super) counters: Counters,
}

/// What becomes of a packet.
#[derive(Debug)]
pub(super) enum Fate {
    Arrives(Arrival),
    Dropped(DropCause),
}

/// How a packet arrives.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) deadline: Instant,
    pub(super) corruption: Option<Corruption>,
    /// When its copy arrives, if it has one.
    pub(super) copy: Option<Instant>,
}

impl Pair {
    pub(super) fn new(from: HostId, to: HostId, model: PairModel, mut random: Pcg64) -> Self {
        let loss = LossState::new(random.next_u64());
        Self {
            from,
            to,
            model,
            cut: false,
            timeline: None,
            random,
            loss,
            jitter: JitterState::default(),
            duplicate: ChanceState::default(),
            corrupt: ChanceState::default(),
            reorder: ChanceState::default(),
            since_reordered: 0,
            sending: VecDeque::new(),
            sending_bytes: 0,
            last_deadline: None,
            counters: Counters::default(),
        }
    }

    /// Decides about one packet and counts it. `room` is how many packets of this size the engine
    /// still takes.
    pub(super) fn admit(&mut self, now: Instant, bytes: usize, room: usize) -> Fate {
        self.counters.received += 1;
        match self.decide(now, bytes, room) {
            Ok(arrival) => {
                self.counters.queued += 1;
                if arrival.corruption.is_some() {
                    self.counters.corrupted += 1;
                }
                Fate::Arrives(arrival)
            }
            Err(cause) => {
                self.counters.on_dropped(cause);
                Fate::Dropped(cause)
            }
        }
    }

    pub(super) fn on_delivered(&mut self) {
        self.counters.queued -= 1;
        self.counters.delivered += 1;
    }

    /// Sets the model, and ends the schedule.
    pub(super) fn set_model(&mut self, model: PairModel) {
        self.timeline = None;
        self.model = model;
        self.loss.restart();
    }

    pub(super) fn set_schedule(&mut self, now: Instant, schedule: Schedule) {
        self.timeline = Some(Timeline::new(schedule, now));
    }

    pub(super) fn set_cut(&mut self, cut: bool) {
        self.cut = cut;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The model as of `now`, and whether the schedule lets the pair be up.
    pub(super) fn model(&mut self, now: Instant) -> (&PairModel, bool) {
        let up = self.advance(now);
        (&self.model, up)
    }

    /// Whether the schedule lets the pair be up.
    fn advance(&mut self, now: Instant) -> bool {
        let Some(timeline) = &mut self.timeline else {
            return true;
        };
        let step = timeline.advance(now, &mut self.model);
        if step.is_new {
            self.loss.restart();
        }
        step.up
    }

    fn decide(&mut self, now: Instant, bytes: usize, room: usize) -> Result<Arrival, DropCause> {
        let luck = Luck::draw(&mut self.random);
        let up = self.advance(now);
        let model = &self.model;
        let lost = self.loss.loses(&luck, &model.loss);
        let offset = self.jitter.offset(luck.jitter, &model.jitter);
        let corrupted = self.corrupt.happens(luck.corrupt, model.corrupt);
        let copied = self.duplicate.happens(luck.duplicate, model.duplicate);
        let skips = model
            .reorder
            .is_some_and(|reorder| self.reorder.happens(luck.reorder, reorder.chance));

        if self.cut || !up {
            return Err(DropCause::Cut);
        }
        if model.max_bytes.is_some_and(|max| bytes > max) {
            return Err(DropCause::TooLarge);
        }
        if lost {
            return Err(DropCause::Loss);
        }
        // Both before the rate: a packet that does not go must not take its time.
        if room == 0 {
            return Err(DropCause::EngineFull);
        }
        if self.is_at_limit(0) {
            return Err(DropCause::QueueFull);
        }
        let sent_at = self.send(now, bytes).ok_or(DropCause::QueueFull)?;
        let deadline = if skips && self.may_skip() {
            self.since_reordered = 0;
            self.counters.reordered += 1;
            sent_at
        } else {
            self.since_reordered = self.since_reordered.saturating_add(1);
            self.arrives(sent_at, offset)
        };
        let copy = if copied {
            self.copy(now, bytes, room, offset)
        } else {
            None
        };
        Ok(Arrival {
            deadline,
            corruption: corrupted.then_some(Corruption(luck.corrupted_bit)),
            copy,
        })
    }

    /// Sends a copy behind its original, as a packet of its own.
    fn copy(&mut self, now: Instant, bytes: usize, room: usize, offset: i64) -> Option<Instant> {
        self.counters.copied += 1;
        let cause = if room < 2 {
            DropCause::EngineFull
        } else if self.is_at_limit(1) {
            DropCause::QueueFull
        } else if let Some(sent_at) = self.send(now, bytes) {
            self.counters.queued += 1;
            return Some(self.arrives(sent_at, offset));
        } else {
            DropCause::QueueFull
        };
        self.counters.on_dropped(cause);
        None
    }

    /// When a packet arrives that has left at `sent_at`.
    fn arrives(&mut self, sent_at: Instant, offset: i64) -> Instant {
        let delay = jitter::nanos(self.model.delay).saturating_add(offset);
        let delay = delay.clamp(0, jitter::nanos(MAX_DELAY)).unsigned_abs();
        let arrives_at = sent_at + Duration::from_nanos(delay);
        let after = match self.model.jitter.order {
            Order::Kept => self.last_deadline,
            Order::Free => None,
        };
        let deadline = after.map_or(arrives_at, |last| last.max(arrives_at));
        self.last_deadline = Some(
            self.last_deadline
                .map_or(deadline, |last| last.max(deadline)),
        );
        deadline
    }

    fn may_skip(&self) -> bool {
        self.model
            .reorder
            .is_some_and(|reorder| self.since_reordered >= reorder.gap.get() - 1)
    }

    fn is_at_limit(&self, more: u64) -> bool {
        let limit = self.model.limit_packets.map(|limit| u64::from(limit.get()));
        limit.is_some_and(|limit| self.counters.queued + more >= limit)
    }

    /// When the packet's last bit leaves; `None` if the queue for the rate is full.
    fn send(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        while let Some((sent_at, sent_bytes)) = self.sending.front() {
            if *sent_at > now {
                break;
            }
            self.sending_bytes -= sent_bytes;
            self.sending.pop_front();
        }
        let Some(rate) = self.model.rate else {
            return Some(now);
        };
        let waiting = self.sending_bytes.saturating_add(bytes);
        if rate.queue_bytes.is_some_and(|max| waiting > max) {
            return None;
        }
        let free_at = self.sending.back().map_or(now, |(sent_at, _)| *sent_at);
        let sent_at = free_at + rate.serialization(bytes).min(MAX_DELAY);
        self.sending.push_back((sent_at, bytes));
        self.sending_bytes += bytes;
        Some(sent_at)
    }
}
