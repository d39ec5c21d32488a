//! How much a neighbour may say.

use std::time::Instant;

/// A bucket of items that fills at [`ITEMS_PER_SECOND`] up to [`BURST_ITEMS`].
#[derive(Debug)]
pub(super) struct Budget {
    items: u32,
    filled_at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            items: BURST_ITEMS,
            filled_at: now,
        }
    }

    /// Takes `items` if they are there.
    pub(super) fn take(&mut self, now: Instant, items: u32) -> bool {
        let passed = now.saturating_duration_since(self.filled_at).as_millis();
        let filled = passed * u128::from(ITEMS_PER_SECOND) / 1_000;
        if filled > 0 {
            let filled = u32::try_from(filled).unwrap_or(u32::MAX);
            self.items = self.items.saturating_add(filled).min(BURST_ITEMS);
            self.filled_at = now;
        }
        let left = self.items.checked_sub(items);
        self.items = left.unwrap_or(self.items);
        left.is_some()
    }
}

/// What a neighbour may say for good: an item is a version offered or asked for, an advert, or a
/// bucket of a digest. A mesh of 1,000 nodes has some 10 to 100 news a second.
pub const ITEMS_PER_SECOND: u32 = 1_024;
/// What it may say at once: all that it knows and all that it wants, at the largest number of nodes.
pub const BURST_ITEMS: u32 = 8_192;
