//! What a node may take and send: it says so at its limits, keeps to its caps, and counts.

use causeway::{
    accounts::Passage,
    code::RefuseCode,
    counts::PacketDrop,
    routes::{Fit, Kind},
};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
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
