//! A peer with as little behind it as will do: it links, answers probes and accepts every request.
//!
//! A thousand of them cost what a few dozen nodes do. The same code answers on the simulated network
//! and on real sockets.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use causeway::{
    clock,
    deadline::{Connection, Endpoint, Incoming, Receiver, Sender},
    env::{Certificates as _, LinkSockets, WallClock},
    id::{LinkGeneration, NodeGeneration, NodeId},
    identity::{Expect, FixedCertificates, Material, Pem, Refusal},
    keeper::Role,
    link::{
        frames::{FrameReader, encoded},
        setup::{self, Established, Times},
    },
    transport::{self, MemoryBudget},
    wire::{Datagram, FlowId, Frame, Hello, PROTOCOL, Probe},
};

/// What a responder is built from.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Makes its socket.
    pub sockets: Arc<dyn LinkSockets>,
    /// Runs its tasks.
    pub runtime: Arc<dyn quinn::Runtime>,
    /// Tells the date.
    pub wall: Arc<dyn WallClock>,
}

/// How a responder is greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// With Hello on a control stream, by a node.
    Hello,
    /// Not at all: requests follow the handshake.
    Nothing,
}

/// A light peer. Dropping it closes nothing: its tasks end with their runtime.
#[derive(Debug)]
pub struct Responder {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    generation: NodeGeneration,
    material: Material,
    ground: Ground,
    greeting: Greeting,
    /// Numbers its promotions, where it is the arbiter.
    epoch: AtomicU64,
    /// Numbers its dials.
    dials: AtomicU32,
}

impl Responder {
    /// Answers on `address`.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be used.
    pub fn start(
        id: &NodeId,
        pem: Pem,
        address: SocketAddr,
        ground: &Ground,
        greeting: Greeting,
    ) -> anyhow::Result<Self> {
        let date = ground.wall.now();
        let material = FixedCertificates::new(pem).load(date)?;
        let tls = material.server_config(ground.wall.clone(), Refusal::default().observer());
        let server = transport::server_config(tls, profile())?;
        let socket = ground.sockets.bind(address, &*ground.runtime)?;
        let config = transport::endpoint_config(&material.derive(b"responder"), Some([7; 32]));
        let endpoint = Endpoint::new(config, Some(server), socket, ground.runtime.clone())?;
        let since = date.duration_since(std::time::UNIX_EPOCH)?;
        let shared = Arc::new(Shared {
            id: id.clone(),
            generation: NodeGeneration(since.as_millis().try_into()?),
            material,
            ground: ground.clone(),
            greeting,
            epoch: AtomicU64::new(1),
            dials: AtomicU32::new(0),
        });
        let (server, accepting) = (shared.clone(), endpoint.clone());
        ground.runtime.spawn(Box::pin(async move {
            while let Some(incoming) = accepting.accept().await {
                let served = serve(server.clone(), incoming);
                server.ground.runtime.spawn(Box::pin(async move {
                    // Why a link ended is for the node under test to say.
                    let _ = served.await;
                }));
            }
        }));
        Ok(Self { endpoint, shared })
    }

    /// Where it answers.
    ///
    /// # Errors
    /// As the socket says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_address()
    }

    /// Dials as far as TLS.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn dial(&self, to: SocketAddr, deadline: Instant) -> anyhow::Result<Connection> {
        let Shared {
            material, ground, ..
        } = &*self.shared;
        let observer = Refusal::default().observer();
        let tls = material.client_config(Expect::AnyOfTrustDomain, ground.wall.clone(), observer);
        let config = transport::client_config(tls, profile())?;
        Ok(self.endpoint.connect(config, to, deadline).await?)
    }

    /// Dials and links, and serves the link as well as one that was dialed by the other end.
    ///
    /// # Errors
    /// There is no link.
    pub async fn link(&self, to: SocketAddr) -> anyhow::Result<Connection> {
        let shared = self.shared.clone();
        let times = shared.times();
        let connection = self.dial(to, times.deadline).await?;
        let generation = LinkGeneration {
            dialer: shared.id.key(),
            node: shared.generation,
            dial: shared.dials.fetch_add(1, Ordering::Relaxed),
        };
        let hello = |_: &NodeId| shared.hello(generation);
        let established = setup::dialed(connection, hello, &shared.material, times).await?;
        let connection = established.connection.clone();
        self.shared.ground.runtime.spawn(Box::pin(async move {
            let _ = serve_link(&shared, established).await;
        }));
        Ok(connection)
    }

    /// A flow that it began and the other end has never heard of.
    pub fn unknown_flow(&self, number: u32) -> FlowId {
        FlowId {
            ingress: self.shared.id.key(),
            generation: self.shared.generation,
            number,
        }
    }
}

impl Shared {
    fn times(&self) -> Times {
        let began = clock::now();
        Times {
            began,
            deadline: began + PATIENCE,
            date: self.ground.wall.now(),
        }
    }

    fn hello(&self, link: LinkGeneration) -> Hello {
        Hello {
            protocol: PROTOCOL,
            features: 0,
            node: self.id.clone(),
            generation: self.generation,
            link,
            release: "responder".into(),
            labels: Default::default(),
            addresses: Vec::new(),
            current_link: None,
        }
    }

    /// Answers each stream in a task of its own.
    fn answer(&self, (sender, receiver): (Sender, Receiver)) {
        self.ground.runtime.spawn(Box::pin(async move {
            // One that gave up has nothing to hear.
            let _ = answer(sender, receiver).await;
        }));
    }
}

async fn serve(shared: Arc<Shared>, incoming: Incoming) -> anyhow::Result<()> {
    let times = shared.times();
    let connection = incoming.accept(times.deadline).await?;
    if shared.greeting == Greeting::Nothing {
        loop {
            shared.answer(connection.accept_stream().await?);
        }
    }
    let hello = |_: &NodeId, link| shared.hello(link);
    let established = setup::accepted(connection, hello, &shared.material, times).await?;
    serve_link(&shared, established).await
}

async fn serve_link(shared: &Shared, established: Established) -> anyhow::Result<()> {
    let Established {
        connection,
        mut control,
        mut frames,
        peer,
        ..
    } = established;
    if Role::of(shared.id.key(), peer.key()) == Role::Arbiter {
        let epoch = shared.epoch.fetch_add(1, Ordering::Relaxed);
        let promote = encoded(&Frame::Promote { epoch })?;
        control.write(promote, clock::now() + PATIENCE).await?;
    }
    loop {
        tokio::select! {
            biased;
            frame = frames.next() => {
                let answer = match frame?.context("the control stream has ended")? {
                    Frame::Probe { id } => Frame::ProbeReply { id },
                    Frame::Promote { epoch } => Frame::Promoted { epoch },
                    _ => continue,
                };
                control.write(encoded(&answer)?, clock::now() + PATIENCE).await?;
            }
            datagram = connection.read_datagram() => answer_probe(&connection, &datagram?),
            stream = connection.accept_stream() => shared.answer(stream?),
        }
    }
}

fn answer_probe(connection: &Connection, datagram: &Bytes) {
    if let Ok(Datagram::Probe(probe)) = Datagram::decode(datagram) {
        let mut reply = BytesMut::with_capacity(Probe::LEN);
        Datagram::ProbeReply(probe).encode(&mut reply);
        // What does not fit is lost, as on any network.
        let _ = connection.try_send_datagram(reply.freeze());
    }
}

async fn answer(mut sender: Sender, receiver: Receiver) -> anyhow::Result<()> {
    let deadline = clock::now() + PATIENCE;
    let mut frames = FrameReader::stream(receiver, PROTOCOL.max);
    let Frame::Open(_) = frames.next_by(deadline).await? else {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    };
    let accept = encoded(&Frame::Accept { resume_offset: 0 })?;
    sender.write(accept, deadline).await?;
    sender.finish(deadline).await?;
    Ok(())
}

/// What every end of a measured connection is given, so that none has larger windows.
pub fn profile() -> Arc<quinn::TransportConfig> {
    transport::transport_config(MemoryBudget {
        bytes: 1 << 30,
        links: 1_024,
    })
}

/// Longer than any request of the figure waits.
const PATIENCE: Duration = Duration::from_secs(10);
