//! A stream of bytes through the mesh, with its SHA-256 taken at both ends.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use causeway::clock;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use ring::digest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// How far the stream has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Bytes that the near node took.
    pub bytes_sent: u64,
    /// Bytes that came out of the far node.
    pub bytes_received: u64,
    /// Whether both ends have the same SHA-256; none until the far end's answer is there.
    pub sha256_match: Option<bool>,
}

/// One stream, both ends of it in this process.
#[derive(Debug)]
pub struct Stream {
    /// The listen of the near node.
    pub near: SocketAddr,
    /// Bound where the far node has its service.
    pub far: TcpListener,
    /// When to send no more.
    pub stop_at: Instant,
}

impl Stream {
    /// Sends until `stop_at`, closes its half, and compares what the far end answers.
    ///
    /// The answer comes back over the other half of the same stream, so both ways are used, and
    /// the end of one half while the other goes on.
    ///
    /// # Errors
    /// The stream broke, or one of its ends made no progress for [`STALL`].
    ///
    /// # Cancel safety
    /// Not cancel safe: both ends of the stream are dropped with it.
    pub async fn run(self, published: watch::Sender<StreamTotals>) -> anyhow::Result<()> {
        let sender = send(self.near, self.stop_at, &published);
        let receiver = receive(self.far, &published);
        let (digest, ()) = tokio::try_join!(sender, receiver)?;
        published.send_modify(|totals| totals.sha256_match = Some(digest));
        Ok(())
    }
}

/// Returns whether the far end has seen the same bytes.
async fn send(
    near: SocketAddr,
    stop_at: Instant,
    published: &watch::Sender<StreamTotals>,
) -> anyhow::Result<bool> {
    let mut near = progress(TcpStream::connect(near), "to be taken by the near node").await?;
    // Not compressible, and the same in every run.
    let mut bytes = Pcg64Mcg::seed_from_u64(SEED);
    let mut sha256 = digest::Context::new(&digest::SHA256);
    let mut block = [0; BLOCK_BYTES];
    let mut next = clock::now();
    while next < stop_at {
        clock::sleep_until(Some(next)).await;
        bytes.fill_bytes(&mut block);
        sha256.update(&block);
        progress(near.write_all(&block), "to go on at the near node").await?;
        published.send_modify(|totals| totals.bytes_sent += BLOCK_BYTES as u64);
        next = (next + BLOCK_INTERVAL).max(clock::now());
    }
    clock::sleep_until(Some(stop_at)).await;
    progress(near.shutdown(), "to be closed").await?;
    let answer = answer(&mut near, published).await?;
    Ok(answer == sha256.finish().as_ref())
}

/// Reads what the far end answers once it has everything, and waits for as long as it gets more:
/// over a long way, the near node may have taken much that has not come out.
async fn answer(
    near: &mut TcpStream,
    published: &watch::Sender<StreamTotals>,
) -> anyhow::Result<[u8; digest::SHA256_OUTPUT_LEN]> {
    let mut answer = [0; digest::SHA256_OUTPUT_LEN];
    let mut read = pin!(near.read_exact(&mut answer));
    let mut received = None;
    while received != Some(published.borrow().bytes_received) {
        received = Some(published.borrow().bytes_received);
        if let Ok(answered) = timeout(STALL, &mut read).await {
            answered.context("the stream broke while it was to be answered")?;
            return Ok(answer);
        }
    }
    bail!("the stream waited for {STALL:?} to be answered")
}

async fn receive(far: TcpListener, published: &watch::Sender<StreamTotals>) -> anyhow::Result<()> {
    let (mut far, _) = progress(far.accept(), "to come out of the far node").await?;
    let mut sha256 = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        let length = progress(far.read(&mut buffer), "to go on at the far node").await?;
        if length == 0 {
            break;
        }
        sha256.update(&buffer[..length]);
        published.send_modify(|totals| totals.bytes_received += length as u64);
    }
    progress(far.write_all(sha256.finish().as_ref()), "to be answered").await?;
    progress(far.shutdown(), "to be closed").await
}

/// Waits for one step of the stream, which must come within [`STALL`].
async fn progress<T>(step: impl Future<Output = io::Result<T>>, what: &str) -> anyhow::Result<T> {
    match timeout(STALL, step).await {
        Ok(done) => done.with_context(|| format!("the stream broke while it was {what}")),
        Err(_) => bail!("the stream waited for {STALL:?} {what}"),
    }
}

/// Longer than the mesh itself needs to give a stream up, so that its own reason is seen first.
pub const STALL: Duration = Duration::from_secs(10);
/// With [`BLOCK_INTERVAL`] 16 Mbit/s: visible, and two small cores have time for the packets.
const BLOCK_BYTES: usize = 40_000;
const BLOCK_INTERVAL: Duration = Duration::from_millis(20);
const SEED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a stream of three blocks through a node that changes what `alter` changes and passes it
    /// on in three parts, each after a `pause`.
    async fn cross(pause: Duration, alter: impl Fn(&mut [u8])) -> StreamTotals {
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = far.local_addr().unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listen.local_addr().unwrap();
        let (published, totals) = watch::channel(StreamTotals::default());
        let stop_at = clock::now() + 3 * BLOCK_INTERVAL - Duration::from_millis(1);
        let node = async {
            let (mut program, _) = listen.accept().await.unwrap();
            let mut service = TcpStream::connect(service).await.unwrap();
            let mut bytes = Vec::new();
            program.read_to_end(&mut bytes).await.unwrap();
            alter(&mut bytes);
            for part in bytes.chunks(bytes.len().div_ceil(3)) {
                tokio::time::sleep(pause).await;
                service.write_all(part).await.unwrap();
            }
            service.shutdown().await.unwrap();
            tokio::io::copy(&mut service, &mut program).await.unwrap();
        };
        let stream = Stream { near, far, stop_at };
        let (ended, ()) = tokio::join!(stream.run(published), node);
        ended.unwrap();
        *totals.borrow()
    }

    #[tokio::test]
    async fn a_stream_that_crosses_whole_matches() {
        let totals = cross(Duration::ZERO, |_| {}).await;
        assert!(totals.bytes_sent >= BLOCK_BYTES as u64, "{totals:?}");
        assert_eq!(totals.bytes_received, totals.bytes_sent);
        assert_eq!(totals.sha256_match, Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_as_long_as_the_far_end_receives() {
        let totals = cross(STALL * 2 / 3, |_| {}).await;
        assert_eq!(totals.sha256_match, Some(true));
    }

    #[tokio::test]
    async fn one_changed_bit_does_not_match() {
        let totals = cross(Duration::ZERO, |bytes| bytes[1_000] ^= 1).await;
        assert_eq!(totals.sha256_match, Some(false));
    }
}
