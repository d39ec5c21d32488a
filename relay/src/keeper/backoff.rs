//! How long to wait between dials.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

/// Exponential backoff with full jitter: up to 100 ms after the first dial, doubling up to a cap.
///
/// Full jitter spreads the dials of many nodes to one that is back over the whole span.
/// Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    /// Dials since the last stable link.
    dials: u32,
    last_dial: Option<Instant>,
    jitter: Pcg32,
    cap: Duration,
    stable_after: Duration,
}

impl Backoff {
    /// - `cap`: the longest wait.
    /// - `stable_after`: how long a link must be current to clear the record, so that a peer that
    ///   comes up and dies again at once is dialed ever more slowly.
    pub(super) fn new(seed: u64, cap: Duration, stable_after: Duration) -> Self {
        Self {
            dials: 0,
            last_dial: None,
            jitter: Pcg32::seed_from_u64(seed),
            cap,
            stable_after,
        }
    }

    #[cfg(test)]
    pub(super) fn reseed(&mut self, seed: u64) {
        self.jitter = Pcg32::seed_from_u64(seed);
    }

    /// A dial starts.
    pub(super) fn on_dial(&mut self, now: Instant) {
        self.dials = self.dials.saturating_add(1);
        self.last_dial = Some(now);
    }

    /// A link was current from `since` on: one that lasted long enough clears the record.
    pub(super) fn on_link(&mut self, now: Instant, since: Instant) {
        if now.saturating_duration_since(since) >= self.stable_after {
            self.dials = 0;
        }
    }

    /// Whether there was a dial since the last stable link.
    pub(super) fn has_dialed(&self) -> bool {
        self.dials > 0
    }

    /// Draws the time of the next dial.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let doublings = self.dials.saturating_sub(1).min(MAX_DOUBLINGS);
        let most = (BASE * (1 << doublings)).min(self.cap);
        now + self.jitter.random_range(Duration::ZERO..=most)
    }

    /// The earliest dial that news of the peer can bring about.
    pub(super) fn after_news(&self, now: Instant) -> Instant {
        self.last_dial
            .map_or(now, |last| now.max(last + NEWS_FLOOR))
    }
}

const BASE: Duration = Duration::from_millis(100);
/// `BASE << 10` is above any cap that makes sense.
const MAX_DOUBLINGS: u32 = 10;
/// However much news of a peer there is, it causes at most five dials a second.
const NEWS_FLOOR: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(5);
    const STABLE_AFTER: Duration = Duration::from_secs(10);

    #[test]
    fn waits_double_from_100_ms_to_5_s_and_are_spread_from_nothing_up() {
        let now = crate::clock::now();
        let mut backoff = Backoff::new(7, CAP, STABLE_AFTER);
        for ceiling_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            backoff.on_dial(now);
            let ceiling = Duration::from_millis(ceiling_ms);
            let draws: Vec<_> = (0..200).map(|_| backoff.next(now) - now).collect();
            assert!(draws.iter().all(|wait| *wait <= ceiling));
            assert!(draws.iter().any(|wait| *wait > ceiling * 9 / 10));
            assert!(draws.iter().any(|wait| *wait < ceiling / 10));
        }
    }

    #[test]
    fn the_record_is_cleared_by_a_link_of_ten_seconds_and_not_before() {
        let now = crate::clock::now();
        let mut backoff = Backoff::new(7, CAP, STABLE_AFTER);
        backoff.on_dial(now);
        backoff.on_link(now + STABLE_AFTER - Duration::from_nanos(1), now);
        assert!(backoff.has_dialed());
        backoff.on_link(now + STABLE_AFTER, now);
        assert!(!backoff.has_dialed());
    }
}
