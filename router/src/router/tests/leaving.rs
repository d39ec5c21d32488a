//! What a mesh makes of a node that says it leaves.

use super::*;

/// What all but `node` last heard of it, and how often each of them lost it.
fn heard_of(mesh: &Mesh, leaver: NodeKey) -> Vec<Option<u64>> {
    let others = (0..3).map(node).filter(|other| *other != leaver);
    let generation = |other| {
        let advert = mesh.router(other).gossip().advert(leaver)?;
        Some(advert.value().version().generation)
    };
    others.map(generation).collect()
}

fn farewells(mesh: &Mesh) -> Vec<Farewell> {
    let facts = mesh.facts.iter();
    let gone = facts.filter_map(|(_, _, fact)| match fact {
        Output::Gone(_, farewell) => Some(*farewell),
        _ => None,
    });
    gone.collect()
}

fn said(mesh: &Mesh, by: NodeKey) -> u64 {
    let advert = mesh.router(by).gossip().advert(by).unwrap();
    advert.value().version().sequence
}

#[test]
fn node_that_leaves_is_gone_in_the_time_of_a_packet_and_dialed_by_nobody_for_an_hour() {
    let mut mesh = triangle();
    let said_before = [said(&mesh, node(0)), said(&mesh, node(2))];
    mesh.leave(node(1));
    // Half the longest round trip, to Sydney: nobody has time to ask.
    mesh.run(ms(128) + REBUILD_AFTER);
    assert_eq!(farewells(&mesh), [Farewell::Left; 2]);
    assert_eq!(heard_of(&mesh, node(1)), [None, None]);
    for other in [node(0), node(2)] {
        assert_eq!(mesh.path(other, node(1)), None);
    }
    // Its links go on working for as long as it is there, and that is news to nobody.
    for rtt_ms in [100, 300, 100] {
        mesh.run(ms(100));
        mesh.measure(node(0), node(1), rtt_ms);
    }
    mesh.kill(node(1));
    mesh.facts.clear();
    mesh.run(secs(70));
    for (other, before) in [node(0), node(2)].into_iter().zip(said_before) {
        assert!(said(&mesh, other) <= before + 2, "one of them a refresh");
    }
    mesh.run(secs(3_600));
    let is_wanted = |fact: &Output| matches!(fact, Output::Want(peer) if *peer == node(1));
    assert!(!mesh.facts.iter().any(|(_, _, fact)| is_wanted(fact)));
    assert_eq!(farewells(&mesh), []);
}

#[test]
fn node_that_starts_again_is_back_everywhere_however_soon_after_its_last_word() {
    for after in [0, 1, 40, 60, 100, 130, 300, 1_000] {
        let mut mesh = triangle();
        mesh.leave(node(1));
        mesh.run(ms(after));
        mesh.start(node(1), 1, 2);
        mesh.link(node(1), node(0), 85);
        mesh.run(secs(2));
        assert_eq!(heard_of(&mesh, node(1)), [Some(2); 2], "after {after} ms");
        mesh.link(node(1), node(2), 255);
        mesh.run(secs(20));
        for (from, to) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
            let path = mesh.path(node(from), node(to));
            assert_eq!(
                path,
                Some(vec![node(to)]),
                "{from} to {to} after {after} ms"
            );
        }
        mesh.run(secs(600));
        assert_eq!(heard_of(&mesh, node(1)), [Some(2); 2], "after {after} ms");
    }
}

#[test]
fn pair_that_was_linked_before_its_node_is_heard_of_again_is_in_use_once_it_is() {
    let mut mesh = triangle();
    mesh.leave(node(1));
    mesh.run(secs(1));
    mesh.start(node(1), 1, 2);
    mesh.link(node(1), node(0), 85);
    assert_eq!(mesh.path(node(0), node(1)), None, "it is not heard of yet");
    // Nothing about the pair changes from here on.
    mesh.run(secs(2));
    assert_eq!(mesh.path(node(0), node(1)), Some(vec![node(1)]));
}

#[test]
fn node_that_leaves_does_not_outbid_who_runs_in_its_name_since() {
    let mut mesh = triangle();
    mesh.leave(node(1));
    let now = mesh.now;
    mesh.router_mut(node(1)).handle_generation(now, 9);
    mesh.run(secs(300));
    let version = mesh.router(node(1)).publisher.version();
    assert_eq!(version.generation, 1);
}
