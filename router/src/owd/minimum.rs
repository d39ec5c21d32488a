//! The least of a window of time.

use std::time::Duration;

/// The least value of the last 30 to 31 s, in constant memory and time.
///
/// A slot holds the least of its second. Only when a second begins are the slots gone through.
#[derive(Debug, Clone)]
pub(super) struct WindowedMinimum {
    /// `EMPTY` where a second had no value.
    slots: [i64; SLOTS],
    /// The second that values belong to now, counted from the start.
    second: u64,
    lowest: i64,
}

impl WindowedMinimum {
    pub(super) fn new() -> Self {
        Self {
            slots: [EMPTY; SLOTS],
            second: 0,
            lowest: EMPTY,
        }
    }

    /// Time went on to this much after the start. Seconds that left the window are forgotten.
    pub(super) fn advance(&mut self, since_start: Duration) {
        let second = since_start.as_secs();
        if second <= self.second {
            return;
        }
        let passed = (second - self.second).min(SLOTS as u64);
        for gone in 1..=passed {
            self.slots[slot(self.second + gone)] = EMPTY;
        }
        // After more than a whole window they are empty all the same.
        self.second = second;
        self.lowest = self.slots.iter().copied().min().unwrap_or(EMPTY);
    }

    /// Takes a value in, and returns the least with it.
    pub(super) fn insert(&mut self, value: i64) -> i64 {
        let current = &mut self.slots[slot(self.second)];
        *current = value.min(*current);
        self.lowest = value.min(self.lowest);
        self.lowest
    }

    /// The least, if there is any value in the window.
    pub(super) fn lowest(&self) -> Option<i64> {
        (self.lowest != EMPTY).then_some(self.lowest)
    }

    pub(super) fn clear(&mut self) {
        self.slots = [EMPTY; SLOTS];
        self.lowest = EMPTY;
    }
}

fn slot(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

/// How far back the least delay is remembered.
///
/// Long enough that a queue which comes and goes leaves a moment without it, and that a hundred
/// probes at their slow pace are in it; short enough that a longer path is learned in half a
/// minute, and that two clocks' drift stays far below the queues that matter.
pub const WINDOW: Duration = Duration::from_secs(30);

/// Whole seconds of the window, and the one that has begun.
const SLOTS: usize = WINDOW.as_secs() as usize + 1;

/// No difference of two clocks: it saturates below.
const EMPTY: i64 = i64::MAX;
