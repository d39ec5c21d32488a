//! An engine with names, and an account of itself: what the real-time backends have in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    control::{Answer, Command, Paths},
    engine::{Delivery, Engine, EngineConfig, HostId, Verdict},
    lateness::{Lateness, LatenessHistogram},
    model::PairModel,
    nearest::{did_you_mean, nearest},
    report::{Host, OwnDrops, Packets, Path, Report},
    topology::Topology,
};

#[cfg(test)]
mod tests;

/// Decides about packets between named hosts, obeys commands, and reports.
///
/// Sans-IO, as [`Engine`] is. Call [`Self::handle_packet`] and [`Self::handle_command`] on every
/// input, drain [`Self::poll_delivery`], and tell [`Self::on_handed_over`] when what it gave has
/// left.
#[derive(Debug)]
pub struct Emulator<P> {
    backend: &'static str,
    engine: Engine<P>,
    hosts: Vec<Host>,
    host_by_name: BTreeMap<String, HostId>,
    /// Paths that commands were about.
    changed: BTreeSet<(HostId, HostId)>,
    start: Instant,
    lateness: LatenessHistogram,
    idle_timer: Lateness,
    /// Losses that no model meant.
    pub own_drops: OwnDrops,
}

impl<P: Clone> Emulator<P> {
    /// The hosts of `topology`, numbered as they stand there, with its paths; schedules begin at
    /// `now`.
    ///
    /// - `backend`: its name in reports.
    /// - `reached_at`: where the others reach each host, in the same order.
    /// - `idle_timer`: how late timers are on this machine while it does nothing.
    pub fn new(
        backend: &'static str,
        topology: &Topology,
        reached_at: Vec<Vec<String>>,
        idle_timer: Lateness,
        now: Instant,
    ) -> Self {
        let default_pair = topology.default().cloned().unwrap_or_default();
        let mut engine = Engine::new(EngineConfig {
            seed: topology.seed(),
            default_pair,
            max_queued_bytes: MAX_QUEUED_BYTES,
        });
        for path in topology.paths() {
            let (from, to) = (host(path.from()), host(path.to()));
            if let Some(model) = path.model() {
                engine.set_pair(from, to, model.clone());
            }
            if let Some(schedule) = path.schedule() {
                engine.set_schedule(now, from, to, schedule.clone());
            }
        }
        let names = topology.hosts().iter().map(|host| host.name().to_owned());
        let host_by_name = names.clone().zip((0..).map(HostId)).collect();
        let hosts = names
            .zip(reached_at)
            .map(|(name, reached_at)| Host { name, reached_at });
        Self {
            backend,
            engine,
            hosts: hosts.collect(),
            host_by_name,
            changed: BTreeSet::new(),
            start: now,
            lateness: LatenessHistogram::new(),
            idle_timer,
            own_drops: OwnDrops::default(),
        }
    }

    /// Takes a packet of `bytes` bytes, headers included, that leaves `from` for `to` at `now`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: HostId,
        to: HostId,
        bytes: usize,
        packet: P,
    ) -> Verdict {
        self.engine.handle_packet(now, from, to, bytes, packet)
    }

    /// When the next packet is to be handed over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    /// The next packet to hand over by `now`.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery<P>> {
        self.engine.poll_delivery(now)
    }

    /// Counts that a packet which was due at `deadline` has left at `now`.
    pub fn on_handed_over(&mut self, now: Instant, deadline: Instant) {
        self.lateness
            .record(now.saturating_duration_since(deadline));
    }

    /// Does what a command says, if it can be done; [`Command::Stop`] is the caller's to obey.
    pub fn handle_command(&mut self, now: Instant, command: &Command) -> Answer {
        let done = match command {
            Command::Set { paths, netem } => match netem.parse::<PairModel>() {
                Ok(model) => self.change(now, paths, |engine, from, to| {
                    engine.set_pair(from, to, model.clone());
                }),
                Err(error) => Err(error.to_string()),
            },
            Command::Cut(paths) => self.change(now, paths, Engine::cut),
            Command::Heal(paths) => self.change(now, paths, Engine::heal),
            Command::Show => return Answer::Report(Box::new(self.report(now))),
            Command::Stop => Ok(Vec::new()),
        };
        done.map_or_else(|reason| Answer::Refused { reason }, Answer::Done)
    }

    /// What was done so far. Takes some microseconds for each path that it lists.
    pub fn report(&mut self, now: Instant) -> Report {
        let mut paths = Vec::new();
        for (from, to) in self.engine.known_pairs() {
            let carried = self.engine.pair_counters(from, to).received > 0;
            let state = self.engine.pair_state(now, from, to);
            let is_off = state.is_cut || state.is_down;
            if carried || is_off || self.changed.contains(&(from, to)) {
                paths.push(self.path(now, from, to));
            }
        }
        Report {
            backend: self.backend.to_owned(),
            hosts: self.hosts.clone(),
            elapsed_s: now.saturating_duration_since(self.start).as_secs_f64(),
            packets: Packets::from(&self.engine.counters()),
            lateness: self.lateness.summary(),
            idle_timer: self.idle_timer,
            queued_bytes_max: self.engine.queued_bytes_max() as u64,
            own_drops: self.own_drops.by_name(),
            paths,
        }
    }

    fn change(
        &mut self,
        now: Instant,
        paths: &Paths,
        mut change: impl FnMut(&mut Engine<P>, HostId, HostId),
    ) -> Result<Vec<Path>, String> {
        let (from, to) = (self.host(&paths.from)?, self.host(&paths.to)?);
        if from == to {
            return Err(format!(
                "a path leads from one host to another, not from {} to itself",
                paths.from
            ));
        }
        let mut directions = vec![(from, to)];
        if !paths.one_way {
            directions.push((to, from));
        }
        let mut changed = Vec::new();
        for (from, to) in directions {
            change(&mut self.engine, from, to);
            self.changed.insert((from, to));
            changed.push(self.path(now, from, to));
        }
        Ok(changed)
    }

    fn host(&self, name: &str) -> Result<HostId, String> {
        self.host_by_name.get(name).copied().ok_or_else(|| {
            let names = self.hosts.iter().map(|host| host.name.as_str());
            format!(
                "no host is named {name}{}",
                did_you_mean(&nearest(name, names))
            )
        })
    }

    fn path(&mut self, now: Instant, from: HostId, to: HostId) -> Path {
        let packets = Packets::from(&self.engine.pair_counters(from, to));
        let state = self.engine.pair_state(now, from, to);
        Path {
            from: self.hosts[from.0 as usize].name.clone(),
            to: self.hosts[to.0 as usize].name.clone(),
            netem: state.model.to_string(),
            cut: state.is_cut,
            down: state.is_down,
            packets,
        }
    }
}

fn host(index: usize) -> HostId {
    HostId(u32::try_from(index).expect("a topology has fewer hosts than that"))
}

/// A second of 2 Gbit/s.
const MAX_QUEUED_BYTES: usize = 256 << 20;
