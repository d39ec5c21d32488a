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
    Activity, FlowAnswer, FlowEvent, FlowWord,
    flow_table::{Course, Ended, FlowDrop, FlowLimits, FlowTable, Released, Say, Verdict, Ways},
    intake::{BURST, Intake, Received},
    say,
};
use crate::{
    clock,
    code::{FlowCode, RefuseCode},
    counts::PacketDrop,
    env::LocalUdp,
    id::NodeKey,
    link::{FlowSink, Lanes, Link},
    mesh::Mesh,
    navigator::NavigatorEvent,
    routes::{Fit, Kind, Way},
    services::Destination,
    tasks::{Task, Wait},
    wire::{
        Class, Direction, FlowId, OpenFlow, PacketHeader, ServiceKind, limits::MAX_PACKET_BYTES,
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
    known: Known,
    table: FlowTable<Arc<Way>>,
    carried: BTreeMap<u32, Carried>,
    events: mpsc::Receiver<FlowEvent>,
    events_in: mpsc::Sender<FlowEvent>,
    /// Nodes that take no new flows, until when they are not asked.
    full: BTreeMap<NodeKey, Instant>,
    /// The local socket failed a moment ago; until then it is not asked again.
    deaf_until: Option<Instant>,
}

/// What a flow has outside of the table.
struct Carried {
    sink: Arc<FlowSink>,
    /// The node that it was opened to last, and stays with while that node has a way.
    node: NodeKey,
    /// The links on which its packets may come back.
    links: Vec<Arc<Link>>,
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
        let known = Known {
            mesh: mesh.clone(),
            kind: class.into(),
        };
        Self {
            our_key: mesh.id.key(),
            mesh,
            intake: Intake::new(socket.clone()),
            lanes: Lanes::default(),
            socket,
            destination,
            class,
            idle,
            known,
            table: FlowTable::new(limits),
            carried: BTreeMap::new(),
            full: BTreeMap::new(),
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
            self.lanes.begin(now);
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
            .handle_packet(now, client, payload, &self.known, || mesh.next_flow())
        {
            Verdict::Send {
                flow,
                sequence,
                way,
            } => {
                self.send(now, &way, flow, sequence, payload);
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

    /// Opens the flow on a way, if there is one; else it is asked for again.
    fn open(&mut self, now: Instant, flow: u32, client: SocketAddr) {
        let is_full = |node: NodeKey| self.full.get(&node).is_some_and(|until| *until > now);
        let stay = self.carried.get(&flow).map(|carried| carried.node);
        let stay = stay.filter(|node| !is_full(*node));
        let ways = self.destination.ways(
            &self.mesh,
            self.known.kind,
            ServiceKind::Udp,
            flow.into(),
            stay,
        );
        let fits = |way: &Arc<Way>| {
            way.fit() == Fit::Good
                && !is_full(way.destination)
                && !self.table.avoids(now, flow, way, &self.known)
        };
        let way = ways.into_iter().find(fits);
        let wanted = match &way {
            Some(way) if way.is_direct() => None,
            Some(way) => Some(way.destination),
            None => self.destination.node(),
        };
        if let Some(node) = wanted {
            // A router without room for it is asked with the next flow.
            let _ = self.mesh.navigator.try_send(NavigatorEvent::Demand(node));
        }
        if let Some(way) = way
            && self.ask(now, flow, client, &way, false)
        {
            self.table.handle_opening(now, flow, way);
        }
    }

    /// Asks the far end of `way` for the flow, or to use that way. Whether the question went out.
    fn ask(
        &mut self,
        now: Instant,
        flow: u32,
        client: SocketAddr,
        way: &Arc<Way>,
        spare: bool,
    ) -> bool {
        let id = self.id_on(way, flow);
        let carried = self.carried.entry(flow).or_insert_with(|| Carried {
            sink: Arc::new(FlowSink {
                socket: self.socket.clone(),
                to: client,
                activity: Arc::new(Activity::new(now)),
            }),
            node: way.destination,
            links: Vec::new(),
        });
        if !way.first.add_flow(Direction::Back, id, &carried.sink) {
            return false;
        }
        carried.node = way.destination;
        carried
            .links
            .retain(|link| !link.has_ended() && !Arc::ptr_eq(link, &way.first));
        carried.links.push(way.first.clone());
        way.first.own_flow(flow, self.events_in.clone());
        let open = OpenFlow {
            flow,
            service: self.destination.service.clone(),
            destination: way.destination,
            class: self.class,
            idle_timeout: self.idle,
            spare,
        };
        say(self.our_key, way, id, FlowWord::Open(open));
        true
    }

    fn id_on(&self, way: &Way, number: u32) -> FlowId {
        FlowId {
            ingress: self.our_key,
            generation: way.first.our_generation,
            number,
        }
    }

    /// Tells the router whether the far end of a flow did what it was asked.
    fn tell_outcome(&self, flow: u32, success: bool) {
        if let Some(carried) = self.carried.get(&flow) {
            let node = carried.node;
            // One outcome more or less changes no verdict.
            let outcome = NavigatorEvent::Outcome { node, success };
            let _ = self.mesh.navigator.try_send(outcome);
        }
    }

    fn handle_event(&mut self, now: Instant, event: &FlowEvent) {
        let flow = event.flow;
        let is_meant = |way: &Arc<Way>| event.is_about(way);
        match event.answer {
            FlowAnswer::Accepted => {
                self.tell_outcome(flow, true);
                let Some(Released { way, packets }) = self.table.handle_accepted(flow, is_meant)
                else {
                    return;
                };
                let bytes = packets.iter().map(|(_, payload)| payload.len()).sum();
                self.lanes.expect((packets.len(), bytes));
                for (sequence, payload) in packets {
                    self.send(now, &way, flow, sequence, &payload);
                }
            }
            FlowAnswer::Closed => {
                self.table.handle_closed(now, flow, is_meant, &self.known);
            }
            FlowAnswer::Unreachable { .. } => self.table.handle_unreachable(now, flow, is_meant),
            // Another node of the region may take it, and is asked at once.
            FlowAnswer::Refused(RefuseCode::Elsewhere) if self.destination.node().is_none() => {
                if let Some(carried) = self.carried.get(&flow) {
                    self.full.retain(|_, until| *until > now);
                    self.full.insert(carried.node, now + ELSEWHERE_FOR);
                }
                self.table.handle_closed(now, flow, is_meant, &self.known);
            }
            FlowAnswer::Refused(code) => {
                let failures = [
                    RefuseCode::LocalRefused,
                    RefuseCode::LocalTimeout,
                    RefuseCode::Overloaded,
                ];
                if failures.contains(&code) {
                    self.tell_outcome(flow, false);
                }
                let by = &event.link.peer;
                self.complain(now, "flow refused", &format_args!("{code}, over {by}"));
                for _ in 0..self.table.handle_refused(now, flow, is_meant) {
                    self.mesh.counts.drop_packet(PacketDrop::FlowRefused);
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.deaf_until = self.deaf_until.filter(|until| now < *until);
        let carried = &self.carried;
        let last_reply = |flow| Some(carried.get(&flow)?.sink.activity.last());
        let due = self.table.handle_timeout(now, last_reply, &self.known);
        for _ in 0..due.dropped {
            self.mesh.counts.drop_packet(PacketDrop::NotOpened);
        }
        for Ended { flow, way } in due.ended {
            if let Some(way) = way {
                let closed = FlowWord::Close(Direction::Forward, FlowCode::Idle);
                say(self.our_key, &way, self.id_on(&way, flow), closed);
            }
            for link in self.carried.remove(&flow).into_iter().flat_map(|c| c.links) {
                let id = FlowId {
                    ingress: self.our_key,
                    generation: link.our_generation,
                    number: flow,
                };
                link.remove_flow(Direction::Back, id);
            }
        }
        for Say {
            flow,
            client,
            way,
            spare,
        } in due.to_say
        {
            // One that does not go out is said again.
            self.ask(now, flow, client, &way, spare);
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

    fn send(&mut self, now: Instant, way: &Arc<Way>, flow: u32, sequence: u64, payload: &[u8]) {
        let header = PacketHeader {
            direction: Direction::Forward,
            class: self.class,
            flow: self.id_on(way, flow),
            sequence,
            sent_us: self.mesh.micros(now),
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops: way.hops,
        };
        // A drop is counted by its reason; a local program learns of loss as on any network.
        let _ = self.lanes.send(&way.first, header, payload);
    }
}

/// What the table is told of ways.
struct Known {
    mesh: Arc<Mesh>,
    /// What the traffic of this listen is.
    kind: Kind,
}

impl Ways<Arc<Way>> for Known {
    fn fit(&self, way: &Arc<Way>) -> Fit {
        way.fit()
    }

    fn is_same(&self, a: &Arc<Way>, b: &Arc<Way>) -> bool {
        a.is_same(b)
    }

    fn course(&self, way: &Arc<Way>) -> Option<Course<Arc<Way>>> {
        let node = way.destination;
        match self.mesh.routes.get(self.kind, node) {
            Some(route) => Some(Course {
                primary: route.primary,
                backup: route.backup,
            }),
            // A peer that there is no route to yet.
            None => Some(Course {
                primary: Way::direct(self.mesh.links.get(node)?),
                backup: None,
            }),
        }
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
/// As often as a node looks at its load.
const ELSEWHERE_FOR: Duration = Duration::from_secs(1);
const DEAF_FOR: Duration = Duration::from_millis(100);
