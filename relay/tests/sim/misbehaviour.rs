//! Peers with a link, and what they do with it.

use std::time::Duration;

use bytes::Bytes;
use causeway::{
    clock,
    code::{CloseCode, FlowCode, RefuseCode, StreamCode},
    counts::{PacketDrop, StreamEnd},
    deadline::{Closed, ReadError},
    id::NodeKey,
    keeper::PeerStatus,
    wire::{
        Class, Datagram, Direction, FlowId, Frame, FrameErrorReason, FrameKind, HeaderErrorReason,
        Open, OpenFlow, PacketHeader, RemainingHops,
    },
};
use netem::model::PairModel;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    fleet::{ms, sleep},
    raw::{Answers, Raw, RawLink, encoded, frame_bytes, read_frame, soon},
    traffic::{Scene, TCP_SERVICE, UDP_SERVICE, local, start_tcp_echo, tcp_listen},
};

const RTT: Duration = Duration::from_millis(40);

/// A scene in which `a` exposes services, and listens for one of the raw peer's.
async fn with_raw(seed: u64) -> (Scene, Raw) {
    let only_b = TCP_SERVICE
        .replace("\"tcp\"\nkind", "\"private\"\nkind")
        .replace("region/*/node/*", "region/eu/node/b");
    let listen = tcp_listen(7000, "{ node = \"us/raw\" }");
    let tables = [UDP_SERVICE, TCP_SERVICE, &only_b, &listen].concat();
    let scene = Scene::with_tables(seed, &tables, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "raw");
    let machine = scene.fleet.machine(scene.a);
    let model = PairModel::delayed(RTT / 2);
    scene.fleet.sim.set_pair_both(machine, &raw.host, model);
    (scene, raw)
}

async fn link(scene: &Scene, raw: &Raw) -> RawLink {
    let link = raw.link(scene.fleet.address(scene.a), Answers::ALL).await;
    let links = &scene.fleet.mesh(scene.a).links;
    let usable = links.get(raw.id.key()).unwrap();
    assert_eq!(usable.generation, link.generation);
    link
}

#[tokio::test(start_paused = true)]
async fn control_frame_that_cannot_be_read_closes_its_link_and_is_counted_by_reason() {
    let (scene, raw) = with_raw(50).await;
    let promote = FrameKind::Promote.number();
    let hello = encoded(&Frame::Hello(Box::new(raw.hello(raw.next_link()))));
    let open = encoded(&Frame::Open(open_to(NodeKey([0; 8]))));
    let nothing = Bytes::new();
    let cases: [(&str, [Bytes; 2], FrameErrorReason); 7] = [
        (
            "Hello again",
            [hello, nothing.clone()],
            FrameErrorReason::OutOfPlace,
        ),
        (
            "Open on the control stream",
            [open, nothing.clone()],
            FrameErrorReason::OutOfPlace,
        ),
        (
            "an empty frame",
            [frame_bytes(promote, b""), nothing.clone()],
            FrameErrorReason::Empty,
        ),
        (
            "an absent field",
            [frame_bytes(promote, &[0xf8, 0x07, 0x00]), nothing.clone()],
            FrameErrorReason::MissingField,
        ),
        (
            "no protobuf",
            [frame_bytes(promote, &[0xff; 5]), nothing.clone()],
            FrameErrorReason::Malformed,
        ),
        (
            "a frame of 4 GiB",
            [
                Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0, 2]),
                nothing.clone(),
            ],
            FrameErrorReason::Oversized,
        ),
        (
            "an end within a frame",
            [Bytes::from_static(&[0, 0, 0, 9, 0, 2, 1]), nothing],
            FrameErrorReason::Truncated,
        ),
    ];
    let counts = &scene.fleet.mesh(scene.a).counts;
    for (what, pieces, reason) in cases {
        let before = (
            counts.frames_refused.value(reason),
            counts.frames_refused.total(),
            counts.links_closed.value(CloseCode::Malformed),
            counts.links_closed.total(),
        );
        let link = link(&scene, &raw).await;
        for piece in pieces {
            link.say_bytes(piece);
        }
        match link.closed().await {
            Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::Malformed, "{what}"),
            other => panic!("{what}: {other}"),
        }
        sleep(ms(100)).await;
        let after = (
            counts.frames_refused.value(reason),
            counts.frames_refused.total(),
            counts.links_closed.value(CloseCode::Malformed),
            counts.links_closed.total(),
        );
        let expected = (before.0 + 1, before.1 + 1, before.2 + 1, before.3 + 1);
        assert_eq!(after, expected, "{what}");
        assert!(scene.fleet.mesh(scene.a).links.get(raw.id.key()).is_none());
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn frame_of_an_unknown_type_is_skipped_and_counted_and_the_link_stays() {
    let (scene, raw) = with_raw(51).await;
    let link = link(&scene, &raw).await;
    link.say_bytes(frame_bytes(60_000, b""));
    link.say_bytes(frame_bytes(60_001, &[0xff; 60_000]));
    // About flows that nobody has.
    link.say(&Frame::FlowAccepted { flow: 99 });
    link.say(&Frame::CloseFlow {
        flow: 98,
        direction: Direction::Forward,
        code: FlowCode::Idle,
    });
    sleep(ms(15_000)).await;
    assert!(link.is_open());
    assert_eq!(scene.fleet.mesh(scene.a).counts.frames_skipped.value(), 2);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn link_without_a_control_stream_is_closed() {
    let (scene, raw) = with_raw(52).await;
    let to = scene.fleet.address(scene.a);
    let counts = &scene.fleet.mesh(scene.a).counts;
    // Reset, and ended in order.
    for in_order in [false, true] {
        let closed = counts.links_closed.total();
        let established = raw.dial_with(to, raw.hello(raw.next_link())).await.unwrap();
        let connection = established.connection.clone();
        let _frames = established.frames;
        let control = established.control;
        drop(raw.host.spawn(async move {
            sleep(ms(500)).await;
            if in_order {
                let _ = control.finish(soon()).await;
            } else {
                control.reset(StreamCode::Cancelled);
            }
        }));
        let ended = tokio::time::timeout(ms(1_000), connection.closed()).await;
        match ended.unwrap() {
            Closed::ByPeer { code, .. } => assert_eq!(code, CloseCode::Malformed),
            other => panic!("{other}"),
        }
        sleep(ms(100)).await;
        assert_eq!(counts.links_closed.total(), closed + 1);
    }
    scene.finish().await;
}

/// What a peer asks for that may use the service `tcp`.
fn open_to(destination: NodeKey) -> Open {
    Open {
        session: [1; 16],
        destination,
        service: "tcp".into(),
        budget: ms(1_000),
        resume_offset: 0,
        trace: None,
        hops: RemainingHops::NONE,
        via: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn open_that_cannot_be_served_is_refused_with_its_code_and_the_link_stays() {
    let (scene, raw) = with_raw(53).await;
    let link = link(&scene, &raw).await;
    let good = open_to(scene.fleet.key(scene.a));
    let open = |change: &dyn Fn(&mut Open)| {
        let mut open = good.clone();
        change(&mut open);
        Frame::Open(open)
    };
    let cases = [
        (
            open(&|open| open.resume_offset = 1),
            RefuseCode::ResumeUnsupported,
        ),
        (
            open(&|open| open.destination = NodeKey([9; 8])),
            RefuseCode::NotHere,
        ),
        (
            open(&|open| open.service = "none".into()),
            RefuseCode::UnknownService,
        ),
        (
            open(&|open| open.service = "private".into()),
            RefuseCode::NotAllowed,
        ),
        (
            open(&|open| open.service = "echo".into()),
            RefuseCode::WrongKind,
        ),
        (
            open(&|open| open.budget = Duration::ZERO),
            RefuseCode::BudgetSpent,
        ),
        // Nobody listens at 127.0.0.1:5001 yet.
        (open(&|_| {}), RefuseCode::LocalRefused),
        (Frame::Probe { id: 1 }, RefuseCode::Malformed),
    ];
    let refused = &scene.fleet.mesh(scene.a).counts.opens_refused;
    for (asked, expected) in cases {
        let (_sender, mut receiver, answer) = link.ask(&asked).await;
        match answer {
            Frame::Refuse { code, .. } => assert_eq!(code, expected),
            other => panic!("{other:?}"),
        }
        // And the stream ends.
        assert_eq!(receiver.read(1, soon()).await.unwrap(), None);
        assert_eq!(refused.value(expected), 1);
    }
    let echo = start_tcp_echo(&scene.fleet, scene.a);
    let (mut sender, mut receiver, answer) = link.ask(&Frame::Open(good)).await;
    assert!(matches!(answer, Frame::Accept { resume_offset: 0 }));
    sender
        .write(Bytes::from_static(b"hi"), soon())
        .await
        .unwrap();
    let back = receiver.read(10, soon()).await.unwrap();
    assert_eq!(back.as_deref(), Some(&b"hi"[..]));
    assert!(link.is_open());
    drop(echo);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn flow_that_may_not_be_opened_is_refused_with_its_code() {
    let (scene, raw) = with_raw(54).await;
    let link = link(&scene, &raw).await;
    let good = OpenFlow {
        flow: 0,
        service: "echo".into(),
        destination: scene.fleet.key(scene.a),
        class: Class::Video,
        idle_timeout: ms(5_000),
        spare: false,
    };
    let cases = [
        ("none", good.destination, RefuseCode::UnknownService),
        ("private", good.destination, RefuseCode::NotAllowed),
        ("tcp", good.destination, RefuseCode::WrongKind),
        ("echo", NodeKey([9; 8]), RefuseCode::NotHere),
    ];
    for (flow, (service, destination, _)) in (0..).zip(cases) {
        link.say(&Frame::OpenFlow(OpenFlow {
            flow,
            service: service.into(),
            destination,
            ..good.clone()
        }));
    }
    sleep(ms(200)).await;
    for (number, (_, _, expected)) in (0..).zip(cases) {
        let heard = link.heard.lock();
        let is_it = |frame: &&Frame| matches!(frame, Frame::FlowRefused { flow, code, .. } if *flow == number && *code == expected);
        assert_eq!(heard.iter().filter(is_it).count(), 1, "{heard:?}");
    }
    assert!(link.is_open());
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn stream_on_which_nothing_is_written_is_reset_after_five_seconds() {
    let (scene, raw) = with_raw(55).await;
    let link = link(&scene, &raw).await;
    let hello = encoded(&Frame::Open(open_to(scene.fleet.key(scene.a))));
    let mut streams = Vec::new();
    let began = clock::now();
    for _ in 0..100 {
        let (mut sender, receiver) = link.connection.open(soon()).await.unwrap();
        // A stream shows with its first byte.
        sender.write(hello.slice(..1), soon()).await.unwrap();
        streams.push((sender, receiver));
    }
    for (_, receiver) in &mut streams {
        let ended = receiver.read(1, soon()).await;
        assert_eq!(ended, Err(ReadError::Reset(StreamCode::Deadline)));
    }
    let took = clock::now() - began;
    assert!(took >= ms(5_000) && took <= ms(5_000) + 2 * RTT, "{took:?}");
    assert_eq!(scene.fleet.mesh(scene.a).counts.streams_unread.value(), 100);
    assert!(link.is_open());
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_answers_no_open_resets_the_local_program_at_the_open_deadline() {
    let (scene, raw) = with_raw(56).await;
    let link = link(&scene, &raw).await;
    let program = scene.fleet.program(scene.a);
    let began = clock::now();
    let mut local = program.connect_tcp(local(7000)).await.unwrap();
    let (_sender, mut receiver) = link.connection.accept_stream().await.unwrap();
    let Frame::Open(open) = read_frame(&mut receiver).await else {
        panic!("no Open");
    };
    assert_eq!(open.service, "tcp");
    assert!(open.budget <= ms(5_000));
    let error = local.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let took = clock::now() - began;
    assert!(took >= ms(5_000) && took <= ms(5_010), "{took:?}");
    assert_eq!(scene.fleet.mesh(scene.a).counts.opens_failed.value(), 1);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_reads_nothing_is_cut_off_after_the_stall_timeout() {
    let (scene, raw) = with_raw(57).await;
    let link = link(&scene, &raw).await;
    let program = scene.fleet.program(scene.a);
    let stream = program.connect_tcp(local(7000)).await.unwrap();
    let (mut sender, mut receiver) = link.connection.accept_stream().await.unwrap();
    assert!(matches!(read_frame(&mut receiver).await, Frame::Open(_)));
    let accept = encoded(&Frame::Accept { resume_offset: 0 });
    sender.write(accept, soon()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut written = 0_u64;
    let chunk = vec![7; 64 << 10];
    let mut last = clock::now();
    while writer.write_all(&chunk).await.is_ok() {
        written += chunk.len() as u64;
        last = clock::now();
    }
    let took = clock::now() - last;
    assert!(took >= ms(4_500) && took <= ms(5_100), "{took:?}");
    // One stream's window and what the local ends buffer, not more.
    assert!(written <= 5 << 20, "{written} bytes were taken");
    assert!(reader.read_u8().await.is_err());
    let ended = &scene.fleet.mesh(scene.a).counts.streams_ended;
    assert_eq!(ended.value(StreamEnd::Stalled), 1);
    assert!(link.is_open(), "only the stream is cut off");
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_never_closed_hold_up_nobody_and_end_with_their_link() {
    let (scene, raw) = with_raw(58).await;
    let link = link(&scene, &raw).await;
    let program = scene.fleet.program(scene.a);
    let node = scene.fleet.node(scene.a);
    let calm = node.tasks().counts().running;
    let accept = encoded(&Frame::Accept { resume_offset: 0 });
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = program.connect_tcp(local(7000)).await.unwrap();
        let (mut sender, mut receiver) = link.connection.accept_stream().await.unwrap();
        assert!(matches!(read_frame(&mut receiver).await, Frame::Open(_)));
        sender.write(accept.clone(), soon()).await.unwrap();
        stream.write_all(b"that was all").await.unwrap();
        stream.shutdown().await.unwrap();
        streams.push((stream, sender, receiver));
    }
    // The local programs' halves are ended within the reaper's grace; the peer's stay open.
    sleep(ms(3_000)).await;
    assert_eq!(scene.fleet.mesh(scene.a).reaper.counts().current, 0);
    for (_, _, receiver) in &mut streams {
        let said = receiver.read(100, soon()).await.unwrap();
        assert_eq!(said.as_deref(), Some(&b"that was all"[..]));
        assert_eq!(receiver.read(100, soon()).await.unwrap(), None);
    }
    link.connection.close(CloseCode::Shutdown, b"");
    sleep(ms(1_000)).await;
    for (mut stream, _, _) in streams {
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let ended = &scene.fleet.mesh(scene.a).counts.streams_ended;
    assert_eq!(ended.value(StreamEnd::LinkBroke), 100);
    assert!(node.tasks().counts().running <= calm);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn datagrams_that_ask_for_too_much_or_for_nothing_are_dropped_and_counted() {
    let (scene, raw) = with_raw(59).await;
    let link = link(&scene, &raw).await;
    let header = PacketHeader {
        direction: Direction::Forward,
        class: Class::Video,
        flow: FlowId {
            ingress: raw.id.key(),
            generation: raw.generation(),
            number: 5,
        },
        sequence: 0,
        sent_us: 0,
        link_sequence: 0,
        lifetime_ms: 0,
        fragment: None,
        hops: RemainingHops::NONE,
    };
    let send = |change: &dyn Fn(&mut PacketHeader)| {
        let mut header = header;
        change(&mut header);
        let payload = b"payload";
        link.send(&Datagram::Packet { header, payload });
    };
    send(&|_| {});
    send(&|header| header.hops = RemainingHops::try_new(&[NodeKey([3; 8])]).unwrap());
    send(&|header| header.flow.ingress = NodeKey([3; 8]));
    send(&|header| header.flow.generation.0 += 1);
    send(&|header| {
        header.direction = Direction::Back;
        header.flow.ingress = scene.fleet.key(scene.a);
        header.flow.generation = link.peer_generation;
    });
    let garbage: [&[u8]; 4] = [b"", &[0x21, 0, 0], &[0x3f; 50], &[0xe1; 50]];
    for bytes in garbage {
        let bytes = Bytes::copy_from_slice(bytes);
        link.connection.try_send_datagram(bytes).unwrap();
    }
    sleep(ms(100)).await;
    let counts = &scene.fleet.mesh(scene.a).counts;
    let dropped = |why| counts.packets_dropped.value(why);
    // One of them may have been opened through the peer, as far as this node can tell.
    assert_eq!(dropped(PacketDrop::UnknownFlow), 3);
    assert_eq!(dropped(PacketDrop::NoLink), 1);
    assert_eq!(dropped(PacketDrop::NotOfLink), 1);
    assert_eq!(counts.packets_dropped.total(), 5);
    let refused = |why| counts.headers_refused.value(why);
    assert_eq!(refused(HeaderErrorReason::TooShort), 2);
    assert_eq!(refused(HeaderErrorReason::UnknownKind), 1);
    assert_eq!(refused(HeaderErrorReason::UnknownVersion), 1);
    assert!(link.is_open());
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn peer_whose_one_loop_is_wedged_is_down_within_the_bound_of_that_loop() {
    for (seed, packets, requests, bound) in [
        (60, true, false, ms(1_500)),
        (61, false, true, ms(1_500)),
        (62, false, false, ms(900)),
    ] {
        let (scene, raw) = with_raw(seed).await;
        let to = scene.fleet.address(scene.a);
        let began = clock::now();
        let promotions = true;
        let answers = Answers {
            packets,
            requests,
            promotions,
        };
        let link = raw.link(to, answers).await;
        let key = raw.id.key();
        let links = &scene.fleet.mesh(scene.a).links;
        let status = || links.snapshot()[&key].slot.load().status.clone();
        let down = || matches!(status(), PeerStatus::Down { .. });
        scene.fleet.until("down", ms(4_000), down).await;
        let took = clock::now() - began;
        // From the first probe on: TLS and Hellos take two round trips, and half of one more.
        assert!(took <= bound + RTT + 3 * RTT, "{took:?}");
        assert!(links.get(key).is_none());
        // The link is kept as long as one loop answers.
        sleep(ms(10_000)).await;
        assert_eq!(link.is_open(), packets || requests);
        scene.finish().await;
    }
}
