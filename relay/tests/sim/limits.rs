//! What a node may take and send: it says so at its limits, keeps to its caps, and counts.

use causeway::{
    accounts::Passage,
    code::RefuseCode,
    counts::PacketDrop,
    routes::{Fit, Kind},
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, local, start_tcp_echo, tcp_listen,
        tcp_round_trip, udp_listen,
    },
};

/// Packets and bytes that `at` has sent to a region.
fn sent(fleet: &Fleet, at: Member, region: &str, passage: Passage) -> (u64, u64) {
    let account = fleet.mesh(at).accounts.of(region);
    let cell = account.sent(passage);
    (cell.packets.value(), cell.bytes.value())
}

#[tokio::test(start_paused = true)]
async fn node_at_its_limits_sends_flows_and_streams_to_another_of_its_region() {
    let mut fleet = Fleet::new(400);
    let listens = [
        udp_listen(6000, "{ region = \"us\" }"),
        tcp_listen(7000, "{ region = \"us\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    let full = ["[limits]\nudp_flows = 1\n", &services].concat();
    let near = fleet.add("us", "near", &full);
    let other = fleet.add("us", "other", &services);
    fleet.delay(a, near, ms(30));
    fleet.delay(a, other, ms(60));
    fleet.delay(near, other, ms(40));
    fleet.full_mesh(&[a, near, other]);
    fleet.start_all().await;
    fleet.until_linked(&[a, near, other], ms(5_000)).await;
    sleep(ms(11_000)).await;
    let echoes = [near, other].map(|member| UdpEcho::start(&fleet, member));
    let _tcp = [near, other].map(|member| start_tcp_echo(&fleet, member));
    let first = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(1_000)).await;
    let second = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert_eq!(echoes.each_ref().map(UdpEcho::clients), [1, 1]);
    let refused = &fleet.mesh(near).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Elsewhere), 1);
    // One flow of one is all of what it may have, as it says within some seconds.
    sleep(ms(15_000)).await;
    assert!(fleet.mesh(near).load.load().as_permille() >= 900);
    // Held while the second node was asked, and none lost.
    for flow in [first, second] {
        let (sent, received) = flow.finish().await;
        assert_eq!(sent, received);
    }
    let program = fleet.program(a);
    let crossed = tcp_round_trip(&program, 7000, 5_000).await.unwrap();
    assert_eq!(crossed, 5_000);
    drop(echoes);
}

#[tokio::test(start_paused = true)]
async fn region_with_a_cap_gets_no_more_than_that_and_what_is_above_it_is_counted() {
    const SECONDS: u64 = 10;
    let mut fleet = Fleet::new(401);
    let cap = "[[cap]]\nregion = \"us\"\nrate_mbps = 1\n";
    let tables = [
        udp_listen(6000, "{ node = \"us/b\" }"),
        tcp_listen(7000, "{ node = \"us/b\" }"),
        cap.to_owned(),
    ];
    let a = fleet.add("eu", "a", &tables.concat());
    let b = fleet.add("us", "b", &[UDP_SERVICE, TCP_SERVICE].concat());
    fleet.delay(a, b, ms(20));
    fleet.pair(a, b);
    fleet.start_all().await;
    fleet.until_linked(&[a, b], ms(5_000)).await;
    sleep(ms(1_000)).await;
    let _echo = UdpEcho::start(&fleet, b);
    let _tcp = start_tcp_echo(&fleet, b);
    let (_, before) = sent(&fleet, a, "us", Passage::Direct);
    // Twice what it may have.
    let flow = UdpFlow::sized(&fleet, a, 6000, ms(4), 1_000);
    sleep(ms(SECONDS * 1_000)).await;
    let (_, after) = sent(&fleet, a, "us", Passage::Direct);
    let bits = (after - before) * 8 / SECONDS;
    assert!((950_000..=1_030_000).contains(&bits), "{bits} bit/s");
    let dropped = &fleet.mesh(a).counts.packets_dropped;
    assert!(dropped.value(PacketDrop::Capped) > 100 * SECONDS);
    flow.finish().await;
    // A stream waits, and loses nothing: 250 kB are 2 s.
    let began = fleet.elapsed();
    let program = fleet.program(a);
    let crossed = tcp_round_trip(&program, 7000, 250_000).await.unwrap();
    assert_eq!(crossed, 250_000);
    let took = fleet.elapsed() - began;
    assert!((ms(1_700)..ms(3_000)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_goes_to_a_region_is_counted_once_for_each_link_and_by_kind_of_path() {
    let mut fleet = Fleet::new(402);
    let a = fleet.add("eu", "a", &udp_listen(6000, "{ node = \"us/c\" }"));
    let b = fleet.add("ap", "b", "");
    let c = fleet.add("us", "c", UDP_SERVICE);
    for (from, to) in [(a, b), (b, c), (a, c)] {
        fleet.delay(from, to, ms(20));
    }
    fleet.full_mesh(&[a, b, c]);
    fleet.start_all().await;
    fleet.until_linked(&[a, b, c], ms(5_000)).await;
    sleep(ms(2_000)).await;
    let _echo = UdpEcho::start(&fleet, c);
    let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(2_000)).await;
    let direct = sent(&fleet, a, "us", Passage::Direct);
    assert!(direct.0 >= 95, "{direct:?}");
    // 36 bytes of header before each.
    assert_eq!(direct.1, direct.0 * 236);
    assert_eq!(sent(&fleet, a, "ap", Passage::Overlay), (0, 0));
    let (near, far) = (fleet.machine(a), fleet.machine(c));
    fleet.sim.cut(near, far);
    fleet.sim.cut(far, near);
    let key = fleet.key(c);
    let detour = || {
        let route = fleet.mesh(a).routes.get(Kind::Interactive, key);
        route.is_some_and(|route| !route.primary.is_direct() && route.primary.fit() == Fit::Good)
    };
    fleet.until("detour", ms(2_000), detour).await;
    let onward = sent(&fleet, b, "us", Passage::Overlay);
    sleep(ms(2_000)).await;
    let first = sent(&fleet, a, "ap", Passage::Overlay);
    let second = sent(&fleet, b, "us", Passage::Overlay);
    assert!(first.0 >= 95, "{first:?}");
    assert!(second.0 - onward.0 >= 95, "{second:?} after {onward:?}");
    // A hop is 8 bytes, and the last link has none to go.
    assert_eq!(first.1, first.0 * 244);
    assert_eq!(second.1, second.0 * 236);
    let received = fleet.mesh(c).accounts.of("ap");
    assert!(received.received().packets.value() + 5 >= second.0);
    flow.finish().await;
}

#[tokio::test(start_paused = true)]
async fn node_that_sends_what_it_may_tells_all_and_takes_nothing_new() {
    let mut fleet = Fleet::new(403);
    let listens = [
        udp_listen(6000, "{ region = \"us\" }"),
        tcp_listen(7000, "{ region = \"us\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    let busy = ["[limits]\nrate_mbps = 1\n", &services].concat();
    let near = fleet.add("us", "near", &busy);
    let few = ["[limits]\ntcp_streams = 4\n", &services].concat();
    let next = fleet.add("us", "next", &few);
    for (from, to, one_way) in [(a, near, 30), (a, next, 60), (near, next, 70)] {
        fleet.delay(from, to, ms(one_way));
    }
    fleet.full_mesh(&[a, near, next]);
    fleet.start_all().await;
    fleet.until_linked(&[a, near, next], ms(5_000)).await;
    sleep(ms(11_000)).await;
    let echoes = [near, next].map(|member| UdpEcho::start(&fleet, member));
    let _tcp = [near, next].map(|member| start_tcp_echo(&fleet, member));
    let told = |node| {
        let route = fleet.mesh(a).routes.get(Kind::Interactive, fleet.key(node));
        route.unwrap().load.as_permille()
    };
    assert_eq!(told(near), 0);
    // It sends back what comes: half of what it may.
    let half = UdpFlow::sized(&fleet, a, 6000, ms(16), 964);
    sleep(ms(30_000)).await;
    assert!((450..=550).contains(&told(near)), "{}", told(near));
    let more = UdpFlow::sized(&fleet, a, 6000, ms(8), 964);
    sleep(ms(30_000)).await;
    assert!(told(near) >= 1_000, "{}", told(near));
    assert_eq!(echoes.each_ref().map(UdpEcho::clients), [2, 0]);
    let late = UdpFlow::start(&fleet, a, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert_eq!(echoes.each_ref().map(UdpEcho::clients), [2, 1]);
    let program = fleet.program(a);
    let crossed = tcp_round_trip(&program, 7000, 5_000).await.unwrap();
    assert_eq!(crossed, 5_000);
    let refused = &fleet.mesh(near).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Elsewhere), 2);
    // A stream of four is a quarter.
    let mut held = program.connect_tcp(local(7000)).await.unwrap();
    held.write_all(b"x").await.unwrap();
    sleep(ms(25_000)).await;
    assert!((200..=250).contains(&told(next)), "{}", told(next));
    drop(held);
    // What it has goes on.
    for flow in [half, more, late] {
        flow.finish_without_loss().await;
    }
}

/// Streams from `a` to `c` go over `full`, whose tables say what it may have.
async fn detoured(seed: u64, tables: &str) -> (Fleet, [Member; 3]) {
    let mut fleet = Fleet::new(seed);
    let listens = [
        udp_listen(6000, "{ node = \"ap/full\" }"),
        tcp_listen(7000, "{ node = \"us/c\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let full = fleet.add("ap", "full", tables);
    let c = fleet.add("us", "c", TCP_SERVICE);
    for (from, to, one_way) in [(a, full, 20), (full, c, 20), (a, c, 100)] {
        fleet.delay(from, to, ms(one_way));
    }
    fleet.full_mesh(&[a, full, c]);
    fleet.start_all().await;
    fleet.until_linked(&[a, full, c], ms(5_000)).await;
    let key = fleet.key(c);
    let detour = || {
        let route = fleet.mesh(a).routes.get(Kind::Bulk, key);
        route.is_some_and(|route| !route.primary.is_direct() && route.backup.is_some())
    };
    fleet.until("detour", ms(30_000), detour).await;
    (fleet, [a, full, c])
}

#[tokio::test(start_paused = true)]
async fn stream_takes_another_way_where_a_node_on_the_first_is_at_its_limits() {
    let (fleet, [a, full, c]) = detoured(404, "[limits]\ntcp_streams = 2\n").await;
    let _tcp = start_tcp_echo(&fleet, c);
    let program = fleet.program(a);
    let mut held = program.connect_tcp(local(7000)).await.unwrap();
    held.write_all(b"x").await.unwrap();
    sleep(ms(1_000)).await;
    let crossed = tcp_round_trip(&program, 7000, 5_000).await.unwrap();
    assert_eq!(crossed, 5_000);
    let refused = &fleet.mesh(full).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Unreachable), 1);
}

#[tokio::test(start_paused = true)]
async fn stream_takes_another_way_where_a_node_on_the_first_sends_what_it_may() {
    let busy = ["[limits]\nrate_mbps = 1\n", UDP_SERVICE].concat();
    let (fleet, [a, full, c]) = detoured(406, &busy).await;
    let (_udp, _tcp) = (UdpEcho::start(&fleet, full), start_tcp_echo(&fleet, c));
    let flow = UdpFlow::sized(&fleet, a, 6000, ms(4), 964);
    // The others do not know it yet, and still go there.
    let is_full = || fleet.mesh(full).load.load().as_permille() >= 1_000;
    fleet.until("full", ms(30_000), is_full).await;
    let crossed = tcp_round_trip(&fleet.program(a), 7000, 5_000)
        .await
        .unwrap();
    assert_eq!(crossed, 5_000);
    let refused = &fleet.mesh(full).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Unreachable), 1);
    flow.finish().await;
}

#[tokio::test(start_paused = true)]
async fn streams_are_counted_by_kind_of_path_and_wait_for_the_cap_of_each_node_on_it() {
    const BYTES: usize = 250_000;
    let mut fleet = Fleet::new(405);
    let listens = [
        udp_listen(6000, "{ node = \"us/c\" }"),
        tcp_listen(7000, "{ node = \"us/c\" }"),
    ];
    let a = fleet.add("eu", "a", &listens.concat());
    let b = fleet.add("ap", "b", "[[cap]]\nregion = \"us\"\nrate_mbps = 1\n");
    let c = fleet.add("us", "c", &[UDP_SERVICE, TCP_SERVICE].concat());
    for (from, to) in [(a, b), (b, c), (a, c)] {
        fleet.delay(from, to, ms(20));
    }
    fleet.full_mesh(&[a, b, c]);
    fleet.start_all().await;
    fleet.until_linked(&[a, b, c], ms(5_000)).await;
    sleep(ms(2_000)).await;
    let _tcp = start_tcp_echo(&fleet, c);
    let _echo = UdpEcho::start(&fleet, c);
    let program = fleet.program(a);
    let round_trip = async || {
        let began = fleet.elapsed();
        assert_eq!(tcp_round_trip(&program, 7000, BYTES).await.unwrap(), BYTES);
        fleet.elapsed() - began
    };
    let bytes = |at, region, passage| sent(&fleet, at, region, passage).1;
    let received = |at, region| {
        let account = fleet.mesh(at).accounts.of(region);
        account.received().bytes.value()
    };
    let all = BYTES as u64;
    assert!(round_trip().await < ms(1_000));
    for (at, far) in [(a, "us"), (c, "eu")] {
        assert_eq!(bytes(at, far, Passage::Direct), all);
        assert_eq!(bytes(at, far, Passage::Overlay), 0);
        assert_eq!(received(at, far), all);
    }
    let (near, far) = (fleet.machine(a), fleet.machine(c));
    fleet.sim.cut_both(near, far);
    let key = fleet.key(c);
    let detour = || {
        let route = fleet.mesh(a).routes.get(Kind::Bulk, key);
        route.is_some_and(|route| !route.primary.is_direct() && route.primary.fit() == Fit::Good)
    };
    fleet.until("detour", ms(2_000), detour).await;
    // 250 kB at 1 Mbit/s are 2 s.
    let took = round_trip().await;
    assert!((ms(1_700)..ms(3_000)).contains(&took), "{took:?}");
    for (at, far) in [(a, "ap"), (c, "ap")] {
        assert_eq!(bytes(at, far, Passage::Overlay), all);
        assert_eq!(bytes(at, far, Passage::Direct), 0);
    }
    // An answer is among what `b` carries back.
    assert_eq!(bytes(b, "us", Passage::Overlay), all);
    assert_eq!(received(b, "eu"), all);
    let back = bytes(b, "eu", Passage::Overlay);
    assert!((all..all + 100).contains(&back), "{back}");
    assert_eq!(received(b, "us"), back);
    // Packets of others are dropped, and those who sent them pay for their own.
    let before = bytes(b, "us", Passage::Overlay);
    let flow = UdpFlow::sized(&fleet, a, 6000, ms(4), 1_000);
    sleep(ms(10_000)).await;
    let bits = (bytes(b, "us", Passage::Overlay) - before) * 8 / 10;
    assert!((900_000..=1_030_000).contains(&bits), "{bits} bit/s");
    let dropped = |at| {
        let dropped = &fleet.mesh(at).counts.packets_dropped;
        dropped.value(PacketDrop::Capped)
    };
    assert!(dropped(b) > 1_000);
    assert_eq!(dropped(a), 0);
    flow.finish().await;
}
