//! One link: its handle, and the tasks that serve it.
//!
//! ```text
//!   control   frames from the peer, probes, liveness; tells the keeper
//!   writer    frames to the peer, each with a deadline
//!   packets   datagrams from the peer: probes, and packets of flows
//!   outbox    datagrams to the peer, probes first
//!   requests  streams that the peer opens; answers the probes of the request loop
//! ```
//!
//! All of them end with the connection; the control task tells the keeper.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use parking_lot::Mutex;
use router::liveness::{Health, Liveness};
use tokio::sync::mpsc;

use self::{
    control::{Control, Probed},
    outgoing::Outgoing,
    packets::{PacketCommand, PacketLoop},
    setup::Established,
};
pub(crate) use self::{lanes::Lanes, packets::FlowSink};
use crate::{
    accounts::RegionAccount,
    clock,
    code::CloseCode,
    counts::Counts,
    deadline::Connection,
    id::{LinkGeneration, NodeGeneration, NodeId, NodeKey},
    mesh::Mesh,
    outbox::{Class, Outbox},
    peer::PeerEvent,
    tasks::{Scope, SpawnRefused},
    tcp::room::Share,
    udp::{FlowAnswer, FlowEvent},
    wire::{CloseReason, Datagram, Direction, FlowId, Frame, Probe, RemainingHops, ServicesDecl},
};

mod control;
mod deliveries;
mod forward;
pub mod frames;
mod incoming;
mod lanes;
mod outgoing;
mod packets;
mod probes;
mod relayed;
pub(crate) mod requests;
pub mod setup;
mod sinks;
mod unknown;
mod writer;

/// A live link, as everybody but its own tasks sees it. Shared by `Arc`.
#[derive(Debug)]
pub struct Link {
    /// The link's generation, known to both ends.
    pub generation: LinkGeneration,
    /// This node's generation as it was said on this link; part of its flows' ids.
    pub our_generation: NodeGeneration,
    /// The other end.
    pub peer: NodeId,
    /// The other end's key, computed once.
    pub peer_key: NodeKey,
    /// The other end's generation.
    pub peer_generation: NodeGeneration,
    /// Whether this node has dialed.
    pub dialed: bool,
    /// The minor of the protocol that both ends speak.
    pub minor: u32,
    /// When both Hellos were through.
    pub since: Instant,
    /// The release that the other end said.
    pub release: String,
    /// What its operator calls it.
    pub labels: BTreeMap<String, String>,
    /// The connection.
    pub connection: Connection,
    /// Where packets to the peer go.
    pub outbox: Outbox,
    /// What goes to and from the peer's region.
    pub account: Arc<RegionAccount>,
    counts: Arc<Counts>,
    /// Boxed, since a channel keeps room for 32 of what it carries, or twice that.
    frames: mpsc::Sender<Box<Frame>>,
    packets: mpsc::Sender<PacketCommand>,
    /// How many packets got a number on this link, sent or dropped by this node.
    numbered: AtomicU64,
    srtt_us: AtomicU64,
    health: AtomicU8,
    retiring: AtomicBool,
    /// Set when the connection ends, so that packets need not ask it, which takes its lock.
    ended: AtomicBool,
    /// The code of whoever closed it on this node.
    closed_with: OnceLock<CloseCode>,
    declared: ArcSwap<ServicesDecl>,
    flow_owners: Mutex<BTreeMap<u32, mpsc::Sender<FlowEvent>>>,
    /// What the streams that the peer asks for hold of the node's room.
    pub(crate) tcp_share: Share,
}

impl Link {
    /// Starts serving a link that both Hellos were said on.
    ///
    /// - `keeper`: gets the link's events; the last one says why it ended.
    /// - `scope`: owns the link's tasks, and is closed by the keeper after the link.
    ///
    /// # Errors
    /// [`SpawnRefused`]: the node holds as many tasks as it may, or is ending; the link is closed.
    pub(crate) fn start(
        mesh: &Arc<Mesh>,
        established: Established,
        keeper: mpsc::Sender<PeerEvent>,
        scope: &Scope,
    ) -> Result<Arc<Self>, SpawnRefused> {
        let Established {
            connection,
            control,
            frames,
            hello,
            our_generation,
            peer,
            passed: _,
            generation,
            dialed,
            minor,
            began: _,
        } = established;
        control.set_priority(CONTROL_PRIORITY);
        let now = clock::now();
        let (frames_in, frames_out) = mpsc::channel(FRAMES_QUEUED);
        let (commands_in, commands_out) = mpsc::channel(COMMANDS_QUEUED);
        let (replies_in, replies_out) = probes::queue(PROBES_QUEUED);
        let (probes_in, probes_out) = probes::queue(PROBES_QUEUED);
        let outbox = Outbox::start(scope, connection.clone()).inspect_err(|_| {
            connection.close(CloseCode::Overloaded, b"");
        })?;
        let guess = connection.rtt();
        let link = Arc::new(Self {
            generation,
            our_generation,
            account: mesh.accounts.of(peer.region()),
            peer_key: peer.key(),
            peer,
            peer_generation: hello.generation,
            dialed,
            minor,
            since: now,
            release: hello.release,
            labels: hello.labels,
            connection,
            outbox,
            counts: mesh.counts.clone(),
            frames: frames_in,
            packets: commands_in,
            numbered: AtomicU64::new(0),
            srtt_us: AtomicU64::new(micros(guess)),
            health: AtomicU8::new(0),
            retiring: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            closed_with: OnceLock::new(),
            declared: ArcSwap::from_pointee(ServicesDecl {
                version: 0,
                services: Vec::new(),
            }),
            flow_owners: Mutex::default(),
            tcp_share: Share::default(),
        });
        let seed = mesh.seed_for(generation.to_string().as_bytes());
        // In a box, since a future has room for its arguments and again for what they become.
        let control_task = Box::new(Control {
            mesh: mesh.clone(),
            link: link.clone(),
            frames,
            liveness: Liveness::new(mesh.liveness(), seed, Some(guess), now),
            replies: replies_out,
            probes: probes_in,
            outgoing: Outgoing::new(),
            probed: Probed::default(),
            stalled: None,
            keeper: keeper.clone(),
            next_digest: now + control::DIGEST_EVERY,
            frames_in_row: 0,
            told: false,
        });
        let packets = PacketLoop::new(mesh.clone(), link.clone(), commands_out, replies_in, keeper);
        let packets = Box::new(packets);
        let streams = scope.child("streams");
        let start = || -> Result<(), SpawnRefused> {
            scope.spawn("link writer", |task| {
                writer::run(link.clone(), control, frames_out, task)
            })?;
            scope.spawn("link packets", |task| packets.run(task))?;
            scope.spawn("link requests", |task| {
                requests::run(mesh.clone(), link.clone(), probes_out, streams, task)
            })?;
            scope.spawn("link control", |task| control_task.run(task))?;
            Ok(())
        };
        match start() {
            Ok(()) => Ok(link),
            Err(refused) => {
                link.close(CloseCode::Overloaded, "no room for the link's tasks");
                Err(refused)
            }
        }
    }

    /// Closes the link with a code and a text for the other end's operator. Idempotent.
    pub fn close(&self, code: CloseCode, message: &str) {
        self.close_with(&CloseReason::new(code, message));
    }

    /// Closes the link with a whole reason. Idempotent; wakes everybody who waits on the link.
    pub fn close_with(&self, reason: &CloseReason) {
        self.ended.store(true, Ordering::Relaxed);
        // Only the first call counts, there and here.
        if self.connection.close_reason().is_none() {
            let _ = self.closed_with.set(reason.code);
        }
        self.connection.close(reason.code, &reason.encode());
    }

    /// The code with which this node closed it, if it was this node.
    pub(crate) fn closed_with(&self) -> Option<CloseCode> {
        self.closed_with.get().copied()
    }

    /// Whether nothing but the control stream is open on it.
    pub fn is_idle(&self) -> bool {
        self.connection.open_streams() <= 1
    }

    /// Whether it may carry traffic: neither closed nor known to be down.
    pub fn is_usable(&self) -> bool {
        self.health() != Health::Down && !self.has_ended()
    }

    /// Whether its probes have been without an answer for long enough that nothing is expected to
    /// arrive.
    pub fn is_unanswered(&self) -> bool {
        self.health() >= Health::Confirmed || self.has_ended()
    }

    /// The largest datagram that it carries now; `None` if it carries none. Takes the connection's
    /// lock.
    pub fn limit_bytes(&self) -> Option<u16> {
        let limit = self.connection.max_datagram_size()?;
        Some(u16::try_from(limit).unwrap_or(u16::MAX))
    }

    /// Whether its connection has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether another link of the pair took over: nothing new goes on this one.
    pub fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// What its probes say.
    pub fn health(&self) -> Health {
        HEALTHS[usize::from(self.health.load(Ordering::Relaxed)) % HEALTHS.len()]
    }

    /// The smoothed round trip of its probes; that of the handshake before the first reply.
    pub fn srtt(&self) -> Duration {
        Duration::from_micros(self.srtt_us.load(Ordering::Relaxed))
    }

    /// The services that the other end has declared to this node.
    pub fn declared(&self) -> Arc<ServicesDecl> {
        self.declared.load_full()
    }

    /// Queues a control frame. A full queue drops it and counts it: whatever must not be lost is
    /// said again (declarations by digest, probes by the next one, flows by the next packet).
    pub(crate) fn send_frame(&self, frame: Frame) {
        if self.frames.try_send(Box::new(frame)).is_err() {
            self.counts.frames_dropped.incr();
        }
    }

    /// Queues a control frame of other nodes. They may have half of the queue: however much they
    /// say, there is room for what this link's own ends say.
    fn forward_frame(&self, frame: Frame) {
        if self.frames.capacity() <= FRAMES_QUEUED / 2 {
            return self.counts.frames_dropped.incr();
        }
        self.counts.frames_forwarded.incr();
        self.send_frame(frame);
    }

    /// Queues a control frame that nothing repeats: a full queue closes the link.
    pub(crate) fn send_frame_or_close(&self, frame: Frame) {
        if self.frames.try_send(Box::new(frame)).is_err() {
            self.close(CloseCode::Overloaded, "the control stream is not read");
        }
    }

    /// Packets of `flow` that come over this link go to `sink`.
    ///
    /// `false` if the packet loop has no room for the change; nothing changed then.
    pub(crate) fn add_flow(
        &self,
        direction: Direction,
        flow: FlowId,
        sink: &Arc<FlowSink>,
    ) -> bool {
        self.packets
            .try_send(PacketCommand::Add {
                direction,
                flow,
                sink: Arc::downgrade(sink),
            })
            .is_ok()
    }

    /// Packets of `flow` are dropped from now on.
    pub(crate) fn remove_flow(&self, direction: Direction, flow: FlowId) {
        if direction == Direction::Back {
            self.flow_owners.lock().remove(&flow.number);
        }
        // A full queue loses this; the flow's owner lets go of its sink, which is as good.
        let _ = self
            .packets
            .try_send(PacketCommand::Remove { direction, flow });
    }

    /// Answers about a flow that this node opens go to `owner`.
    pub(crate) fn own_flow(&self, flow: u32, owner: mpsc::Sender<FlowEvent>) {
        self.flow_owners.lock().insert(flow, owner);
    }

    /// - `hops`: the nodes behind this link, up to the one that answers.
    fn tell_flow(self: &Arc<Self>, flow: u32, hops: RemainingHops, answer: FlowAnswer) {
        let owner = self.flow_owners.lock().get(&flow).cloned();
        let event = FlowEvent {
            flow,
            link: self.clone(),
            hops,
            answer,
        };
        // One without an owner has ended. One whose owner has no room is asked about again.
        if owner.is_some_and(|owner| owner.try_send(event).is_err()) {
            self.counts.frames_dropped.incr();
        }
    }

    /// The link sequence of the next packet. Every packet takes one, from whichever task.
    fn next_sequence(&self) -> u32 {
        self.numbered.fetch_add(1, Ordering::Relaxed) as u32
    }

    /// How many packets got a link sequence.
    fn numbered(&self) -> u64 {
        self.numbered.load(Ordering::Relaxed)
    }

    /// Sends a probe or its reply, before everything else.
    fn send_probe(&self, probe: &Datagram<'_>) {
        let mut bytes = BytesMut::with_capacity(Probe::LEN);
        probe.encode(&mut bytes);
        // A probe that is dropped here is one that is not answered: that is what it measures.
        let _ = self.outbox.push(Class::Probe, bytes.freeze());
    }

    pub(crate) fn set_retiring(&self, retiring: bool) {
        self.retiring.store(retiring, Ordering::Relaxed);
    }

    fn set_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn set_declared(&self, declared: Arc<ServicesDecl>) {
        self.declared.store(declared);
    }

    fn set_health(&self, health: Health) {
        let index = HEALTHS
            .iter()
            .position(|h| *h == health)
            .unwrap_or_default();
        self.health.store(index as u8, Ordering::Relaxed);
    }

    fn set_srtt(&self, srtt: Duration) {
        self.srtt_us.store(micros(srtt), Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Above all streams that carry traffic, which have the default of 0.
const CONTROL_PRIORITY: i32 = 1;
const HEALTHS: [Health; 4] = [Health::Up, Health::Suspect, Health::Confirmed, Health::Down];
/// Frames are written as fast as the peer reads; this many cover a burst of flows being opened.
const FRAMES_QUEUED: usize = 256;
/// As many as flows may be opened in one round trip without a refusal.
const COMMANDS_QUEUED: usize = 256;
/// Probes come a few a second; more than this waiting means that the loop does not work.
const PROBES_QUEUED: usize = 8;
