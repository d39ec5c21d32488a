//! Timestamps of 32 bits.

use std::time::Duration;

/// Turns timestamps that wrap, 32 bits of microseconds, into ones that do not.
///
/// Each is taken for the one nearest to that before it, so reordered packets are no trouble, and
/// the sender's clock may be silent for 35 minutes. After a longer silence the result may be wrong
/// by whole turns of 71 minutes, which is a stepped clock, no worse.
#[derive(Debug, Clone, Default)]
pub struct WrappingMicros {
    last: Option<u64>,
}

impl WrappingMicros {
    /// The time that `stamp_us` stands for, from a zero that stays the same for this value.
    pub fn handle_stamp(&mut self, stamp_us: u32) -> Duration {
        // From the second turn on, so that one that is older than the first is no less than zero.
        let last = self.last.unwrap_or(TURN);
        let ahead = stamp_us.wrapping_sub(last as u32).cast_signed();
        let micros = last.saturating_add_signed(i64::from(ahead));
        self.last = Some(micros);
        Duration::from_micros(micros)
    }
}

const TURN: u64 = 1 << u32::BITS;
