//! How much of what it can do this node does, and whether it takes anything new.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use router::{
    cost::Load,
    load::{LoadLimits, LoadMeter, Usage},
};

use crate::{
    clock,
    config::Limits,
    mesh::Mesh,
    tasks::{Task, Wait},
};

/// What is published about the node's load. Readers take no lock.
#[derive(Debug, Default)]
pub struct NodeLoad {
    permille: AtomicU16,
    /// Of the busiest worker, as far as workers say.
    busy_nanos: AtomicU64,
}

impl NodeLoad {
    /// The load, as it was within the last second or so.
    pub fn load(&self) -> Load {
        Load::from_permille(self.permille.load(Ordering::Relaxed))
    }

    /// Whether there is room for a new flow or stream. Those that there are go on in any case.
    pub(crate) fn has_room(&self) -> bool {
        self.load().as_permille() < FULL_PERMILLE
    }
}

/// Looks at the node's load now and then, for its navigator.
#[derive(Debug)]
pub(crate) struct LoadWatch {
    meter: LoadMeter,
    next: Instant,
}

impl LoadWatch {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let meter = LoadMeter::new(LoadLimits {
            rate_bytes: limits.rate_bits_per_s / 8,
            flows: limits.udp_flows as u64,
            streams: limits.tcp_streams as u64,
        });
        Self { meter, next: now }
    }

    /// When to look next.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to; the load then.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mesh: &Mesh) -> Option<Load> {
        if now < self.next {
            return None;
        }
        self.next = now + LOOK_EVERY;
        let usage = Usage {
            sent_bytes: mesh.accounts.sent_bytes(),
            flows: mesh.egress.len() as u64,
            streams: mesh.tcp_room.held() as u64,
            busy: Duration::from_nanos(mesh.load.busy_nanos.load(Ordering::Relaxed)),
        };
        self.meter.handle_usage(now, usage);
        let load = self.meter.load();
        mesh.load
            .permille
            .store(load.as_permille(), Ordering::Relaxed);
        Some(load)
    }
}

/// Says how long the worker that this runs on has worked, until the owner's end.
///
/// Not for simulations: it is time of the machine, and no two runs have the same.
pub(crate) async fn watch_worker(mesh: Arc<Mesh>, task: Task) {
    let metrics = tokio::runtime::Handle::current().metrics();
    loop {
        task.waits(Wait::Timer);
        let next = clock::now() + LOOK_EVERY;
        tokio::select! {
            biased;
            () = task.stopping() => return,
            () = clock::sleep_until(Some(next)) => {}
        }
        // Each worker is a runtime with one thread.
        let busy = metrics.worker_total_busy_duration(0).as_nanos();
        let busy = u64::try_from(busy).unwrap_or(u64::MAX);
        mesh.load.busy_nanos.fetch_max(busy, Ordering::Relaxed);
    }
}

/// From here on nothing new is taken.
const FULL_PERMILLE: u16 = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
