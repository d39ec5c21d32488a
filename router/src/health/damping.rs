//! Damping of pairs that fall again and again.

use std::time::{Duration, Instant};

/// A penalty for falls, which decays, and above a limit keeps a pair from coming back.
///
/// Each fall adds 1,000. From 1,250 on the pair is suppressed, until the penalty has decayed to 500.
/// It never exceeds 2,000, so two half-lives after the last fall every pair is free. Two falls
/// within two half-lives suppress, one alone does not.
///
/// Source: RFC 2439, section 4.2, with its decay in integers; "Figure of merit" is the penalty. Its
/// ceiling follows from the longest hold-down, as there in section 4.2.1.
#[derive(Debug, Clone)]
pub(super) struct Damping {
    half_life: Duration,
    penalty: u64,
    /// When the penalty was that large.
    at: Instant,
    suppressed: bool,
}

impl Damping {
    pub(super) fn new(half_life: Duration, now: Instant) -> Self {
        Self {
            half_life,
            penalty: 0,
            at: now,
            suppressed: false,
        }
    }

    pub(super) fn handle_fall(&mut self, now: Instant) {
        self.penalty = (self.penalty(now) + FALL).min(CEILING);
        self.at = now;
        self.suppressed |= self.penalty >= SUPPRESS;
    }

    pub(super) fn is_suppressed(&mut self, now: Instant) -> bool {
        self.suppressed &= self.penalty(now) > REUSE;
        self.suppressed
    }

    /// What is left of the penalty, in steps of a 32nd of a half-life.
    fn penalty(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.at);
        let steps = passed.as_nanos() * STEPS as u128 / self.half_life.as_nanos();
        let halvings = u32::try_from(steps / STEPS as u128).unwrap_or(u32::MAX);
        let scaled = (self.penalty * DECAY[(steps % STEPS as u128) as usize]) >> SCALE;
        scaled.checked_shr(halvings).unwrap_or(0)
    }
}

const FALL: u64 = 1_000;
const SUPPRESS: u64 = 1_250;
const REUSE: u64 = 500;
const CEILING: u64 = 2_000;

const STEPS: usize = 32;
const SCALE: u32 = 32;
/// `2^32 * 2^(-1/32)`, rounded.
const STEP: u64 = 4_202_935_003;
/// `2^(-n/32)` for each step of a half-life, times `2^32`.
const DECAY: [u64; STEPS] = {
    let mut decay = [1 << SCALE; STEPS];
    let mut step = 1;
    while step < STEPS {
        decay[step] = (decay[step - 1] * STEP + (1 << (SCALE - 1))) >> SCALE;
        step += 1;
    }
    decay
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "tests need some instant to start from"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const HALF_LIFE: Duration = Duration::from_secs(5);

    #[test]
    fn penalty_halves_in_a_half_life_and_decays_evenly_in_between() {
        let start = origin();
        let mut damping = Damping::new(HALF_LIFE, start);
        damping.handle_fall(start);
        assert_eq!(damping.penalty(start), 1_000);
        // 1000 / sqrt(2), and so on.
        assert_eq!(damping.penalty(start + ms(2_500)), 707);
        assert_eq!(damping.penalty(start + ms(5_000)), 500);
        assert_eq!(damping.penalty(start + ms(7_500)), 353);
        assert_eq!(damping.penalty(start + ms(10_000)), 250);
        assert_eq!(damping.penalty(start + ms(5_000_000)), 0);
        // A whole half-life of steps is a half: the rounded constant is good to a millionth.
        let half = (DECAY[STEPS - 1] * STEP) >> SCALE;
        assert!(half.abs_diff(1 << (SCALE - 1)) < 100, "{half}");
    }

    #[test]
    fn one_fall_does_not_suppress_and_a_second_within_two_half_lives_does() {
        for (apart, suppressed) in [(10_000, true), (10_200, false)] {
            let start = origin();
            let mut damping = Damping::new(HALF_LIFE, start);
            damping.handle_fall(start);
            assert!(!damping.is_suppressed(start));
            damping.handle_fall(start + ms(apart));
            assert_eq!(damping.is_suppressed(start + ms(apart)), suppressed);
        }
    }

    #[test]
    fn the_longest_hold_ends_two_half_lives_after_the_last_fall_and_not_before() {
        let start = origin();
        let mut damping = Damping::new(HALF_LIFE, start);
        for _ in 0..1_000 {
            damping.handle_fall(start);
        }
        assert!(damping.is_suppressed(start + ms(9_800)));
        assert!(!damping.is_suppressed(start + ms(10_000)));
    }

    proptest! {
        /// Whoever falls as soon as it may, with a stay in between, falls that often.
        #[test]
        fn no_order_of_falls_and_returns_makes_more_falls_a_minute_than_stated(
            fast: bool,
            waits in proptest::collection::vec(0_u64..2_000, 200),
        ) {
            let (half_life, stay, stated) = if fast {
                (ms(2_500), 1_500, 16)
            } else {
                (HALF_LIFE, 3_000, 9)
            };
            let mut now = origin();
            let mut damping = Damping::new(half_life, now);
            let mut falls = Vec::new();
            for wait in waits {
                damping.handle_fall(now);
                falls.push(now);
                now += ms(stay);
                let free_at = now + half_life * 2;
                while damping.is_suppressed(now) {
                    prop_assert!(now < free_at);
                    now += ms(25);
                }
                // Mostly at once.
                now += ms(wait.saturating_sub(1_500) * 10);
            }
            for fall in &falls {
                let minute = falls.iter().filter(|at| *at >= fall && **at < *fall + ms(60_000));
                prop_assert!(minute.count() <= stated);
            }
        }
    }
}
