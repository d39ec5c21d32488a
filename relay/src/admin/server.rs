//! Answers requests about a node.

mod mesh;
mod policy;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{body::Body as _, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    AdminListener,
    listener::Stream,
    question::Answer,
    view::{
        EchoView, HealthView, LoopView, MeshView, PeerDetailView, PeerView, PolicyView, ReadyView,
        RefusalView, RouteDetailView, RouteView, StatusView, TaskView,
    },
};
use crate::{telemetry::Metrics, wire::limits::MAX_SIGNED_BYTES};

/// What a node tells about itself. Nothing here waits for a peer, but for [`NodeView::echo`], which
/// is asked to.
pub trait NodeView: Send + Sync {
    /// Each dispatch loop of the node, by name, with a way to find out whether it turns.
    ///
    /// A check resolves when the loop took a turn after it was asked. The server arms the deadline,
    /// and drops the check when that passes.
    fn loops(&self) -> Vec<LoopCheck>;

    /// Whether the node should get traffic.
    fn ready(&self) -> ReadyView;

    /// The node's instruments.
    fn metrics(&self) -> &Metrics;

    /// The node itself.
    fn status(&self) -> StatusView;

    /// All peers, by name.
    fn peers(&self) -> Vec<PeerView>;

    /// Everything about the peer of this name, which is one of [`NodeView::peers`].
    fn peer(&self, name: &str) -> Option<PeerDetailView>;

    /// All tasks.
    fn tasks(&self) -> Vec<TaskView>;

    /// How traffic of each kind for each node goes, by name and kind.
    fn routes(&self) -> Answer<Vec<RouteView>>;

    /// How traffic for one node goes, and what led to that.
    fn route(&self, name: String) -> Answer<RouteDetailView>;

    /// What is known of the mesh.
    fn mesh(&self) -> Answer<MeshView>;

    /// Asks a node for an echo over the path in use, or the node at the end of its link `hop`,
    /// counted from 1.
    fn echo(&self, name: String, hop: Option<usize>) -> Answer<EchoView>;

    /// The policy of the fleet that is in force.
    fn policy(&self) -> Answer<Option<PolicyView>>;

    /// Takes a policy of the fleet, as an administrator signed it; what is in force then.
    fn apply_policy(&self, signed: Vec<u8>) -> Answer<PolicyView>;
}

/// A question to a dispatch loop whether it turns.
pub struct LoopCheck {
    /// The loop's name, such as `worker 0`.
    pub name: String,
    /// Resolves when the loop took a turn.
    pub turned: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for LoopCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoopCheck").field(&self.name).finish()
    }
}

/// Serves the admin API until `stop`, then cuts off what is under way and removes the socket.
///
/// At most 64 connections are served at once; others wait to be accepted. Each carries one request
/// and ends within 10 s, whatever the other side does.
///
/// # Cancel safety
/// Cancel safe: dropped, it does what `stop` does.
pub async fn serve(listener: AdminListener, view: Arc<dyn NodeView>, stop: CancellationToken) {
    let router = router(view);
    let mut connections = JoinSet::new();
    loop {
        let turn = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => Turn::Ended,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                Turn::Accepted(accepted)
            }
        };
        match turn {
            Turn::Ended => {}
            Turn::Accepted(Ok(stream)) => {
                connections.spawn(serve_connection(stream, router.clone()));
            }
            Turn::Accepted(Err(error)) => {
                // Out of file descriptors, most likely: trying again at once would spin.
                tracing::warn!(%error, "admin API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

enum Turn {
    Ended,
    Accepted(std::io::Result<Box<dyn Stream>>),
}

async fn serve_connection(stream: Box<dyn Stream>, router: Router) {
    let service = service_fn(move |request| router.clone().oneshot(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever asks learns from the closed connection; there is nobody else to tell.
    let _ = timeout(CONNECTION_TIMEOUT, connection).await;
}

fn router(view: Arc<dyn NodeView>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/peers", get(peers))
        // Names of peers have a slash in them.
        .route("/v1/peers/{*name}", get(peer))
        .route("/v1/tasks", get(tasks))
        .route("/v1/routes", get(mesh::routes))
        .route("/v1/routes/{*name}", get(mesh::route))
        .route("/v1/mesh", get(mesh::mesh))
        .route("/v1/echo/{*name}", get(mesh::echo))
        .route(POLICY, get(policy::policy).post(policy::apply))
        .layer(DefaultBodyLimit::max(MAX_SIGNED_BYTES))
        .fallback(unknown_route)
        .layer(middleware::from_fn(guard))
        .with_state(view)
}

type View = State<Arc<dyn NodeView>>;

async fn health(State(view): View) -> Response {
    let mut checks = JoinSet::new();
    for (place, check) in view.loops().into_iter().enumerate() {
        checks.spawn(async move {
            let start = crate::clock::now();
            let answers = timeout(HEALTH_TIMEOUT, check.turned).await.is_ok();
            let after = crate::clock::now().saturating_duration_since(start);
            let found = LoopView {
                name: check.name,
                answers,
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            (place, found)
        });
    }
    let mut loops = checks.join_all().await;
    loops.sort_by_key(|(place, _)| *place);
    let health = HealthView {
        loops: loops.into_iter().map(|(_, found)| found).collect(),
    };
    (verdict(health.is_healthy()), Json(health)).into_response()
}

async fn ready(State(view): View) -> Response {
    let ready = view.ready();
    (verdict(ready.is_ready()), Json(ready)).into_response()
}

fn verdict(good: bool) -> StatusCode {
    match good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn metrics(State(view): View) -> Response {
    let text = view.metrics().render();
    ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response()
}

async fn status(State(view): View) -> Json<StatusView> {
    Json(view.status())
}

async fn peers(State(view): View) -> Json<Vec<PeerView>> {
    Json(view.peers())
}

async fn tasks(State(view): View) -> Json<Vec<TaskView>> {
    Json(view.tasks())
}

async fn peer(State(view): View, Path(asked): Path<String>) -> Response {
    let detail = full_name(&asked, view.peers()).and_then(|name| {
        // It may be gone since it was listed.
        view.peer(&name)
            .ok_or_else(|| format!("peer {name} was just removed"))
    });
    match detail {
        Ok(detail) => Json(detail).into_response(),
        Err(error) => refuse(StatusCode::NOT_FOUND, error),
    }
}

/// The name of the one peer that is meant: its full name, its name without the region, or, of one
/// that is not known yet, any of its addresses.
fn full_name(asked: &str, peers: Vec<PeerView>) -> Result<String, String> {
    let mut names: Vec<String> = peers.into_iter().map(|peer| peer.name).collect();
    if names.iter().any(|name| name == asked) {
        return Ok(asked.to_owned());
    }
    let is_bare = |name: &str| name.rsplit_once('/').is_some_and(|(_, bare)| bare == asked);
    let has_address = |name: &str| name.split(", ").any(|address| address == asked);
    let means = |name: &&String| is_bare(name) || has_address(name);
    let mut meant: Vec<&String> = names.iter().filter(means).collect();
    match (meant.pop(), meant.pop()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(one), Some(other)) => Err(format!("{asked} may be {other} or {one}")),
        (None, _) if names.is_empty() => Err(format!("no peer {asked}: this node has none")),
        (None, _) => {
            let more = names.len().saturating_sub(MAX_NAMED);
            names.truncate(MAX_NAMED);
            let mut error = format!("no peer {asked}; there is {}", names.join("; "));
            if more > 0 {
                error.push_str(&format!(" and {more} more"));
            }
            Err(error)
        }
    }
}

async fn unknown_route() -> Response {
    let routes = "/healthz, /readyz, /metrics, /v1/status, /v1/peers, /v1/peers/NAME, /v1/tasks, \
        /v1/routes, /v1/routes/NAME, /v1/mesh, /v1/echo/NAME, /v1/policy";
    refuse(StatusCode::NOT_FOUND, format!("there is {routes}"))
}

/// Refuses bodies where no request has one, and bounds the time of every answer.
async fn guard(request: Request, next: Next) -> Response {
    if !request.body().is_end_stream() && request.uri().path() != POLICY {
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "no request but a new policy has a body".into(),
        );
    }
    match timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "the node took too long".into()),
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(RefusalView { error })).into_response()
}

const POLICY: &str = "/v1/policy";
/// A person's connection carries one request; 64 are a few dashboards at once.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEADERS: usize = 64;
/// The smallest that hyper takes; requests are a line and a few headers.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// Names of peers in a refusal.
const MAX_NAMED: usize = 8;
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// A loop that serves packets turns within milliseconds; probes of orchestrators wait 1 s or more.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(800);
/// Above [`HEALTH_TIMEOUT`], so that a wedged loop is named and not just late.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// From accept to close, whatever the other side does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Between failures to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a scraper expects of the text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

const _: () = assert!(HEALTH_TIMEOUT.as_millis() < ANSWER_TIMEOUT.as_millis());
