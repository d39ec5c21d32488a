//! Dials: from a peer's addresses to a link, behind permits and one deadline.

pub mod race;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::sync::Semaphore;
use tower::{
    BoxError, ServiceBuilder, ServiceExt as _, limit::GlobalConcurrencyLimitLayer,
    timeout::error::Elapsed, util::BoxCloneSyncService,
};

use self::race::{race, race_order};
use crate::{
    clock,
    code::CloseCode,
    config::HostPort,
    deadline::{self, Closed, Endpoint},
    id::{LinkGeneration, NodeGeneration},
    identity::{Expect, Refusal},
    keeper::{DialError, DialErrorKind, DialPool},
    link::{
        frames::ReadFrameError,
        setup::{self, Established, SetupError, Times},
    },
    mesh::Mesh,
    transport,
    wire::CloseReason,
};

/// One dial of one peer.
#[derive(Debug, Clone)]
pub(crate) struct DialRequest {
    pub(crate) endpoint: Endpoint,
    pub(crate) expect: Expect,
    pub(crate) targets: Vec<HostPort>,
    /// The link to this peer that the node holds, as it says in Hello.
    pub(crate) current_link: Option<LinkGeneration>,
}

/// Dials, in two pools: peers that are believed to answer never queue behind black holes.
///
/// A dial waits for its turn in order, and that wait is not part of its deadline.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    fresh: DialService,
    retry: DialService,
}

type DialService = BoxCloneSyncService<DialRequest, Established, BoxError>;

impl Dialer {
    pub(crate) fn new(mesh: &Arc<Mesh>) -> Self {
        let limits = mesh.config.limits();
        let timeout = mesh.config.shared().dial_timeout;
        Self {
            fresh: service(mesh, limits.dials, timeout),
            retry: service(mesh, limits.retry_dials, timeout.min(RETRY_WITHIN)),
        }
    }

    /// Waits for a permit, dials, and returns the link once both Hellos were said.
    ///
    /// # Errors
    /// [`DialFailure`]: nothing is left of the dial.
    ///
    /// # Cancel safety
    /// Dropping the future ends the dial and gives the permit back.
    pub(crate) async fn dial(
        &self,
        pool: DialPool,
        request: DialRequest,
    ) -> Result<Established, DialFailure> {
        let service = match pool {
            DialPool::Fresh => self.fresh.clone(),
            DialPool::Retry => self.retry.clone(),
        };
        service
            .oneshot(request)
            .await
            .map_err(DialFailure::from_stack)
    }
}

/// The stack of one pool. The timeout starts when the permit is there, before the first byte.
fn service(mesh: &Arc<Mesh>, permits: usize, timeout: Duration) -> DialService {
    let mesh = mesh.clone();
    let stack = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::new(
            Semaphore::new(permits),
        )))
        .timeout(timeout)
        .service_fn(move |request| {
            let mesh = mesh.clone();
            async move { dial(&mesh, request, timeout).await.map_err(BoxError::from) }
        });
    BoxCloneSyncService::new(stack)
}

async fn dial(
    mesh: &Mesh,
    request: DialRequest,
    timeout: Duration,
) -> Result<Established, DialFailure> {
    let began = clock::now();
    let deadline = began + timeout;
    let DialRequest {
        endpoint,
        expect,
        targets,
        current_link,
    } = request;
    let mut addresses = Vec::new();
    let mut not_found = None;
    for target in &targets {
        match mesh.resolve(target, deadline).await {
            Ok(found) => addresses.extend(found),
            Err(error) => not_found = Some(format!("{target}: {error}")),
        }
    }
    let addresses = race_order(addresses);
    if addresses.is_empty() {
        let text = not_found.unwrap_or_else(|| "no address is known".into());
        return Err(DialFailure::new(DialErrorKind::Resolve, text));
    }
    let material = mesh.material.load_full();
    let refusal = Refusal::default();
    let tls = material.client_config(expect, mesh.env.wall.clone(), refusal.observer());
    let config = transport::client_config(tls, mesh.transport.clone())
        .map_err(|error| DialFailure::new(DialErrorKind::Local, error.to_string()))?;
    let connected = race(&addresses, |address| {
        let (endpoint, config) = (endpoint.clone(), config.clone());
        async move { endpoint.connect(config, address, deadline).await }
    });
    let (_, connection) = connected.await.map_err(|failed| match refusal.take() {
        Some(why) => DialFailure::new(DialErrorKind::Handshake, why.to_string()),
        None => DialFailure::from_race(failed),
    })?;
    let hello = mesh.hello(mesh.next_link(), current_link);
    let times = Times {
        began,
        deadline,
        date: mesh.env.wall.now(),
    };
    setup::dialed(connection, hello, &material, times)
        .await
        .map_err(DialFailure::from)
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Error)]
#[error("{error}")]
pub(crate) struct DialFailure {
    pub(crate) error: DialError,
    /// The generation of this node's name that the peer knows, where that is the reason.
    pub(crate) known: Option<NodeGeneration>,
}

impl DialFailure {
    fn new(kind: DialErrorKind, text: impl Into<Arc<str>>) -> Self {
        Self {
            error: DialError {
                kind,
                text: text.into(),
            },
            known: None,
        }
    }

    /// This node could not dial.
    pub(crate) fn local(text: &str) -> Self {
        Self::new(DialErrorKind::Local, text)
    }

    fn from_stack(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(error) if error.is::<Elapsed>() => {
                Self::new(DialErrorKind::Deadline, "no Hello by the deadline")
            }
            Err(error) => Self::new(DialErrorKind::Local, error.to_string()),
        }
    }

    /// Of several addresses, the one that said most tells the kind; the text names them all.
    fn from_race(failed: Vec<(SocketAddr, deadline::DialError)>) -> Self {
        let text: Vec<String> = failed
            .iter()
            .map(|(at, error)| format!("{at}: {error}"))
            .collect();
        let kind = failed
            .iter()
            .map(|(_, error)| kind_of(error))
            .max_by_key(|kind| told(*kind));
        let kind = kind.unwrap_or(DialErrorKind::Unreachable);
        Self::new(kind, text.join("; "))
    }

    fn closed(closed: &Closed) -> Self {
        match closed {
            Closed::ByPeer { code, reason } => {
                let reason = CloseReason::decode(code.number().into(), reason);
                let mut failure = Self::new(DialErrorKind::Refused(*code), reason.message);
                failure.known = reason.known.filter(|_| *code == CloseCode::Stale);
                failure
            }
            other => Self::new(kind_of_close(other), other.to_string()),
        }
    }
}

impl From<SetupError> for DialFailure {
    fn from(error: SetupError) -> Self {
        match error.closed() {
            Some(closed) => Self::closed(closed),
            None => match &error {
                SetupError::Myself => {
                    Self::new(DialErrorKind::Refused(CloseCode::Myself), error.to_string())
                }
                SetupError::Read(ReadFrameError::Read(deadline::ReadError::TimedOut))
                | SetupError::Write(deadline::SendError::TimedOut) => {
                    Self::new(DialErrorKind::Deadline, error.to_string())
                }
                _ => Self::new(DialErrorKind::Hello, error.to_string()),
            },
        }
    }
}

fn kind_of(error: &deadline::DialError) -> DialErrorKind {
    match error {
        deadline::DialError::Closed(closed) => kind_of_close(closed),
        deadline::DialError::Setup { .. } => DialErrorKind::Local,
        deadline::DialError::TimedOut => DialErrorKind::Deadline,
    }
}

fn kind_of_close(closed: &Closed) -> DialErrorKind {
    match closed {
        Closed::ByPeer { code, .. } => DialErrorKind::Refused(*code),
        Closed::Refused => DialErrorKind::Refused(CloseCode::Overloaded),
        Closed::Tls { .. } | Closed::TlsByPeer { .. } => DialErrorKind::Handshake,
        Closed::Idle => DialErrorKind::Deadline,
        Closed::Here | Closed::PeerLost | Closed::Transport { .. } => DialErrorKind::Unreachable,
    }
}

/// How much an error tells about the peer.
fn told(kind: DialErrorKind) -> u8 {
    match kind {
        DialErrorKind::Local | DialErrorKind::Resolve => 0,
        DialErrorKind::Unreachable => 1,
        DialErrorKind::Deadline => 2,
        DialErrorKind::Handshake | DialErrorKind::Hello | DialErrorKind::Refused(_) => 3,
    }
}

/// A thousand healed peers are back within 15 s: with 256 permits, four turns of this and one
/// backoff, while a permit of the farthest region's peer still covers ten round trips.
const RETRY_WITHIN: Duration = Duration::from_millis(2_500);
