//! The round-trip time of one loop of one link, smoothed.

use std::time::Duration;

/// Smoothed round-trip time and its variation, as TCP keeps them.
///
/// `SRTT <- 7/8 SRTT + 1/8 R` and `RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R|`, where the first sample
/// sets `SRTT = R` and `RTTVAR = R/2`. The timeout is kept without RFC 6298's floor of a second:
/// there it guards against needless retransmission, here the caller adds a slack of its own.
///
/// Source: RFC 6298, section 2.
#[derive(Debug, Clone)]
pub struct Rtt {
    srtt: Duration,
    rttvar: Duration,
    sampled: bool,
}

impl Rtt {
    /// Starts from a guess, which the first sample replaces.
    ///
    /// `guess` is for example the handshake's round trip; without one, [`INITIAL`] stands in.
    pub fn new(guess: Option<Duration>) -> Self {
        let srtt = guess.unwrap_or(INITIAL);
        Self {
            srtt,
            rttvar: srtt / 2,
            sampled: false,
        }
    }

    /// Takes one measured round trip in.
    pub fn handle_sample(&mut self, sample: Duration) {
        if self.sampled {
            // RTTVAR first: it is defined over the SRTT before this sample.
            self.rttvar = (self.rttvar * 3 + self.srtt.abs_diff(sample)) / 4;
            self.srtt = (self.srtt * 7 + sample) / 8;
        } else {
            self.restart(sample);
        }
    }

    /// Forgets everything before `sample` and starts from it.
    pub fn restart(&mut self, sample: Duration) {
        self.srtt = sample;
        self.rttvar = sample / 2;
        self.sampled = true;
    }

    /// The smoothed round-trip time; the guess until there is a sample.
    pub fn srtt(&self) -> Duration {
        self.srtt
    }

    /// The variation: a smoothed mean deviation from [`Rtt::srtt`].
    pub fn rttvar(&self) -> Duration {
        self.rttvar
    }

    /// How long a reply may take, by what was measured: `SRTT + max(G, 4 RTTVAR)`.
    pub fn timeout(&self) -> Duration {
        self.srtt + GRANULARITY.max(self.rttvar * 4)
    }
}

/// What stands in for a round trip nobody measured. Source: RFC 9002, section 6.2.2.
pub const INITIAL: Duration = Duration::from_millis(333);

/// `G` of RFC 6298: the caller's timers tick in milliseconds.
pub const GRANULARITY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn first_sample_replaces_the_guess_and_sets_half_of_itself_as_variation() {
        let mut rtt = Rtt::new(Some(ms(500)));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (ms(500), ms(250)));
        rtt.handle_sample(ms(80));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (ms(80), ms(40)));
        assert_eq!(rtt.timeout(), ms(240));
    }

    #[test]
    fn variation_is_taken_against_the_smoothed_time_before_the_sample() {
        let mut rtt = Rtt::new(None);
        rtt.handle_sample(ms(80));
        rtt.handle_sample(ms(160));
        // 3/4 * 40 + 1/4 * |80 - 160| = 50, and 7/8 * 80 + 1/8 * 160 = 90.
        assert_eq!((rtt.rttvar(), rtt.srtt()), (ms(50), ms(90)));
    }

    #[test]
    fn timeout_of_a_steady_round_trip_ends_one_granule_above_it() {
        let mut rtt = Rtt::new(None);
        for _ in 0..100 {
            rtt.handle_sample(ms(220));
        }
        assert_eq!(rtt.timeout(), ms(221));
    }
}
