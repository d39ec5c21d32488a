//! Takes inbound connections of one worker as far as both Hellos.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;
use tracing::{Instrument as _, debug, info_span};

use crate::{
    admission::{Admission, AdmissionLimits, Admit, Turned},
    clock,
    code::CloseCode,
    counts::InboundEnd,
    deadline::{AcceptError, Endpoint, Incoming},
    link::setup::{self, Established, SetupError, Times},
    mesh::Mesh,
    peer::PeerEvent,
    roster::RosterEvent,
    tasks::{Scope, Task, Wait},
};

/// Owns the admission of one endpoint.
pub(crate) struct Acceptor {
    mesh: Arc<Mesh>,
    endpoint: Endpoint,
    handshakes: Scope,
    admission: Admission,
    settled: mpsc::Receiver<()>,
    settled_in: mpsc::Sender<()>,
}

impl Acceptor {
    /// - `handshakes`: owns the tasks of the connections under way.
    pub(crate) fn new(mesh: Arc<Mesh>, endpoint: Endpoint, handshakes: Scope) -> Self {
        let limits = mesh.config.limits();
        let admission = Admission::new(AdmissionLimits {
            per_source_per_s: limits.connections_per_source_per_s,
            per_source_burst: limits.connections_per_source_burst,
            unauthenticated: limits.unauthenticated_handshakes,
            retry_above: limits.retry_above,
        });
        // One for each handshake that may be under way, so that it is never full.
        let (settled_in, settled) = mpsc::channel(limits.unauthenticated_handshakes.max(1));
        Self {
            mesh,
            endpoint,
            handshakes,
            admission,
            settled,
            settled_in,
        }
    }

    /// Runs until the owner's end, or the endpoint's.
    pub(crate) async fn run(mut self, task: Task) {
        loop {
            task.waits(Wait::Accept);
            tokio::select! {
                biased;
                () = task.stopping() => return,
                Some(()) = self.settled.recv() => self.admission.handle_settled(),
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.handle_incoming(incoming),
                    None => return,
                },
            }
            // A handshake costs a quarter of a millisecond: packets get their turn in between.
            tokio::task::yield_now().await;
        }
    }

    fn handle_incoming(&mut self, incoming: Incoming) {
        let now = clock::now();
        let source = incoming.remote_address();
        let proven = incoming.address_is_proven();
        match self.admission.handle_incoming(now, source.ip(), proven) {
            Admit::Retry => {
                self.mesh.counts.inbound.incr(InboundEnd::Retry);
                incoming.retry();
            }
            Admit::Ignore(turned) => {
                self.mesh.counts.inbound.incr(turned.into());
                incoming.ignore();
            }
            Admit::Accept => {
                let settled = Settled(self.settled_in.clone());
                let mesh = self.mesh.clone();
                let deadline = now + mesh.config.shared().hello_timeout;
                let span = info_span!("inbound", %source);
                // A refused spawn drops the connection, which refuses it; the registry counts it.
                let _ = self.handshakes.spawn("handshake", |task| {
                    async move {
                        task.waits(Wait::Hello);
                        let made = shake_hands(&mesh, incoming, now, deadline).await;
                        drop(settled);
                        match made {
                            Ok(established) => hand_over(&mesh, established),
                            Err(end) => mesh.counts.inbound.incr(end),
                        }
                    }
                    .instrument(span)
                });
            }
        }
    }
}

/// Tells the acceptor that a handshake has ended, however it did.
struct Settled(mpsc::Sender<()>);

impl Drop for Settled {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

async fn shake_hands(
    mesh: &Arc<Mesh>,
    incoming: Incoming,
    began: Instant,
    deadline: Instant,
) -> Result<Established, InboundEnd> {
    let connection = incoming.accept(deadline).await.map_err(|error| {
        debug!(%error, "inbound handshake");
        match error {
            AcceptError::Closed(_) => InboundEnd::Handshake,
            AcceptError::TimedOut => InboundEnd::Deadline,
        }
    })?;
    let material = mesh.material.load_full();
    let answer = |peer: &crate::id::NodeId, link| mesh.hello(link, mesh.links.current(peer.key()));
    let times = Times {
        began,
        deadline,
        date: mesh.env.wall.now(),
    };
    let made = setup::accepted(connection, answer, &material, times).await;
    made.map_err(|error| {
        debug!(%error, "inbound connection did not become a link");
        if let Some(frame) = error.frame() {
            mesh.counts.frames_refused.incr(frame.reason());
        }
        InboundEnd::from(&error)
    })
}

impl From<Turned> for InboundEnd {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Cap => Self::Cap,
            Turned::Rate => Self::Rate,
        }
    }
}

impl From<&SetupError> for InboundEnd {
    fn from(error: &SetupError) -> Self {
        match error.code() {
            CloseCode::KeyCollision => Self::KeyCollision,
            CloseCode::Myself => Self::Myself,
            CloseCode::NoCommonProtocol => Self::NoCommonProtocol,
            CloseCode::SetupTimeout => Self::Deadline,
            CloseCode::Untrusted => Self::Untrusted,
            CloseCode::WrongName => Self::WrongName,
            _ => Self::Malformed,
        }
    }
}

/// Gives a link to the keeper of its peer, or to the roster where there is none.
fn hand_over(mesh: &Mesh, established: Established) {
    mesh.counts.inbound.incr(InboundEnd::Established);
    let connection = established.connection.clone();
    let established = Box::new(established);
    let keeper = mesh.links.snapshot().get(&established.peer.key()).cloned();
    // A keeper that has ended, and that the roster has not yet taken off the list, is none.
    let taken = match keeper.filter(|peer| !peer.inbox.is_closed()) {
        Some(peer) => peer.inbox.try_send(PeerEvent::Inbound(established)).is_ok(),
        None => mesh
            .roster
            .try_send(RosterEvent::Inbound(established))
            .is_ok(),
    };
    if !taken {
        connection.close(CloseCode::Overloaded, b"");
    }
}
