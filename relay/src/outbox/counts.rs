//! What happened to the packets of one link.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Class;
use crate::deadline::DatagramError;

/// What happened to the packets of one link. Every packet pushed is in one of them, once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Data packets that wait in the pump or on their way to it.
    pub backlog: usize,
    /// Dropped because the link ended, or has no datagrams.
    pub dropped_closed: u64,
    /// Data dropped because newer data came: the oldest of the queue.
    pub dropped_data: u64,
    /// Data dropped because the pump had no turn for a whole batch: the newest.
    pub dropped_handover: u64,
    /// Probes dropped because newer ones came, or because there are too many at once.
    pub dropped_probes: u64,
    /// Dropped because the path no longer carries packets so large.
    pub dropped_too_large: u64,
    /// How often data was held back for the control stream.
    pub holds: u64,
    /// How often that was in vain.
    pub holds_in_vain: u64,
    /// Data sent in the caller's own turn.
    pub sent_direct: u64,
    /// Data sent by the pump.
    pub sent_queued: u64,
    /// Probes sent.
    pub sent_probes: u64,
}

impl OutboxCounts {
    /// Data that was dropped while the link lived.
    pub fn dropped(&self) -> u64 {
        self.dropped_data + self.dropped_handover + self.dropped_too_large
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    dropped_closed: AtomicU64,
    dropped_data: AtomicU64,
    dropped_handover: AtomicU64,
    dropped_probes: AtomicU64,
    dropped_too_large: AtomicU64,
    holds: AtomicU64,
    holds_in_vain: AtomicU64,
    sent_direct: AtomicU64,
    sent_probes: AtomicU64,
    sent_queued: AtomicU64,
}

impl Counters {
    pub(super) fn on_direct(&self, class: Class) {
        add(match class {
            Class::Probe => &self.sent_probes,
            Class::Data => &self.sent_direct,
        });
    }

    pub(super) fn on_pumped(&self, class: Class) {
        add(match class {
            Class::Probe => &self.sent_probes,
            Class::Data => &self.sent_queued,
        });
    }

    pub(super) fn on_pushed_out(&self, class: Class) {
        add(match class {
            Class::Probe => &self.dropped_probes,
            Class::Data => &self.dropped_data,
        });
    }

    pub(super) fn on_handover_full(&self, class: Class) {
        add(match class {
            Class::Probe => &self.dropped_probes,
            Class::Data => &self.dropped_handover,
        });
    }

    pub(super) fn on_error(&self, error: &DatagramError) {
        match error {
            DatagramError::TooLarge { .. } => add(&self.dropped_too_large),
            DatagramError::Closed(_) | DatagramError::Full | DatagramError::Unsupported => {
                self.on_closed(1);
            }
        }
    }

    pub(super) fn on_closed(&self, packets: u64) {
        self.dropped_closed.fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn on_hold(&self) {
        add(&self.holds);
    }

    pub(super) fn on_hold_in_vain(&self) {
        add(&self.holds_in_vain);
    }

    pub(super) fn read(&self, backlog: usize) -> OutboxCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutboxCounts {
            backlog,
            dropped_closed: get(&self.dropped_closed),
            dropped_data: get(&self.dropped_data),
            dropped_handover: get(&self.dropped_handover),
            dropped_probes: get(&self.dropped_probes),
            dropped_too_large: get(&self.dropped_too_large),
            holds: get(&self.holds),
            holds_in_vain: get(&self.holds_in_vain),
            sent_direct: get(&self.sent_direct),
            sent_probes: get(&self.sent_probes),
            sent_queued: get(&self.sent_queued),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
