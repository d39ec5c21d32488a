//! One directed pair: its model, its random stream, and the packets that wait for its rate.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand_pcg::Pcg64;

use super::{DropCause, MAX_DELAY, random};
use crate::{counters::Counters, model::PairModel};

#[derive(Debug)]
pub(super) struct Pair {
    model: PairModel,
    up: bool,
    random: Pcg64,
    /// When each packet that waits for the rate has left, and its size; oldest first.
    sending: VecDeque<(Instant, usize)>,
    sending_bytes: usize,
    last_deadline: Option<Instant>,
    counters: Counters,
}

pub(super) enum Fate {
    Arrives(Instant),
    Dropped(DropCause),
}

impl Pair {
    pub(super) fn new(model: PairModel, random: Pcg64) -> Self {
        Self {
            model,
            up: true,
            random,
            sending: VecDeque::new(),
            sending_bytes: 0,
            last_deadline: None,
            counters: Counters::default(),
        }
    }

    /// Decides about one packet and counts it.
    pub(super) fn admit(&mut self, now: Instant, bytes: usize, engine_full: bool) -> Fate {
        let fate = self.decide(now, bytes, engine_full);
        self.counters.received += 1;
        match fate {
            Fate::Arrives(_) => self.counters.queued += 1,
            Fate::Dropped(cause) => self.counters.on_dropped(cause),
        }
        fate
    }

    pub(super) fn on_delivered(&mut self) {
        self.counters.queued -= 1;
        self.counters.delivered += 1;
    }

    pub(super) fn set_model(&mut self, model: PairModel) {
        self.model = model;
    }

    pub(super) fn set_up(&mut self, up: bool) {
        self.up = up;
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn decide(&mut self, now: Instant, bytes: usize, engine_full: bool) -> Fate {
        // Both are drawn for every packet, before anything is decided: the n-th packet of a pair
        // has the same luck whatever the model was for those before it.
        let lost = random::happens(&mut self.random, self.model.loss);
        let jitter = self.model.jitter.min(MAX_DELAY);
        let jitter_span = nanos(jitter) * 2;
        let jitter_offset = random::up_to(&mut self.random, jitter_span);

        if !self.up {
            return Fate::Dropped(DropCause::Cut);
        }
        if self.model.max_bytes.is_some_and(|max| bytes > max) {
            return Fate::Dropped(DropCause::TooLarge);
        }
        if lost {
            return Fate::Dropped(DropCause::Loss);
        }
        // Before the rate: a packet that the engine refuses must not take its time.
        if engine_full {
            return Fate::Dropped(DropCause::EngineFull);
        }
        let Some(sent_at) = self.send(now, bytes) else {
            return Fate::Dropped(DropCause::QueueFull);
        };
        let latest = self.model.delay.min(MAX_DELAY) + jitter;
        let early = Duration::from_nanos(jitter_span - jitter_offset);
        let arrives_at = sent_at + latest.saturating_sub(early);
        let deadline = self
            .last_deadline
            .map_or(arrives_at, |last| last.max(arrives_at));
        self.last_deadline = Some(deadline);
        Fate::Arrives(deadline)
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
        if self.sending_bytes.saturating_add(bytes) > rate.queue_bytes {
            return None;
        }
        let free_at = self.sending.back().map_or(now, |(sent_at, _)| *sent_at);
        let sent_at = free_at + rate.serialization(bytes).min(MAX_DELAY);
        self.sending.push_back((sent_at, bytes));
        self.sending_bytes += bytes;
        Some(sent_at)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("bounded by MAX_DELAY")
}
