//! Probabilities and correlations as whole numbers, so that what is printed is what is meant.

/// A probability in parts per billion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability {
    ppb: u32,
}

impl Probability {
    /// What never happens.
    pub const NEVER: Self = Self { ppb: 0 };
    /// What always happens.
    pub const ALWAYS: Self = Self { ppb: Self::ONE_PPB };

    /// Parts per million: 20,000 is 2 %.
    ///
    /// # Panics
    /// If `ppm` is above 1,000,000.
    pub const fn from_ppm(ppm: u32) -> Self {
        assert!(ppm <= 1_000_000, "a probability is at most 1,000,000 ppm");
        Self { ppb: ppm * 1_000 }
    }

    /// Parts per billion: 20,000,000 is 2 %. `None` above 1,000,000,000.
    pub const fn from_ppb(ppb: u32) -> Option<Self> {
        if ppb <= Self::ONE_PPB {
            Some(Self { ppb })
        } else {
            None
        }
    }

    /// Parts per billion.
    pub const fn ppb(self) -> u32 {
        self.ppb
    }

    /// As a number from 0 to 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.ppb) / f64::from(Self::ONE_PPB)
    }

    pub(crate) const ONE_PPB: u32 = 1_000_000_000;
}

/// How strongly one packet's luck follows that of the packet before it: 0 to below 1.
///
/// It is the correlation of a hidden normal variable, whose next value is
/// `correlation * last + sqrt(1 - correlation^2) * fresh`, and which is mapped to what is wanted by
/// its rank. So what each packet meets by itself has exactly the distribution that was asked for,
/// whatever the correlation; the correlation of the outcomes is a little smaller than this one.
///
/// Kernel netem averages uniform numbers instead: 1 % loss with 25 % correlation becomes almost
/// none there, and jitter shrinks to 0.77 of what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Correlation {
    ppb: u32,
}

impl Correlation {
    /// Every packet has luck of its own.
    pub const NONE: Self = Self { ppb: 0 };

    /// Parts per billion; `None` from 1,000,000,000 on, where nothing would ever change.
    pub const fn from_ppb(ppb: u32) -> Option<Self> {
        if ppb < Probability::ONE_PPB {
            Some(Self { ppb })
        } else {
            None
        }
    }

    /// Parts per billion.
    pub const fn ppb(self) -> u32 {
        self.ppb
    }

    /// As a number from 0 to below 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.ppb) / f64::from(Probability::ONE_PPB)
    }
}

/// Something that happens to a packet with a probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chance {
    /// How likely, for each packet by itself.
    pub probability: Probability,
    /// How likely it is the same as for the packet before.
    pub correlation: Correlation,
}

impl Chance {
    /// Each packet independently of all others.
    pub const fn independent(probability: Probability) -> Self {
        Self {
            probability,
            correlation: Correlation::NONE,
        }
    }
}
