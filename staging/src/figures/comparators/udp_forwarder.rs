//! Plain UDP, in and out: what the two hops cost without a protocol.

use std::{future::poll_fn, net::SocketAddr};

use causeway::{env::UdpBatch, host};
use clap::Args;

use super::runs::{Runs, runtime};
use crate::{figures::process::tell, fleet::ports::ANY_PORT};

/// What the comparator is started with.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Where packets go on to.
    #[arg(long)]
    to: SocketAddr,
}

/// Forwards until the process ends; prints where it takes packets.
///
/// # Errors
/// It did not start, or its socket failed.
pub fn run(options: &Options) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let socket = host::local_net().bind_udp(ANY_PORT.into())?;
        tell(&socket.local_addr()?)?;
        let mut batch = UdpBatch::new();
        let mut runs = Runs::new(socket.clone(), options.to);
        loop {
            poll_fn(|cx| socket.poll_recv_batch(cx, &mut batch)).await?;
            while let Some((_, packet)) = batch.next_packet() {
                runs.push(packet);
            }
            runs.flush();
        }
    })
}
