//! What computing and looking up routes costs.
//!
//! The meshes are as nodes make them: all of the own region up to 16, two links to each other
//! region. Thirty nodes are in a region, or a tenth of them in small meshes.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use router::{
    cost::{Loss, Measure},
    graph::{Graph, Link, LinkHealth, Node, NodeKey, RegionId},
    paths::{RouteConfig, RouteTable},
};

/// A mesh, and a generator for what is random in it.
struct Mesh {
    graph: Graph,
    keys: Vec<NodeKey>,
    random: u64,
}

impl Mesh {
    fn new(nodes: usize) -> Self {
        Self::in_regions(nodes, if nodes < 300 { 10 } else { nodes / 30 })
    }

    fn in_regions(nodes: usize, regions: usize) -> Self {
        let mut mesh = Self {
            graph: Graph::new(),
            keys: Vec::new(),
            random: 1,
        };
        for number in 0..nodes {
            let key = NodeKey(mesh.next());
            mesh.keys.push(key);
            let region = RegionId((number % regions) as u32);
            mesh.graph.set_node(key, Node::serving(region));
        }
        for number in 0..nodes {
            let near = (1..=8).map(|step| (number + step * regions) % nodes);
            let far = (0..regions).filter(|region| *region != number % regions);
            let members = nodes / regions;
            let far: Vec<_> = far
                .map(|region| region + regions * (mesh.next() as usize % members))
                .collect();
            for other in near.chain(far).filter(|other| *other != number) {
                let rtt_ms = 1 + mesh.next() % 300;
                mesh.link(number, other, rtt_ms);
            }
        }
        mesh
    }

    fn link(&mut self, a: usize, b: usize, rtt_ms: u64) {
        let (a, b) = (self.keys[a], self.keys[b]);
        let link = Link {
            measure: Some(Measure {
                rtt: Duration::from_millis(rtt_ms),
                loss: Loss::NONE,
            }),
            health: LinkHealth::Usable,
            limit_bytes: 1_200,
        };
        self.graph.set_link(a, b, link);
        self.graph.set_link(b, a, link);
    }

    fn table(&self) -> RouteTable {
        let mut table = RouteTable::new(self.keys[0], RouteConfig::default());
        table.rebuild(&self.graph);
        table
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// All routes from nothing but the graph.
fn rebuild(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rebuild");
    for nodes in [10, 100, 300, 1_000] {
        let mesh = Mesh::new(nodes);
        let mut table = mesh.table();
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| table.rebuild(black_box(&mesh.graph)));
        });
    }
    group.finish();
}

/// The same between two regions alone, where no backup shares nothing with its primary.
fn rebuild_two_regions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rebuild in two regions");
    for nodes in [100, 300] {
        let mesh = Mesh::in_regions(nodes, 2);
        let mut table = mesh.table();
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| table.rebuild(black_box(&mesh.graph)));
        });
    }
    group.finish();
}

/// The measure of one link changes: one of our own, a neighbour's, one between strangers.
fn update(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    for nodes in [100, 1_000] {
        let mut mesh = Mesh::new(nodes);
        let own = mesh.keys[0];
        let peers = |graph: &Graph, key| -> Vec<NodeKey> {
            graph.links(key).map(|(peer, _)| peer).collect()
        };
        let neighbours = peers(&mesh.graph, own);
        let neighbour = neighbours[0];
        let is_far = |key: &NodeKey| *key != own && !neighbours.contains(key);
        let second = *peers(&mesh.graph, neighbour)
            .iter()
            .find(|key| is_far(key))
            .expect("the mesh is sparse");
        let (far, farther) = mesh
            .graph
            .reports()
            .map(|(from, to, _)| (from, to))
            .find(|(from, to)| is_far(from) && is_far(to))
            .expect("the mesh is sparse");
        for (name, a, b) in [
            ("own", own, neighbour),
            ("neighbour", neighbour, second),
            ("far", far, farther),
        ] {
            let mut table = mesh.table();
            let place = |key| {
                mesh.keys
                    .iter()
                    .position(|other| *other == key)
                    .expect("is a node")
            };
            let (a_place, b_place) = (place(a), place(b));
            let graphs = [100, 101].map(|rtt_ms| {
                mesh.link(a_place, b_place, rtt_ms);
                mesh.graph.clone()
            });
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name, nodes), |bencher| {
                bencher.iter(|| {
                    turn = 1 - turn;
                    table.update_links(black_box(&graphs[turn]), a, &[b]);
                });
            });
        }
    }
    group.finish();
}

/// The load of one neighbour changes.
fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    for nodes in [100, 1_000] {
        let mut mesh = Mesh::new(nodes);
        let mut table = mesh.table();
        let key = mesh.graph.links(mesh.keys[0]).next().expect("has links").0;
        let mut node = *mesh.graph.node(key).expect("is a node");
        let mut permille = 0;
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| {
                permille = (permille + 100) % 1_000;
                node.load = router::cost::Load::from_permille(permille);
                mesh.graph.set_node(key, node);
                table.update_node(&mesh.graph, key);
            });
        });
    }
    group.finish();
}

/// Finding the route to a node, a different one each time.
fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for nodes in [10, 100, 1_000] {
        let mut mesh = Mesh::new(nodes);
        let table = mesh.table();
        let keys = mesh.keys.clone();
        let asked: Vec<NodeKey> = (0..4_096)
            .map(|_| keys[mesh.next() as usize % nodes])
            .collect();
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % asked.len();
                table
                    .route(black_box(asked[turn]))
                    .map(|route| route.primary.hops()[0])
            });
        });
    }
    group.finish();
}

/// Which node of a region takes a flow.
fn pick(criterion: &mut Criterion) {
    let mut mesh = Mesh::new(1_000);
    let table = mesh.table();
    criterion.bench_function("pick/30 of 1000", |bencher| {
        bencher.iter(|| table.pick(RegionId(5), black_box(mesh.next()), None, |_| true));
    });
}

criterion_group!(
    routes,
    rebuild,
    rebuild_two_regions,
    update,
    load,
    lookup,
    pick
);
criterion_main!(routes);
