//! A UDP service at the egress: each flow has a local socket of its own, so that the service can
//! tell clients apart and answer them.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Activity, listen::receive};
use crate::{
    clock,
    code::RefuseCode,
    counts::PacketDrop,
    env::LocalUdp,
    link::{FlowSink, Link},
    mesh::Mesh,
    tasks::{Task, Wait},
    wire::{
        Class, Direction, FlowId, Frame, OpenFlow, PacketHeader, RemainingHops, ServiceKind,
        limits::MAX_PACKET_BYTES,
    },
};

/// The flows that end on this node. A flow outlives the link it was opened on: opened again on
/// another, it keeps its socket, and the service sees the same client.
#[derive(Debug, Default)]
pub(crate) struct EgressFlows {
    flows: Mutex<BTreeMap<FlowId, mpsc::Sender<Command>>>,
}

#[derive(Debug)]
enum Command {
    /// The ingress is through with the flow.
    Close,
    /// The flow is opened on this link, for the first time or again.
    Open(Arc<Link>),
}

impl EgressFlows {
    /// Flows that are open or being opened.
    pub(crate) fn len(&self) -> usize {
        self.flows.lock().len()
    }
}

/// A peer opens a flow on `link`; the answer goes out on it.
pub(crate) fn open(mesh: &Arc<Mesh>, link: &Arc<Link>, open: &OpenFlow) {
    if let Err(code) = try_open(mesh, link, open) {
        refuse(mesh, link, open.flow, code);
    }
}

/// The ingress is through with a flow that it had opened on `link`.
pub(crate) fn close(mesh: &Mesh, link: &Link, flow: u32) {
    let commands = mesh.egress.flows.lock().get(&id_of(link, flow)).cloned();
    // One that has no room for this expires by itself.
    let _ = commands.map(|commands| commands.try_send(Command::Close));
    link.remove_flow(Direction::Forward, flow);
}

fn try_open(mesh: &Arc<Mesh>, link: &Arc<Link>, open: &OpenFlow) -> Result<(), RefuseCode> {
    if open.destination != mesh.id.key() {
        return Err(RefuseCode::NotHere);
    }
    let service = mesh
        .exposed
        .find(&open.service, ServiceKind::Udp, &link.peer)?;
    let id = id_of(link, open.flow);
    let mut flows = mesh.egress.flows.lock();
    if let Some(commands) = flows.get(&id)
        && !commands.is_closed()
    {
        let again = commands.try_send(Command::Open(link.clone()));
        return again.map_err(|_| RefuseCode::Overloaded);
    }
    if flows.len() >= mesh.config.limits().udp_flows {
        return Err(RefuseCode::Overloaded);
    }
    let (commands_in, commands) = mpsc::channel(COMMANDS_QUEUED);
    let flow = EgressFlow {
        mesh: mesh.clone(),
        id,
        class: open.class,
        idle: open.idle_timeout.clamp(MIN_IDLE, MAX_IDLE) * 2,
        link: link.clone(),
        service: None,
        commands,
    };
    let address = service.address.clone();
    let spawned = mesh
        .flows_scope
        .spawn("udp service", |task| flow.run(address, task));
    spawned.map_err(|_| RefuseCode::Overloaded)?;
    flows.insert(id, commands_in);
    Ok(())
}

fn id_of(link: &Link, flow: u32) -> FlowId {
    FlowId {
        ingress: link.peer_key,
        generation: link.peer_generation,
        number: flow,
    }
}

fn refuse(mesh: &Mesh, link: &Link, flow: u32, code: RefuseCode) {
    mesh.counts.opens_refused.incr(code);
    link.send_frame(Frame::FlowRefused {
        flow,
        code,
        reason: String::new(),
    });
}

/// Owns the local socket of one flow.
struct EgressFlow {
    mesh: Arc<Mesh>,
    id: FlowId,
    class: Class,
    /// Twice the ingress's, which thus is the one that ends a flow, and says so.
    idle: Duration,
    link: Arc<Link>,
    /// Where the service is, once that is known.
    service: Option<SocketAddr>,
    commands: mpsc::Receiver<Command>,
}

enum Wake {
    Command(Option<Command>),
    Packet(io::Result<(usize, SocketAddr)>),
    Timer,
}

impl EgressFlow {
    async fn run(mut self, address: crate::config::HostPort, task: Task) {
        let end = Registered {
            mesh: self.mesh.clone(),
            id: self.id,
        };
        task.waits(Wait::Resolve);
        let by = clock::now() + RESOLVE_WITHIN;
        let socket = match self.mesh.resolve_one(&address, by).await {
            Ok(service) => bind_towards(&self.mesh, service).map(|socket| (socket, service)),
            Err(error) => Err(error),
        };
        match socket {
            Ok((socket, service)) => self.carry(&*socket, socket.clone(), service, &task).await,
            Err(error) => {
                tracing::warn!(%error, service = %address, "cannot reach a UDP service");
                refuse(
                    &self.mesh,
                    &self.link,
                    self.id.number,
                    RefuseCode::LocalRefused,
                );
            }
        }
        drop(end);
    }

    async fn carry(
        &mut self,
        socket: &dyn LocalUdp,
        shared: Arc<dyn LocalUdp>,
        service: SocketAddr,
        task: &Task,
    ) {
        let activity = Arc::new(Activity::new(clock::now()));
        self.service = Some(service);
        let sink = FlowSink {
            socket: shared,
            to: service,
            activity: activity.clone(),
        };
        if !self.accept(sink.clone()) {
            return;
        }
        let mut buffer = vec![0; MAX_PACKET_BYTES + 1];
        let mut sequence = 0;
        loop {
            task.waits(Wait::LocalRead);
            let expires = activity.last() + self.idle;
            let wake = tokio::select! {
                biased;
                () = task.stopping() => return,
                command = self.commands.recv() => Wake::Command(command),
                received = receive(socket, &mut buffer) => Wake::Packet(received),
                () = clock::sleep_until(Some(expires)) => Wake::Timer,
            };
            let now = clock::now();
            match wake {
                Wake::Command(Some(Command::Open(link))) => {
                    self.link.remove_flow(Direction::Forward, self.id.number);
                    self.link = link;
                    if !self.accept(sink.clone()) {
                        return;
                    }
                }
                Wake::Command(Some(Command::Close) | None) => return,
                // The activity has moved on since the timer was armed, or the flow is over.
                Wake::Timer if activity.last() + self.idle > now => {}
                Wake::Timer => return,
                Wake::Packet(mut received) => {
                    activity.touch(now);
                    for _ in 0..BURST {
                        self.send_back(now, received, &mut sequence, &buffer);
                        match receive(socket, &mut buffer).now_or_never() {
                            Some(next) => received = next,
                            None => break,
                        }
                    }
                }
            }
        }
    }

    /// Puts the flow on its link, then says so: its packets find it from the first on.
    fn accept(&self, sink: FlowSink) -> bool {
        let flow = self.id.number;
        if !self.link.add_flow(Direction::Forward, flow, sink) {
            refuse(&self.mesh, &self.link, flow, RefuseCode::Overloaded);
            return false;
        }
        self.mesh.counts.flows_accepted.incr();
        self.link.send_frame(Frame::FlowAccepted { flow });
        true
    }

    fn send_back(
        &self,
        now: Instant,
        received: io::Result<(usize, SocketAddr)>,
        sequence: &mut u64,
        buffer: &[u8],
    ) {
        let length = match received {
            Ok((length, from)) if Some(from) == self.service => length,
            // The socket is open to all of its network, the flow is not.
            Ok(_) => return self.mesh.counts.drop_packet(PacketDrop::NotFromService),
            // Nobody is bound where the service should be: packets to it are lost, as on any host.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return self.mesh.counts.drop_packet(PacketDrop::LocalRefused);
            }
            Err(_) => return self.mesh.counts.drop_packet(PacketDrop::LocalError),
        };
        self.mesh.counts.packets_taken.incr();
        if length > MAX_PACKET_BYTES {
            return self.mesh.counts.drop_packet(PacketDrop::TooLarge);
        }
        let header = PacketHeader {
            direction: Direction::Back,
            class: self.class,
            flow: self.id,
            sequence: *sequence,
            sent_us: self.mesh.micros(now),
            lifetime_ms: 0,
            fragment: None,
            hops: RemainingHops::NONE,
        };
        *sequence += 1;
        // A drop is counted by its reason.
        let _ = self.link.send_packet(header, &buffer[..length]);
    }
}

impl Drop for EgressFlow {
    fn drop(&mut self) {
        self.link.remove_flow(Direction::Forward, self.id.number);
    }
}

/// Takes the flow off the list however its task ends.
struct Registered {
    mesh: Arc<Mesh>,
    id: FlowId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.mesh.egress.flows.lock().remove(&self.id);
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

const BURST: usize = 64;
/// Opened again on at most a few links in a moment.
const COMMANDS_QUEUED: usize = 4;
const MIN_IDLE: Duration = Duration::from_secs(1);
const MAX_IDLE: Duration = Duration::from_secs(3_600);
const RESOLVE_WITHIN: Duration = Duration::from_secs(2);
