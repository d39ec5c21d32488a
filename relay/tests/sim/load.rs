//! More traffic than a link carries.

use std::{num::NonZeroU64, time::Duration};

use causeway::keeper::PeerStatus;
use netem::model::{PairModel, Rate};
use router::liveness::Health;

use crate::{
    fleet::{ms, sleep},
    traffic::{
        Scene, TCP_SERVICE, UDP_SERVICE, local, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
    },
};

#[tokio::test(start_paused = true)]
async fn udp_flow_at_twice_what_the_link_carries_leaves_the_link_up_and_requests_answered() {
    const LINK_BITS: u64 = 10_000_000;
    const PAYLOAD_BYTES: usize = 1_000;
    const SECONDS: u64 = 10;
    let mut narrow = None;
    let to = "{ node = \"us/c\" }";
    let tables = [udp_listen(6001, to), tcp_listen(7001, to)].concat();
    let mut scene = Scene::with_tables(70, &tables, |fleet, a, _| {
        let services = [UDP_SERVICE, TCP_SERVICE].concat();
        let c = fleet.add("us", "c", &services);
        let rate = Rate {
            bits_per_second: NonZeroU64::new(LINK_BITS).unwrap(),
            // 50 ms.
            overhead_bytes: 0,
            queue_bytes: Some(62_500),
        };
        let model = PairModel {
            rate: Some(rate),
            ..PairModel::delayed(ms(20))
        };
        fleet.model(a, c, model);
        fleet.pair(a, c);
        narrow = Some(c);
    })
    .await;
    let (a, c) = (scene.a, narrow.unwrap());
    scene.fleet.start(c).await;
    let fleet = &scene.fleet;
    fleet.until_linked(&[a, c], ms(5_000)).await;
    sleep(ms(8_000)).await;
    let link = fleet.link(a, c).unwrap().generation;
    let tcp_echo = start_tcp_echo(fleet, c);

    let sink = fleet.program(c).bind_udp(local(5000)).unwrap();
    let program = fleet.program(a);
    let socket = program.bind_udp(local(0)).unwrap();
    drop(program.spawn(async move {
        let packets = 2 * LINK_BITS * SECONDS / 8 / PAYLOAD_BYTES as u64;
        for packet in 0..packets {
            socket
                .try_send_to(&[0; PAYLOAD_BYTES], local(6001))
                .unwrap();
            if packet % 5 == 4 {
                sleep(ms(2)).await;
            }
        }
    }));
    let (mut received, mut not_up) = (0_u64, Vec::new());
    let mut buffer = [0; 2_000];
    let asked = async {
        // A request crosses the same link meanwhile.
        sleep(ms(3_000)).await;
        let host = fleet.program(a);
        let began = causeway::clock::now();
        let crossed = tcp_round_trip(&host, 7001, 1_000).await.unwrap();
        assert_eq!(crossed, 1_000);
        causeway::clock::now() - began
    };
    let watched = async {
        for _ in 0..SECONDS * 1_000 {
            sleep(ms(1)).await;
            while sink.try_recv_from(&mut buffer).is_ok() {
                received += 1;
            }
            for (from, to) in [(a, c), (c, a)] {
                match fleet.status(from, to) {
                    Some(PeerStatus::Up {
                        health: Health::Up | Health::Suspect,
                        ..
                    }) => {}
                    other => not_up.push((fleet.elapsed(), from, other)),
                }
            }
        }
    };
    let (request, ()) = tokio::join!(asked, watched);
    assert!(
        not_up.is_empty(),
        "{} times, first {:?}",
        not_up.len(),
        not_up[0]
    );
    assert_eq!(fleet.link(a, c).unwrap().generation, link);
    let share = received * 8 * PAYLOAD_BYTES as u64 * 100 / (LINK_BITS * SECONDS);
    assert!(share >= 75, "only {share} % of the link was used");
    assert!(request <= Duration::from_secs(2), "{request:?}");
    assert_eq!(fleet.mesh(a).counts.probes_dropped.value(), 0);
    assert_eq!(fleet.mesh(a).counts.frames_dropped.value(), 0);
    drop(tcp_echo);
    scene.finish().await;
}
