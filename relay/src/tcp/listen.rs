//! A TCP listen: takes connections of local programs to a service of another node.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ring::rand::SecureRandom as _;
use thiserror::Error;

use super::{room::Share, splice::splice};
use crate::{
    accounts::{Passage, Toll},
    clock,
    code::{RefuseCode, StreamCode},
    deadline::{OpenError, ReadError, Receiver, SendError, Sender},
    env::{LocalListener, LocalTcp},
    id::NodeKey,
    link::{
        Link,
        frames::{FrameReader, ReadFrameError, encoded},
    },
    links::ConnectError,
    mesh::Mesh,
    navigator::NavigatorEvent,
    routes::{Kind, Way},
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
    /// What the connections of this listen hold of the node's room.
    pub(crate) share: Share,
    /// How long a side may take no byte that is ready for it.
    pub(crate) stall: Duration,
}

impl Listen {
    /// Runs until the owner's end.
    pub(crate) async fn run(mut self, task: Task) {
        loop {
            task.waits(Wait::LocalAccept);
            let accepted = tokio::select! {
                biased;
                () = task.stopping() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((local, _)) => self.start(local),
                Err(error) => {
                    complain(&self.mesh, &self.destination, "local TCP listen", &error);
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

    fn start(&self, mut local: Box<dyn LocalTcp>) {
        let Some(place) = self.mesh.tcp_room.take(&self.share) else {
            self.mesh.counts.opens_failed.incr();
            let why = RefuseCode::Overloaded;
            complain(&self.mesh, &self.destination, "local TCP connection", &why);
            return local.reset();
        };
        let (mesh, destination, stall) = (self.mesh.clone(), self.destination.clone(), self.stall);
        // A refused spawn drops the connection; the registry counts it.
        let _ = self.connections.spawn("tcp listen", |task| async move {
            carry(&mesh, &destination, local, stall, &task).await;
            drop(place);
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
            toll,
            sender,
            receiver,
            early,
        })) => {
            task.waits(Wait::Read);
            let counts = &mesh.counts;
            let halves = (sender, receiver);
            let ended = splice(counts, &toll, local, halves, early, stall, task).await;
            mesh.counts.spliced(ended, &destination.service, &link.peer);
        }
        Some(Err(error)) => {
            mesh.counts.opens_failed.incr();
            complain(mesh, destination, "cannot open a TCP service", &error);
            local.reset();
        }
        None => local.reset(),
    }
}

/// Warns of a condition that may repeat with every connection.
fn complain(mesh: &Mesh, destination: &Destination, what: &str, why: &dyn fmt::Display) {
    let service = &destination.service;
    if destination.complaints.is_due(mesh.millis(clock::now())) {
        tracing::warn!(service, %why, "{what}");
    } else {
        tracing::debug!(service, %why, "{what}");
    }
}

struct Opened {
    link: Arc<Link>,
    toll: Toll,
    sender: Sender,
    receiver: Receiver,
    early: bytes::Bytes,
}

/// Finds a way, opens a stream on it and has the far end accept it, all within one budget. If that
/// fails on the way, another one is tried with what is left.
async fn open(mesh: &Mesh, destination: &Destination) -> Result<Opened, OpenServiceError> {
    let deadline = clock::now() + mesh.config.shared().open_timeout;
    // Streams are always bulk.
    let draw = mesh.next_flow().into();
    let ways = destination.ways_by(mesh, Kind::Bulk, draw, deadline);
    let ways = match ways.await {
        Ok(ways) => ways,
        Err(error) => {
            demand(mesh, destination.node());
            return Err(error.into());
        }
    };
    let mut ways = ways.into_iter();
    let mut way = ways.next().ok_or(OpenServiceError::NoWay)?;
    for _ in 1..MAX_TRIES {
        if !way.is_direct() {
            demand(mesh, Some(way.destination));
        }
        let opened = open_on(mesh, destination, &way, deadline).await;
        tell_outcome(mesh, &way, &opened);
        let other = match &opened {
            Err(error) if error.is_on_the_way() => ways.next(),
            Err(error) if error.is_of_the_node() => {
                ways.find(|other| other.destination != way.destination)
            }
            _ => None,
        };
        match other {
            Some(other) => way = other,
            None => return opened,
        }
    }
    let opened = open_on(mesh, destination, &way, deadline).await;
    tell_outcome(mesh, &way, &opened);
    opened
}

/// Tells the router whether the node did what it was asked.
fn tell_outcome(mesh: &Mesh, way: &Way, opened: &Result<Opened, OpenServiceError>) {
    let opened = opened.as_ref().map(|_| ());
    let Some(success) = success_of_the_node(opened) else {
        return;
    };
    let node = way.destination;
    // One outcome more or less changes no verdict.
    let _ = mesh
        .navigator
        .try_send(NavigatorEvent::Outcome { node, success });
}

/// Whether the node did what it was asked; `None` for a failure of the way, and for what any node
/// would have answered.
fn success_of_the_node(opened: Result<(), &OpenServiceError>) -> Option<bool> {
    match opened {
        Ok(()) => Some(true),
        Err(error) => error.is_a_failure().then_some(false),
    }
}

/// Tells the router that a link to `node` is worth having.
fn demand(mesh: &Mesh, node: Option<NodeKey>) {
    if let Some(node) = node {
        // One without room for it is asked with the next connection.
        let _ = mesh.navigator.try_send(NavigatorEvent::Demand(node));
    }
}

async fn open_on(
    mesh: &Mesh,
    destination: &Destination,
    way: &Way,
    deadline: Instant,
) -> Result<Opened, OpenServiceError> {
    let link = way.first.clone();
    let (mut sender, receiver) = link.connection.open(deadline).await?;
    let mut session = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut session)
        .map_err(|_| OpenServiceError::Random)?;
    let open = Frame::Open(Open {
        session,
        destination: way.destination,
        service: destination.service.clone(),
        // What is left, so that the far end gives up when this one does.
        budget: deadline.saturating_duration_since(clock::now()),
        resume_offset: 0,
        trace: None,
        hops: way.hops,
        via: Vec::new(),
    });
    sender.write(encoded(&open)?, deadline).await?;
    let mut frames = FrameReader::stream(receiver, link.minor);
    let skipped = || mesh.counts.frames_skipped.incr();
    match frames.next_known_by(deadline, skipped).await? {
        Frame::Accept { .. } => {
            let (early, receiver) = frames.into_rest();
            let passage = Passage::of(way.is_direct());
            Ok(Opened {
                toll: mesh.accounts.toll(link.peer.region(), passage),
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
    #[error("no way there")]
    NoWay,
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

impl OpenServiceError {
    /// Whether another node that exposes the same service may take it.
    fn is_of_the_node(&self) -> bool {
        matches!(self, Self::Refused(RefuseCode::Elsewhere))
    }

    /// Whether the node failed, and not the way to it nor the one who asks.
    fn is_a_failure(&self) -> bool {
        matches!(
            self,
            Self::Refused(
                RefuseCode::LocalRefused | RefuseCode::LocalTimeout | RefuseCode::Overloaded
            ) | Self::Read(ReadFrameError::Read(ReadError::TimedOut))
                | Self::NotAnAnswer
        )
    }

    /// Whether another way to the same service may do better.
    fn is_on_the_way(&self) -> bool {
        match self {
            Self::Refused(RefuseCode::Unreachable | RefuseCode::Loop) | Self::Open(_) => true,
            Self::Send(error) => *error != SendError::TimedOut,
            Self::Read(ReadFrameError::Read(error)) => *error != ReadError::TimedOut,
            Self::Read(ReadFrameError::Ended) => true,
            Self::Connect(_)
            | Self::NoWay
            | Self::NotAnAnswer
            | Self::Random
            | Self::Read(ReadFrameError::Frame(_))
            | Self::Refused(_)
            | Self::TooLong(_) => false,
        }
    }
}

/// The first way, the second one to the same node, and one to another.
const MAX_TRIES: usize = 3;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_counts_against_a_node_only_if_it_is_its_own_doing() {
        for code in RefuseCode::ALL {
            let error = OpenServiceError::Refused(*code);
            let is_its_own = match code {
                RefuseCode::LocalRefused | RefuseCode::LocalTimeout | RefuseCode::Overloaded => {
                    true
                }
                RefuseCode::UnknownService
                | RefuseCode::NotAllowed
                | RefuseCode::ResumeUnsupported
                | RefuseCode::NotHere
                | RefuseCode::WrongKind
                | RefuseCode::BudgetSpent
                | RefuseCode::Malformed
                | RefuseCode::Shutdown
                | RefuseCode::Unreachable
                | RefuseCode::Loop
                | RefuseCode::Elsewhere
                | RefuseCode::Unknown(_) => false,
            };
            let said = success_of_the_node(Err(&error));
            assert_eq!(said, is_its_own.then_some(false), "{code}");
        }
        assert_eq!(success_of_the_node(Ok(())), Some(true));
    }

    #[test]
    fn silence_of_a_node_counts_against_it_and_a_broken_way_does_not() {
        let read = |error| OpenServiceError::Read(ReadFrameError::Read(error));
        let silence = read(ReadError::TimedOut);
        assert_eq!(success_of_the_node(Err(&silence)), Some(false));
        let broken = [
            read(ReadError::Reset(StreamCode::Cancelled)),
            OpenServiceError::Read(ReadFrameError::Ended),
            OpenServiceError::Send(SendError::TimedOut),
            OpenServiceError::NoWay,
        ];
        for error in &broken {
            assert_eq!(success_of_the_node(Err(error)), None, "{error}");
        }
    }
}
