//! What the processes of the figure are: all healthy peers in one, a node under test in another.

use std::{
    fmt::Write as _,
    fs,
    future::pending,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use causeway::{
    clock,
    config::Config,
    env::Env,
    host::{self, WorkerRuntime},
    id::NodeId,
    identity::{
        FixedCertificates, Pem,
        pki::{Authority, Randomness, Validity},
    },
    mesh::Mesh,
    node::Node,
    telemetry::Metrics,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    runtime::{Handle, Runtime},
};

use super::{
    load::{self, Connects, Crowd, Healthy, Manager, Pace, Sample},
    real::{Measured, socket},
    responder::{Greeting, Ground, Responder},
    scene::STAY,
};

/// How much of everything there is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Extent {
    /// Peers that stay linked.
    pub linked: usize,
    /// Peers of each group.
    pub group: usize,
    /// Groups that take turns.
    pub groups: usize,
    /// Black holes of the one node.
    pub holes: usize,
    /// Turns of the load in each round, of a tenth of a second each.
    pub turns: usize,
}

/// What all processes of one run know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// How much of everything there is.
    pub extent: Extent,
    /// Where every black hole is.
    hole: SocketAddr,
    authority: String,
    authority_key: String,
}

impl Plan {
    /// A plan with an authority of its own.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn new(extent: Extent, hole: SocketAddr) -> anyhow::Result<Self> {
        let authority = Authority::generate(TRUST_DOMAIN, Randomness::System, today())?;
        Ok(Self {
            extent,
            hole,
            authority: authority.certificate_pem().to_owned(),
            authority_key: authority.key_pem(),
        })
    }

    /// Leaves it where the processes look for it.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        Ok(fs::write(directory.join(PLAN), serde_json::to_vec(self)?)?)
    }

    fn read(directory: &Path) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(directory.join(PLAN))?)?)
    }

    fn pem(&self, id: &NodeId) -> anyhow::Result<Pem> {
        let authority = Authority::from_pem(&self.authority, &self.authority_key)?;
        Ok(authority.node(id, Validity::starting(today(), VALID_FOR))?)
    }

    /// Those that stay linked, and then group by group.
    fn healthy(&self) -> impl Iterator<Item = NodeId> {
        let peers = self.extent.linked + self.extent.groups * self.extent.group;
        (0..peers).map(|peer| node_id("us", &format!("peer{peer}")))
    }
}

/// Starts every healthy peer on a port of its own; returns where they are.
///
/// # Errors
/// One could not be started.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start_peers(plan: &Plan, directory: &Path) -> anyhow::Result<Vec<SocketAddr>> {
    let env = env(plan, &node_id("us", "peers"), directory)?;
    let ground = Ground {
        sockets: env.sockets,
        runtime: env.runtimes[0].clone(),
        wall: env.wall,
    };
    plan.healthy()
        .map(|id| {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let peer = Responder::start(&id, plan.pem(&id)?, any, &ground, Greeting::Hello)?;
            Ok(peer.address()?)
        })
        .collect()
}

/// A node under load.
#[derive(Debug)]
pub struct UnderTest {
    node: Node,
    crowd: Crowd,
    /// What the node is told while each group is known.
    configs: Vec<Config>,
}

impl UnderTest {
    /// Starts a node with `holes` black holes, and waits until it is linked with those that stay and
    /// has seen every black hole fail.
    ///
    /// - `peers`: where the healthy peers are.
    ///
    /// # Errors
    /// It does not start, or does not come so far.
    pub async fn start(
        plan: &Plan,
        name: &str,
        peers: &[SocketAddr],
        holes: usize,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let Extent {
            linked,
            group,
            groups,
            ..
        } = plan.extent;
        let id = node_id("eu", name);
        let healthy: Vec<(NodeId, SocketAddr)> =
            plan.healthy().zip(peers.iter().copied()).collect();
        let (stay, come) = healthy.split_at(linked);
        let holes: Vec<(NodeId, SocketAddr)> = (0..holes)
            .map(|hole| (node_id("nowhere", &format!("hole{hole}")), plan.hole))
            .collect();
        let config = |present: &[usize]| {
            let present = present.iter().flat_map(|at| &come[at * group..][..group]);
            config(&id, stay.iter().chain(present).chain(&holes))
        };
        let known = |at| -> Vec<usize> {
            let ago = 0..STAY.min(groups);
            ago.map(|ago| (groups + at - ago) % groups).collect()
        };
        let configs = (0..groups).map(|at| config(&known(at)));
        let configs = configs.collect::<anyhow::Result<_>>()?;
        let key = |(id, _): &(NodeId, SocketAddr)| Healthy {
            key: id.key(),
            distance: 0,
        };
        let crowd = Crowd {
            linked: stay.iter().map(key).collect(),
            groups: come
                .chunks(group)
                .map(|group| group.iter().map(key).collect())
                .collect(),
            holes: holes.iter().map(|(id, _)| id.key()).collect(),
            pace: Pace::REAL,
        };
        let env = env(plan, &id, &directory.join(name))?;
        let node = Node::start(config(&[])?, env, Metrics::new()).await?;
        let under_test = Self {
            node,
            crowd,
            configs,
        };
        under_test.warm_up().await?;
        Ok(under_test)
    }

    async fn warm_up(&self) -> anyhow::Result<()> {
        let mesh = self.mesh();
        let linked = || {
            let mut linked = self.crowd.linked.iter();
            linked.all(|peer| mesh.links.get(peer.key).is_some())
        };
        let failed = || mesh.counts.dials_failed.value() >= self.crowd.holes.len() as u64;
        let give_up = clock::now() + WARM_UP;
        while !linked() || !failed() {
            ensure!(clock::now() < give_up, "the node does not link up");
            clock::sleep_until(Some(clock::now() + LOOK_EVERY)).await;
        }
        Ok(())
    }

    /// What the node's tasks share.
    pub fn mesh(&self) -> &Arc<Mesh> {
        self.node.mesh()
    }

    /// Asks for `turns`.
    pub async fn ask(&self, turns: usize) -> Vec<Sample> {
        load::run(self, &self.crowd, 0, |turn| turn < turns).await
    }
}

impl Manager for UnderTest {
    fn connects(&self) -> Arc<dyn Connects> {
        self.mesh().clone()
    }

    async fn admit(&self, group: usize) {
        self.node.reload(&self.configs[group]).await;
    }
}

/// Is the process with all healthy peers, until its owner ends.
///
/// # Errors
/// One of them could not be started.
pub fn run_peers(directory: &Path) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let peers = start_peers(&Plan::read(directory)?, directory)?;
        fs::write(directory.join(PEERS), serde_json::to_vec(&peers)?)?;
        tell_ready();
        pending::<()>().await;
        Ok(())
    })
}

/// Is the process with one node, which is asked for its peers for every line that comes to its
/// socket, until its owner ends.
///
/// - `name`: of the node; `with` has black holes.
///
/// # Errors
/// The node could not be started.
pub fn run_node(directory: &Path, name: &str) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let plan = Plan::read(directory)?;
        let peers: Vec<SocketAddr> = serde_json::from_slice(&fs::read(directory.join(PEERS))?)?;
        let orders = UnixListener::bind(socket(directory, name))?;
        let holes = match name {
            "with" => plan.extent.holes,
            _ => 0,
        };
        let node = UnderTest::start(&plan, name, &peers, holes, directory).await?;
        tell_ready();
        loop {
            let (mut order, _) = orders.accept().await?;
            order.read_u8().await?;
            let samples = node.ask(plan.extent.turns).await;
            let mut told = serde_json::to_vec(&Measured::of(&samples))?;
            told.push(b'\n');
            order.write_all(&told).await?;
        }
    })
}

#[expect(clippy::print_stdout, reason = "its owner reads it")]
fn tell_ready() {
    println!("ready");
}

fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("the runtime could not be started")
}

fn env(plan: &Plan, id: &NodeId, directory: &Path) -> anyhow::Result<Env> {
    let runtime = Arc::new(WorkerRuntime::new(Handle::current()));
    let certificates = Arc::new(FixedCertificates::new(plan.pem(id)?));
    Ok(host::env(vec![runtime], certificates, directory)?)
}

fn config<'a>(
    id: &NodeId,
    peers: impl Iterator<Item = &'a (NodeId, SocketAddr)>,
) -> anyhow::Result<Config> {
    let (region, name) = (id.region(), id.name());
    let mut text = format!(
        r#"
[node]
name = "{name}"
region = "{region}"
trust_domain = "{TRUST_DOMAIN}"
bind = "127.0.0.1:0"
state_dir = "unused"
[identity]
certificate = "unused"
key = "unused"
bundle = "unused"
[limits]
links = 4096
"#
    );
    for (peer, address) in peers {
        let (region, name) = (peer.region(), peer.name());
        writeln!(
            text,
            "[[peer]]\nregion = \"{region}\"\nname = \"{name}\"\naddresses = [\"{address}\"]"
        )?;
    }
    Ok(Config::parse(&text, Path::new(""))?)
}

fn node_id(region: &str, name: &str) -> NodeId {
    NodeId::try_new(TRUST_DOMAIN, region, name).expect("the names are short and plain")
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates of real processes begin at the real date"
)]
fn today() -> SystemTime {
    SystemTime::now()
}

const TRUST_DOMAIN: &str = "figures.example";
const VALID_FOR: Duration = Duration::from_secs(86_400);
const PLAN: &str = "plan.json";
const PEERS: &str = "peers.json";
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A thousand dials of 250 ms behind 32 permits, the last one's deadline, and as much again.
const WARM_UP: Duration = Duration::from_secs(30);
