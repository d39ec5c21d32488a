//! Nodes that freeze, die, come back, or are two.

use std::{sync::atomic::Ordering, time::Duration};

use causeway::{clock, keeper::PeerStatus};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    raw::{Answers, Raw},
    traffic::{Scene, UDP_SERVICE, UdpEcho, UdpFlow, udp_listen},
};

const RTT: Duration = Duration::from_millis(100);
/// The documented bound for a peer that is silent on both loops.
const DOWN_WITHIN: Duration = Duration::from_millis(900);

/// Adds `c`, which has a link to `a` with [`RTT`], and waits until probes have settled.
async fn with_third(seed: u64) -> (Scene, Member) {
    let mut third = None;
    let mut scene = Scene::new(seed, |fleet, a, b| {
        let c = fleet.add("us", "c", UDP_SERVICE);
        fleet.delay(a, c, RTT / 2);
        fleet.delay(b, c, RTT / 2);
        fleet.full_mesh(&[a, c]);
        fleet.pair(b, c);
        third = Some(c);
    })
    .await;
    let c = third.unwrap();
    scene.fleet.start(c).await;
    scene.fleet.until_linked(&[scene.a, c], ms(10_000)).await;
    // Some fifteen replies in each loop, after which the bounds hold.
    sleep(ms(8_000)).await;
    (scene, c)
}

fn is_down(fleet: &Fleet, from: Member, to: Member) -> bool {
    matches!(fleet.status(from, to), Some(PeerStatus::Down { .. }))
}

#[tokio::test(start_paused = true)]
async fn frozen_peer_is_down_within_its_bound_and_back_soon_after_the_thaw() {
    // Below and above the five seconds for which a silent link is kept.
    for (seed, frozen_for) in [(20, ms(3_000)), (21, ms(8_000)), (22, ms(40_000))] {
        let (scene, c) = with_third(seed).await;
        let (fleet, a) = (&scene.fleet, scene.a);
        fleet.machine(c).freeze();
        let took = fleet
            .until("down", ms(2_000), || is_down(fleet, a, c))
            .await;
        assert!(took <= DOWN_WITHIN + RTT, "{took:?}");
        assert!(fleet.link(a, c).is_none());
        sleep(frozen_for - took).await;
        fleet.machine(c).thaw();
        let took = fleet.until_linked(&[a, c], ms(10_000)).await;
        assert!(took <= ms(2_000), "frozen for {frozen_for:?}: {took:?}");
        let linked = fleet.link(a, c).unwrap().generation;
        sleep(ms(40_000)).await;
        assert!(fleet.linked(a, c));
        assert_eq!(fleet.link(a, c).unwrap().generation, linked);
        assert_eq!(fleet.peer(a, c).unwrap().report.load().links.len(), 1);
        assert_eq!(fleet.peer(c, a).unwrap().report.load().links.len(), 1);
        scene.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn killed_peer_takes_its_place_over_at_once_when_it_is_back() {
    let (mut scene, c) = with_third(23).await;
    let a = scene.a;
    for away in [ms(100), ms(3_000), ms(20_000)] {
        let fleet = &mut scene.fleet;
        let before = fleet.link(a, c).unwrap();
        fleet.kill(c);
        sleep(away).await;
        fleet.start(c).await;
        // Its own dial: two round trips, and one for the promotion.
        let fresh =
            || fleet.linked(a, c) && fleet.link(a, c).unwrap().generation != before.generation;
        let took = fleet.until("linked anew", ms(10_000), fresh).await;
        assert!(took <= 3 * RTT + ms(50), "away for {away:?}: {took:?}");
        let now = fleet.link(a, c).unwrap();
        assert!(now.peer_generation > before.peer_generation);
        sleep(ms(15_000)).await;
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn restart_with_the_clock_set_back_grows_from_its_state() {
    let (mut scene, c) = with_third(24).await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    let before = fleet.link(a, c).unwrap().peer_generation;
    fleet.kill(c);
    fleet.wall(c).set_offset_ms(-60_000);
    fleet.start(c).await;
    assert_eq!(fleet.mesh(c).generation().0, before.0 + 1);
    fleet.until_linked(&[a, c], ms(1_000)).await;
    assert_eq!(fleet.link(a, c).unwrap().peer_generation.0, before.0 + 1);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn restart_with_lost_state_and_clock_set_back_moves_above_and_links_everywhere() {
    let (mut scene, c) = with_third(25).await;
    let (fleet, a, b) = (&mut scene.fleet, scene.a, scene.b);
    fleet.until_linked(&[b, c], ms(5_000)).await;
    let before = fleet.link(a, c).unwrap().peer_generation;
    fleet.kill(c);
    fleet.disk(c).erase();
    fleet.wall(c).set_offset_ms(-60_000);
    fleet.start(c).await;
    assert!(fleet.mesh(c).generation() < before);
    let linked = || fleet.linked(a, c) && fleet.linked(b, c);
    let took = fleet.until("linked", ms(5_000), linked).await;
    assert!(took <= ms(2_000), "{took:?}");
    sleep(ms(10_000)).await;
    for from in [a, b] {
        let link = fleet.link(from, c).unwrap();
        assert_eq!(link.peer_generation.0, before.0 + 1);
    }
    assert_eq!(fleet.mesh(c).generation().0, before.0 + 1);
    assert!(!fleet.mesh(c).duplicate.load(Ordering::Relaxed));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn second_process_of_one_name_ends_in_duplicate_name_on_one_and_a_stable_link_for_the_other()
{
    let (mut scene, c) = with_third(26).await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    let twin = fleet.add("us", "c", UDP_SERVICE);
    let (id, address) = (fleet.id(a).clone(), fleet.address(a).to_string());
    fleet.add_peer(twin, &id, &[address]);
    fleet.start(twin).await;
    let duplicate = |member| fleet.mesh(member).duplicate.load(Ordering::Relaxed);
    fleet
        .until("one gives in", ms(20_000), || {
            duplicate(c) || duplicate(twin)
        })
        .await;
    sleep(ms(5_000)).await;
    let (lost, kept) = if duplicate(c) { (c, twin) } else { (twin, c) };
    assert!(!duplicate(kept), "only one gives in");
    let link = fleet.link(a, c).unwrap();
    assert_eq!(link.peer_generation, fleet.mesh(kept).generation());
    assert!(matches!(
        fleet.status(lost, a),
        Some(PeerStatus::Halted { .. })
    ));
    let dials = fleet.mesh(lost).counts.dials.value();
    sleep(ms(60_000)).await;
    assert_eq!(
        fleet.mesh(lost).counts.dials.value(),
        dials,
        "it stays quiet"
    );
    assert_eq!(fleet.link(a, c).unwrap().generation, link.generation);

    // With the other one gone, a reload of this one is all it takes.
    fleet.kill(kept);
    sleep(ms(10_000)).await;
    fleet.reload(lost).await;
    assert!(!fleet.mesh(lost).duplicate.load(Ordering::Relaxed));
    let back = || fleet.linked(a, lost);
    fleet.until("the other is linked", ms(3_000), back).await;
    sleep(ms(20_000)).await;
    assert!(fleet.linked(a, lost) && !fleet.mesh(lost).duplicate.load(Ordering::Relaxed));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn partition_heals_within_one_backoff_and_one_dial() {
    let mut fleet = Fleet::new(27);
    let to = |node: &str| udp_listen(6000, &format!("{{ node = \"{node}\" }}"));
    let a = fleet.add("eu", "a", &to("eu/b"));
    let b = fleet.add("eu", "b", UDP_SERVICE);
    let c = fleet.add("us", "c", &to("us/d"));
    let d = fleet.add("us", "d", UDP_SERVICE);
    let all = [a, b, c, d];
    for from in [a, b] {
        for to in [c, d] {
            fleet.delay(from, to, RTT / 2);
        }
    }
    fleet.full_mesh(&all);
    fleet.start_all().await;
    fleet.until_linked(&all, ms(5_000)).await;
    let echoes = [UdpEcho::start(&fleet, b), UdpEcho::start(&fleet, d)];
    let flows = [a, c].map(|from| UdpFlow::start(&fleet, from, 6000, ms(20)));
    let sides = |fleet: &Fleet| {
        let machine = |member| fleet.machine(member).clone();
        ([machine(a), machine(b)], [machine(c), machine(d)])
    };
    let ([a_host, b_host], [c_host, d_host]) = sides(&fleet);
    for cut_for in [ms(500), ms(2_000), ms(30_000)] {
        fleet
            .sim
            .partition(&[&a_host, &b_host], &[&c_host, &d_host]);
        sleep(cut_for).await;
        // Who sees nobody may well be the one that is cut off, and serves its own region on.
        assert!(
            all.iter()
                .all(|member| fleet.node(*member).view().ready().is_ready())
        );
        fleet
            .sim
            .heal_partition(&[&a_host, &b_host], &[&c_host, &d_host]);
        let took = fleet.until_linked(&all, ms(20_000)).await;
        assert!(took <= ms(8_000), "cut for {cut_for:?}: {took:?}");
        sleep(ms(12_000)).await;
    }
    for flow in flows {
        flow.finish_without_loss().await;
    }
    drop(echoes);
}

/// The tasks of a node whose links are all up, by name and owner.
fn tasks(fleet: &Fleet, member: Member) -> Vec<String> {
    let rows = fleet.node(member).tasks().list(clock::now());
    let mut names: Vec<String> = rows
        .iter()
        .map(|row| {
            // Links are told apart by their dials, which count up.
            let owner = row.owner.split(" > link ").next().unwrap_or_default();
            format!("{owner} {}", row.name)
        })
        .collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn peer_that_vanishes_at_any_moment_of_a_link_up_is_linked_when_it_is_back() {
    let (mut scene, c) = with_third(28).await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    let calm = tasks(fleet, a);
    for at in (0..=500).step_by(20) {
        fleet.kill(c);
        sleep(ms(30)).await;
        fleet.start(c).await;
        sleep(ms(at)).await;
        fleet.kill(c);
        sleep(ms(1_000)).await;
        fleet.start(c).await;
        let took = fleet.until_linked(&[a, c], ms(10_000)).await;
        assert!(took <= ms(1_000), "vanished after {at} ms: {took:?}");
    }
    sleep(ms(40_000)).await;
    assert_eq!(tasks(fleet, a), calm);
    assert_eq!(fleet.node(a).tasks().counts().overdue, 0);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_vanishes_in_each_state_of_the_keeper_leaves_nothing_behind() {
    let (mut scene, c) = with_third(29).await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    // Up, and left alone: Down, then closed after five seconds of silence, then Backoff.
    fleet.kill(c);
    let took = fleet
        .until("down", ms(2_000), || is_down(fleet, a, c))
        .await;
    assert!(took <= DOWN_WITHIN + RTT, "{took:?}");
    let no_link = || fleet.peer(a, c).unwrap().report.load().links.is_empty();
    let took = fleet.until("closed", ms(8_000), no_link).await;
    assert!(took >= ms(4_000) && took <= ms(6_000), "{took:?}");
    // Backoff and Dialing take turns, and nothing piles up.
    let idle = fleet.node(a).tasks().counts().running;
    sleep(ms(60_000)).await;
    assert!(fleet.node(a).tasks().counts().running <= idle + 1);
    // Draining: removed while its link is up, and dead before it is closed. A node that has told of
    // itself would be wanted on.
    let raw = Raw::new(fleet, "us", "raw");
    fleet.add_peer(a, &raw.id, &[raw.address().to_string()]);
    fleet.reload(a).await;
    let _link = raw.accept_link(Answers::ALL).await;
    sleep(ms(2_000)).await;
    fleet.clear_peers(a);
    let b = scene.b;
    let (id, address) = (fleet.id(b).clone(), fleet.address(b).to_string());
    fleet.add_peer(a, &id, &[address]);
    raw.host.freeze();
    fleet.reload(a).await;
    let peer = |raw: &Raw| fleet.mesh(a).links.snapshot().get(&raw.id.key()).cloned();
    let forgotten = || peer(&raw).is_none();
    fleet.until("forgotten", ms(25_000), forgotten).await;
    // Idle: a peer that is not wanted here dials, and dies.
    let raw = Raw::new(fleet, "us", "other");
    let _link = raw.link(fleet.address(a), Answers::ALL).await;
    sleep(ms(2_000)).await;
    raw.host.kill();
    let is_idle = || {
        let peer = peer(&raw).unwrap();
        matches!(peer.slot.load().status, PeerStatus::Idle)
    };
    fleet.until("idle", ms(8_000), is_idle).await;
    sleep(ms(10_000)).await;
    let counts = fleet.node(a).tasks().counts();
    assert_eq!((counts.overdue, counts.panicked), (0, 0));
    scene.finish().await;
}
