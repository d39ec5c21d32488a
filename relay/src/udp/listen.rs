//! A UDP listen: takes packets of local programs into the mesh, one flow for each client address.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::{
    Activity, FlowAnswer, FlowEvent,
    flow_table::{Ended, FlowDrop, FlowLimits, FlowTable, Verdict},
};
use crate::{
    clock,
    code::FlowCode,
    counts::PacketDrop,
    env::LocalUdp,
    link::{FlowSink, Link},
    mesh::Mesh,
    services::Destination,
    tasks::{Task, Wait},
    wire::{
        Class, Direction, FlowId, Frame, OpenFlow, PacketHeader, RemainingHops, ServiceKind,
        limits::MAX_PACKET_BYTES,
    },
};

/// Owns one listen's socket and its flows.
pub(crate) struct Listen {
    mesh: Arc<Mesh>,
    socket: Arc<dyn LocalUdp>,
    destination: Destination,
    class: Class,
    idle: Duration,
    table: FlowTable<Arc<Link>>,
    activity: BTreeMap<u32, Arc<Activity>>,
    events: mpsc::Receiver<FlowEvent>,
    events_in: mpsc::Sender<FlowEvent>,
}

enum Wake {
    Event(FlowEvent),
    Packet(io::Result<(usize, SocketAddr)>),
    Stop,
    Timer,
}

impl Listen {
    pub(crate) fn new(
        mesh: Arc<Mesh>,
        socket: Arc<dyn LocalUdp>,
        destination: Destination,
        class: Class,
        idle: Duration,
    ) -> Self {
        let limits = FlowLimits {
            flows: mesh.config.limits().udp_flows,
            idle,
        };
        let (events_in, events) = mpsc::channel(EVENTS_QUEUED);
        Self {
            mesh,
            socket,
            destination,
            class,
            idle,
            table: FlowTable::new(limits),
            activity: BTreeMap::new(),
            events,
            events_in,
        }
    }

    /// Runs until the owner's end; then tells the far ends that its flows are over.
    pub(crate) async fn run(mut self, task: Task) {
        let mut buffer = vec![0; MAX_PACKET_BYTES + 1];
        loop {
            let wake = self.next_wake(&mut buffer, &task).await;
            let now = clock::now();
            match wake {
                Wake::Stop => break,
                Wake::Event(event) => self.handle_event(now, &event),
                Wake::Timer => self.handle_timeout(now),
                Wake::Packet(received) => {
                    self.handle_received(now, received, &buffer);
                    self.drain(now, &mut buffer);
                }
            }
        }
        let ended = self.table.end_all();
        self.close_flows(ended);
    }

    async fn next_wake(&mut self, buffer: &mut [u8], task: &Task) -> Wake {
        task.waits(Wait::LocalRead);
        tokio::select! {
            biased;
            () = task.stopping() => Wake::Stop,
            Some(event) = self.events.recv() => Wake::Event(event),
            () = clock::sleep_until(self.table.poll_timeout()) => Wake::Timer,
            received = receive(&*self.socket, buffer) => Wake::Packet(received),
        }
    }

    /// Takes what has come together with the first packet, so that one wake-up serves a burst.
    fn drain(&mut self, now: Instant, buffer: &mut [u8]) {
        for _ in 1..BURST {
            match receive(&*self.socket, buffer).now_or_never() {
                Some(received) => self.handle_received(now, received, buffer),
                None => return,
            }
        }
    }

    fn handle_received(
        &mut self,
        now: Instant,
        received: io::Result<(usize, SocketAddr)>,
        buffer: &[u8],
    ) {
        let (length, client) = match received {
            Ok(received) => received,
            // A client that closed its port; the kernel reports it on the next call.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
            Err(error) => {
                tracing::warn!(%error, service = %self.destination.service, "local UDP socket");
                return;
            }
        };
        self.mesh.counts.packets_taken.incr();
        if length > MAX_PACKET_BYTES {
            return self.mesh.counts.drop_packet(PacketDrop::TooLarge);
        }
        let payload = &buffer[..length];
        let mesh = &self.mesh;
        let usable = |link: &Arc<Link>| link.is_usable() && !link.is_retiring();
        match self
            .table
            .handle_packet(now, client, payload, usable, || mesh.next_flow())
        {
            Verdict::Send {
                flow,
                sequence,
                link,
            } => {
                self.send(now, &link, flow, sequence, payload);
            }
            Verdict::Open { flow } => self.open(now, flow, client),
            Verdict::Hold => {}
            Verdict::Drop(why) => self.mesh.counts.drop_packet(why.into()),
        }
    }

    /// Opens the flow on a link, if there is one; else its next packet asks again.
    fn open(&mut self, now: Instant, flow: u32, client: SocketAddr) {
        let Some(link) = self
            .destination
            .link_now(&self.mesh.links, ServiceKind::Udp)
        else {
            return;
        };
        let activity = self
            .activity
            .entry(flow)
            .or_insert_with(|| Arc::new(Activity::new(now)));
        let sink = FlowSink {
            socket: self.socket.clone(),
            to: client,
            activity: activity.clone(),
        };
        if !link.add_flow(Direction::Back, flow, sink) {
            return;
        }
        link.own_flow(flow, self.events_in.clone());
        link.send_frame(Frame::OpenFlow(OpenFlow {
            flow,
            service: self.destination.service.clone(),
            destination: link.peer_key,
            class: self.class,
            idle_timeout: self.idle,
        }));
        self.table.handle_opening(flow, link);
    }

    fn handle_event(&mut self, now: Instant, event: &FlowEvent) {
        let FlowEvent { flow, link, answer } = event;
        match answer {
            FlowAnswer::Accepted => {
                for (sequence, payload) in self.table.handle_accepted(*flow, link, Arc::ptr_eq) {
                    self.send(now, link, *flow, sequence, &payload);
                }
            }
            FlowAnswer::Closed => self.table.handle_closed(now, *flow, link, Arc::ptr_eq),
            FlowAnswer::Refused(code) => {
                tracing::warn!(
                    peer = %link.peer, service = %self.destination.service, %code,
                    "flow refused"
                );
                for _ in 0..self.table.handle_refused(now, *flow) {
                    self.mesh.counts.drop_packet(PacketDrop::FlowRefused);
                }
                link.remove_flow(Direction::Back, *flow);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let activity = &self.activity;
        let ended = self
            .table
            .handle_timeout(now, |flow| Some(activity.get(&flow)?.last()));
        self.close_flows(ended);
    }

    fn close_flows(&mut self, ended: Vec<Ended<Arc<Link>>>) {
        for Ended {
            flow,
            link,
            dropped,
        } in ended
        {
            self.activity.remove(&flow);
            for _ in 0..dropped {
                self.mesh.counts.drop_packet(PacketDrop::NotOpened);
            }
            if let Some(link) = link {
                link.remove_flow(Direction::Back, flow);
                let (direction, code) = (Direction::Forward, FlowCode::Idle);
                link.send_frame(Frame::CloseFlow {
                    flow,
                    direction,
                    code,
                });
            }
        }
    }

    fn send(&self, now: Instant, link: &Link, flow: u32, sequence: u64, payload: &[u8]) {
        let header = PacketHeader {
            direction: Direction::Forward,
            class: self.class,
            flow: FlowId {
                ingress: self.mesh.id.key(),
                generation: link.our_generation,
                number: flow,
            },
            sequence,
            sent_us: self.mesh.micros(now),
            lifetime_ms: 0,
            fragment: None,
            hops: RemainingHops::NONE,
        };
        // A drop is counted by its reason; a local program learns of loss as on any network.
        let _ = link.send_packet(header, payload);
    }
}

/// Waits for one packet of a local program. Cancel safe.
pub(super) async fn receive(
    socket: &dyn LocalUdp,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    std::future::poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await
}

impl From<FlowDrop> for PacketDrop {
    fn from(why: FlowDrop) -> Self {
        match why {
            FlowDrop::HeldFull => Self::HeldFull,
            FlowDrop::Refused => Self::FlowRefused,
            FlowDrop::TooManyFlows => Self::TooManyFlows,
        }
    }
}

/// As many as come in one local burst; then shutdown and answers get a turn.
const BURST: usize = 64;
/// One answer for each flow that is being opened; more than this at once open again.
const EVENTS_QUEUED: usize = 1_024;
