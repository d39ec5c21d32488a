//! Flows and streams over other nodes, along routes that the tests publish themselves.

use std::{collections::BTreeMap, io::ErrorKind, sync::Arc, time::Duration};

use causeway::{
    clock,
    code::{CloseCode, RefuseCode},
    counts::{ForwardRefusal, PacketDrop, StreamEnd},
    echo::{EchoError, echo},
    id::NodeKey,
    routes::{Kind, Route, Standing, Way},
    wire::{
        Class, Datagram, Direction, FlowId, Frame, Open, OpenFlow, PacketHeader, Relayed,
        RelayedBody, RemainingHops, TooLarge,
    },
};
use netem::model::PairModel;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    fleet::{Fleet, Member, ms, sleep},
    raw::{Answers, Raw, RawLink},
    traffic::{
        TCP_SERVICE, UDP_SERVICE, UdpEcho, UdpFlow, local, start_tcp, start_tcp_echo, tcp_listen,
        tcp_round_trip, udp_listen,
    },
};

/// `i` and `e` at the ends, with `m` and `n` between them: every pair is linked but the ends.
///
/// From `i` or `e` to `m` or `n` it takes 20 ms, between those two 10 ms.
struct Diamond {
    fleet: Fleet,
    i: Member,
    m: Member,
    n: Member,
    e: Member,
}

impl Diamond {
    async fn new(seed: u64) -> Self {
        let to = "{ node = \"ap/e\" }";
        let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
        Self::with(seed, &listens, &[UDP_SERVICE, TCP_SERVICE].concat(), |_| {}).await
    }

    /// - `change`: what else there is, or is not, before the nodes start.
    async fn with(
        seed: u64,
        listens: &str,
        services: &str,
        change: impl FnOnce(&mut Self),
    ) -> Self {
        let mut fleet = Fleet::new(seed);
        let i = fleet.add("eu", "i", listens);
        let m = fleet.add("us", "m", "");
        let n = fleet.add("us", "n", "");
        let e = fleet.add("ap", "e", services);
        for (a, b, one_way) in [(i, m, 20), (i, n, 20), (m, e, 20), (n, e, 20), (m, n, 10)] {
            fleet.delay(a, b, ms(one_way));
            fleet.pair(a, b);
        }
        let mut scene = Self { fleet, i, m, n, e };
        change(&mut scene);
        scene.fleet.start_all().await;
        for (a, b) in [(i, m), (i, n), (m, n), (n, e)] {
            scene.fleet.until_linked(&[a, b], ms(5_000)).await;
        }
        sleep(ms(1_000)).await;
        // What adverts tell elsewhere: who is behind a key.
        for at in [i, e] {
            let names =
                [i, m, n, e].map(|node| (scene.fleet.key(node), scene.fleet.id(node).clone()));
            scene
                .fleet
                .mesh(at)
                .names
                .store(Arc::new(BTreeMap::from(names)));
        }
        scene
    }

    /// The way from the first node of `path` along the others.
    fn way(&self, path: &[Member], standing: Standing) -> Arc<Way> {
        let first = self.fleet.link(path[0], path[1]).unwrap();
        let hops: Vec<NodeKey> = path[2..].iter().map(|node| self.fleet.key(*node)).collect();
        Way::new(first, RemainingHops::try_new(&hops).unwrap(), standing)
    }

    /// Makes these the ways from `i` to `e`.
    fn route(&self, primary: &[Member], backup: Option<&[Member]>) -> Route {
        let route = Route {
            primary: self.way(primary, Standing::InUse),
            backup: backup.map(|path| self.way(path, Standing::Standby)),
        };
        for kind in [Kind::Interactive, Kind::Bulk] {
            let routes = BTreeMap::from([(self.fleet.key(self.e), route.clone())]);
            self.fleet.mesh(self.i).routes.publish(kind, routes);
        }
        route
    }

    fn forwarded(&self, at: Member) -> u64 {
        self.fleet.mesh(at).counts.packets_forwarded.value()
    }

    fn refused(&self, at: Member, why: ForwardRefusal) -> u64 {
        self.fleet.mesh(at).counts.forward_refused.value(why)
    }

    fn assert_healthy(&self) {
        for member in [self.i, self.m, self.n, self.e] {
            let counts = self.fleet.node(member).tasks().counts();
            assert_eq!((counts.panicked, counts.overdue), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flow_crosses_one_node_and_two_and_comes_back_the_same_way() {
    let scene = Diamond::new(140).await;
    let Diamond { i, m, n, e, .. } = scene;
    let echo = UdpEcho::start(&scene.fleet, e);
    for (path, one_way) in [(&[i, m, e][..], 40), (&[i, m, n, e][..], 50)] {
        scene.route(path, None);
        let clients = echo.clients();
        let before = [m, n].map(|at| scene.forwarded(at));
        let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(20));
        sleep(ms(1_000)).await;
        assert!(flow.longest_gap() <= ms(22), "{:?}", flow.longest_gap());
        let (sent, received) = (flow.sent(), flow.received());
        let on_its_way = 2 * (2 * one_way) / 20 + 1;
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
    for path in [&[i, m, e][..], &[i, m, n, e][..]] {
        scene.route(path, None);
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
async fn spare_takes_over_at_once_when_the_first_link_breaks_and_only_what_was_under_way_is_lost() {
    let scene = Diamond::new(142).await;
    let Diamond { i, m, n, e, .. } = scene;
    scene.route(&[i, m, e], Some(&[i, n, e]));
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(10));
    sleep(ms(1_000)).await;
    assert_eq!(scene.forwarded(n), 0, "the spare carries nothing yet");
    scene
        .fleet
        .link(i, m)
        .unwrap()
        .close(CloseCode::Overloaded, "");
    sleep(ms(1_000)).await;
    // There and back takes 80 ms: with nothing held, the first packet after the break is back then.
    assert!(flow.longest_gap() <= ms(92), "{:?}", flow.longest_gap());
    let (sent, received) = flow.finish().await;
    // The packets of 40 ms on the first two links each way, and a tick at either end.
    assert!(
        sent - received <= 10,
        "{} of {sent} are lost",
        sent - received
    );
    assert!(scene.forwarded(n) > 0);
    assert_eq!(echo.clients(), 1, "the service sees one client throughout");
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn flow_goes_on_over_the_next_link_of_its_pair_before_the_routes_say_so() {
    let scene = Diamond::new(151).await;
    let Diamond { i, m, e, .. } = scene;
    scene.route(&[i, m, e], None);
    let echo = UdpEcho::start(&scene.fleet, e);
    let _tcp = start_tcp_echo(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(10));
    sleep(ms(1_000)).await;
    scene
        .fleet
        .link(i, m)
        .unwrap()
        .close(CloseCode::Overloaded, "");
    scene.fleet.until_linked(&[i, m], ms(5_000)).await;
    let before = flow.received();
    sleep(ms(2_000)).await;
    assert!(flow.received() >= before + 150, "{}", flow.received());
    let program = scene.fleet.program(i);
    assert_eq!(tcp_round_trip(&program, 7000, 5_000).await.unwrap(), 5_000);
    assert_eq!(echo.clients(), 1);
    scene.assert_healthy();
    drop(flow);
}

#[tokio::test(start_paused = true)]
async fn flow_moves_to_its_spare_when_a_node_on_the_way_cannot_go_on() {
    let scene = Diamond::new(143).await;
    let Diamond { i, m, n, e, .. } = scene;
    scene.route(&[i, m, e], Some(&[i, n, e]));
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(10));
    sleep(ms(1_000)).await;
    // It takes a round trip until the pair has another link; by then the flow has moved.
    scene
        .fleet
        .link(m, e)
        .unwrap()
        .close(CloseCode::Overloaded, "");
    sleep(ms(600)).await;
    let dropped = &scene.fleet.mesh(m).counts.packets_dropped;
    assert!(dropped.value(PacketDrop::NoLink) > 0);
    assert!(scene.forwarded(n) >= 30, "{}", scene.forwarded(n));
    // Until the node has told: 20 ms there and back, besides what the new way takes.
    assert!(flow.longest_gap() <= ms(140), "{:?}", flow.longest_gap());
    sleep(ms(3_000)).await;
    let (sent, received) = flow.finish().await;
    assert!(
        sent - received <= 14,
        "{} of {sent} are lost",
        sent - received
    );
    assert_eq!(echo.clients(), 1);
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn way_that_ends_early_is_told_and_the_other_one_is_taken_by_flows_and_streams() {
    let to = "{ node = \"ap/e\" }";
    let listens = [udp_listen(6000, to), tcp_listen(7000, to)].concat();
    let services = [UDP_SERVICE, TCP_SERVICE].concat();
    // Nobody has told `m` where `e` is.
    let scene = Diamond::with(144, &listens, &services, |scene| {
        let Diamond { i, m, n, e, .. } = *scene;
        for member in [m, e] {
            scene.fleet.clear_peers(member);
        }
        let id = scene.fleet.id(n).clone();
        let address = scene.fleet.address(n).to_string();
        scene.fleet.add_peer(e, &id, &[address]);
        let _ = i;
    })
    .await;
    let Diamond { i, m, n, e, .. } = scene;
    assert!(scene.fleet.link(m, e).is_none());
    scene.route(&[i, m, e], Some(&[i, n, e]));
    let (_echo, _tcp) = (
        UdpEcho::start(&scene.fleet, e),
        start_tcp_echo(&scene.fleet, e),
    );
    let began = clock::now();
    let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(10));
    let opened = || flow.received() > 0;
    scene
        .fleet
        .until("a packet is back", ms(1_000), opened)
        .await;
    // 40 ms until `m` has answered, 80 ms for the opening, 80 ms for the packet.
    let took = clock::now() - began;
    assert!(took <= ms(220), "{took:?}");
    assert_eq!(scene.refused(m, ForwardRefusal::NoLink), 1);
    let program = scene.fleet.program(i);
    assert_eq!(tcp_round_trip(&program, 7000, 5_000).await.unwrap(), 5_000);
    assert_eq!(scene.refused(m, ForwardRefusal::NoLink), 2);
    let refused = &scene.fleet.mesh(m).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::Unreachable), 1);
    flow.finish_without_loss().await;
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
        let Diamond { i, m, e, .. } = scene;
        scene.route(&[i, m, e], None);
        let (_echo, _tcp) = (
            UdpEcho::start(&scene.fleet, e),
            start_tcp_echo(&scene.fleet, e),
        );
        let program = scene.fleet.program(i);
        let refused = &scene.fleet.mesh(e).counts.opens_refused;

        // As long as it is not known who that is, it may do nothing.
        let names = scene.fleet.mesh(e).names.swap(Arc::default());
        let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(100));
        sleep(ms(500)).await;
        assert_eq!(
            (
                flow.finish().await.1,
                refused.value(RefuseCode::NotAllowed) > 0
            ),
            (0, true)
        );
        assert!(tcp_round_trip(&program, 7000, 10).await.is_err());

        scene.fleet.mesh(e).names.store(names);
        let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(100));
        sleep(ms(500)).await;
        assert_eq!(flow.finish().await.1 > 0, is_served);
        let served = tcp_round_trip(&program, 7000, 10).await;
        assert_eq!(served.is_ok(), is_served, "{served:?}");
        scene.assert_healthy();
    }
}

#[tokio::test(start_paused = true)]
async fn echo_takes_as_long_as_its_way_and_a_broken_way_is_told() {
    let scene = Diamond::new(146).await;
    let Diamond { i, m, n, e, .. } = scene;
    let mesh = scene.fleet.mesh(i);
    let ask = |path: &[Member]| {
        let way = scene.way(path, Standing::Standby);
        async move { echo(mesh, &way, clock::now() + ms(1_000)).await }
    };
    for (path, millis) in [
        (&[i, m][..], 40),
        (&[i, m, e][..], 80),
        (&[i, m, n, e][..], 100),
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
    let way = scene.way(&[i, m, e], Standing::Standby);
    scene
        .fleet
        .sim
        .cut_both(scene.fleet.machine(m), scene.fleet.machine(e));
    let began = clock::now();
    let error = echo(mesh, &way, began + ms(500)).await.unwrap_err();
    assert_eq!(
        (error, clock::now() - began),
        (EchoError::TimedOut, ms(500))
    );
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn region_listen_keeps_its_node_and_its_service_while_only_other_nodes_lead_there() {
    let listens = udp_listen(6000, "{ region = \"ap\" }");
    let scene = Diamond::with(147, &listens, UDP_SERVICE, |scene| {
        let Diamond { i, e, .. } = *scene;
        scene.fleet.delay(i, e, ms(30));
        scene.fleet.pair(i, e);
    })
    .await;
    let Diamond { i, n, e, .. } = scene;
    scene.fleet.until_linked(&[i, e], ms(5_000)).await;
    sleep(ms(500)).await;
    scene.route(&[i, e], Some(&[i, n, e]));
    let echo = UdpEcho::start(&scene.fleet, e);
    let flow = UdpFlow::start(&scene.fleet, i, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert_eq!(scene.forwarded(n), 0);
    scene
        .fleet
        .sim
        .cut_both(scene.fleet.machine(i), scene.fleet.machine(e));
    sleep(ms(3_000)).await;
    assert!(scene.fleet.link(i, e).is_none());
    // Down after 0.9 s and a round trip, and there and back on the spare.
    let gap = flow.longest_gap();
    assert!(gap <= ms(900 + 60 + 60 + 80 + 20), "{gap:?}");
    assert_eq!(echo.clients(), 1);
    let late = UdpFlow::start(&scene.fleet, i, 6000, ms(20));
    sleep(ms(1_000)).await;
    assert!(late.received() > 40);
    assert_eq!(echo.clients(), 2);
    scene.assert_healthy();
    drop((flow, late));
}

/// A raw peer that is linked to `m`.
async fn raw_peer(scene: &Diamond) -> (Raw, RawLink) {
    let raw = Raw::new(&scene.fleet, "eu", "raw");
    let link = raw.link(scene.fleet.address(scene.m), Answers::ALL).await;
    (raw, link)
}

#[tokio::test(start_paused = true)]
async fn what_would_visit_a_node_twice_is_refused_and_counted() {
    let scene = Diamond::new(148).await;
    let Diamond { i, m, n, e, .. } = scene;
    let (raw, link) = raw_peer(&scene).await;
    let [ours, i, m_key, n_key, e_key] = [
        raw.id.key(),
        scene.fleet.key(i),
        scene.fleet.key(m),
        scene.fleet.key(n),
        scene.fleet.key(e),
    ];
    let flow = FlowId {
        ingress: ours,
        generation: raw.generation(),
        number: 1,
    };
    let hops = |hops: &[NodeKey]| RemainingHops::try_new(hops).unwrap();
    let looping = [
        hops(&[m_key, e_key]),
        hops(&[n_key, m_key, e_key]),
        hops(&[ours, e_key]),
        hops(&[n_key, n_key]),
        hops(&[n_key, e_key, n_key]),
    ];

    // Packets.
    let send = |direction, ingress, hops| {
        let header = PacketHeader {
            direction,
            class: Class::Video,
            flow: FlowId { ingress, ..flow },
            sequence: 0,
            sent_us: 0,
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops,
        };
        let payload = b"payload";
        link.send(&Datagram::Packet { header, payload });
    };
    for path in looping {
        send(Direction::Forward, ours, path);
    }
    send(Direction::Forward, i, hops(&[i]));
    send(Direction::Back, i, hops(&[i, e_key]));
    send(Direction::Back, m_key, hops(&[n_key]));
    sleep(ms(100)).await;
    let dropped = &scene.fleet.mesh(m).counts.packets_dropped;
    assert_eq!(dropped.value(PacketDrop::Loop), looping.len() as u64 + 3);
    assert_eq!(dropped.total(), dropped.value(PacketDrop::Loop));

    // Frames. Those that name a node twice by themselves are no frames at all.
    let relayed = |origin, via: &[NodeKey], hops| {
        let open = OpenFlow {
            flow: 1,
            service: "echo".into(),
            destination: e_key,
            class: Class::Video,
            idle_timeout: Duration::from_secs(60),
            spare: false,
        };
        let generation = raw.generation();
        Frame::Relayed(Box::new(Relayed {
            origin,
            via: via.to_vec(),
            hops,
            body: RelayedBody::OpenFlow { generation, open },
        }))
    };
    link.say(&relayed(ours, &[], hops(&[m_key, e_key])));
    link.say(&relayed(i, &[m_key, ours], hops(&[e_key])));
    // And nobody speaks for others: the last node that is named is the one that it comes from.
    link.say(&relayed(i, &[], hops(&[e_key])));
    link.say(&relayed(ours, &[n_key], hops(&[e_key])));
    sleep(ms(100)).await;
    assert_eq!(scene.refused(m, ForwardRefusal::Loop), 2);
    assert_eq!(scene.refused(m, ForwardRefusal::NotFromSender), 2);
    assert_eq!(scene.fleet.mesh(m).counts.frames_forwarded.value(), 0);
    let refusals = |code| {
        let heard = link.heard.lock();
        let refused = heard.iter().filter(|frame| match frame {
            Frame::FlowRefused { code: got, .. } => *got == code,
            Frame::Relayed(relayed) => {
                matches!(&relayed.body, RelayedBody::FlowRefused { code: got, .. } if *got == code)
            }
            _ => false,
        });
        refused.count()
    };
    // The other one would have had to come back through here.
    assert_eq!(refusals(RefuseCode::Loop), 1);

    // Streams.
    let open = |via: &[NodeKey], hops| {
        Frame::Open(Open {
            session: [1; 16],
            destination: e_key,
            service: "tcp".into(),
            budget: ms(1_000),
            resume_offset: 0,
            trace: None,
            hops,
            via: via.to_vec(),
        })
    };
    for (asked, expected) in [
        (open(&[], hops(&[m_key, e_key])), RefuseCode::Loop),
        (open(&[], hops(&[ours, e_key])), RefuseCode::Loop),
        (open(&[m_key, ours], hops(&[e_key])), RefuseCode::Loop),
        (open(&[n_key], hops(&[e_key])), RefuseCode::Malformed),
    ] {
        let (_sender, _receiver, answer) = link.ask(&asked).await;
        match answer {
            Frame::Refuse { code, .. } => assert_eq!(code, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scene.refused(m, ForwardRefusal::Loop), 5);
    assert_eq!(scene.refused(m, ForwardRefusal::NotFromSender), 3);
    assert_eq!(scene.forwarded(m), 0);
    assert!(link.is_open());
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn datagram_that_the_next_link_does_not_take_is_answered_with_what_it_takes() {
    let scene = Diamond::with(149, "", "", |scene| {
        let narrow = PairModel {
            max_bytes: Some(1_228),
            ..PairModel::delayed(ms(20))
        };
        scene.fleet.model(scene.m, scene.e, narrow);
    })
    .await;
    let Diamond { m, e, .. } = scene;
    let (raw, link) = raw_peer(&scene).await;
    let header = PacketHeader {
        direction: Direction::Forward,
        class: Class::Video,
        flow: FlowId {
            ingress: raw.id.key(),
            generation: raw.generation(),
            number: 1,
        },
        sequence: 7,
        sent_us: 0,
        link_sequence: 0,
        lifetime_ms: 0,
        fragment: None,
        hops: RemainingHops::try_new(&[scene.fleet.key(e)]).unwrap(),
    };
    let largest = link.connection.max_datagram_size().unwrap();
    let next = scene.fleet.link(m, e).unwrap();
    let limit = next.connection.max_datagram_size().unwrap();
    assert!(largest > limit + 100, "{largest}, {limit}");
    for (onward, forwarded) in [(limit, 1), (limit + 1, 1)] {
        // It goes on with a hop less.
        let payload = vec![7; onward + NodeKey::LEN - header.encoded_len()];
        let payload = &payload[..];
        link.send(&Datagram::Packet { header, payload });
        sleep(ms(100)).await;
        assert_eq!(scene.forwarded(m), forwarded);
    }
    let counts = &scene.fleet.mesh(m).counts;
    assert_eq!(counts.packets_dropped.value(PacketDrop::TooLarge), 1);
    let answer = TooLarge {
        packet: header.key(),
        limit: u16::try_from(limit).unwrap(),
    };
    assert_eq!(*link.too_large.lock(), [answer]);
    link.send(&Datagram::TooLarge(answer));
    sleep(ms(100)).await;
    assert_eq!(counts.packets_too_large.value(), 1);
    scene.assert_healthy();
}
