//! Flows and streams over other nodes, where the network leaves no other way.

use std::io::ErrorKind;

use causeway::{
    clock,
    code::RefuseCode,
    counts::StreamEnd,
    echo::{EchoError, echo},
    id::NodeKey,
    routes::{Standing, Way},
    wire::RemainingHops,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    diamond::{Diamond, OVER_BOTH, OVER_M},
    fleet::{Member, ms, sleep},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, local, start_tcp, start_tcp_echo, tcp_listen,
        tcp_round_trip, udp_listen,
    },
};

#[tokio::test(start_paused = true)]
async fn flow_crosses_one_node_and_two_and_comes_back_the_same_way() {
    let scene = Diamond::new(140).await;
    let Diamond { i, m, n, e, .. } = scene;
    let echo = UdpEcho::start(&scene.fleet, e);
    for (path, took) in [(&[i, m, e][..], OVER_M), (&[i, m, n, e][..], OVER_BOTH)] {
        if path.contains(&n) {
            scene.leave_the_long_way_only().await;
        }
        let clients = echo.clients();
        let before = [m, n].map(|at| scene.forwarded(at));
        let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(20));
        sleep(ms(1_000)).await;
        assert!(flow.longest_gap() <= ms(22), "{:?}", flow.longest_gap());
        let (sent, received) = (flow.sent(), flow.received());
        // Opening it takes as long as its first packet.
        let on_its_way = 2 * took.as_millis() as u64 / 20 + 1;
        assert!(sent - received <= on_its_way, "{received} of {sent}");
        // Split at the ends, and put together there only.
        let large = UdpFlow::sized(&scene.fleet, i, 6000, ms(50), 9_000);
        sleep(ms(1_000)).await;
        flow.finish_without_loss().await;
        large.finish_without_loss().await;
        assert_eq!(echo.clients(), clients + 2);
        for (at, before) in [m, n].into_iter().zip(before) {
            let forwarded = scene.forwarded(at) - before;
            // A hundred and more small packets, twenty large ones in nine pieces each.
            let expected = if path.contains(&at) {
                2 * (100 + 180)
            } else {
                0
            };
            assert!(
                (expected..=expected * 2).contains(&forwarded),
                "{forwarded}"
            );
        }
        let dropped = [i, m, n, e].map(|at| scene.fleet.mesh(at).counts.packets_dropped.total());
        assert_eq!(dropped, [0; 4]);
    }
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn stream_crosses_one_node_and_two_whole_with_half_closes_and_resets() {
    let scene = Diamond::new(141).await;
    let Diamond { i, m, n, e, .. } = scene;
    let program = scene.fleet.program(i);
    for is_long in [false, true] {
        if is_long {
            scene.leave_the_long_way_only().await;
        }
        let echo = start_tcp_echo(&scene.fleet, e);
        // Its half ends before what comes back does.
        let back = tcp_round_trip(&program, 7000, 1 << 20).await.unwrap();
        assert_eq!(back, 1 << 20);
        echo.kill();

        let breaks = start_tcp(&scene.fleet, e, |mut stream| async move {
            stream.write_all(b"half of wh").await.unwrap();
            sleep(ms(200)).await;
            stream.reset();
        });
        let mut stream = program.connect_tcp(local(7000)).await.unwrap();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        breaks.kill();

        // Nobody listens: the far node's answer comes back as it is.
        let error = tcp_round_trip(&program, 7000, 10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        sleep(ms(500)).await;
    }
    let ended = |at: Member, end| scene.fleet.mesh(at).counts.streams_forwarded.value(end);
    for (at, times) in [(m, 2), (n, 1)] {
        // The echo, and the orderly refusal.
        assert_eq!(ended(at, StreamEnd::Complete), 2 * times);
        assert_eq!(ended(at, StreamEnd::LinkBroke), times);
    }
    let refused = &scene.fleet.mesh(e).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::LocalRefused), 2);
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn service_is_allowed_by_the_node_that_asks_and_not_by_the_one_that_brings_it() {
    let to = "{ node = \"ap/e\" }";
    let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    for (allowed, is_served) in [("eu", true), ("us", false)] {
        let services = services.replace("region/*", &format!("region/{allowed}"));
        let scene = Diamond::with(145, &listens, &services, |_| {}).await;
        let Diamond { i, e, .. } = scene;
        let (_echo, _tcp) = (
            UdpEcho::start(&scene.fleet, e),
            start_tcp_echo(&scene.fleet, e),
        );
        let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(100));
        sleep(ms(500)).await;
        assert_eq!(flow.finish().await.1 > 0, is_served);
        let served = tcp_round_trip(&scene.fleet.program(i), 7000, 10).await;
        assert_eq!(served.is_ok(), is_served, "{served:?}");
        let refused = &scene.fleet.mesh(e).counts.opens_refused;
        assert_eq!(refused.value(RefuseCode::NotAllowed) > 0, !is_served);
        scene.assert_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn echo_takes_as_long_as_its_way_and_a_broken_way_is_told() {
    let scene = Diamond::new(146).await;
    let Diamond { i, m, n, e, .. } = scene;
    let mesh = scene.fleet.mesh(i);
    let ask = |path: &[Member]| {
        let way = scene.way(path);
        async move { echo(mesh, &way, clock::now() + ms(1_000)).await }
    };
    for (path, millis) in [
        (&[i, m][..], 40),
        (&[i, m, e][..], 80),
        (&[i, m, n, e][..], 120),
    ] {
        let took = ask(path).await.unwrap();
        // Virtual time has ticks of a millisecond, one at each node.
        assert!(took >= ms(millis) && took <= ms(millis + 8), "{took:?}");
    }
    let stranger = NodeKey([7; 8]);
    let hops = RemainingHops::try_new(&[scene.fleet.key(n), stranger]).unwrap();
    let way = Way::new(scene.fleet.link(i, m).unwrap(), hops, Standing::Standby);
    let error = echo(mesh, &way, clock::now() + ms(1_000))
        .await
        .unwrap_err();
    let (at, next) = (scene.fleet.key(n), stranger);
    assert_eq!(error, EchoError::Unreachable { at, next });
    // Not known to be down yet.
    let way = scene.way(&[i, m, e]);
    scene.cut(m, e);
    let began = clock::now();
    let error = echo(mesh, &way, began + ms(500)).await.unwrap_err();
    assert_eq!(
        (error, clock::now() - began),
        (EchoError::TimedOut, ms(500))
    );
    scene.assert_healthy();
}
