use std::time::Duration;

use quinn::TransportConfig;

use super::*;
use crate::{
    clock,
    deadline::{
        Receiver, Sender,
        testnet::{Pair, Path, after, sleep},
    },
    tasks::Tasks,
};

/// 2 Mbit/s with a round trip of 40 ms.
fn slow() -> Path {
    Path {
        rate: Some(250_000),
        ..Path::with_delay(20)
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.datagram_send_buffer_size(64 * 1024);
    transport
}

struct Fixture {
    pair: Pair,
    scope: Scope,
    outbox: Outbox,
}

impl Fixture {
    async fn new(path: Path) -> Self {
        let pair = Pair::with_transport(path, transport).await;
        let scope = Tasks::new(Arc::new(quinn::TokioRuntime)).scope("link");
        let outbox = Outbox::start(&scope, pair.near.clone()).unwrap();
        Self {
            pair,
            scope,
            outbox,
        }
    }

    /// As large as the path carries: such packets leave no room for STREAM frames.
    fn packet(&self) -> Bytes {
        Bytes::from(vec![0; self.pair.near.max_datagram_size().unwrap()])
    }

    /// Offers twice what the path carries, until `work` is done.
    async fn flood<T>(&self, work: impl Future<Output = T>) -> T {
        let flood = async {
            loop {
                let _ = self.outbox.push(Class::Data, self.packet());
                sleep(2).await;
            }
        };
        let read = async { while self.pair.far.read_datagram().await.is_ok() {} };
        tokio::select! {
            biased;
            done = work => done,
            () = async { tokio::join!(flood, read); } => unreachable!("the flood never ends"),
        }
    }

    async fn control(&self) -> ((Sender, Receiver), (Sender, Receiver)) {
        let mut near = self.pair.near.open(after(1_000)).await.unwrap();
        near.0.set_priority(1);
        near.0
            .write(Bytes::from_static(b"?"), after(1_000))
            .await
            .unwrap();
        let mut far = self.pair.far.accept_stream().await.unwrap();
        far.1.read(1, after(1_000)).await.unwrap();
        (near, far)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_backlog_a_push_sends_in_the_callers_own_turn() {
    let t = Fixture::new(Path::with_delay(20)).await;
    t.outbox.push(Class::Data, t.packet()).unwrap();
    t.outbox.push(Class::Probe, t.packet()).unwrap();
    let counts = t.outbox.counts();
    assert_eq!(
        (counts.sent_direct, counts.sent_probes, counts.backlog),
        (1, 1, 0)
    );
    assert!(t.pair.near.datagram_buffer_space() < 64 * 1024 - 2_000);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_link_drops_its_oldest_data_and_accounts_for_every_packet() {
    let t = Fixture::new(slow()).await;
    let mut pushed = 0u32;
    let mut received = Vec::new();
    let flood = async {
        while pushed < 5_000 {
            let mut packet = vec![0; 1_000];
            packet[..4].copy_from_slice(&pushed.to_be_bytes());
            t.outbox.push(Class::Data, packet.into()).unwrap();
            pushed += 1;
            sleep(2).await;
        }
        sleep(5_000).await;
    };
    let read = async {
        while let Ok(packet) = t.pair.far.read_datagram().await {
            received.push(u32::from_be_bytes(packet[..4].try_into().unwrap()));
        }
    };
    tokio::select! { biased; () = flood => {}, () = read => {} }
    let counts = t.outbox.counts();
    assert_eq!(
        (
            counts.sent_direct + counts.sent_queued + counts.dropped_data,
            counts.backlog
        ),
        (u64::from(pushed), 0)
    );
    assert!(counts.dropped_data > 1_000, "{counts:?}");
    assert!(
        received.is_sorted(),
        "packets of one class keep their order"
    );
    // The newest were not dropped.
    assert!(received.contains(&(pushed - 1)));
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_would_still_fit_does_not_overtake_the_backlog() {
    let t = Fixture::new(slow()).await;
    while t.outbox.counts().backlog == 0 {
        t.outbox.push(Class::Data, t.packet()).unwrap();
    }
    let direct = t.outbox.counts().sent_direct;
    assert!(t.pair.near.datagram_buffer_space() > 100);
    t.outbox
        .push(Class::Data, Bytes::from_static(b"small"))
        .unwrap();
    let counts = t.outbox.counts();
    assert_eq!((counts.sent_direct, counts.backlog), (direct, 2));
}

#[tokio::test(start_paused = true)]
async fn while_data_is_held_a_push_does_not_go_around_the_pump_and_a_probe_does() {
    let t = Fixture::new(slow()).await;
    while t.pair.near.datagram_buffer_space() > 2_000 {
        t.outbox.push(Class::Data, t.packet()).unwrap();
    }
    assert_eq!(t.outbox.counts().backlog, 0);
    t.outbox.control_pending(1);
    sleep(100).await;
    assert_eq!(t.outbox.counts().holds, 1);
    assert!(t.pair.near.datagram_buffer_space() > 10_000);
    let direct = t.outbox.counts().sent_direct;
    t.outbox.push(Class::Data, t.packet()).unwrap();
    t.outbox.push(Class::Probe, t.packet()).unwrap();
    let counts = t.outbox.counts();
    assert_eq!((counts.sent_direct, counts.backlog), (direct, 1));
    assert_eq!(counts.sent_probes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_overtakes_the_backlog_of_data() {
    let t = Fixture::new(slow()).await;
    let read = async {
        loop {
            let packet = t.pair.far.read_datagram().await.unwrap();
            if &packet[..] == b"probe" {
                return clock::now();
            }
        }
    };
    let flood = async {
        loop {
            let _ = t.outbox.push(Class::Data, t.packet());
            sleep(2).await;
        }
    };
    let probe = async {
        sleep(5_000).await;
        assert!(t.outbox.counts().backlog > 400);
        t.outbox
            .push(Class::Probe, Bytes::from_static(b"probe"))
            .unwrap();
        clock::now()
    };
    let took = tokio::select! {
        biased;
        () = flood => unreachable!("the flood never ends"),
        (sent, came) = async { tokio::join!(probe, read) } => came - sent,
    };
    // It waits for what quinn and the path hold, 64 kB and 30 kB, and not for 512 kB of backlog.
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn probes_beyond_their_limit_are_counted_and_do_not_take_the_place_of_data() {
    let t = Fixture::new(slow()).await;
    while t.outbox.counts().backlog == 0 {
        t.outbox.push(Class::Data, t.packet()).unwrap();
    }
    for _ in 0..MAX_PROBES {
        t.outbox.push(Class::Probe, t.packet()).unwrap();
    }
    assert_eq!(
        t.outbox.push(Class::Probe, t.packet()),
        Err(PushError::Full)
    );
    let counts = t.outbox.counts();
    assert_eq!((counts.dropped_probes, counts.dropped_data), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_hand_over_drops_its_newest_and_counts_them() {
    let t = Fixture::new(slow()).await;
    while t.outbox.counts().backlog == 0 {
        t.outbox.push(Class::Data, t.packet()).unwrap();
    }
    for _ in 1..HANDOVER_PACKETS {
        t.outbox.push(Class::Data, t.packet()).unwrap();
    }
    assert_eq!(t.outbox.push(Class::Data, t.packet()), Err(PushError::Full));
    assert_eq!(t.outbox.counts().dropped_handover, 1);
    assert_eq!(t.outbox.counts().backlog, HANDOVER_PACKETS);
}

#[tokio::test(start_paused = true)]
async fn a_saturated_link_still_moves_the_control_stream_if_it_is_announced() {
    let t = Fixture::new(slow()).await;
    let ((mut near, _r), (_s, mut far)) = t.control().await;
    t.flood(async {
        sleep(5_000).await;
        // What it is for: unannounced, nothing comes through.
        near.write(Bytes::from_static(b"1"), after(1_000))
            .await
            .unwrap();
        assert!(
            far.read(10, after(5_000)).await.is_err(),
            "starvation is gone: hold nothing"
        );

        for _ in 0..20 {
            t.outbox.control_pending(1);
            near.write(Bytes::from_static(b"2"), after(1_000))
                .await
                .unwrap();
            // 64 kB of quinn's buffer and 30 kB of the path's queue at 250 kB/s, and the delay.
            far.read(10, after(500)).await.unwrap().unwrap();
            sleep(200).await;
        }
    })
    .await;
    let counts = t.outbox.counts();
    assert_eq!((counts.holds, counts.holds_in_vain), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn holding_data_for_the_control_stream_costs_a_saturated_link_little_of_its_rate() {
    let t = Fixture::new(slow()).await;
    let ((mut near, _r), (_s, mut far)) = t.control().await;
    let sent = |counts: OutboxCounts| counts.sent_direct + counts.sent_queued;
    let (alone, with_control) = t
        .flood(async {
            sleep(5_000).await;
            let start = sent(t.outbox.counts());
            sleep(10_000).await;
            let alone = sent(t.outbox.counts());
            let end = after(10_000);
            while clock::now() < end {
                t.outbox.control_pending(1);
                near.write(Bytes::from_static(b"2"), after(1_000))
                    .await
                    .unwrap();
                far.read(10, after(1_000)).await.unwrap();
                sleep(200).await;
            }
            (alone - start, sent(t.outbox.counts()) - alone)
        })
        .await;
    assert!(
        with_control * 10 > alone * 9,
        "{with_control} against {alone}"
    );
}

#[tokio::test(start_paused = true)]
async fn on_a_link_with_room_control_bytes_hold_nothing() {
    let t = Fixture::new(Path::with_delay(20)).await;
    let ((mut near, _r), (_s, mut far)) = t.control().await;
    t.flood(async {
        sleep(1_000).await;
        for _ in 0..20 {
            t.outbox.control_pending(1);
            near.write(Bytes::from_static(b"2"), after(1_000))
                .await
                .unwrap();
            far.read(10, after(100)).await.unwrap();
        }
    })
    .await;
    let counts = t.outbox.counts();
    assert_eq!(
        (counts.holds, counts.dropped_data, counts.sent_queued),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn control_bytes_that_are_never_written_hold_data_for_a_bounded_time() {
    let t = Fixture::new(slow()).await;
    t.flood(async {
        sleep(5_000).await;
        t.outbox.control_pending(1);
        sleep(1_000).await;
        let counts = t.outbox.counts();
        assert_eq!((counts.holds, counts.holds_in_vain), (1, 1));
        // At rest, further announcements hold nothing.
        t.outbox.control_pending(1);
        sleep(500).await;
        assert_eq!(t.outbox.counts().holds, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_the_link_ends_the_backlog_is_counted_and_pushes_are_refused() {
    for by_scope in [true, false] {
        let mut t = Fixture::new(slow()).await;
        for _ in 0..200 {
            t.outbox.push(Class::Data, t.packet()).unwrap();
        }
        sleep(1).await;
        let backlog = t.outbox.counts().backlog as u64;
        assert!(backlog > 100);
        if by_scope {
            let other = t.scope.child("other");
            let scope = std::mem::replace(&mut t.scope, other);
            assert_eq!(scope.close(after(100)).await, []);
        }
        t.pair.near.close(crate::code::CloseCode::Silent, b"");
        sleep(1).await;
        let refused = t.outbox.push(Class::Data, t.packet());
        assert_eq!(refused, Err(PushError::Closed(Closed::Here)));
        let counts = t.outbox.counts();
        assert_eq!((counts.backlog, counts.dropped_closed), (0, backlog + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_larger_than_the_path_carries_is_refused_with_the_limit() {
    let t = Fixture::new(slow()).await;
    let limit = t.pair.near.max_datagram_size().unwrap();
    let refused = t.outbox.push(Class::Data, vec![0; limit + 1].into());
    assert_eq!(
        refused,
        Err(PushError::TooLarge {
            got_bytes: limit + 1,
            limit_bytes: limit
        })
    );
    assert_eq!(t.outbox.counts().dropped_too_large, 1);
}
