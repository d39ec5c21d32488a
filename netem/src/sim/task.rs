//! The tasks of a process, which can be frozen and killed.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::network::ProcessId;

pub(super) type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Owns the futures of its tasks, so that killing it drops them on the spot; the runtime only holds
/// a [`Task`], which borrows its future for each poll.
pub(super) struct Process {
    pub(super) id: ProcessId,
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    /// Grows at each kill.
    incarnation: u64,
    frozen: bool,
    next_task: u64,
    tasks: BTreeMap<u64, Entry>,
}

struct Entry {
    /// `None` while it is polled.
    future: Option<BoxFuture>,
    waker: Option<Waker>,
    /// Whether it would have been polled, had it not been frozen.
    missed_poll: bool,
}

/// One run of a process, from its start or the last kill to the next kill.
#[derive(Clone, Debug)]
pub(super) struct Life {
    process: Arc<Process>,
    incarnation: u64,
}

impl Process {
    pub(super) fn new(id: ProcessId, runtime: Handle) -> Self {
        Self {
            id,
            runtime,
            state: Mutex::new(State {
                incarnation: 0,
                frozen: false,
                next_task: 0,
                tasks: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn life(self: &Arc<Self>) -> Life {
        Life {
            process: self.clone(),
            incarnation: self.state.lock().incarnation,
        }
    }

    pub(super) fn freeze(&self) {
        self.state.lock().frozen = true;
    }

    pub(super) fn thaw(&self) {
        let missed: Vec<_> = {
            let mut state = self.state.lock();
            state.frozen = false;
            let entries = state.tasks.values_mut();
            entries
                .filter_map(|entry| {
                    let missed = std::mem::take(&mut entry.missed_poll);
                    entry.waker.clone().filter(|_| missed)
                })
                .collect()
        };
        // In the order in which the tasks were spawned, so that runs repeat.
        missed.into_iter().for_each(Waker::wake);
    }

    pub(super) fn kill(&self) {
        let tasks = {
            let mut state = self.state.lock();
            state.incarnation += 1;
            state.frozen = false;
            std::mem::take(&mut state.tasks)
        };
        // Without the lock: what is dropped may wake, spawn or close, all of which comes back here.
        for entry in tasks.into_values() {
            drop(entry.future);
            // The runtime's part of the task finds its entry gone and ends.
            entry.waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.id).finish()
    }
}

impl Life {
    /// Spawns a task, unless this life is over: then the future is dropped.
    pub(super) fn spawn(&self, future: BoxFuture) {
        let id = {
            let mut state = self.process.state.lock();
            if state.incarnation != self.incarnation {
                drop(state);
                return;
            }
            let id = state.next_task;
            state.next_task += 1;
            let entry = Entry {
                future: Some(future),
                waker: None,
                missed_poll: false,
            };
            state.tasks.insert(id, entry);
            id
        };
        let process = self.process.clone();
        self.process.runtime.spawn(Task { process, id });
    }

    pub(super) fn is_over(&self) -> bool {
        self.process.state.lock().incarnation != self.incarnation
    }
}

/// What the runtime polls.
struct Task {
    process: Arc<Process>,
    id: u64,
}

impl Task {
    /// Borrows the future for a poll.
    fn begin(&self, context: &Context<'_>) -> Begin {
        let mut state = self.process.state.lock();
        let frozen = state.frozen;
        let Some(entry) = state.tasks.get_mut(&self.id) else {
            return Begin::Killed;
        };
        match &mut entry.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        if frozen {
            entry.missed_poll = true;
            return Begin::Frozen;
        }
        Begin::Poll(entry.future.take().expect("polled by one thread at a time"))
    }

    /// Gives the future back; returns it if the task was killed meanwhile.
    fn end(&self, future: BoxFuture) -> Option<BoxFuture> {
        let mut state = self.process.state.lock();
        match state.tasks.get_mut(&self.id) {
            Some(entry) => {
                entry.future = Some(future);
                None
            }
            None => Some(future),
        }
    }
}

enum Begin {
    Frozen,
    Killed,
    Poll(BoxFuture),
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut future = match self.begin(context) {
            Begin::Frozen => return Poll::Pending,
            Begin::Killed => return Poll::Ready(()),
            Begin::Poll(future) => future,
        };
        if future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // A task may kill its own process: then its future is dropped here, without the lock.
        match self.end(future) {
            None => Poll::Pending,
            Some(killed) => {
                drop(killed);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Task {
    /// The task ended or panicked, or the runtime shuts down.
    fn drop(&mut self) {
        let entry = self.process.state.lock().tasks.remove(&self.id);
        drop(entry);
    }
}
