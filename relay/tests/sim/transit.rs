//! What nodes on the way refuse, and what they answer.

use std::time::Duration;

use causeway::{
    code::RefuseCode,
    counts::{ForwardRefusal, PacketDrop},
    id::NodeKey,
    wire::{
        Class, Datagram, Direction, FlowId, Frame, Open, OpenFlow, PacketHeader, Relayed,
        RelayedBody, RemainingHops, TooLarge,
    },
};
use netem::model::PairModel;

use crate::{
    diamond::Diamond,
    fleet::{Member, ms, sleep},
    raw::{Answers, Raw, RawLink},
    traffic::{TCP_SERVICE, UDP_SERVICE},
};

/// A raw peer that is linked to `to`.
async fn raw_peer(scene: &Diamond, to: Member) -> (Raw, RawLink) {
    let raw = Raw::new(&scene.fleet, "eu", "raw");
    let link = raw.link(scene.fleet.address(to), Answers::ALL).await;
    (raw, link)
}

#[tokio::test(start_paused = true)]
async fn what_would_visit_a_node_twice_is_refused_and_counted() {
    let scene = Diamond::new(148).await;
    let Diamond { i, m, n, e, .. } = scene;
    let (raw, link) = raw_peer(&scene, scene.m).await;
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
    let (raw, link) = raw_peer(&scene, scene.m).await;
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

#[tokio::test(start_paused = true)]
async fn one_whom_nobody_has_told_of_may_do_nothing_however_much_is_allowed() {
    let scene = Diamond::with(150, "", &[UDP_SERVICE, TCP_SERVICE].concat(), |_| {}).await;
    let (raw, link) = raw_peer(&scene, scene.m).await;
    let e = scene.fleet.key(scene.e);
    let hops = RemainingHops::try_new(&[e]).unwrap();
    let open = OpenFlow {
        flow: 1,
        service: "echo".into(),
        destination: e,
        class: Class::Video,
        idle_timeout: Duration::from_secs(60),
        spare: false,
    };
    let generation = raw.generation();
    link.say(&Frame::Relayed(Box::new(Relayed {
        origin: raw.id.key(),
        via: Vec::new(),
        hops,
        body: RelayedBody::OpenFlow { generation, open },
    })));
    let asked = Frame::Open(Open {
        session: [1; 16],
        destination: e,
        service: "tcp".into(),
        budget: ms(1_000),
        resume_offset: 0,
        trace: None,
        hops,
        via: Vec::new(),
    });
    match link.ask(&asked).await.2 {
        Frame::Refuse { code, .. } => assert_eq!(code, RefuseCode::NotAllowed),
        other => panic!("{other:?}"),
    }
    sleep(ms(500)).await;
    let refused = &scene.fleet.mesh(scene.e).counts.opens_refused;
    assert_eq!(refused.value(RefuseCode::NotAllowed), 2);
    let heard = link.heard.lock();
    let told = heard.iter().filter(|frame| {
        matches!(frame, Frame::Relayed(relayed) if matches!(
            &relayed.body,
            RelayedBody::FlowRefused { code: RefuseCode::NotAllowed, .. }
        ))
    });
    assert_eq!(told.count(), 1);
    scene.assert_healthy();
}

#[tokio::test(start_paused = true)]
async fn link_that_a_node_is_said_to_lack_is_left_at_once_and_taken_again_after_five_seconds() {
    let scene = Diamond::new(151).await;
    let Diamond { i, m, n, e, .. } = scene;
    let (raw, link) = raw_peer(&scene, i).await;
    let say = |origin, next| {
        link.say(&Frame::Relayed(Box::new(Relayed {
            origin: scene.fleet.key(origin),
            via: vec![raw.id.key()],
            hops: RemainingHops::NONE,
            body: RelayedBody::Unreachable {
                flow: None,
                next: scene.fleet.key(next),
            },
        })));
    };
    // Of its own links a node hears from nobody else.
    say(i, m);
    sleep(ms(500)).await;
    scene.until_route(i, &[m, e], Some(&[n, e])).await;
    say(m, e);
    let left = scene.until_route(i, &[n, e], None).await;
    assert!(left < ms(500), "{left:?}");
    let back = scene.until_route(i, &[m, e], Some(&[n, e])).await;
    assert!((ms(4_500)..ms(8_000)).contains(&back), "{back:?}");
    scene.assert_healthy();
}
