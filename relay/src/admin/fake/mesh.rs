//! The mesh of the fake node: what its router would know after an hour in which one link failed,
//! came back and failed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use router::{
    choice::{Choice, ChoiceConfig, Offer},
    cost::{Load, Loss, Measure},
    graph::{Graph, Link, LinkHealth, Node, NodeKey as RouterKey, RegionId, Service},
    paths::{RouteConfig, RouteTable},
};

use crate::{
    admin::{QuestionError, view::EchoView},
    clock,
    id::NodeId,
    navigator::{Inspection, RouteReport},
    node::atlas,
    routes::Kind,
};

/// What the router would say; `of` is the node whose decisions are asked for, by its full name.
pub(super) fn inspection(of: Option<&str>) -> Inspection {
    let mut story = Story::new();
    for (at_ms, health) in [
        (3_300_000, LinkHealth::Suspect),
        (3_303_000, LinkHealth::Down),
        (3_390_000, LinkHealth::Usable),
        (3_420_000, LinkHealth::Suspect),
        (3_609_000, LinkHealth::Usable),
    ] {
        story.wait_until(at_ms);
        story.set_link(FRA, IAD, 88_412, 1_250, health);
    }
    story.wait_until(3_610_000);
    story.inspection(of.map(key))
}

/// An echo over the path in use, of which every fourth is lost.
pub(super) fn echo(
    number: usize,
    name: &str,
    hop: Option<usize>,
) -> Result<EchoView, QuestionError> {
    let seen = inspection(None);
    let destination = atlas::destination(&seen, name)?;
    let routes = seen.routes.iter();
    let mut routes = routes.filter(|r| r.kind == Kind::Interactive && r.destination == destination);
    let to = seen.names[&destination].to_string();
    let Some(path) = routes.find_map(|route| route.path) else {
        return Ok(EchoView {
            asked: to.clone(),
            to,
            path: Vec::new(),
            rtt_us: None,
            error: Some("no path".to_owned()),
        });
    };
    let links = path.hops().len();
    let hop = hop.unwrap_or(links);
    let nodes: Vec<RouterKey> = [seen.own.into()]
        .into_iter()
        .chain(path.hops().to_vec())
        .collect();
    let asked = *nodes
        .get(hop)
        .filter(|_| hop > 0)
        .ok_or(QuestionError::NoHop { hop, links })?;
    let measured = |pair: &[RouterKey]| seen.graph.link(pair[0], pair[1])?.measure;
    let rtts = nodes[..=hop].windows(2).filter_map(measured).map(|m| m.rtt);
    let rtt: Duration = rtts.sum::<Duration>() + Duration::from_micros(number as u64 % 4 * 300);
    let is_lost = number % 4 == 3 && hop == links;
    let name = |key: &RouterKey| seen.names[&(*key).into()].to_string();
    Ok(EchoView {
        to,
        path: nodes.iter().map(name).collect(),
        asked: name(&asked),
        rtt_us: (!is_lost).then_some(rtt.as_micros() as u64),
        error: is_lost.then(|| "no reply in time".to_owned()),
    })
}

/// A graph that changes, and all that follows from it.
struct Story {
    start: Instant,
    now: Instant,
    graph: Graph,
    routings: Vec<Routing>,
}

struct Routing {
    kind: Kind,
    table: RouteTable,
    choices: BTreeMap<RouterKey, Choice>,
}

impl Story {
    fn new() -> Self {
        let mut graph = Graph::new();
        let mut regions = BTreeMap::new();
        for name in NAMES {
            let number = u32::try_from(regions.len()).unwrap();
            let region = *regions
                .entry(id(name).region().to_owned())
                .or_insert(number);
            graph.set_node(key(name), Node::serving(RegionId(region)));
        }
        let start = clock::now();
        let routing = |kind: Kind| {
            let config = RouteConfig {
                policy: kind.policy(),
                ..RouteConfig::default()
            };
            Routing {
                kind,
                table: RouteTable::new(key(FRA), config),
                choices: BTreeMap::new(),
            }
        };
        let mut story = Self {
            start,
            now: start,
            graph,
            routings: Kind::ALL.map(routing).into(),
        };
        let link = |rtt_us, loss_ppm| link(rtt_us, loss_ppm, LinkHealth::Usable);
        for (a, b, link) in [
            (FRA, IAD, link(88_412, 1_250)),
            (FRA, LON, link(12_130, 0)),
            (LON, IAD, link(80_070, 0)),
            (FRA, BOM, link(220_300, 0)),
            (FRA, HKG, link(97_000, 0)),
            (HKG, BOM, link(40_100, 15_000)),
        ] {
            story.graph.set_link(key(a), key(b), link);
            story.graph.set_link(key(b), key(a), link);
        }
        let mut busy = *story.graph.node(key(LON)).unwrap();
        busy.load = Load::from_permille(500);
        story.graph.set_node(key(LON), busy);
        let mut new = *story.graph.node(key(HKG)).unwrap();
        new.service = Service::Warming;
        story.graph.set_node(key(HKG), new);
        for routing in &mut story.routings {
            routing.table.rebuild(&story.graph);
        }
        story.offer();
        story
    }

    fn set_link(&mut self, a: &str, b: &str, rtt_us: u64, loss_ppm: u32, health: LinkHealth) {
        let link = link(rtt_us, loss_ppm, health);
        self.graph.set_link(key(a), key(b), link);
        for routing in &mut self.routings {
            routing.table.update_links(&self.graph, key(a), &[key(b)]);
        }
        self.offer();
    }

    fn offer(&mut self) {
        for routing in &mut self.routings {
            for name in NAMES.into_iter().filter(|name| *name != FRA) {
                let to = key(name);
                if routing.table.route(to).is_none() {
                    continue;
                }
                let fresh = || Choice::new(ChoiceConfig::default());
                let choice = routing.choices.entry(to).or_insert_with(fresh);
                let offer = Offer::new(&routing.table, to, choice.path());
                choice.handle_offer(self.now, offer);
                while choice.poll_output().is_some() {}
            }
        }
    }

    fn wait_until(&mut self, at_ms: u64) {
        let until = self.start + Duration::from_millis(at_ms);
        let choices = |story: &Self| {
            let choices = story
                .routings
                .iter()
                .flat_map(|routing| routing.choices.values());
            choices.filter_map(Choice::poll_timeout).min()
        };
        while let Some(at) = choices(self).filter(|at| *at <= until) {
            self.now = at;
            for choice in self
                .routings
                .iter_mut()
                .flat_map(|r| r.choices.values_mut())
            {
                choice.handle_timeout(at);
                while choice.poll_output().is_some() {}
            }
        }
        self.now = until;
    }

    fn inspection(&self, of: Option<RouterKey>) -> Inspection {
        let routes = self.routings.iter().flat_map(|routing| {
            let choices = routing.choices.iter();
            choices.map(|(to, choice)| RouteReport {
                kind: routing.kind,
                destination: (*to).into(),
                path: choice.path().copied(),
                backup: choice.path().and_then(|path| routing.table.backup(path)),
                wish: choice.wish(),
                last: choice.decisions().last().copied(),
            })
        });
        let decisions = self.routings.iter().flat_map(|routing| {
            let choice = of.and_then(|of| routing.choices.get(&of)).into_iter();
            choice.flat_map(|choice| choice.decisions().map(|d| (routing.kind, *d)))
        });
        let ids = NAMES.map(|name| (id(name).key(), id(name)));
        let releases = [FRA, IAD, LON].map(|name| (id(name).key(), "0b7c1d9e22aa".to_owned()));
        Inspection {
            at: self.now,
            own: id(FRA).key(),
            graph: self.graph.clone(),
            names: BTreeMap::from(ids),
            releases: BTreeMap::from(releases),
            routes: routes.collect(),
            decisions: decisions.collect(),
            contested: BTreeSet::from([id(OSA).key()]),
            is_warming: false,
            is_doubting: false,
        }
    }
}

fn link(rtt_us: u64, loss_ppm: u32, health: LinkHealth) -> Link {
    Link {
        measure: Some(Measure {
            rtt: Duration::from_micros(rtt_us),
            loss: Loss::from_ppm(loss_ppm),
        }),
        health,
        limit_bytes: 1_200,
    }
}

fn id(name: &str) -> NodeId {
    let (region, name) = name.split_once('/').unwrap();
    NodeId::try_new("example.org", region, name).unwrap()
}

fn key(name: &str) -> RouterKey {
    id(name).key().into()
}

const FRA: &str = "eu-west/fra-1";
const LON: &str = "eu-west/lon-1";
const IAD: &str = "us-east/iad-1";
const BOM: &str = "ap-south/bom-1";
const HKG: &str = "ap-east/hkg-1";
/// It has no link to anybody.
const OSA: &str = "ap-northeast/osa-1";
const NAMES: [&str; 6] = [FRA, LON, IAD, BOM, HKG, OSA];
