//! The packet loop: what comes as datagrams, to local sockets, to other nodes, or back as probe
//! replies.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Weak},
    time::Instant,
};

use bytes::{Buf as _, Bytes};
use tokio::{sync::mpsc, time::sleep_until};

use super::{
    Link,
    deliveries::Deliveries,
    forward::{Forwards, towards_ingress},
    incoming::Incoming,
    probes::ProbesIn,
    sinks::Sinks,
    unknown::UnknownFlows,
};
use crate::{
    clock,
    code::FlowCode,
    counts::PacketDrop,
    deadline::Closed,
    env::LocalUdp,
    id::NodeKey,
    mesh::Mesh,
    peer::{LinkEvent, Measure, PeerEvent},
    tasks::{Task, Wait},
    udp::{self, Activity, FlowWord},
    wire::{Datagram, Direction, FlowId, Frame, PacketHeader, Reassembler, ReassemblyLimits},
};

/// Where the packets of a flow go on this node. Belongs to whoever opened the flow: links only
/// refer to it.
#[derive(Debug)]
pub(crate) struct FlowSink {
    /// Sends them to the local program.
    pub(crate) socket: Arc<dyn LocalUdp>,
    /// The local program.
    pub(crate) to: SocketAddr,
    /// Told of every packet, so that a flow in use does not expire.
    pub(crate) activity: Arc<Activity>,
}

/// A change to the flows that a link carries to this node.
#[derive(Debug)]
pub(super) enum PacketCommand {
    Add {
        direction: Direction,
        flow: FlowId,
        sink: Weak<FlowSink>,
    },
    Remove {
        direction: Direction,
        flow: FlowId,
    },
}

/// Owns the flows of one link, so that finding one needs no lock.
pub(super) struct PacketLoop {
    mesh: Arc<Mesh>,
    link: Arc<Link>,
    /// This node's key, computed once.
    our_key: NodeKey,
    commands: mpsc::Receiver<PacketCommand>,
    replies: ProbesIn,
    /// The keeper of the peer.
    keeper: mpsc::Sender<PeerEvent>,
    /// What the link's packets show.
    incoming: Incoming,
    /// Flows that were opened over this link: their packets go to services.
    forward: Sinks<FlowSink>,
    /// Flows that this node has opened: packets back go to clients of listens.
    back: Sinks<FlowSink>,
    pieces: Reassembler,
    unknown: UnknownFlows,
    /// What this turn has for local programs.
    deliveries: Deliveries,
    /// What this turn has for other nodes.
    forwards: Forwards,
}

enum Wake {
    Command(PacketCommand),
    Datagram(Result<Bytes, Closed>),
    Report,
}

impl PacketLoop {
    /// - `replies`: takes the ids of probe replies to whoever judges the link.
    /// - `keeper`: hears of the delay of what comes.
    pub(super) fn new(
        mesh: Arc<Mesh>,
        link: Arc<Link>,
        commands: mpsc::Receiver<PacketCommand>,
        replies: ProbesIn,
        keeper: mpsc::Sender<PeerEvent>,
    ) -> Self {
        let pieces = Reassembler::new(PIECES);
        let (forward, back) = (Sinks::new(), Sinks::new());
        let our_key = mesh.id.key();
        Self {
            mesh,
            link,
            our_key,
            commands,
            replies,
            keeper,
            incoming: Incoming::default(),
            forward,
            back,
            pieces,
            unknown: UnknownFlows::default(),
            deliveries: Deliveries::default(),
            forwards: Forwards::default(),
        }
    }

    /// Runs until the link's end or the owner's.
    pub(super) async fn run(mut self: Box<Self>, task: Task) {
        // Both are kept from turn to turn: on an idle link, probes alone make a few in a second.
        let mut stop = pin!(task.stopping());
        let mut timer = pin!(sleep_until(clock::now().into()));
        loop {
            task.waits(Wait::Datagram);
            let report_is_awaited = clock::arm(timer.as_mut(), self.incoming.poll_timeout());
            let wake = tokio::select! {
                biased;
                () = stop.as_mut() => return,
                // A flow is known before its first packet is looked at.
                Some(command) = self.commands.recv() => Wake::Command(command),
                datagram = self.link.connection.read_datagram() => Wake::Datagram(datagram),
                // Last, since every burst looks whether a report is due.
                () = timer.as_mut(), if report_is_awaited => Wake::Report,
            };
            match wake {
                Wake::Report => self.report(clock::now()),
                Wake::Command(command) => self.handle_command(command),
                Wake::Datagram(Err(_)) => return,
                Wake::Datagram(Ok(first)) => self.handle_burst(first),
            }
        }
    }

    /// Takes what has come together with the first, so that one wake-up serves a burst, and gives
    /// each local program its part of it at once.
    fn handle_burst(&mut self, first: Bytes) {
        let now = clock::now();
        self.handle_datagram(now, first);
        for _ in 1..BURST {
            // An error comes back at the next wait.
            let Some(Ok(datagram)) = self.link.connection.try_read_datagram() else {
                break;
            };
            self.handle_datagram(now, datagram);
        }
        self.deliveries.flush(now, &self.mesh.counts);
        self.forwards.flush(now, &self.link);
        self.report(now);
    }

    /// Tells both ends of what came, if that is due.
    fn report(&mut self, now: Instant) {
        let Some(report) = self.incoming.take_report(now) else {
            return;
        };
        if let Some((least, _)) = report.variation {
            let event = LinkEvent::Measured(Measure::Received { delay: least });
            let event = PeerEvent::Link(Box::new((self.link.generation, event)));
            // A keeper without room for it hears the next one.
            let _ = self.keeper.try_send(event);
        }
        self.link.send_frame(Frame::LinkReport(report));
    }

    fn handle_command(&mut self, command: PacketCommand) {
        match command {
            PacketCommand::Add {
                direction,
                flow,
                sink,
            } => {
                self.table(direction).insert(flow, sink);
            }
            PacketCommand::Remove { direction, flow } => {
                self.table(direction).remove(flow);
            }
        }
    }

    fn handle_datagram(&mut self, now: Instant, mut datagram: Bytes) {
        match Datagram::decode(&datagram) {
            Ok(Datagram::Packet { header, payload }) => {
                self.incoming.handle_packet(now, &header);
                self.link.account.received().count_packet(datagram.len());
                let header_bytes = datagram.len() - payload.len();
                datagram.advance(header_bytes);
                self.handle_packet(now, &header, datagram);
            }
            Ok(Datagram::Probe(probe)) => self.link.send_probe(&Datagram::ProbeReply(probe)),
            Ok(Datagram::ProbeReply(probe)) => {
                // A full queue means that the judge is late, and then its timer is too.
                if !self.replies.push(probe.id) {
                    self.mesh.counts.replies_dropped.incr();
                }
            }
            // What goes over other nodes fits every link, so that only one of a newer release, or a
            // link that shrank, has cause to say this.
            Ok(Datagram::TooLarge(_)) => self.mesh.counts.packets_too_large.incr(),
            Err(error) => self.mesh.counts.headers_refused.incr(error.reason()),
        }
    }

    fn handle_packet(&mut self, now: Instant, header: &PacketHeader, payload: Bytes) {
        if !header.hops.as_slice().is_empty() {
            let (here, from) = ((&*self.mesh, self.our_key), &self.link);
            let forwards = &mut self.forwards;
            return forwards.handle_packet(now, here, from, *header, payload);
        }
        if !self.is_of_this_link(header) {
            return self.mesh.counts.drop_packet(PacketDrop::NotOfLink);
        }
        let (direction, flow) = (header.direction, header.flow);
        let place = match self.deliveries.find(direction, flow) {
            Some(place) => place,
            None => match self.table(direction).get(flow) {
                Some(sink) => self.deliveries.add(direction, flow, sink),
                None => return self.handle_unknown(now, header),
            },
        };
        let Some(fragment) = header.fragment else {
            return self.deliveries.push(place, payload);
        };
        match self
            .pieces
            .handle_piece(now, header.key(), fragment, &payload)
        {
            Ok(Some(whole)) => self.deliveries.push(place, whole.into()),
            Ok(None) => {}
            Err(error) => self.mesh.counts.pieces_refused.incr(error.reason()),
        }
    }

    /// A flow that was lost here would stay dead until it is idle, if its opener were not told.
    fn handle_unknown(&mut self, now: Instant, header: &PacketHeader) {
        self.mesh.counts.drop_packet(PacketDrop::UnknownFlow);
        if header.direction == Direction::Forward
            && self.unknown.handle_packet(now, header.flow)
            && let Some(way) = towards_ingress(&self.link, header)
        {
            let closed = FlowWord::Close(Direction::Back, FlowCode::UnknownFlow);
            udp::say(self.our_key, &way, header.flow, closed);
        }
    }

    /// Whether the flow can have been opened over this link: by its peer or through it, in this
    /// link's generations. Which were is what the tables say.
    fn is_of_this_link(&self, header: &PacketHeader) -> bool {
        let FlowId {
            ingress,
            generation,
            ..
        } = header.flow;
        match header.direction {
            Direction::Forward if ingress == self.link.peer_key => {
                generation == self.link.peer_generation
            }
            Direction::Forward => ingress != self.our_key,
            Direction::Back => ingress == self.our_key && generation == self.link.our_generation,
        }
    }

    fn table(&mut self, direction: Direction) -> &mut Sinks<FlowSink> {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Back => &mut self.back,
        }
    }
}

/// As many as one GRO receive brings; then shutdown and commands get a turn.
///
/// It bounds what a turn holds for local programs, too: whole packets of at most 16 KiB.
const BURST: usize = 64;
/// Packets above one datagram are best effort: what is incomplete after half a second is lost.
const PIECES: ReassemblyLimits = ReassemblyLimits {
    packets: 64,
    bytes: 512 << 10,
    timeout: std::time::Duration::from_millis(500),
};
