//! Waits for what real processes bring about.

use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until it holds, for 20 s at the most.
#[expect(
    clippy::disallowed_methods,
    reason = "between looks at a process that starts"
)]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = now() + Duration::from_secs(20);
    while !holds() {
        assert!(now() < deadline, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
