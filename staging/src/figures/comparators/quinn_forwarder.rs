//! Bare quinn: UDP in, datagrams over one connection, UDP out.
//!
//! It has a node's sockets, transport profile and TLS, reads and writes in the same batches, and
//! puts what it reads into one buffer for each batch. It has one flow, so that it needs no header
//! and looks nothing up; it waits for room in quinn's buffer rather than dropping; it probes nobody.

use std::{
    future::poll_fn,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::BytesMut;
use causeway::{
    env::{Env, UdpBatch},
    host,
    identity::{Expect, FileCertificates, Files, Refusal, RequiredName, SERVER_NAME},
    transport::{self, MemoryBudget},
};
use clap::Args;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;

use super::runs::{Runs, runtime};
use crate::{figures::process::tell, fleet::ports::ANY_PORT};

/// What the near end is started with.
#[derive(Debug, Clone, Args)]
pub struct Ingress {
    /// Where the far end is.
    #[arg(long)]
    to: SocketAddr,
    #[command(flatten)]
    identity: Identity,
}

/// What the far end is started with.
#[derive(Debug, Clone, Args)]
pub struct Egress {
    /// Where packets go on to.
    #[arg(long)]
    to: SocketAddr,
    #[command(flatten)]
    identity: Identity,
}

#[derive(Debug, Clone, Args)]
struct Identity {
    /// The directory with certificate, key and bundle.
    #[arg(long)]
    pki: PathBuf,
    /// The name of the first two.
    #[arg(long)]
    name: String,
}

/// Dials the far end and forwards until the process ends; prints where it takes packets.
///
/// # Errors
/// It did not start, or a socket or the connection failed.
pub fn ingress(options: &Ingress) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let env = env(&options.identity)?;
        let material = env.certificates.load(env.wall.now())?;
        let refused = Refusal::default().observer();
        let tls = material.client_config(Expect::AnyOfTrustDomain, env.wall.clone(), refused);
        let client = transport::client_config(tls, profile())?;
        let endpoint = endpoint(&env, None)?;
        let connecting = endpoint.connect_with(client, options.to, SERVER_NAME)?;
        let connection = connecting.await.context("no connection")?;

        let socket = env.local.bind_udp(ANY_PORT.into())?;
        tell(&socket.local_addr()?)?;
        let mut batch = UdpBatch::new();
        let mut buffer = BytesMut::new();
        loop {
            poll_fn(|cx| socket.poll_recv_batch(cx, &mut batch)).await?;
            buffer.reserve(batch.left().1);
            while let Some((_, packet)) = batch.next_packet() {
                buffer.extend_from_slice(packet);
                let datagram = buffer.split().freeze();
                connection.send_datagram_wait(datagram).await?;
            }
        }
    })
}

/// Waits for the near end and forwards until the process ends; prints where it is dialed.
///
/// # Errors
/// It did not start, or the connection failed.
pub fn egress(options: &Egress) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let env = env(&options.identity)?;
        let material = env.certificates.load(env.wall.now())?;
        let refused = Refusal::default().observer();
        let tls = material.server_config(env.wall.clone(), refused);
        let endpoint = endpoint(&env, Some(transport::server_config(tls, profile())?))?;
        tell(&endpoint.local_addr()?)?;
        let incoming = endpoint.accept().await.context("the endpoint was closed")?;
        let connection = incoming.await.context("no connection")?;

        let mut runs = Runs::new(env.local.bind_udp(ANY_PORT.into())?, options.to);
        loop {
            let mut next = Some(connection.read_datagram().await);
            while let Some(datagram) = next {
                runs.push(&datagram?);
                next = connection.read_datagram().now_or_never();
            }
            runs.flush();
        }
    })
}

fn env(identity: &Identity) -> anyhow::Result<Env> {
    let file = |name: &str| identity.pki.join(name);
    let files = Files {
        certificate: file(&format!("{}.pem", identity.name)),
        key: file(&format!("{}.key", identity.name)),
        bundle: file("bundle.pem"),
    };
    let certificates = FileCertificates::new(files, RequiredName::default());
    let runtime = Arc::new(host::WorkerRuntime::new(Handle::current()));
    let env = host::env(vec![runtime], Arc::new(certificates), Path::new(""));
    env.context("no environment")
}

fn endpoint(env: &Env, server: Option<quinn::ServerConfig>) -> anyhow::Result<quinn::Endpoint> {
    let runtime = env.runtimes.first().context("a runtime was given")?;
    let socket = env.sockets.bind(ANY_PORT.into(), &**runtime)?;
    let config = transport::endpoint_config(&[0; 32], None);
    let endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime.clone());
    endpoint.context("no endpoint")
}

/// A node's, for as many links as it has by default. Datagrams do not depend on that.
fn profile() -> Arc<quinn::TransportConfig> {
    let mut profile = transport::transport_config(MemoryBudget {
        bytes: 1 << 30,
        links: 64,
    });
    // A node's probes keep its links while others are measured; here quinn has to.
    if let Some(profile) = Arc::get_mut(&mut profile) {
        profile.keep_alive_interval(Some(KEEP_ALIVE));
    }
    profile
}

/// A third of the profile's idle timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
