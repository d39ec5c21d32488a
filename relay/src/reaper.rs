//! Ends streams whose bytes are written, so that nobody who has work to do waits for a peer.
//!
//! A deadline on closing is not enough: with 10 s for each, a tenth of silent peers holds all
//! workers of a pool most of the time. So a worker hands its finished stream over and goes on. The
//! reaper gives each stream the same grace to be acknowledged, then resets it. It holds a bounded
//! number; over the bound the oldest is reset, which is the one most likely to be silent.
//!
//! One task waits for all of them. The set itself is behind a lock that is held for a few map
//! operations, never while a stream is touched: handing over is a plain call.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::queue::Queue;
use crate::{
    clock,
    code::StreamCode,
    deadline::{SendError, Sender},
    tasks::{Scope, SpawnRefused, Task, Wait},
};

mod queue;
#[cfg(test)]
mod tests;

/// Hands streams to the reaper's task. Cloning shares it.
#[derive(Clone)]
pub struct Reaper(Arc<Shared>);

/// What happened to the streams that were handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaperCounts {
    /// In the reaper now.
    pub current: usize,
    /// Ended by the peer or with the connection: stopped, closed, lost.
    pub failed: u64,
    /// Acknowledged to the end.
    pub finished: u64,
    /// Handed over.
    pub handed: u64,
    /// Reset because their grace was over.
    pub reset_deadline: u64,
    /// Reset because there were too many.
    pub reset_overflow: u64,
    /// Reset because the reaper ended, or had ended before.
    pub reset_shutdown: u64,
}

struct Shared {
    state: Mutex<State>,
    arrival: Notify,
}

struct State {
    streams: Queue<Stream>,
    /// Streams from this id on are not yet waited for by the task.
    first_new: u64,
    counts: ReaperCounts,
    ended: bool,
}

struct Stream {
    sender: Sender,
    /// Until the task takes it, so that a stream that is pushed out before takes it along.
    acknowledged: Option<Acknowledged>,
}

impl Stream {
    /// Resets the stream in such a way that the future that waits for it resolves too.
    fn reset(self, code: StreamCode) {
        self.sender.handle().close(code);
    }
}

impl Reaper {
    /// Starts the reaper's task in `scope`, with [`GRACE`] and room for [`MAX_STREAMS`].
    ///
    /// When the scope ends, all that is left is reset with [`StreamCode::Shutdown`].
    ///
    /// # Errors
    /// As [`Scope::spawn`].
    pub fn start(scope: &Scope) -> Result<Self, SpawnRefused> {
        Self::with_bounds(scope, GRACE, MAX_STREAMS)
    }

    /// As [`Reaper::start`], with bounds of the caller's.
    ///
    /// - `limit`: how many streams it holds, at least 1.
    ///
    /// # Errors
    /// As [`Scope::spawn`].
    pub fn with_bounds(scope: &Scope, grace: Duration, limit: usize) -> Result<Self, SpawnRefused> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                streams: Queue::new(grace, limit),
                first_new: 0,
                counts: ReaperCounts::default(),
                ended: false,
            }),
            arrival: Notify::new(),
        });
        let ending = Ending(shared.clone());
        scope.spawn("reaper", |task| run(ending, task))?;
        Ok(Self(shared))
    }

    /// Ends the stream of `sender`, all of whose bytes are written, without waiting for the peer.
    ///
    /// Never blocks and cannot fail: a stream that cannot be ended in order is reset, and counted.
    pub fn finish(&self, now: Instant, mut sender: Sender) {
        let acknowledged = sender.start_finish();
        let acknowledged = match acknowledged {
            Ok(acknowledged) => acknowledged,
            // Torn by an earlier write; its drop resets it.
            Err(_) => {
                let mut state = self.0.state.lock();
                state.counts.handed += 1;
                state.counts.failed += 1;
                return;
            }
        };
        let stream = Stream {
            sender,
            acknowledged: Some(Box::pin(acknowledged)),
        };
        let reset = {
            let mut state = self.0.state.lock();
            state.counts.handed += 1;
            if state.ended {
                state.counts.reset_shutdown += 1;
                Some((stream, StreamCode::Shutdown))
            } else {
                let oldest = state.streams.push(now, stream);
                state.counts.reset_overflow += u64::from(oldest.is_some());
                oldest.map(|oldest| (oldest, StreamCode::Overloaded))
            }
        };
        // Touching a stream takes its connection's lock, so not under ours.
        if let Some((stream, code)) = reset {
            stream.reset(code);
        }
        self.0.arrival.notify_one();
    }

    /// What happened so far.
    pub fn counts(&self) -> ReaperCounts {
        let state = self.0.state.lock();
        ReaperCounts {
            current: state.streams.len(),
            ..state.counts
        }
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reaper").field(&self.counts()).finish()
    }
}

type Acknowledged = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

enum Wake {
    Stop,
    Deadline,
    Arrival,
    Ended(u64, Result<(), SendError>),
}

async fn run(ending: Ending, task: Task) {
    let shared = &*ending.0;
    let mut waiting = FuturesUnordered::new();
    task.waits(Wait::Close);
    loop {
        let deadline = shared.state.lock().streams.next_deadline();
        let wake = tokio::select! {
            biased;
            () = task.stopping() => Wake::Stop,
            () = clock::sleep_until(deadline) => Wake::Deadline,
            () = shared.arrival.notified() => Wake::Arrival,
            Some((id, ended)) = waiting.next() => Wake::Ended(id, ended),
        };
        let now = clock::now();
        match wake {
            Wake::Stop => return,
            Wake::Deadline => {
                let late = {
                    let mut state = shared.state.lock();
                    let late = state.streams.expire(now);
                    state.counts.reset_deadline += late.len() as u64;
                    late
                };
                late.into_iter()
                    .for_each(|stream| stream.reset(StreamCode::Deadline));
            }
            Wake::Arrival => {
                let mut state = shared.state.lock();
                let first_new = state.first_new;
                for (id, stream) in state.streams.since(first_new) {
                    if let Some(acknowledged) = stream.acknowledged.take() {
                        waiting.push(async move { (id, acknowledged.await) });
                    }
                }
                state.first_new = state.streams.next_id();
            }
            Wake::Ended(id, ended) => {
                let stream = {
                    let mut state = shared.state.lock();
                    let stream = state.streams.remove(id);
                    // Those that were reset are counted already.
                    if stream.is_some() {
                        match ended {
                            Ok(()) => state.counts.finished += 1,
                            Err(_) => state.counts.failed += 1,
                        }
                    }
                    stream
                };
                if let Some(mut stream) = stream {
                    stream.sender.settle(&ended);
                }
            }
        }
    }
}

/// However the task ends, nothing is left unattended.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.state.lock();
            state.ended = true;
            let left = state.streams.drain();
            state.counts.reset_shutdown += left.len() as u64;
            left
        };
        left.into_iter()
            .for_each(|stream| stream.reset(StreamCode::Shutdown));
    }
}

/// Above 10 round trips of the longest paths on earth, losses included.
pub const GRACE: Duration = Duration::from_secs(5);

/// At 5 s each, 200 streams to silent peers may end in a second before the oldest suffers.
pub const MAX_STREAMS: usize = 1_024;
