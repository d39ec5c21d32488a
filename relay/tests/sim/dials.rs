//! Peers that do not answer, and what they cost those that do.

use std::time::Duration;

use causeway::{clock, keeper::PeerStatus, links::ConnectError};
use futures_util::future::join_all;

use crate::{
    fleet::{Fleet, Member, ms, node_id, sleep},
    traffic::Scene,
};

/// The deadline of the first dial of a peer, and of those after a failure.
const DIAL: Duration = Duration::from_millis(4_000);
const RETRY_DIAL: Duration = Duration::from_millis(2_500);

/// Gives `member` a peer that is not there, and returns it.
fn black_hole(fleet: &mut Fleet, member: Member, name: &str) -> causeway::id::NodeId {
    let id = node_id("nowhere", name);
    let address = format!("{}:7400", fleet.host(name).ip());
    fleet.add_peer(member, &id, &[address]);
    id
}

#[tokio::test(start_paused = true)]
async fn black_holed_peer_fails_at_its_deadline_and_requests_then_fail_at_once() {
    let mut scene = Scene::new(10, |fleet, a, _| {
        black_hole(fleet, a, "hole");
    })
    .await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    let hole = node_id("nowhere", "hole").key();
    let status = |fleet: &Fleet| {
        let peer = fleet.mesh(a).links.snapshot().get(&hole).cloned().unwrap();
        peer.slot.load().status.clone()
    };
    let dialing = |fleet: &Fleet| matches!(status(fleet), PeerStatus::Dialing { .. });
    assert!(dialing(fleet));
    let started = match status(fleet) {
        PeerStatus::Dialing { since } => since,
        other => panic!("{other:?}"),
    };
    fleet
        .until("the dial fails", DIAL, || !dialing(fleet))
        .await;
    let took = clock::now() - started;
    assert!(took >= DIAL && took <= DIAL + ms(1), "{took:?}");
    assert_eq!(fleet.mesh(a).counts.dials_failed.value(), 1);

    // Fails at once with the reason, and a healthy peer's link is there at once.
    let links = &fleet.mesh(a).links;
    let asked = clock::now();
    let error = links.connect(hole, asked + ms(1_000)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::NotNow { .. }), "{error}");
    assert!(error.to_string().contains("deadline"), "{error}");
    links
        .connect(fleet.key(scene.b), asked + ms(1_000))
        .await
        .unwrap();
    assert_eq!(clock::now(), asked);

    // Dials go on, farther and farther apart, each with its deadline.
    let before = fleet.mesh(a).counts.dials.value();
    sleep(Duration::from_secs(60)).await;
    let dials = fleet.mesh(a).counts.dials.value() - before;
    let fewest = 60_000 / (RETRY_DIAL + ms(5_000)).as_millis() as u64;
    let most = 60_000 / RETRY_DIAL.as_millis() as u64;
    assert!(
        (fewest..=most).contains(&dials),
        "{dials} dials in a minute"
    );
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn thousand_requests_for_a_silent_peer_cause_one_dial_and_end_each_by_its_deadline() {
    let mut scene = Scene::new(11, |_, _, _| {}).await;
    let (fleet, a) = (&mut scene.fleet, scene.a);
    let hole = black_hole(fleet, a, "hole").key();
    let before = fleet.mesh(a).counts.dials.value();
    fleet.reload(a).await;
    let asked = clock::now();
    let links = &fleet.mesh(a).links;
    let requests = (1..=1_000).map(|n| async move {
        let own = ms(10 + n);
        let ended = links.connect(hole, asked + own).await;
        (own, clock::now() - asked, ended.unwrap_err())
    });
    let healthy = async {
        sleep(ms(500)).await;
        let at = clock::now();
        links.connect(fleet.key(scene.b), at + ms(1)).await.unwrap();
        assert_eq!(clock::now(), at);
    };
    let (ended, ()) = tokio::join!(join_all(requests), healthy);
    for (own, took, error) in ended {
        assert_eq!(error, ConnectError::TimedOut);
        assert_eq!(took, own);
    }
    assert_eq!(fleet.mesh(a).counts.dials.value() - before, 1);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn request_that_gives_up_leaves_the_dial_to_the_others() {
    let mut fleet = Fleet::new(12);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    fleet.delay(a, b, ms(100));
    let (id, address) = (fleet.id(b).clone(), fleet.address(b).to_string());
    fleet.add_peer(a, &id, &[address]);
    fleet.start(b).await;
    fleet.start(a).await;
    fleet
        .until("the dial is out", ms(10), || fleet.peer(a, b).is_some())
        .await;
    let links = &fleet.mesh(a).links;
    let asked = clock::now();
    let hasty = links.connect(id.key(), asked + ms(150));
    let patient = join_all((0..99).map(|_| links.connect(id.key(), asked + ms(5_000))));
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert_eq!(hasty.unwrap_err(), ConnectError::TimedOut);
    assert!(patient.iter().all(Result::is_ok));
    assert_eq!(fleet.mesh(a).counts.dials.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn three_hundred_black_holes_do_not_hold_up_the_living() {
    assert!(linked_among(300).await <= ms(3_000));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_black_holes_hold_up_the_living_for_two_seconds_at_the_most() {
    assert!(linked_among(1_000).await <= ms(2_000));
}

/// How long a node that starts among black holes takes to link up with the living.
async fn linked_among(holes: usize) -> Duration {
    let mut fleet = Fleet::new(13);
    let a = fleet.add("eu", "a", "");
    let living: Vec<Member> = (0..8)
        .map(|n| fleet.add("us", &format!("b{n}"), ""))
        .collect();
    for hole in 0..holes {
        black_hole(&mut fleet, a, &format!("hole{hole}"));
    }
    for b in &living {
        fleet.delay(a, *b, ms(50));
        let (id, address) = (fleet.id(*b).clone(), fleet.address(*b).to_string());
        fleet.add_peer(a, &id, &[address]);
        fleet.start(*b).await;
    }
    fleet.start(a).await;
    let linked = || living.iter().all(|b| fleet.linked(a, *b));
    fleet
        .until("the living are linked", ms(60_000), linked)
        .await
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_again_and_a_seeker_finds_who_lives_there() {
    let mut fleet = Fleet::new(14);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    let gone = fleet.host("gone");
    fleet
        .names
        .set("seed.example.org", &[(gone.ip(), 7400).into()]);
    fleet.add_seed(a, "seed.example.org:7400");
    // A seed list may well hold the node's own address.
    let own = fleet.address(a).to_string();
    fleet.add_seed(a, &own);
    fleet.start(b).await;
    fleet.start(a).await;
    sleep(ms(3_000)).await;
    assert!(fleet.peer(a, b).is_none());
    fleet.names.set("seed.example.org", &[fleet.address(b)]);
    fleet.until_linked(&[a, b], ms(8_000)).await;
    let now = clock::now();
    let seekers = fleet.node(a).tasks().list(now);
    assert!(
        seekers.iter().all(|task| task.name != "seeker"),
        "{seekers:?}"
    );
}
