//! Round trips that were measured between regions, as models of their pairs.
//!
//! A [`Matrix`] has a number for each direction: the round trip as it was measured from one
//! region to the other and back. Two measurements of one round trip, from either end, differ a
//! little, so:
//!
//! - The delay from a to b is half of the number from a to b, and the delay back is half of the
//!   other. A round trip, which is their sum, is the mean of the two numbers: what is shown.
//! - Jitter comes from the same mean of p90 - p50, and both directions have the same. A round trip
//!   has the median and the p90 that the table says, if its packets are further apart than the
//!   jitter; closer ones wait for each other, as [`Order::Kept`](crate::model::Order::Kept) says.
//! - No packet takes less than half of the shorter of the two delays. The tables have no least
//!   times, so this is the propagation floor. Light in fibre along the great circle takes 0.55 of
//!   p50 for the median pair of `aws`, and less on the short ways with much jitter, which alone come
//!   down to the floor: one pair of 528, and 23 of 33 ways within a region. With it, the earliest
//!   packet of each pair takes at least 1.1 times as long as that light.
//! - Within a region the table's diagonal counts, and [`SAME_REGION`] where that is empty.

mod apply;
mod error;
mod listing;
mod load;
mod parse;
mod square;
mod table;
mod waiting;

use std::time::Duration;

use self::waiting::Waiting;
pub use self::{
    apply::{ApplyError, apply},
    error::{MatrixError, TableError, UnknownRegion},
    listing::{RoundTrip, SameRegion, Summary, listing},
};
use crate::{
    model::{Distribution, Jitter, PairModel},
    nearest::nearest,
};

/// The round trips between some regions.
#[derive(Debug, Clone)]
pub struct Matrix {
    name: String,
    source: Option<&'static str>,
    /// Sorted.
    regions: Vec<String>,
    /// Row after row, from the region of the row.
    entries: Vec<Entry>,
    has_p90: bool,
}

impl Matrix {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its regions, sorted.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// Whether its paths have jitter, because it has p90 too.
    pub fn has_jitter(&self) -> bool {
        self.has_p90
    }

    /// The model of the direction `from` to `to`: delay and jitter, no loss and no rate.
    ///
    /// It is made when it is asked for: about 10 us of work, and 0.3 ms where the way is short and
    /// its jitter large.
    ///
    /// # Errors
    /// If the matrix does not have both regions.
    pub fn path(&self, from: &str, to: &str) -> Result<PairModel, UnknownRegion> {
        Ok(self.path_between(self.index(from)?, self.index(to)?))
    }

    fn path_between(&self, from: usize, to: usize) -> PairModel {
        let (there, back) = (self.entry(from, to), self.entry(to, from));
        let delay = Duration::from_nanos(there.p50 / 2);
        let spread = u64::midpoint(there.spread, back.spread);
        if spread == 0 {
            return PairModel::delayed(delay);
        }
        // Both directions have the same jitter, so the shorter one bounds it.
        let shorter = there.p50.min(back.p50) / 2;
        let waiting = Waiting::fit(spread, shorter * EARLY_MAX_PERCENT / 100);
        PairModel {
            jitter: Jitter {
                distribution: Distribution::Empirical(waiting.quantiles()),
                ..Jitter::default()
            },
            ..PairModel::delayed(delay)
        }
    }

    fn index(&self, region: &str) -> Result<usize, UnknownRegion> {
        self.regions
            .binary_search_by(|known| known.as_str().cmp(region))
            .map_err(|_| UnknownRegion {
                matrix: self.name.clone(),
                name: region.to_owned(),
                nearest: nearest(region, self.regions.iter().map(String::as_str)),
            })
    }

    fn entry(&self, from: usize, to: usize) -> &Entry {
        &self.entries[from * self.regions.len() + to]
    }
}

/// One number of each table, in nanoseconds.
#[derive(Debug, Clone)]
struct Entry {
    p50: u64,
    /// p90 - p50, and nothing where p90 was measured on a better day.
    spread: u64,
    /// Not in the table.
    assumed: bool,
}

impl Entry {
    fn new(p50: Option<u64>, p90: Option<u64>) -> Self {
        match p50 {
            Some(p50) => Self {
                p50,
                spread: p90.map_or(0, |p90| p90.saturating_sub(p50)),
                assumed: false,
            },
            None => Self {
                p50: u64::try_from(SAME_REGION.as_nanos()).expect("a millisecond"),
                spread: 0,
                assumed: true,
            },
        }
    }
}

/// The round trip within a region where the table has none.
pub const SAME_REGION: Duration = Duration::from_millis(1);

/// Several times what any cloud has.
pub const MAX_REGIONS: usize = 1_000;

/// So many regions as JSON take 45 MB.
pub const MAX_TABLE_BYTES: usize = 64_000_000;

/// Twice the longest name there is, and short enough for a line of the table.
pub const MAX_NAME_CHARS: usize = 40;

/// How much earlier than its pair's delay a packet may be, in percent of it.
const EARLY_MAX_PERCENT: u64 = 50;

/// An hour: the most that the model delays.
const MAX_NANOS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests;
