//! By how much a path must be better for it to matter.

use super::Cost;

/// By how much a path must be better for it to matter: by a time and by a share, both of them.
///
/// The time keeps short paths apart from measuring noise, the share long ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    time: Cost,
    share_permille: u16,
}

impl Margin {
    /// Anything better is better.
    pub const ZERO: Self = Self::new(Cost::ZERO, 0);

    /// A margin of `time`, and of so many thousandths of what is to be bettered.
    pub const fn new(time: Cost, share_permille: u16) -> Self {
        Self {
            time,
            share_permille,
        }
    }

    /// Half of both: what parts leaving from coming back.
    pub const fn half(self) -> Self {
        Self::new(
            Cost::from_micros(self.time.as_micros() / 2),
            self.share_permille / 2,
        )
    }

    /// Whether `challenger` is better than `incumbent` by the margin or more. Equals never are.
    pub fn is_better(self, challenger: Cost, incumbent: Cost) -> bool {
        let gain = incumbent.saturating_sub(challenger);
        let share = u128::from(incumbent.as_micros()) * u128::from(self.share_permille);
        gain > Cost::ZERO && gain >= self.time && u128::from(gain.as_micros()) * 1_000 >= share
    }
}

impl Default for Margin {
    fn default() -> Self {
        // 10 ms of round trip is below what anyone hears and above what an hour's queues do to a
        // long path; of 375 ms, the longest between two regions of AWS, 5 % are 19 ms.
        Self::new(Cost::from_millis(10), 50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn better(margin: Margin, challenger_us: u64, incumbent_us: u64) -> bool {
        let cost = Cost::from_micros;
        margin.is_better(cost(challenger_us), cost(incumbent_us))
    }

    #[test]
    fn ten_milliseconds_decide_up_to_200_ms_and_five_percent_above() {
        let margin = Margin::default();
        assert!(better(margin, 90_000, 100_000) && !better(margin, 90_001, 100_000));
        assert!(better(margin, 190_000, 200_000) && !better(margin, 190_001, 200_000));
        assert!(better(margin, 285_000, 300_000) && !better(margin, 285_001, 300_000));
    }

    #[test]
    fn without_a_margin_a_microsecond_is_better_and_an_equal_is_not() {
        assert!(better(Margin::ZERO, 99_999, 100_000));
        assert!(!better(Margin::ZERO, 100_000, 100_000));
        assert!(!better(Margin::ZERO, 100_001, 100_000));
    }

    #[test]
    fn half_a_margin_is_five_milliseconds_and_two_and_a_half_percent() {
        let half = Margin::default().half();
        assert!(better(half, 95_000, 100_000) && !better(half, 95_001, 100_000));
        assert!(better(half, 292_500, 300_000) && !better(half, 292_501, 300_000));
    }
}
