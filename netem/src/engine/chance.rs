//! Luck that goes on from one packet to the next.

use super::random;
use crate::{
    model::{Chance, Correlation},
    normal,
};

/// The hidden normal variable of something correlated: see [`Correlation`].
#[derive(Debug, Default)]
pub(super) struct Latent {
    value: Option<f64>,
}

impl Latent {
    /// The next value: standard normal, and correlated with the last.
    pub(super) fn advance(&mut self, luck: u64, correlation: Correlation) -> f64 {
        let fresh = normal::quantile(random::fraction(luck));
        let share = correlation.as_f64();
        let value = match self.value {
            Some(last) => share * last + libm::sqrt(1.0 - share * share) * fresh,
            None => fresh,
        };
        self.value = Some(value);
        value
    }

    /// Forgets the last value: the next is fresh.
    pub(super) fn forget(&mut self) {
        self.value = None;
    }
}

/// Whether something happens, packet for packet.
#[derive(Debug, Default)]
pub(super) struct ChanceState {
    latent: Latent,
    /// The chance that `threshold` is for.
    chance: Chance,
    /// The hidden variable below which it happens; for correlated chances only.
    threshold: f64,
}

impl ChanceState {
    pub(super) fn happens(&mut self, luck: u64, chance: Chance) -> bool {
        if chance.correlation == Correlation::NONE {
            self.latent.forget();
            return random::happens(luck, chance.probability);
        }
        if self.chance != chance {
            self.chance = chance;
            self.threshold = normal::quantile(chance.probability.as_f64());
        }
        self.latent.advance(luck, chance.correlation) < self.threshold
    }
}
