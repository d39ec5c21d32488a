//! What became of the packets.

use crate::engine::DropCause;

/// Packets that were handed in, and what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed in.
    pub received: u64,
    /// Copies that were made; each is delivered, queued or dropped as any packet is.
    pub copied: u64,
    /// Packets of which a bit was flipped, copies not counted.
    pub corrupted: u64,
    /// Packets that skipped delay and jitter.
    pub reordered: u64,
    /// Arrived.
    pub delivered: u64,
    /// On their way.
    pub queued: u64,
    dropped: [u64; DropCause::ALL.len()],
}

impl Counters {
    /// Dropped for this cause.
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.dropped[index(cause)]
    }

    /// Dropped for any cause.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether every packet that was handed in, and every copy, is accounted for.
    pub fn is_conserved(&self) -> bool {
        self.received + self.copied == self.delivered + self.queued + self.dropped_total()
    }

    pub(crate) fn on_dropped(&mut self, cause: DropCause) {
        self.dropped[index(cause)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.copied += other.copied;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.delivered += other.delivered;
        self.queued += other.queued;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
    }
}

/// The place of `cause` in [`DropCause::ALL`].
fn index(cause: DropCause) -> usize {
    cause as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_counter_of_its_own() {
        let mut counters = Counters::default();
        for cause in DropCause::ALL {
            counters.on_dropped(cause);
            assert_eq!(counters.dropped(cause), 1, "{cause:?}");
        }
        assert_eq!(counters.dropped_total(), 5);
    }
}
