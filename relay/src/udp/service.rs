//! A UDP service at the egress: each flow has a local socket of its own, so that the service can
//! tell clients apart and answer them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{
    Activity, FlowWord,
    intake::{BURST, Intake, Received},
    say,
};
use crate::{
    clock,
    code::{FlowCode, RefuseCode},
    counts::PacketDrop,
    env::LocalUdp,
    id::{NodeId, NodeKey},
    link::{FlowSink, Lanes},
    mesh::Mesh,
    routes::{Fit, Way},
    services::Service,
    tasks::{Task, Wait},
    wire::{
        Class, Direction, FlowId, OpenFlow, PacketHeader, ServiceKind, limits::MAX_PACKET_BYTES,
    },
};

/// The flows that end on this node. A flow outlives the way it was opened on: opened again on
/// another, it keeps its socket, and the service sees the same client.
///
/// Whoever sends to a flow holds the lock, and so does the flow when it looks for the last time
/// and takes itself off: what is sent is read.
#[derive(Debug, Default)]
pub(crate) struct EgressFlows {
    flows: Mutex<BTreeMap<FlowId, mpsc::Sender<Command>>>,
}

#[derive(Debug)]
enum Command {
    /// The ingress is through with the flow.
    Close,
    /// The flow is opened on this way, for the first time or again.
    Open(Opening),
}

/// A way on which the ingress has opened the flow.
#[derive(Debug)]
struct Opening {
    /// The way back to the ingress.
    way: Arc<Way>,
    /// Whether it is only for when the way in use breaks.
    spare: bool,
}

impl EgressFlows {
    /// Flows that are open or being opened.
    pub(crate) fn len(&self) -> usize {
        self.flows.lock().len()
    }
}

/// A node opens a flow; the answer goes out on `way`.
///
/// - `way`: leads back to the flow's ingress.
/// - `ingress`: that node. On a longer way, it is as true as the nodes on the way.
pub(crate) fn open(
    mesh: &Arc<Mesh>,
    way: Arc<Way>,
    ingress: &NodeId,
    flow: FlowId,
    open: &OpenFlow,
) {
    if let Err(code) = try_open(mesh, &way, ingress, flow, open) {
        refuse(mesh, &way, flow, code);
    }
}

/// The ingress is through with a flow.
pub(crate) fn close(mesh: &Mesh, flow: FlowId) {
    let flows = mesh.egress.flows.lock();
    // One that has no room for this expires by itself.
    let _ = flows
        .get(&flow)
        .map(|commands| commands.try_send(Command::Close));
}

fn try_open(
    mesh: &Arc<Mesh>,
    way: &Arc<Way>,
    ingress: &NodeId,
    id: FlowId,
    open: &OpenFlow,
) -> Result<(), RefuseCode> {
    if open.destination != mesh.id.key() {
        return Err(RefuseCode::NotHere);
    }
    let service = mesh
        .exposed
        .find(&open.service, ServiceKind::Udp, ingress)?;
    let (commands_in, commands) = mpsc::channel(COMMANDS_QUEUED);
    {
        let mut flows = mesh.egress.flows.lock();
        if let Some(commands) = flows.get(&id) {
            let again = commands.try_send(Command::Open(Opening {
                way: way.clone(),
                spare: open.spare,
            }));
            return again.map_err(|_| RefuseCode::Overloaded);
        }
        // Another node may have room: the ingress is told to go there.
        if flows.len() >= mesh.config.limits().udp_flows || !mesh.load.has_room() {
            return Err(RefuseCode::Elsewhere);
        }
        flows.insert(id, commands_in);
    }
    let flow = EgressFlow {
        mesh: mesh.clone(),
        our_key: mesh.id.key(),
        id,
        class: open.class,
        idle: open.idle_timeout.clamp(MIN_IDLE, MAX_IDLE) * 2,
        way: way.clone(),
        others: Vec::new(),
        service: None,
        commands,
        listed: true,
        next_sequence: 0,
        lanes: Lanes::default(),
    };
    let service = service.clone();
    // A flow whose task is refused takes itself off the list as it is dropped.
    let spawned = mesh
        .flows_scope
        .spawn("udp service", |task| flow.run(service, task));
    spawned.map(|_| ()).map_err(|_| RefuseCode::Overloaded)
}

/// Says on `way` that a flow is not opened.
pub(crate) fn refuse(mesh: &Mesh, way: &Way, flow: FlowId, code: RefuseCode) {
    mesh.counts.opens_refused.incr(code);
    say(mesh.id.key(), way, flow, FlowWord::Refused(code));
}

/// Owns the local socket of one flow.
///
/// Packets come in on every way on which the ingress has opened the flow. They go back on the one
/// that it said last not to be a spare; if that one's link breaks, on another at once, for the
/// ingress may not have noticed yet.
struct EgressFlow {
    mesh: Arc<Mesh>,
    /// This node's key, computed once.
    our_key: NodeKey,
    id: FlowId,
    class: Class,
    /// Twice the ingress's, which thus is the one that ends a flow, and says so.
    idle: Duration,
    /// The way on which packets go back.
    way: Arc<Way>,
    /// Other ways on which the flow is open, the latest last; at most [`MAX_OTHERS`].
    others: Vec<Arc<Way>>,
    /// Where the service is, once that is known.
    service: Option<SocketAddr>,
    commands: mpsc::Receiver<Command>,
    /// Whether it is on the list of the node's flows.
    listed: bool,
    next_sequence: u64,
    lanes: Lanes,
}

enum Wake {
    Command(Option<Command>),
    Packets(io::Result<Received>),
    Timer,
}

impl EgressFlow {
    async fn run(mut self, service: Service, task: Task) {
        task.waits(Wait::Resolve);
        let by = clock::now() + RESOLVE_WITHIN;
        let address = tokio::select! {
            biased;
            () = task.stopping() => return,
            address = self.mesh.resolve_one(&service.address, by) => address,
        };
        let socket = address.and_then(|address| Ok((bind_towards(&self.mesh, address)?, address)));
        let code = match socket {
            Ok((socket, address)) => self.carry(socket, address, &task).await,
            Err(error) => {
                let (service, address) = (&service, &service.address);
                if service.complaints.is_due(self.mesh.millis(clock::now())) {
                    warn!(%error, %address, "cannot reach a UDP service");
                } else {
                    debug!(%error, %address, "cannot reach a UDP service");
                }
                let code = RefuseCode::LocalRefused;
                refuse(&self.mesh, &self.way, self.id, code);
                code
            }
        };
        // Those who opened it again meanwhile wait for an answer.
        while let Some(again) = self.leave() {
            refuse(&self.mesh, &again.way, self.id, code);
        }
    }

    /// Carries packets until the flow is over: why one who opens it now is refused.
    async fn carry(
        &mut self,
        socket: Arc<dyn LocalUdp>,
        service: SocketAddr,
        task: &Task,
    ) -> RefuseCode {
        let activity = Arc::new(Activity::new(clock::now()));
        self.service = Some(service);
        let sink = Arc::new(FlowSink {
            socket: socket.clone(),
            to: service,
            activity: activity.clone(),
        });
        let first = self.way.clone();
        if !self.accept(&first, &sink) {
            return RefuseCode::Overloaded;
        }
        let mut intake = Intake::new(socket);
        loop {
            task.waits(Wait::LocalRead);
            let expires = activity.last() + self.idle;
            let wake = tokio::select! {
                biased;
                () = task.stopping() => return RefuseCode::Shutdown,
                command = self.commands.recv() => Wake::Command(command),
                received = intake.next() => Wake::Packets(received),
                () = clock::sleep_until(Some(expires)) => Wake::Timer,
            };
            let now = clock::now();
            let reopened = match wake {
                Wake::Command(Some(Command::Open(again))) => Some(again),
                Wake::Command(Some(Command::Close) | None) => match self.leave() {
                    None => return RefuseCode::Overloaded,
                    again => again,
                },
                // The activity has moved on since the timer was armed, or the flow is over.
                Wake::Timer if activity.last() + self.idle > now => None,
                Wake::Timer => match self.leave() {
                    None => return RefuseCode::Overloaded,
                    again => again,
                },
                Wake::Packets(received) => {
                    match self.send_burst(now, received, &mut intake) {
                        Ok(true) => activity.touch(now),
                        // A service that talks to an ingress that is gone keeps nothing alive.
                        Ok(false) => {}
                        Err(SocketFailed) => {
                            self.say_closed(FlowCode::LocalFailed);
                            return RefuseCode::LocalRefused;
                        }
                    }
                    None
                }
            };
            if let Some(again) = reopened {
                // One that is refused leaves the flow where it is.
                if self.accept(&again.way, &sink) {
                    self.take_way(again);
                    activity.touch(now);
                }
            }
        }
    }

    /// Takes in a way on which the flow is opened, for the first time or again. Packets that are
    /// still on their way on another find the flow there too.
    fn take_way(&mut self, Opening { way, spare }: Opening) {
        if self.way.is_same(&way) {
            return;
        }
        // Those that have ended would hold their links' memory.
        self.others
            .retain(|other| !other.is_same(&way) && !other.first.has_ended());
        let other = match spare {
            true => way,
            false => std::mem::replace(&mut self.way, way),
        };
        self.others.push(other);
        while self.others.len() > MAX_OTHERS {
            let former = self.others.remove(0);
            let mut kept = self.others.iter().chain([&self.way]);
            if !kept.any(|way| Arc::ptr_eq(&way.first, &former.first)) {
                former.first.remove_flow(Direction::Forward, self.id);
            }
        }
    }

    /// Takes the flow off the list, unless it was opened again: then so.
    fn leave(&mut self) -> Option<Opening> {
        let mesh = self.mesh.clone();
        let mut flows = mesh.egress.flows.lock();
        let mut again = None;
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Open(opening) = command {
                again = Some(opening);
            }
        }
        if again.is_none() && std::mem::take(&mut self.listed) {
            flows.remove(&self.id);
        }
        again
    }

    fn say_closed(&self, code: FlowCode) {
        let closed = FlowWord::Close(Direction::Back, code);
        say(self.our_key, &self.way, self.id, closed);
    }

    /// Puts the flow on the way's link, then says so: its packets find it from the first on.
    fn accept(&self, way: &Arc<Way>, sink: &Arc<FlowSink>) -> bool {
        if !way.first.add_flow(Direction::Forward, self.id, sink) {
            refuse(&self.mesh, way, self.id, RefuseCode::Overloaded);
            return false;
        }
        self.mesh.counts.flows_accepted.incr();
        say(self.our_key, way, self.id, FlowWord::Accepted);
        true
    }

    /// Changes to another way if the one in use carries nothing and that one does.
    fn leave_broken_way(&mut self) {
        if self.way.fit() != Fit::Gone {
            return;
        }
        let works = self.others.iter().rposition(|way| way.fit() != Fit::Gone);
        if let Some(at) = works {
            std::mem::swap(&mut self.way, &mut self.others[at]);
        }
    }

    /// Takes what the service has sent together; whether any of it went out.
    fn send_burst(
        &mut self,
        now: Instant,
        first: io::Result<Received>,
        intake: &mut Intake,
    ) -> Result<bool, SocketFailed> {
        self.lanes.begin(now);
        self.leave_broken_way();
        let mut sent = false;
        let mut left = BURST;
        let mut next = Some(first);
        while let Some(received) = next {
            match received {
                Ok(mut received) => {
                    self.lanes.expect(received.left());
                    while left > 0
                        && let Some((from, payload)) = received.next_packet()
                    {
                        sent |= self.send_back(now, from, payload);
                        left -= 1;
                    }
                    if left == 0 {
                        intake.give_way(received);
                        break;
                    }
                }
                // Nobody is bound where the service should be: packets to it are lost, as on any
                // host.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.mesh.counts.drop_packet(PacketDrop::LocalRefused);
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
                Err(error) => {
                    debug!(%error, peer = %self.way.first.peer, "socket of a UDP flow");
                    self.mesh.counts.drop_packet(PacketDrop::LocalError);
                    return Err(SocketFailed);
                }
            }
            next = intake.now();
        }
        Ok(sent)
    }

    /// Whether the packet went out, or was dropped on the way by a link that lives.
    fn send_back(&mut self, now: Instant, from: SocketAddr, payload: &[u8]) -> bool {
        // The socket is open to all of its network, the flow is not.
        if Some(from) != self.service {
            self.mesh.counts.drop_packet(PacketDrop::NotFromService);
            return false;
        }
        self.mesh.counts.packets_taken.incr();
        if payload.len() > MAX_PACKET_BYTES {
            self.mesh.counts.drop_packet(PacketDrop::TooLarge);
            return false;
        }
        let header = PacketHeader {
            direction: Direction::Back,
            class: self.class,
            flow: self.id,
            sequence: self.next_sequence,
            sent_us: self.mesh.micros(now),
            link_sequence: 0,
            lifetime_ms: 0,
            fragment: None,
            hops: self.way.hops,
        };
        self.next_sequence += 1;
        // A drop is counted by its reason.
        self.lanes.send(&self.way.first, header, payload) != Err(PacketDrop::LinkClosed)
    }
}

/// The flow's socket is of no use any more.
struct SocketFailed;

impl Drop for EgressFlow {
    /// However its task ends, it is on no list and on no link.
    fn drop(&mut self) {
        if self.listed {
            self.mesh.egress.flows.lock().remove(&self.id);
        }
        for way in self.others.iter().chain([&self.way]) {
            way.first.remove_flow(Direction::Forward, self.id);
        }
    }
}

/// A socket from which `service` is reached and nobody else need be.
fn bind_towards(mesh: &Mesh, service: SocketAddr) -> io::Result<Arc<dyn LocalUdp>> {
    let from: IpAddr = match (service.ip().is_loopback(), service.is_ipv4()) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::LOCALHOST.into(),
        (false, true) => Ipv4Addr::UNSPECIFIED.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    mesh.env.local.bind_udp(SocketAddr::new(from, 0))
}

/// Opened again on at most a few ways in a moment.
const COMMANDS_QUEUED: usize = 4;
/// The ingress uses one way and keeps a spare; a third one only while it moves.
const MAX_OTHERS: usize = 2;
const MIN_IDLE: Duration = Duration::from_secs(1);
const MAX_IDLE: Duration = Duration::from_secs(3_600);
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
