//! A TCP service at the egress: connects to the local endpoint, answers `Open`, and copies.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::splice::splice;
use crate::{
    accounts::Passage,
    clock,
    code::{RefuseCode, StreamCode},
    config::HostPort,
    deadline::{Receiver, Sender},
    env::LocalTcp,
    link::{Link, frames::encoded, requests::refuse},
    mesh::Mesh,
    services::Service,
    tasks::{Task, Wait},
    wire::{Frame, Open},
};

/// A stream whose `Open` may be served.
pub(crate) struct Accepted {
    pub(crate) open: Open,
    pub(crate) service: Service,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    /// Bytes that came behind `Open`.
    pub(crate) early: Bytes,
}

/// Serves one stream until both halves are through.
pub(crate) async fn serve(mesh: &Arc<Mesh>, link: &Link, stream: Accepted, task: &Task) {
    let Accepted {
        open,
        service,
        mut sender,
        receiver,
        early,
    } = stream;
    let address = &service.address;
    // Another node may have room: the caller is told to go there.
    let place = mesh.tcp_room.take(&link.tcp_share);
    let Some(_place) = place.filter(|_| mesh.load.has_room()) else {
        return refuse(mesh, sender, RefuseCode::Elsewhere).await;
    };
    let deadline = clock::now() + open.budget.min(MAX_BUDGET);
    task.waits(Wait::LocalConnect);
    let local = tokio::select! {
        biased;
        () = task.stopping() => return sender.reset(StreamCode::Shutdown),
        local = connect(mesh, address, deadline) => local,
    };
    let local = match local {
        Ok(local) => local,
        Err(error) => {
            let peer = &link.peer;
            if service.complaints.is_due(mesh.millis(clock::now())) {
                tracing::warn!(%error, service = open.service, %address, %peer, "cannot reach a TCP service");
            } else {
                tracing::debug!(%error, service = open.service, %address, %peer, "cannot reach a TCP service");
            }
            let timed_out = error.kind() == io::ErrorKind::TimedOut;
            let code = if timed_out {
                RefuseCode::LocalTimeout
            } else {
                RefuseCode::LocalRefused
            };
            return refuse(mesh, sender, code).await;
        }
    };
    task.waits(Wait::Write);
    let Ok(accept) = encoded(&Frame::Accept { resume_offset: 0 }) else {
        return;
    };
    if sender.write(accept, deadline).await.is_err() {
        return;
    }
    task.waits(Wait::Read);
    let passage = Passage::of(open.via.is_empty());
    let toll = mesh.accounts.toll(link.peer.region(), passage);
    let ended = splice(
        &mesh.counts,
        &toll,
        local,
        (sender, receiver),
        early,
        service.patience,
        task,
    )
    .await;
    mesh.counts.spliced(ended, &open.service, &link.peer);
}

/// Connects within the deadline, which is armed before the first packet.
async fn connect(
    mesh: &Mesh,
    address: &HostPort,
    deadline: Instant,
) -> io::Result<Box<dyn LocalTcp>> {
    let address = mesh.resolve_one(address, deadline).await?;
    let connecting = mesh.env.local.connect_tcp(address);
    tokio::time::timeout_at(deadline.into(), connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A caller may say any budget; nobody waits longer than this for a local endpoint.
pub(super) const MAX_BUDGET: Duration = Duration::from_secs(60);
