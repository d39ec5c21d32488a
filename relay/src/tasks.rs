//! The task registry: every task has an owner, a name, an age and something that it waits for.
//!
//! A [`Scope`] owns tasks and further scopes. When it ends, they end: [`Scope::close`] asks them to
//! stop, waits until its deadline, and aborts and names what is left; a scope that is merely dropped
//! aborts at once, because a drop cannot wait. Nothing else in the crate spawns.
//!
//! All tasks go through [`quinn::Runtime::spawn`], so that a simulated host can freeze and kill
//! them. Aborting means that the future is dropped at its next turn; a task that hangs in
//! synchronous code cannot be aborted and stays listed, overdue, until it returns.

use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable, Aborted},
};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::{error, warn};

use self::table::{NewTask, ScopeId, Table, TaskId};
pub use self::{
    table::{Overdue, SpawnRefused, TaskCounts, TaskRow},
    wait::Wait,
};
use crate::clock;

mod table;
#[cfg(test)]
mod tests;
mod wait;

/// The registry of all tasks of a node. Cloning shares it.
#[derive(Clone)]
pub struct Tasks(Arc<Registry>);

struct Registry {
    runtime: Arc<dyn quinn::Runtime>,
    table: Mutex<Table>,
}

impl Tasks {
    /// A registry that spawns through `runtime`, with room for [`MAX_TASKS`] tasks.
    pub fn new(runtime: Arc<dyn quinn::Runtime>) -> Self {
        Self::with_limit(runtime, MAX_TASKS)
    }

    /// As [`Tasks::new`], with room for `limit` tasks and as many scopes.
    pub fn with_limit(runtime: Arc<dyn quinn::Runtime>, limit: usize) -> Self {
        Self(Arc::new(Registry {
            runtime,
            table: Mutex::new(Table::new(limit)),
        }))
    }

    /// An owner of its own. `name` is what [`TaskRow::owner`] shows, such as `peer eu/fra-1`.
    pub fn scope(&self, name: impl AsRef<str>) -> Scope {
        let runtime = self.0.runtime.clone();
        self.new_scope(None, name.as_ref(), CancellationToken::new(), runtime)
    }

    /// Every task that is registered at `now`, in the order of their spawning.
    pub fn list(&self, now: Instant) -> Vec<TaskRow> {
        self.0.table.lock().list(now)
    }

    /// What happened so far.
    pub fn counts(&self) -> TaskCounts {
        self.0.table.lock().counts()
    }

    /// Ends every task of this name, and nothing else: a part that stops working by itself.
    #[cfg(test)]
    pub(crate) fn abort_named(&self, name: &str) {
        let handles = self.0.table.lock().handles_of(name);
        handles.iter().for_each(AbortHandle::abort);
    }

    fn new_scope(
        &self,
        parent: Option<ScopeId>,
        name: &str,
        stop: CancellationToken,
        runtime: Arc<dyn quinn::Runtime>,
    ) -> Scope {
        let id = self.0.table.lock().add_scope(parent, name);
        Scope {
            tasks: self.clone(),
            id,
            stop,
            runtime,
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}

/// An owner of tasks and of further scopes, which end with it.
///
/// Dropping it asks nobody: its tasks, and those of its child scopes, are aborted. Use
/// [`Scope::close`] to let them end by themselves first.
#[derive(Debug)]
pub struct Scope {
    tasks: Tasks,
    /// `None` where the registry had no room: such a scope refuses every task.
    id: Option<ScopeId>,
    stop: CancellationToken,
    runtime: Arc<dyn quinn::Runtime>,
}

impl Scope {
    /// A scope that ends with this one, at the latest. Born closed if this one is closed.
    pub fn child(&self, name: impl AsRef<str>) -> Self {
        self.child_on(name, self.runtime.clone())
    }

    /// As [`Scope::child`], for tasks that run on another runtime: that of a worker.
    pub fn child_on(&self, name: impl AsRef<str>, runtime: Arc<dyn quinn::Runtime>) -> Self {
        let stop = self.stop.child_token();
        match self.id {
            Some(id) => self.tasks.new_scope(Some(id), name.as_ref(), stop, runtime),
            None => Self {
                tasks: self.tasks.clone(),
                id: None,
                stop,
                runtime,
            },
        }
    }

    /// Starts a task that this scope owns. Must be called within the runtime.
    ///
    /// `make` gets the [`Task`] with which the task says what it waits for and hears that it should
    /// stop. A panic of the task is caught, logged and counted. Dropping the handle changes nothing.
    ///
    /// # Errors
    /// - [`SpawnRefused::Closed`]: the scope has ended; nothing was started.
    /// - [`SpawnRefused::Full`]: the registry holds as many tasks as it may; nothing was started.
    pub fn spawn<F, Fut>(&self, name: &'static str, make: F) -> Result<TaskHandle, SpawnRefused>
    where
        F: FnOnce(Task) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (abort, registration) = AbortHandle::new_pair();
        let waits = Arc::new(AtomicU8::new(Wait::Nothing as u8));
        let ended = Arc::new(Notify::new());
        let id = self.tasks.0.table.lock().add_task(
            self.id,
            NewTask {
                name,
                born: clock::now(),
                waits: waits.clone(),
                abort: abort.clone(),
            },
        )?;
        let registered = Registered {
            tasks: self.tasks.clone(),
            id,
            ended: ended.clone(),
        };
        let task = Task {
            waits,
            stop: self.stop.clone(),
        };
        let future = Abortable::new(make(task), registration);
        // An async block that awaits what it has captured would have room for it twice.
        self.runtime.spawn(Box::pin(
            AssertUnwindSafe(future)
                .catch_unwind()
                // Dropped after the future, also where that was not polled to its end: what is no
                // longer listed holds nothing any more.
                .map(move |ended| match ended {
                    Ok(Ok(()) | Err(Aborted)) => drop(registered),
                    Err(_) => {
                        registered.tasks.0.table.lock().on_panic();
                        error!(task = name, "task panicked");
                    }
                }),
        ));
        Ok(TaskHandle {
            tasks: self.tasks.clone(),
            id,
            abort,
            ended,
        })
    }

    /// Ends the scope: no more spawns, soft stop for its tasks and child scopes, and at `deadline`
    /// the rest is aborted.
    ///
    /// Returns what had to be aborted, in the order of spawning; each is logged and counted too, and
    /// stays listed as overdue until its future is gone. An empty list means that all have ended.
    /// A task that closes the scope it belongs to waits for itself, up to the deadline.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future drops the scope, which aborts what is left at once.
    pub async fn close(self, deadline: Instant) -> Vec<Overdue> {
        let Some(id) = self.id else {
            return Vec::new();
        };
        let idle = self.tasks.0.table.lock().close(id, deadline);
        self.stop.cancel();
        // Running into the deadline is an outcome that `abort_rest` reports.
        let _ = timeout_at(deadline.into(), async {
            loop {
                // Made before the look, from when on it hears `notify_waiters`.
                let leaving = idle.notified();
                if self.tasks.0.table.lock().is_idle(id) {
                    return;
                }
                leaving.await;
            }
        })
        .await;
        // What is left is aborted by the drop of the scope, which follows.
        let overdue = self.tasks.0.table.lock().report_rest(id);
        for task in &overdue {
            warn!(task = task.name, owner = %task.owner, "task outlived its owner's deadline");
        }
        overdue
    }

    /// Resolves when this scope, or one around it, is asked to stop. Cancel safe.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        // Aborting wakes the tasks, which is not done under the registry's lock.
        let handles = self.tasks.0.table.lock().drop_scope(id);
        self.stop.cancel();
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// A running task's own view of its registration. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Task {
    waits: Arc<AtomicU8>,
    stop: CancellationToken,
}

impl Task {
    /// Says what the task is about to wait for. One relaxed store.
    pub fn waits(&self, wait: Wait) {
        self.waits.store(wait as u8, Ordering::Relaxed);
    }

    /// Resolves when the owner asks the task to stop; the task then ends by itself. Cancel safe.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.stop.cancelled()
    }

    /// Whether the owner has asked the task to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Ends a task early, or waits for its end. Dropping it does neither.
#[derive(Debug)]
pub struct TaskHandle {
    tasks: Tasks,
    id: TaskId,
    abort: AbortHandle,
    ended: Arc<Notify>,
}

impl TaskHandle {
    /// Drops the task's future at its next turn. Harmless if it has ended.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether the task's future is gone.
    pub fn is_finished(&self) -> bool {
        !self.tasks.0.table.lock().has_task(self.id)
    }

    /// Waits until the task's future is gone; `false` if it is still there at `deadline`.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn finished(&self, deadline: Instant) -> bool {
        let gone = async {
            // Made before the look, from when on it hears `notify_waiters`.
            let ended = self.ended.notified();
            if !self.is_finished() {
                ended.await;
            }
        };
        timeout_at(deadline.into(), gone).await.is_ok()
    }
}

/// Takes the task off the registry when it is dropped, however the task ends.
struct Registered {
    tasks: Tasks,
    id: TaskId,
    ended: Arc<Notify>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let idle = self.tasks.0.table.lock().remove_task(self.id);
        idle.iter().for_each(|scope| scope.notify_waiters());
        self.ended.notify_waiters();
    }
}

/// Some 300 bytes each: 30 MB when full, while a node with 1,000 peers and 10,000 streams needs a
/// third of it.
pub const MAX_TASKS: usize = 100_000;
