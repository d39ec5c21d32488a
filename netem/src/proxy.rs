//! The `proxy` backend: a hub for UDP between real processes, without privileges.
//!
//! Every host has a *front*, an address that the others send to in place of its own. What comes to
//! the front of B from the address of A goes through the path from A to B, and leaves for B from
//! the front of A: so both see each other at their fronts, and nothing goes around the hub.

use std::{collections::BTreeMap, io, net::SocketAddr, os::fd::BorrowedFd, path::Path};

use bytes::Bytes;

use self::front::Front;
use crate::{
    clock,
    control::{Server, ServerError},
    emulator::Emulator,
    engine::{Delivery, HostId},
    ip,
    realtime::{self, Arrived, Ports},
    report::{OwnDrop, OwnDrops, Report},
    topology::{HostSpec, Topology},
};

mod front;

/// A hub that is bound and ready to run.
#[derive(Debug)]
pub struct Proxy {
    hub: Hub,
    emulator: Emulator<Bytes>,
    control: Option<Server>,
}

impl Proxy {
    /// Binds the front of every host and the control socket; takes a quarter of a second, in which
    /// this machine's timers are measured.
    ///
    /// # Errors
    /// - [`ProxyError::Addresses`]: hosts lack addresses, or share them.
    /// - [`ProxyError::Bind`]: a front cannot be bound.
    /// - [`ProxyError::Control`]: the control socket cannot.
    /// - [`ProxyError::Fronts`], [`ProxyError::Timer`]: the system says less than it should.
    pub fn bind(topology: &Topology, control: Option<&Path>) -> Result<Self, ProxyError> {
        let hub = Hub::bind(topology)?;
        let control = control.map(Server::bind).transpose()?;
        let idle_timer = realtime::idle_timer().map_err(ProxyError::Timer)?;
        let fronts = hub.fronts.iter().map(Front::local_addr);
        let reached_at = fronts
            .map(|front| Ok(vec![front?.to_string()]))
            .collect::<io::Result<_>>()
            .map_err(ProxyError::Fronts)?;
        let emulator = Emulator::new("proxy", topology, reached_at, idle_timer, clock::now());
        Ok(Self {
            hub,
            emulator,
            control,
        })
    }

    /// Where each host is reached, in the order of the topology.
    ///
    /// # Errors
    /// What the system says of a socket's address.
    pub fn fronts(&self) -> io::Result<Vec<SocketAddr>> {
        self.hub.fronts.iter().map(Front::local_addr).collect()
    }

    /// Carries packets until `stop` is readable or it is told to stop; says what was done.
    ///
    /// # Errors
    /// What the system says when a wait fails.
    pub fn run(mut self, stop: BorrowedFd<'_>) -> io::Result<Report> {
        realtime::run(&mut self.hub, &mut self.emulator, self.control, stop)
    }
}

/// The fronts, and who is behind each.
#[derive(Debug)]
struct Hub {
    fronts: Vec<Front>,
    /// Where each host is; the one that is learned is nowhere until it has sent.
    addresses: Vec<Option<SocketAddr>>,
    host_by_address: BTreeMap<SocketAddr, HostId>,
    /// The host that is wherever unknown packets come from.
    learned: Option<HostId>,
    batch: front::Batch,
    run: Vec<u8>,
}

impl Hub {
    fn bind(topology: &Topology) -> Result<Self, ProxyError> {
        let hosts = topology.hosts();
        check(hosts)?;
        let (mut fronts, mut addresses) = (Vec::new(), Vec::new());
        let (mut host_by_address, mut learned) = (BTreeMap::new(), None);
        for (id, host) in (0..).map(HostId).zip(hosts) {
            let front = host.front().expect("checked");
            fronts.push(Front::bind(front).map_err(|source| ProxyError::Bind {
                host: host.name().to_owned(),
                front,
                source,
            })?);
            addresses.push(host.address());
            match host.address() {
                Some(address) => {
                    host_by_address.insert(address, id);
                }
                None => learned = Some(id),
            }
        }
        Ok(Self {
            fronts,
            addresses,
            host_by_address,
            learned,
            batch: front::Batch::new(),
            run: Vec::new(),
        })
    }

    /// Whose packets come from `address`.
    fn sender(&mut self, address: SocketAddr) -> Option<HostId> {
        if let Some(host) = self.host_by_address.get(&address) {
            return Some(*host);
        }
        let host = self.learned?;
        self.addresses[host.0 as usize] = Some(address);
        Some(host)
    }
}

impl Ports for Hub {
    type Packet = Bytes;

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.fronts.iter().map(Front::as_fd).collect()
    }

    fn receive(
        &mut self,
        index: usize,
        drops: &mut OwnDrops,
        mut take: impl FnMut(Arrived<Bytes>),
    ) -> io::Result<()> {
        let to = HostId(u32::try_from(index).expect("an index of a host"));
        let mut batch = std::mem::take(&mut self.batch);
        self.fronts[index].receive(&mut batch)?;
        for (address, payload) in batch.packets() {
            let Some(from) = self.sender(address) else {
                drops.add(OwnDrop::Stranger, 1);
                continue;
            };
            if from == to {
                drops.add(OwnDrop::NoHost, 1);
                continue;
            }
            take(Arrived {
                from,
                to,
                bytes: ip::udp_packet_bytes(address.ip(), payload.len()),
                packet: Bytes::copy_from_slice(payload),
            });
        }
        self.batch = batch;
        Ok(())
    }

    fn send(
        &mut self,
        deliveries: &mut Vec<Delivery<Bytes>>,
        drops: &mut OwnDrops,
        mut sent: impl FnMut(&Delivery<Bytes>),
    ) {
        for delivery in deliveries.iter_mut() {
            if let Some(corruption) = delivery.corruption {
                let mut payload = delivery.payload.to_vec();
                corruption.flip(&mut payload);
                delivery.payload = payload.into();
            }
        }
        // Stable, so that each pair's packets stay in order.
        deliveries.sort_by_key(|delivery| (delivery.from, delivery.to));
        let together = |a: &Delivery<Bytes>, b: &Delivery<Bytes>| {
            (a.from, a.to, a.bytes) == (b.from, b.to, b.bytes)
        };
        for run in deliveries.chunk_by(together) {
            let (from, to) = (run[0].from.0 as usize, run[0].to.0 as usize);
            let taken = self.addresses[to].map_or(0, |address| {
                let payloads = run.iter().map(|delivery| &*delivery.payload);
                self.fronts[from].send(payloads, address, &mut self.run)
            });
            drops.add(OwnDrop::Unsent, (run.len() - taken) as u64);
            run[..taken].iter().for_each(&mut sent);
        }
        deliveries.clear();
    }

    fn unread(&mut self) -> u64 {
        front::unread(&self.fronts)
    }
}

/// Whether every host can be told from the others by its addresses.
fn check(hosts: &[HostSpec]) -> Result<(), ProxyError> {
    let fault = |text: String| Err(ProxyError::Addresses(text));
    if hosts.len() < 2 {
        return fault("a proxy needs two hosts at the least".into());
    }
    let mut learned: Option<&str> = None;
    let is_ipv4 = hosts[0].front().is_some_and(|front| front.is_ipv4());
    for host in hosts {
        let name = host.name();
        let Some(front) = host.front() else {
            return fault(format!(
                "host \"{name}\" has no front: where do the others reach it?"
            ));
        };
        if host.address().is_none()
            && let Some(other) = learned.replace(name)
        {
            return fault(format!(
                "neither \"{other}\" nor \"{name}\" has an address: \
                 that of one host only can be learned"
            ));
        }
        for address in [Some(front), host.address()].into_iter().flatten() {
            if address.is_ipv4() != is_ipv4 {
                return fault(format!(
                    "host \"{name}\": {address} is not of the first front's family: \
                     all must be IPv4, or all IPv6"
                ));
            }
        }
    }
    Ok(())
}

/// Why there is no hub.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Hosts cannot be told apart.
    #[error("{0}")]
    Addresses(String),
    /// The system refused a front.
    #[error("front {front} of host \"{host}\": {source}")]
    Bind {
        /// Whose.
        host: String,
        /// Which.
        front: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no control socket.
    #[error(transparent)]
    Control(#[from] ServerError),
    /// The system does not say where the fronts are.
    #[error("cannot tell where the fronts are")]
    Fronts(#[source] io::Error),
    /// The system has no timers for us.
    #[error("there are no timers")]
    Timer(#[source] io::Error),
}
