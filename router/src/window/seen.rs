//! Which sequence numbers came.

/// The last 4,096 sequence numbers of one direction, each seen or not.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    words: [u64; WORDS],
    /// One above the highest that came.
    next: u64,
    /// Everything below came, or is too old to be known.
    covered: u64,
}

/// How a packet stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Above all before it.
    Newest,
    /// Below one that came earlier: "reordered" of RFC 4737, section 3.
    Reordered,
    /// Came before.
    Duplicate,
    /// So far below that it may have come before.
    TooOld,
}

impl Seen {
    /// `first` is the first that can come.
    pub(super) fn new(first: u64) -> Self {
        Self {
            words: [0; WORDS],
            next: first,
            covered: first,
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn insert(&mut self, sequence: u64) -> Order {
        if sequence >= self.next {
            self.forget(sequence);
            self.next = sequence.saturating_add(1);
            self.mark(sequence);
            return Order::Newest;
        }
        // Within the window, what is covered and did not come lies before the first.
        if sequence < self.oldest() || sequence < self.covered && !self.is_marked(sequence) {
            return Order::TooOld;
        }
        if self.is_marked(sequence) {
            return Order::Duplicate;
        }
        self.mark(sequence);
        Order::Reordered
    }

    /// Everything below this came, or is given up on.
    pub(super) fn covered(&mut self) -> u64 {
        self.covered = self.covered.max(self.oldest());
        while self.covered < self.next && self.is_marked(self.covered) {
            self.covered += 1;
        }
        self.covered
    }

    fn oldest(&self) -> u64 {
        self.next.saturating_sub(REORDER_WINDOW)
    }

    /// Makes room for everything from the highest so far up to `sequence`.
    fn forget(&mut self, sequence: u64) {
        if sequence - self.next >= REORDER_WINDOW {
            self.words = [0; WORDS];
            return;
        }
        for skipped in self.next..=sequence {
            let (word, bit) = place(skipped);
            self.words[word] &= !bit;
        }
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        self.words[word] |= bit;
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.words[word] & bit != 0
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let place = sequence % REORDER_WINDOW;
    ((place / 64) as usize, 1 << (place % 64))
}

/// How many sequence numbers below the highest are told apart: 41 ms at 100,000 packets/s, for
/// which a reordered packet is late, and 512 bytes. An older one counts as lost, whether it comes
/// or not.
pub const REORDER_WINDOW: u64 = 4_096;
const WORDS: usize = (REORDER_WINDOW / 64) as usize;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_known_for_the_window_and_not_beyond() {
        let mut seen = Seen::new(0);
        assert_eq!(seen.insert(0), Order::Newest);
        assert_eq!(seen.insert(REORDER_WINDOW - 1), Order::Newest);
        assert_eq!(seen.insert(0), Order::Duplicate);
        assert_eq!(seen.insert(REORDER_WINDOW), Order::Newest);
        assert_eq!(seen.insert(0), Order::TooOld);
        assert_eq!(seen.insert(1), Order::Reordered);
    }

    #[test]
    fn what_is_covered_waits_for_a_gap_until_it_leaves_the_window() {
        let mut seen = Seen::new(10);
        for sequence in (10..100).filter(|sequence| *sequence != 20) {
            seen.insert(sequence);
        }
        assert_eq!(seen.covered(), 20);
        assert_eq!(seen.insert(20), Order::Reordered);
        assert_eq!(seen.covered(), 100);
        for sequence in 101..100 + REORDER_WINDOW {
            seen.insert(sequence);
        }
        assert_eq!(seen.covered(), 100);
        seen.insert(100 + REORDER_WINDOW);
        assert_eq!(seen.covered(), 101 + REORDER_WINDOW);
        assert_eq!(seen.insert(100), Order::TooOld);
    }

    proptest! {
        /// Any order, gaps of any size: exactly what a set of all numbers says.
        #[test]
        fn any_sequence_is_told_as_a_set_of_all_of_them_would(
            first in 0_u64..10_000,
            steps in proptest::collection::vec((0_u64..12_000, 0_u8..4), 1..300),
        ) {
            let mut seen = Seen::new(first);
            let mut all = BTreeSet::new();
            let mut next = first;
            for (step, kind) in steps {
                let sequence = match kind {
                    0 => next + step,
                    1 => next + step % 3,
                    _ => next.saturating_sub(step % 6_000),
                };
                let order = if sequence >= next {
                    Order::Newest
                } else if sequence < first || next - sequence > REORDER_WINDOW {
                    Order::TooOld
                } else if all.contains(&sequence) {
                    Order::Duplicate
                } else {
                    Order::Reordered
                };
                prop_assert_eq!(seen.insert(sequence), order);
                if order != Order::TooOld {
                    all.insert(sequence);
                }
                next = next.max(sequence + 1);
                let oldest = first.max(next.saturating_sub(REORDER_WINDOW));
                let gap = (oldest..next).find(|number| !all.contains(number));
                prop_assert_eq!(seen.covered(), gap.unwrap_or(next));
            }
        }
    }
}
