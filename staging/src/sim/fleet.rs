//! A fleet of nodes on one simulated network.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use causeway::{
    clock,
    config::Config,
    env::Env,
    id::{NodeId, NodeKey},
    identity::{
        FixedCertificates, Pem,
        pki::{Authority, Randomness, Validity},
    },
    keeper::PeerStatus,
    link::Link,
    links::Peer,
    mesh::Mesh,
    node::{Node, StartError},
    tasks::Overdue,
    telemetry::Metrics,
};
use netem::{
    model::PairModel,
    sim::{Host, Sim, SimConfig},
};

use super::env::{Disk, Names, Net, Wall, epoch};

/// The trust domain of every fleet.
pub const TRUST_DOMAIN: &str = "example.org";
/// The port on which every node takes links.
pub const PORT: u16 = 7400;

/// So many milliseconds.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node of the fleet, by the order in which it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member(usize);

/// Everything that a simulation is made of.
#[derive(Debug)]
pub struct Fleet {
    /// The network.
    pub sim: Sim,
    /// When the simulation began.
    pub start: Instant,
    /// Who certifies its nodes.
    pub authority: Authority,
    /// The names that its nodes resolve.
    pub names: Names,
    seed: u64,
    members: Vec<Place>,
}

/// One node's machine, what it is told, and what outlives its process.
#[derive(Debug)]
struct Place {
    id: NodeId,
    host: Host,
    tables: String,
    peers: String,
    disk: Disk,
    wall: Wall,
    certificates: FixedCertificates,
    node: Option<Node>,
    starts: u64,
}

impl Fleet {
    /// A fleet without nodes; hosts are 1 ms apart unless told otherwise.
    pub fn new(seed: u64) -> Self {
        init_logs();
        let sim = Sim::new(SimConfig {
            default_pair: PairModel::delayed(ms(1)),
            ..SimConfig::new(seed)
        });
        Self {
            sim,
            start: clock::now(),
            authority: authority(TRUST_DOMAIN, seed),
            names: Names::default(),
            seed,
            members: Vec::new(),
        }
    }

    /// Adds a node that is not running yet. Nodes of one region are 1 ms apart.
    ///
    /// - `tables`: services, listens, limits, as TOML.
    pub fn add(&mut self, region: &str, name: &str, tables: &str) -> Member {
        let id = node_id(region, name);
        let host = self.host(&id.to_string());
        let certificates = FixedCertificates::new(self.pem(&id));
        self.members.push(Place {
            id,
            host,
            tables: tables.to_owned(),
            peers: String::new(),
            disk: Disk::default(),
            wall: Wall::starting(self.start),
            certificates,
            node: None,
            starts: 0,
        });
        Member(self.members.len() - 1)
    }

    /// Adds a machine that is no node of the fleet.
    pub fn host(&self, name: &str) -> Host {
        self.sim.host(name, self.next_ip())
    }

    fn next_ip(&self) -> [u8; 4] {
        let [high, low] = self.sim_hosts().to_be_bytes();
        [10, 0, high, low]
    }

    fn sim_hosts(&self) -> u16 {
        HOSTS.with(|hosts| {
            hosts.set(hosts.get() + 1);
            hosts.get()
        })
    }

    /// A node's certificate, valid for a year.
    pub fn pem(&self, id: &NodeId) -> Pem {
        self.authority.node(id, year()).unwrap()
    }

    /// Puts `one_way` between two nodes, both ways.
    pub fn delay(&self, a: Member, b: Member, one_way: Duration) {
        self.model(a, b, PairModel::delayed(one_way));
    }

    /// Puts `model` between two nodes, both ways.
    pub fn model(&self, a: Member, b: Member, model: PairModel) {
        self.sim
            .set_pair_both(self.machine(a), self.machine(b), model);
    }

    /// The machine that a node runs on.
    pub fn machine(&self, member: Member) -> &Host {
        &self.members[member.0].host
    }

    /// Another process on a node's machine, which outlives the node.
    pub fn program(&self, member: Member) -> Host {
        self.machine(member).process()
    }

    /// A node's name.
    pub fn id(&self, member: Member) -> &NodeId {
        &self.members[member.0].id
    }

    /// A node's key.
    pub fn key(&self, member: Member) -> NodeKey {
        self.id(member).key()
    }

    /// A node's clock.
    pub fn wall(&self, member: Member) -> &Wall {
        &self.members[member.0].wall
    }

    /// A node's state directory.
    pub fn disk(&self, member: Member) -> &Disk {
        &self.members[member.0].disk
    }

    /// A node's certificate files.
    pub fn certificates(&self, member: Member) -> &FixedCertificates {
        &self.members[member.0].certificates
    }

    /// Where a node takes links.
    pub fn address(&self, member: Member) -> SocketAddr {
        SocketAddr::new(self.machine(member).ip(), PORT)
    }

    /// Gives `member` a peer to dial, from its next start or reload on.
    pub fn add_peer(&mut self, member: Member, id: &NodeId, addresses: &[String]) {
        let text = &mut self.members[member.0].peers;
        writeln!(
            text,
            "[[peer]]\nregion = \"{}\"\nname = \"{}\"\naddresses = {addresses:?}",
            id.region(),
            id.name(),
        )
        .unwrap();
    }

    /// Gives `member` an address to seek, from its next start or reload on.
    pub fn add_seed(&mut self, member: Member, address: &str) {
        let text = &mut self.members[member.0].peers;
        writeln!(text, "[[peer]]\naddresses = [\"{address}\"]").unwrap();
    }

    /// Forgets every peer that was added.
    pub fn clear_peers(&mut self, member: Member) {
        self.members[member.0].peers.clear();
    }

    /// Makes `a` and `b` dial each other.
    pub fn pair(&mut self, a: Member, b: Member) {
        for (from, to) in [(a, b), (b, a)] {
            let (id, address) = (self.id(to).clone(), self.address(to).to_string());
            self.add_peer(from, &id, &[address]);
        }
    }

    /// Makes every pair of `members` dial each other.
    pub fn full_mesh(&mut self, members: &[Member]) {
        for (at, a) in members.iter().enumerate() {
            for b in &members[at + 1..] {
                self.pair(*a, *b);
            }
        }
    }

    /// What a node is told when it starts or reloads now.
    pub fn config(&self, member: Member) -> Config {
        let place = &self.members[member.0];
        let (region, name) = (place.id.region(), place.id.name());
        let text = format!(
            r#"
[node]
name = "{name}"
region = "{region}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{}"
state_dir = "unused"
[identity]
certificate = "unused"
key = "unused"
bundle = "unused"
{}
{}
"#,
            self.address(member),
            place.tables,
            place.peers
        );
        Config::parse(&text, Path::new("")).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Starts a node's process.
    pub async fn start(&mut self, member: Member) {
        self.try_start(member).await.unwrap();
    }

    /// Starts a node's process.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn try_start(&mut self, member: Member) -> Result<(), StartError> {
        let config = self.config(member);
        let place = &mut self.members[member.0];
        place.starts += 1;
        let net = Arc::new(Net(place.host.clone()));
        let env = Env {
            runtimes: vec![place.host.runtime()],
            sockets: net.clone(),
            local: net,
            resolver: Arc::new(self.names.clone()),
            wall: Arc::new(place.wall.clone()),
            certificates: Arc::new(place.certificates.clone()),
            state: Arc::new(place.disk.clone()),
            seed: self.seed ^ ((member.0 as u64) << 32) ^ place.starts,
            repeatable: true,
        };
        let started = place.host.spawn(Node::start(config, env, Metrics::new()));
        place.node = Some(started.await.unwrap()?);
        Ok(())
    }

    /// Starts every node.
    pub async fn start_all(&mut self) {
        for member in 0..self.members.len() {
            self.start(Member(member)).await;
        }
    }

    /// Ends a node's process without a goodbye.
    pub fn kill(&mut self, member: Member) {
        let place = &mut self.members[member.0];
        place.host.kill();
        place.node = None;
    }

    /// Ends a node in order; what was overdue at its deadline.
    pub async fn shutdown(&mut self, member: Member, within: Duration) -> Vec<Overdue> {
        let place = &mut self.members[member.0];
        let node = place.node.take().unwrap();
        let deadline = clock::now() + within;
        place.host.spawn(node.shutdown(deadline)).await.unwrap()
    }

    /// A node that runs.
    pub fn node(&self, member: Member) -> &Node {
        self.members[member.0].node.as_ref().unwrap()
    }

    /// What the tasks of a running node share.
    pub fn mesh(&self, member: Member) -> &Arc<Mesh> {
        self.node(member).mesh()
    }

    /// Reads the configuration of a running node again.
    pub async fn reload(&self, member: Member) {
        self.node(member).reload(&self.config(member)).await;
    }

    /// What `from` has published about `to`.
    pub fn peer(&self, from: Member, to: Member) -> Option<Arc<Peer>> {
        self.mesh(from).links.snapshot().get(&self.key(to)).cloned()
    }

    /// What the keeper at `from` does about `to`.
    pub fn status(&self, from: Member, to: Member) -> Option<PeerStatus> {
        Some(self.peer(from, to)?.slot.load().status.clone())
    }

    /// The usable link from `from` to `to`.
    pub fn link(&self, from: Member, to: Member) -> Option<Arc<Link>> {
        self.mesh(from).links.get(self.key(to))
    }

    /// Whether both ends have one usable current link, the same one.
    pub fn linked(&self, a: Member, b: Member) -> bool {
        match (self.link(a, b), self.link(b, a)) {
            (Some(here), Some(there)) => here.generation == there.generation,
            _ => false,
        }
    }

    /// Whether every pair of `members` is linked.
    pub fn all_linked(&self, members: &[Member]) -> bool {
        members
            .iter()
            .enumerate()
            .all(|(at, a)| members[at + 1..].iter().all(|b| self.linked(*a, *b)))
    }

    /// Waits until every pair of `members` is linked: how long it took.
    pub async fn until_linked(&self, members: &[Member], within: Duration) -> Duration {
        let linked = || self.all_linked(members);
        self.until("all are linked", within, linked).await
    }

    /// Waits until `test` holds, looking every millisecond: how long it took.
    pub async fn until(
        &self,
        what: &str,
        within: Duration,
        test: impl FnMut() -> bool,
    ) -> Duration {
        match self.took(within, test).await {
            Some(took) => took,
            None => panic!("not within {within:?}: {what}\n{}", self.describe()),
        }
    }

    async fn took(&self, within: Duration, mut test: impl FnMut() -> bool) -> Option<Duration> {
        let from = clock::now();
        while !test() {
            if clock::now() - from >= within {
                return None;
            }
            sleep(ms(1)).await;
        }
        Some(clock::now() - from)
    }

    /// Virtual time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        clock::now() - self.start
    }

    /// What every node thinks of every other, for a test that fails.
    pub fn describe(&self) -> String {
        let mut text = format!("at {:?}\n", self.elapsed());
        for place in &self.members {
            let Some(node) = &place.node else { continue };
            for peer in node.mesh().links.snapshot().values() {
                let state = peer.slot.load();
                writeln!(text, "{} -> {}: {:?}", place.id, peer.id, state.status).unwrap();
                for transition in peer.report.load().history.iter().rev().take(5).rev() {
                    let at = transition.at - self.start;
                    let (from, to) = (transition.from, transition.to);
                    writeln!(text, "    {at:?} {from} -> {to}: {:?}", transition.reason).unwrap();
                }
            }
        }
        text
    }
}

thread_local! {
    /// Addresses given out. Each test has a thread of its own.
    static HOSTS: std::cell::Cell<u16> = const { std::cell::Cell::new(0) };
}

/// Waits on virtual time.
pub async fn sleep(duration: Duration) {
    clock::sleep_until(Some(clock::now() + duration)).await;
}

/// A name in the fleets' trust domain.
pub fn node_id(region: &str, name: &str) -> NodeId {
    NodeId::try_new(TRUST_DOMAIN, region, name).unwrap()
}

/// The authority of a trust domain, made from `seed`.
pub fn authority(trust_domain: &str, seed: u64) -> Authority {
    Authority::generate(trust_domain, Randomness::Seed(seed), epoch()).unwrap()
}

/// From the simulation's first day, a year.
pub fn year() -> Validity {
    Validity::starting(epoch(), Duration::from_secs(365 * 86_400))
}

/// With `SIM_LOG=debug`, say, a test that is run alone tells what its nodes do.
fn init_logs() {
    if let Ok(filter) = std::env::var("SIM_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .with_test_writer()
            .try_init();
    }
}
