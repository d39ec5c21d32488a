//! A TCP listen: takes connections of local programs to a service of another node.

use std::{io, sync::Arc, time::Duration};

use ring::rand::SecureRandom as _;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::splice::splice;
use crate::{
    clock,
    code::{RefuseCode, StreamCode},
    deadline::{OpenError, Receiver, SendError, Sender},
    env::{LocalListener, LocalTcp},
    link::{
        Link,
        frames::{FrameReader, ReadFrameError, encoded},
    },
    links::ConnectError,
    mesh::Mesh,
    services::Destination,
    tasks::{Scope, Task, Wait},
    wire::{Frame, Open, TooLong},
};

/// Owns one listen's socket; each connection is a task of its own.
pub(crate) struct Listen {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) listener: Box<dyn LocalListener>,
    pub(crate) destination: Arc<Destination>,
    pub(crate) connections: Scope,
    /// How long a side may take no byte that is ready for it.
    pub(crate) stall: Duration,
}

impl Listen {
    /// Runs until the owner's end.
    pub(crate) async fn run(mut self, task: Task) {
        // Connections that wait in the kernel cost nothing here.
        let room = Arc::new(Semaphore::new(self.mesh.config.limits().tcp_streams));
        loop {
            task.waits(Wait::LocalAccept);
            let accepted = tokio::select! {
                biased;
                () = task.stopping() => return,
                accepted = self.accept(&room) => accepted,
            };
            match accepted {
                Ok((local, permit)) => self.start(local, permit),
                Err(error) => {
                    tracing::warn!(%error, service = %self.destination.service, "local TCP listen");
                    // Out of file descriptors, most likely: that passes, and asking at once does
                    // not make it pass sooner.
                    let pause = clock::now() + ACCEPT_PAUSE;
                    tokio::select! {
                        biased;
                        () = task.stopping() => return,
                        () = clock::sleep_until(Some(pause)) => {}
                    }
                }
            }
        }
    }

    async fn accept(
        &mut self,
        room: &Arc<Semaphore>,
    ) -> io::Result<(Box<dyn LocalTcp>, Option<OwnedSemaphorePermit>)> {
        let permit = room.clone().acquire_owned().await.ok();
        let (local, _) = self.listener.accept().await?;
        Ok((local, permit))
    }

    fn start(&self, local: Box<dyn LocalTcp>, permit: Option<OwnedSemaphorePermit>) {
        let (mesh, destination, stall) = (self.mesh.clone(), self.destination.clone(), self.stall);
        // A refused spawn drops the connection; the registry counts it.
        let _ = self.connections.spawn("tcp listen", |task| async move {
            carry(&mesh, &destination, local, stall, &task).await;
            drop(permit);
        });
    }
}

/// Carries one connection until both halves are through.
async fn carry(
    mesh: &Arc<Mesh>,
    destination: &Destination,
    mut local: Box<dyn LocalTcp>,
    stall: Duration,
    task: &Task,
) {
    task.waits(Wait::Reply);
    let opened = tokio::select! {
        biased;
        () = task.stopping() => None,
        opened = open(mesh, destination) => Some(opened),
    };
    match opened {
        Some(Ok(Opened {
            link,
            sender,
            receiver,
            early,
        })) => {
            task.waits(Wait::Read);
            let ended = splice(mesh, local, (sender, receiver), early, stall, task).await;
            mesh.counts.spliced(ended, &destination.service, &link.peer);
        }
        Some(Err(error)) => {
            mesh.counts.opens_failed.incr();
            tracing::warn!(%error, service = %destination.service, "cannot open a TCP service");
            local.reset();
        }
        None => local.reset(),
    }
}

struct Opened {
    link: Arc<Link>,
    sender: Sender,
    receiver: Receiver,
    early: bytes::Bytes,
}

/// Finds the link, opens a stream on it and has the far end accept it, all within one budget.
async fn open(mesh: &Mesh, destination: &Destination) -> Result<Opened, OpenServiceError> {
    let deadline = clock::now() + mesh.config.shared().open_timeout;
    let link = destination.link_by(&mesh.links, deadline).await?;
    let (mut sender, receiver) = link.connection.open(deadline).await?;
    let mut session = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut session)
        .map_err(|_| OpenServiceError::Random)?;
    let open = Frame::Open(Open {
        session,
        destination: link.peer_key,
        service: destination.service.clone(),
        // What is left, so that the far end gives up when this one does.
        budget: deadline.saturating_duration_since(clock::now()),
        resume_offset: 0,
        trace: None,
    });
    sender.write(encoded(&open)?, deadline).await?;
    let mut frames = FrameReader::stream(receiver, link.minor);
    match frames.next_by(deadline).await? {
        Frame::Accept { .. } => {
            let (early, receiver) = frames.into_rest();
            Ok(Opened {
                link,
                sender,
                receiver,
                early,
            })
        }
        Frame::Refuse { code, .. } => {
            sender.reset(StreamCode::Refused);
            Err(OpenServiceError::Refused(code))
        }
        _ => Err(OpenServiceError::NotAnAnswer),
    }
}

/// Why a local connection was reset before anything crossed.
#[derive(Debug, Error)]
enum OpenServiceError {
    #[error("no link: {0}")]
    Connect(#[from] ConnectError),
    #[error("the far end answered with something else")]
    NotAnAnswer,
    #[error("no stream: {0}")]
    Open(#[from] OpenError),
    #[error("the operating system gave no random bytes")]
    Random,
    #[error("no answer: {0}")]
    Read(#[from] ReadFrameError),
    #[error("refused: {0}")]
    Refused(RefuseCode),
    #[error("cannot ask: {0}")]
    Send(#[from] SendError),
    #[error("cannot ask: {0}")]
    TooLong(#[from] TooLong),
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
