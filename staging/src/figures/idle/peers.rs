//! The process of the peers: one light responder for each certificate.
//!
//! Each dials, says Hello, takes part in promotions and answers the probes of both loops, with the
//! node's own code for the wire. Whom they dial is Causeway's node or the comparator: they cannot
//! tell, so that both are measured with the same peers.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use causeway::{
    clock,
    deadline::{Connection, Endpoint, Sender},
    env::WallClock,
    id::{LinkGeneration, NodeGeneration, NodeId},
    identity::{Expect, Files, Material, Refusal, RequiredName},
    keeper::Role,
    link::{
        frames::encoded,
        setup::{self, Established, Times},
    },
    transport::{self, MemoryBudget},
    wire::{Datagram, Frame, Hello, PROTOCOL},
};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, time::sleep};

use super::ground::{ANY_PORT, Ground, peer_id, runtime, server_id};
use crate::figures::process::tell;

/// What the peers are started with.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Whom they dial.
    #[arg(long)]
    to: SocketAddr,
    /// How many of them there are, at each stage.
    #[arg(long, value_delimiter = ',')]
    stages: Vec<u32>,
    /// From the last link of a stage to its window.
    #[arg(long)]
    settle_ms: u64,
    /// How long each window is.
    #[arg(long)]
    window_ms: u64,
}

/// What the peers saw in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Links that were open at the window's end.
    pub links: u64,
    /// Links that were promoted by then, which the comparator does not do.
    pub promoted: u64,
    /// Probes of the packet loop, each of them answered.
    pub packet_probes: u64,
    /// Probes of the request loop, each of them answered.
    pub request_probes: u64,
    /// Other frames, and other datagrams.
    pub others: u64,
    /// How long the window was here.
    pub window: Duration,
}

/// Printed when a window begins; at its end comes [`Seen`], as JSON.
pub const BEGIN: &str = "begin";

/// Links up stage by stage, and prints what each window saw.
///
/// # Errors
/// A peer did not get its link.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let peers = Arc::new(Peers::new()?);
        let mut linked = 0;
        for stage in &options.stages {
            let dials = stream::iter(linked..*stage);
            let dials = dials.map(|number| peers.clone().link(number, options.to));
            dials
                .buffer_unordered(DIALS)
                .try_for_each(|()| async { Ok(()) })
                .await?;
            linked = *stage;
            sleep(Duration::from_millis(options.settle_ms)).await;
            let (before, began) = (peers.counts.read(), clock::now());
            tell(&BEGIN)?;
            sleep(Duration::from_millis(options.window_ms)).await;
            let seen = peers.counts.read().since(before, clock::now() - began);
            tell(&serde_json::to_string(&seen)?)?;
        }
        // The owner ends the process.
        std::future::pending().await
    })
}

/// What all peers of the process share.
struct Peers {
    ground: Ground,
    endpoint: Endpoint,
    wall: Arc<dyn WallClock>,
    transport: Arc<quinn::TransportConfig>,
    generation: NodeGeneration,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    links: AtomicU64,
    promoted: AtomicU64,
    packet_probes: AtomicU64,
    request_probes: AtomicU64,
    others: AtomicU64,
}

impl Peers {
    fn new() -> anyhow::Result<Self> {
        let ground = Ground::new()?;
        let env = ground.env(&peer_id(0), &PathBuf::new())?;
        let [runtime] = &env.runtimes[..] else {
            anyhow::bail!("one runtime was asked for");
        };
        let socket = env.sockets.bind(ANY_PORT, &**runtime)?;
        let config = transport::endpoint_config(&[0; 32], None);
        let since = env.wall.now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Self {
            endpoint: Endpoint::new(config, None, socket, runtime.clone())?,
            ground,
            wall: env.wall,
            transport: transport::transport_config(MemoryBudget {
                bytes: 2 << 30,
                links: 1 << 10,
            }),
            generation: NodeGeneration(u64::try_from(since.as_millis())?),
            counts: Counts::default(),
        })
    }

    /// Dials as peer `number`, and starts the task that answers for it.
    async fn link(self: Arc<Self>, number: u32, to: SocketAddr) -> anyhow::Result<()> {
        let material = self.material(number)?;
        let mut attempt = 0;
        let established = loop {
            match self.dial(number, attempt, &material, to).await {
                Ok(established) => break established,
                // The machine may be too busy to shake hands in time.
                Err(_) if attempt + 1 < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        let own = material.id().clone();
        Handle::current().spawn(async move {
            self.counts.links.fetch_add(1, Ordering::Relaxed);
            // However it ends, it is missed in what was seen.
            let _ = self.answer(&own, established).await;
            self.counts.links.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(())
    }

    async fn dial(
        &self,
        number: u32,
        attempt: u32,
        material: &Material,
        to: SocketAddr,
    ) -> anyhow::Result<Established> {
        let refused = Refusal::default().observer();
        let expect = Expect::Node(server_id());
        let tls = material.client_config(expect, self.wall.clone(), refused);
        let config = transport::client_config(tls, self.transport.clone())?;
        let began = clock::now();
        let times = Times {
            began,
            deadline: began + DIAL_WITHIN,
            date: self.wall.now(),
        };
        let connection = self.endpoint.connect(config, to, times.deadline).await;
        let connection = connection.with_context(|| format!("peer {number} dialed"))?;
        let hello = |_: &NodeId| self.hello(material.id(), attempt);
        let established = setup::dialed(connection, hello, material, times).await;
        established.with_context(|| format!("peer {number} said Hello"))
    }

    fn material(&self, number: u32) -> anyhow::Result<Material> {
        let pem = self.ground.certificate(&peer_id(number))?;
        let files = Files {
            certificate: "certificate".into(),
            key: "key".into(),
            bundle: "bundle".into(),
        };
        let required = RequiredName::default();
        Ok(Material::try_new(&pem, &files, &required, self.wall.now())?)
    }

    fn hello(&self, own: &NodeId, dial: u32) -> Hello {
        Hello {
            protocol: PROTOCOL,
            features: 0,
            node: own.clone(),
            generation: self.generation,
            link: LinkGeneration {
                dialer: own.key(),
                node: self.generation,
                dial,
            },
            release: "idle".into(),
            labels: Default::default(),
            addresses: Vec::new(),
            current_link: None,
        }
    }

    /// Answers until the link ends.
    async fn answer(&self, own: &NodeId, established: Established) -> anyhow::Result<()> {
        let Established {
            connection,
            mut control,
            mut frames,
            peer,
            ..
        } = established;
        if Role::of(own.key(), peer.key()) == Role::Arbiter {
            say(&mut control, &Frame::Promote { epoch: 1 }).await?;
        }
        loop {
            tokio::select! {
                biased;
                datagram = connection.read_datagram() => {
                    self.answer_datagram(&connection, &datagram?)?;
                }
                frame = frames.next() => {
                    let frame = frame?.context("the control stream ended")?;
                    self.answer_frame(&mut control, &frame).await?;
                }
            }
        }
    }

    fn answer_datagram(&self, connection: &Connection, datagram: &Bytes) -> anyhow::Result<()> {
        let Datagram::Probe(probe) = Datagram::decode(datagram)? else {
            self.counts.others.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let mut reply = BytesMut::with_capacity(datagram.len());
        Datagram::ProbeReply(probe).encode(&mut reply);
        connection.try_send_datagram(reply.freeze())?;
        self.counts.packet_probes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn answer_frame(&self, control: &mut Sender, frame: &Frame) -> anyhow::Result<()> {
        let count = match frame {
            Frame::Probe { id } => {
                say(control, &Frame::ProbeReply { id: *id }).await?;
                &self.counts.request_probes
            }
            Frame::Promote { epoch } => {
                say(control, &Frame::Promoted { epoch: *epoch }).await?;
                &self.counts.promoted
            }
            Frame::Promoted { .. } => &self.counts.promoted,
            _ => &self.counts.others,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Counts {
    fn read(&self) -> Seen {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            links: get(&self.links),
            promoted: get(&self.promoted),
            packet_probes: get(&self.packet_probes),
            request_probes: get(&self.request_probes),
            others: get(&self.others),
            window: Duration::ZERO,
        }
    }
}

impl Seen {
    fn since(self, before: Self, window: Duration) -> Self {
        Self {
            packet_probes: self.packet_probes - before.packet_probes,
            request_probes: self.request_probes - before.request_probes,
            others: self.others - before.others,
            window,
            ..self
        }
    }

    /// Probes of both loops that each link had answered in a second.
    pub fn probes_per_link_and_second(&self) -> f64 {
        let probes = (self.packet_probes + self.request_probes) as f64;
        probes / self.links as f64 / self.window.as_secs_f64()
    }
}

async fn say(control: &mut Sender, frame: &Frame) -> anyhow::Result<()> {
    Ok(control.write(encoded(frame)?, soon()).await?)
}

fn soon() -> Instant {
    clock::now() + Duration::from_secs(5)
}

/// Enough to keep the other end busy, which takes on one handshake in each turn; more would only
/// wait there, with all that a handshake holds.
const DIALS: usize = 8;
const ATTEMPTS: u32 = 5;
/// The machine may be busy; a second of it is a packet that was lost.
const DIAL_WITHIN: Duration = Duration::from_secs(20);
