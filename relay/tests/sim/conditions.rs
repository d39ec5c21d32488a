//! What is thought of a pair whose path loses, carries too little or dies, with traffic on it.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use causeway::{counts::ReportEnd, links::PeerReport};
use netem::{
    model::{Loss, PairModel, Rate},
    sim::UdpSocket,
};
use router::health::{Condition, Reason, Way};

use crate::{
    fleet::{Member, ms, sleep},
    traffic::{Scene, UDP_SERVICE, UdpEcho, UdpFlow, local, udp_listen},
};

const LISTEN: u16 = 6_200;
const RTT: Duration = Duration::from_millis(70);

/// A node `a` with a link to `c`, on a path of its own.
struct Stage {
    scene: Scene,
    c: Member,
}

impl Stage {
    async fn new(seed: u64, path: PairModel) -> Self {
        let mut far = None;
        let tables = udp_listen(LISTEN, "{ node = \"us/c\" }");
        let mut scene = Scene::with_tables(seed, &tables, |fleet, a, b| {
            let c = fleet.add("us", "c", UDP_SERVICE);
            fleet.model(a, c, path);
            fleet.pair(a, c);
            // There is no other way, so that traffic stays on the link whatever it does.
            let (near, far_off) = (fleet.machine(b), fleet.machine(c));
            fleet.sim.cut(near, far_off);
            fleet.sim.cut(far_off, near);
            far = Some(c);
        })
        .await;
        let (a, c) = (scene.a, far.unwrap());
        scene.fleet.start(c).await;
        scene.fleet.until_linked(&[a, c], ms(5_000)).await;
        // Some fifteen replies in each loop, after which the bounds hold.
        sleep(ms(8_000)).await;
        Self { scene, c }
    }

    /// Fifty packets a second to `c`, and as many back.
    fn traffic(&self) -> (UdpFlow, UdpEcho) {
        let echo = UdpEcho::start(&self.scene.fleet, self.c);
        let flow = UdpFlow::start(&self.scene.fleet, self.scene.a, LISTEN, ms(20));
        (flow, echo)
    }

    /// So much of what leaves `a` is lost from now on.
    fn loses(&self, ppm: u32) {
        let fleet = &self.scene.fleet;
        let (a, c) = (fleet.machine(self.scene.a), fleet.machine(self.c));
        fleet.sim.set_pair(a, c, lossy(ppm));
    }

    fn condition(&self, from: Member, to: Member) -> Condition {
        self.scene.fleet.peer(from, to).unwrap().condition()
    }

    /// What `a` thinks of `c`.
    fn thought(&self) -> Condition {
        self.condition(self.scene.a, self.c)
    }

    fn report(&self, from: Member, to: Member) -> PeerReport {
        let peer = self.scene.fleet.peer(from, to).unwrap();
        PeerReport::clone(&peer.report.load())
    }

    /// Why `a` ceased to use `c`, each time.
    fn falls(&self) -> Vec<Reason> {
        let report = self.report(self.scene.a, self.c);
        let falls = report.conditions.iter();
        falls
            .filter(|change| change.from.carries() && !change.to.carries())
            .map(|change| change.reason)
            .collect()
    }

    async fn finish(self) {
        for member in [self.scene.a, self.c] {
            let reports = &self.scene.fleet.mesh(member).counts.reports;
            assert!(reports.value(ReportEnd::Taken) > 0);
            assert_eq!(reports.value(ReportEnd::Impossible), 0);
        }
        self.scene.finish().await;
    }
}

fn lossy(ppm: u32) -> PairModel {
    PairModel {
        loss: Loss::from_ppm(ppm),
        ..PairModel::delayed(RTT / 2)
    }
}

#[tokio::test(start_paused = true)]
async fn a_fifth_lost_on_the_way_out_is_degraded_within_three_seconds_and_up_twelve_after_it_ends()
{
    for seed in 120..124 {
        let stage = Stage::new(seed, lossy(0)).await;
        let fleet = &stage.scene.fleet;
        let traffic = stage.traffic();
        sleep(ms(5_000)).await;
        assert_eq!(stage.thought(), Condition::Up);
        stage.loses(200_000);
        let degraded = || stage.thought() == Condition::Degraded;
        fleet.until("degraded", ms(3_000), degraded).await;
        assert_eq!(stage.falls(), [Reason::Lossy(Way::Out)]);
        sleep(ms(15_000)).await;
        assert!(
            !stage.thought().carries(),
            "and stays so: {:?}",
            stage.falls()
        );
        let loss_ppm = stage.report(stage.scene.a, stage.c).figures.loss_ppm;
        assert!((150_000..=250_000).contains(&loss_ppm), "{loss_ppm}");
        stage.loses(0);
        let up = || stage.thought() == Condition::Up;
        fleet.until("up", ms(12_000) + RTT, up).await;
        let falls = stage.falls().len();
        sleep(ms(30_000)).await;
        assert_eq!(stage.falls().len(), falls, "{:?}", stage.falls());
        drop(traffic);
        stage.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn link_whose_window_has_collapsed_is_another_by_the_time_that_the_pair_is_up_again() {
    let stage = Stage::new(125, lossy(0)).await;
    let fleet = &stage.scene.fleet;
    let (a, c) = (stage.scene.a, stage.c);
    let window = || {
        let link = fleet.link(a, c).unwrap();
        link.connection.stats().congestion_window_bytes
    };
    let (flow, _echo) = stage.traffic();
    sleep(ms(2_000)).await;
    let first = window();
    assert_eq!(first, 256 << 10);
    stage.loses(200_000);
    sleep(ms(20_000)).await;
    assert!(window() < first / 4, "{} bytes", window());
    stage.loses(0);
    let up = || stage.thought() == Condition::Up;
    fleet.until("up", ms(12_000) + RTT, up).await;
    assert_eq!(window(), first);
    assert_eq!(fleet.mesh(a).counts.links_renewed.value(), 1);
    // Nor is anything lost while one link takes the other's place.
    let (received, lost) = (flow.received(), flow.sent() - flow.received());
    sleep(ms(10_000)).await;
    assert!(flow.received() >= received + 490);
    assert!((flow.sent() - flow.received()).abs_diff(lost) <= 4);
    stage.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_percent_lost_each_way_for_ten_minutes_is_no_fall() {
    let stage = Stage::new(130, lossy(0)).await;
    let fleet = &stage.scene.fleet;
    let (a, c) = (stage.scene.a, stage.c);
    let traffic = stage.traffic();
    fleet.model(a, c, lossy(10_000));
    sleep(ms(600_000)).await;
    for (from, to) in [(a, c), (c, a)] {
        let figures = stage.report(from, to).figures;
        assert_eq!(figures.falls, 0, "{:?}", stage.falls());
        assert!((2_000..=30_000).contains(&figures.loss_ppm), "{figures:?}");
        let round_trips = figures.round_trips.unwrap();
        assert!(round_trips.p50.abs_diff(RTT) <= ms(3), "{round_trips:?}");
        assert!(figures.rtt.unwrap().abs_diff(RTT) <= ms(5), "{figures:?}");
    }
    drop(traffic);
    stage.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_is_confirmed_within_half_a_second_and_two_round_trips_with_traffic() {
    let stage = Stage::new(140, lossy(0)).await;
    let fleet = &stage.scene.fleet;
    let (a, c) = (fleet.machine(stage.scene.a), fleet.machine(stage.c));
    let traffic = stage.traffic();
    for nth in 0..8 {
        sleep(ms(20_000 + nth * 53)).await;
        assert_eq!(stage.thought(), Condition::Up);
        fleet.sim.cut(a, c);
        fleet.sim.cut(c, a);
        let gone = || stage.thought() >= Condition::Confirmed;
        fleet.until("confirmed", ms(500) + 2 * RTT, gone).await;
        sleep(ms(300)).await;
        fleet.sim.heal(a, c);
        fleet.sim.heal(c, a);
    }
    assert!(stage.falls().iter().all(|why| *why == Reason::Unanswered));
    drop(traffic);
    stage.finish().await;
}

/// What an own queue costs shows as delay, and not as loss.
#[tokio::test(start_paused = true)]
async fn twice_what_a_link_carries_is_no_loss_of_the_link_though_this_node_drops_half() {
    let stage = Stage::new(150, narrow()).await;
    let fleet = &stage.scene.fleet;
    let sink = fleet.program(stage.c).bind_udp(local(5000)).unwrap();
    let _client = overload(&stage);
    let mut buffer = [0; 2_000];
    for _ in 0..SECONDS * 1_000 {
        sleep(ms(1)).await;
        while sink.try_recv_from(&mut buffer).is_ok() {}
    }
    let link = fleet.link(stage.scene.a, stage.c).unwrap();
    assert!(link.outbox.counts().dropped() > 10_000, "overloaded it was");
    // What QUIC sends until it has found the link's rate overflows the link's own queue, and is lost
    // there: whether that or the delay is seen first is for the size of its windows to say.
    let falls = stage.falls();
    let (late, lossy) = (Reason::Delayed(Way::Out), Reason::Lossy(Way::Out));
    assert!(falls == [late] || falls == [lossy], "{falls:?}");
    let figures = stage.report(stage.scene.a, stage.c).figures;
    assert!(figures.loss_ppm <= 10_000, "{figures:?}");
    stage.scene.finish().await;
}

/// Reports share the link with what they are of, both ways.
#[tokio::test(start_paused = true)]
async fn reports_cross_a_link_that_is_full_both_ways_and_leave_it_its_rate() {
    let stage = Stage::new(160, narrow()).await;
    let fleet = &stage.scene.fleet;
    let (a, c) = (stage.scene.a, stage.c);
    let echo = UdpEcho::start(fleet, c);
    let client = overload(&stage);
    let mut buffer = [0; 2_000];
    let mut back = 0;
    for _ in 0..SECONDS * 1_000 {
        sleep(ms(1)).await;
        while client.try_recv_from(&mut buffer).is_ok() {
            back += 1;
        }
    }
    let share = back * 8 * PAYLOAD_BYTES as u64 * 100 / (LINK_BITS * SECONDS);
    for from in [a, c] {
        let taken = fleet.mesh(from).counts.reports.value(ReportEnd::Taken);
        assert!(taken >= 8 * SECONDS, "{taken} reports");
    }
    assert!(share >= 70, "only {share} % of the link was used");
    drop(echo);
    stage.finish().await;
}

/// Carries 10 Mbit/s, with a queue of 50 ms.
fn narrow() -> PairModel {
    PairModel {
        rate: Some(Rate {
            bits_per_second: NonZeroU64::new(LINK_BITS).unwrap(),
            overhead_bytes: 0,
            queue_bytes: Some(62_500),
        }),
        ..lossy(0)
    }
}

/// Sends `c` twice what [`narrow`] carries, for [`SECONDS`].
fn overload(stage: &Stage) -> Arc<UdpSocket> {
    let program = stage.scene.fleet.program(stage.scene.a);
    let socket = Arc::new(program.bind_udp(local(0)).unwrap());
    let client = socket.clone();
    drop(program.spawn(async move {
        for packet in 0..2 * LINK_BITS * SECONDS / 8 / PAYLOAD_BYTES as u64 {
            socket
                .try_send_to(&[0; PAYLOAD_BYTES], local(LISTEN))
                .unwrap();
            if packet % 5 == 4 {
                sleep(ms(2)).await;
            }
        }
    }));
    client
}

const LINK_BITS: u64 = 10_000_000;
const PAYLOAD_BYTES: usize = 1_000;
const SECONDS: u64 = 20;
