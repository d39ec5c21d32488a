//! The one place that reads the monotonic clock.

use std::{pin::Pin, time::Instant};

use tokio::time::Sleep;

/// The current time, which a paused or simulated runtime may make virtual.
///
/// A task reads it once for each turn of its loop and hands it to everything it calls.
#[expect(
    clippy::disallowed_methods,
    reason = "every other module reads the clock through here"
)]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Sets a timer that is kept from turn to turn to `at`; `false`, and left as it is, if there is
/// nothing to wait for.
///
/// A loop with many turns a second pays for a new timer in each; a reset costs little.
pub(crate) fn arm(mut timer: Pin<&mut Sleep>, at: Option<Instant>) -> bool {
    let Some(at) = at else { return false };
    if timer.deadline() != at.into() || timer.is_elapsed() {
        timer.as_mut().reset(at.into());
    }
    true
}

/// Waits until `at`; for ever if there is nothing to wait for.
///
/// # Cancel safety
/// Cancel safe: it holds nothing but the timer.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
