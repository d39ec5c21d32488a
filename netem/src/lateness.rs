//! How much later than planned something happened.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Collects latenesses: quantiles to three digits, from a nanosecond to a minute.
#[derive(Debug)]
pub struct LatenessHistogram {
    nanos: Histogram<u64>,
    /// Exact, which the histogram's is not.
    max: Duration,
}

impl LatenessHistogram {
    /// Holds nothing yet.
    ///
    /// # Panics
    /// Never: its bounds are those that a histogram can have.
    pub fn new() -> Self {
        let nanos = Histogram::new_with_bounds(1, MAX_NANOS, DIGITS);
        Self {
            nanos: nanos.expect("bounds and digits are in range"),
            max: Duration::ZERO,
        }
    }

    /// Counts one; in quantiles, more than a minute is a minute.
    pub fn record(&mut self, late: Duration) {
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.saturating_record(nanos);
        self.max = self.max.max(late);
    }

    /// What was counted.
    pub fn summary(&self) -> Lateness {
        let at = |quantile| Duration::from_nanos(self.nanos.value_at_quantile(quantile));
        if self.nanos.is_empty() {
            return Lateness::default();
        }
        Lateness {
            count: self.nanos.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.max,
        }
    }
}

impl Default for LatenessHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Quantiles of lateness. All are zero where nothing was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lateness {
    /// How many were counted.
    pub count: u64,
    /// Median.
    #[serde(rename = "p50_us", with = "micros")]
    pub p50: Duration,
    /// 99th percentile.
    #[serde(rename = "p99_us", with = "micros")]
    pub p99: Duration,
    /// 99.9th percentile.
    #[serde(rename = "p999_us", with = "micros")]
    pub p999: Duration,
    /// The worst.
    #[serde(rename = "max_us", with = "micros")]
    pub max: Duration,
}

/// As in `p50 26 us, p99 41 us, p99.9 43 us, max 43 us`.
impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            p50,
            p99,
            p999,
            max,
        } = self;
        if *count == 0 {
            return f.write_str("nothing yet");
        }
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(Duration::as_micros);
        write!(
            f,
            "p50 {p50} us, p99 {p99} us, p99.9 {p999} us, max {max} us"
        )
    }
}

/// Durations as microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64() * 1e6)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let micros = f64::deserialize(deserializer)?;
        // To whole nanoseconds, which is what was written.
        let nanos = libm::round(micros * 1e3).clamp(0.0, 1e18);
        Duration::try_from_secs_f64(nanos / 1e9).map_err(serde::de::Error::custom)
    }
}

const MAX_NANOS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_digits_up_to_a_minute_and_the_worst_is_exact() {
        let mut histogram = LatenessHistogram::new();
        assert_eq!(histogram.summary(), Lateness::default());
        for micros in 1..=1_000 {
            histogram.record(Duration::from_micros(micros));
        }
        let summary = histogram.summary();
        assert_eq!(summary.count, 1_000);
        for (got, expected) in [
            (summary.p50, 500),
            (summary.p99, 990),
            (summary.p999, 999),
            (summary.max, 1_000),
        ] {
            let off = got.abs_diff(Duration::from_micros(expected));
            assert!(off < Duration::from_micros(1), "{got:?}, not {expected} us");
        }
        histogram.record(Duration::from_nanos(999_999_999));
        assert_eq!(histogram.summary().max, Duration::from_nanos(999_999_999));
        // Beyond the last bucket.
        for _ in 0..1_001 {
            histogram.record(Duration::from_secs(3_600));
        }
        let minute = histogram.summary().p99;
        assert!(minute.abs_diff(Duration::from_secs(60)) < Duration::from_millis(60));
    }

    #[test]
    fn a_summary_is_written_in_microseconds_and_read_back_as_it_was() {
        let summary = Lateness {
            count: 4,
            p50: Duration::from_nanos(1),
            p99: Duration::from_nanos(1_001),
            p999: Duration::from_nanos(59_999_999_999),
            max: Duration::from_secs(60),
        };
        let json = serde_json::to_value(summary).unwrap();
        let p99 = json["p99_us"].as_f64().unwrap();
        assert!((p99 - 1.001).abs() < 1e-9, "{p99}");
        assert_eq!(serde_json::from_value::<Lateness>(json).unwrap(), summary);
    }
}
