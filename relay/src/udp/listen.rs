//! A UDP listen: takes packets of local programs into the mesh, one flow for each client address.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Activity, FlowAnswer, FlowEvent,
    flow_table::{Course, Ended, FlowDrop, FlowLimits, FlowTable, Released, Verdict, Ways},
    intake::{BURST, Intake, Received},
};
use crate::{
    clock,
    code::FlowCode,
    counts::PacketDrop,
    env::LocalUdp,
    id::NodeKey,
    link::{FlowSink, Lanes, Link},
    mesh::Mesh,
    routes::{Fit, Way},
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
    /// This node's key, computed once.
    our_key: NodeKey,
    socket: Arc<dyn LocalUdp>,
    intake: Intake,
    lanes: Lanes,
    destination: Destination,
    class: Class,
    idle: Duration,
    table: FlowTable<Arc<Way>>,
    sinks: BTreeMap<u32, Arc<FlowSink>>,
    events: mpsc::Receiver<FlowEvent>,
    events_in: mpsc::Sender<FlowEvent>,
    /// The local socket failed a moment ago; until then it is not asked again.
    deaf_until: Option<Instant>,
}

enum Wake {
    Event(FlowEvent),
    Packets(io::Result<Received>),
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
            our_key: mesh.id.key(),
            mesh,
            intake: Intake::new(socket.clone()),
            lanes: Lanes::default(),
            socket,
            destination,
            class,
            idle,
            table: FlowTable::new(limits),
            sinks: BTreeMap::new(),
            deaf_until: None,
            events,
            events_in,
        }
    }

    /// Runs until the owner's end. The far ends are not told: the links end too.
    pub(crate) async fn run(mut self, task: Task) {
        loop {
            let wake = self.next_wake(&task).await;
            let now = clock::now();
            self.lanes.begin();
            match wake {
                Wake::Stop => return,
                Wake::Event(event) => self.handle_event(now, &event),
                Wake::Timer => self.handle_timeout(now),
                Wake::Packets(received) => self.handle_burst(now, received),
            }
        }
    }

    async fn next_wake(&mut self, task: &Task) -> Wake {
        task.waits(Wait::LocalRead);
        let timer = [self.table.poll_timeout(), self.deaf_until];
        tokio::select! {
            biased;
            () = task.stopping() => Wake::Stop,
            Some(event) = self.events.recv() => Wake::Event(event),
            () = clock::sleep_until(timer.into_iter().flatten().min()) => Wake::Timer,
            received = self.intake.next(), if self.deaf_until.is_none() => {
                Wake::Packets(received)
            }
        }
    }

    /// Takes what has come together with the first, so that one wake-up serves a burst.
    fn handle_burst(&mut self, now: Instant, first: io::Result<Received>) {
        let mut left = BURST;
        let mut next = Some(first);
        while let Some(received) = next {
            let mut received = match received {
                Ok(received) => received,
                // A client that closed its port; the kernel reports it on the next call.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return,
                // It may fail at every call from now on, which must not become a busy loop.
                Err(error) => {
                    self.complain(now, "local UDP socket", &error);
                    self.deaf_until = Some(now + DEAF_FOR);
                    return;
                }
            };
            self.lanes.expect(received.left());
            while left > 0
                && let Some((client, payload)) = received.next_packet()
            {
                self.handle_packet(now, client, payload);
                left -= 1;
            }
            if left == 0 {
                return self.intake.give_way(received);
            }
            next = self.intake.now();
        }
    }

    fn handle_packet(&mut self, now: Instant, client: SocketAddr, payload: &[u8]) {
        self.mesh.counts.packets_taken.incr();
        if payload.len() > MAX_PACKET_BYTES {
            return self.mesh.counts.drop_packet(PacketDrop::TooLarge);
        }
        let mesh = &self.mesh;
        match self
            .table
            .handle_packet(now, client, payload, &Known, || mesh.next_flow())
        {
            Verdict::Send {
                flow,
                sequence,
                way,
            } => {
                self.send(now, &way.first, flow, sequence, payload);
            }
            Verdict::Open { flow } => self.open(now, flow, client),
            Verdict::DropAndOpen { flow, why } => {
                self.mesh.counts.drop_packet(why.into());
                self.open(now, flow, client);
            }
            Verdict::Hold => {}
            Verdict::Drop(why) => self.mesh.counts.drop_packet(why.into()),
        }
    }

    /// Opens the flow on a link, if there is one; else it is asked for again.
    fn open(&mut self, now: Instant, flow: u32, client: SocketAddr) {
        let link = self
            .destination
            .link_now(&self.mesh.links, ServiceKind::Udp);
        let way = link.map(Way::direct);
        let Some(way) = way.filter(|way| way.fit() == Fit::Good) else {
            return;
        };
        let link = &way.first;
        let sink = self.sinks.entry(flow).or_insert_with(|| {
            Arc::new(FlowSink {
                socket: self.socket.clone(),
                to: client,
                activity: Arc::new(Activity::new(now)),
            })
        });
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
            spare: false,
        }));
        self.table.handle_opening(now, flow, way);
    }

    fn handle_event(&mut self, now: Instant, event: &FlowEvent) {
        let FlowEvent { flow, link, answer } = event;
        let is_meant = |way: &Arc<Way>| Arc::ptr_eq(&way.first, link);
        match answer {
            FlowAnswer::Accepted => {
                let Some(Released { way, packets }) = self.table.handle_accepted(*flow, is_meant)
                else {
                    return;
                };
                let bytes = packets.iter().map(|(_, payload)| payload.len()).sum();
                self.lanes.expect((packets.len(), bytes));
                for (sequence, payload) in packets {
                    self.send(now, &way.first, *flow, sequence, &payload);
                }
            }
            FlowAnswer::Closed => self.table.handle_closed(now, *flow, is_meant, &Known),
            FlowAnswer::Refused(code) => {
                self.complain(
                    now,
                    "flow refused",
                    &format_args!("{code} by {}", link.peer),
                );
                for _ in 0..self.table.handle_refused(now, *flow, is_meant) {
                    self.mesh.counts.drop_packet(PacketDrop::FlowRefused);
                }
                link.remove_flow(Direction::Back, *flow);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.deaf_until = self.deaf_until.filter(|until| now < *until);
        let sinks = &self.sinks;
        let last_reply = |flow| Some(sinks.get(&flow)?.activity.last());
        let due = self.table.handle_timeout(now, last_reply, &Known);
        for _ in 0..due.dropped {
            self.mesh.counts.drop_packet(PacketDrop::NotOpened);
        }
        for Ended { flow, way } in due.ended {
            self.sinks.remove(&flow);
            if let Some(link) = way.map(|way| way.first.clone()) {
                link.remove_flow(Direction::Back, flow);
                let (direction, code) = (Direction::Forward, FlowCode::Idle);
                link.send_frame(Frame::CloseFlow {
                    flow,
                    direction,
                    code,
                });
            }
        }
        for (flow, client) in due.to_open {
            self.open(now, flow, client);
        }
    }

    /// Warns of a condition that may repeat with every packet.
    fn complain(&self, now: Instant, what: &str, why: &dyn std::fmt::Display) {
        let Destination {
            service,
            complaints,
            ..
        } = &self.destination;
        if complaints.is_due(self.mesh.millis(now)) {
            tracing::warn!(service, %why, "{what}");
        } else {
            tracing::debug!(service, %why, "{what}");
        }
    }

    fn send(&mut self, now: Instant, link: &Arc<Link>, flow: u32, sequence: u64, payload: &[u8]) {
        let header = PacketHeader {
            direction: Direction::Forward,
            class: self.class,
            flow: FlowId {
                ingress: self.our_key,
                generation: link.our_generation,
                number: flow,
            },
            sequence,
            sent_us: self.mesh.micros(now),
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops: RemainingHops::NONE,
        };
        // A drop is counted by its reason; a local program learns of loss as on any network.
        let _ = self.lanes.send(link, header, payload);
    }
}

/// What the table is told of ways.
struct Known;

impl Ways<Arc<Way>> for Known {
    fn fit(&self, way: &Arc<Way>) -> Fit {
        way.fit()
    }

    fn is_same(&self, a: &Arc<Way>, b: &Arc<Way>) -> bool {
        a.is_same(b)
    }

    fn course(&self, _: &Arc<Way>) -> Option<Course<Arc<Way>>> {
        None
    }
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

/// One answer for each flow that is being opened; more than this at once open again.
const EVENTS_QUEUED: usize = 1_024;
const DEAF_FOR: Duration = Duration::from_millis(100);
