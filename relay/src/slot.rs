//! Publication of one value by one writer, found without a lock, and waiting for it to change.
//!
//! Readers load a snapshot. Those who need another value than the present one wait, each until its
//! own deadline; a waiter that gives up leaves nothing behind and disturbs nobody, so that a
//! thousand requests can wait for one dial. The protocol of waiting is in the `wake` module.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::timeout_at;

use self::wake::{Full, Waiters, Wake};

#[cfg(test)]
mod tests;
mod wake;

/// The reading end of a slot. Cloning shares it.
pub struct Slot<T>(Arc<Shared<T>>);

/// The writing end of a slot: there is one.
///
/// When it is dropped, the last value stays readable and waiting fails.
pub struct Publisher<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: ArcSwap<T>,
    gone: AtomicBool,
    wake: Wake<Mutex<Waiters>>,
}

impl<T> Slot<T> {
    /// A slot that holds `value`, with room for [`MAX_WAITERS`].
    pub fn with_publisher(value: T) -> (Publisher<T>, Self) {
        let shared = Arc::new(Shared {
            value: ArcSwap::from_pointee(value),
            gone: AtomicBool::new(false),
            wake: Wake::new(MAX_WAITERS),
        });
        (Publisher(shared.clone()), Self(shared))
    }

    /// The present value. Takes no lock.
    pub fn load(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    /// Waits until `accept` makes something of a value, and returns that.
    ///
    /// Where the present value will do, it returns at once and takes no lock. Otherwise it looks
    /// again after each publication; values that are replaced quickly may go unseen.
    ///
    /// # Errors
    /// - [`WaitError::Full`]: at once; the slot has [`MAX_WAITERS`].
    /// - [`WaitError::Gone`]: no further value can come.
    /// - [`WaitError::TimedOut`]: no value would do until `deadline`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_until<R>(
        &self,
        mut accept: impl FnMut(&T) -> Option<R>,
        deadline: Instant,
    ) -> Result<R, WaitError> {
        let mut look = || {
            // Loaded first: a last value that is published before the writer goes is seen.
            let gone = self.0.gone.load(Ordering::Acquire);
            let value = self.0.value.load_full();
            accept(&value)
                .map(Ok)
                .or_else(|| gone.then_some(Err(WaitError::Gone)))
        };
        if let Some(result) = look() {
            return result;
        }
        let mut waiter = self.0.wake.waiter();
        let changed = poll_fn(|cx| waiter.poll(cx.waker(), &mut look));
        match timeout_at(deadline.into(), changed).await {
            Ok(Ok(result)) => result,
            Ok(Err(Full)) => Err(WaitError::Full { limit: MAX_WAITERS }),
            Err(_) => Err(WaitError::TimedOut),
        }
    }

    /// How many wait at this moment.
    pub fn waiters(&self) -> usize {
        self.0.wake.len()
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.load()).finish()
    }
}

impl<T> Publisher<T> {
    /// Replaces the value and wakes everybody who waits.
    pub fn publish(&mut self, value: T) {
        self.0.value.store(Arc::new(value));
        self.0.wake.wake_all();
    }

    /// Another reading end.
    pub fn slot(&self) -> Slot<T> {
        Slot(self.0.clone())
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.wake.wake_all();
    }
}

impl<T: fmt::Debug> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Publisher")
            .field(&self.slot().load())
            .finish()
    }
}

/// Why waiting for a value was in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WaitError {
    /// As many wait as may.
    #[error("too many wait already, limit is {limit}")]
    Full {
        /// How many may wait.
        limit: usize,
    },
    /// The writer is gone.
    #[error("nobody is left to publish a value")]
    Gone,
    /// The deadline passed.
    #[error("no value would do until the deadline")]
    TimedOut,
}

/// Four times the thousand requests that may well want one peer at once; some 100 bytes each.
pub const MAX_WAITERS: usize = 4_096;
