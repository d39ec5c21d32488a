//! Who dials a node and does not become a link, and who is dialed and does not.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use causeway::{
    clock,
    code::CloseCode,
    counts::{InboundEnd, PeerErrorKind},
    deadline::{Closed, Connection},
    identity::pki::{Leaf, Validity},
    keeper::PeerStatus,
    telemetry::{CounterBy, Label},
    wire::{CloseReason, Frame, FrameErrorReason, FrameKind, Minors, PROTOCOL},
};
use netem::model::PairModel;

use crate::{
    env::epoch,
    fleet::{authority, ms, node_id, sleep, year},
    raw::{Raw, encoded, frame_bytes, intrude},
    traffic::Scene,
};

/// From the first packet to both Hellos.
const HELLO_WITHIN: Duration = Duration::from_millis(4_000);
const ONE_WAY: Duration = Duration::from_millis(20);

/// A scene, and a stranger 20 ms from `a`.
async fn with_stranger(seed: u64) -> (Scene, Raw) {
    let scene = Scene::new(seed, |_, _, _| {}).await;
    let raw = Raw::new(&scene.fleet, "us", "stranger");
    let machine = scene.fleet.machine(scene.a);
    let model = PairModel::delayed(ONE_WAY);
    scene.fleet.sim.set_pair_both(machine, &raw.host, model);
    (scene, raw)
}

/// Everything that was counted, by its word.
fn counted<L: Label>(counter: &CounterBy<L>) -> BTreeMap<&'static str, u64> {
    let labels = L::ALL
        .iter()
        .map(|label| (label.word(), counter.value(*label)));
    labels.filter(|(_, count)| *count > 0).collect()
}

/// What `a` has counted of inbound connections since the strangers came.
struct Before(BTreeMap<&'static str, u64>);

impl Before {
    fn of(scene: &Scene) -> Self {
        Self(counted(&scene.fleet.mesh(scene.a).counts.inbound))
    }

    fn assert_added(&self, scene: &Scene, outcome: InboundEnd, count: u64) {
        let mut expected = self.0.clone();
        *expected.entry(outcome.word()).or_default() += count;
        expected.retain(|_, count| *count > 0);
        let now = counted(&scene.fleet.mesh(scene.a).counts.inbound);
        assert_eq!(now, expected);
    }
}

async fn closed(connection: &Connection) -> Closed {
    let within = HELLO_WITHIN + ms(1_000);
    tokio::time::timeout(within, connection.closed())
        .await
        .unwrap()
}

/// The code and the text with which the node closed.
async fn closed_with(connection: &Connection) -> (CloseCode, String) {
    match closed(connection).await {
        Closed::ByPeer { code, reason } => {
            let reason = CloseReason::decode(code.number().into(), &reason);
            (code, reason.message)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn client_without_a_certificate_that_passes_is_refused_in_tls_and_counted_by_reason() {
    let (scene, raw) = with_stranger(40).await;
    let to = scene.fleet.address(scene.a);
    let id = node_id("us", "stranger");
    let elsewhere = "spiffe://elsewhere.org/region/us/node/stranger";
    let other_ca = authority("example.org", 999);
    let other_domain = Leaf {
        uris: vec![elsewhere.to_owned()],
        ..Leaf::node(&id, year())
    };
    let expired = Validity {
        not_before: epoch() - ms(10_000),
        not_after: epoch() - ms(5_000),
    };
    let ours = &scene.fleet.authority;
    let cases = [
        (None, None),
        (
            Some(other_ca.issue(&Leaf::node(&id, year())).unwrap()),
            Some(PeerErrorKind::UnknownIssuer),
        ),
        (
            Some(ours.issue(&other_domain).unwrap()),
            Some(PeerErrorKind::WrongTrustDomain),
        ),
        (
            Some(ours.issue(&Leaf::node(&id, expired)).unwrap()),
            Some(PeerErrorKind::Expired),
        ),
    ];
    let mut reasons = BTreeMap::new();
    for (certificate, reason) in cases {
        let before = Before::of(&scene);
        let connection = intrude(&raw, to, certificate.as_ref()).await;
        let closed = closed(&connection).await;
        assert!(matches!(closed, Closed::TlsByPeer { .. }), "{closed}");
        sleep(ms(100)).await;
        before.assert_added(&scene, InboundEnd::Handshake, 1);
        if let Some(reason) = reason {
            reasons.insert(reason.word(), 1);
        }
        assert_eq!(
            counted(&scene.fleet.mesh(scene.a).counts.peers_refused),
            reasons
        );
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn first_frame_that_is_no_hello_of_the_certified_node_closes_with_a_typed_code() {
    let (scene, raw) = with_stranger(41).await;
    let to = scene.fleet.address(scene.a);
    let good = raw.hello(raw.next_link());
    let hello = |change: &dyn Fn(&mut causeway::wire::Hello)| {
        let mut hello = good.clone();
        change(&mut hello);
        encoded(&Frame::Hello(Box::new(hello)))
    };
    let whole = hello(&|_| {});
    let number = FrameKind::Hello.number();
    // What is said, how it ends, and the reason under which the frame is counted.
    let cases: [(&str, Bytes, CloseCode, InboundEnd, Option<FrameErrorReason>); 9] = [
        (
            "another node's name",
            hello(&|hello| hello.node = node_id("us", "b")),
            CloseCode::WrongName,
            InboundEnd::WrongName,
            None,
        ),
        (
            "another node's region",
            hello(&|hello| hello.node = node_id("eu", "stranger")),
            CloseCode::WrongName,
            InboundEnd::WrongName,
            None,
        ),
        (
            "a link of another dialer",
            hello(&|hello| hello.link.dialer.0[0] ^= 1),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            None,
        ),
        (
            "newer minors only",
            hello(&|hello| hello.protocol = Minors { min: 7, max: 9 }),
            CloseCode::NoCommonProtocol,
            InboundEnd::NoCommonProtocol,
            Some(FrameErrorReason::NoCommonProtocol),
        ),
        (
            "nothing",
            frame_bytes(number, b""),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            Some(FrameErrorReason::Empty),
        ),
        (
            "no protobuf",
            frame_bytes(number, &[0xff; 9]),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            Some(FrameErrorReason::Malformed),
        ),
        (
            "no fields that are known",
            frame_bytes(number, &[0xf8, 0x07, 0x00]),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            Some(FrameErrorReason::MissingField),
        ),
        (
            "something else",
            encoded(&Frame::Probe { id: 1 }),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            Some(FrameErrorReason::OutOfPlace),
        ),
        (
            "too much",
            Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0, 1]),
            CloseCode::Malformed,
            InboundEnd::Malformed,
            Some(FrameErrorReason::Oversized),
        ),
    ];
    for (what, first, code, outcome, reason) in cases {
        let before = Before::of(&scene);
        let refused = &scene.fleet.mesh(scene.a).counts.frames_refused;
        let refused_before = refused.total();
        let said = raw.connect_and_say(to, first).await;
        let (got, text) = closed_with(&said.connection).await;
        assert_eq!(got, code, "{what}: {text}");
        assert!(!text.is_empty(), "{what}");
        if code == CloseCode::NoCommonProtocol {
            let ranges = [PROTOCOL.to_string(), "7 to 9".to_owned()];
            assert!(ranges.iter().all(|range| text.contains(range)), "{text}");
        }
        sleep(ms(100)).await;
        before.assert_added(&scene, outcome, 1);
        match reason {
            Some(reason) => assert_eq!(refused.value(reason), 1, "{what}"),
            None => assert_eq!(refused.total(), refused_before, "{what}"),
        }
    }
    // Ends within its Hello.
    let before = Before::of(&scene);
    let mut said = raw
        .connect_and_say(to, whole.slice(..whole.len() - 1))
        .await;
    let connection = said.connection.clone();
    drop(raw.host.spawn(async move {
        let _ = said.control.finish(crate::raw::soon()).await;
        let _ = said.frames.read(1, crate::raw::soon()).await;
    }));
    assert_eq!(closed_with(&connection).await.0, CloseCode::Malformed);
    sleep(ms(100)).await;
    before.assert_added(&scene, InboundEnd::Malformed, 1);
    let counts = &scene.fleet.mesh(scene.a).counts;
    assert_eq!(counts.frames_refused.value(FrameErrorReason::Truncated), 1);
    assert_eq!(scene.fleet.mesh(scene.a).links.snapshot().len(), 1);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn silence_after_tls_is_closed_at_the_hello_deadline_and_not_before() {
    let (scene, raw) = with_stranger(42).await;
    let to = scene.fleet.address(scene.a);
    let hello = encoded(&Frame::Hello(Box::new(raw.hello(raw.next_link()))));
    for said in [None, Some(hello.slice(..1)), Some(hello.slice(..40))] {
        let before = Before::of(&scene);
        let began = clock::now();
        let connection = match said {
            None => raw.connect(to).await,
            Some(part) => {
                let said = raw.connect_and_say(to, part).await;
                let connection = said.connection.clone();
                // Kept open, for a drop would reset it.
                drop(raw.host.spawn(async move {
                    sleep(ms(20_000)).await;
                    drop(said);
                }));
                connection
            }
        };
        assert_eq!(closed_with(&connection).await.0, CloseCode::SetupTimeout);
        let took = clock::now() - began;
        let expected = HELLO_WITHIN + 2 * ONE_WAY;
        assert!(took >= expected && took <= expected + ms(2), "{took:?}");
        before.assert_added(&scene, InboundEnd::Deadline, 1);
    }
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn strangers_above_the_rate_of_their_source_are_ignored_and_their_neighbours_are_not() {
    let (scene, raw) = with_stranger(43).await;
    let other = Raw::new(&scene.fleet, "us", "other");
    let to = scene.fleet.address(scene.a);
    let limits = scene.fleet.mesh(scene.a).config.limits().clone();
    let burst = u64::from(limits.connections_per_source_burst);
    let before = Before::of(&scene);
    let mut silent = Vec::new();
    for _ in 0..limits.retry_above {
        silent.push(raw.connect(to).await);
    }
    // From here on a source has to prove its address first, which an honest one does.
    let retried = raw.connect(to).await;
    before.assert_added(&scene, InboundEnd::Retry, 1);
    let flood = (0..2 * burst).map(|_| async {
        tokio::time::timeout(ms(1_000), raw.connect(to))
            .await
            .is_ok()
    });
    let passed = futures_util::future::join_all(flood).await;
    let passed = passed.iter().filter(|passed| **passed).count() as u64;
    assert!(passed < burst, "{passed} passed");
    let rate = scene
        .fleet
        .mesh(scene.a)
        .counts
        .inbound
        .value(InboundEnd::Rate);
    assert!(rate >= burst, "{rate} turned away");
    // Another source is served at once.
    let _other = other.connect(to).await;
    drop((silent, retried));
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_on_the_port_changes_nothing() {
    let (scene, raw) = with_stranger(44).await;
    let socket = raw.host.bind_udp((raw.host.ip(), 0).into()).unwrap();
    let to = scene.fleet.address(scene.a);
    let before = Before::of(&scene);
    let mut state = 1_u64;
    for length in (0..1_500).step_by(3) {
        let packet: Vec<u8> = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        socket.try_send_to(&packet, to).unwrap();
        sleep(ms(2)).await;
    }
    before.assert_added(&scene, InboundEnd::Handshake, 0);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn dialed_peer_that_completes_tls_and_says_nothing_fails_the_dial_at_its_deadline() {
    let (mut scene, raw) = with_stranger(45).await;
    let (a, id, address) = (scene.a, raw.id.clone(), raw.address().to_string());
    scene.fleet.add_peer(a, &id, &[address]);
    scene.fleet.reload(a).await;
    let began = clock::now();
    let connection = raw.accept().await;
    let failed = || scene.fleet.mesh(a).counts.dials_failed.value() == 1;
    scene.fleet.until("it fails", ms(5_000), failed).await;
    let took = clock::now() - began;
    assert!(took >= ms(4_000) && took <= ms(4_010), "{took:?}");
    // Told, and not only forgotten.
    let (code, _) = closed_with(&connection).await;
    assert_eq!(code, CloseCode::SetupTimeout);
    scene.finish().await;
}

#[tokio::test(start_paused = true)]
async fn dialed_peer_that_is_somebody_else_is_refused_in_tls_and_the_dial_says_so() {
    let (mut scene, raw) = with_stranger(46).await;
    let (a, address) = (scene.a, raw.address().to_string());
    let expected = node_id("us", "expected");
    scene.fleet.add_peer(a, &expected, &[address]);
    scene.fleet.reload(a).await;
    let endpoint = raw.endpoint.clone();
    drop(raw.host.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            assert!(incoming.accept(crate::raw::soon()).await.is_err());
        }
    }));
    let links = &scene.fleet.mesh(a).links;
    let status = || links.snapshot()[&expected.key()].slot.load().status.clone();
    let failed = || matches!(status(), PeerStatus::Backoff { .. });
    scene.fleet.until("the dial fails", ms(200), failed).await;
    let asked = clock::now();
    let error = links
        .connect(expected.key(), asked + ms(1))
        .await
        .unwrap_err();
    let text = error.to_string();
    let why = "wrong name: expected us/expected, got us/stranger";
    assert!(text.contains(why), "{text}");
    assert_eq!(clock::now(), asked);
    scene.finish().await;
}
