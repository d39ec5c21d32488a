//! Bare quinn holding links: one task for each connection, which probes on a timer.
//!
//! It speaks as much of the wire as the same peers need: both Hellos, and then probes of the same
//! sizes at the same rate, as datagrams and on the control stream in turn, and a digest every ten
//! seconds. It has the same socket, transport profile and TLS. It judges nothing but ten seconds of
//! silence, keeps no history, and serves nobody.

#![expect(
    clippy::disallowed_types,
    reason = "the comparator is quinn without our wrappers"
)]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use causeway::{
    clock,
    env::Env,
    id::NodeGeneration,
    identity::Refusal,
    link::frames::encoded,
    transport::{self, MemoryBudget},
    wire::{Datagram, Frame, FrameDecoder, Hello, PROTOCOL, Probe, ServicesDigest},
};
use clap::Args;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::{runtime::Handle, time::sleep_until};

use crate::figures::{
    idle::ground::{ANY_PORT, Ground, runtime, server_id},
    process::tell,
};

/// What the comparator is started with.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// How many links share the memory for QUIC's windows.
    #[arg(long)]
    links: u32,
    /// Bytes that each link holds besides, for tests of what is measured.
    #[arg(long, default_value_t = 0)]
    ballast_bytes: usize,
    /// The longest time between two probes of a link.
    #[arg(long, default_value_t = INTERVAL_MS)]
    interval_ms: u64,
}

/// Holds the links of whoever dials; prints where it accepts them.
///
/// # Errors
/// It did not start.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let env = Ground::new()?.env(&server_id(), &PathBuf::new())?;
        let endpoint = endpoint(&env, options.links)?;
        tell(&endpoint.local_addr()?)?;
        let mut number = 0;
        while let Some(incoming) = endpoint.accept().await {
            number += 1;
            let link = hold(incoming, number, options);
            // A link that ends is missed by its peer, which counts those that are open.
            Handle::current().spawn(async move { link.await.ok() });
        }
        Ok(())
    })
}

fn endpoint(env: &Env, links: u32) -> anyhow::Result<quinn::Endpoint> {
    let [runtime] = &env.runtimes[..] else {
        bail!("one runtime was asked for");
    };
    let material = env.certificates.load(env.wall.now())?;
    let tls = material.server_config(env.wall.clone(), Refusal::default().observer());
    let profile = transport::transport_config(MemoryBudget {
        bytes: LINK_MEMORY_BYTES,
        links,
    });
    let server = transport::server_config(tls, profile)?;
    let config = transport::endpoint_config(&[0; 32], None);
    let socket = env.sockets.bind(ANY_PORT, &**runtime)?;
    let (server, runtime) = (Some(server), runtime.clone());
    Ok(quinn::Endpoint::new_with_abstract_socket(
        config, server, socket, runtime,
    )?)
}

/// From the handshake to the end of one link.
async fn hold(incoming: quinn::Incoming, number: u64, options: Options) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut decoder = FrameDecoder::for_control(PROTOCOL);
    let theirs = loop {
        let mut bytes = read(&mut receive).await?;
        if let Some(frame) = decoder.decode(&mut bytes)? {
            break frame;
        }
    };
    let Frame::Hello(theirs) = theirs else {
        bail!("no Hello");
    };
    send.write_all(&encoded(&Frame::Hello(Box::new(answer(*theirs))))?)
        .await?;

    let _ballast = vec![1_u8; options.ballast_bytes];
    let interval = Duration::from_millis(options.interval_ms);
    let mut jitter = Pcg64Mcg::seed_from_u64(number);
    let mut now = clock::now();
    let (mut last_reply, mut next_probe, mut next_digest) = (now, now, now + DIGEST_EVERY);
    let mut id = 0;
    loop {
        tokio::select! {
            biased;
            datagram = connection.read_datagram() => {
                if let Datagram::ProbeReply(_) = Datagram::decode(&datagram?)? {
                    last_reply = clock::now();
                }
            }
            bytes = read(&mut receive) => {
                let mut bytes = bytes?;
                while let Some(frame) = decoder.decode(&mut bytes)? {
                    if let Frame::ProbeReply { .. } = frame {
                        last_reply = clock::now();
                    }
                }
            }
            () = sleep_until(next_probe.min(next_digest).into()) => {
                now = clock::now();
                if now - last_reply > SILENCE {
                    bail!("silent");
                }
                if now >= next_digest {
                    next_digest = now + DIGEST_EVERY;
                    let digest = ServicesDigest { version: 0, digest: 0, count: 0 };
                    send.write_all(&encoded(&Frame::ServicesDigest(digest))?).await?;
                }
                if now >= next_probe {
                    if id % 2 == 0 {
                        connection.send_datagram(probe(id))?;
                    } else {
                        send.write_all(&encoded(&Frame::Probe { id })?).await?;
                    }
                    id += 1;
                    // As a node's: jitter takes away up to a fifth.
                    next_probe = now + interval.mul_f64(jitter.random_range(0.8..=1.0));
                }
            }
        }
    }
}

async fn read(receive: &mut quinn::RecvStream) -> anyhow::Result<Bytes> {
    let chunk = receive.read_chunk(READ_BYTES, true).await?;
    Ok(chunk.context("the control stream ended")?.bytes)
}

fn answer(theirs: Hello) -> Hello {
    Hello {
        node: server_id(),
        generation: NodeGeneration(1),
        current_link: None,
        ..theirs
    }
}

fn probe(id: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(Probe::LEN);
    // The time is for whoever looks at it; nobody does.
    Datagram::Probe(Probe { id, sent_us: 0 }).encode(&mut bytes);
    bytes.freeze()
}

/// As `link_memory_mb` by default.
const LINK_MEMORY_BYTES: u64 = 2 << 30;
/// As the node's default liveness.
const INTERVAL_MS: u64 = 200;
const DIGEST_EVERY: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 4 << 10;
