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
    /// How long the direct path must have been well before traffic returns to it. Default 2 s.
    pub direct_after: Duration,
    /// What waits grow to when changes repeat. Default 12 s. Longer means fewer changes when a link
    /// flaps, and a later way back from it; with it a pair that flapped is back after more than the
    /// 15 s that hold for one outage.
    pub longest_wait: Duration,
    /// A change within this time of another counts as a repetition. Default 2 min.
    pub memory: Duration,
}

impl Default for ChoiceConfig {
    fn default() -> Self {
        Self {
            margin: Margin::default(),
            better_for: Duration::from_secs(1),
            // What is thought of a pair has a way back of its own, which takes up to 12 s: see
            // `PairHealth`. With what news from the other end takes, 2 s are inside the 15 s that
            // the way back may take.
            direct_after: Duration::from_secs(2),
            // Only a link that comes and goes gets there, and it may have its traffic a bit later.
            longest_wait: Duration::from_secs(12),
            // Twice the longest period of flapping that is to be seen as one.
            memory: Duration::from_secs(120),
        }
    }
}
