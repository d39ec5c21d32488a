//! The other ends: a process that answers each stream of its connections.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use causeway::deadline::{Connection, Receiver, Sender};
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::PEER;
use crate::figures::{
    endpoint::{RealEndpoint, soon},
    process::tell,
};

/// Takes connections and answers their streams, until the process that started this one is gone.
///
/// Prints the address that it accepts on.
///
/// - `directory`: holds its certificate.
///
/// # Errors
/// It could not start.
pub(crate) fn run(directory: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let peer = RealEndpoint::bind(directory, PEER)?;
        tell(&peer.address()?)?;
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                incoming = peer.endpoint.accept() => {
                    let incoming = incoming.context("the endpoint has ended")?;
                    connections.push(async {
                        if let Ok(connection) = incoming.accept(soon()).await {
                            serve(&connection).await;
                        }
                    });
                }
                Some(()) = connections.next() => {}
            }
        }
    })
}

/// Answers every stream of one connection until it ends.
async fn serve(connection: &Connection) {
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            stream = connection.accept_stream() => match stream {
                Ok((sender, receiver)) => answers.push(answer(sender, receiver)),
                Err(_) => return,
            },
            Some(()) = answers.next() => {}
        }
    }
}

/// Reads a request to its end, and answers if it was whole.
async fn answer(mut sender: Sender, mut receiver: Receiver) {
    let deadline = soon();
    loop {
        match receiver.read(REQUEST_BYTES, deadline).await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            // Reset: there is nobody to answer.
            Err(_) => return,
        }
    }
    if sender
        .write(Bytes::from_static(ANSWER), deadline)
        .await
        .is_ok()
    {
        // Whoever has asked counts what arrives.
        let _ = sender.finish(deadline).await;
    }
}

/// The length of a request, as that of an `Open`.
pub(super) const REQUEST_BYTES: usize = 100;
const ANSWER: &[u8] = b"answer";
