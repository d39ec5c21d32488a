//! Six nodes at the distances of their regions, with flows between some of them.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use causeway::{id::NodeKey, routes::Kind};
use netem::{
    model::{Loss, PairModel},
    regions::Matrix,
    sim::Host,
};

use super::{
    ledger::{Flow, Ledger, Pace, SOUND},
    routes::{RouteLog, is_settled},
};
use crate::sim::fleet::{Fleet, Member, ms, sleep};

/// What the nodes are told and what flows there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// `shared.liveness`.
    pub(super) liveness: &'static str,
    /// How the flows between [`PAIRS`] send.
    pub(super) pace: Pace,
    /// How often routes are looked at.
    pub(super) look_every: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            liveness: "default",
            pace: SOUND,
            look_every: ms(1),
        }
    }
}

/// A fleet that runs, and what is seen of it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) fleet: Fleet,
    /// In the order of [`REGIONS`].
    pub(super) members: Vec<Member>,
    /// Both directions of each of [`PAIRS`], one after the other.
    pub(super) flows: Vec<Watched>,
    matrix: Matrix,
    ledger: Ledger,
    seed: u64,
    programs: Vec<Host>,
}

/// A flow, and the route at its beginning.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) flow: Flow,
    pub(super) route: RouteLog,
}

impl Stage {
    /// Returns when all flows have run on direct paths, with something to fall back on, for as long
    /// as estimates of round trips take to settle.
    ///
    /// # Errors
    /// The nodes do not find each other, or not to such paths.
    pub(super) async fn new(seed: u64, setting: Setting) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new(seed);
        let mut members = Vec::new();
        for region in REGIONS {
            members.push(fleet.add(region, "a", &tables(setting.liveness, region)?));
        }
        let mut stage = Self {
            fleet,
            members,
            flows: Vec::new(),
            matrix: Matrix::named("aws")?,
            ledger: Ledger::default(),
            seed,
            programs: Vec::new(),
        };
        for from in 0..REGIONS.len() {
            for to in 0..REGIONS.len() {
                stage.set_loss(from, to, 0)?;
            }
        }
        // What every other node is told of the mesh.
        let seed = stage.fleet.address(stage.members[0]).to_string();
        for member in &stage.members[1..] {
            stage.fleet.add_seed(*member, &seed);
        }
        stage.fleet.start_all().await;
        stage
            .until("all are linked", LINKED_WITHIN, |stage| {
                stage.fleet.all_linked(&stage.members)
            })
            .await?;
        for member in stage.members.clone() {
            let sink = stage.ledger.start_sink(&stage.fleet, member, SINK)?;
            stage.programs.push(sink);
        }
        for (at, (a, b)) in PAIRS.into_iter().enumerate() {
            for (from, to) in [(a, b), (b, a)] {
                // Not all at the same moment.
                sleep(ms(3 + at as u64)).await;
                let watched = stage.start_flow(from, to, setting.pace, setting.look_every)?;
                stage.flows.push(watched);
            }
        }
        stage.settle().await?;
        // So that seeds meet the loops of probes at every point of their turn.
        sleep(ms(stage.seed * 37 % 401)).await;
        Ok(stage)
    }

    /// Starts one more flow.
    pub(super) fn start_flow(
        &mut self,
        from: usize,
        to: usize,
        pace: Pace,
        look_every: Duration,
    ) -> anyhow::Result<Watched> {
        let ends = (self.members[from], self.members[to]);
        let (flow, host) = self
            .ledger
            .start_flow(&self.fleet, ends, listen(to), pace)?;
        let route = RouteLog::start(&self.fleet, &host, ends, look_every);
        self.programs.push(host);
        Ok(Watched { flow, route })
    }

    /// Waits until all flows have been on direct paths for long enough, and no other.
    async fn settle(&self) -> anyhow::Result<()> {
        let end = self.now() + LINKED_WITHIN;
        let mut since = self.now();
        while self.now() - since < SETTLE {
            if !self.is_settled() {
                since = self.now();
            }
            ensure!(since < end, "flows do not stay on their direct paths");
            sleep(ms(10)).await;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.flows.iter().all(|watched| {
            let Flow { from, to, .. } = watched.flow;
            let routes = &self.fleet.mesh(from).routes;
            let route = routes.get(Kind::Interactive, self.fleet.key(to));
            route.is_some_and(|route| is_settled(&route))
        })
    }

    /// Which of [`PAIRS`] this seed strikes.
    pub(super) fn struck(&self) -> usize {
        (self.seed % PAIRS.len() as u64) as usize
    }

    /// Both directions of a pair.
    pub(super) fn flows_of(&self, pair: usize) -> [Watched; 2] {
        [
            self.flows[2 * pair].clone(),
            self.flows[2 * pair + 1].clone(),
        ]
    }

    /// All flows but those of a pair.
    pub(super) fn others(&self, pair: usize) -> Vec<Watched> {
        let all = self.flows.iter().enumerate();
        let others = all.filter(|(at, _)| at / 2 != pair);
        others.map(|(_, watched)| watched.clone()).collect()
    }

    /// The median round trip between two regions.
    pub(super) fn round_trip(&self, a: usize, b: usize) -> anyhow::Result<Duration> {
        let there = self.matrix.path(REGIONS[a], REGIONS[b])?.delay;
        Ok(there + self.matrix.path(REGIONS[b], REGIONS[a])?.delay)
    }

    /// What a packet takes from a node along `path`, without jitter.
    pub(super) fn one_way(&self, from: Member, path: &[NodeKey]) -> anyhow::Result<Duration> {
        let mut at = self.region_of(self.fleet.key(from))?;
        let mut way = Duration::ZERO;
        for node in path {
            let next = self.region_of(*node)?;
            way += self.matrix.path(REGIONS[at], REGIONS[next])?.delay;
            at = next;
        }
        Ok(way)
    }

    /// So much of what goes from one region to another is lost from now on.
    pub(super) fn set_loss(&self, from: usize, to: usize, ppm: u32) -> anyhow::Result<()> {
        let model = PairModel {
            loss: Loss::from_ppm(ppm),
            ..self.matrix.path(REGIONS[from], REGIONS[to])?
        };
        let (from, to) = (self.machine(from), self.machine(to));
        self.fleet.sim.set_pair(from, to, model);
        Ok(())
    }

    /// Nothing crosses between the two from now on.
    pub(super) fn cut(&self, (a, b): (usize, usize)) {
        self.fleet.sim.cut_both(self.machine(a), self.machine(b));
    }

    /// Everything crosses again.
    pub(super) fn heal(&self, (a, b): (usize, usize)) {
        self.fleet.sim.heal_both(self.machine(a), self.machine(b));
    }

    pub(super) fn machine(&self, region: usize) -> &Host {
        self.fleet.machine(self.members[region])
    }

    /// Which region a node is of.
    pub(super) fn region_of(&self, node: NodeKey) -> anyhow::Result<usize> {
        let mut members = self.members.iter();
        let place = members.position(|member| self.fleet.key(*member) == node);
        place.context("a path over a node that is not of this fleet")
    }

    /// Since the simulation's start.
    pub(super) fn now(&self) -> Duration {
        self.fleet.elapsed()
    }

    /// Waits until `test` holds, looking every millisecond.
    ///
    /// # Errors
    /// If it does not in time.
    pub(super) async fn until(
        &self,
        what: &str,
        within: Duration,
        test: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let end = self.now() + within;
        while !test(self) {
            ensure!(self.now() < end, "not within {within:?}: {what}");
            sleep(ms(1)).await;
        }
        Ok(())
    }
}

/// One service, and a listen for each other node of the fleet.
fn tables(liveness: &str, own: &str) -> anyhow::Result<String> {
    let mut tables = format!("[shared]\nliveness = \"{liveness}\"\n{SERVICE}");
    for (at, region) in REGIONS.iter().enumerate() {
        if *region == own {
            continue;
        }
        writeln!(
            tables,
            "[[listen]]\nkind = \"udp\"\naddress = \"{}\"\nservice = \"sink\"\n\
             to = {{ node = \"{region}/a\" }}",
            listen(at),
        )?;
    }
    Ok(tables)
}

/// Where a node takes packets for the node of a region.
fn listen(region: usize) -> SocketAddr {
    ([127, 0, 0, 1], 6_000 + region as u16).into()
}

/// The first is the one that all others are told of. Between none of them is a way over a third one
/// of these shorter by enough to be taken while the direct one works.
pub(super) const REGIONS: [&str; 6] = [
    "us-east-1",
    "us-west-2",
    "eu-central-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "sa-east-1",
];
/// Between these there are flows, both ways: 93, 98, 161 and 115 ms there and back.
pub(super) const PAIRS: [(usize, usize); 4] = [(2, 0), (1, 3), (2, 4), (0, 5)];
const SINK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_000);
const SERVICE: &str = r#"
[[service]]
name = "sink"
kind = "udp"
address = "127.0.0.1:5000"
allow = ["spiffe://example.org/region/*/node/*"]
"#;
const LINKED_WITHIN: Duration = Duration::from_secs(60);
/// Some fifteen replies in each loop, after which the bounds hold.
const SETTLE: Duration = Duration::from_secs(8);
