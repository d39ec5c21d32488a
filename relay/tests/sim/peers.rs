//! Which peers a node has: configured, found, removed, and coming by themselves.

use std::{future::poll_fn, task::Poll};

use causeway::{
    clock, code::CloseCode, deadline::Closed, keeper::PeerStatus, links::ConnectError,
    wire::CloseReason,
};

use crate::{
    fleet::{Fleet, Member, ms, node_id, sleep},
    raw::{Answers, Raw, RawLink},
    traffic::Scene,
};

fn add_peer(fleet: &mut Fleet, to: Member, peer: Member) {
    let (id, address) = (fleet.id(peer).clone(), fleet.address(peer).to_string());
    fleet.add_peer(to, &id, &[address]);
}

#[tokio::test(start_paused = true)]
async fn peer_that_a_seeker_found_keeps_its_link_over_a_reload_and_without_its_address() {
    let mut fleet = Fleet::new(100);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    let address = fleet.address(b).to_string();
    fleet.add_seed(a, &address);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(2_000)).await;
    sleep(ms(2_000)).await;
    let first = fleet.link(a, b).unwrap().generation;
    let dials = fleet.mesh(a).counts.dials.value();
    for _ in 0..3 {
        fleet.reload(a).await;
        sleep(ms(12_000)).await;
        assert_eq!(fleet.link(a, b).unwrap().generation, first);
    }
    assert_eq!(fleet.mesh(a).counts.dials.value(), dials);
    // It is dialed again as a configured one is.
    fleet.kill(b);
    sleep(ms(8_000)).await;
    fleet.start(b).await;
    fleet.until_linked(&[a, b], ms(8_000)).await;
    sleep(ms(2_000)).await;
    // It is in the mesh by now, and that address was only the way in.
    let first = fleet.link(a, b).unwrap().generation;
    fleet.clear_peers(a);
    fleet.reload(a).await;
    sleep(ms(30_000)).await;
    assert_eq!(fleet.link(a, b).unwrap().generation, first);
}

#[tokio::test(start_paused = true)]
async fn peer_that_a_seeker_found_and_that_is_not_in_the_mesh_goes_with_its_address() {
    let mut fleet = Fleet::new(100);
    let a = fleet.add("eu", "a", "");
    let raw = Raw::new(&fleet, "us", "raw");
    fleet.add_seed(a, &raw.address().to_string());
    fleet.start(a).await;
    let link = raw.accept_link(Answers::ALL).await;
    fleet.reload(a).await;
    sleep(ms(12_000)).await;
    assert!(link.is_open());
    fleet.clear_peers(a);
    fleet.reload(a).await;
    assert_removed(&link).await;
    let known = || knows(&fleet, a, &raw);
    fleet.until("removed", ms(15_000), || !known()).await;
}

/// Whether `member` has a keeper for a raw peer.
fn knows(fleet: &Fleet, member: Member, raw: &Raw) -> bool {
    fleet
        .mesh(member)
        .links
        .snapshot()
        .contains_key(&raw.id.key())
}

/// Waits until a link is closed, and asserts that its peer is not wanted there any more.
async fn assert_removed(link: &RawLink) {
    match link.closed().await {
        Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::Removed),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn peer_of_the_mesh_keeps_its_link_when_it_is_configured_and_when_it_is_not_any_more() {
    let mut fleet = Fleet::new(101);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    add_peer(&mut fleet, b, a);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(8_000)).await;
    sleep(ms(2_000)).await;
    let first = fleet.link(a, b).unwrap().generation;
    let dials = [a, b].map(|member| fleet.mesh(member).counts.dials.value());
    for _ in 0..3 {
        add_peer(&mut fleet, a, b);
        fleet.reload(a).await;
        sleep(ms(1_000)).await;
        fleet.clear_peers(a);
        fleet.reload(a).await;
        sleep(ms(15_000)).await;
        assert_eq!(fleet.link(a, b).unwrap().generation, first);
    }
    let now = [a, b].map(|member| fleet.mesh(member).counts.dials.value());
    assert_eq!(now, dials);
}

#[tokio::test(start_paused = true)]
async fn peer_that_came_by_itself_and_was_configured_later_is_removed_with_its_configuration() {
    let mut fleet = Fleet::new(101);
    let a = fleet.add("eu", "a", "");
    let raw = Raw::new(&fleet, "us", "raw");
    fleet.start(a).await;
    let link = raw.link(fleet.address(a), Answers::ALL).await;
    fleet.add_peer(a, &raw.id, &[raw.address().to_string()]);
    fleet.reload(a).await;
    sleep(ms(1_000)).await;
    assert!(link.is_open());
    fleet.clear_peers(a);
    fleet.reload(a).await;
    let from = clock::now();
    assert_removed(&link).await;
    assert!(clock::now() - from <= ms(3_000));
    // Nothing forbids it here to come again.
    sleep(ms(12_000)).await;
    let link = raw.link(fleet.address(a), Answers::ALL).await;
    sleep(ms(12_000)).await;
    assert!(link.is_open() && knows(&fleet, a, &raw));
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_removed_and_configured_again_at_once_is_linked_again() {
    let mut scene = Scene::new(102, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let (fleet, a, b) = (&mut scene.fleet, scene.a, scene.b);
    let remove = |fleet: &mut Fleet| {
        fleet.clear_peers(a);
        add_peer(fleet, a, b);
    };
    for pause in [ms(0), ms(100), ms(1_000), ms(3_000)] {
        fleet.add_peer(a, &raw.id, &[raw.address().to_string()]);
        fleet.reload(a).await;
        let link = raw.accept_link(Answers::ALL).await;
        sleep(ms(1_000)).await;
        remove(fleet);
        fleet.reload(a).await;
        sleep(pause).await;
        fleet.add_peer(a, &raw.id, &[raw.address().to_string()]);
        fleet.reload(a).await;
        let again = tokio::time::timeout(ms(4_000), raw.accept_link(Answers::ALL)).await;
        let again = again.unwrap_or_else(|_| panic!("{pause:?}\n{}", fleet.describe()));
        assert_removed(&link).await;
        let current = fleet.mesh(a).links.get(raw.id.key()).unwrap();
        assert_eq!(current.generation, again.generation);
        remove(fleet);
        fleet.reload(a).await;
        assert_removed(&again).await;
        sleep(ms(12_000)).await;
        assert!(!knows(fleet, a, &raw));
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn name_that_is_not_answered_does_not_keep_the_next_address_from_being_dialed() {
    let mut fleet = Fleet::new(103);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    fleet.names.hang("slow.example.org");
    let (id, address) = (fleet.id(b).clone(), fleet.address(b).to_string());
    let names = ["slow.example.org:7400", "none.example.org:7400", &address];
    fleet.add_peer(a, &id, &names.map(str::to_owned));
    fleet.start_all().await;
    let took = fleet.until_linked(&[a, b], ms(8_000)).await;
    assert!(took <= ms(2_100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_addresses_cost_one_stagger_each_before_the_one_that_answers() {
    let mut fleet = Fleet::new(104);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    fleet.delay(a, b, ms(40));
    let silent = [fleet.host("x").ip(), fleet.host("y").ip()];
    let (id, address) = (fleet.id(b).clone(), fleet.address(b).to_string());
    let [x, y] = silent.map(|ip| format!("{ip}:7400"));
    fleet.add_peer(a, &id, &[x, y, address]);
    fleet.start_all().await;
    let took = fleet.until_linked(&[a, b], ms(3_000)).await;
    // Two staggers of 250 ms, handshake, Hellos, and the promotion.
    assert!(took >= ms(500) && took <= ms(500 + 3 * 80 + 5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn hello_of_an_older_process_is_answered_with_the_generation_that_is_known() {
    let scene = Scene::new(105, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let to = scene.fleet.address(scene.a);
    let link = raw.link(to, Answers::ALL).await;
    let mut older = raw.hello(raw.next_link());
    older.generation.0 -= 1;
    older.link.node = older.generation;
    let stale = raw.dial_with(to, older).await.unwrap();
    match stale.connection.closed().await {
        Closed::ByPeer { code, reason } => {
            let reason = CloseReason::decode(code.number().into(), &reason);
            assert_eq!(code, CloseCode::Stale);
            assert_eq!(reason.known, Some(raw.generation()));
        }
        other => panic!("{other}"),
    }
    // A generation that is in use is not a link of its own.
    let twice = raw.dial_with(to, raw.hello(link.generation)).await.unwrap();
    match twice.connection.closed().await {
        Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::Malformed),
        other => panic!("{other}"),
    }
    assert!(link.is_open());
    let links = &scene.fleet.mesh(scene.a).links;
    assert_eq!(links.get(raw.id.key()).unwrap().generation, link.generation);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn peers_beyond_the_limit_are_refused_and_told_so() {
    let scene = Scene::with_tables(106, "[limits]\nlinks = 2\n", |_, _, _| {}).await;
    let to = scene.fleet.address(scene.a);
    let first = Raw::new(&scene.fleet, "us", "first");
    let kept = first.link(to, Answers::ALL).await;
    let second = Raw::new(&scene.fleet, "us", "second");
    let hello = second.hello(second.next_link());
    let refused = second.dial_with(to, hello).await.unwrap();
    match refused.connection.closed().await {
        Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::Overloaded),
        other => panic!("{other}"),
    }
    assert!(kept.is_open());
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn link_that_is_never_promoted_or_confirmed_is_closed_after_five_seconds() {
    let mut scene = Scene::new(107, |_, _, _| {}).await;
    // One of the two is the arbiter towards `a`, the other is not.
    for name in ["raw0", "raw1", "raw2", "raw3"] {
        let raw = Raw::new(&scene.fleet, "us", name);
        let address = raw.address().to_string();
        scene.fleet.add_peer(scene.a, &raw.id, &[address]);
        scene.fleet.reload(scene.a).await;
        let link = raw.accept_link(Answers::ALL.without_promotion()).await;
        let from = clock::now();
        match link.closed().await {
            Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::SetupTimeout, "{name}"),
            other => panic!("{other}"),
        }
        let took = clock::now() - from;
        assert!(took >= ms(4_500) && took <= ms(5_010), "{name}: {took:?}");
        let status = scene.fleet.mesh(scene.a).links.snapshot()[&raw.id.key()]
            .slot
            .load()
            .status
            .clone();
        assert!(
            !matches!(status, PeerStatus::Up { .. }),
            "{name}: {status:?}"
        );
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn reload_that_changes_nothing_about_a_peer_leaves_its_backoff_alone() {
    let mut fleet = Fleet::new(104);
    let a = fleet.add("eu", "a", "");
    let hole = node_id("nowhere", "hole");
    let at = |fleet: &Fleet, name: &str| format!("{}:7400", fleet.host(name).ip());
    let (first, second) = (at(&fleet, "first"), at(&fleet, "second"));
    fleet.add_peer(a, &hole, &[first]);
    fleet.start(a).await;
    let left = |fleet: &Fleet| {
        let peer = fleet.mesh(a).links.snapshot()[&hole.key()].clone();
        match peer.slot.load().status {
            PeerStatus::Backoff { until, .. } => until.saturating_duration_since(clock::now()),
            _ => ms(0),
        }
    };
    let backs_off = || left(&fleet) > ms(1_000);
    fleet.until("a long backoff", ms(120_000), backs_off).await;
    let before = left(&fleet);
    fleet.reload(a).await;
    sleep(ms(10)).await;
    assert_eq!(left(&fleet), before - ms(10));
    // Another address is news.
    fleet.clear_peers(a);
    fleet.add_peer(a, &hole, &[second]);
    fleet.reload(a).await;
    sleep(ms(10)).await;
    assert_eq!(left(&fleet), ms(0), "it is dialed");
}

#[tokio::test(start_paused = true)]
async fn request_joins_the_first_dial_of_a_peer_from_the_moment_it_is_known() {
    let mut fleet = Fleet::new(105);
    let a = fleet.add("eu", "a", "");
    fleet.start(a).await;
    let hole = node_id("nowhere", "hole");
    let address = format!("{}:7400", fleet.host("hole").ip());
    fleet.add_peer(a, &hole, &[address]);
    let (mesh, key) = (fleet.mesh(a).clone(), hole.key());
    // Runs between any two other tasks, as a thread of another worker would.
    let known = poll_fn(move |cx| {
        if mesh.links.snapshot().contains_key(&key) {
            return Poll::Ready(mesh.clone());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    let asked = fleet.machine(a).spawn(async move {
        let mesh = known.await;
        mesh.links.connect(key, clock::now() + ms(10)).await
    });
    fleet.reload(a).await;
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error, ConnectError::TimedOut);
}
