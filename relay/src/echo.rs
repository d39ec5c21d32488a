//! Echoes: what a way takes there and back, asked of the node at its end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::{sync::oneshot, time::timeout_at};

use crate::{
    clock,
    id::NodeKey,
    link::Link,
    mesh::Mesh,
    routes::{Fit, Way},
    wire::RelayedBody,
};

/// Those who wait for an echo.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    way: Arc<Way>,
    answer: oneshot::Sender<Result<(), EchoError>>,
}

/// Why there is no echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EchoError {
    /// The first link of the way does not carry anything.
    #[error("the first link is down")]
    NoLink,
    /// No reply by the deadline.
    #[error("no reply in time")]
    TimedOut,
    /// As many are waited for as may be.
    #[error("too many echoes are waited for")]
    TooMany,
    /// A node on the way cannot go on.
    #[error("{at} has no link to {next}")]
    Unreachable {
        /// The node that cannot go on.
        at: NodeKey,
        /// Whom it cannot reach.
        next: NodeKey,
    },
}

/// Asks the destination of `way` for a reply over the same nodes: how long that took.
///
/// It travels as control frames do, so that it says what requests meet, and what every node on the
/// way adds.
///
/// # Errors
/// [`EchoError`]; nothing is waited for any more.
///
/// # Cancel safety
/// Cancel safe: a reply that comes later is ignored.
pub async fn echo(mesh: &Mesh, way: &Arc<Way>, deadline: Instant) -> Result<Duration, EchoError> {
    if way.fit() == Fit::Gone {
        return Err(EchoError::NoLink);
    }
    let (waiter, answer) = mesh.echoes.wait(way)?;
    let began = clock::now();
    way.say(mesh.id.key(), RelayedBody::Echo { id: waiter.id });
    match timeout_at(deadline.into(), answer).await {
        Ok(Ok(answer)) => answer.map(|()| clock::now() - began),
        // The registry lives as long as the node, and drops nobody.
        Ok(Err(_)) | Err(_) => Err(EchoError::TimedOut),
    }
}

/// A place in the registry, which ends with it.
struct Waiter<'a> {
    echoes: &'a Echoes,
    id: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.echoes.waiting.lock().remove(&self.id);
    }
}

type Answer = oneshot::Receiver<Result<(), EchoError>>;

impl Echoes {
    fn wait(&self, way: &Arc<Way>) -> Result<(Waiter<'_>, Answer), EchoError> {
        let (answer, heard) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let way = way.clone();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            return Err(EchoError::TooMany);
        }
        waiting.insert(id, Waiting { way, answer });
        Ok((Waiter { echoes: self, id }, heard))
    }

    /// Node `from` answers, as was heard over `link`.
    pub(crate) fn handle_reply(&self, link: &Arc<Link>, from: NodeKey, id: u64) {
        let mut waiting = self.waiting.lock();
        // Another node's answer, or one on another way, proves nothing about what was asked.
        let is_meant =
            |asked: &Waiting| asked.way.destination == from && Arc::ptr_eq(&asked.way.first, link);
        if waiting.get(&id).is_some_and(is_meant)
            && let Some(asked) = waiting.remove(&id)
        {
            let _ = asked.answer.send(Ok(()));
        }
    }

    /// Node `at` cannot go on to `next`, as was heard over `link`.
    pub(crate) fn handle_unreachable(&self, link: &Arc<Link>, at: NodeKey, next: NodeKey) {
        let mut waiting = self.waiting.lock();
        let stuck =
            |asked: &Waiting| Arc::ptr_eq(&asked.way.first, link) && asked.way.leads_over(at, next);
        let ids: Vec<u64> = waiting
            .iter()
            .filter(|(_, asked)| stuck(asked))
            .map(|(id, _)| *id)
            .collect();
        for asked in ids.iter().filter_map(|id| waiting.remove(id)) {
            let _ = asked.answer.send(Err(EchoError::Unreachable { at, next }));
        }
    }
}

/// People and their scripts ask; a few at a time.
const MAX_WAITING: usize = 64;
