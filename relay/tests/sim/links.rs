//! Nodes link up and carry traffic.

use std::time::Duration;

use crate::{
    fleet::{Fleet, ms},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
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
    crate::fleet::sleep(Duration::from_secs(2)).await;
    for flow in flows {
        flow.finish_without_loss().await;
    }
    for (echo, _) in &echoes {
        assert_eq!(echo.clients(), 2);
    }
}
