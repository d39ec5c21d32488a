//! Paths that change under a link in use: their length, and how large a packet they carry.

use std::time::Duration;

use causeway::{clock, keeper::PeerStatus};
use netem::{model::PairModel, sim::Host};
use router::liveness::Health;

use crate::{
    fleet::{Member, ms, sleep},
    traffic::{
        Scene, TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, start_tcp_echo, tcp_listen,
        tcp_round_trip, udp_listen,
    },
};

const TCP: u16 = 7_200;
const UDP: u16 = 6_200;

/// A node `a` that is linked to `b`, on a good path, and to `c`, on one that changes.
struct Stage {
    scene: Scene,
    c: Member,
    _echoes: (Host, UdpEcho),
}

impl Stage {
    async fn new(seed: u64, path: PairModel) -> Self {
        let mut changing = None;
        let to = "{ node = \"us/c\" }";
        let tables = [tcp_listen(TCP, to), udp_listen(UDP, to)].concat();
        let mut scene = Scene::with_tables(seed, &tables, |fleet, a, _| {
            let c = fleet.add("us", "c", &[UDP_SERVICE, TCP_SERVICE].concat());
            fleet.model(a, c, path);
            fleet.pair(a, c);
            changing = Some(c);
        })
        .await;
        let (a, c) = (scene.a, changing.unwrap());
        scene.fleet.start(c).await;
        scene.fleet.until_linked(&[a, c], ms(5_000)).await;
        // Some fifteen replies in each loop, after which the bounds hold, and the MTU is found.
        sleep(ms(8_000)).await;
        let echoes = (
            start_tcp_echo(&scene.fleet, c),
            UdpEcho::start(&scene.fleet, c),
        );
        Self {
            scene,
            c,
            _echoes: echoes,
        }
    }

    fn changes(&self, path: PairModel) {
        self.scene.fleet.model(self.scene.a, self.c, path);
    }

    /// What each end thinks of the other, looked at each millisecond: when it was not up.
    async fn watch(&self, how_long: Duration) -> Vec<(Duration, Member, Health)> {
        let fleet = &self.scene.fleet;
        let (mut changes, mut last) = (Vec::new(), [Health::Up; 2]);
        let until = clock::now() + how_long;
        while clock::now() < until {
            sleep(ms(1)).await;
            let pairs = [(self.scene.a, self.c), (self.c, self.scene.a)];
            for (last, (from, to)) in last.iter_mut().zip(pairs) {
                let now = match fleet.status(from, to) {
                    Some(PeerStatus::Up { health, .. }) => health,
                    _ => Health::Down,
                };
                if now != *last {
                    changes.push((fleet.elapsed(), from, now));
                    *last = now;
                }
            }
        }
        assert_eq!(last, [Health::Up; 2], "{changes:?}");
        changes
    }

    /// A request across the changing path.
    async fn request(&self) -> Duration {
        let host = self.scene.fleet.program(self.scene.a);
        let began = clock::now();
        let crossed = tcp_round_trip(&host, TCP, 10_000).await;
        assert_eq!(crossed.unwrap(), 10_000);
        clock::now() - began
    }

    /// By both ends, each of the other.
    fn dials(&self) -> u64 {
        let ends = [self.scene.a, self.c];
        ends.map(|end| self.scene.fleet.mesh(end).counts.dials.value())
            .iter()
            .sum()
    }
}

#[tokio::test(start_paused = true)]
async fn round_trip_that_steps_from_20_to_400_ms_and_back_costs_no_packet_and_one_suspicion() {
    let (near, far) = (PairModel::delayed(ms(10)), PairModel::delayed(ms(200)));
    let stage = Stage::new(120, near.clone()).await;
    let flow = UdpFlow::start(&stage.scene.fleet, stage.scene.a, UDP, ms(20));
    const STEPS_AWAY: u64 = 3;
    let dials = stage.dials();
    for _ in 0..STEPS_AWAY {
        for (path, rtt) in [(&far, ms(400)), (&near, ms(20))] {
            stage.changes(path.clone());
            let (changes, request) = tokio::join!(stage.watch(ms(20_000)), async {
                sleep(ms(15_000)).await;
                stage.request().await
            });
            println!("to {rtt:?}: request {request:?}, {changes:?}");
            // Open, and what is sent and comes back, with a few round trips for the window.
            assert!(request <= 5 * rtt + ms(100), "{request:?}");
            for from in [stage.scene.a, stage.c] {
                let own: Vec<_> = changes.iter().filter(|(_, end, _)| *end == from).collect();
                // One episode: late, later, at the worst silent for too long, and back for good.
                let worst = [Health::Suspect, Health::Confirmed, Health::Down];
                let worse = own.iter().filter(|(_, _, to)| *to != Health::Up);
                assert!(
                    worse.zip(worst).all(|((_, _, to), worst)| *to == worst),
                    "{changes:?}"
                );
                let back = own.iter().filter(|(_, _, to)| *to == Health::Up);
                assert!(back.count() <= 1 && own.len() <= 4, "{changes:?}");
                if let (Some(first), Some(last)) = (own.first(), own.last()) {
                    // Down, or Confirmed until the estimate has grown to the new round trip.
                    assert!(last.0 - first.0 <= ms(900) + 2 * rtt, "{changes:?}");
                }
            }
        }
    }
    // It could have been a cut: at each step away each end dialed once, and a new link took over.
    let dialed = stage.dials() - dials;
    assert!(dialed <= 2 * STEPS_AWAY, "{dialed} dials");
    flow.finish_without_loss().await;
    stage.scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn path_whose_mtu_shrinks_in_the_middle_goes_on_with_smaller_packets_and_is_counted() {
    let wide = PairModel::delayed(ms(10));
    let narrow = PairModel {
        // Whole packets over IPv4.
        max_bytes: Some(1_228),
        ..wide.clone()
    };
    let stage = Stage::new(121, wide).await;
    let (fleet, a) = (&stage.scene.fleet, stage.scene.a);
    let link = fleet.link(a, stage.c).unwrap();
    assert_eq!(link.connection.stats().mtu_bytes, 1_452);
    let small = UdpFlow::start(fleet, a, UDP, ms(20));
    let large = UdpFlow::sized(fleet, a, UDP, ms(20), 1_350);
    sleep(ms(2_000)).await;
    assert!(large.received() + 2 >= large.sent());
    stage.changes(narrow);
    let changed = fleet.elapsed();
    let (changes, request) = tokio::join!(stage.watch(ms(10_000)), async {
        sleep(ms(5_000)).await;
        stage.request().await
    });
    let back = large.first_after(changed + ms(50)).unwrap() - changed;
    println!("large packets again after {back:?}, request {request:?}, {changes:?}");
    assert!(changes.is_empty(), "probes are small: {changes:?}");
    // Found by both ends from three packets that were lost; what was sent until then is lost.
    assert!(back <= ms(500), "{back:?}");
    assert!(request <= 4 * ms(20), "{request:?}");
    for (from, to) in [(a, stage.c), (stage.c, a)] {
        let same = fleet.link(from, to).unwrap();
        assert_eq!(same.generation, link.generation);
        let stats = same.connection.stats();
        assert_eq!((stats.mtu_bytes, stats.black_holes), (1_200, 1));
        let metrics = fleet.node(from).metrics().render();
        let counted = format!("relay_link_black_holes_total{{peer=\"{}\"", fleet.id(to));
        let line = metrics.lines().find(|line| line.starts_with(&counted));
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    }
    small.finish_without_loss().await;
    let (sent, came) = large.finish().await;
    let lost = u128::from(sent - came);
    println!("{lost} of {sent} large packets were lost");
    assert!(lost <= back.as_millis() / 20 + 2, "{came} of {sent}");
    stage.scene.finish().await;
}
