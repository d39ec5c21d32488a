use std::time::Duration;

use bytes::Bytes;
use quinn::TransportConfig;

use super::{
    testnet::{Pair, Path, TestNet, Tls, address, after, sleep},
    *,
};
use crate::{
    clock,
    code::{CloseCode, StreamCode},
};

const DELAY: u64 = 40;
const RTT: Duration = Duration::from_millis(2 * DELAY);

fn dead() -> Path {
    Path {
        blackhole: true,
        ..Path::with_delay(DELAY)
    }
}

/// Windows that a test fills with few bytes, and four streams.
fn narrow() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(10_000u32.into())
        .max_concurrent_bidi_streams(4u32.into())
        .datagram_send_buffer_size(8_000);
    transport
}

async fn narrow_pair() -> Pair {
    Pair::with_transport(Path::with_delay(DELAY), narrow).await
}

/// A stream of `pair`, known to both ends by one byte each way.
async fn stream(pair: &Pair) -> ((Sender, Receiver), (Sender, Receiver)) {
    let mut near = pair.near.open(after(1_000)).await.unwrap();
    near.0
        .write(Bytes::from_static(b"?"), after(1_000))
        .await
        .unwrap();
    let mut far = pair.far.accept_stream().await.unwrap();
    far.1.read(1, after(1_000)).await.unwrap();
    (near, far)
}

fn large() -> Bytes {
    Bytes::from(vec![7; 50_000])
}

async fn elapsed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let start = clock::now();
    let output = work.await;
    (clock::now() - start, output)
}

#[tokio::test(start_paused = true)]
async fn a_dial_into_a_black_hole_fails_at_its_deadline_and_not_before() {
    let net = TestNet::new(dead());
    let tls = Tls::new();
    let near = net.endpoint(1, &tls, TransportConfig::default());
    let _far = net.endpoint(2, &tls, TransportConfig::default());
    let client = tls.client(TransportConfig::default());
    let dial = near.connect(client, address(2), after(700));
    let (took, dialed) = elapsed(dial).await;
    assert_eq!(dialed.unwrap_err(), DialError::TimedOut);
    assert_eq!(took, Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_takes_one_round_trip_and_each_end_sees_the_others_chain() {
    let (took, pair) = elapsed(Pair::new(Path::with_delay(DELAY))).await;
    // The acceptor's end is up half a round trip later.
    assert_eq!(took, RTT + RTT / 2);
    assert_eq!(pair.near.peer_chain(), pair.tls.chain());
    assert_eq!(pair.far.peer_chain(), pair.tls.chain());
    assert_eq!(pair.near.remote_address(), address(2));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_peer_that_falls_silent_is_given_up_at_the_deadline() {
    let net = TestNet::new(Path::with_delay(DELAY));
    let tls = Tls::new();
    let near = net.endpoint(1, &tls, TransportConfig::default());
    let far = net.endpoint(2, &tls, TransportConfig::default());
    let client = tls.client(TransportConfig::default());
    let (dialed, accepted) = tokio::join!(near.connect(client, address(2), after(3_000)), async {
        let incoming = far.accept().await.unwrap();
        net.set_path(2, dead());
        elapsed(incoming.accept(after(400))).await
    });
    assert_eq!(accepted.0, Duration::from_millis(400));
    assert_eq!(accepted.1.unwrap_err(), AcceptError::TimedOut);
    assert_eq!(dialed.unwrap_err(), DialError::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_certificate_is_refused_with_a_reason_on_both_ends() {
    let net = TestNet::new(Path::with_delay(DELAY));
    let tls = Tls::new();
    let near = net.endpoint(1, &tls, TransportConfig::default());
    let far = net.endpoint(2, &tls, TransportConfig::default());
    let client = tls.client_without_certificate();
    let (dialed, accepted) = tokio::join!(near.connect(client, address(2), after(3_000)), async {
        far.accept().await.unwrap().accept(after(3_000)).await
    });
    let AcceptError::Closed(Closed::Tls { text }) = accepted.unwrap_err() else {
        panic!("accepted for another reason");
    };
    assert!(text.contains("certificate"), "{text}");
    let closed = dialed.unwrap().closed().await;
    assert!(matches!(closed, Closed::TlsByPeer { .. }), "{closed}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_peer_does_not_read_fails_at_its_deadline_and_tears_the_stream() {
    let pair = narrow_pair().await;
    let ((mut sender, _receiver), (_far_sender, mut far)) = stream(&pair).await;
    let (took, written) = elapsed(sender.write(large(), after(300))).await;
    assert_eq!(written, Err(SendError::TimedOut));
    assert_eq!(took, Duration::from_millis(300));
    let again = sender.write(Bytes::from_static(b"x"), after(300)).await;
    assert_eq!(again, Err(SendError::Torn));
    assert_eq!(sender.finish(after(300)).await, Err(SendError::Torn));
    // The copy must not look complete to the peer.
    let mut ended = Ok(Some(Bytes::new()));
    while let Ok(Some(_)) = ended {
        ended = far.read(100_000, after(1_000)).await;
    }
    assert_eq!(ended, Err(ReadError::Reset(StreamCode::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn writing_some_goes_on_after_a_deadline_when_the_peer_reads_again() {
    let pair = narrow_pair().await;
    let ((mut sender, _receiver), (_far_sender, mut far)) = stream(&pair).await;
    let mut bytes = large();
    let first = sender.write_some(&mut bytes, after(300)).await.unwrap();
    assert_eq!(first + bytes.len(), large().len());
    let (took, blocked) = elapsed(sender.write_some(&mut bytes, after(300))).await;
    assert_eq!(blocked, Err(SendError::TimedOut));
    assert_eq!(took, Duration::from_millis(300));
    while far.read(100_000, after(100)).await.is_ok() {}
    assert!(sender.write_some(&mut bytes, after(300)).await.unwrap() > 0);
}

#[tokio::test(start_paused = true)]
async fn closing_a_stream_twice_wakes_a_blocked_write_at_once_and_the_first_code_counts() {
    let pair = narrow_pair().await;
    let ((mut sender, _receiver), (_far_sender, mut far)) = stream(&pair).await;
    let handle = sender.handle();
    let write = elapsed(sender.write(large(), after(60_000)));
    let close = async {
        sleep(200).await;
        handle.close(StreamCode::Stalled);
        handle.clone().close(StreamCode::Shutdown);
    };
    let ((took, written), ()) = tokio::join!(write, close);
    assert_eq!(written, Err(SendError::Reset(StreamCode::Stalled)));
    assert_eq!(took, Duration::from_millis(200));
    sleep(DELAY + 10).await;
    let read = far.read(100_000, after(1_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Stalled)));
}

#[tokio::test(start_paused = true)]
async fn closing_an_idle_stream_resets_it_with_that_code_when_it_is_dropped() {
    let pair = narrow_pair().await;
    let ((sender, _receiver), (_far_sender, mut far)) = stream(&pair).await;
    sender.handle().close(StreamCode::LocalReset);
    drop(sender);
    let read = far.read(1, after(1_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::LocalReset)));
}

#[tokio::test(start_paused = true)]
async fn closing_a_connection_wakes_every_wait_on_it_at_once_and_again_does_nothing() {
    let pair = narrow_pair().await;
    let ((mut writer, mut reader), _far) = stream(&pair).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(pair.near.open(after(100)).await.unwrap());
    }
    let late = || after(60_000);
    let start = clock::now();
    let (written, read, opened, accepted, datagram, closed, ()) = tokio::join!(
        writer.write(large(), late()),
        reader.read(10, late()),
        pair.near.open(late()),
        pair.near.accept_stream(),
        pair.near.read_datagram(),
        pair.near.closed(),
        async {
            sleep(200).await;
            pair.near.close(CloseCode::Silent, b"no reply");
            pair.near.close(CloseCode::Shutdown, b"again");
        }
    );
    assert_eq!(clock::now() - start, Duration::from_millis(200));
    assert_eq!(written, Err(SendError::Closed(Closed::Here)));
    assert_eq!(read, Err(ReadError::Closed(Closed::Here)));
    assert_eq!(opened.unwrap_err(), OpenError::Closed(Closed::Here));
    assert_eq!(accepted.unwrap_err(), Closed::Here);
    assert_eq!(datagram, Err(Closed::Here));
    assert_eq!(closed, Closed::Here);
    let by_peer = Closed::ByPeer {
        code: CloseCode::Silent,
        reason: Bytes::from_static(b"no reply"),
    };
    assert_eq!(pair.far.closed().await, by_peer);
    // One's own late close does not hide the peer's reason.
    pair.far.close(CloseCode::Shutdown, b"");
    assert_eq!(pair.far.close_reason(), Some(by_peer));
}

#[tokio::test(start_paused = true)]
async fn a_sender_dropped_before_it_is_done_resets_and_so_does_a_cancelled_finish() {
    let pair = narrow_pair().await;
    let ((sender, _r1), (_s1, mut far)) = stream(&pair).await;
    drop(sender);
    let read = far.read(1, after(1_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Cancelled)));

    let ((mut sender, _r2), (_s2, mut far)) = stream(&pair).await;
    sender
        .write(Bytes::from_static(b"half"), after(100))
        .await
        .unwrap();
    pair.net.set_path(2, dead());
    drop(tokio::time::timeout(Duration::from_millis(50), sender.finish(after(9_000))).await);
    pair.net.set_path(2, Path::with_delay(DELAY));
    let read = far.read(10, after(9_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_dropped_before_the_end_stops_the_peer() {
    let pair = narrow_pair().await;
    let ((_sender, receiver), (mut far, _far_receiver)) = stream(&pair).await;
    drop(receiver);
    let written = far.write(large(), after(9_000)).await;
    assert_eq!(written, Err(SendError::Stopped(StreamCode::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn finish_waits_for_the_acknowledgement_and_resets_at_its_deadline() {
    let pair = narrow_pair().await;
    let ((mut sender, _r1), (_s1, mut far)) = stream(&pair).await;
    sender
        .write(Bytes::from_static(b"all"), after(100))
        .await
        .unwrap();
    let (took, finished) = elapsed(sender.finish(after(9_000))).await;
    assert_eq!(finished, Ok(()));
    // The peer may hold an acknowledgement back for 25 ms.
    assert!(
        took >= RTT && took <= RTT + Duration::from_millis(26),
        "{took:?}"
    );
    assert_eq!(far.read(10, after(1)).await.unwrap().unwrap(), "all");
    assert_eq!(far.read(10, after(1)).await, Ok(None));

    let ((sender, _r2), (_s2, mut far)) = stream(&pair).await;
    pair.net.set_path(2, dead());
    let (took, finished) = elapsed(sender.finish(after(300))).await;
    assert_eq!(finished, Err(SendError::TimedOut));
    assert_eq!(took, Duration::from_millis(300));
    pair.net.set_path(2, Path::with_delay(DELAY));
    let read = far.read(10, after(9_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Deadline)));
}

#[tokio::test(start_paused = true)]
async fn reading_from_a_silent_peer_fails_at_the_deadline_and_may_go_on() {
    let pair = narrow_pair().await;
    let ((_sender, mut receiver), (mut far, _far_receiver)) = stream(&pair).await;
    let (took, read) = elapsed(receiver.read(10, after(250))).await;
    assert_eq!(read, Err(ReadError::TimedOut));
    assert_eq!(took, Duration::from_millis(250));
    far.write(Bytes::from_static(b"late"), after(100))
        .await
        .unwrap();
    assert_eq!(receiver.read_when_sent(10).await.unwrap().unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn opening_beyond_the_peers_limit_fails_at_the_deadline() {
    let pair = narrow_pair().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pair.near.open(after(100)).await.unwrap());
    }
    assert_eq!(pair.near.open_streams(), 4);
    let (took, opened) = elapsed(pair.near.open(after(300))).await;
    assert_eq!(opened.unwrap_err(), OpenError::TimedOut);
    assert_eq!(took, Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_as_open_until_both_its_halves_are_done() {
    let pair = narrow_pair().await;
    assert_eq!(pair.near.open_streams(), 0);
    let ((sender, receiver), far) = stream(&pair).await;
    assert_eq!((pair.near.open_streams(), pair.far.open_streams()), (1, 1));
    sender.finish(after(1_000)).await.unwrap();
    assert_eq!(pair.near.open_streams(), 1);
    drop(receiver);
    assert_eq!(pair.near.open_streams(), 0);
    drop(far);
    assert_eq!(pair.far.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_datagram_buffer_refuses_or_waits_and_loses_nothing() {
    let pair = narrow_pair().await;
    let limit = pair.near.max_datagram_size().unwrap();
    let too_large = DatagramError::TooLarge {
        got_bytes: limit + 1,
        limit_bytes: limit,
    };
    let sent = pair.near.try_send_datagram(Bytes::from(vec![0; limit + 1]));
    assert_eq!(sent, Err(too_large));

    let mut taken = 0u8;
    while pair
        .near
        .try_send_datagram(Bytes::from(vec![taken; 1_000]))
        .is_ok()
    {
        taken += 1;
    }
    assert_eq!(taken, 7);
    let (took, waited) = elapsed(
        pair.near
            .send_datagram(Bytes::from(vec![taken; 1_000]), after(500)),
    )
    .await;
    assert_eq!(waited, Ok(()));
    assert!(took < RTT);
    for expected in 0..=taken {
        assert_eq!(pair.far.read_datagram().await.unwrap()[0], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_for_a_datagram_ends_at_the_deadline() {
    let pair = narrow_pair().await;
    sleep(200).await;
    pair.net.set_path(2, dead());
    let packet = || Bytes::from(vec![0; 1_000]);
    // The congestion window takes some, then the buffer.
    while pair.near.send_datagram(packet(), after(5)).await.is_ok() {}
    // Below the probe timeout, at which quinn sends some of them again and makes room.
    let (took, sent) = elapsed(pair.near.send_datagram(packet(), after(100))).await;
    assert_eq!(sent, Err(DatagramError::Full));
    assert_eq!(took, Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn waiting_until_an_endpoint_is_idle_ends_at_the_deadline() {
    let pair = narrow_pair().await;
    let (took, idle) = elapsed(pair.near_endpoint.wait_idle(after(50))).await;
    assert!(!idle);
    assert_eq!(took, Duration::from_millis(50));
    pair.near_endpoint.close(CloseCode::Shutdown, b"");
    pair.near_endpoint.close(CloseCode::Shutdown, b"");
    assert!(pair.near_endpoint.wait_idle(after(5_000)).await);
    assert_eq!(pair.near_endpoint.open_connections(), 0);
    assert!(pair.near_endpoint.accept().await.is_none());
    let closed = pair.far.closed().await;
    assert!(matches!(
        closed,
        Closed::ByPeer {
            code: CloseCode::Shutdown,
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn an_incoming_that_is_refused_or_asked_to_retry_tells_the_dialer() {
    let pair = narrow_pair().await;
    let client = || pair.tls.client(narrow());
    let (dialed, ()) = tokio::join!(
        pair.near_endpoint
            .connect(client(), address(2), after(1_000)),
        async { pair.far_endpoint.accept().await.unwrap().refuse() }
    );
    assert_eq!(dialed.unwrap_err(), DialError::Closed(Closed::Refused));

    let dial = pair
        .near_endpoint
        .connect(client(), address(2), after(1_000));
    let (dialed, accepted) = tokio::join!(dial, async {
        let incoming = pair.far_endpoint.accept().await.unwrap();
        assert!(incoming.may_retry() && !incoming.address_is_proven());
        incoming.retry();
        let again = pair.far_endpoint.accept().await.unwrap();
        assert!(!again.may_retry() && again.address_is_proven());
        again.accept(after(1_000)).await
    });
    assert!(dialed.is_ok() && accepted.is_ok());
}
