//! Dials: from a peer's addresses to a link, behind permits and one deadline.

pub(crate) mod race;

use std::{
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout_at};
use tower::{
    BoxError, ServiceBuilder, ServiceExt as _, limit::GlobalConcurrencyLimitLayer,
    timeout::error::Elapsed, util::BoxCloneSyncService,
};

use self::race::{race, race_order};
use crate::{
    clock,
    code::CloseCode,
    config::HostPort,
    deadline::{self, Closed, Connection, Endpoint},
    env::BoxFuture,
    id::NodeGeneration,
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
}

/// Dials, in two pools: peers that are believed to answer never queue behind black holes.
///
/// A dial waits for its turn in order, and that wait is not part of its deadline. A fresh permit is
/// for peers that answer: a dial that is not through after [`ANSWER_WITHIN`] goes on without one, so
/// that a node that starts among dead peers, of which it knows nothing yet, finds the living soon.
/// There are never more of these than keepers and seekers, since each has one dial.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    fresh: DialService,
    retry: DialService,
}

type DialService = BoxCloneSyncService<DialRequest, Progress, BoxError>;

/// How far a dial is when it gives its permit back.
enum Progress {
    Linked(Box<Established>),
    Unanswered {
        dial: BoxFuture<'static, Result<Established, DialFailure>>,
        deadline: Instant,
    },
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linked(_) => "Linked",
            Self::Unanswered { .. } => "Unanswered",
        })
    }
}

impl Dialer {
    pub(crate) fn new(mesh: &Arc<Mesh>) -> Self {
        let limits = mesh.config.limits();
        let timeout = mesh.config.shared().dial_timeout;
        Self {
            fresh: service(mesh, limits.dials, timeout, Some(ANSWER_WITHIN)),
            retry: service(mesh, limits.retry_dials, timeout.min(RETRY_WITHIN), None),
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
        let progress = service.oneshot(request).await;
        match progress.map_err(DialFailure::from_stack)? {
            Progress::Linked(established) => Ok(*established),
            Progress::Unanswered { dial, deadline } => timeout_at(deadline.into(), dial)
                .await
                .unwrap_or_else(|_| Err(DialFailure::late())),
        }
    }
}

/// The stack of one pool. The timeout starts when the permit is there, before the first byte.
///
/// - `hold`: how long a dial keeps its permit; `None` keeps it to the end.
fn service(
    mesh: &Arc<Mesh>,
    permits: usize,
    timeout: Duration,
    hold: Option<Duration>,
) -> DialService {
    let mesh = mesh.clone();
    let stack = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::new(
            Semaphore::new(permits),
        )))
        .timeout(timeout)
        .service_fn(move |request| {
            let mesh = mesh.clone();
            async move {
                let began = clock::now();
                let deadline = began + timeout;
                let mut dialing: BoxFuture<'static, _> =
                    Box::pin(async move { dial(&mesh, request, (began, deadline)).await });
                let linked = match hold {
                    None => dialing.await,
                    Some(hold) => match timeout_at((began + hold).into(), &mut dialing).await {
                        Ok(ended) => ended,
                        Err(_) => {
                            let dial = dialing;
                            return Ok(Progress::Unanswered { dial, deadline });
                        }
                    },
                };
                linked
                    .map(|established| Progress::Linked(Box::new(established)))
                    .map_err(BoxError::from)
            }
        });
    BoxCloneSyncService::new(stack)
}

async fn dial(
    mesh: &Mesh,
    request: DialRequest,
    (began, deadline): (Instant, Instant),
) -> Result<Established, DialFailure> {
    let DialRequest {
        endpoint,
        expect,
        targets,
    } = request;
    // All at once, and for half of the time: a name server that is silent must not keep the dial
    // from the addresses that need none.
    let resolve_by = began + (deadline - began) / 2;
    let resolved = join_all(
        targets
            .iter()
            .map(|target| mesh.resolve(target, resolve_by)),
    )
    .await;
    let mut addresses = Vec::new();
    let mut not_found = None;
    for (target, found) in targets.iter().zip(resolved) {
        match found {
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
    let times = Times {
        began,
        deadline,
        date: mesh.env.wall.now(),
    };
    let mut cancelled = Cancelled(Some(connection.clone()));
    let made = setup::dialed(connection, |peer| mesh.dial_hello(peer), &material, times).await;
    cancelled.0 = None;
    made.map_err(DialFailure::from)
}

/// Tells the peer why, where a dial is dropped while Hellos are exchanged: a keeper cancels a dial
/// that another link has made needless.
struct Cancelled(Option<Connection>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.close(CloseCode::Superseded, b"");
        }
    }
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

    fn late() -> Self {
        Self::new(DialErrorKind::Deadline, "no Hello by the deadline")
    }

    fn from_stack(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => *failure,
            Err(error) if error.is::<Elapsed>() => Self::late(),
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

/// A permit paces the dials that begin, for what costs is the handshake: with 32 permits 640 a
/// second, a sixth of a worker's time, while a thousand dead peers hold up a living one for 1.6 s at
/// the most. What is on its way without a permit costs nothing until it is answered.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);
/// A thousand healed peers are back within 15 s: with 256 permits, four turns of this and one
/// backoff, while a permit of the farthest region's peer still covers ten round trips.
const RETRY_WITHIN: Duration = Duration::from_millis(2_500);
