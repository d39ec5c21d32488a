//! What a mesh of routers does together.

mod leaving;
mod mesh;
mod votes;

use self::mesh::Mesh;
use super::*;
use crate::{
    choice::Reason,
    cost::{Loss, Measure},
    health::Condition,
};

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn node(index: usize) -> NodeKey {
    NodeKey(100 + index as u64)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Three regions with a node each: Ohio, Ireland and Sydney, with AWS's round trips.
fn triangle() -> Mesh {
    Mesh::full(&[0, 1, 2], |a, b| match (a, b) {
        (0, 1) => 85,
        (0, 2) => 190,
        _ => 255,
    })
}

#[test]
fn mesh_learns_of_all_and_takes_direct_paths_with_a_backup_over_the_third() {
    let mesh = triangle();
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            let third = 3 - from - to;
            assert_eq!(mesh.path(node(from), node(to)), Some(vec![node(to)]));
            let backup = mesh.backup(node(from), node(to)).unwrap();
            assert_eq!(backup.hops(), [node(third), node(to)]);
        }
    }
}

#[test]
fn traffic_leaves_a_confirmed_link_in_the_same_moment_and_returns_within_fifteen_seconds() {
    let mut mesh = triangle();
    mesh.judge(node(0), node(1), Condition::Confirmed);
    assert_eq!(
        mesh.path(node(0), node(1)),
        Some(vec![node(2), node(1)]),
        "without waiting for anybody"
    );
    assert_eq!(mesh.path(node(1), node(0)), Some(vec![node(2), node(0)]));
    mesh.run(secs(10));
    let healed = mesh.now;
    mesh.judge(node(0), node(1), Condition::Degraded);
    mesh.run(secs(3));
    mesh.judge(node(0), node(1), Condition::Up);
    mesh.run(secs(12));
    assert!(mesh.now <= healed + secs(15));
    assert_eq!(mesh.path(node(0), node(1)), Some(vec![node(1)]));
    let moved = mesh.now;
    mesh.run(secs(60));
    assert_eq!(mesh.moves(moved), 0);
}

#[test]
fn third_node_that_says_its_link_is_down_is_not_passed_through() {
    let mut mesh = triangle();
    mesh.judge(node(2), node(1), Condition::Down);
    mesh.run(secs(2));
    assert_eq!(mesh.backup(node(0), node(1)), None);
    mesh.judge(node(2), node(1), Condition::Up);
    mesh.run(secs(2));
    assert!(mesh.backup(node(0), node(1)).is_some());
}

#[test]
fn hop_that_cannot_go_on_is_left_at_once_and_believed_again_after_five_seconds() {
    let mut mesh = triangle();
    mesh.judge(node(0), node(1), Condition::Confirmed);
    let now = mesh.now;
    mesh.router_mut(node(0))
        .handle_unreachable(now, node(2), node(1));
    // The suspect link is better than a way that does not go on.
    assert_eq!(mesh.path(node(0), node(1)), Some(vec![node(1)]));
    mesh.run(UNREACHABLE_FOR + secs(3));
    assert_eq!(mesh.path(node(0), node(1)), Some(vec![node(2), node(1)]));
}

#[test]
fn hop_that_could_not_go_on_is_believed_again_once_its_node_says_something_new() {
    let mut mesh = triangle();
    mesh.judge(node(0), node(1), Condition::Confirmed);
    let now = mesh.now;
    mesh.router_mut(node(0))
        .handle_unreachable(now, node(2), node(1));
    let link = |mesh: &Mesh| mesh.router(node(0)).graph().health(node(2), node(1));
    mesh.run(ms(500));
    assert_eq!(link(&mesh), LinkHealth::Down);
    mesh.say_load(node(2), 700);
    mesh.run(ms(500));
    assert_eq!(link(&mesh), LinkHealth::Usable);
}

#[test]
fn reports_of_hops_that_nobody_has_are_not_kept() {
    let mut mesh = triangle();
    let now = mesh.now;
    for nobody in 0..10_000 {
        let router = mesh.router_mut(node(0));
        router.handle_unreachable(now, NodeKey(nobody * 1_000), node(1));
        router.handle_unreachable(now, node(2), NodeKey(nobody * 1_000));
    }
    assert!(mesh.router(node(0)).unreachable.is_empty());
}

/// F12: a short event must not leave a region isolated after it is over.
#[test]
fn region_that_was_cut_off_for_a_moment_has_its_direct_paths_again_within_fifteen_seconds() {
    for cut in [ms(900), secs(5), secs(60)] {
        let mut mesh = triangle();
        mesh.judge_all(node(2), Condition::Down);
        mesh.run(cut);
        let healed = mesh.now;
        mesh.judge_all(node(2), Condition::Degraded);
        mesh.run(secs(3));
        mesh.judge_all(node(2), Condition::Up);
        mesh.run(healed + secs(15) - mesh.now);
        for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
            let path = mesh.path(node(from), node(to));
            assert_eq!(path, Some(vec![node(to)]), "{from} to {to} after {cut:?}");
        }
    }
}

/// F15: who sees all others vanish is the likelier cause, and says nothing of them.
#[test]
fn node_whose_own_network_is_gone_tells_nobody_that_the_others_are() {
    let mut mesh = Mesh::full(&[0, 0, 1, 1, 2, 2], |a, b| if a == b { 1 } else { 100 });
    let alone = node(0);
    let told = |mesh: &Mesh| {
        let advert = mesh.router(alone).gossip().advert(alone).unwrap();
        let links = advert.value().content().links.values();
        links.filter(|link| link.health == LinkHealth::Down).count()
    };
    let start = mesh.now;
    mesh.judge_all(alone, Condition::Confirmed);
    mesh.run(ms(400));
    mesh.judge_all(alone, Condition::Down);
    mesh.run(secs(5));
    assert_eq!(told(&mesh), 0);
    let doubted = mesh.facts.iter().filter(|(at, _, _)| *at > start);
    let doubted: Vec<_> = doubted
        .filter(|(_, _, fact)| matches!(fact, Output::Doubting(true)))
        .map(|(_, node, _)| *node)
        .collect();
    assert_eq!(doubted, [alone], "and nobody else doubts itself");
    // It is still what others know it as, and so are they to it.
    assert_eq!(mesh.router(alone).graph().nodes().count(), 6);
    // The others go on among themselves as if nothing was.
    assert_eq!(mesh.path(node(1), node(2)), Some(vec![node(2)]));
    mesh.judge_all(alone, Condition::Up);
    mesh.run(secs(15));
    assert_eq!(told(&mesh), 0);
    assert_eq!(mesh.path(node(2), alone), Some(vec![alone]));
}

/// F16: those who restart together must not take their own ignorance for the others' absence.
#[test]
fn nodes_that_restart_together_forget_nobody_and_are_back_within_seconds() {
    let regions = [0, 0, 1, 1, 2, 2, 3, 3];
    let mut mesh = Mesh::full(&regions, |a, b| if a == b { 1 } else { 100 });
    let start = mesh.now;
    for restarted in [0, 2, 4, 6] {
        mesh.start(node(restarted), regions[restarted], 2);
    }
    mesh.run(ms(500));
    for restarted in [0, 2, 4, 6] {
        for other in (0..8).filter(|other| *other != restarted) {
            let (a, b) = (node(restarted), node(other));
            let rtt = if regions[restarted] == regions[other] {
                1
            } else {
                100
            };
            if !mesh.peers(a).contains(&b) {
                mesh.link(a, b, rtt);
            }
        }
        mesh.run(ms(250));
    }
    let all = |mesh: &Mesh, what: &dyn Fn(Option<Vec<NodeKey>>, NodeKey) -> bool| {
        let pairs = (0..8).flat_map(|from| (0..8).map(move |to| (node(from), node(to))));
        let mut pairs = pairs.filter(|(from, to)| from != to);
        pairs.all(|(from, to)| what(mesh.path(from, to), to))
    };
    mesh.run(secs(1));
    assert!(all(&mesh, &|path, _| path.is_some()));
    mesh.run(secs(14));
    assert!(all(&mesh, &|path, to| path == Some(vec![to])));
    let gone = mesh.facts.iter().filter(|(at, _, _)| *at > start);
    let gone = gone.filter(|(_, _, fact)| matches!(fact, Output::Gone(..)));
    assert_eq!(gone.count(), 0);
}

#[test]
fn flapping_link_moves_traffic_a_bounded_number_of_times_at_any_period() {
    for period_ms in [1_000, 3_000, 8_000, 20_000, 60_000] {
        let mut mesh = triangle();
        let start = mesh.now;
        while mesh.now < start + secs(120) {
            for condition in [Condition::Down, Condition::Up] {
                mesh.judge(node(0), node(1), condition);
                mesh.run(ms(period_ms / 2));
            }
        }
        // Both ends move by themselves; pairs damp themselves before they get here.
        let moves = mesh.moves(start);
        assert!(
            moves <= 2 * 13 * 2,
            "{moves} with a period of {period_ms} ms"
        );
    }
}

#[test]
fn node_that_leaves_is_no_destination_and_no_hop_any_more() {
    let mut mesh = triangle();
    mesh.kill(node(2));
    mesh.run(ms(500));
    assert_eq!(mesh.path(node(0), node(2)), None);
    assert_eq!(mesh.backup(node(0), node(1)), None);
    mesh.run(gossip::EXPIRY + secs(130));
    assert!(mesh.router(node(0)).graph().node(node(2)).is_none());
    let routes = mesh.router(node(0)).routes(Traffic::Interactive);
    assert_eq!(
        routes.map(|route| route.destination).collect::<Vec<_>>(),
        [node(1)]
    );
}

/// F11: a node that answers and brings nothing about is found by what it does.
#[test]
fn node_that_fails_what_it_is_asked_is_ejected_and_comes_back_and_never_more_than_half_are() {
    let mut mesh = Mesh::full(&[0, 1, 1, 1, 1], |a, b| if a == b { 1 } else { 100 });
    let ejected = |mesh: &Mesh| {
        let nodes = mesh.router(node(0)).graph().nodes();
        nodes.filter(|(_, node)| node.ejected).count()
    };
    for failing in [1, 2, 3, 4] {
        for _ in 0..10 {
            mesh.fail(node(0), node(failing));
            mesh.run(ms(10));
        }
    }
    assert_eq!(ejected(&mesh), 2);
    assert_eq!(ejected(&mesh), mesh.verdicts());
    // What it says of itself brings no node back.
    for failing in [1, 2, 3, 4] {
        mesh.say_load(node(failing), 700);
    }
    mesh.run(secs(5));
    let nodes = mesh.router(node(0)).graph().nodes();
    let told = nodes.filter(|(_, node)| node.load.as_permille() == 700);
    assert_eq!(told.count(), 4);
    assert_eq!(ejected(&mesh), 2);
    mesh.run(secs(6));
    assert_eq!(ejected(&mesh), 0);
    assert_eq!(mesh.verdicts(), 4);
    // It is still a hop, and a destination for whoever means it.
    assert!(mesh.path(node(0), node(1)).is_some());
}

#[test]
fn routes_are_published_anew_when_a_node_does_more_or_is_ejected_though_no_path_moves() {
    let mut mesh = Mesh::full(&[0, 1, 1], |a, b| if a == b { 1 } else { 100 });
    mesh.run(secs(30));
    let published = |mesh: &Mesh, from: Instant| {
        let facts = mesh.facts.iter();
        let facts = facts.filter(|(at, at_node, _)| *at > from && *at_node == node(0));
        let is_published = |fact: &Output| matches!(fact, Output::Rerouted(_));
        facts.filter(|(_, _, fact)| is_published(fact)).count()
    };
    let before = mesh.now;
    mesh.run(secs(10));
    assert_eq!(published(&mesh, before), 0);
    let before = mesh.now;
    mesh.run(ms(1));
    mesh.say_load(node(1), 700);
    mesh.run(secs(5));
    assert!(published(&mesh, before) >= Traffic::ALL.len());
    let before = mesh.now;
    mesh.run(ms(1));
    for _ in 0..5 {
        mesh.fail(node(0), node(2));
    }
    assert!(published(&mesh, before) >= Traffic::ALL.len());
}

#[test]
fn node_that_is_forgotten_counts_for_no_half_of_its_region() {
    let mut mesh = Mesh::full(&[0, 1, 1, 1, 1], |a, b| if a == b { 1 } else { 100 });
    mesh.kill(node(3));
    mesh.kill(node(4));
    mesh.run(gossip::EXPIRY + secs(130));
    for failing in [1, 2] {
        for _ in 0..10 {
            mesh.fail(node(0), node(failing));
        }
    }
    assert_eq!(mesh.verdicts(), 1);
}

#[test]
fn story_of_a_failover_is_told_with_its_reasons() {
    let mut mesh = triangle();
    mesh.judge(node(0), node(1), Condition::Confirmed);
    mesh.run(secs(5));
    mesh.judge(node(0), node(1), Condition::Up);
    mesh.run(secs(15));
    let decisions = mesh
        .router(node(0))
        .decisions(Traffic::Interactive, node(1));
    let reasons: Vec<_> = decisions.map(|decision| decision.reason).collect();
    assert_eq!(
        reasons,
        [Reason::Found, Reason::Suspect, Reason::DirectWell]
    );
}

/// A router alone, with as many links that are well, all reported.
fn linked(links: u64, now: Instant) -> Router {
    let mut mesh = Mesh::new();
    mesh.start(node(0), 0, 1);
    let mut router = mesh.take(node(0));
    for peer in 0..links {
        router.handle_pair(now, NodeKey(1_000 + peer), well(85));
    }
    // Past the least time between two statements about figures, and what is urgent is paid for.
    for second in 0..30 {
        router.handle_timeout(now + secs(second));
    }
    while router.poll_output().is_some() {}
    router
}

fn well(rtt_ms: u64) -> Pair {
    Pair {
        linked: true,
        condition: Condition::Up,
        measure: Some(Measure {
            rtt: ms(rtt_ms),
            loss: Loss::NONE,
        }),
        limit_bytes: 1_200,
    }
}

fn is_told(router: &mut Router) -> bool {
    let mut outputs = std::iter::from_fn(|| router.poll_output());
    outputs.any(|output| matches!(output, Output::Sign(_)))
}

#[test]
fn figures_of_links_wait_a_tenth_of_a_second_for_each_other_and_facts_do_not_wait() {
    let start = origin();
    let mut router = linked(3, start);
    let now = start + secs(30);
    router.handle_pair(now, NodeKey(1_000), well(185));
    router.handle_pair(now + ms(50), NodeKey(1_001), well(185));
    assert!(!is_told(&mut router));
    assert_eq!(router.poll_timeout(), now + PUBLISH_AFTER);
    router.handle_timeout(now + PUBLISH_AFTER);
    assert!(is_told(&mut router), "both at once");
    let silent = Pair {
        condition: Condition::Confirmed,
        ..well(185)
    };
    router.handle_pair(now + secs(1), NodeKey(1_002), silent);
    assert!(is_told(&mut router));
}

#[test]
fn same_figures_again_arm_no_timer() {
    let start = origin();
    let mut router = linked(3, start);
    let armed = router.poll_timeout();
    router.handle_pair(start + secs(29), NodeKey(1_000), well(85));
    assert_eq!(router.poll_timeout(), armed);
}
