//! How long round trips take, as a distribution.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::{Counter, Histogram};

/// The distribution of the round trips of the last minute, to two digits, from 10 us to 10 s.
///
/// It is kept as four histograms of 15 s, the oldest of which makes room for the next: quantiles are
/// taken from their sum, never from each other's. There is a histogram only for a quarter that had
/// traffic, 4.5 KB each; a link without any holds none.
///
/// For figures that a person reads. Nothing is decided by them.
#[derive(Clone)]
pub struct RoundTrips {
    start: Instant,
    /// Oldest first.
    quarters: VecDeque<Quarter>,
}

/// Quantiles of a window, to two digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// How many samples there are. Every quarter counts up to 65,535 in each step of its scale.
    pub samples: u64,
    /// Half of them took this long at most.
    pub p50: Duration,
    /// Nine in ten.
    pub p90: Duration,
    /// Ninety-nine in a hundred.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

#[derive(Clone)]
struct Quarter {
    number: u64,
    micros: Histogram<u16>,
}

impl RoundTrips {
    /// Holds nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            quarters: VecDeque::new(),
        }
    }

    /// A round trip was measured. Below 10 us it counts as 10 us, above 10 s as 10 s.
    pub fn handle_sample(&mut self, now: Instant, sample: Duration) {
        let gone = self.expire(now);
        let number = self.number(now);
        if self.quarters.back().is_none_or(|last| last.number < number) {
            // Rather the room of one that left than new memory.
            let micros = gone.map_or_else(histogram, |mut quarter| {
                quarter.micros.reset();
                quarter.micros
            });
            self.quarters.push_back(Quarter { number, micros });
        }
        if let Some(quarter) = self.quarters.back_mut() {
            let micros = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX);
            quarter.micros.saturating_record(micros.clamp(LOW, HIGH));
        }
    }

    /// The quantiles of the last 45 to 60 s, if there was any traffic. Frees what is older.
    pub fn quantiles(&mut self, now: Instant) -> Option<Quantiles> {
        self.expire(now);
        let mut all: Histogram<u64> = histogram();
        for step in self
            .quarters
            .iter()
            .flat_map(|quarter| quarter.micros.iter_recorded())
        {
            all.saturating_record_n(step.value_iterated_to(), step.count_at_value().into());
        }
        let at = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
        (!all.is_empty()).then(|| Quantiles {
            samples: all.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Duration::from_micros(all.max()),
        })
    }

    /// Drops the quarters that left the window; the last of them.
    fn expire(&mut self, now: Instant) -> Option<Quarter> {
        let oldest = (self.number(now) + 1).saturating_sub(QUARTERS);
        let mut gone = None;
        while self
            .quarters
            .front()
            .is_some_and(|first| first.number < oldest)
        {
            gone = self.quarters.pop_front();
        }
        gone
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / QUARTER_SECS
    }
}

impl fmt::Debug for RoundTrips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoundTrips")
            .field("quarters", &self.quarters.len())
            .finish_non_exhaustive()
    }
}

fn histogram<T: Counter>() -> Histogram<T> {
    // In steps of a microsecond: of 10 us, two digits are no less.
    Histogram::new_with_bounds(1, HIGH, DIGITS).expect("the bounds are constants and far apart")
}

/// Microseconds: below lies the noise of two schedulers.
const LOW: u64 = 10;
/// Microseconds: a link that takes longer is Down.
const HIGH: u64 = 10_000_000;
const DIGITS: u8 = 2;
const QUARTERS: u64 = 4;
const QUARTER_SECS: u64 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "tests need some instant to start from"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn quantiles_are_those_of_all_samples_together_and_not_a_mean() {
        let start = origin();
        let mut trips = RoundTrips::new(start);
        // 99 fast ones in one quarter, and in the next a slow one: the mean of their medians is
        // half a second.
        for _ in 0..99 {
            trips.handle_sample(start, Duration::from_millis(10));
        }
        trips.handle_sample(start + secs(15), secs(1));
        let quantiles = trips.quantiles(start + secs(16)).unwrap();
        let near = |time: Duration, want: Duration| time.abs_diff(want) <= want / 100;
        assert_eq!(quantiles.samples, 100);
        assert!(near(quantiles.p50, Duration::from_millis(10)));
        assert!(near(quantiles.p99, Duration::from_millis(10)));
        assert!(near(quantiles.max, secs(1)));
    }

    #[test]
    fn a_sample_leaves_after_a_minute_and_not_before_its_last_quarter() {
        let start = origin();
        let mut trips = RoundTrips::new(start);
        trips.handle_sample(start + secs(14), secs(1));
        assert!(trips.quantiles(start + secs(59)).is_some());
        assert_eq!(trips.quantiles(start + secs(60)), None);
        assert!(trips.quarters.is_empty(), "and its memory with it");
    }

    #[test]
    fn memory_that_is_used_again_brings_no_old_samples() {
        let start = origin();
        let mut trips = RoundTrips::new(start);
        trips.handle_sample(start, secs(1));
        trips.handle_sample(start + secs(60), Duration::from_millis(10));
        assert_eq!(trips.quantiles(start + secs(60)).unwrap().samples, 1);
    }

    #[test]
    fn a_link_without_traffic_holds_no_histogram_and_a_busy_one_four() {
        let start = origin();
        let mut trips = RoundTrips::new(start);
        assert_eq!(trips.quarters.capacity(), 0);
        for second in 0..600 {
            trips.handle_sample(start + secs(second), Duration::from_millis(70));
            assert!(trips.quarters.len() <= 4);
        }
        assert_eq!(trips.quarters.len(), 4);
        let bytes: usize = trips
            .quarters
            .iter()
            .map(|quarter| quarter.micros.distinct_values() * size_of::<u16>())
            .sum();
        assert!(bytes <= 18 * 1_024, "{bytes}");
    }

    #[test]
    fn samples_beyond_the_scale_count_as_its_ends() {
        let start = origin();
        let mut trips = RoundTrips::new(start);
        trips.handle_sample(start, Duration::ZERO);
        trips.handle_sample(start, Duration::MAX);
        let quantiles = trips.quantiles(start).unwrap();
        assert_eq!(quantiles.p50.as_micros(), 10);
        assert!(quantiles.max.abs_diff(secs(10)) <= secs(10) / 100);
    }
}
