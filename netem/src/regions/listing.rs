//! What a matrix holds, for people and for programs.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use super::{Matrix, SAME_REGION, UnknownRegion};

impl Matrix {
    /// The round trips of all pairs of `regions`, those within a region included.
    ///
    /// # Errors
    /// If the matrix does not have all of them.
    pub fn round_trips(
        &self,
        regions: &[impl AsRef<str>],
    ) -> Result<Vec<RoundTrip>, UnknownRegion> {
        let indices: Result<Vec<_>, _> = regions
            .iter()
            .map(|region| self.index(region.as_ref()))
            .collect();
        let indices = indices?;
        let pairs = indices
            .iter()
            .flat_map(|from| indices.iter().map(move |to| (*from, *to)));
        Ok(pairs
            .map(|(from, to)| self.trip_between(from, to))
            .collect())
    }

    /// What this matrix is.
    pub fn summary(&self) -> Summary {
        let same = (0..self.regions.len()).map(|index| self.entry(index, index).assumed);
        let assumed = same.filter(|assumed| *assumed).count();
        Summary {
            matrix: self.name.clone(),
            regions: self.regions.clone(),
            jitter: self.has_p90,
            same_region: match assumed {
                0 => SameRegion::Measured,
                all if all == self.regions.len() => SameRegion::Assumed,
                _ => SameRegion::AssumedWhereMissing,
            },
            source: self.source,
        }
    }

    pub(super) fn trip_between(&self, from: usize, to: usize) -> RoundTrip {
        let (there, back) = (self.entry(from, to), self.entry(to, from));
        let p50 = Duration::from_nanos(u64::midpoint(there.p50, back.p50));
        let spread = Duration::from_nanos(u64::midpoint(there.spread, back.spread));
        RoundTrip {
            from: self.regions[from].clone(),
            to: self.regions[to].clone(),
            one_way: Duration::from_nanos(there.p50 / 2),
            p50,
            p90: (self.has_p90 && !there.assumed).then(|| p50 + spread),
            assumed: there.assumed,
        }
    }
}

/// The round trip of one pair, as its two directions add up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundTrip {
    /// Where it begins.
    pub from: String,
    /// Where it turns.
    pub to: String,
    /// The delay from `from` to `to`; the way back has its own.
    #[serde(rename = "one_way_ms", serialize_with = "serialize_millis")]
    pub one_way: Duration,
    /// Half of the packets take no longer.
    #[serde(rename = "rtt_p50_ms", serialize_with = "serialize_millis")]
    pub p50: Duration,
    /// Nine tenths of the packets take no longer; `None` where nobody measured it.
    #[serde(rename = "rtt_p90_ms", serialize_with = "serialize_some_millis")]
    pub p90: Option<Duration>,
    /// Whether it is [`SAME_REGION`], and not in the table.
    pub assumed: bool,
}

/// What a matrix is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What it is called.
    pub matrix: String,
    /// Its regions, sorted.
    pub regions: Vec<String>,
    /// Whether its paths have jitter.
    pub jitter: bool,
    /// Where the round trips within a region come from.
    pub same_region: SameRegion,
    /// Who measured, and the licence; `None` for a file.
    pub source: Option<&'static str>,
}

/// Where the round trips within a region come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SameRegion {
    /// All are [`SAME_REGION`].
    Assumed,
    /// Some are [`SAME_REGION`].
    AssumedWhereMissing,
    /// All are in the table.
    Measured,
}

/// What the summary says without the regions.
struct Facts<'a>(&'a Summary);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            matrix,
            regions,
            jitter,
            same_region,
            source,
        } = self.0;
        let plural = if regions.len() == 1 { "" } else { "s" };
        writeln!(f, "{matrix}: {} region{plural}", regions.len())?;
        let known = match jitter {
            true => "p50 and p90, hence jitter",
            false => "p50 alone, hence no jitter",
        };
        writeln!(f, "  round trips  {known}")?;
        let same = match same_region {
            SameRegion::Assumed => format!("not in the table, {SAME_REGION:?} assumed"),
            SameRegion::AssumedWhereMissing => {
                format!("{SAME_REGION:?} assumed where the table has none")
            }
            SameRegion::Measured => "in the table".to_owned(),
        };
        writeln!(f, "  same region  {same}")?;
        if let Some((who, licence)) = source.and_then(|source| source.split_once(", ")) {
            writeln!(f, "  source       {who},\n               {licence}")?;
        }
        Ok(())
    }
}

/// The facts of a matrix, then its regions, within 80 columns where a name of a file permits it.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Facts(self))?;
        let widest = self.regions.iter().map(|name| name.chars().count()).max();
        let width = widest.unwrap_or(0) + GAP;
        for line in self.regions.chunks(((WIDTH + GAP - INDENT) / width).max(1)) {
            let cells: String = line.iter().map(|name| format!("{name:width$}")).collect();
            writeln!(f, "{:INDENT$}{}", "", cells.trim_end())?;
        }
        Ok(())
    }
}

/// The facts of several matrices.
pub fn listing(summaries: &[Summary]) -> String {
    summaries
        .iter()
        .map(|summary| Facts(summary).to_string())
        .collect()
}

/// Nanoseconds over a million is the double next to the decimal, and so prints as it.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most an hour of nanoseconds, which is below 2^53"
)]
fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

fn serialize_millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(millis(*duration))
}

fn serialize_some_millis<S: Serializer>(
    duration: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_millis(duration, to),
        None => to.serialize_none(),
    }
}

/// The width of a terminal that nobody has made larger.
const WIDTH: usize = 80;
const INDENT: usize = 2;
/// Between columns.
const GAP: usize = 2;
