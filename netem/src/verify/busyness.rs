//! How busy this host is with others while something is measured.

use std::{fs, num::NonZeroUsize, thread, time::Instant};

use crate::clock;

/// Counts from when it is made.
#[derive(Debug)]
pub(super) struct Busyness {
    start: Instant,
    busy_ticks: u64,
    own_ticks: u64,
}

impl Busyness {
    /// `None` where the system does not tell.
    pub(super) fn start() -> Option<Self> {
        Some(Self {
            start: clock::now(),
            busy_ticks: busy_ticks(&fs::read_to_string("/proc/stat").ok()?)?,
            own_ticks: own_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?,
        })
    }

    /// The share of all processors that others than this process have used since the start.
    pub(super) fn of_others(&self) -> Option<f64> {
        let now = Self::start()?;
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let busy = now.busy_ticks.saturating_sub(self.busy_ticks);
        let own = now.own_ticks.saturating_sub(self.own_ticks);
        let elapsed = (now.start - self.start).as_secs_f64() * TICKS_PER_SECOND;
        let available = elapsed * f64::from(u32::try_from(processors).ok()?);
        let others = f64::from(u32::try_from(busy.saturating_sub(own)).ok()?);
        Some((others / available).clamp(0.0, 1.0))
    }
}

/// What all processors worked, from `/proc/stat`: all columns of its first line but idling and
/// waiting for disks; guests count as users already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let columns: Vec<u64> = line
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let (working, rest) = (columns.get(..3)?, columns.get(5..8)?);
    Some(working.iter().chain(rest).sum())
}

/// What this process worked, from `/proc/self/stat`: its columns 14 and 15, behind a name in
/// parentheses that may hold anything.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, columns) = stat.rsplit_once(')')?;
    let mut columns = columns.split_whitespace().skip(11);
    let user: u64 = columns.next()?.parse().ok()?;
    let system: u64 = columns.next()?.parse().ok()?;
    Some(user + system)
}

/// `USER_HZ`, which is 100 on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_everything_but_idling_and_waiting() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(busy_ticks(stat), Some(63));
        assert_eq!(busy_ticks("cpu  1 2"), None);
        assert_eq!(busy_ticks(""), None);
    }

    #[test]
    fn own_work_is_found_behind_any_name() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 300 40 0 0 20";
        assert_eq!(own_ticks(stat), Some(340));
        assert_eq!(own_ticks("7 (a) R 1"), None);
    }

    #[test]
    fn own_work_is_not_that_of_others() {
        let before = Busyness::start().unwrap();
        let share = before.of_others().unwrap();
        assert!((0.0..=1.0).contains(&share));
    }
}
