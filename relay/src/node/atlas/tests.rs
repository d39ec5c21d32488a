use router::{
    choice::Reason,
    cost::Load,
    graph::{Graph, Node, RegionId},
    paths::{RouteConfig, RouteTable},
};

use super::*;
use crate::{clock, id::NodeId};

/// Nodes of one letter, in the region of another, of which the first is asked.
fn inspection(nodes: &[(&str, &str)]) -> Inspection {
    let mut graph = Graph::new();
    for (region, name) in nodes {
        let number = RegionId(u32::from(region.as_bytes()[0]));
        graph.set_node(id(region, name).key().into(), Node::serving(number));
    }
    let ids = nodes.iter().map(|(region, name)| id(region, name));
    Inspection {
        at: clock::now(),
        own: id(nodes[0].0, nodes[0].1).key(),
        graph,
        names: ids.map(|id| (id.key(), id)).collect(),
        releases: BTreeMap::new(),
        routes: Vec::new(),
        decisions: Vec::new(),
        contested: std::collections::BTreeSet::new(),
        is_warming: true,
        is_doubting: false,
    }
}

fn id(region: &str, name: &str) -> NodeId {
    NodeId::try_new("example.org", region, name).unwrap()
}

fn key(of: &Inspection, name: &str) -> RouterKey {
    let id = of.names.values().find(|id| id.name() == name).unwrap();
    id.key().into()
}

/// One direction of a link.
fn set(of: &mut Inspection, from: &str, to: &str, rtt_ms: u64, health: LinkHealth) {
    let link = Link {
        measure: (rtt_ms > 0).then_some(Measure {
            rtt: Duration::from_millis(rtt_ms),
            loss: Loss::from_ppm(u32::try_from(rtt_ms).unwrap() * 100),
        }),
        health,
        limit_bytes: 1_200,
    };
    let (from, to) = (key(of, from), key(of, to));
    of.graph.set_link(from, to, link);
}

fn both(of: &mut Inspection, a: &str, b: &str, rtt_ms: u64, health: LinkHealth) {
    set(of, a, b, rtt_ms, health);
    set(of, b, a, rtt_ms, health);
}

const OK: LinkHealth = LinkHealth::Usable;

#[test]
fn regions_have_their_shortest_round_trip_largest_loss_and_worst_link() {
    let mut of = inspection(&[("x", "a"), ("x", "b"), ("y", "c")]);
    both(&mut of, "a", "c", 40, OK);
    set(&mut of, "b", "c", 90, OK);
    set(&mut of, "c", "b", 80, LinkHealth::Suspect);
    // Only one end has reported this one.
    set(&mut of, "a", "b", 0, OK);
    let mesh = mesh(&of);
    let between = |a: &str, b: &str, links, rtt_us, loss, health: &str| RegionsView {
        a: a.to_owned(),
        b: b.to_owned(),
        links,
        rtt_us,
        loss,
        health: health.to_owned(),
    };
    assert_eq!(
        mesh.regions,
        [
            between("x", "x", 1, None, None, "ok"),
            between("x", "y", 2, Some(40_000), Some(0.009), "suspect"),
        ]
    );
    // The end that is well says so still.
    let report = mesh
        .links
        .iter()
        .find(|l| (&*l.from, &*l.to) == ("x/b", "y/c"));
    assert_eq!(report.unwrap().health, "ok");
    assert!(mesh.warming && !mesh.doubting);
}

#[test]
fn link_that_is_down_is_shown_and_not_counted() {
    let mut of = inspection(&[("x", "a"), ("y", "b")]);
    both(&mut of, "a", "b", 10, OK);
    let counts = |of: &Inspection| mesh(of).nodes.iter().map(|n| n.links).collect::<Vec<_>>();
    assert_eq!(counts(&of), [1, 1]);
    set(&mut of, "b", "a", 10, LinkHealth::Down);
    assert_eq!(counts(&of), [0, 0]);
    assert_eq!(mesh(&of).regions[0].health, "down");
}

#[test]
fn reports_about_a_node_that_is_not_known_are_left_out_and_one_without_a_name_has_its_key() {
    let mut of = inspection(&[("x", "a"), ("y", "b")]);
    both(&mut of, "a", "b", 10, OK);
    let b = key(&of, "b");
    of.names.remove(&b.into());
    let shown = mesh(&of);
    let name = NodeKey::from(b).to_string();
    assert!(
        shown
            .nodes
            .iter()
            .any(|node| node.name == name && node.region == "?")
    );
    of.graph.remove_node(b);
    let shown = mesh(&of);
    assert_eq!(
        (shown.nodes.len(), shown.links.len(), shown.regions.len()),
        (1, 0, 0)
    );
}

#[test]
fn links_of_the_path_in_use_that_are_not_measured_are_counted() {
    let mut of = inspection(&[("x", "a"), ("y", "b"), ("z", "c")]);
    both(&mut of, "a", "b", 10, OK);
    set(&mut of, "b", "c", 0, OK);
    // Nothing is sent in this direction.
    set(&mut of, "c", "b", 0, OK);
    let (b, c) = (key(&of, "b"), key(&of, "c"));
    for (to, unmeasured) in [(b, 0), (c, 1)] {
        let route = RouteReport {
            path: path(&of, to, false),
            ..unreached(to.into(), Kind::Interactive)
        };
        assert_eq!(of.route(&route).unmeasured_links, unmeasured);
    }
}

/// The direct path, or the best overlay path.
fn path(of: &Inspection, to: RouterKey, is_direct: bool) -> Option<Path> {
    let mut table = RouteTable::new(of.own.into(), RouteConfig::default());
    table.rebuild(&of.graph);
    let route = table.route(to)?;
    match is_direct {
        true => route.direct,
        false => route.overlay.or(route.direct),
    }
}

#[test]
fn every_reason_has_its_words_and_the_figures_that_drove_it() {
    let mut of = inspection(&[("x", "a"), ("y", "b"), ("z", "c")]);
    both(&mut of, "a", "c", 200, OK);
    both(&mut of, "a", "b", 40, OK);
    both(&mut of, "b", "c", 60, OK);
    let mut busy = *of.graph.node(key(&of, "b")).unwrap();
    busy.load = Load::from_permille(500);
    of.graph.set_node(key(&of, "b"), busy);
    let to = key(&of, "c");
    let (direct, overlay) = (path(&of, to, true), path(&of, to, false));
    let words = |reason, from, to, direct| {
        words::briefly(&Decision {
            at: of.at,
            reason,
            from,
            to,
            direct,
            overlay,
            waited: Duration::ZERO,
            doublings: 0,
        })
    };
    for (reason, from, to, said) in [
        (Reason::Found, None, direct, "first path found"),
        (Reason::Found, None, overlay, "98.0 ms better than direct"),
        (Reason::Lost, direct, None, "no path is left"),
        (Reason::Lost, direct, overlay, "direct link down"),
        (Reason::Lost, overlay, direct, "last path broke"),
        (Reason::Suspect, direct, overlay, "direct link suspect"),
        (Reason::Suspect, overlay, direct, "last path suspect"),
        (Reason::Draining, overlay, direct, "last path drains"),
        (
            Reason::Sounder,
            overlay,
            direct,
            "last path was a last resort",
        ),
        (Reason::Better, direct, overlay, "98.0 ms better"),
        (Reason::DirectWell, overlay, direct, "direct is well again"),
    ] {
        assert_eq!(words(reason, from, to, direct), said, "{reason:?}");
    }
    assert_eq!(words(Reason::Found, None, overlay, None), "no direct link");
    set(&mut of, "a", "c", 200, LinkHealth::Suspect);
    let suspect = path(&of, to, true);
    let decision = |direct| Decision {
        at: of.at,
        reason: Reason::Found,
        from: None,
        to: overlay,
        direct,
        overlay,
        waited: Duration::ZERO,
        doublings: 0,
    };
    assert_eq!(words::briefly(&decision(suspect)), "direct link suspect");
    let said = "the first path that was found; direct link suspect";
    assert_eq!(words::fully(&decision(suspect)), said);
}
