//! The one place that reads the monotonic clock.

use std::time::Instant;

/// The current time, virtual on a paused runtime.
#[expect(
    clippy::disallowed_methods,
    reason = "every other module reads the clock through here"
)]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits until `at`; for ever if there is nothing to wait for.
///
/// # Cancel safety
/// Cancel safe: it holds nothing but the timer.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
