//! The request loop: takes the streams that the peer opens, and answers for its own health.
//!
//! The probes of the request loop end here and not where frames are read, so that a loop that is
//! wedged stays silent, however well the rest of the node works.

use std::{pin::pin, sync::Arc, time::Duration};

use super::{
    Link,
    frames::{FrameReader, ReadFrameError, encoded},
    probes::ProbesOut,
};
use crate::{
    clock,
    code::{RefuseCode, StreamCode},
    counts::ForwardRefusal,
    deadline::{Closed, ReadError, Receiver, Sender},
    hops::{Loop, next_hop},
    mesh::Mesh,
    services::Service,
    tasks::{Scope, Task, Wait},
    tcp,
    wire::{Frame, Open, ServiceKind},
};

/// Runs until the link's end or the owner's.
///
/// - `probes`: the peer's probes of this loop, by id.
/// - `streams`: owns the tasks of the streams.
pub(super) async fn run(
    mesh: Arc<Mesh>,
    link: Arc<Link>,
    mut probes: ProbesOut,
    streams: Scope,
    task: Task,
) {
    let mut stop = pin!(task.stopping());
    loop {
        task.waits(Wait::Accept);
        let wake = tokio::select! {
            biased;
            () = &mut stop => return,
            id = probes.next() => Wake::Probe(id),
            stream = link.connection.accept_stream() => Wake::Stream(stream),
        };
        match wake {
            Wake::Probe(id) => link.send_frame(Frame::ProbeReply { id }),
            Wake::Stream(Err(_)) => return,
            Wake::Stream(Ok((sender, receiver))) => {
                let (mesh, link) = (mesh.clone(), link.clone());
                // Refused spawns drop both halves, which resets them; the registry counts it.
                let _ = streams.spawn("tcp service", |task| {
                    answer(mesh, link, sender, receiver, task)
                });
            }
        }
    }
}

enum Wake {
    Probe(u64),
    Stream(Result<(Sender, Receiver), Closed>),
}

/// Reads `Open` from a stream that the peer has opened, and serves or refuses it.
async fn answer(mesh: Arc<Mesh>, link: Arc<Link>, sender: Sender, receiver: Receiver, task: Task) {
    task.waits(Wait::Read);
    let mut frames = FrameReader::stream(receiver, link.minor);
    let by = clock::now() + OPEN_WITHIN;
    let open = tokio::select! {
        biased;
        () = task.stopping() => return sender.reset(StreamCode::Shutdown),
        frame = frames.next_known_by(by, || mesh.counts.frames_skipped.incr()) => match frame {
            Ok(Frame::Open(open)) => open,
            Ok(_) => return refuse(&mesh, sender, RefuseCode::Malformed).await,
            Err(error) => {
                mesh.counts.streams_unread.incr();
                tracing::debug!(peer = %link.peer, %error, "stream without an Open");
                let late = matches!(error, ReadFrameError::Read(ReadError::TimedOut));
                return sender.reset(match late {
                    true => StreamCode::Deadline,
                    false => StreamCode::Malformed,
                });
            }
        },
    };
    // Each node vouches for the one before it.
    if open.via.last().is_some_and(|last| *last != link.peer_key) {
        mesh.counts
            .forward_refused
            .incr(ForwardRefusal::NotFromSender);
        return refuse(&mesh, sender, RefuseCode::Malformed).await;
    }
    let mut passed = open.via.clone();
    if passed.is_empty() {
        passed.push(link.peer_key);
    }
    let onward = match next_hop(mesh.id.key(), &passed, open.hops) {
        Ok(onward) => onward,
        Err(Loop) => {
            mesh.counts.forward_refused.incr(ForwardRefusal::Loop);
            return refuse(&mesh, sender, RefuseCode::Loop).await;
        }
    };
    if let Some((next, hops)) = onward {
        passed.push(mesh.id.key());
        let (early, receiver) = frames.into_rest();
        let open = Open {
            hops,
            via: passed,
            ..open
        };
        let stream = tcp::forward::Passing {
            open,
            next,
            sender,
            receiver,
            early,
        };
        return tcp::forward::forward(&mesh, &link, stream, &task).await;
    }
    match acceptable(&mesh, &link, &open) {
        Ok(service) => {
            let (early, receiver) = frames.into_rest();
            let stream = tcp::service::Accepted {
                open,
                service,
                sender,
                receiver,
                early,
            };
            tcp::service::serve(&mesh, &link, stream, &task).await;
        }
        Err(code) => refuse(&mesh, sender, code).await,
    }
}

fn acceptable(mesh: &Mesh, link: &Link, open: &Open) -> Result<Service, RefuseCode> {
    if open.destination != mesh.id.key() {
        return Err(RefuseCode::NotHere);
    }
    if open.check_supported().is_err() {
        return Err(RefuseCode::ResumeUnsupported);
    }
    if open.budget.is_zero() {
        return Err(RefuseCode::BudgetSpent);
    }
    let named;
    let asking = match open.via.first() {
        None => &link.peer,
        // Nobody can say what a node without a name may do.
        Some(first) => {
            named = mesh.node_id(*first).ok_or(RefuseCode::NotAllowed)?;
            &named
        }
    };
    mesh.exposed
        .find(&open.service, ServiceKind::Tcp, asking)
        .cloned()
}

/// Says why, and lets the reaper see to it that the answer arrives.
pub(crate) async fn refuse(mesh: &Mesh, mut sender: Sender, code: RefuseCode) {
    mesh.counts.opens_refused.incr(code);
    let refusal = Frame::Refuse {
        code,
        reason: String::new(),
    };
    if let Ok(bytes) = encoded(&refusal)
        && sender
            .write(bytes, clock::now() + OPEN_WITHIN)
            .await
            .is_ok()
    {
        mesh.reaper.finish(clock::now(), sender);
    }
}

/// From a stream's first byte to the whole of its `Open`: they come in one flight, so this covers
/// a few losses at the longest distances.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
