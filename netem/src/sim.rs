//! The `sim` backend: hosts, sockets and tasks in one process, on tokio's virtual time.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
    task::AbortHandle,
};

use crate::{
    clock,
    counters::Counters,
    lateness::Lateness,
    model::{PairModel, Schedule},
};

use self::{event::Observer, network::Network};
pub use self::{
    event::{Event, Outcome, Undelivered},
    host::Host,
    tcp::{TcpListener, TcpStream},
    udp::UdpSocket,
};

mod event;
mod host;
mod network;
mod ports;
#[cfg(feature = "quinn")]
mod quinn;
mod task;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

/// An in-memory network of hosts. Cloning shares it.
///
/// Runs on a current-thread runtime, and is meant for one whose time is paused
/// (`#[tokio::test(start_paused = true)]`): time then jumps from one timer to the next, and one
/// seed gives one run. For that, everything on it must be deterministic as well: no unordered
/// maps, biased selects, no `spawn_blocking`, and hosts made in the same order.
///
/// The engine's deadlines are exact; tokio's clock ticks in milliseconds, so a packet arrives at
/// the next tick. [`SimReport`] says by how much.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

/// What a simulation is made of. There is no default seed: choose and print it.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Everything random on the network follows from it.
    pub seed: u64,
    /// What every pair of hosts does until it is set. Default: a perfect wire.
    pub default_pair: PairModel,
    /// Bytes that each UDP socket buffers for its reader, each packet with
    /// [`crate::engine::PACKET_OVERHEAD_BYTES`]; what goes over is dropped and counted.
    /// Default 4 MiB, which is what nodes ask real sockets for.
    pub socket_buffer_bytes: usize,
    /// Bytes that may be on their way at once; see [`crate::engine::EngineConfig`]. Default
    /// 256 MiB: a second of 2 Gbit/s.
    pub max_queued_bytes: usize,
    /// Events that are kept, the newest. Default 16,384, about 2 MB. The hash covers all.
    pub events_kept: usize,
}

impl SimConfig {
    /// The defaults with this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            default_pair: PairModel::default(),
            socket_buffer_bytes: 4 << 20,
            max_queued_bytes: 256 << 20,
            events_kept: 16_384,
        }
    }
}

/// What the simulation did so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimReport {
    /// What became of the packets that were sent over pairs. Delivered is what arrived at the
    /// host, whether or not somebody took it there.
    pub pairs: Counters,
    /// The most that was ever on its way at once.
    pub queued_bytes_max: usize,
    /// When packets arrived, less their deadlines: below a millisecond on virtual time, whose host
    /// has no lateness of its own.
    pub lateness: Lateness,
    /// Packets that reached a socket without leaving their host.
    pub loopback: u64,
    undelivered: [u64; Undelivered::ALL.len()],
    /// How many events there were.
    pub events: u64,
    /// A hash over all events: equal for two runs in which the same happened at the same times.
    /// It covers no content of packets.
    pub event_hash: u64,
}

impl SimReport {
    /// Packets that reached no socket for this cause.
    pub fn undelivered(&self, cause: Undelivered) -> u64 {
        self.undelivered[cause as usize]
    }
}

impl Sim {
    /// A network without hosts. Its time begins now.
    ///
    /// # Panics
    /// If it is not called on a current-thread tokio runtime: with more threads, nothing repeats.
    pub fn new(config: SimConfig) -> Self {
        let runtime = Handle::current();
        assert!(
            runtime.runtime_flavor() == RuntimeFlavor::CurrentThread,
            "a simulation repeats on a current-thread runtime only"
        );
        let shared = Arc::new(Shared {
            runtime,
            network: Mutex::new(Network::new(config, clock::now())),
            earlier_deadline: Arc::new(Notify::new()),
            driver: OnceLock::new(),
        });
        let driver = shared.runtime.spawn(drive(
            Arc::downgrade(&shared),
            shared.earlier_deadline.clone(),
        ));
        shared
            .driver
            .set(driver.abort_handle())
            .expect("set here only");
        Self { shared }
    }

    /// Adds a host.
    ///
    /// # Panics
    /// If another host has the address, or it is loopback or unspecified.
    pub fn host(&self, name: &str, ip: impl Into<IpAddr>) -> Host {
        Host::new(self.shared.clone(), name, ip.into())
    }

    /// Sets what happens to packets from one host to another from now on. A cut stays.
    pub fn set_pair(&self, from: &Host, to: &Host, model: PairModel) {
        let mut network = self.shared.network.lock();
        network.engine.set_pair(from.id(), to.id(), model);
    }

    /// Begins a schedule for packets from one host to another now, in place of the one before.
    pub fn set_schedule(&self, from: &Host, to: &Host, schedule: Schedule) {
        let now = clock::now();
        let mut network = self.shared.network.lock();
        let engine = &mut network.engine;
        engine.set_schedule(now, from.id(), to.id(), schedule);
    }

    /// Sets both directions between two hosts alike.
    pub fn set_pair_both(&self, a: &Host, b: &Host, model: PairModel) {
        self.set_pair(a, b, model.clone());
        self.set_pair(b, a, model);
    }

    /// Drops every packet from one host to another from now on; what is on its way arrives.
    pub fn cut(&self, from: &Host, to: &Host) {
        self.shared.network.lock().engine.cut(from.id(), to.id());
    }

    /// Cuts both directions between two hosts.
    pub fn cut_both(&self, a: &Host, b: &Host) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Ends the cut of one direction.
    pub fn heal(&self, from: &Host, to: &Host) {
        self.shared.network.lock().engine.heal(from.id(), to.id());
    }

    /// Ends the cuts of both directions between two hosts.
    pub fn heal_both(&self, a: &Host, b: &Host) {
        self.heal(a, b);
        self.heal(b, a);
    }

    /// Cuts every pair between the two groups, in both directions.
    pub fn partition(&self, group: &[&Host], others: &[&Host]) {
        for_each_pair(group, others, |a, b| self.cut_both(a, b));
    }

    /// Ends the cuts of every pair between the two groups.
    pub fn heal_partition(&self, group: &[&Host], others: &[&Host]) {
        for_each_pair(group, others, |a, b| self.heal_both(a, b));
    }

    /// What became of the packets from one host to another.
    pub fn pair_counters(&self, from: &Host, to: &Host) -> Counters {
        let network = self.shared.network.lock();
        network.engine.pair_counters(from.id(), to.id())
    }

    /// The newest events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.shared.network.lock().recorder.kept()
    }

    /// Shows `see` every event from now on as it happens, in place of whoever was shown them before.
    ///
    /// It is called while the network is locked: it must not call back into the simulation, nor
    /// wake a task of it.
    pub fn observe(&self, see: impl FnMut(&Event) + Send + 'static) {
        let observer = Observer(Box::new(see));
        self.shared.network.lock().recorder.set_observer(observer);
    }

    /// What the simulation did so far.
    pub fn report(&self) -> SimReport {
        self.shared.network.lock().report()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

/// What hosts, sockets and the driver share.
struct Shared {
    runtime: Handle,
    /// Never held while something is woken, spawned or dropped that may come back here.
    network: Mutex<Network>,
    /// Tells the driver that a packet arrives before those it waits for.
    earlier_deadline: Arc<Notify>,
    driver: OnceLock<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }
}

/// Hands over packets as they arrive. Ends with the last handle to the network.
async fn drive(shared: Weak<Shared>, earlier_deadline: Arc<Notify>) {
    while let Some(strong) = shared.upgrade() {
        let now = clock::now();
        let (readers, next) = strong.network.lock().handle_timeout(now);
        // Not across the wait, or the network would keep itself alive.
        drop(strong);
        for reader in readers {
            reader.wake();
        }
        tokio::select! {
            biased;
            () = earlier_deadline.notified() => {}
            () = clock::sleep_until(next) => {}
        }
    }
}

fn for_each_pair(group: &[&Host], others: &[&Host], mut visit: impl FnMut(&Host, &Host)) {
    for a in group {
        for b in others {
            visit(a, b);
        }
    }
}
