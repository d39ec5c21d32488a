//! What every task of a node shares.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use router::{health::HealthConfig, liveness::LivenessConfig};
use tokio::sync::mpsc;

use crate::{
    accounts::Accounts,
    config::{Config, HostPort, Liveness},
    counts::Counts,
    echo::Echoes,
    env::Env,
    id::{LinkGeneration, NodeGeneration, NodeId, NodeKey},
    identity::{Material, PeerError},
    links::Links,
    load::NodeLoad,
    navigator::NavigatorEvent,
    reaper::Reaper,
    roster::RosterEvent,
    routes::Routes,
    seeker::Seeking,
    services::Exposed,
    survey::Survey,
    tasks::Scope,
    tcp::room::Room,
    transport::{self, TlsError},
    udp::service::EgressFlows,
    wire::{Hello, PROTOCOL},
};

/// One node, as its own tasks see it.
#[derive(Debug)]
pub struct Mesh {
    /// This node.
    pub id: NodeId,
    /// What goes to and from each region.
    pub accounts: Accounts,
    /// How much of what it can do it does.
    pub load: NodeLoad,
    /// What it was started with.
    pub config: Config,
    /// Everything outside the process.
    pub env: Env,
    /// What happened.
    pub counts: Arc<Counts>,
    /// Its peers.
    pub links: Links,
    /// Which way traffic goes.
    pub routes: Routes,
    /// Who is known, by key, whether it has a link or not. The navigator is the only writer.
    pub names: ArcSwap<BTreeMap<NodeKey, NodeId>>,
    /// Echoes that were asked for.
    pub(crate) echoes: Echoes,
    /// What the router last saw. The navigator is the only writer.
    pub survey: Survey,
    /// What it exposes.
    pub exposed: Exposed,
    /// Ends streams off the way of those who used them.
    pub reaper: Reaper,
    /// Its certificate, key and bundle as last loaded.
    pub material: ArcSwap<Material>,
    /// Whether another process was found to use its name.
    pub duplicate: AtomicBool,
    pub(crate) transport: Arc<quinn::TransportConfig>,
    /// Owns the flows that end here, which outlive the links they came on.
    pub(crate) flows_scope: Scope,
    pub(crate) egress: EgressFlows,
    /// A place for each TCP stream of listens and of services.
    pub(crate) tcp_room: Room,
    /// The router's task.
    pub(crate) navigator: mpsc::Sender<NavigatorEvent>,
    pub(crate) roster: mpsc::Sender<RosterEvent>,
    /// Addresses whose node is not known yet. The roster's task is the only writer.
    pub(crate) seekers: ArcSwap<Vec<Arc<Seeking>>>,
    pub(crate) release: String,
    pub(crate) advertised: Vec<SocketAddr>,
    pub(crate) started: Instant,
    pub(crate) generation: AtomicU64,
    pub(crate) dials: AtomicU32,
    pub(crate) flows: AtomicU32,
}

impl Mesh {
    /// This node's generation.
    pub fn generation(&self) -> NodeGeneration {
        NodeGeneration(self.generation.load(Ordering::Relaxed))
    }

    /// The node behind `key`, if it is a peer or others have told of it.
    pub(crate) fn node_id(&self, key: NodeKey) -> Option<NodeId> {
        let peers = self.links.snapshot();
        match peers.get(&key) {
            Some(peer) => Some(peer.id.clone()),
            None => self.names.load().get(&key).cloned(),
        }
    }

    /// Mints the generation of a link that this node dials.
    pub fn next_link(&self) -> LinkGeneration {
        LinkGeneration {
            dialer: self.id.key(),
            node: self.generation(),
            dial: self.dials.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Mints the number of a flow that enters here.
    pub fn next_flow(&self) -> u32 {
        self.flows.fetch_add(1, Ordering::Relaxed)
    }

    /// This node's Hello on a link that it dials to `peer`, with a generation of its own.
    pub(crate) fn dial_hello(&self, peer: &NodeId) -> Hello {
        let link = self.next_link();
        Hello {
            // Not asked for again: it may move meanwhile, and both must say the same.
            generation: link.node,
            ..self.hello(link, self.links.current(peer.key()))
        }
    }

    /// This node's Hello on `link`, to a peer of which it holds `current_link`.
    pub fn hello(&self, link: LinkGeneration, current_link: Option<LinkGeneration>) -> Hello {
        Hello {
            protocol: PROTOCOL,
            features: 0,
            node: self.id.clone(),
            generation: self.generation(),
            link,
            release: self.release.clone(),
            labels: self.config.labels().clone(),
            addresses: self.advertised.iter().map(ToString::to_string).collect(),
            current_link,
        }
    }

    /// How links are accepted, with the certificates of now.
    pub(crate) fn server_config(&self) -> Result<quinn::ServerConfig, TlsError> {
        let refused = self.counts.peers_refused.clone();
        let observer = Arc::new(move |error: &PeerError| refused.incr(error.into()));
        let material = self.material.load_full();
        let tls = material.server_config(self.env.wall.clone(), observer);
        transport::server_config(tls, self.transport.clone())
    }

    /// How links are probed.
    pub fn liveness(&self) -> LivenessConfig {
        match self.config.shared().liveness {
            Liveness::Default => LivenessConfig::default(),
            Liveness::Fast => LivenessConfig::fast(),
        }
    }

    /// How peers are judged: the profile that goes with [`Mesh::liveness`].
    pub fn health(&self) -> HealthConfig {
        match self.config.shared().liveness {
            Liveness::Default => HealthConfig::default(),
            Liveness::Fast => HealthConfig::fast(),
        }
    }

    /// A seed of its own for each link and peer, all of them decided by the node's.
    pub fn seed_for(&self, what: &[u8]) -> u64 {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(&self.env.seed.to_be_bytes());
        context.update(what);
        let digest = context.finish();
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest.as_ref()[..8]);
        u64::from_be_bytes(seed)
    }

    /// Milliseconds since the node was started.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The wrapping microseconds that packets carry as their send time.
    pub fn micros(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_micros() as u32
    }

    /// The first address of a local endpoint, by `deadline`.
    ///
    /// # Errors
    /// The name was not found, or not in time.
    pub async fn resolve_one(
        &self,
        endpoint: &HostPort,
        deadline: Instant,
    ) -> io::Result<SocketAddr> {
        let addresses = self.resolve(endpoint, deadline).await?;
        addresses
            .into_iter()
            .next()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The addresses of an endpoint, by `deadline`.
    ///
    /// # Errors
    /// The name was not found, or not in time.
    pub async fn resolve(
        &self,
        endpoint: &HostPort,
        deadline: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        match endpoint {
            HostPort::Ip(address) => Ok(vec![*address]),
            HostPort::Name { host, port } => {
                let resolving = self.env.resolver.resolve(host, *port);
                tokio::time::timeout_at(deadline.into(), resolving)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}
