//! The node under test on a simulated network, with healthy peers near and far, and black holes.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use causeway::{
    config::Config,
    deadline::Endpoint,
    env::{Certificates as _, WallClock},
    id::NodeId,
    identity::FixedCertificates,
    keeper::PeerStatus,
    mesh::Mesh,
    transport,
};
use netem::{model::PairModel, sim::Host};

use super::{
    load::{Connects, Crowd, Healthy, Manager},
    responder::{Greeting, Ground, Responder, profile},
};
use crate::{
    figures::comparators::lock_manager::LockManager,
    sim::{
        env::{Net, Wall},
        fleet::{Fleet, Member, PORT, node_id},
    },
};

/// How many of what a scene has.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Peers that stay linked, at each distance.
    pub linked: usize,
    /// Peers of each group, at each distance.
    pub group: usize,
    /// Groups that take turns.
    pub groups: usize,
    /// Black holes.
    pub holes: usize,
    /// Lines of the node's `[limits]`.
    pub limits: &'static str,
}

/// The distances, as round trips.
pub type Distances = &'static [Duration];

/// One node, its healthy peers, and those that are not there.
#[derive(Debug)]
pub struct Scene {
    /// The simulation.
    pub fleet: Fleet,
    /// The node under test.
    pub node: Member,
    /// Whom it is asked for.
    pub crowd: Crowd,
    healthy: Vec<Peer>,
    holes: Vec<Peer>,
    /// What the node is told while each group is known.
    configs: Vec<Config>,
}

/// A machine that is a peer, or will be.
#[derive(Debug)]
struct Peer {
    id: NodeId,
    host: Host,
}

impl Scene {
    /// Everything but the node itself runs; [`Scene::start`] follows.
    pub fn new(seed: u64, size: Size, distances: Distances, greeting: Greeting) -> Self {
        let mut fleet = Fleet::new(seed);
        let tables = format!("{TABLES}{}\n", size.limits);
        let node = fleet.add("eu", "under-test", &tables);
        let mut scene = Self {
            fleet,
            node,
            crowd: Crowd::default(),
            healthy: Vec::new(),
            holes: Vec::new(),
            configs: Vec::new(),
        };
        for hole in 0..size.holes {
            let at = distances[hole % distances.len()];
            let peer = scene.machine("nowhere", &format!("hole{hole}"), at);
            scene.crowd.holes.push(peer.id.key());
            scene.holes.push(peer);
        }
        for (distance, at) in distances.iter().enumerate() {
            for linked in 0..size.linked {
                let name = format!("linked{linked}-{distance}");
                let healthy = scene.healthy(&name, distance, *at, greeting);
                scene.crowd.linked.push(healthy);
            }
        }
        let stay = scene.healthy.len();
        for group in 0..size.groups {
            let mut peers = Vec::new();
            for (distance, at) in distances.iter().enumerate() {
                for member in 0..size.group {
                    let name = format!("first{group}-{member}-{distance}");
                    peers.push(scene.healthy(&name, distance, *at, greeting));
                }
            }
            scene.crowd.groups.push(peers);
        }
        scene.write_configs(stay, size.group * distances.len());
        scene
    }

    fn healthy(
        &mut self,
        name: &str,
        distance: usize,
        rtt: Duration,
        greeting: Greeting,
    ) -> Healthy {
        let peer = self.machine("us", name, rtt);
        self.answer(&peer, greeting);
        let key = peer.id.key();
        self.healthy.push(peer);
        Healthy { key, distance }
    }

    fn machine(&self, region: &str, name: &str, rtt: Duration) -> Peer {
        let host = self.fleet.host(name);
        let wire = PairModel::delayed(rtt / 2);
        let node = self.fleet.machine(self.node);
        self.fleet.sim.set_pair_both(node, &host, wire);
        let id = node_id(region, name);
        Peer { id, host }
    }

    /// A peer of the node's that knows where it is, and is no part of the crowd.
    pub fn stranger(&self, name: &str, rtt: Duration) -> Responder {
        self.answer(&self.machine("us", name, rtt), Greeting::Hello)
    }

    /// From now on `peer` is there.
    fn answer(&self, peer: &Peer, greeting: Greeting) -> Responder {
        let ground = Ground {
            sockets: Arc::new(Net(peer.host.clone())),
            runtime: peer.host.runtime(),
            wall: Arc::new(Wall::starting(self.fleet.start)),
        };
        let (pem, address) = (self.fleet.pem(&peer.id), peer.address());
        Responder::start(&peer.id, pem, address, &ground, greeting)
            .expect("the simulated machine is free")
    }

    /// - `stay`: so many of the healthy are always known; each group is `size` of the others.
    fn write_configs(&mut self, stay: usize, size: usize) {
        let groups = self.crowd.groups.len();
        // Without any group last: that is what the node starts with.
        let known = (0..groups).map(|group| (0..STAY.min(groups)).map(move |ago| (group, ago)));
        let known = known.map(|turn| {
            let present = turn.map(|(group, ago)| (groups + group - ago) % groups);
            present.collect::<Vec<_>>()
        });
        for present in known.chain([Vec::new()]).collect::<Vec<_>>() {
            let (first, groups) = self.healthy.split_at(stay);
            let groups = present
                .iter()
                .flat_map(|group| &groups[group * size..][..size]);
            self.fleet.clear_peers(self.node);
            for peer in first.iter().chain(groups).chain(&self.holes) {
                let address = peer.address().to_string();
                self.fleet.add_peer(self.node, &peer.id, &[address]);
            }
            self.configs.push(self.fleet.config(self.node));
        }
    }

    /// Starts the node, and waits until every black hole has failed so often that it backs off for as
    /// long as it will.
    ///
    /// Returns how long it took to be linked with those that stay.
    pub async fn start(&mut self) -> Duration {
        self.fleet.start(self.node).await;
        let linked = || {
            let known = self.mesh().links.snapshot();
            let usable =
                |peer: &Healthy| known.get(&peer.key).is_some_and(|it| it.usable().is_some());
            self.crowd.linked.iter().all(usable)
        };
        let began = self
            .fleet
            .until("those that stay are linked", WARM_UP, linked)
            .await;
        let dials = (self.holes.len() * DIALS_TO_THE_CAP) as u64;
        let failed = || self.mesh().counts.dials_failed.value() >= dials;
        self.fleet
            .until("the holes back off", WARM_UP, failed)
            .await;
        began
    }

    /// What the tasks of the node share.
    pub fn mesh(&self) -> &Arc<Mesh> {
        self.fleet.mesh(self.node)
    }

    /// Cuts the node off from one of the peers that stay, or ends that.
    pub fn set_reachable(&self, linked: usize, reachable: bool) {
        let (node, peer) = (self.fleet.machine(self.node), &self.healthy[linked].host);
        match reachable {
            true => self.fleet.sim.heal_both(node, peer),
            false => self.fleet.sim.cut_both(node, peer),
        }
    }

    /// Every black hole answers from this moment on.
    pub fn heal(&self) {
        for hole in &self.holes {
            self.answer(hole, Greeting::Hello);
        }
    }

    /// Whether every peer that was a black hole is linked.
    pub fn is_healed(&self) -> bool {
        let known = self.mesh().links.snapshot();
        self.crowd.holes.iter().all(|hole| {
            let state = known.get(hole).map(|peer| peer.slot.load());
            state.is_some_and(|state| matches!(state.status, PeerStatus::Up { .. }))
        })
    }

    /// A stand-in on the machine of the node, which is not started then.
    ///
    /// # Panics
    /// If it is: they have one address.
    pub fn lock_manager(&self) -> Locked {
        let host = self.fleet.machine(self.node).process();
        let wall: Arc<dyn WallClock> = Arc::new(Wall::starting(self.fleet.start));
        let certificates = FixedCertificates::new(self.fleet.pem(self.fleet.id(self.node)));
        let material = certificates.load(wall.now()).expect("it was just made");
        let address = SocketAddr::new(host.ip(), PORT);
        let socket = Arc::new(host.bind_udp(address).expect("the node does not run"));
        let config = transport::endpoint_config(&material.derive(b"stand-in"), Some([7; 32]));
        let endpoint = Endpoint::new(config, None, socket, host.runtime());
        let endpoint = endpoint.expect("a simulated socket knows its address");
        let peers = self.healthy.iter().chain(&self.holes);
        let peers = peers.map(|peer| (peer.id.clone(), peer.address()));
        let manager = LockManager::new(endpoint, material, profile(), wall, peers);
        Locked(Arc::new(manager))
    }
}

impl Manager for Scene {
    fn connects(&self) -> Arc<dyn Connects> {
        self.mesh().clone()
    }

    async fn admit(&self, group: usize) {
        self.fleet
            .node(self.node)
            .reload(&self.configs[group])
            .await;
    }
}

/// The stand-in under load. It knows everybody from the start.
#[derive(Debug)]
pub struct Locked(Arc<LockManager>);

impl Manager for Locked {
    fn connects(&self) -> Arc<dyn Connects> {
        self.0.clone()
    }

    async fn admit(&self, _: usize) {}
}

impl Peer {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.ip(), PORT)
    }
}

/// Runs a simulation to its end, on virtual time and a thread of its own.
///
/// # Errors
/// No runtime or thread could be made, or the simulation panicked.
pub fn simulate<T, F>(scene: impl FnOnce() -> F + Send) -> anyhow::Result<T>
where
    T: Send,
    F: Future<Output = T>,
{
    let run = || -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        Ok(runtime.block_on(async { scene().await }))
    };
    thread::scope(|threads| {
        let thread = thread::Builder::new().name("simulation".to_owned());
        let thread = thread.spawn_scoped(threads, run)?;
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a simulation panicked")))
    })
}

/// Room for every peer's link, and nothing else that is not the default.
const TABLES: &str = "[limits]\nlinks = 4096\n";
/// A group is known for so many turns, which is enough for the farthest peers' requests.
pub const STAY: usize = 6;
/// From 100 ms the longest backoff doubles with each dial, up to 5 s.
const DIALS_TO_THE_CAP: usize = 7;
/// Each of a thousand dials takes 2.5 s, waits for one of 256 permits, and backs off.
const WARM_UP: Duration = Duration::from_secs(150);
