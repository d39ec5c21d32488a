//! Copies between a local TCP connection and a stream of a link, both ways, until both are done.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::{
    clock,
    code::StreamCode,
    deadline::{ReadError, Receiver, SendError, Sender},
    env::LocalTcp,
    mesh::Mesh,
    tasks::Task,
};

/// Copies both ways until both ends are through, or one breaks.
///
/// A half that ends in order is closed in order, while the other goes on. A half that breaks resets
/// everything: the local program reads a reset and the other node a typed code, so that neither
/// takes a part for the whole.
///
/// - `early`: bytes of the stream that were read with its first frame.
/// - `stall`: how long a side may take no byte that is ready for it. Idle connections do not stall.
///
/// # Errors
/// [`SpliceError`]: which side broke, or who stalled. Everything is reset when it returns.
///
/// # Cancel safety
/// Dropping the future resets both sides.
pub(crate) async fn splice(
    mesh: &Mesh,
    mut local: Box<dyn LocalTcp>,
    (sender, mut receiver): (Sender, Receiver),
    early: Bytes,
    stall: Duration,
    task: &Task,
) -> Result<(), SpliceError> {
    let mut sender = Some(sender);
    let result = {
        let (mut reader, mut writer) = tokio::io::split(&mut local);
        let up = to_link(mesh, &mut reader, &mut sender, stall);
        let down = to_local(mesh, &mut receiver, &mut writer, early, stall);
        tokio::select! {
            biased;
            () = task.stopping() => Err(SpliceError::Shutdown),
            both = async { tokio::try_join!(up, down) } => both.map(|_| ()),
        }
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) => {
            local.reset();
            if let Some(sender) = sender {
                sender.reset(error.code());
            }
            receiver.stop(error.code());
            Err(error)
        }
    }
}

/// Takes the sender out when the local program has ended its half: waiting until the last bytes are
/// acknowledged is the reaper's job.
async fn to_link(
    mesh: &Mesh,
    local: &mut ReadHalf<&mut Box<dyn LocalTcp>>,
    sender: &mut Option<Sender>,
    stall: Duration,
) -> Result<(), SpliceError> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let read = local
            .read_buf(&mut buffer)
            .await
            .map_err(SpliceError::LocalRead)?;
        if read == 0 {
            if let Some(sender) = sender.take() {
                mesh.reaper.finish(clock::now(), sender);
            }
            return Ok(());
        }
        if let Some(sender) = sender {
            sender
                .write(buffer.split().freeze(), clock::now() + stall)
                .await?;
        }
        mesh.counts.stream_bytes_in.add(read as u64);
    }
}

async fn to_local(
    mesh: &Mesh,
    receiver: &mut Receiver,
    local: &mut WriteHalf<&mut Box<dyn LocalTcp>>,
    early: Bytes,
    stall: Duration,
) -> Result<(), SpliceError> {
    let mut next = Some(early);
    while let Some(bytes) = next {
        let deadline = clock::now() + stall;
        let written = tokio::time::timeout_at(deadline.into(), local.write_all(&bytes)).await;
        written
            .map_err(|_| SpliceError::LocalStalled)?
            .map_err(SpliceError::LocalWrite)?;
        mesh.counts.stream_bytes_out.add(bytes.len() as u64);
        next = receiver.read_when_sent(CHUNK_BYTES).await?;
    }
    let closed = tokio::time::timeout_at((clock::now() + stall).into(), local.shutdown()).await;
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

/// Four chunks of a connection are 100 Mbit/s over a 20 ms turn; more only adds memory.
const CHUNK_BYTES: usize = 64 << 10;
