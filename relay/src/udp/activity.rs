//! When a flow last carried a packet, told by one task and asked by another.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The time of the last packet, to the millisecond.
#[derive(Debug)]
pub(crate) struct Activity {
    origin: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    /// Active at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            last_ms: AtomicU64::new(0),
        }
    }

    /// A packet came at `now`. One relaxed store: a reader that sees it a moment late expires
    /// nothing, because what it compares with is many seconds.
    pub(crate) fn touch(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.origin).as_millis();
        self.last_ms
            .store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When the last packet came.
    pub(crate) fn last(&self) -> Instant {
        self.origin + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}
