//! How fast a link is probed and judged.

use std::time::Duration;

/// How fast a link is probed and judged: one of two profiles.
///
/// Both are chosen so that, on a link whose round trip is steady, the times from a cut to each
/// verdict stay within the bounds of [`Liveness`](super::Liveness#bounds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessConfig {
    pub(super) interval: Duration,
    pub(super) slack: Duration,
    pub(super) down_after: Duration,
    /// The same for one loop while the other answers.
    pub(super) down_alone: Duration,
}

impl Default for LivenessConfig {
    /// The profile for every link that carries something: five probes a second.
    fn default() -> Self {
        Self {
            // A cut meets the next probe within one interval, so a late reply shows within
            // 200 + 100 + 1 ms + RTT: 49 ms of 0.35 s are left for 4 rttvar, and of confirmation's
            // 200 + 2 * (100 + 1) + 20 ms + 2 RTT in 0.5 s twice 39 ms.
            interval: Duration::from_millis(200),
            // Covers the peer's scheduling and our own; it is in every bound once.
            slack: Duration::from_millis(100),
            // The last reply can arrive one RTT after a cut, so this stays below 0.9 s. A loop is
            // probed every 400 ms at the longest, and a lost probe and the two that confirm go out
            // within 120 ms and an RTT: with 800 ms there is time for the reply to the loop's next
            // regular probe, so that three losses in a moment are not yet a death.
            down_after: Duration::from_millis(800),
            // Two losses of the same bytes of the control stream are repaired after 0.25 and 0.5 s at
            // 161 ms, the distance of Ohio and Sydney less a fifth; a reply that is on its way then
            // takes as long again. Below the 1.5 s in which a wedged loop is found out.
            down_alone: Duration::from_millis(1_200),
        }
    }
}

impl LivenessConfig {
    /// The profile for links that may cost more to watch: about twenty-three probes a second.
    pub fn fast() -> Self {
        Self {
            // Where the round trip is long, the third miss is the third probe of the same loop, at
            // most five intervals after the cut: 240 + 50 + 1 ms + RTT, inside 0.3 s + RTT.
            interval: Duration::from_millis(48),
            slack: Duration::from_millis(50),
            down_after: Duration::from_millis(200),
            down_alone: Duration::from_millis(400),
        }
    }

    /// The longest time between two probes, of whichever loop.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Above this lateness of a timer, the stall was our own and judges nobody.
    pub(super) fn tolerance(&self) -> Duration {
        self.interval / 2
    }
}
