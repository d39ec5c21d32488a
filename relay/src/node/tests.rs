use std::{collections::BTreeSet, time::Duration};

use router::liveness::Health;

use super::{
    testing::{Fleet, config, id, peer, seed, until},
    *,
};
use crate::{
    code::{RefuseCode, StreamCode},
    counts::InboundEnd,
    deadline::{
        ReadError,
        testnet::{Path, address, after, sleep},
    },
    dial::{DialRequest, Dialer},
    identity::{Expect, Refusal},
    keeper::{DialErrorKind, DialPool, PeerStatus},
    link::{
        Link,
        frames::{FrameReader, ReadFrameError, encoded},
    },
    links::{ConnectError, Peer, PeerState},
    slot::Slot,
    wire::{Frame, Open, RemainingHops},
};

fn link(from: &Node, to: u16) -> Option<Arc<Link>> {
    from.mesh.links.get(id(to).key())
}

async fn linked(from: &Node, to: u16) -> Arc<Link> {
    until("a link", || link(from, to).is_some()).await;
    link(from, to).unwrap()
}

/// Neither end closes or replaces the link that both hold.
async fn stays(from: &Node, to: u16, held: &Link) {
    sleep(3_000).await;
    let now = link(from, to).expect("a link");
    assert_eq!(now.generation, held.generation);
}

async fn end(nodes: impl IntoIterator<Item = Node>) {
    for node in nodes {
        let overdue = node.shutdown(after(2_000)).await;
        assert!(overdue.is_empty(), "{overdue:?}");
    }
}

// === Peers ===

#[tokio::test(start_paused = true)]
async fn peer_found_by_a_seeker_keeps_its_link_over_a_reload_and_without_its_address() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &seed(2)).await;
    let far = fleet.start(2, "").await;
    let held = linked(&near, 2).await;
    near.reload(&config(1, &seed(2))).await;
    stays(&near, 2, &held).await;
    // By now it has told of itself, and that address was only the way in.
    near.reload(&config(1, "")).await;
    stays(&near, 2, &held).await;
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn seeker_of_a_peer_that_is_linked_already_does_not_cost_the_link() {
    let fleet = Fleet::new();
    let near = fleet.start(1, "").await;
    let far = fleet.start(2, &peer(1)).await;
    let held = linked(&near, 2).await;
    let mut stream = held.connection.open(after(1_000)).await.unwrap();
    let begin = bytes::Bytes::from_static(b"0");
    stream.0.write(begin, after(1_000)).await.unwrap();
    near.reload(&config(1, &seed(2))).await;
    until("found", || {
        let snapshot = near.mesh.links.snapshot();
        snapshot
            .values()
            .any(|peer| !peer.report.load().addresses.is_empty())
    })
    .await;
    sleep(2_000).await;
    // The work on it goes on, whichever link is current now.
    assert!(!held.has_ended());
    drop(stream);
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_added_again_while_it_leaves_is_dialed_anew() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, "").await;
    let held = linked(&near, 2).await;
    near.reload(&config(1, "")).await;
    near.reload(&config(1, &peer(2))).await;
    // The old keeper is still at it.
    assert!(!held.has_ended());
    until("another link", || {
        link(&near, 2).is_some_and(|link| link.generation != held.generation)
    })
    .await;
    assert!(held.has_ended());
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_only_dialed_is_forgotten_a_minute_after_its_link() {
    let fleet = Fleet::new();
    let near = fleet.start(1, "").await;
    let far = fleet.start(2, &peer(1)).await;
    linked(&near, 2).await;
    end([far]).await;
    sleep(59_000).await;
    assert_eq!(near.mesh.links.snapshot().len(), 1);
    sleep(2_000).await;
    assert!(near.mesh.links.snapshot().is_empty());
    end([near]).await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_was_removed_and_dials_is_new_at_once() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, &peer(1)).await;
    linked(&near, 2).await;
    near.reload(&config(1, "")).await;
    until("removed", || link(&near, 2).is_none()).await;
    linked(&near, 2).await;
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn keeper_that_has_ended_and_is_listed_still_keeps_its_peer_out_no_longer() {
    let fleet = Fleet::new();
    let near = fleet.start(1, "").await;
    let (inbox, ended) = mpsc::channel(1);
    drop(ended);
    let status = PeerStatus::Idle;
    let (_publisher, slot) = Slot::with_publisher(PeerState { status, link: None });
    near.mesh.links.add(Arc::new(Peer::new(id(2), slot, inbox)));
    let far = fleet.start(2, &peer(1)).await;
    linked(&near, 2).await;
    end([near, far]).await;
}

// === The end ===

#[tokio::test(start_paused = true)]
async fn node_ends_at_its_deadline_and_names_the_task_that_does_not() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, "").await;
    linked(&near, 2).await;
    let stuck = near.scope.spawn("stuck", |_| std::future::pending());
    stuck.unwrap();
    let began = clock::now();
    let overdue = near.shutdown(after(2_000)).await;
    let took = clock::now() - began;
    let names: Vec<_> = overdue.iter().map(|task| task.name).collect();
    assert_eq!(names, ["stuck"]);
    assert!((2_000..=2_002).contains(&took.as_millis()), "{took:?}");
    end([far]).await;
}

// === Requests for a link ===

#[tokio::test(start_paused = true)]
async fn thousand_requests_join_one_dial_and_a_cancelled_one_cancels_itself_only() {
    let fleet = Fleet::new();
    let far = fleet.start(2, "").await;
    let near = fleet.start(1, &peer(2)).await;
    let key = id(2).key();
    until("dialing", || near.mesh.counts.dials.value() == 1).await;
    let asked: Vec<_> = (0..1_000)
        .map(|_| near.mesh.links.connect(key, after(5_000)))
        .collect();
    let cancelled = near.mesh.links.connect(key, after(5_000));
    assert!(
        tokio::time::timeout(Duration::from_millis(1), cancelled)
            .await
            .is_err()
    );
    for got in futures_util::future::join_all(asked).await {
        assert_eq!(got.unwrap().peer, id(2));
    }
    assert_eq!(near.mesh.counts.dials.value(), 1);
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn request_waits_for_a_dial_until_its_own_deadline_and_fails_at_once_in_backoff() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let (links, key) = (&near.mesh.links, id(2).key());
    until("dialing", || near.mesh.counts.dials.value() == 1).await;
    let started = clock::now();
    let late = links.connect(key, after(300)).await.unwrap_err();
    assert_eq!(late, ConnectError::TimedOut);
    assert_eq!(clock::now() - started, Duration::from_millis(300));
    until("backing off", || {
        let peer = links.snapshot().values().next().cloned().unwrap();
        matches!(peer.slot.load().status, PeerStatus::Backoff { .. })
    })
    .await;
    let started = clock::now();
    let why = links.connect(key, after(5_000)).await.unwrap_err();
    assert!(
        why.to_string()
            .starts_with("backing off (dial failed: deadline passed"),
        "{why}"
    );
    assert_eq!(clock::now(), started);
    let unknown = links.connect(id(3).key(), after(5_000)).await.unwrap_err();
    assert_eq!(unknown, ConnectError::UnknownPeer);
    end([near]).await;
}

// === Dials ===

fn dial(node: &Node, to: u16) -> DialRequest {
    DialRequest {
        endpoint: node.endpoints[0].clone(),
        expect: Expect::Node(id(to)),
        targets: vec![crate::config::HostPort::Ip(address(to))],
    }
}

#[tokio::test(start_paused = true)]
async fn black_holes_that_fill_the_retry_pool_delay_no_fresh_dial() {
    let fleet = Fleet::new();
    let far = fleet.start(2, "").await;
    let near = fleet
        .start(1, "[limits]\nretry_dials = 2\ndials = 1\n")
        .await;
    let dialer = Dialer::new(&near.mesh);
    let black_holes = (10..13).map(|to| dialer.dial(DialPool::Retry, dial(&near, to)));
    let started = clock::now();
    let fresh = async {
        sleep(1).await;
        dialer.dial(DialPool::Fresh, dial(&near, 2)).await.unwrap();
        clock::now() - started
    };
    let (failed, fresh) = tokio::join!(
        futures_util::future::join_all(black_holes.map(|dialing| async {
            let failure = dialing.await.unwrap_err();
            assert_eq!(failure.error.kind, DialErrorKind::Deadline);
            clock::now() - started
        })),
        fresh
    );
    // Two round trips of 20 ms: handshake and Hello.
    assert!(fresh < Duration::from_millis(60), "{fresh:?}");
    // The third had to wait for a permit, and then its whole time.
    let took: Vec<u128> = failed.iter().map(Duration::as_millis).collect();
    assert!(took[0] < 2_510 && took[1] < 2_510, "{took:?}");
    assert!((5_000..5_010).contains(&took[2]), "{took:?}");
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn silent_name_server_leaves_time_for_the_addresses_that_need_none() {
    let fleet = Fleet::new();
    let far = fleet.start(2, "").await;
    let near = fleet.start(1, "").await;
    let mut request = dial(&near, 2);
    let name = "seed.example.org:7400".parse().unwrap();
    request.targets.insert(0, name);
    let dialed = Dialer::new(&near.mesh).dial(DialPool::Fresh, request).await;
    assert_eq!(dialed.unwrap().peer, id(2));
    end([near, far]).await;
}

// === Inbound connections ===

#[tokio::test(start_paused = true)]
async fn connections_without_hello_hold_their_places_until_the_deadline_and_not_longer() {
    let fleet = Fleet::new();
    let far = fleet
        .start(
            2,
            "[limits]\nunauthenticated_handshakes = 2\nretry_above = 2\n",
        )
        .await;
    let near = fleet.start(1, "").await;
    let inbound = |end| far.mesh.counts.inbound.value(end);
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(without_hello(&near, 2).await);
    }
    let dialer = Dialer::new(&near.mesh);
    let turned_away = dialer.dial(DialPool::Retry, dial(&near, 2)).await;
    assert!(turned_away.is_err());
    assert!(inbound(InboundEnd::Cap) > 0);
    until("deadline", || inbound(InboundEnd::Deadline) == 2).await;
    sleep(20).await;
    assert!(
        silent
            .iter()
            .all(|connection| connection.close_reason().is_some())
    );
    dialer.dial(DialPool::Fresh, dial(&near, 2)).await.unwrap();
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn node_ends_at_once_though_a_stranger_never_says_hello() {
    let fleet = Fleet::new();
    let (near, far) = (fleet.start(1, "").await, fleet.start(2, "").await);
    let _silent = without_hello(&near, 2).await;
    sleep(100).await;
    let started = clock::now();
    end([far]).await;
    assert!(clock::now() - started < Duration::from_secs(1));
    end([near]).await;
}

async fn without_hello(from: &Node, to: u16) -> crate::deadline::Connection {
    let material = from.mesh.material.load_full();
    let wall = from.mesh.env.wall.clone();
    let tls = material.client_config(Expect::Node(id(to)), wall, Refusal::default().observer());
    let config = transport::client_config(tls, from.mesh.transport.clone()).unwrap();
    from.endpoints[0]
        .connect(config, address(to), after(1_000))
        .await
        .unwrap()
}

// === Streams ===

const SERVICES: &str = "[[service]]\nname = \"closed\"\nkind = \"tcp\"\naddress = \"127.0.0.1:1\"\n\
    allow = [\"spiffe://example.org/region/r/node/n1\"]\n\
    [[service]]\nname = \"secret\"\nkind = \"tcp\"\naddress = \"127.0.0.1:1\"\n\
    [[service]]\nname = \"packets\"\nkind = \"udp\"\naddress = \"127.0.0.1:1\"\n\
    allow = [\"spiffe://example.org/region/*/node/*\"]\n\
    [[service]]\nname = \"nowhere\"\nkind = \"tcp\"\naddress = \"silent.example.org:1\"\n\
    allow = [\"spiffe://example.org/region/*/node/*\"]\n";

fn open(service: &str) -> Open {
    Open {
        session: [0; 16],
        destination: id(2).key(),
        service: service.into(),
        budget: Duration::from_secs(1),
        resume_offset: 0,
        trace: None,
        hops: RemainingHops::NONE,
        via: Vec::new(),
    }
}

/// What the far end answers to the first frame of a stream.
async fn answer(link: &Link, first: Frame) -> Result<Frame, ReadFrameError> {
    answer_within(9_000, link, first).await
}

async fn answer_within(millis: u64, link: &Link, first: Frame) -> Result<Frame, ReadFrameError> {
    let (mut sender, receiver) = link.connection.open(after(1_000)).await.unwrap();
    sender
        .write(encoded(&first).unwrap(), after(1_000))
        .await
        .unwrap();
    let mut frames = FrameReader::stream(receiver, link.minor);
    frames.next_by(after(millis)).await
}

#[tokio::test(start_paused = true)]
async fn every_open_that_cannot_be_served_is_refused_with_its_code() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, SERVICES).await;
    let link = linked(&near, 2).await;
    let mut elsewhere = open("closed");
    elsewhere.destination = id(3).key();
    let mut resumed = open("closed");
    resumed.resume_offset = 1;
    let mut spent = open("closed");
    spent.budget = Duration::ZERO;
    // Longer than any clock can count to.
    let mut endless = open("closed");
    endless.budget = Duration::from_millis(u64::MAX);
    let table = [
        (open("nothing"), RefuseCode::UnknownService),
        (open("secret"), RefuseCode::NotAllowed),
        (open("packets"), RefuseCode::WrongKind),
        (elsewhere, RefuseCode::NotHere),
        (resumed, RefuseCode::ResumeUnsupported),
        (spent, RefuseCode::BudgetSpent),
        (open("closed"), RefuseCode::LocalRefused),
        (endless, RefuseCode::LocalRefused),
    ];
    for (open, expected) in table {
        let service = open.service.clone();
        match answer(&link, Frame::Open(open)).await {
            Ok(Frame::Refuse { code, .. }) => assert_eq!(code, expected, "{service}"),
            other => panic!("{service}: {other:?}"),
        }
        assert!(far.mesh.counts.opens_refused.value(expected) > 0);
    }
    stays(&near, 2, &link).await;
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn budget_of_a_peer_is_waited_out_up_to_a_minute_and_not_longer() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, SERVICES).await;
    let link = linked(&near, 2).await;
    for (budget_s, waited_s) in [(59, 59), (3_600, 60)] {
        // The name of the service's address is never answered.
        let mut patient = open("nowhere");
        patient.budget = Duration::from_secs(budget_s);
        let asked = clock::now();
        match answer_within(99_000, &link, Frame::Open(patient)).await {
            Ok(Frame::Refuse { code, .. }) => assert_eq!(code, RefuseCode::LocalTimeout),
            other => panic!("{other:?}"),
        }
        let took = clock::now() - asked;
        let expected = Duration::from_secs(waited_s);
        let round_trip = Duration::from_millis(22);
        assert!(
            (expected..=expected + round_trip).contains(&took),
            "{took:?}"
        );
    }
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn stream_without_an_open_is_reset_at_the_deadline_and_garbage_at_once() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, "").await;
    let link = linked(&near, 2).await;
    for (bytes, code, within_ms) in [
        (&[255, 255, 255, 255, 0, 0][..], StreamCode::Malformed, 100),
        (&[0][..], StreamCode::Deadline, 5_100),
    ] {
        // A frame of an unknown type is skipped.
        let skipped = bytes::Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff]);
        let (mut sender, mut receiver) = link.connection.open(after(1_000)).await.unwrap();
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        sender.write(skipped, after(1_000)).await.unwrap();
        sender.write(bytes, after(1_000)).await.unwrap();
        let read = receiver.read(1, after(within_ms)).await;
        assert_eq!(read, Err(ReadError::Reset(code)));
    }
    assert_eq!(far.mesh.counts.streams_unread.value(), 2);
    assert_eq!(far.mesh.counts.frames_skipped.value(), 2);
    stays(&near, 2, &link).await;
    end([near, far]).await;
}

// === Links ===

#[tokio::test(start_paused = true)]
async fn link_that_is_lost_is_known_as_lost_and_one_closed_here_by_its_code() {
    let fleet = Fleet::new();
    let near = fleet.start(1, &peer(2)).await;
    let far = fleet.start(2, "").await;
    let link = linked(&near, 2).await;
    let closed = |code| near.mesh.counts.links_closed.value(code);
    link.close(CloseCode::Malformed, "");
    assert!(!link.is_usable());
    until("closed", || closed(CloseCode::Malformed) == 1).await;
    let next = linked(&near, 2).await;
    assert_ne!(next.generation, link.generation);
    let blackhole = Path {
        blackhole: true,
        ..Path::with_delay(10)
    };
    fleet.net.set_path(2, blackhole);
    until("silent", || closed(CloseCode::Silent) == 1).await;
    assert_eq!(closed(CloseCode::Malformed), 1);
    fleet.net.set_path(2, Path::with_delay(10));
    linked(&near, 2).await;
    end([near, far]).await;
}

#[tokio::test(start_paused = true)]
async fn node_whose_one_loop_does_not_work_is_down_at_its_peer_though_the_other_answers() {
    for dead in ["link requests", "link packets"] {
        let fleet = Fleet::new();
        let near = fleet.start(1, &peer(2)).await;
        let far = fleet.start(2, "").await;
        let held = linked(&near, 2).await;
        // Until probes have settled, from when on the bound holds.
        stays(&near, 2, &held).await;
        assert_eq!(held.health(), Health::Up);
        let began = clock::now();
        far.tasks().abort_named(dead);
        until("down", || held.health() == Health::Down).await;
        let took = clock::now() - began;
        // The bound for one loop, with a round trip of 20 ms and a look every 5 ms.
        assert!(took <= Duration::from_millis(1_525), "{dead}: {took:?}");
        assert!(!held.has_ended(), "the rest of the node works");
        end([near, far]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn runbook_lists_every_metric_that_a_node_exports_and_no_other() {
    let fleet = Fleet::new();
    let node = fleet.start(1, "").await;
    let exported: BTreeSet<&str> = node.metrics().names().into_iter().collect();
    let runbook = include_str!("../../../RUNBOOK.md");
    let (_, table) = runbook.split_once("## Metrics").unwrap();
    let listed = table.split('`').filter(|word| word.starts_with("relay."));
    // The paragraph above the table explains the names with one of them.
    assert_eq!(listed.collect::<BTreeSet<_>>(), exported);
    end([node]).await;
}
