//! What one directed pair of hosts does to the packets between them.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

pub use self::{
    jitter::{Distribution, Jitter, Order, Quantiles, QuantilesError},
    loss::{GilbertElliott, GilbertElliottError, Loss, LossTrace, LossTraceError},
    probability::{Chance, Correlation, Probability},
    schedule::{Change, Schedule, ScheduleError, What},
};

mod jitter;
mod loss;
mod probability;
mod schedule;

/// The impairments of one direction of one pair of hosts.
///
/// The default is a perfect wire: no delay, no loss, no limit. Write the rest with the update
/// syntax: `PairModel { loss: Loss::from_ppm(20_000), ..PairModel::delayed(delay) }`.
///
/// A packet meets the impairments in this order: size, loss, limit, rate and its queue,
/// corruption, delay and jitter; then its copy follows it, if it has one. Sizes are those of the
/// IP packet: a UDP payload of 1,200 bytes is one of 1,228 over IPv4 and of 1,248 over IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairModel {
    /// One-way delay, after serialization. Above an hour it is an hour.
    pub delay: Duration,
    /// How each packet's delay differs from `delay`.
    pub jitter: Jitter,
    /// Which packets are lost. A lost packet takes no part of the rate.
    pub loss: Loss,
    /// Which packets arrive twice. The copy has its original's jitter and corruption, takes a part
    /// of the rate for itself, and has no copy.
    pub duplicate: Chance,
    /// Which packets arrive with one bit flipped.
    pub corrupt: Chance,
    /// Which packets skip delay and jitter, and so overtake others.
    pub reorder: Option<Reorder>,
    /// How fast packets leave; `None` is infinitely fast.
    pub rate: Option<Rate>,
    /// The most packets on their way at once, those that are being delayed included; what goes
    /// over is dropped from the tail. `None` is limited by the emulator's memory alone.
    pub limit_packets: Option<NonZeroU32>,
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
    /// Bits per second. Each packet's time is rounded up to a whole nanosecond.
    pub bits_per_second: NonZeroU64,
    /// Added to every packet's size where its time is counted: 38 for an Ethernet frame with its
    /// preamble and gap. Below zero, it takes as much away as there is.
    pub overhead_bytes: i32,
    /// Bytes that may wait, the packet that is being sent included and overhead not. A packet that
    /// does not fit is dropped from the tail, so anything larger than this never passes. `None`
    /// leaves the bound to [`PairModel::limit_packets`] and to the emulator's memory.
    pub queue_bytes: Option<usize>,
}

impl Rate {
    /// A rate that nothing is added to, with the queue that is used where none is asked for:
    /// [`DEFAULT_QUEUE`] of it, but at least [`MIN_DEFAULT_QUEUE_BYTES`].
    pub fn new(bits_per_second: NonZeroU64) -> Self {
        let bytes = u128::from(bits_per_second.get()) * DEFAULT_QUEUE.as_millis() / 8_000;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            bits_per_second,
            overhead_bytes: 0,
            queue_bytes: Some(bytes.max(MIN_DEFAULT_QUEUE_BYTES)),
        }
    }

    /// How long a packet of `bytes` takes to leave.
    pub fn serialization(&self, bytes: usize) -> Duration {
        let overhead = isize::try_from(self.overhead_bytes).unwrap_or(isize::MAX);
        let bit_nanos = bytes.saturating_add_signed(overhead) as u128 * 8 * NANOS_PER_SECOND;
        let nanos = bit_nanos.div_ceil(u128::from(self.bits_per_second.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Packets that skip delay and jitter. They still wait for the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// How likely a packet skips ahead, where `gap` lets it.
    pub chance: Chance,
    /// After a packet that skipped ahead, `gap - 1` packets do not. 1 lets every packet.
    pub gap: NonZeroU32,
}

/// What a queue holds where nobody said how much: what a router at the edge is known to have.
pub const DEFAULT_QUEUE: Duration = Duration::from_millis(100);

/// Room for 20 full packets, so that a slow rate still takes a small burst.
pub const MIN_DEFAULT_QUEUE_BYTES: usize = 30_000;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(bits: u64, overhead_bytes: i32) -> Rate {
        Rate {
            overhead_bytes,
            ..Rate::new(NonZeroU64::new(bits).unwrap())
        }
    }

    #[test]
    fn serialization_is_rounded_up_to_a_nanosecond_and_never_down() {
        assert_eq!(rate(8_000, 0).serialization(1), Duration::from_millis(1));
        assert_eq!(rate(3, 0).serialization(3), Duration::from_secs(8));
        assert_eq!(
            rate(7_000_000_000, 0).serialization(200),
            Duration::from_nanos(229)
        );
        assert_eq!(rate(1, 0).serialization(0), Duration::ZERO);
    }

    #[test]
    fn overhead_is_sent_with_each_packet_and_takes_no_more_away_than_there_is() {
        assert_eq!(
            rate(8_000, 38).serialization(62),
            Duration::from_millis(100)
        );
        assert_eq!(
            rate(8_000, -10).serialization(30),
            Duration::from_millis(20)
        );
        assert_eq!(rate(8_000, -10).serialization(9), Duration::ZERO);
    }

    #[test]
    fn default_queue_is_a_tenth_of_a_second_and_at_least_twenty_packets() {
        let queue = |bits| rate(bits, 0).queue_bytes.unwrap();
        assert_eq!(queue(50_000_000), 625_000);
        assert_eq!(queue(2_400_000), 30_000);
        assert_eq!(queue(64_000), 30_000);
    }
}
