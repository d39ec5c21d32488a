//! The registry's bookkeeping: pure, under the registry's one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::AbortHandle;
use thiserror::Error;
use tokio::sync::Notify;

use super::Wait;

/// One task, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Grows with every spawn.
    pub id: u64,
    /// What the task is.
    pub name: &'static str,
    /// Its owner and the owner's owners, as in `peer eu/fra-1 > link`.
    pub owner: Arc<str>,
    /// Since its spawning.
    pub age: Duration,
    /// What it waits for.
    pub waits_for: Wait,
    /// Its owner has ended, the deadline for it too, and it is still there.
    pub overdue: bool,
}

/// A task that had to be aborted because it outlived its owner's deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// What the task is.
    pub name: &'static str,
    /// As in [`TaskRow::owner`].
    pub owner: Arc<str>,
    /// What it last waited for.
    pub waits_for: Wait,
}

/// What happened in a registry since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Tasks that had to be aborted at their owner's deadline.
    pub overdue: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Spawns refused because the scope had ended.
    pub refused_closed: u64,
    /// Spawns refused, and scopes made unusable, because the registry was full.
    pub refused_full: u64,
    /// Tasks that are registered now.
    pub running: usize,
    /// Tasks started.
    pub spawned: u64,
}

/// Why a task was not started. Its future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SpawnRefused {
    /// The scope has ended.
    #[error("the owner has ended")]
    Closed,
    /// The registry is full.
    #[error("the task registry is full, limit is {limit}")]
    Full {
        /// How many tasks it may hold.
        limit: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScopeId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(u64);

pub(super) struct NewTask {
    pub(super) name: &'static str,
    pub(super) born: Instant,
    pub(super) waits: Arc<AtomicU8>,
    pub(super) abort: AbortHandle,
}

/// Scopes and tasks by id; ids grow and are never used again.
pub(super) struct Table {
    scopes: BTreeMap<ScopeId, ScopeEntry>,
    tasks: BTreeMap<TaskId, TaskEntry>,
    next_id: u64,
    limit: usize,
    counts: TaskCounts,
}

struct ScopeEntry {
    path: Arc<str>,
    parent: Option<ScopeId>,
    children: BTreeSet<ScopeId>,
    tasks: BTreeSet<TaskId>,
    /// Tasks of the whole subtree, so that nobody has to count them to know that it is idle.
    live: usize,
    stop: Stop,
    /// Woken when `live` falls to nothing.
    idle: Arc<Notify>,
    /// The [`super::Scope`] is gone; the entry follows when nothing is left in it.
    dropped: bool,
}

#[derive(Clone, Copy)]
enum Stop {
    No,
    By(Instant),
    Aborted,
}

struct TaskEntry {
    owner: ScopeId,
    task: NewTask,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            scopes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_id: 1,
            limit,
            counts: TaskCounts::default(),
        }
    }

    /// `None` if there is no room for another scope. Below an ended scope it is born ended.
    pub(super) fn add_scope(&mut self, parent: Option<ScopeId>, name: &str) -> Option<ScopeId> {
        if self.scopes.len() >= self.limit {
            self.counts.refused_full += 1;
            return None;
        }
        let id = ScopeId(self.mint());
        let (path, stop) = match parent.and_then(|parent| self.scopes.get_mut(&parent)) {
            Some(above) => {
                above.children.insert(id);
                (format!("{} > {name}", above.path).into(), above.stop)
            }
            None => (name.into(), Stop::No),
        };
        self.scopes.insert(
            id,
            ScopeEntry {
                path,
                parent,
                children: BTreeSet::new(),
                tasks: BTreeSet::new(),
                live: 0,
                stop,
                idle: Arc::new(Notify::new()),
                dropped: false,
            },
        );
        Some(id)
    }

    pub(super) fn add_task(
        &mut self,
        owner: Option<ScopeId>,
        task: NewTask,
    ) -> Result<TaskId, SpawnRefused> {
        let Some(owner) = owner.filter(|_| self.tasks.len() < self.limit) else {
            self.counts.refused_full += 1;
            return Err(SpawnRefused::Full { limit: self.limit });
        };
        if !matches!(self.scope(owner).stop, Stop::No) {
            self.counts.refused_closed += 1;
            return Err(SpawnRefused::Closed);
        }
        let id = TaskId(self.mint());
        self.tasks.insert(id, TaskEntry { owner, task });
        self.scope(owner).tasks.insert(id);
        let mut above = Some(owner);
        while let Some(scope) = above {
            let scope = self.scope(scope);
            scope.live += 1;
            above = scope.parent;
        }
        self.counts.spawned += 1;
        Ok(id)
    }

    /// Returns whom to wake: the scopes that are idle now.
    pub(super) fn remove_task(&mut self, id: TaskId) -> Vec<Arc<Notify>> {
        let Some(entry) = self.tasks.remove(&id) else {
            return Vec::new();
        };
        self.scope(entry.owner).tasks.remove(&id);
        let mut idle = Vec::new();
        let mut above = Some(entry.owner);
        while let Some(scope) = above {
            let scope = self.scope(scope);
            scope.live -= 1;
            if scope.live == 0 {
                idle.push(scope.idle.clone());
            }
            above = scope.parent;
        }
        self.forget_if_empty(entry.owner);
        idle
    }

    pub(super) fn has_task(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    /// Refuses further spawns in the whole subtree; returns what is notified when it is idle.
    pub(super) fn close(&mut self, id: ScopeId, deadline: Instant) -> Arc<Notify> {
        self.stop_subtree(id, Stop::By(deadline));
        self.scope(id).idle.clone()
    }

    pub(super) fn is_idle(&mut self, id: ScopeId) -> bool {
        self.scope(id).live == 0
    }

    /// What is left of the subtree past its deadline, named and counted.
    pub(super) fn report_rest(&mut self, id: ScopeId) -> Vec<Overdue> {
        let mut rest = self.subtree_tasks(id);
        rest.sort_unstable();
        self.counts.overdue += rest.len() as u64;
        rest.iter()
            .map(|id| {
                let entry = &self.tasks[id];
                Overdue {
                    name: entry.task.name,
                    owner: self.scopes[&entry.owner].path.clone(),
                    waits_for: entry.task.waits_for(),
                }
            })
            .collect()
    }

    /// The scope's owner is gone: returns the handles to abort what is left.
    pub(super) fn drop_scope(&mut self, id: ScopeId) -> Vec<AbortHandle> {
        self.stop_subtree(id, Stop::Aborted);
        let handles = self
            .subtree_tasks(id)
            .iter()
            .map(|task| self.tasks[task].task.abort.clone())
            .collect();
        self.scope(id).dropped = true;
        self.forget_if_empty(id);
        handles
    }

    pub(super) fn on_panic(&mut self) {
        self.counts.panicked += 1;
    }

    pub(super) fn list(&self, now: Instant) -> Vec<TaskRow> {
        self.tasks
            .iter()
            .map(|(id, entry)| {
                let scope = &self.scopes[&entry.owner];
                TaskRow {
                    id: id.0,
                    name: entry.task.name,
                    owner: scope.path.clone(),
                    age: now.saturating_duration_since(entry.task.born),
                    waits_for: entry.task.waits_for(),
                    overdue: match scope.stop {
                        Stop::No => false,
                        Stop::By(deadline) => now > deadline,
                        Stop::Aborted => true,
                    },
                }
            })
            .collect()
    }

    pub(super) fn counts(&self) -> TaskCounts {
        TaskCounts {
            running: self.tasks.len(),
            ..self.counts
        }
    }

    fn stop_subtree(&mut self, id: ScopeId, stop: Stop) {
        for id in self.subtree(id) {
            self.scope(id).stop = stop;
        }
    }

    fn subtree(&self, id: ScopeId) -> Vec<ScopeId> {
        let mut found = vec![id];
        let mut at = 0;
        while let Some(id) = found.get(at) {
            found.extend(&self.scopes[id].children);
            at += 1;
        }
        found
    }

    fn subtree_tasks(&self, id: ScopeId) -> Vec<TaskId> {
        self.subtree(id)
            .iter()
            .flat_map(|id| self.scopes[id].tasks.iter().copied())
            .collect()
    }

    /// Drops the entries of scopes that nobody holds and nothing is left in, upwards.
    fn forget_if_empty(&mut self, id: ScopeId) {
        let mut at = Some(id);
        while let Some(id) = at {
            let entry = self.scope(id);
            if !entry.dropped || !entry.tasks.is_empty() || !entry.children.is_empty() {
                return;
            }
            at = entry.parent;
            self.scopes.remove(&id);
            if let Some(parent) = at {
                self.scope(parent).children.remove(&id);
            }
        }
    }

    fn scope(&mut self, id: ScopeId) -> &mut ScopeEntry {
        self.scopes
            .get_mut(&id)
            .expect("a scope's entry outlives its owner, its tasks and its children")
    }

    fn mint(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    #[cfg(test)]
    pub(super) fn handles_of(&self, name: &str) -> Vec<AbortHandle> {
        let named = self.tasks.values().filter(|entry| entry.task.name == name);
        named.map(|entry| entry.task.abort.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn scopes(&self) -> usize {
        self.scopes.len()
    }
}

impl NewTask {
    fn waits_for(&self) -> Wait {
        Wait::from_stored(self.waits.load(Ordering::Relaxed))
    }
}
