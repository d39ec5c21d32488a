//! How those who wait for a value hear of a new one: small enough to be model-checked.
//!
//! Why no wake-up is lost. The writer stores the value (W1), then takes the wakers under the lock
//! (W2) and wakes them. A waiter registers its waker under the same lock (R1), then looks at the
//! value (R2), and only sleeps if that will not do. The bad interleaving would be a waiter that
//! misses both the value and the wake-up:
//!
//! 1. The waiter misses the wake-up only if W2 comes before R1: its waker was not there yet.
//! 2. The lock orders W2 before R1, so W1, which precedes W2, is visible to R2, which follows R1.
//! 3. Hence R2 sees the value: it is not missed.
//!
//! Looking first and registering after would lose it: look (old), W1, W2 (nobody), register, sleep.

use std::{collections::BTreeMap, task::Poll, task::Waker};

/// A lock around the waiters, so that the model checker can bring its own.
pub(super) trait Lock {
    fn new(waiters: Waiters) -> Self;
    fn with<R>(&self, work: impl FnOnce(&mut Waiters) -> R) -> R;
}

impl Lock for parking_lot::Mutex<Waiters> {
    fn new(waiters: Waiters) -> Self {
        Self::new(waiters)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Waiters) -> R) -> R {
        work(&mut self.lock())
    }
}

/// Who waits. A waiter that was woken keeps its place, with no waker in it, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    places: BTreeMap<u64, Option<Waker>>,
    next: u64,
}

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

pub(super) struct Wake<L> {
    waiters: L,
    limit: usize,
}

impl<L: Lock> Wake<L> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            waiters: L::new(Waiters::default()),
            limit,
        }
    }

    /// Wakes everybody. The writer calls it after it has stored the value.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<Waker> = self.waiters.with(|waiters| {
            waiters
                .places
                .values_mut()
                .filter_map(Option::take)
                .collect()
        });
        // Not under the lock: a waker may run anything.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Somebody who may wait; takes a place when it first has to.
    pub(super) fn waiter(&self) -> Waiter<'_, L> {
        Waiter {
            wake: self,
            place: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.with(|waiters| waiters.places.len())
    }
}

/// Gives its place back when it is dropped.
pub(super) struct Waiter<'a, L: Lock> {
    wake: &'a Wake<L>,
    place: Option<u64>,
}

impl<L: Lock> Waiter<'_, L> {
    /// Registers `waker`, then looks. `look` loads the value and says whether it will do.
    pub(super) fn poll<R>(
        &mut self,
        waker: &Waker,
        mut look: impl FnMut() -> Option<R>,
    ) -> Poll<Result<R, Full>> {
        let limit = self.wake.limit;
        let place = &mut self.place;
        let registered = self.wake.waiters.with(|waiters| {
            let place = match *place {
                Some(place) => place,
                None if waiters.places.len() >= limit => return Err(Full),
                None => {
                    let new = waiters.next;
                    waiters.next += 1;
                    *place = Some(new);
                    new
                }
            };
            waiters.places.insert(place, Some(waker.clone()));
            Ok(())
        });
        if let Err(full) = registered {
            return Poll::Ready(Err(full));
        }
        match look() {
            Some(found) => Poll::Ready(Ok(found)),
            None => Poll::Pending,
        }
    }
}

impl<L: Lock> Drop for Waiter<'_, L> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // Bound outside, so that the waker is dropped after the lock is released.
            let _waker = self
                .wake
                .waiters
                .with(|waiters| waiters.places.remove(&place));
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod model {
    use loom::{
        sync::{
            Arc, Mutex, Notify,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    impl Lock for Mutex<Waiters> {
        fn new(waiters: Waiters) -> Self {
            Self::new(waiters)
        }

        fn with<R>(&self, work: impl FnOnce(&mut Waiters) -> R) -> R {
            work(&mut self.lock().expect("no waiter panics"))
        }
    }

    struct Model {
        value: AtomicUsize,
        wake: Wake<Mutex<Waiters>>,
    }

    impl Model {
        fn look(&self) -> Option<usize> {
            match self.value.load(Ordering::Acquire) {
                0 => None,
                value => Some(value),
            }
        }
    }

    /// Unparks a thread of the model.
    struct Unpark(Notify);

    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.notify();
        }
    }

    fn join(model: &Model) -> Result<usize, Full> {
        let unpark = std::sync::Arc::new(Unpark(Notify::new()));
        let waker = Waker::from(unpark.clone());
        let mut waiter = model.wake.waiter();
        loop {
            match waiter.poll(&waker, || model.look()) {
                Poll::Ready(found) => return found,
                Poll::Pending => unpark.0.wait(),
            }
        }
    }

    #[test]
    fn three_joiners_and_a_cancellation_lose_no_wakeup_and_leave_nothing() {
        let mut model = loom::model::Builder::new();
        // A wake-up is lost with one preemption. With three this takes seconds, with four minutes.
        model.preemption_bound = model.preemption_bound.or(Some(3));
        model.check(|| {
            let model = Arc::new(Model {
                value: AtomicUsize::new(0),
                wake: Wake::new(3),
            });
            let joiner = |gives_up: bool| {
                let model = model.clone();
                thread::spawn(move || {
                    if gives_up {
                        let _ = model.wake.waiter().poll(Waker::noop(), || model.look());
                    } else {
                        assert_eq!(join(&model), Ok(1));
                    }
                })
            };
            let joiners = [joiner(false), joiner(true), joiner(false)];
            // The writer is this thread: with it there are four, which is as many as loom takes.
            model.value.store(1, Ordering::Release);
            model.wake.wake_all();
            for joiner in joiners {
                joiner.join().expect("no joiner panics");
            }
            assert_eq!(model.wake.len(), 0);
        });
    }
}
