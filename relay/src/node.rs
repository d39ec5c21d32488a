//! Builds a node from its configuration and its environment, and ends it.

pub(crate) mod atlas;
mod instruments;
mod view;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use self::view::View;
use crate::{
    acceptor::Acceptor,
    accounts::Accounts,
    admin::NodeView,
    clock,
    code::CloseCode,
    config::{Advertise, Config, Listen, Transport},
    counts::Counts,
    deadline::Endpoint,
    echo::Echoes,
    env::Env,
    generation::{GenerationError, OwnGeneration},
    identity::MaterialError,
    links::Links,
    load::{self, NodeLoad},
    mesh::Mesh,
    navigator::{Navigator, NavigatorEvent},
    reaper::Reaper,
    roster::{Roster, RosterEvent},
    routes::Routes,
    services::{Destination, Exposed},
    survey::Survey,
    tasks::{Overdue, Scope, SpawnRefused, Tasks},
    tcp,
    telemetry::Metrics,
    transport::{self, MemoryBudget},
    udp,
    wire::PROTOCOL,
    worker::Worker,
};

/// A running node. Dropping it aborts its tasks; [`Node::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Node {
    mesh: Arc<Mesh>,
    tasks: Tasks,
    endpoints: Vec<Endpoint>,
    view: Arc<View>,
    /// Owns every task of the node.
    scope: Scope,
}

impl Node {
    /// Starts a node: certificates, generation, sockets, peers, services and listens.
    ///
    /// # Errors
    /// [`StartError`]: nothing is left running.
    ///
    /// # Cancel safety
    /// Dropping the future drops what was started.
    pub async fn start(config: Config, env: Env, metrics: Metrics) -> Result<Self, StartError> {
        let date = env.wall.now();
        let loaded = env.certificates.load(date);
        let material = loaded.map_err(|source| StartError::Certificates {
            key: config.identity().key_of(source.path()),
            source,
        })?;
        if let Some(warning) = material.warning() {
            tracing::warn!("{warning}");
        }
        let generation = OwnGeneration::try_start(date, &*env.state)?;
        let tasks = Tasks::new(env.runtimes.first().ok_or(StartError::NoWorker)?.clone());
        let scope = tasks.scope("node");

        let limits = config.limits();
        let budget = MemoryBudget {
            bytes: limits.link_memory_bytes,
            links: u32::try_from(limits.links).unwrap_or(u32::MAX),
        };
        let profile = transport::transport_config(budget);
        let mut bound = Vec::new();
        for (index, runtime) in (0..).zip(&env.runtimes) {
            let address = config.bind(index);
            let failed = |source| StartError::Bind {
                key: "node.bind".to_owned(),
                address,
                source,
            };
            let socket = env.sockets.bind(address, &**runtime).map_err(failed)?;
            let seed = env.repeatable.then(|| seed_of(env.seed, index));
            let endpoint_config = transport::endpoint_config(&material.derive(RESET_CONTEXT), seed);
            let endpoint = Endpoint::new(endpoint_config, None, socket, runtime.clone());
            bound.push((endpoint.map_err(failed)?, runtime.clone()));
        }
        let endpoints: Vec<Endpoint> = bound.iter().map(|(endpoint, _)| endpoint.clone()).collect();
        let advertised = match config.advertise() {
            Advertise::Listed(addresses) => addresses.clone(),
            Advertise::Bound => endpoints
                .iter()
                .filter_map(|endpoint| endpoint.local_address().ok())
                .collect(),
        };

        let (roster_in, roster_events) = mpsc::channel(ROSTER_QUEUE);
        let (navigator_in, navigator_events) = mpsc::channel(NAVIGATOR_QUEUE);
        let reaper = Reaper::with_bounds(&scope, config.shared().close_timeout, limits.closing)?;
        let mesh = Arc::new(Mesh {
            id: config.id().clone(),
            accounts: Accounts::new(config.caps(), clock::now()),
            load: NodeLoad::default(),
            counts: Arc::new(Counts::new(&metrics)),
            links: Links::default(),
            echoes: Echoes::default(),
            survey: Survey::default(),
            exposed: Exposed::new(config.services()),
            reaper,
            material: ArcSwap::from_pointee(material),
            transport: profile,
            flows_scope: scope.child("udp flows"),
            duplicate: AtomicBool::new(false),
            egress: udp::service::EgressFlows::default(),
            tcp_room: tcp::room::Room::new(limits.tcp_streams),
            routes: Routes::default(),
            names: ArcSwap::default(),
            navigator: navigator_in,
            roster: roster_in,
            seekers: ArcSwap::default(),
            release: config.release(PROTOCOL.min..=PROTOCOL.max),
            advertised,
            started: clock::now(),
            generation: AtomicU64::new(generation.current().0),
            dials: AtomicU32::new(0),
            flows: AtomicU32::new(0),
            config,
            env,
        });
        let (mut placed, mut turns) = (Vec::new(), Vec::new());
        for (index, (endpoint, runtime)) in bound.into_iter().enumerate() {
            endpoint.set_server_config(Some(mesh.server_config()?));
            let worker = scope.child_on(format!("worker {index}"), runtime);
            let acceptor = Acceptor::new(mesh.clone(), endpoint.clone(), worker.child("inbound"));
            worker.spawn("acceptor", |task| acceptor.run(task))?;
            if !mesh.env.repeatable {
                let mesh = mesh.clone();
                worker.spawn("load", |task| load::watch_worker(mesh, task))?;
            }
            turns.push(worker.child("health"));
            placed.push(Worker {
                scope: worker,
                endpoint,
            });
        }
        let mut listens = Vec::new();
        for (index, listen) in mesh.config.listens().iter().enumerate() {
            let worker = &placed[index % placed.len()];
            let started = start_listen(&mesh, &worker.scope, listen.clone()).await?;
            listens.push(started.map_err(|source| StartError::Bind {
                key: format!("listen[{index}].address"),
                address: listen.address,
                source,
            })?);
        }
        let navigator = Box::new(Navigator::new(&mesh, navigator_events));
        scope.spawn("navigator", |task| navigator.run(task))?;
        let roster = Roster::new(&mesh, placed, generation, roster_events);
        scope.spawn("roster", |task| roster.run(task))?;
        info!(node = %mesh.id, generation = %mesh.generation(), release = mesh.release, "started");
        let view = Arc::new(View {
            mesh: mesh.clone(),
            tasks: tasks.clone(),
            metrics,
            endpoints: endpoints.clone(),
            listens,
            turns,
        });
        instruments::register(&view);
        Ok(Self {
            mesh,
            tasks,
            endpoints,
            view,
            scope,
        })
    }

    /// What the node's tasks share, for those who embed one.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// The tasks of the node.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Where its counts are exported from.
    pub fn metrics(&self) -> &Metrics {
        &self.view.metrics
    }

    /// The UDP addresses that links come in on, one for each worker.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.endpoints
            .iter()
            .filter_map(|endpoint| endpoint.local_address().ok())
            .collect()
    }

    /// The addresses that listens are bound to, in the order of the configuration.
    pub fn listens(&self) -> &[SocketAddr] {
        &self.view.listens
    }

    /// What the admin API shows.
    pub fn view(&self) -> Arc<dyn NodeView> {
        self.view.clone()
    }

    /// Takes over the peers of a configuration that was read again, and looks at the certificates.
    ///
    /// Peers that are in both keep their links. Other keys take effect at the next start; the
    /// caller tells the operator which.
    ///
    /// # Cancel safety
    /// Cancel safe: what was asked for is done all the same.
    pub async fn reload(&self, config: &Config) {
        let (done, heard) = oneshot::channel();
        let reload = RosterEvent::Reload {
            peers: config.peers().to_vec(),
            done,
        };
        if self.mesh.roster.send(reload).await.is_ok() {
            // An error means that the node is ending.
            let _ = heard.await;
        }
    }

    /// Ends the node: the mesh and every peer are told, and what is left at `deadline` is aborted
    /// and named.
    ///
    /// The mesh is told first, and for a round trip or two, half a second and a quarter of the time
    /// at most, everything works on: a close drops what has not arrived, and traffic that others
    /// send over this node moves away before it.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future aborts what is left.
    pub async fn shutdown(self, deadline: Instant) -> Vec<Overdue> {
        self.leave(deadline).await;
        let overdue = self.scope.close(deadline).await;
        for endpoint in &self.endpoints {
            endpoint.close(CloseCode::Shutdown, b"");
        }
        // The close has left by then, or the deadline has passed: quinn may wait for much longer.
        for endpoint in &self.endpoints {
            endpoint
                .wait_idle(deadline.min(clock::now() + FLUSH_WITHIN))
                .await;
        }
        info!(node = %self.mesh.id, overdue = overdue.len(), "ended");
        overdue
    }

    /// Says to the mesh that this node leaves, and lets that arrive.
    async fn leave(&self, deadline: Instant) {
        let now = clock::now();
        let until = now + deadline.saturating_duration_since(now) / LEAVE_SHARE;
        let (said, heard) = oneshot::channel();
        let leave = async {
            // An error means that the navigator has ended, and there is nobody to say it.
            if self
                .mesh
                .navigator
                .send(NavigatorEvent::Leave { said })
                .await
                .is_ok()
                && let Ok(last_word) = heard.await
            {
                clock::sleep_until(Some(clock::now() + last_word)).await;
            }
        };
        // Out of time is out of time: the mesh then finds out by itself.
        let _ = tokio::time::timeout_at(until.into(), leave).await;
    }
}

/// Binds a listen on its worker, and starts it; the address that it got.
async fn start_listen(
    mesh: &Arc<Mesh>,
    worker: &Scope,
    listen: Listen,
) -> Result<io::Result<SocketAddr>, SpawnRefused> {
    let (bound, heard) = oneshot::channel();
    let address = listen.address;
    let mesh = mesh.clone();
    match listen.transport {
        Transport::Udp { idle_timeout } => {
            worker.spawn("udp listen", |task| async move {
                let socket = mesh.env.local.bind_udp(address);
                let socket = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
                let Some(socket) = announce(socket, bound) else {
                    return;
                };
                let destination = Destination::new(listen.service, listen.to);
                let class = listen.class.into();
                let listen =
                    udp::listen::Listen::new(mesh, socket, destination, class, idle_timeout);
                listen.run(task).await;
            })?;
        }
        Transport::Tcp { stall_timeout } => {
            let connections = worker.child(format!("listen {address}"));
            worker.spawn("tcp listen", |task| async move {
                let socket = mesh.env.local.listen_tcp(address);
                let socket = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
                let Some(listener) = announce(socket, bound) else {
                    return;
                };
                let destination = Destination::new(listen.service, listen.to);
                let destination = Arc::new(destination);
                let listen = tcp::listen::Listen {
                    mesh,
                    listener,
                    destination,
                    connections,
                    share: tcp::room::Share::default(),
                    stall: stall_timeout,
                };
                listen.run(task).await;
            })?;
        }
    }
    let bound = heard
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
    Ok(bound)
}

/// Tells the starter how binding went; the socket if it went well.
fn announce<T>(
    bound: io::Result<(SocketAddr, T)>,
    starter: oneshot::Sender<io::Result<SocketAddr>>,
) -> Option<T> {
    let (address, socket) = match bound {
        Ok((address, socket)) => (Ok(address), Some(socket)),
        Err(error) => (Err(error), None),
    };
    // A starter that has gone drops the task with its scope.
    let _ = starter.send(address);
    socket
}

/// The seed of one worker's connection ids, under simulation.
fn seed_of(seed: u64, worker: u16) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&seed.to_be_bytes());
    context.update(&worker.to_be_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("{key}: {address} cannot be bound: {}", why_not_bound(source))]
    Bind {
        /// The key of the configuration that names it.
        key: String,
        /// The address, as configured.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Certificate, key or bundle cannot be used.
    #[error("{key}: {source}")]
    Certificates {
        /// The key of the configuration that names the file.
        key: &'static str,
        /// What is wrong with it.
        source: MaterialError,
    },
    /// There is no generation to run with.
    #[error("node.state_dir: {0}")]
    Generation(#[from] GenerationError),
    /// The environment has no runtime to run on.
    #[error("no worker to run on")]
    NoWorker,
    /// The node's first tasks were refused.
    #[error(transparent)]
    Tasks(#[from] SpawnRefused),
    /// The certificates cannot be served over QUIC.
    #[error(transparent)]
    Tls(#[from] transport::TlsError),
}

fn why_not_bound(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another process has it".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have it".to_owned(),
        _ => source.to_string(),
    }
}

/// As many events as a few hundred nodes cause when they dial at once.
const ROSTER_QUEUE: usize = 1_024;
/// A hundred links that change at once, and what their peers say of that.
const NAVIGATOR_QUEUE: usize = 1_024;
/// A close that is lost is repeated by nobody: half a second covers its way out of the socket.
const FLUSH_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);
/// Of the time that an end may take, what the last word may: one part in so many.
const LEAVE_SHARE: u32 = 4;
const RESET_CONTEXT: &[u8] = b"causeway quic stateless reset";

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod udp_tests;
