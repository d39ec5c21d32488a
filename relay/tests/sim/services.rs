//! Services: declared, found, refused, ended, and moved from link to link.

use std::io::ErrorKind;

use causeway::{
    clock,
    code::RefuseCode,
    counts::StreamEnd,
    identity::{
        Pem,
        pki::{Authority, Validity},
    },
    wire::{Frame, ServiceDecl, ServiceKind, ServicesDecl},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    env::epoch,
    fleet::{Fleet, authority, ms, sleep, year},
    raw::{Answers, Raw},
    traffic::{
        Scene, TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, local, start_tcp, start_tcp_echo,
        tcp_listen, tcp_round_trip, udp_listen,
    },
};

fn declaration(version: u64, names: &[&str]) -> ServicesDecl {
    let service = |name: &&str| ServiceDecl {
        name: (*name).to_owned(),
        kind: ServiceKind::Udp,
    };
    ServicesDecl {
        version,
        services: names.iter().map(service).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn declaration_that_differs_from_its_digest_is_asked_for_again_at_once() {
    let scene = Scene::new(80, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let mesh = scene.fleet.mesh(scene.a);
    let link = raw.link(scene.fleet.address(scene.a), Answers::ALL).await;
    let held = || mesh.links.get(raw.id.key()).unwrap().declared();
    let said = declaration(1, &["one"]);
    link.say(&Frame::Services(said.clone()));
    link.say(&Frame::ServicesDigest(said.digest()));
    sleep(ms(100)).await;
    assert_eq!(*held(), said);
    assert_eq!(mesh.counts.declarations_differed.value(), 0);
    // It claims to have declared more: asked for with one round trip.
    let truth = declaration(2, &["one", "two"]);
    link.say(&Frame::ServicesDigest(truth.digest()));
    sleep(ms(100)).await;
    let wanted = Frame::ServicesWanted { have_version: 1 };
    assert_eq!(
        link.heard
            .lock()
            .iter()
            .filter(|frame| **frame == wanted)
            .count(),
        1
    );
    assert_eq!(mesh.counts.declarations_differed.value(), 1);
    link.say(&Frame::Services(truth.clone()));
    link.say(&Frame::ServicesDigest(truth.digest()));
    sleep(ms(100)).await;
    assert_eq!(*held(), truth);
    assert_eq!(mesh.counts.declarations_differed.value(), 1);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn services_are_declared_on_each_link_when_asked_and_by_digest_every_ten_seconds() {
    let scene = Scene::with_tables(81, UDP_SERVICE, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let expected = declaration(1, &["echo"]);
    let count = |link: &crate::raw::RawLink, test: &dyn Fn(&Frame) -> bool| {
        link.heard.lock().iter().filter(|frame| test(frame)).count()
    };
    for _ in 0..2 {
        let link = raw.link(scene.fleet.address(scene.a), Answers::ALL).await;
        let declared = |frame: &Frame| *frame == Frame::Services(expected.clone());
        assert_eq!(count(&link, &declared), 1);
        link.say(&Frame::ServicesWanted { have_version: 0 });
        sleep(ms(100)).await;
        assert_eq!(count(&link, &declared), 2);
        sleep(ms(20_000)).await;
        let digest = |frame: &Frame| *frame == Frame::ServicesDigest(expected.digest());
        assert_eq!(count(&link, &digest), 2);
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn region_listen_picks_the_nearest_node_that_declares_the_service_and_then_the_next() {
    let mut fleet = Fleet::new(82);
    let listens = [
        udp_listen(6000, "{ region = \"us\" }"),
        tcp_listen(7000, "{ region = \"us\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let both = [UDP_SERVICE, TCP_SERVICE].concat();
    let far = fleet.add("us", "far", &both);
    let near = fleet.add("us", "near", &both);
    let nearest = fleet.add("us", "nearest", "");
    // Exposes both, to others than `a`.
    let closed = fleet.add("us", "closed", &both.replace("region/*", "region/ap"));
    let elsewhere = fleet.add("ap", "elsewhere", &both);
    for (to, one_way) in [
        (far, 80),
        (near, 40),
        (nearest, 10),
        (closed, 5),
        (elsewhere, 2),
    ] {
        fleet.delay(a, to, ms(one_way));
        fleet.pair(a, to);
    }
    // No way over another node is shorter than the link.
    let others = [far, near, nearest, closed, elsewhere];
    for (at, from) in others.iter().enumerate() {
        for to in &others[at + 1..] {
            fleet.delay(*from, *to, ms(90));
        }
    }
    fleet.start_all().await;
    for to in [far, near, nearest, closed, elsewhere] {
        fleet.until_linked(&[a, to], ms(5_000)).await;
    }
    sleep(ms(3_000)).await;
    let echoes = [far, near, closed, elsewhere].map(|to| UdpEcho::start(&fleet, to));
    let _tcp = [far, near].map(|to| start_tcp_echo(&fleet, to));
    let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert_eq!(echoes.each_ref().map(UdpEcho::clients), [0, 1, 0, 0]);
    let program = fleet.program(a);
    assert_eq!(tcp_round_trip(&program, 7000, 5_000).await.unwrap(), 5_000);
    assert!(flow.received() >= 40);
    // The nearest dies: its flow goes to the next as soon as no other node leads there. Those find
    // out within 0.9 s and a round trip of theirs, doubt themselves for 0.5 s, and tell in 0.1 s and
    // what offer, request and advert take.
    fleet.kill(near);
    sleep(ms(3_000)).await;
    assert_eq!(echoes.each_ref().map(UdpEcho::clients), [1, 1, 0, 0]);
    let gap = flow.longest_gap();
    let known = ms(900 + 180 + 500 + 100 + 3 * 10);
    assert!(gap <= known + ms(160 + 80 + 20), "{gap:?}");
    assert_eq!(tcp_round_trip(&program, 7000, 5_000).await.unwrap(), 5_000);
    let (sent, received) = flow.finish().await;
    assert!(received < sent);
}

#[tokio::test(start_paused = true)]
async fn service_that_allows_nobody_is_neither_declared_nor_served() {
    let nobody = [UDP_SERVICE, TCP_SERVICE]
        .concat()
        .replace("allow = [\"spiffe://example.org/region/*/node/*\"]", "");
    let to = "{ node = \"us/c\" }";
    let listens = [udp_listen(6001, to), tcp_listen(7001, to)].concat();
    let mut shy = None;
    let mut scene = Scene::with_tables(83, &listens, |fleet, a, _| {
        let c = fleet.add("us", "c", &nobody);
        fleet.pair(a, c);
        shy = Some(c);
    })
    .await;
    let (a, c) = (scene.a, shy.unwrap());
    scene.fleet.start(c).await;
    let fleet = &scene.fleet;
    fleet.until_linked(&[a, c], ms(5_000)).await;
    sleep(ms(500)).await;
    assert!(fleet.link(a, c).unwrap().declared().services.is_empty());
    let echo = UdpEcho::start(fleet, c);
    let tcp = start_tcp_echo(fleet, c);
    let flow = UdpFlow::start(fleet, a, 6001, ms(20));
    let error = tcp_round_trip(&fleet.program(a), 7001, 10)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    sleep(ms(900)).await;
    assert_eq!((echo.clients(), flow.received()), (0, 0));
    // A refused flow is not asked for with every packet.
    let refused = fleet
        .mesh(c)
        .counts
        .opens_refused
        .value(RefuseCode::NotAllowed);
    assert!((2..=3).contains(&refused), "{refused}");
    drop((flow.finish().await, tcp));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn local_service_that_is_down_slow_or_breaks_off_shows_at_the_near_end() {
    let to = "{ node = \"us/c\" }";
    let mut serving = None;
    let mut scene = Scene::with_tables(84, &tcp_listen(7001, to), |fleet, a, b| {
        let c = fleet.add("us", "c", TCP_SERVICE);
        fleet.delay(a, c, ms(40));
        fleet.delay(b, c, ms(40));
        fleet.pair(a, c);
        serving = Some(c);
    })
    .await;
    let (a, c) = (scene.a, serving.unwrap());
    scene.fleet.start(c).await;
    let fleet = &scene.fleet;
    fleet.until_linked(&[a, c], ms(5_000)).await;
    let program = fleet.program(a);
    let refused = &fleet.mesh(c).counts.opens_refused;

    // Down: reset after one round trip.
    let began = clock::now();
    let error = tcp_round_trip(&program, 7001, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(clock::now() - began <= ms(100));
    assert_eq!(refused.value(RefuseCode::LocalRefused), 1);

    // Slow: nobody accepts, and the backlog is full. Reset when the budget is spent, at both ends.
    let stuck = fleet.program(c);
    let listener = stuck.listen_tcp(local(5001)).unwrap();
    let mut backlog = Vec::new();
    while let Ok(connected) = tokio::time::timeout(ms(10), stuck.connect_tcp(local(5001))).await {
        backlog.push(connected.unwrap());
    }
    let began = clock::now();
    let error = tcp_round_trip(&program, 7001, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let took = clock::now() - began;
    assert!(took >= ms(4_990) && took <= ms(5_010), "{took:?}");
    sleep(ms(100)).await;
    assert_eq!(refused.value(RefuseCode::LocalTimeout), 1);
    drop((backlog, listener));

    // Closes early: what it said arrives, and then the end.
    let early = start_tcp(fleet, c, |mut stream| async move {
        stream.write_all(b"bye").await.unwrap();
    });
    let mut stream = program.connect_tcp(local(7001)).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"bye");
    early.kill();

    // Breaks off: the near end reads a reset, never a part as if it were the whole.
    let breaking = start_tcp(fleet, c, |mut stream| async move {
        stream.write_all(b"half of wh").await.unwrap();
        sleep(ms(200)).await;
        stream.reset();
    });
    let mut stream = program.connect_tcp(local(7001)).await.unwrap();
    let mut said = Vec::new();
    let error = stream.read_to_end(&mut said).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(stream);
    sleep(ms(200)).await;
    let ended = &fleet.mesh(c).counts.streams_ended;
    assert_eq!(ended.value(StreamEnd::LocalBroke), 1);
    breaking.kill();

    // And it serves again when the service does.
    let echo = start_tcp_echo(fleet, c);
    assert_eq!(
        tcp_round_trip(&program, 7001, 100_000).await.unwrap(),
        100_000
    );
    drop(echo);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn idle_flow_expires_at_both_ends_and_the_next_packet_opens_another() {
    let mut fleet = Fleet::new(85);
    let listen = format!(
        "{}idle_timeout_s = 2\n",
        udp_listen(6000, "{ node = \"us/b\" }")
    );
    let (a, b) = (
        fleet.add("eu", "a", &listen),
        fleet.add("us", "b", UDP_SERVICE),
    );
    fleet.delay(a, b, ms(40));
    fleet.pair(a, b);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    sleep(ms(40_000)).await;
    let calm = [a, b].map(|member| fleet.node(member).tasks().counts().running);
    let echo = UdpEcho::start(&fleet, b);
    let host = fleet.program(a);
    let socket = host.bind_udp(local(0)).unwrap();
    let mut buffer = [0; 100];
    let flows = |fleet: &Fleet| {
        let tasks = fleet.node(b).tasks().list(clock::now());
        tasks
            .iter()
            .filter(|task| task.name == "udp service")
            .count()
    };
    for round in 1..=2 {
        for _ in 0..3 {
            socket.try_send_to(b"ping", local(6000)).unwrap();
            socket.recv_from(&mut buffer).await.unwrap();
            sleep(ms(1_500)).await;
        }
        assert_eq!(flows(&fleet), 1);
        sleep(ms(800)).await;
        assert_eq!(flows(&fleet), 0);
        assert_eq!(echo.clients(), round);
        let now = [a, b].map(|member| fleet.node(member).tasks().counts().running);
        assert_eq!(now, calm);
    }
}

/// Replaces what `member` proves itself with and whom it believes.
fn install(
    fleet: &Fleet,
    member: crate::fleet::Member,
    from: &Authority,
    validity: Validity,
    believed: &[&Authority],
) {
    let issued = from.node(fleet.id(member), validity).unwrap();
    let bundle: String = believed.iter().map(|ca| ca.certificate_pem()).collect();
    fleet.certificates(member).replace(Pem {
        bundle: bundle.into_bytes(),
        ..issued
    });
}

#[tokio::test(start_paused = true)]
async fn authority_is_changed_under_traffic_and_links_are_replaced_without_loss() {
    let mut fleet = Fleet::new(86);
    let to = "{ node = \"us/b\" }";
    let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
    let a = fleet.add("eu", "a", &listens);
    let b = fleet.add("us", "b", &[UDP_SERVICE, TCP_SERVICE].concat());
    fleet.delay(a, b, ms(40));
    fleet.pair(a, b);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    sleep(ms(1_000)).await;
    let echo = UdpEcho::start(&fleet, b);
    let tcp = start_tcp_echo(&fleet, b);
    let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
    // A stream that began before and ends after.
    let host = fleet.program(a);
    let mut stream = host.connect_tcp(local(7000)).await.unwrap();
    stream.write_all(b"before").await.unwrap();
    let first = fleet.link(a, b).unwrap().generation;

    let old = authority("example.org", 86);
    let new = authority("example.org", 87);
    // Both are believed, then both nodes take certificates of the new one: links stay.
    for believed in [&[&old, &new], &[&old, &new]] {
        for member in [a, b] {
            let from = if believed.len() == 2 { &new } else { &old };
            install(&fleet, member, from, year(), believed);
            fleet.reload(member).await;
        }
        sleep(ms(500)).await;
    }
    assert_eq!(fleet.link(a, b).unwrap().generation, first);
    // The old one is no longer believed: links with its certificates are replaced.
    for member in [a, b] {
        install(&fleet, member, &new, year(), &[&new]);
        fleet.reload(member).await;
    }
    let replaced = || fleet.linked(a, b) && fleet.link(a, b).unwrap().generation != first;
    fleet.until("replaced", ms(5_000), replaced).await;
    sleep(ms(500)).await;
    stream.write_all(b" and after").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "before and after");
    sleep(ms(40_000)).await;
    assert!(fleet.linked(a, b));
    for (from, to) in [(a, b), (b, a)] {
        assert_eq!(fleet.peer(from, to).unwrap().report.load().links.len(), 1);
    }
    assert!(flow.longest_gap() <= ms(120), "{:?}", flow.longest_gap());
    flow.finish_without_loss().await;
    assert_eq!(echo.clients(), 1, "the service saw one client throughout");
    drop(tcp);
}

#[tokio::test(start_paused = true)]
async fn certificate_that_was_renewed_in_time_is_replaced_on_links_when_it_expires() {
    let mut fleet = Fleet::new(88);
    let a = fleet.add("eu", "a", &udp_listen(6000, "{ node = \"us/b\" }"));
    let b = fleet.add("us", "b", UDP_SERVICE);
    fleet.delay(a, b, ms(40));
    fleet.pair(a, b);
    let minute = Validity {
        not_before: epoch(),
        not_after: epoch() + ms(60_000),
    };
    let ca = authority("example.org", 88);
    install(&fleet, b, &ca, minute, &[&ca]);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    let echo = UdpEcho::start(&fleet, b);
    let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(30_000)).await;
    let first = fleet.link(a, b).unwrap().generation;
    // Noticed without a signal, and nothing else happens yet.
    install(&fleet, b, &ca, year(), &[&ca]);
    sleep(ms(28_000)).await;
    assert_eq!(fleet.link(a, b).unwrap().generation, first);
    sleep(ms(15_000)).await;
    let second = fleet.link(a, b).unwrap().generation;
    assert_ne!(second, first);
    sleep(ms(60_000)).await;
    assert_eq!(fleet.link(a, b).unwrap().generation, second);
    flow.finish_without_loss().await;
    assert_eq!(echo.clients(), 1);
}

#[tokio::test(start_paused = true)]
async fn reload_adds_and_removes_peers_and_leaves_the_others_alone() {
    let mut scene = Scene::new(89, |_, _, _| {}).await;
    let (a, b) = (scene.a, scene.b);
    // In the mesh, a node would keep its link.
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let (id, address) = (scene.fleet.id(b).clone(), scene.fleet.address(b));
    for _ in 0..3 {
        let fleet = &mut scene.fleet;
        fleet.add_peer(a, &raw.id, &[raw.address().to_string()]);
        fleet.reload(a).await;
        let accepted = tokio::time::timeout(ms(1_000), raw.accept_link(Answers::ALL));
        let link = accepted.await.unwrap();
        sleep(ms(2_000)).await;
        assert!(link.is_open());
        fleet.clear_peers(a);
        fleet.add_peer(a, &id, &[address.to_string()]);
        fleet.reload(a).await;
        fleet.until("removed", ms(2_000), || !link.is_open()).await;
        sleep(ms(12_000)).await;
        let known = fleet.mesh(a).links.snapshot();
        assert!(!known.contains_key(&raw.id.key()));
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn fast_flow_is_back_as_soon_as_its_link_is() {
    let mut fleet = Fleet::new(91);
    let a = fleet.add("eu", "a", &udp_listen(6000, "{ node = \"us/b\" }"));
    let b = fleet.add("us", "b", UDP_SERVICE);
    fleet.delay(a, b, ms(40));
    fleet.pair(a, b);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    let echo = UdpEcho::start(&fleet, b);
    let flow = UdpFlow::start(&fleet, a, 6000, ms(1));
    sleep(ms(1_000)).await;
    fleet.kill(b);
    // Longer than the packets that are held last, and shorter than a flow waits for its link.
    sleep(ms(2_000)).await;
    fleet.start(b).await;
    fleet.until_linked(&[a, b], ms(2_000)).await;
    let linked_at = fleet.elapsed();
    sleep(ms(1_000)).await;
    // One round trip to open it, one for the packet.
    let back = flow.first_after(linked_at).unwrap() - linked_at;
    assert!(back <= ms(2 * 80 + 5), "{back:?}");
    flow.finish().await;
    drop(echo);
}

#[tokio::test(start_paused = true)]
async fn flow_that_only_its_service_still_sends_on_moves_with_the_link() {
    let mut fleet = Fleet::new(92);
    let a = fleet.add("eu", "a", &udp_listen(6000, "{ node = \"us/b\" }"));
    let b = fleet.add("us", "b", UDP_SERVICE);
    fleet.delay(a, b, ms(40));
    fleet.pair(a, b);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    sleep(ms(1_000)).await;
    // Sends for half a minute to whoever has asked once.
    let service = fleet.program(b);
    let socket = service.bind_udp(local(5000)).unwrap();
    drop(service.spawn(async move {
        let (_, client) = socket.recv_from(&mut [0; 10]).await.unwrap();
        for number in 0..1_500_u64 {
            socket.try_send_to(&number.to_be_bytes(), client).unwrap();
            sleep(ms(20)).await;
        }
    }));
    let host = fleet.program(a);
    let client = host.bind_udp(local(0)).unwrap();
    client.try_send_to(b"go", local(6000)).unwrap();
    sleep(ms(2_000)).await;
    let first = fleet.link(a, b).unwrap().generation;
    let (old, new) = (authority("example.org", 92), authority("example.org", 93));
    for believed in [&[&old, &new][..], &[&new]] {
        for member in [a, b] {
            install(&fleet, member, &new, year(), believed);
            fleet.reload(member).await;
        }
        sleep(ms(500)).await;
    }
    let replaced = || fleet.linked(a, b) && fleet.link(a, b).unwrap().generation != first;
    fleet.until("replaced", ms(5_000), replaced).await;
    sleep(ms(30_000)).await;
    let mut numbers = Vec::new();
    let mut buffer = [0; 8];
    while let Ok((8, _)) = client.try_recv_from(&mut buffer) {
        numbers.push(u64::from_be_bytes(buffer));
    }
    assert_eq!(numbers, (0..1_500).collect::<Vec<_>>());
}
