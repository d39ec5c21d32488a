//! A pool of workers with one reaper, all on the thread of one runtime, as a node's worker is.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use causeway::{
    clock,
    config::{Limits, Shared as SharedConfig},
    deadline::{Connection, Receiver},
    reaper::{Reaper, ReaperCounts},
    tasks::{Scope, Tasks},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{SILENT_EVERY, peers::REQUEST_BYTES};
use crate::figures::endpoint::soon;

/// What a worker does with the finished stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// Hands it to the reaper, as a node does.
    HandOver,
    /// Waits for its acknowledgement, for this long at most: what it is compared with.
    Await(Duration),
}

/// Twelve workers, and the connections that their tasks go to in turn.
#[derive(Debug)]
pub(super) struct Pool {
    tasks: Tasks,
    scope: Scope,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connections: Vec<Connection>,
    reaper: Reaper,
    most_in_reaper: AtomicUsize,
}

/// What became of the tasks of healthy peers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Batch {
    /// From the first task to the last answer, without the time in which this thread was ready and
    /// the machine ran others: those of the peers, whose load differs, and whatever else runs.
    pub(super) took: Duration,
    /// Tasks that were answered.
    pub(super) answered: usize,
    /// Tasks whose stream broke.
    pub(super) broken: usize,
}

/// What a pool leaves behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) counts: ReaperCounts,
    pub(super) most_in_reaper: usize,
    /// Of the registry.
    pub(super) tasks: usize,
    /// Of all connections.
    pub(super) open_streams: usize,
}

impl Batch {
    /// Healthy tasks per second.
    pub(super) fn rate(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }
}

impl Pool {
    /// With a reaper that is bounded as that of a node by default.
    pub(super) fn new(
        connections: Vec<Connection>,
        runtime: Arc<dyn quinn::Runtime>,
    ) -> anyhow::Result<Self> {
        let tasks = Tasks::new(runtime);
        let scope = tasks.scope("pool");
        let reaper = Reaper::with_bounds(&scope, grace(), room())?;
        let shared = Arc::new(Shared {
            connections,
            reaper,
            most_in_reaper: AtomicUsize::new(0),
        });
        Ok(Self {
            tasks,
            scope,
            shared,
        })
    }

    /// Works off `tasks`, and returns when the last answer of a healthy peer is there.
    ///
    /// # Errors
    /// The workers ended before.
    pub(super) async fn run(&self, tasks: usize, close: Close) -> anyhow::Result<Batch> {
        let next = Arc::new(AtomicUsize::new(0));
        // Room for all of them: the workers wait for nothing but what is measured.
        let (handed, mut begun) = mpsc::channel(tasks);
        let (began, displaced) = (clock::now(), displaced()?);
        for _ in 0..WORKERS {
            let work = work(
                self.shared.clone(),
                next.clone(),
                tasks,
                close,
                handed.clone(),
            );
            self.scope.spawn("worker", |_| work)?;
        }
        drop(handed);
        let healthy = (0..tasks).filter(|task| !is_silent(*task)).count();
        let (mut answered, mut broken) = (0, 0);
        let mut answers = FuturesUnordered::new();
        // Held to the end, for their owner waits for an answer.
        let mut unanswered = Vec::new();
        while answered + broken < healthy {
            tokio::select! {
                biased;
                Some(whole) = answers.next() => match whole {
                    true => answered += 1,
                    false => broken += 1,
                },
                Some(Begun { task, receiver }) = begun.recv() => match receiver {
                    Some(receiver) if is_silent(task) => unanswered.push(receiver),
                    Some(receiver) => answers.push(read_answer(receiver)),
                    None => broken += usize::from(!is_silent(task)),
                },
                else => bail!("the workers ended early"),
            }
        }
        let displaced = self::displaced()? - displaced;
        Ok(Batch {
            took: (clock::now() - began).saturating_sub(displaced),
            answered,
            broken,
        })
    }

    /// Waits for the reaper to let go of everything, ends the pool and looks at what is left.
    ///
    /// # Errors
    /// The reaper does not let go.
    pub(super) async fn end(self) -> anyhow::Result<Left> {
        let reaper = &self.shared.reaper;
        let deadline = clock::now() + grace() * 2;
        while reaper.counts().current > 0 && clock::now() < deadline {
            clock::sleep_until(Some(clock::now() + LOOK_EVERY)).await;
        }
        let counts = reaper.counts();
        let overdue = self.scope.close(soon()).await;
        if let Some(task) = overdue.first() {
            bail!("{} outlived its pool", task.name);
        }
        let open = self.shared.connections.iter();
        Ok(Left {
            counts,
            most_in_reaper: self.shared.most_in_reaper.load(Ordering::Relaxed),
            tasks: self.tasks.list(clock::now()).len(),
            open_streams: open.map(Connection::open_streams).sum(),
        })
    }
}

/// A task that its worker is done with.
#[derive(Debug)]
struct Begun {
    task: usize,
    /// Where the answer comes; `None` if no request could be sent.
    receiver: Option<Receiver>,
}

async fn work(
    shared: Arc<Shared>,
    next: Arc<AtomicUsize>,
    tasks: usize,
    close: Close,
    begun: mpsc::Sender<Begun>,
) {
    loop {
        let task = next.fetch_add(1, Ordering::Relaxed);
        if task >= tasks {
            return;
        }
        spin(WORK);
        let connection = &shared.connections[task % shared.connections.len()];
        let receiver = request(&shared, connection, close, soon()).await.ok();
        if begun.send(Begun { task, receiver }).await.is_err() {
            return;
        }
        // Nothing above waits while all is well, and the others want their turn.
        tokio::task::yield_now().await;
    }
}

/// How long this thread has been ready to run and did not.
fn displaced() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let field = text.split_whitespace().nth(1);
    let nanos = field.and_then(|nanos| nanos.parse().ok());
    Ok(Duration::from_nanos(
        nanos.context("not as Linux writes it")?,
    ))
}

/// Stands for what a task does besides: computes, and waits for nobody.
fn spin(work: Duration) {
    let until = clock::now() + work;
    while clock::now() < until {
        std::hint::spin_loop();
    }
}

/// Sends one request and ends its stream; returns where the answer comes.
async fn request(
    shared: &Shared,
    connection: &Connection,
    close: Close,
    deadline: Instant,
) -> anyhow::Result<Receiver> {
    let (mut sender, receiver) = connection.open(deadline).await?;
    sender
        .write(Bytes::from_static(&[0; REQUEST_BYTES]), deadline)
        .await?;
    match close {
        Close::HandOver => {
            shared.reaper.finish(clock::now(), sender);
            let current = shared.reaper.counts().current;
            shared.most_in_reaper.fetch_max(current, Ordering::Relaxed);
        }
        // That it was not acknowledged is the peer's affair; the worker has waited for it.
        Close::Await(patience) => drop(sender.finish(clock::now() + patience).await),
    }
    Ok(receiver)
}

/// Whether an answer came, to its end.
async fn read_answer(mut receiver: Receiver) -> bool {
    let mut bytes = 0;
    loop {
        match receiver.read(REQUEST_BYTES, soon()).await {
            Ok(Some(piece)) => bytes += piece.len(),
            Ok(None) => return bytes > 0,
            Err(_) => return false,
        }
    }
}

/// Whether a task goes to a peer that may fall silent.
pub(super) fn is_silent(task: usize) -> bool {
    task % SILENT_EVERY == SILENT_EVERY - 1
}

/// How many streams the reaper of a node holds.
pub(super) fn room() -> usize {
    Limits::default().closing
}

/// How long it gives each.
fn grace() -> Duration {
    SharedConfig::default().close_timeout
}

/// Makes the connections of a pool: to `silent` in the place of each that may fall silent.
///
/// # Errors
/// One could not be made.
pub(super) async fn connect<F>(
    mut connect: impl FnMut(bool) -> F,
) -> anyhow::Result<Vec<Connection>>
where
    F: Future<Output = anyhow::Result<Connection>>,
{
    let mut connections = Vec::with_capacity(PEERS);
    for peer in 0..PEERS {
        let made = connect(is_silent(peer)).await;
        connections.push(made.context("a peer of the pool")?);
    }
    Ok(connections)
}

const WORKERS: usize = 12;
/// Bounds the pool to 10,000 tasks/s. Without work of their own, tasks begin faster than peers can
/// answer them, and the reaper's bound, which cannot tell slow from silent, resets whatever is
/// oldest: that is an overload, with and without silent peers.
const WORK: Duration = Duration::from_micros(100);
/// As many as leave each its streams for 20,000 tasks: a peer grants 1,024 at a time, and a silent
/// one no more after that. Waiting for those is opening, not closing.
pub(super) const PEERS: usize = 20;
const LOOK_EVERY: Duration = Duration::from_millis(10);
