//! Waits that end on time.

use std::{
    io,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, Timespec, poll},
    io::Errno,
    thread::set_current_timer_slack,
};

use crate::{
    clock,
    lateness::{Lateness, LatenessHistogram},
};

/// Has this thread woken when its timers are due, and not up to 50 us later with others.
pub(crate) fn be_precise() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}

/// Waits until something is ready or `until`, which is kept to the nanosecond that the kernel's
/// timers have. A signal ends it too.
pub(crate) fn wait(waits: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let timeout = until.map(|until| timespec(until.saturating_duration_since(clock::now())));
    match poll(waits, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Does nothing for a while; a signal cuts it short.
pub(crate) fn pause(length: Duration) {
    // Without anything to wait on, there is nothing that could go wrong.
    let _ = wait(&mut [], Some(clock::now() + length));
}

/// How late this machine's timers are while nothing else is to do: 200 of a millisecond.
///
/// # Errors
/// What the system says against waiting.
pub fn idle_timer() -> io::Result<Lateness> {
    be_precise()?;
    let mut histogram = LatenessHistogram::new();
    for _ in 0..IDLE_WAITS {
        let due = clock::now() + Duration::from_millis(1);
        wait(&mut [], Some(due))?;
        histogram.record(clock::now().saturating_duration_since(due));
    }
    Ok(histogram.summary())
}

/// Above an hour it is an hour: a loop that wakes that often for nothing is idle.
fn timespec(timeout: Duration) -> Timespec {
    let timeout = timeout.min(Duration::from_secs(3_600));
    Timespec {
        tv_sec: timeout.as_secs().cast_signed(),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

/// A quarter of a second, with a 99th percentile that is worth its name.
const IDLE_WAITS: usize = 200;
