//! Writes the control stream: one frame after the other, each with a deadline.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout_at};

use super::{Link, frames::encoded};
use crate::{
    clock,
    code::CloseCode,
    deadline::Sender,
    tasks::{Task, Wait},
    wire::Frame,
};

/// Runs until the link's end or the owner's. A peer that takes no control frame for
/// [`WRITE_WITHIN`] loses the link.
pub(super) async fn run(
    link: Arc<Link>,
    mut control: Sender,
    mut frames: mpsc::Receiver<Box<Frame>>,
    task: Task,
) {
    let mut stop = pin!(task.stopping());
    loop {
        task.waits(Wait::Message);
        let frame = tokio::select! {
            biased;
            () = &mut stop => break,
            frame = frames.recv() => frame,
        };
        let Some(frame) = frame else { return };
        let bytes = match encoded(&frame) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(peer = %link.peer, %error, "a frame of our own is too long");
                continue;
            }
        };
        task.waits(Wait::Write);
        // Datagrams go before streams in quinn: a full link would starve this one.
        link.outbox.control_pending(bytes.len());
        if let Err(error) = control.write(bytes, clock::now() + WRITE_WITHIN).await {
            link.close(CloseCode::Silent, &format!("control stream: {error}"));
            return;
        }
    }
    // The link is closed by now or at once. Letting go of the stream before would make the peer
    // read a reset where it should read why the link was closed.
    task.waits(Wait::Close);
    let _ = timeout_at(
        (clock::now() + CLOSED_WITHIN).into(),
        link.connection.closed(),
    )
    .await;
}

/// As long as a link without replies is kept.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
