//! How much neighbours may say to each other.

use std::time::{Duration, Instant};

/// A bucket of items that fills at a rate, up to a burst.
///
/// Each end of a link has one for either direction: one that holds the neighbour to what it may say,
/// and a smaller one by which it paces what it says itself. So nothing that honest nodes say to each
/// other is dropped, also when the way has held it back and delivers it at once.
#[derive(Debug)]
pub(super) struct Budget {
    rate: Rate,
    /// Below zero when more was said than there was.
    items: i64,
    filled_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u32,
    burst: u32,
}

impl Budget {
    /// For what a neighbour says.
    pub(super) fn of_neighbour(now: Instant) -> Self {
        Self::new(ITEMS_PER_SECOND, BURST_ITEMS, now)
    }

    /// For what is said to a neighbour.
    pub(super) fn own(now: Instant) -> Self {
        Self::new(OWN_ITEMS_PER_SECOND, OWN_BURST_ITEMS, now)
    }

    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            rate: Rate { per_second, burst },
            items: i64::from(burst),
            filled_at: now,
        }
    }

    /// How many items there are.
    pub(super) fn left(&mut self, now: Instant) -> usize {
        self.fill(now);
        usize::try_from(self.items).unwrap_or(0)
    }

    /// Takes `items` if they are there.
    pub(super) fn take(&mut self, now: Instant, items: u32) -> bool {
        self.fill(now);
        let is_there = self.items >= i64::from(items);
        if is_there {
            self.items -= i64::from(items);
        }
        is_there
    }

    /// Takes `items` that are said in any case, on credit if need be. There is credit for a burst,
    /// which no neighbour that is honest makes use of.
    pub(super) fn charge(&mut self, now: Instant, items: u32) {
        self.fill(now);
        let most = -i64::from(self.rate.burst);
        self.items = (self.items - i64::from(items)).max(most);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_nanos();
        let (per_second, burst) = (u128::from(self.rate.per_second), i64::from(self.rate.burst));
        let filled = passed * per_second / NANOS;
        // No part of an item is lost, however often this is called.
        let took = u64::try_from(filled * NANOS / per_second).unwrap_or(u64::MAX);
        self.filled_at += Duration::from_nanos(took);
        let filled = i64::try_from(filled).unwrap_or(i64::MAX);
        self.items = self.items.saturating_add(filled).min(burst);
    }
}

/// What a neighbour may say for good: an item is a version offered or asked for, an advert, or a
/// bucket of a digest. A mesh of 1,000 nodes has some 10 to 100 news a second.
pub const ITEMS_PER_SECOND: u32 = 1_024;
/// What it may say at once: all that it knows and all that it wants, at the largest number of nodes.
pub const BURST_ITEMS: u32 = 8_192;
/// What a node says to a neighbour for good. Less than is taken, for two clocks, and for the few
/// items that the rounding of either bucket is worth.
const OWN_ITEMS_PER_SECOND: u32 = 1_000;
/// What it says at once. What the way may hold back and deliver in a heap is the rest of the
/// receiver's burst: 4 s of saying all that one may, after which the link is down.
const OWN_BURST_ITEMS: u32 = BURST_ITEMS / 2;
const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_fills_at_its_rate_however_often_it_is_looked_at() {
        let now = super::super::tests::origin();
        for step_micros in [100, 900, 1_900, 50_000] {
            let mut budget = Budget::of_neighbour(now);
            assert!(budget.take(now, BURST_ITEMS));
            for step in 0..1_000_000 / step_micros {
                budget.left(now + Duration::from_micros(step * step_micros));
            }
            let second = now + Duration::from_secs(1);
            assert_eq!(budget.left(second), ITEMS_PER_SECOND as usize);
        }
    }

    #[test]
    fn credit_is_paid_back_before_there_is_anything_to_take_and_ends_at_a_burst() {
        let now = super::super::tests::origin();
        let mut budget = Budget::own(now);
        budget.charge(now, OWN_BURST_ITEMS + 500);
        assert_eq!(budget.left(now + Duration::from_millis(500)), 0);
        assert_eq!(budget.left(now + Duration::from_millis(501)), 1);
        budget.charge(now + Duration::from_millis(501), u32::MAX);
        let paid_back = now + Duration::from_millis(501 + u64::from(OWN_BURST_ITEMS));
        assert_eq!(budget.left(paid_back + Duration::from_millis(1)), 1);
    }
}
