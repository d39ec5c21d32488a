use std::cell::Cell;

use bytes::Bytes;
use futures_util::future::join_all;
use quinn::TransportConfig;

use super::*;
use crate::{
    deadline::{
        Connection, Endpoint, ReadError, Receiver,
        testnet::{Pair, Path, TestNet, Tls, after, join, sleep},
    },
    tasks::Tasks,
};

fn scope() -> Scope {
    Tasks::new(Arc::new(quinn::TokioRuntime)).scope("node")
}

async fn stream(connection: &Connection) -> (Sender, Receiver) {
    let mut stream = connection.open(after(1_000)).await.unwrap();
    stream
        .0
        .write(Bytes::from_static(b"task"), after(1_000))
        .await
        .unwrap();
    stream
}

fn blackhole() -> Path {
    Path {
        blackhole: true,
        ..Path::with_delay(10)
    }
}

/// Twenty peers of a node, of which some fall silent after the handshake.
struct Peers {
    connections: Vec<Connection>,
    _endpoints: Vec<Endpoint>,
    _far: Vec<Connection>,
}

impl Peers {
    async fn new(silent: u16) -> Self {
        let net = TestNet::new(Path::with_delay(10));
        let tls = Tls::new();
        // Enough streams, so that a peer that acknowledges nothing does not block opening: what is
        // measured is closing.
        let transport = || {
            let mut transport = TransportConfig::default();
            transport.max_concurrent_bidi_streams(1_000u32.into());
            transport
        };
        let node = net.endpoint(1, &tls, transport());
        let mut peers = Self {
            connections: Vec::new(),
            _endpoints: vec![node.clone()],
            _far: Vec::new(),
        };
        for port in 10..30 {
            let peer = net.endpoint(port, &tls, transport());
            let (near, far) = join(&node, &peer, tls.client(transport()), port).await;
            peers.connections.push(near.unwrap());
            peers._far.push(far);
            peers._endpoints.push(peer);
        }
        sleep(100).await;
        for port in 10..10 + silent {
            net.set_path(port, blackhole());
        }
        peers
    }
}

const TASKS: usize = 400;

/// How long a pool of 12 workers takes for all tasks: one stream each, to one peer after another,
/// with a millisecond of work. `close` is what the worker does with the stream in the end.
async fn pool<F: Future<Output = ()>>(peers: &Peers, close: impl Fn(Sender) -> F) -> Duration {
    let start = clock::now();
    let next = Cell::new(0);
    let worker = || async {
        while next.get() < TASKS {
            let peer = &peers.connections[next.get() % peers.connections.len()];
            next.set(next.get() + 1);
            let (sender, _receiver) = stream(peer).await;
            sleep(1).await;
            close(sender).await;
        }
    };
    join_all((0..12).map(|_| worker())).await;
    clock::now() - start
}

#[tokio::test(start_paused = true)]
async fn a_tenth_of_silent_peers_does_not_slow_the_tasks_of_a_pool_at_all() {
    let scope = scope();
    let reaper = Reaper::start(&scope).unwrap();
    let hand_over = |sender| {
        reaper.finish(clock::now(), sender);
        std::future::ready(())
    };
    let all_healthy = Peers::new(0).await;
    let healthy = pool(&all_healthy, hand_over).await;
    let peers = Peers::new(2).await;
    let with_silent = pool(&peers, hand_over).await;
    assert_eq!(with_silent, healthy);

    // What it is for: with the same grace, but waited for in the worker, the pool crawls.
    let waiting = pool(&peers, |sender| async {
        let _ = sender.finish(clock::now() + GRACE).await;
    })
    .await;
    assert!(waiting > 100 * healthy, "{waiting:?} against {healthy:?}");

    sleep(10_000).await;
    let silent = TASKS as u64 / 10;
    assert_eq!(
        reaper.counts(),
        ReaperCounts {
            finished: 2 * TASKS as u64 - silent,
            handed: 2 * TASKS as u64,
            reset_deadline: silent,
            ..ReaperCounts::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_peers_stream_is_reset_when_its_grace_is_over_and_not_before() {
    let pair = Pair::new(Path::with_delay(10)).await;
    let scope = scope();
    let reaper = Reaper::start(&scope).unwrap();
    let (sender, _receiver) = stream(&pair.near).await;
    let (_far_sender, mut far) = pair.far.accept_stream().await.unwrap();
    far.read(10, after(100)).await.unwrap();
    pair.net.set_path(2, blackhole());
    reaper.finish(clock::now(), sender);
    // Timers round up to a millisecond.
    sleep(4_998).await;
    assert_eq!(reaper.counts().current, 1);
    sleep(4).await;
    assert_eq!(
        (reaper.counts().current, reaper.counts().reset_deadline),
        (0, 1)
    );
    pair.net.set_path(2, Path::with_delay(10));
    let read = far.read(10, after(20_000)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Deadline)));
}

#[tokio::test(start_paused = true)]
async fn over_the_bound_the_oldest_stream_is_reset_and_the_others_end_well() {
    let pair = Pair::new(Path::with_delay(10)).await;
    let scope = scope();
    let reaper = Reaper::with_bounds(&scope, GRACE, 3).unwrap();
    let mut near = Vec::new();
    let mut far = Vec::new();
    for _ in 0..4 {
        near.push(stream(&pair.near).await);
        far.push(pair.far.accept_stream().await.unwrap().1);
    }
    for (sender, _receiver) in near {
        reaper.finish(clock::now(), sender);
    }
    let counts = reaper.counts();
    assert_eq!(
        (counts.current, counts.reset_overflow, counts.handed),
        (3, 1, 4)
    );
    sleep(300).await;
    let counts = reaper.counts();
    assert_eq!((counts.current, counts.finished), (0, 3));
    let read = far[0].read(10, after(100)).await;
    assert_eq!(read, Err(ReadError::Reset(StreamCode::Overloaded)));
}

#[tokio::test(start_paused = true)]
async fn when_its_owner_ends_the_rest_is_reset_and_so_is_what_comes_after() {
    let pair = Pair::new(Path::with_delay(10)).await;
    let scope = scope();
    let reaper = Reaper::start(&scope).unwrap();
    let (before, _r1) = stream(&pair.near).await;
    let (after_end, _r2) = stream(&pair.near).await;
    reaper.finish(clock::now(), before);
    assert_eq!(scope.close(after(100)).await, []);
    reaper.finish(clock::now(), after_end);
    let counts = reaper.counts();
    assert_eq!((counts.current, counts.reset_shutdown), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_takes_its_streams_out_of_the_reaper_at_once() {
    let pair = Pair::new(Path::with_delay(10)).await;
    let scope = scope();
    let reaper = Reaper::start(&scope).unwrap();
    let (sender, _receiver) = stream(&pair.near).await;
    reaper.finish(clock::now(), sender);
    sleep(1).await;
    pair.near.close(crate::code::CloseCode::Silent, b"");
    sleep(1).await;
    assert_eq!((reaper.counts().current, reaper.counts().failed), (0, 1));
    assert_eq!(pair.near.open_streams(), 1);
}
