//! Keeps a condition that repeats from flooding the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Says about once in [`EVERY_MS`] that it is time to warn of a condition again.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    next_ms: AtomicU64,
}

impl Seldom {
    /// Whether to warn now; if not, the occurrence is one for the debug log.
    ///
    /// - `now_ms`: as [`crate::mesh::Mesh::millis`] tells it.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let next = self.next_ms.load(Ordering::Relaxed);
        // Of several at the same moment, one wins.
        now_ms >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now_ms + EVERY_MS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

/// Six lines a minute tell an operator as much as six thousand.
const EVERY_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_occurrence_is_due_and_then_one_in_ten_seconds() {
        let seldom = Seldom::default();
        assert!(seldom.is_due(0));
        assert!(!seldom.is_due(EVERY_MS - 1));
        assert!(seldom.is_due(EVERY_MS));
        assert!(!seldom.is_due(EVERY_MS));
    }
}
