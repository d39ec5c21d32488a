//! Random graphs and random orders of events.

use proptest::prelude::*;

use super::{brute::Candidate, *};

#[derive(Debug, Clone)]
enum Event {
    Node(NodeKey, Node),
    NodeLeft(NodeKey),
    /// Links of one node, told at once.
    Links(NodeKey, Vec<(NodeKey, Link)>),
    LinkGone(NodeKey, NodeKey),
}

/// Few nodes, few regions and few different round trips, so that ties and shared regions abound.
const NODES: u64 = 7;

fn key() -> impl Strategy<Value = NodeKey> {
    // Not in the order of regions or of anything else.
    (0..NODES).prop_map(|number| NodeKey(number * 5 % 7 + 1))
}

fn node() -> impl Strategy<Value = Node> {
    let service = prop_oneof![
        4 => Just(Service::Serving),
        1 => Just(Service::Draining),
        1 => Just(Service::Warming),
    ];
    (
        0..4_u32,
        service,
        prop_oneof![Just(0), Just(500), Just(900)],
    )
        .prop_map(|(region, service, load)| Node {
            service,
            load: Load::from_permille(load),
            ..Node::serving(RegionId(region))
        })
}

fn link() -> impl Strategy<Value = Link> {
    let measure = prop_oneof![
        1 => Just(None),
        9 => (1..6_u64, prop_oneof![3 => Just(0), 1 => Just(30_000)])
            .prop_map(|(tens, loss)| measure(tens * 10, loss)),
    ];
    let health = prop_oneof![
        6 => Just(LinkHealth::Usable),
        1 => Just(LinkHealth::Suspect),
        1 => Just(LinkHealth::Down),
    ];
    (measure, health, 1_000..1_003_u16).prop_map(|(measure, health, limit_bytes)| Link {
        measure,
        health,
        limit_bytes,
    })
}

/// Mostly links, as in life; some of them before their nodes.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (key(), node()).prop_map(|(key, node)| Event::Node(key, node)),
        1 => key().prop_map(Event::NodeLeft),
        30 => (key(), prop::collection::vec((key(), link()), 1..4))
            .prop_map(|(from, links)| Event::Links(from, links)),
        3 => (key(), key()).prop_map(|(a, b)| Event::LinkGone(a, b)),
    ]
}

fn config() -> impl Strategy<Value = RouteConfig> {
    let margin = prop_oneof![Just(Margin::ZERO), Just(Margin::default())];
    let policy = prop_oneof![
        Just(CostPolicy::DelayOnly),
        Just(CostPolicy::Interactive),
        Just(CostPolicy::Bulk)
    ];
    (
        policy,
        margin,
        prop_oneof![1 => Just(1), 1 => Just(2), 4 => Just(3)],
    )
        .prop_map(|(policy, margin, max_links)| RouteConfig {
            policy,
            margin,
            max_links,
        })
}

fn apply(graph: &mut Graph, event: &Event) {
    match event {
        Event::Node(key, node) => graph.set_node(*key, *node),
        Event::NodeLeft(key) => graph.remove_node(*key),
        Event::Links(from, links) => {
            for (to, link) in links {
                graph.set_link(*from, *to, *link);
            }
        }
        Event::LinkGone(from, to) => graph.remove_link(*from, *to),
    }
}

fn update(table: &mut RouteTable, graph: &Graph, event: &Event) {
    match event {
        Event::Node(key, _) | Event::NodeLeft(key) => table.update_node(graph, *key),
        Event::Links(from, links) => {
            let peers: Vec<NodeKey> = links.iter().map(|(to, _)| *to).collect();
            table.update_links(graph, *from, &peers);
        }
        Event::LinkGone(from, to) => table.update_links(graph, *from, &[*to]),
    }
}

fn rebuilt(graph: &Graph, source: NodeKey, config: RouteConfig) -> RouteTable {
    let mut table = RouteTable::new(source, config);
    table.rebuild(graph);
    table
}

fn routes(table: &RouteTable) -> Vec<Route> {
    table.routes().copied().collect()
}

/// A path of the table as brute force describes it.
fn described(path: Option<Path>) -> Option<Candidate> {
    path.map(|path| Candidate {
        tier: path.tier(),
        cost: path.cost(),
        links: path.hops().len(),
        hops: path.hops().to_vec(),
    })
}

fn grown(events: &[Event]) -> Graph {
    let mut graph = Graph::new();
    for number in 0..NODES {
        graph.set_node(
            NodeKey(number + 1),
            Node::serving(RegionId(number as u32 % 4)),
        );
    }
    events.iter().for_each(|event| apply(&mut graph, event));
    graph
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_path_is_that_of_brute_force(
        events in prop::collection::vec(event(), 0..120),
        config in config(),
    ) {
        let graph = grown(&events);
        for (source, _) in graph.nodes() {
            let table = rebuilt(&graph, source, config);
            for (to, _) in graph.nodes().filter(|(to, _)| *to != source) {
                let all = brute::all(&graph, config, source, to);
                let direct = all.iter().find(|path| path.links == 1).cloned();
                let overlay = all.iter().find(|path| path.links > 1).cloned();
                let Some(route) = table.route(to) else {
                    prop_assert!(all.is_empty(), "{source:?} to {to:?}");
                    continue;
                };
                prop_assert_eq!(described(route.direct), direct.clone());
                prop_assert_eq!(described(route.overlay), overlay.clone());
                let primary = match (direct, overlay) {
                    (Some(direct), Some(overlay)) => {
                        let is_better = overlay.tier < direct.tier
                            || overlay.tier == direct.tier
                                && config.margin.is_better(overlay.cost, direct.cost);
                        if is_better { overlay } else { direct }
                    }
                    (direct, overlay) => direct.or(overlay).unwrap(),
                };
                prop_assert_eq!(described(Some(route.primary)), Some(primary.clone()));
                let backup = brute::backup(&graph, source, &all, &primary.hops);
                prop_assert_eq!(described(route.backup), backup);
            }
        }
    }

    /// Stated once more without the search that it is compared to above.
    #[test]
    fn no_path_loops_or_uses_a_down_link_or_a_draining_node_where_another_is(
        events in prop::collection::vec(event(), 0..120),
        config in config(),
    ) {
        let graph = grown(&events);
        for (source, _) in graph.nodes() {
            let table = rebuilt(&graph, source, config);
            for route in table.routes() {
                for path in [Some(route.primary), route.backup, route.direct, route.overlay].iter().flatten() {
                    let mut visited = vec![source];
                    for hop in path.hops() {
                        prop_assert!(!visited.contains(hop), "{} loops", path);
                        let from = visited[visited.len() - 1];
                        prop_assert_ne!(graph.health(from, *hop), LinkHealth::Down);
                        visited.push(*hop);
                    }
                }
                let is_draining = |key: &NodeKey| graph.node(*key).unwrap().service == Service::Draining;
                let all = brute::all(&graph, config, source, route.primary.destination());
                let clean = |path: &&Candidate| !path.hops[..path.links - 1].iter().any(is_draining);
                if route.primary.transit().iter().any(is_draining) {
                    prop_assert_eq!(all.iter().find(clean), None);
                }
                let apart = |path: &&Candidate| brute::is_link_disjoint(source, &path.hops, route.primary.hops());
                match &route.backup {
                    Some(backup) => {
                        prop_assert!(brute::is_link_disjoint(source, backup.hops(), route.primary.hops()));
                        if backup.transit().iter().any(is_draining) {
                            prop_assert_eq!(all.iter().filter(apart).find(clean), None);
                        }
                    }
                    None => prop_assert_eq!(all.iter().find(apart), None),
                }
            }
        }
    }

    #[test]
    fn after_every_event_the_table_is_that_of_the_graph_and_names_what_changed(
        events in prop::collection::vec(event(), 0..150),
        source in key(),
        config in config(),
    ) {
        let mut graph = Graph::new();
        let mut table = RouteTable::new(source, config);
        for event in &events {
            let before = routes(&table);
            apply(&mut graph, event);
            update(&mut table, &graph, event);
            let after = routes(&table);
            prop_assert_eq!(&after, &routes(&rebuilt(&graph, source, config)));
            for (key, _) in graph.nodes() {
                let find = |routes: &[Route]| routes.iter().find(|route| route.primary.destination() == key).copied();
                if find(&before) != find(&after) {
                    prop_assert!(table.changed().contains(&key));
                }
            }
        }
    }

    /// Nodes hear the same news in different orders, and about one thing always the last.
    #[test]
    fn nodes_that_heard_the_same_in_any_order_agree_on_every_path(
        (facts, shuffled) in prop::collection::vec(event(), 0..120)
            .prop_map(|events| {
                let graph = grown(&events);
                let nodes = graph.nodes().map(|(key, node)| Event::Node(key, *node));
                let links = graph.reports().map(|(a, b, link)| Event::Links(a, vec![(b, *link)]));
                nodes.chain(links).collect::<Vec<_>>()
            })
            .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        config in config(),
    ) {
        let keys: Vec<_> = (1..=NODES).map(NodeKey).collect();
        let fed = |events: &[Event]| {
            let mut graph = Graph::new();
            let mut tables: Vec<_> = keys.iter().map(|&key| RouteTable::new(key, config)).collect();
            for event in events {
                apply(&mut graph, event);
                tables.iter_mut().for_each(|table| update(table, &graph, event));
            }
            tables
        };
        for (one, other) in fed(&facts).iter().zip(fed(&shuffled)) {
            prop_assert_eq!(routes(one), routes(&other));
        }
    }
}
