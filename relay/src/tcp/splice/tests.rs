use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use quinn::TransportConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::oneshot,
};

use super::*;
use crate::{
    accounts::{Accounts, Passage},
    deadline::testnet::{Pair, Path, after, sleep},
    tasks::{Scope, Tasks},
    telemetry::Metrics,
};

/// The node's end of a local connection in memory.
#[derive(Debug)]
struct Local {
    stream: DuplexStream,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The node has reset it.
    was_reset: AtomicBool,
    /// The program has reset it.
    breaks: AtomicBool,
}

impl LocalTcp for Local {
    fn reset(&mut self) {
        self.state.was_reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.breaks.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A node with one spliced connection, and its program.
struct Side {
    program: DuplexStream,
    state: Arc<State>,
    scope: Scope,
    ended: oneshot::Receiver<Result<(), SpliceError>>,
}

impl Side {
    fn start(halves: (Sender, Receiver), stall: Duration) -> Self {
        let (program, stream) = duplex(LOCAL_BYTES);
        let state = Arc::<State>::default();
        let local = Box::new(Local {
            stream,
            state: state.clone(),
        });
        let scope = Tasks::new(Arc::new(quinn::TokioRuntime)).scope("node");
        let (tell, ended) = oneshot::channel();
        let run = |task: Task| async move {
            let counts = Counts::new(&Metrics::new());
            let toll = Accounts::new(&[], clock::now()).toll("eu", Passage::Direct);
            let ended = splice(&counts, &toll, local, halves, Bytes::new(), stall, &task).await;
            let _ = tell.send(ended);
        };
        scope.spawn("splice", run).unwrap();
        Self {
            program,
            state,
            scope,
            ended,
        }
    }

    fn was_reset(&self) -> bool {
        self.state.was_reset.load(Ordering::Relaxed)
    }

    /// How the splice ended; it must do so within a minute.
    async fn ended(&mut self) -> Result<(), SpliceError> {
        let by: Instant = after(60_000);
        timeout_at(by.into(), &mut self.ended)
            .await
            .expect("the splice ends")
            .unwrap()
    }

    /// The program resets its connection.
    fn break_off(&mut self) {
        self.state.breaks.store(true, Ordering::Relaxed);
        let (closed, _) = duplex(1);
        self.program = closed;
    }
}

/// Two programs that talk through two nodes.
struct Fixture {
    pair: Pair,
    near: Side,
    far: Side,
}

impl Fixture {
    async fn new(path: Path, stall: Duration) -> Self {
        let transport = || {
            let mut transport = TransportConfig::default();
            transport.stream_receive_window(WINDOW_BYTES.into());
            transport
        };
        let pair = Pair::with_transport(path, transport).await;
        let (mut sender, receiver) = pair.near.open(after(1_000)).await.unwrap();
        // A stream is heard of with its first byte.
        sender
            .write(Bytes::from_static(b"o"), after(1_000))
            .await
            .unwrap();
        let (far_sender, mut far_receiver) = pair.far.accept_stream().await.unwrap();
        far_receiver.read(1, after(1_000)).await.unwrap();
        Self {
            pair,
            near: Side::start((sender, receiver), stall),
            far: Side::start((far_sender, far_receiver), stall),
        }
    }

    /// The near program writes until neither node takes more.
    async fn fill(&mut self) {
        let chunk = [0; LOCAL_BYTES];
        while timeout_at(after(500).into(), self.near.program.write_all(&chunk))
            .await
            .is_ok()
        {}
    }
}

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 3) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn every_byte_arrives_both_ways_and_each_half_ends_by_itself() {
    let mut t = Fixture::new(Path::with_delay(20), STALL).await;
    let (request, response) = (numbered(1_000_000), numbered(300_001));
    let client = async {
        t.near.program.write_all(&request).await.unwrap();
        t.near.program.shutdown().await.unwrap();
        let mut read = Vec::new();
        t.near.program.read_to_end(&mut read).await.unwrap();
        read
    };
    let service = async {
        let mut read = Vec::new();
        t.far.program.read_to_end(&mut read).await.unwrap();
        // The other half has ended long ago.
        sleep(STALL.as_millis() as u64 * 2).await;
        t.far.program.write_all(&response).await.unwrap();
        t.far.program.shutdown().await.unwrap();
        read
    };
    let (answered, asked) = tokio::join!(client, service);
    assert!(asked == request && answered == response);
    t.near.ended().await.unwrap();
    t.far.ended().await.unwrap();
    assert!(!t.near.was_reset() && !t.far.was_reset());
    assert_eq!(t.pair.near.open_streams() + t.pair.far.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn service_that_ends_first_leaves_the_way_to_it_open() {
    let mut t = Fixture::new(Path::with_delay(20), STALL).await;
    t.far.program.shutdown().await.unwrap();
    assert_eq!(t.near.program.read(&mut [0]).await.unwrap(), 0);
    t.near.program.write_all(b"still").await.unwrap();
    let mut read = [0; 5];
    t.far.program.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still");
    t.near.program.shutdown().await.unwrap();
    t.near.ended().await.unwrap();
    t.far.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reader_that_takes_a_little_within_each_stall_time_is_not_cut_off() {
    let mut t = Fixture::new(Path::with_delay(20), STALL).await;
    let sent = numbered(8 * LOCAL_BYTES);
    let client = async {
        t.near.program.write_all(&sent).await.unwrap();
        t.near.program.shutdown().await.unwrap();
    };
    let service = async {
        let mut read = vec![0; sent.len()];
        // A quarter of the window within each stall time; a chunk of a copy takes four.
        for part in read.chunks_mut(LOCAL_BYTES / 4) {
            sleep(STALL.as_millis() as u64 - 100).await;
            t.far.program.read_exact(part).await.unwrap();
        }
        read
    };
    let ((), read) = tokio::join!(client, service);
    assert!(read == sent);
}

#[tokio::test(start_paused = true)]
async fn reader_that_takes_nothing_is_cut_off_after_the_stall_time_and_not_before() {
    let mut t = Fixture::new(Path::with_delay(20), STALL).await;
    t.near.program.write_all(&[0; LOCAL_BYTES]).await.unwrap();
    sleep(500).await;
    let before = clock::now();
    t.near.program.write_all(&[0; 1]).await.unwrap();
    let far = t.far.ended().await.unwrap_err();
    assert!(matches!(far, SpliceError::LocalStalled), "{far}");
    let took = clock::now() - before;
    assert!(
        took >= STALL && took < STALL + Duration::from_millis(100),
        "{took:?}"
    );
    let near = t.near.ended().await.unwrap_err();
    assert_eq!(near.code(), StreamCode::Stalled, "{near}");
    assert!(t.near.was_reset() && t.far.was_reset());
}

#[tokio::test(start_paused = true)]
async fn program_that_resets_resets_the_other() {
    let mut t = Fixture::new(Path::with_delay(20), STALL).await;
    t.near.program.write_all(&[0; 100]).await.unwrap();
    sleep(100).await;
    t.near.break_off();
    let near = t.near.ended().await.unwrap_err();
    assert!(matches!(near, SpliceError::LocalRead(_)), "{near}");
    let far = t.far.ended().await.unwrap_err();
    assert_eq!(far.code(), StreamCode::LocalReset, "{far}");
    assert!(t.far.was_reset());
}

#[tokio::test(start_paused = true)]
async fn closed_link_resets_both_programs_though_a_write_is_blocked() {
    let mut t = Fixture::new(Path::with_delay(20), STALL * 60).await;
    t.fill().await;
    let before = clock::now();
    let code = crate::code::CloseCode::Superseded;
    t.pair.near.close(code, b"");
    t.near.ended().await.unwrap_err();
    t.far.ended().await.unwrap_err();
    assert!(clock::now() - before < Duration::from_millis(100));
    assert!(t.near.was_reset() && t.far.was_reset());
}

#[tokio::test(start_paused = true)]
async fn program_whose_last_bytes_nobody_acknowledges_reads_a_reset_when_the_link_ends() {
    let mut t = Fixture::new(Path::with_delay(20), STALL * 60).await;
    // Nothing more is to come, so that the acknowledgement alone is missing.
    t.far.program.shutdown().await.unwrap();
    assert_eq!(t.near.program.read(&mut [0]).await.unwrap(), 0);
    let silent = Path {
        blackhole: true,
        ..Path::with_delay(20)
    };
    t.pair.net.set_path(2, silent);
    t.near.program.write_all(b"last").await.unwrap();
    t.near.program.shutdown().await.unwrap();
    sleep(4_000).await;
    assert!(t.near.ended.try_recv().is_err(), "it waits for its peer");

    let before = clock::now();
    t.pair.near.close(crate::code::CloseCode::Silent, b"");
    let error = t.near.ended().await.unwrap_err();
    assert!(
        matches!(error, SpliceError::Send(SendError::Closed(_))),
        "{error}"
    );
    assert!(clock::now() - before < Duration::from_millis(100));
    assert!(t.near.was_reset());
}

#[tokio::test(start_paused = true)]
async fn node_that_ends_leaves_no_blocked_write_behind_and_says_why() {
    let mut t = Fixture::new(Path::with_delay(20), STALL * 60).await;
    t.fill().await;
    let overdue = t.near.scope.close(after(10)).await;
    assert!(overdue.is_empty(), "{overdue:?}");
    assert!(t.near.state.was_reset.load(Ordering::Relaxed));
    let far = t.far.ended().await.unwrap_err();
    assert_eq!(far.code(), StreamCode::Shutdown, "{far}");
}

#[tokio::test(start_paused = true)]
async fn last_window_may_take_a_slow_link_longer_than_streams_are_given_to_close() {
    let slow = Path {
        rate: Some(12_500),
        ..Path::with_delay(20)
    };
    let mut t = Fixture::new(slow, Duration::from_secs(30)).await;
    let sent = numbered(WINDOW_BYTES as usize);
    let before = clock::now();
    t.near.program.write_all(&sent).await.unwrap();
    t.near.program.shutdown().await.unwrap();
    let mut read = Vec::new();
    t.far.program.read_to_end(&mut read).await.unwrap();
    assert!(read == sent);
    assert!(clock::now() - before > Duration::from_secs(4));
    t.far.program.shutdown().await.unwrap();
    t.near.ended().await.unwrap();
}

const STALL: Duration = Duration::from_secs(1);
/// What a program's socket buffers.
const LOCAL_BYTES: usize = 64 << 10;
const WINDOW_BYTES: u32 = 64 << 10;
