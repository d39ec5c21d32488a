//! Peers and paths that are bad for the others if nothing is bounded.
//!
//! Each test says what bounds the memory that the bad one costs, which counter tells of it, and
//! that a good peer of the same node has its requests and packets as if there were no bad one: the
//! same number, and their p99 within a tenth. (Virtual time has no CPU: it shows who waits for whom,
//! which is what a queue, a lock or a shared permit does. What CPU does is for real processes.)

use std::{sync::Arc, time::Duration};

use causeway::{
    clock,
    code::{CloseCode, RefuseCode},
    counts::{InboundEnd, PacketDrop},
    deadline::Closed,
    keeper::{PeerStatus, Role},
    link::{Link, setup},
    outbox::{MAX_DATA_BYTES, MAX_DATA_PACKETS},
    wire::{Class, Datagram, Direction, FlowId, Frame, Open, PacketHeader, RemainingHops},
};
use netem::{model::PairModel, sim::Host};
use quinn::VarInt;
use router::liveness::Health;
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    raw::{Answers, Raw, RawLink, encoded, soon},
    traffic::{
        Scene, TCP_SERVICE, UDP_SERVICE, local, start_tcp_echo, tcp_listen, tcp_round_trip,
        udp_listen,
    },
};

const RTT: Duration = Duration::from_millis(20);
/// How long each bad peer goes on.
const WHILE: Duration = Duration::from_secs(10);
/// The listens of `a` towards the good peer, and towards the bad one.
const GOOD_TCP: u16 = 7_100;
const BAD_TCP: u16 = 7_101;
const BAD_UDP: u16 = 6_101;
/// How many streams a peer may have open, its control stream apart.
const STREAMS: usize = 1_023;

/// A node `a` with a good peer `c`, and a place for a bad one.
struct Stage {
    scene: Scene,
    raw: Raw,
    good: Member,
    echoes: Vec<Host>,
}

/// What a good peer was for a program during a test.
#[derive(Debug, PartialEq, Eq)]
struct Requests {
    answered: usize,
    p99: Duration,
}

impl Stage {
    async fn new(seed: u64) -> Self {
        let mut good = None;
        let bad = "{ node = \"us/raw\" }";
        let tables = [
            UDP_SERVICE,
            TCP_SERVICE,
            &tcp_listen(GOOD_TCP, "{ node = \"eu/c\" }"),
            &tcp_listen(BAD_TCP, bad),
            &udp_listen(BAD_UDP, bad),
        ];
        let mut scene = Scene::with_tables(seed, &tables.concat(), |fleet, a, _| {
            let c = fleet.add("eu", "c", TCP_SERVICE);
            fleet.delay(a, c, RTT / 2);
            fleet.pair(a, c);
            good = Some(c);
        })
        .await;
        let (a, good) = (scene.a, good.unwrap());
        scene.fleet.start(good).await;
        scene.fleet.until_linked(&[a, good], ms(5_000)).await;
        sleep(ms(2_000)).await;
        let echoes = vec![
            start_tcp_echo(&scene.fleet, a),
            start_tcp_echo(&scene.fleet, good),
        ];
        let raw = Raw::new(&scene.fleet, "us", "raw");
        let machine = scene.fleet.machine(a);
        let model = PairModel::delayed(RTT / 2);
        scene.fleet.sim.set_pair_both(machine, &raw.host, model);
        Self {
            scene,
            raw,
            good,
            echoes,
        }
    }

    fn a(&self) -> Member {
        self.scene.a
    }

    fn fleet(&self) -> &Fleet {
        &self.scene.fleet
    }

    async fn link(&self) -> RawLink {
        let to = self.fleet().address(self.a());
        self.raw.link(to, Answers::ALL).await
    }

    /// The node's end of the bad peer's link.
    fn bad_link(&self) -> Option<Arc<Link>> {
        let links = &self.fleet().mesh(self.a()).links;
        links.get(self.raw.id.key())
    }

    fn tasks(&self) -> usize {
        self.fleet().node(self.a()).tasks().counts().running
    }

    /// Requests to the good peer for [`WHILE`], one each 20 ms.
    async fn requests(&self) -> Requests {
        let host = self.fleet().program(self.a());
        let mut took = Vec::new();
        let until = clock::now() + WHILE;
        while clock::now() < until {
            let began = clock::now();
            let crossed = timeout(ms(5_000), tcp_round_trip(&host, GOOD_TCP, 1_000)).await;
            assert_eq!(crossed.unwrap().unwrap(), 1_000);
            let request = clock::now() - began;
            took.push(request);
            sleep(ms(60).saturating_sub(request)).await;
        }
        took.sort();
        Requests {
            answered: took.len(),
            p99: took[took.len() * 99 / 100],
        }
    }

    /// Runs `bad` while a good peer is asked, and ends the stage.
    async fn others_unmoved(self, seed: u64, bad: impl AsyncFnOnce(&Self)) {
        let (requests, ()) = tokio::join!(self.requests(), bad(&self));
        self.finish().await;
        let quiet = Self::new(seed).await;
        let without = quiet.requests().await;
        quiet.finish().await;
        assert_eq!(requests.answered, without.answered);
        assert!(
            requests.p99 <= without.p99 + without.p99 / 10,
            "{requests:?} is slower than {without:?}"
        );
    }

    /// The bystanders' packets are all there, and nothing panicked or is overdue.
    async fn finish(self) {
        let Self {
            scene,
            good,
            echoes,
            ..
        } = self;
        let counts = scene.fleet.node(good).tasks().counts();
        assert_eq!((counts.panicked, counts.overdue), (0, 0));
        assert_eq!(scene.fleet.node(scene.a).tasks().counts().refused_full, 0);
        scene.finish().await;
        drop(echoes);
    }
}

/// What a bad peer's own endpoint grants: what the node may send on each stream, and how many
/// streams it may open.
fn grants(stream_bytes: u32, streams: u32) -> Arc<quinn::TransportConfig> {
    let mut profile = quinn::TransportConfig::default();
    profile
        .stream_receive_window(VarInt::from_u32(stream_bytes))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    Arc::new(profile)
}

#[tokio::test(start_paused = true)]
async fn peer_that_grants_no_byte_of_its_streams_is_refused_at_the_hello_deadline() {
    let mut stage = Stage::new(110).await;
    stage.raw.profile = grants(0, 0);
    stage
        .others_unmoved(110, async |stage| {
            let (a, calm) = (stage.a(), stage.tasks());
            let inbound = &stage.fleet().mesh(a).counts.inbound;
            let before = inbound.value(InboundEnd::Deadline);
            let hello = encoded(&Frame::Hello(Box::new(
                stage.raw.hello(stage.raw.next_link()),
            )));
            let began = clock::now();
            let said = stage
                .raw
                .connect_and_say(stage.fleet().address(a), hello)
                .await;
            said.connection.closed().await;
            let took = clock::now() - began;
            assert!(took >= ms(4_000) && took <= ms(4_000) + 3 * RTT, "{took:?}");
            sleep(ms(100)).await;
            assert_eq!(inbound.value(InboundEnd::Deadline), before + 1);
            assert!(stage.tasks() <= calm + 10, "{} tasks", stage.tasks());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_grants_no_streams_fails_the_requests_for_it_at_their_deadline_and_nothing_else()
{
    let mut stage = Stage::new(111).await;
    stage.raw.profile = grants(1 << 20, 0);
    stage
        .others_unmoved(111, async |stage| {
            // More than a node carries: its listen gets half of the room, and leaves half.
            const PROGRAMS: usize = 1_100;
            let a = stage.a();
            let link = stage.link().await;
            let calm = stage.tasks();
            let program = stage.fleet().program(a);
            let mut asked = Vec::new();
            let began = clock::now();
            for _ in 0..PROGRAMS {
                asked.push(program.connect_tcp(local(BAD_TCP)).await.unwrap());
            }
            assert!(stage.tasks() <= calm + 2 * PROGRAMS);
            for stream in &mut asked {
                stream.read_u8().await.unwrap_err();
            }
            let took = clock::now() - began;
            assert!(took >= ms(5_000) && took <= ms(5_010), "{took:?}");
            let counts = &stage.fleet().mesh(a).counts;
            assert_eq!(counts.opens_failed.value(), PROGRAMS as u64);
            assert!(link.is_open(), "its probes are answered");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_reads_no_frames_is_down_in_its_bound_and_gone_when_its_window_is_full() {
    let mut stage = Stage::new(112).await;
    // Enough for the Hello, and a few seconds of probes.
    stage.raw.profile = grants(512, 100);
    stage
        .others_unmoved(112, async |stage| {
            let (a, raw) = (stage.a(), &stage.raw);
            let to = stage.fleet().address(a);
            let hello = raw.hello(raw.next_link());
            let mut held = raw.dial_with(to, hello).await.unwrap();
            // It takes its part in the promotion, and then reads no frame any more.
            if Role::of(raw.id.key(), held.peer.key()) == Role::Arbiter {
                let promote = encoded(&Frame::Promote { epoch: 1 });
                held.control.write(promote, soon()).await.unwrap();
            } else {
                let Some(Frame::Promote { epoch }) = held.frames.next().await.unwrap() else {
                    panic!("no promotion");
                };
                let promoted = encoded(&Frame::Promoted { epoch });
                held.control.write(promoted, soon()).await.unwrap();
            }
            let began = clock::now();
            let connection = held.connection.clone();
            let answering = async {
                while let Ok(bytes) = connection.read_datagram().await {
                    if let Ok(Datagram::Probe(probe)) = Datagram::decode(&bytes) {
                        let reply = crate::raw::datagram(&Datagram::ProbeReply(probe));
                        let _ = connection.try_send_datagram(reply);
                    }
                }
            };
            let mut down = None;
            let watching = async {
                let links = &stage.fleet().mesh(a).links;
                let slot = links.snapshot()[&raw.id.key()].slot.clone();
                let is_down = || matches!(slot.load().status, PeerStatus::Down { .. });
                down = Some(stage.fleet().until("down", ms(5_000), is_down).await);
            };
            tokio::join!(answering, watching);
            let took = clock::now() - began;
            println!("lost its link after {took:?}");
            assert!(took <= ms(30_000), "{took:?}");
            let took = down.unwrap();
            assert!(took <= ms(1_500) + RTT, "{took:?}");
            let ended = held.connection.closed().await;
            assert!(matches!(ended, Closed::ByPeer { .. }), "{ended}");
            println!("{ended}");
            sleep(ms(100)).await;
            let counts = &stage.fleet().mesh(a).counts;
            assert_eq!(counts.links_closed.value(CloseCode::Silent), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_acknowledges_nothing_costs_a_bounded_queue_until_it_is_down() {
    let stage = Stage::new(113).await;
    stage
        .others_unmoved(113, async |stage| {
            let (a, fleet) = (stage.a(), stage.fleet());
            let link = stage.link().await;
            let program = fleet.program(a);
            let socket = program.bind_udp(local(0)).unwrap();
            socket.try_send_to(&[0; 1_000], local(BAD_UDP)).unwrap();
            let opened = || {
                let heard = link.heard.lock();
                heard.iter().find_map(|frame| match frame {
                    Frame::OpenFlow(open) => Some(open.flow),
                    _ => None,
                })
            };
            fleet
                .until("a flow", ms(1_000), || opened().is_some())
                .await;
            let flow = opened().unwrap();
            link.say(&Frame::FlowAccepted { flow });
            sleep(RTT).await;
            let near = stage.bad_link().unwrap();

            // It hears everything, and nothing of it is heard, not even acknowledgements.
            fleet.sim.cut(&stage.raw.host, fleet.machine(a));
            let counts = &fleet.mesh(a).counts;
            let (began, mut down, mut queued_most) = (clock::now(), None, 0);
            for _ in 0..6_000 {
                for _ in 0..10 {
                    let sent = socket.try_send_to(&[0; 1_000], local(BAD_UDP));
                    sent.unwrap();
                }
                sleep(ms(1)).await;
                let queued = near.outbox.counts();
                queued_most = queued_most.max(queued.backlog);
                if down.is_none() && near.health() == Health::Down {
                    down = Some(clock::now() - began);
                }
            }
            let down = down.unwrap();
            println!("down after {down:?}, at most {queued_most} packets queued");
            assert!(down <= ms(900) + RTT, "{down:?}");
            assert!(queued_most <= MAX_DATA_PACKETS.min(MAX_DATA_BYTES / 1_000) + 64);
            let dropped = near.outbox.counts();
            let dropped =
                dropped.dropped_data + dropped.dropped_handover + counts.packets_dropped.total();
            assert!(
                dropped >= 5_000,
                "only {dropped} packets were counted as dropped"
            );
            assert!(!link.is_open() || near.has_ended());
            assert_eq!(counts.links_closed.value(CloseCode::Silent), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn hundred_thousand_packets_a_second_of_unknown_flows_are_dropped_counted_and_told_a_few() {
    let stage = Stage::new(114).await;
    stage
        .others_unmoved(114, async |stage| {
            const SECONDS: u64 = 2;
            let (a, fleet) = (stage.a(), stage.fleet());
            let near = PairModel::delayed(ms(1));
            fleet
                .sim
                .set_pair_both(fleet.machine(a), &stage.raw.host, near);
            let link = stage.link().await;
            let (calm, counts) = (stage.tasks(), &fleet.mesh(a).counts);
            let header = PacketHeader {
                direction: Direction::Forward,
                class: Class::Video,
                flow: FlowId {
                    ingress: stage.raw.id.key(),
                    generation: stage.raw.generation(),
                    number: 0,
                },
                sequence: 0,
                sent_us: 0,
                link_sequence: 0,
                lifetime_ms: 0,
                fragment: None,
                hops: RemainingHops::NONE,
            };
            let mut sent = 0;
            for at in 0..SECONDS * 1_000 {
                for packet in 0..100 {
                    let mut header = header;
                    // Spread over all numbers.
                    header.flow.number = ((at * 100 + packet) as u32).wrapping_mul(2_654_435_761);
                    let payload = b"garbage";
                    let packet = crate::raw::datagram(&Datagram::Packet { header, payload });
                    sent += u64::from(link.connection.try_send_datagram(packet).is_ok());
                }
                sleep(ms(1)).await;
            }
            sleep(ms(100)).await;
            let dropped = counts.packets_dropped.value(PacketDrop::UnknownFlow);
            println!("{dropped} of {sent} were dropped");
            assert!(dropped >= SECONDS * 100_000, "{dropped} of {sent}");
            assert_eq!(dropped, sent);
            let about = |frame: &&Frame| matches!(frame, Frame::CloseFlow { .. });
            let told = link.heard.lock().iter().filter(about).count();
            assert!(
                told >= 64 && told <= 64 * (SECONDS as usize + 1),
                "{told} were told"
            );
            assert_eq!(stage.tasks(), calm);
            assert!(link.is_open());
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_opens_streams_as_fast_as_it_can_has_at_most_its_limit_and_each_is_counted() {
    for (seed, readable) in [(115, false), (116, true)] {
        let stage = Stage::new(seed).await;
        stage
            .others_unmoved(seed, async |stage| {
                let (a, fleet) = (stage.a(), stage.fleet());
                let link = stage.link().await;
                let (calm, counts) = (stage.tasks(), &fleet.mesh(a).counts);
                let open = encoded(&Frame::Open(Open {
                    session: [1; 16],
                    destination: fleet.key(a),
                    service: "none".into(),
                    budget: ms(1_000),
                    resume_offset: 0,
                    trace: None,
                    hops: RemainingHops::NONE,
                    via: Vec::new(),
                }));
                let first = match readable {
                    true => open,
                    false => open.slice(..1),
                };
                let (mut opened, mut tasks_most, until) = (0, 0, clock::now() + ms(8_000));
                let mut kept = Vec::new();
                while clock::now() < until {
                    // As many as may be open; when no more may, half of them go.
                    let opening = link.connection.open(clock::now() + ms(100));
                    let Ok((mut sender, receiver)) = opening.await else {
                        kept.drain(..kept.len() / 2);
                        continue;
                    };
                    sender.write(first.clone(), soon()).await.unwrap();
                    opened += 1;
                    kept.push((sender, receiver));
                    tasks_most = tasks_most.max(stage.tasks());
                }
                println!("{opened} streams, at most {tasks_most} tasks, {calm} without them");
                assert!(opened >= 2 * STREAMS as u64, "only {opened} were opened");
                assert!(tasks_most <= calm + STREAMS + 10, "{tasks_most} tasks");
                drop(kept);
                sleep(ms(8_000)).await;
                let (unread, refused) = (
                    counts.streams_unread.value(),
                    counts.opens_refused.value(RefuseCode::UnknownService),
                );
                assert_eq!(unread + refused, opened);
                assert_eq!(refused > 0, readable);
                assert!(stage.tasks() <= calm, "{} tasks", stage.tasks());
                assert!(link.is_open());
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_reconnects_a_thousand_times_a_second_gets_its_rate_and_the_rest_is_counted() {
    let stage = Stage::new(117).await;
    let fast = Arc::new(Raw::new(stage.fleet(), "us", "fast"));
    let model = PairModel::delayed(RTT / 2);
    let machine = stage.fleet().machine(stage.a());
    stage.fleet().sim.set_pair_both(machine, &fast.host, model);
    stage
        .others_unmoved(117, async |stage| {
            const SECONDS: u64 = 5;
            let (a, fleet) = (stage.a(), stage.fleet());
            let (calm, to) = (stage.tasks(), fleet.address(a));
            let counts = &fleet.mesh(a).counts;
            let before =
                [InboundEnd::Established, InboundEnd::Rate].map(|end| counts.inbound.value(end));
            let (mut tasks_most, mut links_most) = (0, 0);
            for _ in 0..SECONDS * 1_000 {
                let raw = fast.clone();
                drop(fast.host.spawn(async move {
                    let Ok(connection) = raw.try_connect(to).await else {
                        return;
                    };
                    let hello = raw.hello(raw.next_link());
                    let made =
                        setup::dialed(connection, |_| hello, &raw.material, raw.times()).await;
                    // A link, or none because another one came first; either is let go of at once.
                    drop(made);
                }));
                sleep(ms(1)).await;
                tasks_most = tasks_most.max(stage.tasks());
                let links = fleet.mesh(a).links.peers();
                let links = links.iter().map(|peer| peer.report.load().links.len());
                links_most = links_most.max(links.sum());
            }
            fast.host.kill();
            sleep(ms(1_000)).await;
            let [established, turned] =
                [InboundEnd::Established, InboundEnd::Rate].map(|end| counts.inbound.value(end));
            let (established, turned) = (established - before[0], turned - before[1]);
            println!(
                "{established} links, {turned} turned away, at most {links_most} links and \
                 {tasks_most} tasks ({calm} without)"
            );
            // The rate of one source and its burst, by default.
            assert!(established <= 100 + 20 * (SECONDS + 1), "{established}");
            assert!(established >= 100, "{established}");
            assert!(turned >= SECONDS * 1_000 - established, "{turned}");
            assert!(tasks_most <= calm + 12 * 130, "{tasks_most}");
        })
        .await;
}
