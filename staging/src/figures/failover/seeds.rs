//! Runs a scenario for many seeds, and tells what was found over all of them.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::Context as _;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;

use super::NAME;
use crate::figures::{
    Context,
    contention::scene::simulate,
    row::{Budget, Row},
};

/// Something that is done to a fleet, and what is measured of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    /// How it is asked for.
    pub(super) name: &'static str,
    /// How its rows call it.
    pub(super) case: &'static str,
    /// How many seeds are run in short.
    pub(super) quick: u64,
    /// How many are run in full.
    pub(super) full: u64,
    /// Runs it once.
    pub(super) run: fn(u64) -> LocalBoxFuture<'static, anyhow::Result<Vec<Sample>>>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantity {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) told: Told,
    /// What is promised of the worst.
    pub(super) at_most: Option<f64>,
}

/// How a quantity is told over all seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// By its median, its 99th percentile and its largest value.
    Spread,
    /// By its largest value.
    Most,
}

/// One value of a quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    of: Quantity,
    value: f64,
}

impl Quantity {
    /// One value of it.
    pub(super) fn is(self, value: f64) -> Sample {
        Sample { of: self, value }
    }

    fn rows(self, case: &str, mut values: Vec<f64>) -> Vec<Row> {
        values.sort_by(f64::total_cmp);
        let row = |which: &str, value: f64| {
            let case = format!("{case}: {}, {which} of {}", self.what, values.len());
            Row::stated(NAME, case, self.unit, value)
        };
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let most = row("most", at(100));
        let most = match self.at_most {
            Some(limit) => most.promised(Budget::AtMost(limit)),
            None => most,
        };
        match self.told {
            Told::Spread => vec![row("p50", at(50)), row("p99", at(99)), most],
            Told::Most => vec![most],
        }
    }
}

impl Scenario {
    /// Runs every seed, as many at a time as there are processors: virtual time does not know how
    /// busy the machine is. A seed that misses a promise is told with the command that repeats it.
    pub(super) fn measure(&self, context: &Context, seeds: Range<u64>) -> anyhow::Result<Vec<Row>> {
        let next = AtomicU64::new(seeds.start);
        let samples = Mutex::new(Vec::new());
        let work = || -> anyhow::Result<()> {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !seeds.contains(&seed) {
                    return Ok(());
                }
                // Each has a thread of its own, and so the same addresses each time.
                let run = simulate(|| (self.run)(seed)).flatten();
                let run = run.with_context(|| format!("{}, seed {seed}", self.name));
                match run {
                    Ok(run) => samples
                        .lock()
                        .extend(run.into_iter().map(|sample| (seed, sample))),
                    Err(error) => {
                        // The others need not begin.
                        next.store(seeds.end, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|threads| {
            let workers: Vec<_> = (0..workers).map(|_| threads.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                let ended = worker.join();
                ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
            })
        })?;
        let mut samples = samples.into_inner();
        samples.sort_by_key(|(seed, _)| *seed);
        self.tell_missed(context, &samples);
        Ok(self.rows(&samples))
    }

    fn tell_missed(&self, context: &Context, samples: &[(u64, Sample)]) {
        for (seed, Sample { of, value }) in samples {
            if of.at_most.is_some_and(|limit| *value > limit) {
                context.note(&format!(
                    "{}: {} is {value:.3} {}; again with: cargo figures --only {NAME} \
                     --scenario {} --seeds {seed}..{}",
                    self.case,
                    of.what,
                    of.unit,
                    self.name,
                    seed + 1,
                ));
            }
        }
    }

    fn rows(&self, samples: &[(u64, Sample)]) -> Vec<Row> {
        let mut quantities: Vec<Quantity> = Vec::new();
        for (_, sample) in samples {
            if !quantities.contains(&sample.of) {
                quantities.push(sample.of);
            }
        }
        let rows = quantities.into_iter().flat_map(|quantity| {
            let of_it = samples.iter().filter(|(_, sample)| sample.of == quantity);
            quantity.rows(self.case, of_it.map(|(_, sample)| sample.value).collect())
        });
        rows.collect()
    }
}
