//! What one directed pair of hosts does to the packets between them.

use std::{num::NonZeroU64, time::Duration};

/// The impairments of one direction of one pair of hosts.
///
/// The default is a perfect wire: no delay, no loss, no limit. Write the rest with the update
/// syntax: `PairModel { loss: Probability::from_ppm(20_000), ..PairModel::delayed(delay) }`.
///
/// A packet meets the impairments in this order: size, loss, rate and its queue, delay and jitter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairModel {
    /// One-way delay, after serialization.
    pub delay: Duration,
    /// Each packet's delay is uniform in `delay ± jitter`, but never below zero.
    ///
    /// Packets stay in order: one that would overtake arrives together with the one before it, so
    /// packets that are closer together than the jitter see less of it.
    pub jitter: Duration,
    /// How likely a packet is lost, each independently of all others. A lost packet takes no part
    /// of the rate.
    pub loss: Probability,
    /// How fast packets leave; `None` is infinitely fast.
    pub rate: Option<Rate>,
    /// The largest packet that passes; larger ones vanish without a word, as on a path whose ICMP
    /// is filtered. `None` passes all.
    pub max_bytes: Option<usize>,
}

impl PairModel {
    /// A wire that only delays.
    pub fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// A rate and the queue of the packets that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, counted over the bytes that the engine was told. Each packet's time is
    /// rounded up to a whole nanosecond.
    pub bits_per_second: NonZeroU64,
    /// Bytes that may wait, the packet that is being sent included. A packet that does not fit is
    /// dropped from the tail, so anything larger than this never passes.
    pub queue_bytes: usize,
}

impl Rate {
    /// How long `bytes` take to leave.
    pub(crate) fn serialization(&self, bytes: usize) -> Duration {
        let bit_nanos = bytes as u128 * 8 * NANOS_PER_SECOND;
        let nanos = bit_nanos.div_ceil(u128::from(self.bits_per_second.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A probability in parts per million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability {
    ppm: u32,
}

impl Probability {
    /// Parts per million: 20,000 is 2 %.
    ///
    /// # Panics
    /// If `ppm` is above 1,000,000.
    pub const fn from_ppm(ppm: u32) -> Self {
        assert!(
            ppm <= Self::ONE_PPM,
            "a probability is at most 1,000,000 ppm"
        );
        Self { ppm }
    }

    /// Parts per million.
    pub const fn ppm(self) -> u32 {
        self.ppm
    }

    pub(crate) const ONE_PPM: u32 = 1_000_000;
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialization_is_rounded_up_to_a_nanosecond_and_never_down() {
        let rate = |bits| Rate {
            bits_per_second: NonZeroU64::new(bits).unwrap(),
            queue_bytes: 0,
        };
        assert_eq!(rate(8_000).serialization(1), Duration::from_millis(1));
        assert_eq!(rate(3).serialization(3), Duration::from_secs(8));
        assert_eq!(
            rate(7_000_000_000).serialization(200),
            Duration::from_nanos(229)
        );
        assert_eq!(rate(1).serialization(0), Duration::ZERO);
    }
}
