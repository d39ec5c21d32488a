//! How much of what it can do a node does.

use std::time::{Duration, Instant};

use crate::cost::Load;

/// Works out a node's [`Load`] from totals that are looked at about once a second.
///
/// It is the largest of three shares, since whichever is used up first is what ends the node: what
/// it sends of the rate that it may send, flows and streams of those that it may have, and the time
/// that its loops work. Over five seconds or so, so that a second's burst moves nobody.
#[derive(Debug, Clone)]
pub struct LoadMeter {
    limits: LoadLimits,
    last: Option<(Instant, Usage)>,
    /// Thousandths, times [`SMOOTHING`], so that nothing is lost to rounding.
    smoothed: u32,
}

/// What a node may do. Zero stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadLimits {
    /// Bytes a second that it sends.
    pub rate_bytes: u64,
    /// Flows that end on it.
    pub flows: u64,
    /// Streams that begin, end or pass on it.
    pub streams: u64,
}

/// What a node does, as totals and counts of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes sent since its start.
    pub sent_bytes: u64,
    /// Flows that are open.
    pub flows: u64,
    /// Streams that are open.
    pub streams: u64,
    /// Time for which its busiest loop has worked since its start.
    pub busy: Duration,
}

impl LoadMeter {
    /// Starts idle.
    pub fn new(limits: LoadLimits) -> Self {
        Self {
            limits,
            last: None,
            smoothed: 0,
        }
    }

    /// The load, as of the last look.
    pub fn load(&self) -> Load {
        let permille = self.smoothed / SMOOTHING;
        Load::from_permille(u16::try_from(permille).unwrap_or(u16::MAX))
    }

    /// Looks at what the node does now.
    pub fn handle_usage(&mut self, now: Instant, usage: Usage) {
        let Some((at, last)) = self.last.replace((now, usage)) else {
            return;
        };
        let passed = now.saturating_duration_since(at).as_micros();
        if passed == 0 {
            return;
        }
        let sent = u128::from(usage.sent_bytes.saturating_sub(last.sent_bytes));
        let may = u128::from(self.limits.rate_bytes) * passed;
        let busy = usage.busy.saturating_sub(last.busy).as_micros();
        let shares = [
            share(sent * 1_000_000, may),
            share(usage.flows.into(), self.limits.flows.into()),
            share(usage.streams.into(), self.limits.streams.into()),
            share(busy, passed),
        ];
        let most = shares.into_iter().max().unwrap_or(0);
        self.smoothed = self.smoothed - self.smoothed / SMOOTHING + most;
    }
}

/// Thousandths of `of`; none of what has no limit, and at most a hundred times it.
fn share(used: u128, of: u128) -> u32 {
    let permille = (used * 1_000).checked_div(of).unwrap_or(0);
    u32::try_from(permille).unwrap_or(u32::MAX).min(100_000)
}

/// A look counts for a fifth: a step has arrived to two thirds after five.
const SMOOTHING: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LoadLimits = LoadLimits {
        rate_bytes: 1_000_000,
        flows: 100,
        streams: 1_000,
    };

    #[expect(
        clippy::disallowed_methods,
        reason = "tests need some instant to start from"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    /// The load after a minute in which every second was like this.
    fn steady(sent_bytes: u64, flows: u64, streams: u64, busy_ms: u64) -> u16 {
        steady_within(LIMITS, (sent_bytes, flows, streams, busy_ms))
    }

    fn steady_within(
        limits: LoadLimits,
        (sent_bytes, flows, streams, busy_ms): (u64, u64, u64, u64),
    ) -> u16 {
        let start = origin();
        let mut meter = LoadMeter::new(limits);
        for second in 0..60_u32 {
            let usage = Usage {
                sent_bytes: sent_bytes * u64::from(second),
                flows,
                streams,
                busy: Duration::from_millis(busy_ms) * second,
            };
            meter.handle_usage(start + Duration::from_secs(1) * second, usage);
        }
        meter.load().as_permille()
    }

    #[test]
    fn load_is_the_largest_share_whichever_it_is() {
        assert_eq!(steady(0, 0, 0, 0), 0);
        assert!((495..=505).contains(&steady(500_000, 10, 0, 100)));
        assert!((795..=805).contains(&steady(500_000, 80, 0, 100)));
        assert!((895..=905).contains(&steady(500_000, 80, 0, 900)));
        assert!((945..=955).contains(&steady(500_000, 80, 950, 900)));
    }

    #[test]
    fn what_has_no_limit_is_no_load_and_more_than_the_limit_is_more_than_all() {
        let unlimited = LoadLimits {
            rate_bytes: 0,
            flows: 0,
            streams: 0,
        };
        let much = (1_000_000, 1_000_000, 1_000_000, 0);
        assert_eq!(steady_within(unlimited, much), 0);
        assert!((1_990..=2_010).contains(&steady(2_000_000, 0, 0, 0)));
    }

    #[test]
    fn burst_of_a_second_is_a_fifth_of_it() {
        let start = origin();
        let mut meter = LoadMeter::new(LIMITS);
        meter.handle_usage(start, Usage::default());
        let usage = Usage {
            sent_bytes: 1_000_000,
            ..Usage::default()
        };
        meter.handle_usage(start + Duration::from_secs(1), usage);
        assert_eq!(meter.load().as_permille(), 200);
    }

    #[test]
    fn look_at_the_same_moment_and_totals_that_start_again_divide_and_add_nothing() {
        let start = origin();
        let mut meter = LoadMeter::new(LIMITS);
        let usage = Usage {
            sent_bytes: 500,
            flows: 100,
            ..Usage::default()
        };
        meter.handle_usage(start, usage);
        meter.handle_usage(start, usage);
        meter.handle_usage(start + Duration::from_secs(1), Usage::default());
        assert_eq!(meter.load(), Load::IDLE);
    }
}
