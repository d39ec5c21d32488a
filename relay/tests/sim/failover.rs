//! Flows and streams leave a path that is cut, or that cannot go on.

use std::time::Duration;

use causeway::{
    clock,
    code::{CloseCode, RefuseCode},
    counts::{ForwardRefusal, PacketDrop},
};

use crate::{
    diamond::{Diamond, OVER_M, OVER_N},
    fleet::{Member, ms, sleep},
    traffic::{UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_round_trip, udp_listen},
};

/// A packet each, and what a lost one is counted by.
const INTERVAL: Duration = ms(10);
/// Virtual time has ticks of a millisecond, one at each node.
const TICKS: Duration = ms(10);

/// Silence of a path for `gap` costs what was sent in it, and a packet at either end.
fn assert_lost_in(gap: Duration, (sent, received): (u64, u64)) {
    let most = gap.as_millis() / INTERVAL.as_millis() + 2;
    let lost = sent - received;
    assert!(
        u128::from(lost) <= most,
        "{lost} of {sent} are lost in {gap:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn spare_takes_over_at_once_when_the_first_link_breaks_and_only_what_was_under_way_is_lost() {
    let scene = Diamond::new(142).await;
    let Diamond { i, m, n, e, .. } = scene;
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, INTERVAL);
    sleep(ms(1_000)).await;
    assert_eq!(scene.forwarded(n), 0, "the spare carries nothing yet");
    let link = scene.fleet.link(i, m).unwrap();
    link.close(CloseCode::Overloaded, "");
    sleep(ms(1_000)).await;
    // With nothing held, the first packet after the break is back then.
    let gap = flow.longest_gap();
    assert!(gap <= OVER_N + INTERVAL + ms(2), "{gap:?}");
    assert!(scene.forwarded(n) > 0);
    // The link is there again soon, and the flow goes back to it.
    scene.until_route(i, &[m, e], Some(&[n, e])).await;
    sleep(ms(1_000)).await;
    // What was on the first way there and back, and a tick at either end.
    assert_lost_in(OVER_M, flow.finish().await);
    assert_eq!(echo.clients(), 1, "the service sees one client throughout");
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn flow_moves_to_its_spare_when_a_node_on_the_way_cannot_go_on() {
    let scene = Diamond::new(143).await;
    let Diamond { i, m, n, e, .. } = scene;
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, INTERVAL);
    sleep(ms(1_000)).await;
    // It takes a round trip until the pair has another link; by then the flow has moved.
    let link = scene.fleet.link(m, e).unwrap();
    link.close(CloseCode::Overloaded, "");
    sleep(ms(600)).await;
    let dropped = &scene.fleet.mesh(m).counts.packets_dropped;
    assert!(dropped.value(PacketDrop::NoLink) > 0);
    assert!(scene.forwarded(n) >= 30, "{}", scene.forwarded(n));
    // Until the node has told, 40 ms, besides what the new way takes.
    let gap = flow.longest_gap();
    assert!(gap <= ms(40) + OVER_N + INTERVAL, "{gap:?}");
    sleep(ms(3_000)).await;
    assert_lost_in(gap, flow.finish().await);
    assert_eq!(echo.clients(), 1);
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn way_that_ends_early_is_told_and_the_other_one_is_taken_by_flows_and_streams() {
    let scene = Diamond::new(144).await;
    let Diamond { i, m, n, e, .. } = scene;
    let (_echo, _tcp) = (
        UdpEcho::start(&scene.fleet, e),
        start_tcp_echo(&scene.fleet, e),
    );
    // Nobody but `m` knows yet, and it is not linked again.
    scene.cut(m, e);
    let link = scene.fleet.link(m, e).unwrap();
    link.close(CloseCode::Overloaded, "");
    let began = clock::now();
    let flow = UdpFlow::start(&scene.fleet, i, 6000, INTERVAL);
    let program = scene.fleet.program(i);
    let asked = scene.fleet.machine(i).spawn(async move {
        let back = tcp_round_trip(&program, 7000, 5_000).await;
        (back.unwrap(), clock::now())
    });
    let opened = || flow.received() > 0;
    scene
        .fleet
        .until("a packet is back", ms(1_000), opened)
        .await;
    // Until `m` has answered, for the opening, and for the packet.
    let took = clock::now() - began;
    assert!(took <= ms(40) + 2 * OVER_N + TICKS, "{took:?}");
    let (back, at) = asked.await.unwrap();
    assert_eq!(back, 5_000);
    let took = at - began;
    assert!(took <= ms(40) + 3 * OVER_N + TICKS, "{took:?}");
    assert_eq!(scene.refused(m, ForwardRefusal::NoLink), 2);
    let refused = &scene.fleet.mesh(m).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Unreachable), 1);
    flow.finish_without_loss().await;
    // Every other way ends with the same link.
    scene.until_route(i, &[n, e], None).await;
    scene.assert_healthy();
}

/// Cuts one link under a flow: how long nothing came back, and what was sent and received.
async fn cut_under_a_flow(scene: &Diamond, a: Member, b: Member) -> (Duration, (u64, u64)) {
    let echo = UdpEcho::start(&scene.fleet, scene.e);
    let flow = UdpFlow::start(&scene.fleet, scene.i, 6000, INTERVAL);
    sleep(ms(3_000)).await;
    scene.cut(a, b);
    sleep(ms(3_000)).await;
    let gap = flow.longest_gap();
    scene.heal(a, b);
    // All is as it was, and on the way back nothing is lost.
    scene
        .until_route(scene.i, &[scene.m, scene.e], Some(&[scene.n, scene.e]))
        .await;
    sleep(ms(2_000)).await;
    assert_eq!(flow.longest_gap(), gap);
    let counts = flow.finish().await;
    assert_eq!(echo.clients(), 1, "the service sees one client throughout");
    (gap, counts)
}

#[tokio::test(start_paused = true)]
async fn flow_leaves_a_path_whose_first_link_is_cut_as_soon_as_that_is_confirmed() {
    for seed in 151..156 {
        let scene = Diamond::new(seed).await;
        let (gap, counts) = cut_under_a_flow(&scene, scene.i, scene.m).await;
        // Confirmed after 0.5 s and two round trips of the link, then the new way there and back.
        assert!(gap <= ms(500) + 2 * ms(40) + OVER_N + TICKS, "{gap:?}");
        assert_lost_in(gap, counts);
        scene.assert_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn flow_leaves_a_path_whose_second_link_is_cut_as_soon_as_it_hears_of_it() {
    for seed in 156..161 {
        let scene = Diamond::new(seed).await;
        let (gap, counts) = cut_under_a_flow(&scene, scene.m, scene.e).await;
        // Confirmed as above; told within 0.1 s, offered, asked for and sent.
        let told = ms(100) + 3 * ms(20);
        assert!(
            gap <= ms(500) + 2 * ms(40) + told + OVER_N + TICKS,
            "{gap:?}"
        );
        assert_lost_in(gap, counts);
        scene.assert_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn region_listen_keeps_its_node_and_its_service_while_only_other_nodes_lead_there() {
    let listens = udp_listen(6000, "{ region = \"ap\" }");
    let scene = Diamond::start(147, &listens, UDP_SERVICE, |scene| {
        scene.fleet.delay(scene.i, scene.e, ms(30));
    })
    .await;
    let Diamond { i, m, n, e, .. } = scene;
    scene.until_route(i, &[e], Some(&[m, e])).await;
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, INTERVAL);
    sleep(ms(3_000)).await;
    assert_eq!((scene.forwarded(m), scene.forwarded(n)), (0, 0));
    scene.cut(i, e);
    sleep(ms(3_000)).await;
    // Confirmed after 0.5 s and two round trips, and there and back on the spare.
    let gap = flow.longest_gap();
    assert!(gap <= ms(500) + 2 * ms(60) + OVER_M + TICKS, "{gap:?}");
    assert_eq!(echo.clients(), 1);
    let late = UdpFlow::start(&scene.fleet, i, 6000, INTERVAL);
    sleep(ms(1_000)).await;
    assert!(late.received() > 80);
    assert_eq!(echo.clients(), 2);
    late.finish_without_loss().await;
    assert_lost_in(gap, flow.finish().await);
    scene.assert_healthy();
}
