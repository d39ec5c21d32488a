//! How late this machine's timers are: what every time that is measured here contains.

use std::{thread, time::Duration};

use causeway::clock;

use super::row::Row;

/// Sleeps a millisecond a thousand times; the 99th percentile of how much longer it took.
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is the thread's own sleep, with no runtime in between"
)]
pub fn lateness() -> Duration {
    let mut late: Vec<Duration> = (0..SLEEPS)
        .map(|_| {
            let began = clock::now();
            thread::sleep(SLEEP);
            (clock::now() - began).saturating_sub(SLEEP)
        })
        .collect();
    late.sort();
    late[SLEEPS * 99 / 100]
}

/// The lateness as a row, for whoever reads the times below it.
pub fn measure() -> Row {
    let late = lateness().as_secs_f64() * 1e3;
    Row::stated("timer", "lateness of a 1 ms sleep, p99", "ms", late)
}

const SLEEP: Duration = Duration::from_millis(1);
const SLEEPS: usize = 1_000;
