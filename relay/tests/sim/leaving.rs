//! What a mesh makes of a node that ends in order, and what is left of the node.

use std::{sync::Arc, time::Duration};

use causeway::{clock, counts::GoneReason};

use crate::{
    diamond::Diamond,
    fleet::{Member, ms, sleep},
    mesh::{FARTHEST, World, no_tables},
    traffic::{UdpEcho, UdpFlow, start_tcp_echo, tcp_round_trip},
};

fn left(world: &World, at: Member) -> u64 {
    let gone = &world.fleet.mesh(at).counts.nodes_gone;
    assert_eq!(gone.value(GoneReason::Expired), 0);
    gone.value(GoneReason::Left)
}

async fn until_left(world: &World, others: &[Member], within: Duration) -> Duration {
    let all_know = || others.iter().all(|node| left(world, *node) == 1);
    world.fleet.until("all know", within, all_know).await
}

#[tokio::test(start_paused = true)]
async fn node_that_ends_is_forgotten_everywhere_before_its_links_close_and_is_not_dialed() {
    let mut world = World::settled(190, 3, 2, no_tables).await;
    let x = world.nodes[3];
    let others = world.others(&[x]);
    let began = clock::now();
    assert!(world.fleet.shutdown(x, ms(5_000)).await.is_empty());
    let took = clock::now() - began;
    // Two round trips and 50 ms for the last word, and what the closes take to leave.
    assert!(took <= 2 * FARTHEST + ms(50 + 500), "{took:?}");
    until_left(&world, &others, ms(0)).await;
    world.until_unrouted(x, ms(0)).await;
    world.fleet.kill(x);
    world.assert_direct_for(ms(10_000), &others).await;
    let sent = || -> Vec<u64> {
        let to_it = |node: &Member| {
            let (from, to) = (world.fleet.machine(*node), world.fleet.machine(x));
            world.fleet.sim.pair_counters(from, to).received
        };
        others.iter().map(to_it).collect()
    };
    let before = sent();
    // Longer than it takes to forget one that said nothing.
    sleep(ms(400_000)).await;
    assert_eq!(sent(), before);
    assert!(others.iter().all(|node| left(&world, *node) == 1));
    world.assert_healthy(&others);
}

#[tokio::test(start_paused = true)]
async fn node_that_starts_again_within_the_second_is_back_as_its_new_generation() {
    for after in [0, 50, 700] {
        let mut world = World::settled(191, 3, 2, no_tables).await;
        let x = world.nodes[3];
        let others = world.others(&[x]);
        let before = world.fleet.mesh(x).generation();
        assert!(world.fleet.shutdown(x, ms(5_000)).await.is_empty());
        world.fleet.kill(x);
        sleep(ms(after)).await;
        world.fleet.start(x).await;
        assert!(world.fleet.mesh(x).generation() > before);
        world.until_routed(ms(2_000)).await;
        world.until_direct(ms(20_000)).await;
        world.assert_direct_for(ms(30_000), &world.nodes).await;
        assert!(others.iter().all(|node| left(&world, *node) == 1));
        world.assert_healthy(&world.nodes);
    }
}

#[tokio::test(start_paused = true)]
async fn end_with_a_deadline_that_is_too_short_for_a_last_word_is_by_that_deadline() {
    let mut world = World::settled(192, 3, 2, no_tables).await;
    let x = world.nodes[3];
    let began = clock::now();
    world.fleet.shutdown(x, ms(40)).await;
    let took = clock::now() - began;
    assert!(took <= ms(42), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn last_word_that_one_node_hears_is_known_everywhere() {
    let mut world = World::settled(194, 3, 2, no_tables).await;
    let x = world.nodes[3];
    let others = world.others(&[x]);
    for node in &others[1..] {
        let fleet = &world.fleet;
        fleet.sim.cut_both(fleet.machine(x), fleet.machine(*node));
    }
    world.fleet.shutdown(x, ms(5_000)).await;
    // Sooner than silence says anything.
    until_left(&world, &others, ms(0)).await;
}

#[tokio::test(start_paused = true)]
async fn node_leaves_no_memory_behind_whether_it_ends_in_order_or_is_killed() {
    let mut scene = Diamond::new(193).await;
    let Diamond { i, m, n, e, .. } = scene;
    let _echoes = (
        UdpEcho::start(&scene.fleet, e),
        start_tcp_echo(&scene.fleet, e),
    );
    let _flow = UdpFlow::start(&scene.fleet, i, 6000, ms(20));
    let program = scene.fleet.program(i);
    let back = tcp_round_trip(&program, 7000, 1 << 16).await.unwrap();
    assert_eq!(back, 1 << 16);
    let meshes = [i, m, n, e].map(|node| Arc::downgrade(scene.fleet.mesh(node)));
    for node in [m, e] {
        assert!(scene.fleet.shutdown(node, ms(5_000)).await.is_empty());
    }
    for node in [i, n] {
        scene.fleet.kill(node);
    }
    sleep(ms(1_000)).await;
    assert!(meshes.iter().all(|mesh| mesh.upgrade().is_none()));
}
