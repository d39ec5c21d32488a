//! How long a gain has to last.

use std::time::Duration;

use crate::cost::Margin;

/// How long a gain has to last before it moves traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChoiceConfig {
    /// By how much an overlay path must be better. Default 10 ms and 5 %.
    pub margin: Margin,
    /// How long a path must have been better. Default 1 s.
    pub better_for: Duration,
    /// How long the direct path must have been well before traffic returns to it. Default 5 s.
    pub direct_after: Duration,
    /// What waits grow to when changes repeat. Default 12 s. Longer means fewer changes when a link
    /// flaps, and more than the promised 15 s on the way back from it.
    pub longest_wait: Duration,
    /// A change within this time of another counts as a repetition. Default 2 min.
    pub memory: Duration,
}

impl Default for ChoiceConfig {
    fn default() -> Self {
        Self {
            margin: Margin::default(),
            better_for: Duration::from_secs(1),
            // Some 1.2 s of replies go before it, until the link is not Down any more.
            direct_after: Duration::from_secs(5),
            // With the same 1.2 s, and as much again for news from the other end, inside the 15 s
            // that the way back may take.
            longest_wait: Duration::from_secs(12),
            // Twice the longest period of flapping that is to be seen as one.
            memory: Duration::from_secs(120),
        }
    }
}
