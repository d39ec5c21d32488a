//! What is measured of one pair, and when it is what was asked for.

use std::{fmt, time::Duration};

use super::{ground::PairRun, statistics::ALPHA};

pub(super) mod damage;
pub(super) mod delay;
pub(super) mod limits;
pub(super) mod loss;
pub(super) mod order;
pub(super) mod schedule;

/// One thing that is measured of a pair.
pub(super) struct Check {
    pub(super) test: &'static str,
    pub(super) asked: String,
    /// Whether chance decides: a right emulator then fails once in 1 / [`ALPHA`] seeds.
    pub(super) is_random: bool,
    pub(super) leans_on: LeansOn,
    judge: Box<dyn Fn(&PairRun) -> Measured>,
}

/// What must have held for a failure to mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeansOn {
    /// No packet was lost to the emulator's own bounds.
    Packets,
    /// That, and nothing was late.
    Timers,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) shown: String,
    pub(super) holds: bool,
}

impl Check {
    /// One that a right emulator always passes.
    fn certain(
        test: &'static str,
        asked: impl fmt::Display,
        leans_on: LeansOn,
        judge: impl Fn(&PairRun) -> Measured + 'static,
    ) -> Self {
        Self {
            test,
            asked: asked.to_string(),
            is_random: false,
            leans_on,
            judge: Box::new(judge),
        }
    }

    /// One that a right emulator fails with the probability [`ALPHA`]. The judge gives what it
    /// shows, and the probability of a right emulator to be as far off.
    fn random(
        test: &'static str,
        asked: impl fmt::Display,
        leans_on: LeansOn,
        judge: impl Fn(&PairRun) -> Option<(String, f64)> + 'static,
    ) -> Self {
        let judge = move |run: &PairRun| match judge(run) {
            Some((shown, p_value)) => Measured {
                shown: format!("{shown}, p {}", short(p_value)),
                holds: p_value >= ALPHA,
            },
            None => Measured::wrong("too few packets"),
        };
        Self {
            is_random: true,
            ..Self::certain(test, asked, leans_on, judge)
        }
    }

    /// The same, where a failure means nothing unless all was on time.
    pub(super) fn on_timers(self) -> Self {
        Self {
            leans_on: LeansOn::Timers,
            ..self
        }
    }

    pub(super) fn judge(&self, run: &PairRun) -> Measured {
        (self.judge)(run)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({}: {})", self.test, self.asked)
    }
}

impl Measured {
    fn new(shown: impl fmt::Display, holds: bool) -> Self {
        Self {
            shown: shown.to_string(),
            holds,
        }
    }

    fn wrong(shown: &str) -> Self {
        Self::new(shown, false)
    }
}

/// What a check sees of a pair.
impl PairRun {
    /// Whether the backend told the deadlines; else arrivals are late by what the host is.
    fn is_on_schedule(&self) -> bool {
        self.arrivals.iter().all(|arrival| arrival.due.is_some())
    }

    /// By how much arrivals may exceed what was asked for.
    fn lateness_allowed(&self) -> Duration {
        if self.is_on_schedule() {
            Duration::ZERO
        } else {
            LATENESS_ALLOWED
        }
    }

    /// The greatest of some times; where arrivals are late, of all but the greatest hundredth.
    fn greatest(&self, mut times: Vec<i64>) -> Option<i64> {
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        let percent = if self.is_on_schedule() { 100 } else { 99 };
        Some(times[last * percent / 100])
    }

    /// The delay of each packet's first arrival in nanoseconds, by sequence; `None` if it is lost.
    fn delays(&self) -> Vec<Option<i64>> {
        let mut delays = vec![None; self.sent.len()];
        for arrival in &self.arrivals {
            let place = arrival.sequence as usize;
            let Some(sent) = self.sent.get(place) else {
                continue;
            };
            let arrived = arrival.due.unwrap_or(arrival.at);
            let delay = nanos(arrived) - nanos(*sent);
            delays[place].get_or_insert(delay);
        }
        delays
    }

    /// The delays of those that arrived, by sequence.
    fn delays_of_arrived(&self) -> Vec<i64> {
        self.delays().into_iter().flatten().collect()
    }

    /// Whether each packet was lost, by sequence.
    fn lost(&self) -> Vec<bool> {
        let mut lost = vec![true; self.sent.len()];
        for arrival in &self.arrivals {
            if let Some(lost) = lost.get_mut(arrival.sequence as usize) {
                *lost = false;
            }
        }
        lost
    }

    /// When each packet was sent, counted from when the schedule began.
    fn sent_on_schedule(&self) -> impl Iterator<Item = Duration> {
        self.sent.iter().map(|sent| sent.saturating_sub(self.began))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Exact for what a run's delays can be.
#[expect(clippy::cast_precision_loss, reason = "delays are far below 2^53 ns")]
fn as_f64(nanos: i64) -> f64 {
    nanos as f64
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length in memory")
}

/// Nanoseconds as milliseconds, without zeros at the end.
fn millis(nanos: i64) -> String {
    format!("{} ms", as_f64(nanos) / 1e6)
}

/// A share in percent.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}% of {whole}", part as f64 / whole as f64 * 100.0)
}

fn percent_asked(share: f64) -> String {
    // To a millionth, so that what binary fractions cannot say does not show.
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// A probability in a few characters.
fn short(p_value: f64) -> String {
    match p_value {
        0.01.. => format!("{p_value:.2}"),
        1e-9.. => format!("{p_value:.0e}"),
        _ => String::from("<1e-9"),
    }
}

/// How late packets may be where only their realised times are known: what the lateness of a real
/// backend itself is held to.
pub(super) const LATENESS_ALLOWED: Duration = Duration::from_millis(1);
