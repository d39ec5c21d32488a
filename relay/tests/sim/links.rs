//! Nodes link up and carry traffic.

use std::time::Duration;

use causeway::{clock, code::CloseCode};

use crate::{
    fleet::{Fleet, ms, sleep},
    traffic::{
        Scene, TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen,
        tcp_round_trip, udp_listen,
    },
};

#[tokio::test(start_paused = true)]
async fn two_nodes_are_linked_within_four_round_trips() {
    let mut fleet = Fleet::new(1);
    let (a, b) = (fleet.add("eu", "a", ""), fleet.add("us", "b", ""));
    fleet.delay(a, b, ms(50));
    fleet.pair(a, b);
    fleet.start_all().await;
    let took = fleet.until_linked(&[a, b], ms(5_000)).await;
    assert!(took <= ms(400), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn udp_and_tcp_cross_three_regions_both_ways() {
    let mut fleet = Fleet::new(2);
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    let tables = |first: &str, second: &str| {
        let to = |node: &str| format!("{{ node = \"{node}\" }}");
        [
            services.clone(),
            udp_listen(6000, &to(first)),
            udp_listen(6001, &to(second)),
            tcp_listen(6000, &to(first)),
            tcp_listen(6001, &to(second)),
        ]
        .concat()
    };
    let a = fleet.add("eu", "a", &tables("us/b", "ap/c"));
    let b = fleet.add("us", "b", &tables("eu/a", "ap/c"));
    let c = fleet.add("ap", "c", &tables("eu/a", "us/b"));
    fleet.delay(a, b, ms(40));
    fleet.delay(a, c, ms(110));
    fleet.delay(b, c, ms(75));
    fleet.full_mesh(&[a, b, c]);
    fleet.start_all().await;
    fleet.until_linked(&[a, b, c], ms(5_000)).await;
    let mut echoes = Vec::new();
    let mut flows = Vec::new();
    for member in [a, b, c] {
        echoes.push((
            UdpEcho::start(&fleet, member),
            start_tcp_echo(&fleet, member),
        ));
    }
    for member in [a, b, c] {
        for port in [6000, 6001] {
            flows.push(UdpFlow::start(&fleet, member, port, ms(20)));
            let program = fleet.program(member);
            let back = tcp_round_trip(&program, port, 300_000).await.unwrap();
            assert_eq!(back, 300_000);
        }
    }
    sleep(Duration::from_secs(2)).await;
    for flow in flows {
        flow.finish_without_loss().await;
    }
    for (echo, _) in &echoes {
        assert_eq!(echo.clients(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_ends_tells_its_peers_and_leaves_no_task() {
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    let mut scene = Scene::with_tables(3, &services, |_, _, _| {}).await;
    let _echo = UdpEcho::start(&scene.fleet, scene.a);
    let to = "{ node = \"eu/a\" }";
    let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
    let c = scene.fleet.add("us", "c", &[services, listens].concat());
    let fleet = &mut scene.fleet;
    for peer in [scene.a, scene.b] {
        fleet.delay(c, peer, ms(40));
        let (id, address) = (fleet.id(peer).clone(), fleet.address(peer).to_string());
        fleet.add_peer(c, &id, &[address]);
    }
    // One that will never answer.
    let silent = fleet.host("silent").ip();
    fleet.add_peer(
        c,
        &crate::fleet::node_id("us", "silent"),
        &[format!("{silent}:7400")],
    );
    fleet.add_seed(c, &format!("{silent}:7401"));
    fleet.start(c).await;
    fleet.until_linked(&[scene.a, c], ms(2_000)).await;
    let flow = UdpFlow::start(fleet, c, 6000, ms(20));
    sleep(ms(2_000)).await;
    assert!(flow.received() > 80);
    let tasks = fleet.node(c).tasks().clone();
    let began = clock::now();
    let overdue = fleet.shutdown(c, ms(5_000)).await;
    let took = clock::now() - began;
    assert!(overdue.is_empty(), "{overdue:?}");
    assert!(took <= ms(1_000), "{took:?}");
    assert!(
        tasks.list(clock::now()).is_empty(),
        "{:?}",
        tasks.list(clock::now())
    );
    let counts = tasks.counts();
    assert_eq!((counts.overdue, counts.panicked, counts.running), (0, 0, 0));
    sleep(ms(100)).await;
    for peer in [scene.a, scene.b] {
        assert!(fleet.link(peer, c).is_none());
        let closed = &fleet.mesh(peer).counts.links_closed;
        assert_eq!(closed.value(CloseCode::Shutdown), 1);
    }
    flow.finish().await;
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn node_ends_by_its_deadline_whatever_its_peers_do() {
    let mut fleet = Fleet::new(4);
    let members: Vec<_> = (0..5)
        .map(|n| fleet.add("eu", &format!("n{n}"), ""))
        .collect();
    fleet.full_mesh(&members);
    fleet.start_all().await;
    fleet.until_linked(&members, ms(2_000)).await;
    for member in &members[1..] {
        fleet.machine(*member).freeze();
    }
    let tasks = fleet.node(members[0]).tasks().clone();
    let began = clock::now();
    let overdue = fleet.shutdown(members[0], ms(3_000)).await;
    assert!(overdue.is_empty(), "{overdue:?}");
    assert!(clock::now() - began <= ms(1_000));
    assert_eq!(tasks.counts().running, 0);
}
