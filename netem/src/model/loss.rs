//! Which packets are lost.

use std::sync::Arc;

use super::{Chance, Probability};

/// Which packets of a pair are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// In two states, one of which loses more: losses come in bursts.
    GilbertElliott(GilbertElliott),
    /// Each with the same probability, at will correlated with the one before.
    Random(Chance),
    /// As written down.
    Trace(LossTrace),
}

impl Loss {
    /// Each packet independently, in parts per million: 20,000 is 2 %.
    ///
    /// # Panics
    /// If `ppm` is above 1,000,000.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self::Random(Chance::independent(Probability::from_ppm(ppm)))
    }
}

/// No loss.
impl Default for Loss {
    fn default() -> Self {
        Self::Random(Chance::default())
    }
}

/// The model of Gilbert and Elliott: a good and a bad state, a probability to be lost in each, and
/// after each packet a probability to change.
///
/// A pair begins in either state as likely as it is in the long run, so that its loss is the mean
/// from the first packet on.
///
/// Sources: E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, "Estimates of
/// error rates for codes on burst-noise channels", 1963. The names of the four are those of
/// `tc netem`: p, r, 1-h, 1-k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GilbertElliott {
    /// p: from good to bad.
    pub to_bad: Probability,
    /// r: from bad to good.
    pub to_good: Probability,
    /// 1-h: lost in the bad state.
    pub loss_in_bad: Probability,
    /// 1-k: lost in the good state.
    pub loss_in_good: Probability,
}

impl GilbertElliott {
    /// The one that loses all in the bad state and none in the good one, with this mean loss and
    /// this mean number of packets in a burst.
    ///
    /// Both are met within the half of a billionth to which probabilities are rounded.
    ///
    /// # Errors
    /// - [`GilbertElliottError::Burst`]: a burst is shorter than one packet, or no number.
    /// - [`GilbertElliottError::Loss`]: bursts of this length cannot be as dense as that, since
    ///   at least one packet lies between two of them.
    pub fn try_from_means(
        loss: Probability,
        burst_packets: f64,
    ) -> Result<Self, GilbertElliottError> {
        if !(1.0..=MAX_BURST_PACKETS).contains(&burst_packets) {
            return Err(GilbertElliottError::Burst { burst_packets });
        }
        let to_good = 1.0 / burst_packets;
        let to_bad = to_good * loss.as_f64() / (1.0 - loss.as_f64());
        // Also for a loss of 1, where it is infinite.
        if to_bad > 1.0 {
            return Err(GilbertElliottError::Loss {
                loss_percent: loss.as_f64() * 100.0,
                burst_packets,
                max_percent: 100.0 * burst_packets / (burst_packets + 1.0),
            });
        }
        Ok(Self {
            to_bad: rounded(to_bad),
            to_good: rounded(to_good),
            loss_in_bad: Probability::ALWAYS,
            loss_in_good: Probability::NEVER,
        })
    }

    /// The share of packets that meet the bad state in the long run. The good one where nothing
    /// ever changes.
    pub fn in_bad(&self) -> f64 {
        let (to_bad, to_good) = (self.to_bad.as_f64(), self.to_good.as_f64());
        if to_bad == 0.0 {
            return 0.0;
        }
        to_bad / (to_bad + to_good)
    }

    /// The share of packets that are lost in the long run.
    pub fn mean_loss(&self) -> f64 {
        let in_bad = self.in_bad();
        in_bad * self.loss_in_bad.as_f64() + (1.0 - in_bad) * self.loss_in_good.as_f64()
    }
}

/// Why a mean loss and a mean burst are impossible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GilbertElliottError {
    /// Not from 1 to a million packets.
    #[error("a mean burst of {burst_packets} packets, must be 1 to {MAX_BURST_PACKETS}")]
    Burst {
        /// What was asked for.
        burst_packets: f64,
    },
    /// More than bursts of this length allow.
    #[error(
        "{loss_percent}% loss in bursts of {burst_packets} packets, \
         can be at most {max_percent:.3}%"
    )]
    Loss {
        /// What was asked for.
        loss_percent: f64,
        /// What was asked for.
        burst_packets: f64,
        /// What is possible.
        max_percent: f64,
    },
}

/// A recorded sequence of losses, repeated for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossTrace {
    lost: Arc<[bool]>,
}

impl LossTrace {
    /// From one entry a packet: whether it is lost.
    ///
    /// # Errors
    /// Unless there are 1 to [`Self::MAX_PACKETS`].
    pub fn try_new(lost: &[bool]) -> Result<Self, LossTraceError> {
        if lost.is_empty() || lost.len() > Self::MAX_PACKETS {
            return Err(LossTraceError { got: lost.len() });
        }
        Ok(Self { lost: lost.into() })
    }

    /// One entry a packet: whether it is lost.
    pub fn lost(&self) -> &[bool] {
        &self.lost
    }

    /// Twenty minutes of 800 packets/s: 1 MB.
    pub const MAX_PACKETS: usize = 1_000_000;
}

/// A trace has no packets, or too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a loss trace of {got} packets, must be 1 to {}",
    LossTrace::MAX_PACKETS
)]
pub struct LossTraceError {
    /// How many it has.
    pub got: usize,
}

/// Beyond it, the probability to leave a burst would be rounded to nothing.
const MAX_BURST_PACKETS: f64 = 1e6;

/// To the next billionth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller gives a number from 0 to 1"
)]
fn rounded(probability: f64) -> Probability {
    let ppb = libm::round(probability * f64::from(Probability::ONE_PPB)) as u32;
    Probability::from_ppb(ppb).expect("from 0 to 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_met_within_the_rounding_of_probabilities() {
        for (ppm, burst) in [(1, 1.0), (10_000, 5.0), (200_000, 1.5), (500_000, 1.0)] {
            let loss = Probability::from_ppm(ppm);
            let model = GilbertElliott::try_from_means(loss, burst).unwrap();
            assert!((model.mean_loss() / loss.as_f64() - 1.0).abs() < 1e-3);
            assert!((1.0 / model.to_good.as_f64() / burst - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn bursts_below_one_packet_and_losses_too_dense_for_them_are_refused() {
        let means = |ppm, burst| {
            GilbertElliott::try_from_means(Probability::from_ppm(ppm), burst).map(|_| ())
        };
        assert!(means(10_000, 1.0).is_ok());
        for burst in [0.999, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = means(10_000, burst).unwrap_err();
            assert!(
                matches!(error, GilbertElliottError::Burst { .. }),
                "{burst}"
            );
        }
        // At the most every second packet.
        assert!(means(500_000, 1.0).is_ok());
        let error = means(500_001, 1.0).unwrap_err();
        assert!(
            error.to_string().ends_with("can be at most 50.000%"),
            "{error}"
        );
        assert!(means(1_000_000, 1e6).is_err());
    }

    #[test]
    fn trace_takes_one_packet_and_not_none() {
        assert!(LossTrace::try_new(&[true]).is_ok());
        assert_eq!(LossTrace::try_new(&[]), Err(LossTraceError { got: 0 }));
    }
}
