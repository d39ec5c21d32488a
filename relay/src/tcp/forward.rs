//! A stream between two other nodes: opened on the next link, and copied as it is.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout_at;

use super::{service::MAX_BUDGET, splice::SpliceError};
use crate::{
    accounts::{Passage, Toll},
    clock,
    code::{RefuseCode, StreamCode},
    counts::{Counts, ForwardRefusal, StreamEnd},
    deadline::{ReadError, Receiver, SendError, Sender},
    id::NodeKey,
    link::{Link, frames::encoded, requests::refuse},
    mesh::Mesh,
    tasks::{Task, Wait},
    wire::{Frame, Open},
};

/// A stream that is to go on.
pub(crate) struct Passing {
    /// As it goes on: with the hops and passed nodes of the next link.
    pub(crate) open: Open,
    /// The next node.
    pub(crate) next: NodeKey,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    /// Bytes that came behind `Open`.
    pub(crate) early: Bytes,
}

/// Carries one stream on until both halves are through. Its answer is among what is copied.
pub(crate) async fn forward(mesh: &Arc<Mesh>, link: &Link, stream: Passing, task: &Task) {
    let Passing {
        mut open,
        next,
        sender,
        receiver,
        early,
    } = stream;
    // The destination may have room, and another way may lead there.
    let place = mesh.tcp_room.take(&link.tcp_share);
    let Some(_place) = place.filter(|_| mesh.load.has_room()) else {
        return refuse(mesh, sender, RefuseCode::Unreachable).await;
    };
    if open.budget.is_zero() {
        return refuse(mesh, sender, RefuseCode::BudgetSpent).await;
    }
    let deadline = clock::now() + open.budget.min(MAX_BUDGET);
    task.waits(Wait::Reply);
    let opening = async {
        let onward_link = mesh.links.get(next)?;
        let (mut onward, back) = onward_link.connection.open(deadline).await.ok()?;
        // What is left, so that nobody behind waits for longer than the one who asks.
        open.budget = deadline.saturating_duration_since(clock::now());
        let open = encoded(&Frame::Open(open)).ok()?;
        onward.write(open, deadline).await.ok()?;
        Some((onward_link, (onward, back)))
    };
    let opened = tokio::select! {
        biased;
        () = task.stopping() => return sender.reset(StreamCode::Shutdown),
        opened = opening => opened,
    };
    let Some(onward) = opened else {
        mesh.counts.forward_refused.incr(ForwardRefusal::NoLink);
        return refuse(mesh, sender, RefuseCode::Unreachable).await;
    };
    task.waits(Wait::Read);
    let answer_by = deadline + ANSWER_GRACE;
    let toll = |link: &Link| mesh.accounts.toll(link.peer.region(), Passage::Overlay);
    let (onward_link, halves) = onward;
    let far = Side {
        toll: &toll(&onward_link),
        halves,
    };
    let near = Side {
        toll: &toll(link),
        halves: (sender, receiver),
    };
    let ended = join(&mesh.counts, near, far, early, answer_by, task).await;
    let outcome = match &ended {
        Ok(()) => StreamEnd::Complete,
        Err(error) => StreamEnd::from(error),
    };
    mesh.counts.streams_forwarded.incr(outcome);
    if let Err(error) = ended {
        tracing::debug!(%error, from = %link.peer, %next, "forwarded stream broke");
    }
}

/// A stream on a link, and what its bytes are counted by.
struct Side<'a> {
    toll: &'a Toll,
    halves: (Sender, Receiver),
}

/// Copies between two streams of links, both ways, until both halves are through.
///
/// A half that ends in order is ended in order, and one that breaks is broken off with its code on
/// both sides. The other half goes on: a node that refuses stops reading before its refusal is
/// through, and where all is lost, the ends break off the other half themselves.
///
/// - `early`: bytes that were read with the first frame of `near`.
/// - `answer_by`: when the first bytes of `far` must be there.
///
/// # Errors
/// [`SpliceError`]: what broke. Everything has ended when it returns.
///
/// # Cancel safety
/// Dropping the future resets both streams.
async fn join(
    counts: &Counts,
    Side {
        toll: near,
        halves: (mut to_near, mut from_near),
    }: Side<'_>,
    Side {
        toll: far,
        halves: (mut to_far, mut from_far),
    }: Side<'_>,
    early: Bytes,
    answer_by: Instant,
    task: &Task,
) -> Result<(), SpliceError> {
    let handles = [to_near.handle(), to_far.handle()];
    let there = async move {
        let copied = copy(counts, (near, &mut from_near), (far, &mut to_far), early).await;
        break_off(&copied, to_far, from_near);
        copied
    };
    let back = async move {
        let copied = async {
            match from_far.read(CHUNK_BYTES, answer_by).await? {
                Some(answer) => {
                    copy(counts, (far, &mut from_far), (near, &mut to_near), answer).await
                }
                None => end(&mut to_near).await,
            }
        };
        let copied = copied.await;
        break_off(&copied, to_near, from_far);
        copied
    };
    tokio::select! {
        biased;
        () = task.stopping() => {
            // The halves are dropped with this, and reset so.
            for handle in &handles {
                handle.close(StreamCode::Shutdown);
            }
            Err(SpliceError::Shutdown)
        }
        (there, back) = async { tokio::join!(there, back) } => match there {
            // Refused, and both ends know: what was on its way there is of no use.
            Err(SpliceError::Send(SendError::Stopped(_)))
            | Err(SpliceError::Receive(ReadError::Reset(StreamCode::Refused))) => back,
            there => back.and(there),
        },
    }
}

fn break_off(copied: &Result<(), SpliceError>, to: Sender, from: Receiver) {
    if let Err(error) = copied {
        to.reset(error.code());
        from.stop(error.code());
    }
}

async fn copy(
    counts: &Counts,
    (from_toll, from): (&Toll, &mut Receiver),
    (to_toll, to): (&Toll, &mut Sender),
    early: Bytes,
) -> Result<(), SpliceError> {
    from_toll.received(early.len());
    // While the sender is silent, nothing else would notice that the receiver has gone.
    let mut given_up = pin!(to.given_up());
    let mut next = Some(early);
    while let Some(mut bytes) = next {
        while !bytes.is_empty() {
            let written = to.write_some(&mut bytes, clock::now() + STALL).await?;
            counts.stream_bytes_forwarded.add(written as u64);
            to_toll.sent(written).await;
        }
        next = tokio::select! {
            biased;
            error = &mut given_up => return Err(error.into()),
            read = from.read_when_sent(CHUNK_BYTES) => read?,
        };
        from_toll.received(next.as_ref().map_or(0, Bytes::len));
    }
    end(to).await
}

/// Ends a half, and waits until the next node has all of it.
async fn end(to: &mut Sender) -> Result<(), SpliceError> {
    let acknowledged = to.start_finish()?;
    let ended = timeout_at((clock::now() + STALL).into(), acknowledged).await;
    let ended = ended.unwrap_or(Err(SendError::TimedOut));
    to.settle(&ended);
    Ok(ended?)
}

/// The ends have stall deadlines of their own, of a minute unless they are configured otherwise, and
/// act first; this one ends what they forget, and the streams of ends that are more patient.
const STALL: Duration = Duration::from_secs(300);
/// The node that answers has the same deadline; its answer may need a long round trip more.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// A window's worth is read piece by piece, each as it came.
const CHUNK_BYTES: usize = 64 << 10;
