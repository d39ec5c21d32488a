//! Copies between a local TCP connection and a stream of a link, both ways, until both are done.

use std::{io, pin::pin, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    time::timeout_at,
};

use crate::{
    accounts::Toll,
    clock,
    code::StreamCode,
    counts::Counts,
    deadline::{ReadError, Receiver, SendError, Sender},
    env::LocalTcp,
    tasks::Task,
};

/// Copies both ways until both ends are through, or one breaks.
///
/// A half that ends in order is closed in order, while the other goes on. A half that breaks resets
/// everything: the local program reads a reset and the other node a typed code, so that neither
/// takes a part for the whole.
///
/// - `toll`: what the stream's bytes are counted by, and may have to wait for.
/// - `early`: bytes of the stream that were read with its first frame.
/// - `stall`: how long a side may take no byte that is ready for it. One that takes some has as long
///   again for the next; what a far program takes shows here by eighths of a stream's window. Idle
///   connections do not stall.
///
/// # Errors
/// [`SpliceError`]: which side broke, or who stalled. Everything is reset when it returns.
///
/// # Cancel safety
/// Dropping the future resets the stream, and drops the local connection.
pub(crate) async fn splice(
    counts: &Counts,
    toll: &Toll,
    mut local: Box<dyn LocalTcp>,
    (mut sender, mut receiver): (Sender, Receiver),
    early: Bytes,
    stall: Duration,
    task: &Task,
) -> Result<(), SpliceError> {
    let result = {
        let (mut reader, mut writer) = tokio::io::split(&mut local);
        let up = to_link((counts, toll), &mut reader, &mut sender, stall);
        let down = to_local((counts, toll), &mut receiver, &mut writer, early, stall);
        tokio::select! {
            biased;
            () = task.stopping() => Err(SpliceError::Shutdown),
            both = async { tokio::try_join!(up, down) } => both.map(|_| ()),
        }
    };
    if let Err(error) = &result {
        local.reset();
        sender.reset(error.code());
        receiver.stop(error.code());
    }
    result
}

/// Waits at the end until the other node has all bytes: this task is the connection's own, so that
/// nobody else waits with it. The reaper would leave the local program without its reset when they
/// do not arrive, and gives a slow link less than its last window may need.
async fn to_link(
    (counts, toll): (&Counts, &Toll),
    local: &mut ReadHalf<&mut Box<dyn LocalTcp>>,
    sender: &mut Sender,
    stall: Duration,
) -> Result<(), SpliceError> {
    let mut buffer = BytesMut::new();
    // While the local program is silent in both directions, nothing else would notice.
    let mut given_up = pin!(sender.given_up());
    loop {
        // What was read stays in its block until it is acknowledged: a block for each small read
        // would hold a thousand times what the windows allow.
        if buffer.capacity() < MIN_READ_BYTES {
            buffer.reserve(CHUNK_BYTES);
        }
        let read = tokio::select! {
            biased;
            error = &mut given_up => return Err(error.into()),
            read = local.read_buf(&mut buffer) => read,
        };
        if read.map_err(SpliceError::LocalRead)? == 0 {
            break;
        }
        let mut chunk = buffer.split().freeze();
        while !chunk.is_empty() {
            let written = sender.write_some(&mut chunk, clock::now() + stall).await?;
            counts.stream_bytes_in.add(written as u64);
            toll.sent(written).await;
        }
    }
    let acknowledged = sender.start_finish()?;
    let by = clock::now() + stall;
    let ended = timeout_at(by.into(), acknowledged).await;
    let ended = ended.unwrap_or(Err(SendError::TimedOut));
    sender.settle(&ended);
    Ok(ended?)
}

async fn to_local(
    (counts, toll): (&Counts, &Toll),
    receiver: &mut Receiver,
    local: &mut WriteHalf<&mut Box<dyn LocalTcp>>,
    early: Bytes,
    stall: Duration,
) -> Result<(), SpliceError> {
    let mut next = Some(early);
    while let Some(mut bytes) = next {
        while !bytes.is_empty() {
            let by = clock::now() + stall;
            let written = timeout_at(by.into(), local.write(&bytes)).await;
            let written = written.map_err(|_| SpliceError::LocalStalled)?;
            let written = match written.map_err(SpliceError::LocalWrite)? {
                0 => return Err(SpliceError::LocalWrite(io::ErrorKind::WriteZero.into())),
                written => written,
            };
            bytes.advance(written);
            counts.stream_bytes_out.add(written as u64);
            toll.received(written);
        }
        next = receiver.read_when_sent(CHUNK_BYTES).await?;
    }
    let closed = timeout_at((clock::now() + stall).into(), local.shutdown()).await;
    closed
        .map_err(|_| SpliceError::LocalStalled)?
        .map_err(SpliceError::LocalWrite)
}

/// Why a connection did not end in order on both sides.
#[derive(Debug, Error)]
pub(crate) enum SpliceError {
    /// The local program's connection broke while it was read.
    #[error("local connection: {0}")]
    LocalRead(#[source] io::Error),
    /// The local program took nothing for as long as a stalled one is kept.
    #[error("the local program takes no bytes")]
    LocalStalled,
    /// The local program's connection broke while it was written.
    #[error("local connection: {0}")]
    LocalWrite(#[source] io::Error),
    /// The other node's half broke.
    #[error("from the link: {0}")]
    Receive(#[from] ReadError),
    /// The other node took no more; a stall is [`SendError::TimedOut`].
    #[error("to the link: {0}")]
    Send(#[from] SendError),
    /// The node is ending.
    #[error("the node is ending")]
    Shutdown,
}

impl SpliceError {
    /// The code with which the stream is reset.
    pub(crate) fn code(&self) -> StreamCode {
        match self {
            Self::LocalRead(_) | Self::LocalWrite(_) => StreamCode::LocalReset,
            Self::LocalStalled | Self::Send(SendError::TimedOut) => StreamCode::Stalled,
            Self::Receive(ReadError::Reset(code)) | Self::Send(SendError::Stopped(code)) => *code,
            Self::Receive(_) | Self::Send(_) => StreamCode::Cancelled,
            Self::Shutdown => StreamCode::Shutdown,
        }
    }
}

/// One read of a busy local socket.
const CHUNK_BYTES: usize = 64 << 10;
/// A block is used up before the next one is taken, but for less than this.
const MIN_READ_BYTES: usize = 4 << 10;

#[cfg(test)]
#[path = "splice/tests.rs"]
mod tests;
