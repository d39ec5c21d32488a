//! The state of the simulated network: who is where, and what is on its way.
//!
//! Synchronous throughout: time comes in, and wakers go out, to be woken by the caller after it has
//! let go of the lock, since waking may run other code.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Waker,
    time::Instant,
};

use bytes::Bytes;

use super::{
    SimConfig, SimReport,
    event::{Event, Outcome, Recorder, Undelivered},
    ports::Ports,
    tcp::Dialer,
};
use crate::{
    engine::{Engine, EngineConfig, HostId, PACKET_OVERHEAD_BYTES, Verdict},
    lateness::LatenessHistogram,
};

#[derive(Debug)]
pub(super) struct Network {
    pub(super) engine: Engine<Datagram>,
    pub(super) recorder: Recorder,
    machines: Vec<Machine>,
    machine_by_ip: BTreeMap<IpAddr, HostId>,
    sockets: BTreeMap<SocketId, Socket>,
    socket_buffer_bytes: usize,
    next_id: u64,
    start: Instant,
    lateness: LatenessHistogram,
    loopback: u64,
    undelivered: [u64; Undelivered::ALL.len()],
}

/// A machine: one address, and loopback addresses of its own.
#[derive(Debug)]
struct Machine {
    ip: IpAddr,
    udp: Ports<SocketId>,
    tcp: Ports<Listening>,
}

#[derive(Debug)]
pub(super) struct Listening {
    id: SocketId,
    process: ProcessId,
    dialer: Dialer,
}

#[derive(Debug)]
struct Socket {
    machine: HostId,
    process: ProcessId,
    local: SocketAddr,
    received: VecDeque<Received>,
    received_bytes: usize,
    readers: Vec<Waker>,
}

/// What was removed, to be woken or dropped without the lock.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Removed {
    readers: Vec<Waker>,
    /// Dropping one wakes its listener.
    listening: Vec<Listening>,
}

impl Removed {
    /// Lets those who waited see that there is nothing left to wait for.
    pub(super) fn wake(self) {
        drop(self.listening);
        self.readers.into_iter().for_each(Waker::wake);
    }
}

/// A packet between two machines.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// The two ECN bits of the IP header.
    pub(super) ecn: u8,
    pub(super) payload: Bytes,
}

/// A packet in a socket's receive buffer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    /// The address that it was sent to, which a socket on a wildcard address cannot know otherwise.
    #[cfg_attr(not(feature = "quinn"), expect(dead_code, reason = "only quinn asks"))]
    pub(super) to: IpAddr,
    #[cfg_attr(not(feature = "quinn"), expect(dead_code, reason = "only quinn asks"))]
    pub(super) ecn: u8,
    pub(super) payload: Bytes,
}

/// Never used twice, so that a handle to a killed socket cannot touch its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SocketId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId(u64);

impl Network {
    pub(super) fn new(config: SimConfig, start: Instant) -> Self {
        Self {
            engine: Engine::new(EngineConfig {
                seed: config.seed,
                default_pair: config.default_pair,
                max_queued_bytes: config.max_queued_bytes,
            }),
            recorder: Recorder::new(config.events_kept),
            machines: Vec::new(),
            machine_by_ip: BTreeMap::new(),
            sockets: BTreeMap::new(),
            socket_buffer_bytes: config.socket_buffer_bytes,
            next_id: 0,
            start,
            lateness: LatenessHistogram::new(),
            loopback: 0,
            undelivered: [0; Undelivered::ALL.len()],
        }
    }

    pub(super) fn add_machine(&mut self, ip: IpAddr) -> HostId {
        assert!(
            !ip.is_loopback() && !ip.is_unspecified(),
            "a host needs an address that others can reach, got {ip}"
        );
        let id = HostId(u32::try_from(self.machines.len()).expect("fewer than 2^32 hosts"));
        let before = self.machine_by_ip.insert(ip, id);
        assert!(before.is_none(), "two hosts have the address {ip}");
        self.machines.push(Machine {
            ip,
            udp: Ports::new(),
            tcp: Ports::new(),
        });
        id
    }

    pub(super) fn add_process(&mut self) -> ProcessId {
        ProcessId(self.next_id())
    }

    /// Removes everything that the process has bound.
    pub(super) fn remove_process(&mut self, process: ProcessId) -> Removed {
        let mut removed = Removed::default();
        for machine in &mut self.machines {
            let listening = machine.tcp.extract(|tcp| tcp.process == process);
            removed.listening.extend(listening);
            for id in machine
                .udp
                .extract(|id| self.sockets[id].process == process)
            {
                let socket = self.sockets.remove(&id);
                removed
                    .readers
                    .extend(socket.into_iter().flat_map(|socket| socket.readers));
            }
        }
        removed
    }

    pub(super) fn bind_udp(
        &mut self,
        machine: HostId,
        process: ProcessId,
        address: SocketAddr,
    ) -> io::Result<(SocketId, SocketAddr)> {
        let id = SocketId(self.next_id());
        let place = &mut self.machines[machine.0 as usize];
        check_local(place.ip, address)?;
        let local = place.udp.bind(address, id)?;
        self.sockets.insert(
            id,
            Socket {
                machine,
                process,
                local,
                received: VecDeque::new(),
                received_bytes: 0,
                readers: Vec::new(),
            },
        );
        Ok((id, local))
    }

    /// Closes a socket, if it still is.
    pub(super) fn close_udp(&mut self, id: SocketId) -> Removed {
        let mut removed = Removed::default();
        if let Some(socket) = self.sockets.remove(&id) {
            let udp = &mut self.machines[socket.machine.0 as usize].udp;
            udp.remove(socket.local);
            removed.readers = socket.readers;
        }
        removed
    }

    /// Takes a packet from a socket. Returns who waits for it on the same machine, and whether the
    /// engine has a new first deadline.
    pub(super) fn send(
        &mut self,
        now: Instant,
        id: SocketId,
        to: SocketAddr,
        source: Option<IpAddr>,
        ecn: u8,
        payload: &[u8],
    ) -> io::Result<(Vec<Waker>, bool)> {
        if payload.len() > MAX_UDP_PAYLOAD_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "payload is {} bytes, limit is {MAX_UDP_PAYLOAD_BYTES}",
                    payload.len()
                ),
            ));
        }
        let socket = self.sockets.get(&id).ok_or_else(vanished)?;
        let machine = socket.machine;
        let own_ip = self.machines[machine.0 as usize].ip;
        let stays = to.ip().is_loopback() || to.ip() == own_ip;
        let from = source_address(socket.local, own_ip, to.ip(), source);
        if from.ip().is_loopback() && !stays {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{from} is a loopback address and cannot send to {to}"),
            ));
        }
        let datagram = Datagram {
            from,
            to,
            ecn,
            payload: Bytes::copy_from_slice(payload),
        };
        if stays {
            return Ok((
                self.deliver(now, machine, datagram, Outcome::Loopback),
                false,
            ));
        }
        let bytes = payload.len();
        let mut is_first = false;
        let outcome = match self.machine_by_ip.get(&to.ip()) {
            None => {
                self.undelivered[Undelivered::NoHost as usize] += 1;
                Outcome::Undelivered(Undelivered::NoHost)
            }
            Some(target) => {
                let before = self.engine.poll_timeout();
                let ip_bytes = crate::ip::udp_packet_bytes(to.ip(), bytes);
                let verdict = self
                    .engine
                    .handle_packet(now, machine, *target, ip_bytes, datagram);
                match verdict {
                    Verdict::Dropped(cause) => Outcome::Dropped(cause),
                    Verdict::Queued { deadline } => {
                        is_first = before.is_none_or(|before| deadline < before);
                        Outcome::Queued {
                            deadline: deadline - self.start,
                        }
                    }
                }
            }
        };
        self.record(now, from, to, bytes, outcome);
        Ok((Vec::new(), is_first))
    }

    /// Hands over all that has arrived by `now`. Returns who waits for it, and when to come again.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> (Vec<Waker>, Option<Instant>) {
        let mut wakers = Vec::new();
        while let Some(delivery) = self.engine.poll_delivery(now) {
            let late = now - delivery.deadline;
            self.lateness.record(late);
            let outcome = Outcome::Delivered { late };
            let mut datagram = delivery.payload;
            if let Some(corruption) = delivery.corruption {
                let mut payload = datagram.payload.to_vec();
                corruption.flip(&mut payload);
                datagram.payload = payload.into();
            }
            wakers.extend(self.deliver(now, delivery.to, datagram, outcome));
        }
        (wakers, self.engine.poll_timeout())
    }

    /// Takes the oldest packet from a socket, or registers who waits for one.
    pub(super) fn receive(
        &mut self,
        id: SocketId,
        reader: Option<&Waker>,
    ) -> io::Result<Option<Received>> {
        let socket = self.sockets.get_mut(&id).ok_or_else(vanished)?;
        let received = socket.received.pop_front();
        match (&received, reader) {
            (Some(packet), _) => {
                socket.received_bytes -= packet.payload.len() + PACKET_OVERHEAD_BYTES;
            }
            // Bounded by the tasks that wait: each is there once.
            (None, Some(reader)) if !socket.readers.iter().any(|w| w.will_wake(reader)) => {
                socket.readers.push(reader.clone());
            }
            (None, _) => {}
        }
        Ok(received)
    }

    pub(super) fn listen_tcp(
        &mut self,
        machine: HostId,
        process: ProcessId,
        address: SocketAddr,
        dialer: Dialer,
    ) -> io::Result<(SocketId, SocketAddr)> {
        let id = SocketId(self.next_id());
        let place = &mut self.machines[machine.0 as usize];
        check_local(place.ip, address)?;
        let listening = Listening {
            id,
            process,
            dialer,
        };
        Ok((id, place.tcp.bind(address, listening)?))
    }

    /// Ends a listening, if it still is.
    pub(super) fn close_tcp(&mut self, machine: HostId, id: SocketId) -> Removed {
        let tcp = &mut self.machines[machine.0 as usize].tcp;
        Removed {
            listening: tcp.extract(|listening| listening.id == id),
            ..Removed::default()
        }
    }

    /// Whoever listens at `to` on the machine, and an address for the caller.
    pub(super) fn dial_tcp(
        &mut self,
        machine: HostId,
        to: SocketAddr,
    ) -> io::Result<(Dialer, SocketAddr)> {
        let place = &mut self.machines[machine.0 as usize];
        if !to.ip().is_loopback() && to.ip() != place.ip {
            return Err(io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                format!("{to} is on another host, where no TCP leads"),
            ));
        }
        let listening = place
            .tcp
            .reach(to)
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        let dialer = listening.dialer.clone();
        let from = SocketAddr::new(to.ip(), place.tcp.next_free(to.ip())?);
        Ok((dialer, from))
    }

    pub(super) fn report(&self) -> SimReport {
        SimReport {
            pairs: self.engine.counters(),
            queued_bytes_max: self.engine.queued_bytes_max(),
            lateness: self.lateness.summary(),
            loopback: self.loopback,
            undelivered: self.undelivered,
            events: self.recorder.count(),
            event_hash: self.recorder.hash(),
        }
    }

    fn deliver(
        &mut self,
        now: Instant,
        machine: HostId,
        datagram: Datagram,
        on_success: Outcome,
    ) -> Vec<Waker> {
        let Datagram {
            from,
            to,
            ecn,
            payload,
        } = datagram;
        let bytes = payload.len();
        let charged_bytes = bytes + PACKET_OVERHEAD_BYTES;
        let id = self.machines[machine.0 as usize].udp.reach(to).copied();
        let socket = id.and_then(|id| self.sockets.get_mut(&id));
        let (outcome, wakers) = match socket {
            None => (Outcome::Undelivered(Undelivered::NoSocket), Vec::new()),
            Some(socket) if self.socket_buffer_bytes - socket.received_bytes < charged_bytes => {
                (Outcome::Undelivered(Undelivered::BufferFull), Vec::new())
            }
            Some(socket) => {
                socket.received_bytes += charged_bytes;
                socket.received.push_back(Received {
                    from,
                    to: to.ip(),
                    ecn,
                    payload,
                });
                (on_success, std::mem::take(&mut socket.readers))
            }
        };
        match outcome {
            Outcome::Undelivered(cause) => self.undelivered[cause as usize] += 1,
            Outcome::Loopback => self.loopback += 1,
            Outcome::Delivered { .. } | Outcome::Dropped(_) | Outcome::Queued { .. } => {}
        }
        self.record(now, from, to, bytes, outcome);
        wakers
    }

    fn record(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: usize,
        outcome: Outcome,
    ) {
        self.recorder.record(Event {
            at: now - self.start,
            from,
            to,
            bytes,
            outcome,
        });
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The address that a packet shows: the socket's own, or where that is a wildcard, what the sender
/// asked for, or what fits the destination.
fn source_address(
    local: SocketAddr,
    own_ip: IpAddr,
    to: IpAddr,
    source: Option<IpAddr>,
) -> SocketAddr {
    let ip = if !local.ip().is_unspecified() {
        local.ip()
    } else if let Some(source) = source {
        source
    } else if to.is_loopback() {
        match to {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    } else {
        own_ip
    };
    SocketAddr::new(ip, local.port())
}

/// Whether the machine with `own_ip` may bind `address`.
fn check_local(own_ip: IpAddr, address: SocketAddr) -> io::Result<()> {
    let ip = address.ip();
    if ip == own_ip || ip.is_loopback() || ip.is_unspecified() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("{address} is not an address of this host, which is {own_ip}"),
    ))
}

fn vanished() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the socket vanished when its host was killed",
    )
}

/// The most that UDP over IPv4 carries.
const MAX_UDP_PAYLOAD_BYTES: usize = 65_507;
