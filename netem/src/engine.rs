//! The sans-IO engine: packets and times in, drops and deadlines out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, binary_heap::PeekMut},
    time::{Duration, Instant},
};

use slab::Slab;

use crate::{
    counters::Counters,
    engine::pair::{Fate, Pair},
    model::{PairModel, Schedule},
};

mod chance;
mod jitter;
mod loss;
mod pair;
mod random;
#[cfg(test)]
mod tests;
mod timeline;

/// Decides for every packet between two hosts whether it arrives, and when.
///
/// It reads no clock and moves no bytes: `P` is carried untouched, and cloned for packets that
/// arrive twice. Call [`Self::handle_packet`] for each packet, arm a timer for
/// [`Self::poll_timeout`], and when it fires drain [`Self::poll_delivery`]. `now` must never go
/// backwards between calls.
///
/// - A packet's fate is sealed when it is handed in. A change of the pair, a cut included, is for
///   the packets after it; what is on its way arrives.
/// - Packets of one directed pair arrive in the order in which they were handed in, unless the
///   model asks for another. Equal deadlines arrive in that order always.
/// - Every directed pair draws from a random stream of its own, as many numbers for a packet
///   whatever the model says. So pairs do not disturb each other, and changing a pair's jitter does
///   not change which of its packets are lost.
/// - `received + copied = delivered + queued + dropped`, for each pair and in total, after every
///   call.
#[derive(Debug)]
pub struct Engine<P> {
    config: EngineConfig,
    pairs: Vec<Pair>,
    pair_by_hosts: BTreeMap<(HostId, HostId), usize>,
    /// Packets on their way; the first to arrive is on top.
    queue: BinaryHeap<Reverse<Key>>,
    queued: Slab<Queued<P>>,
    queued_bytes: usize,
    queued_bytes_max: usize,
    next_sequence: u64,
}

impl<P: Clone> Engine<P> {
    /// An engine with no packets.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            pairs: Vec::new(),
            pair_by_hosts: BTreeMap::new(),
            queue: BinaryHeap::new(),
            queued: Slab::new(),
            queued_bytes: 0,
            queued_bytes_max: 0,
            next_sequence: 0,
        }
    }

    /// Takes a packet of `bytes` bytes that leaves `from` for `to` at `now`.
    ///
    /// - `bytes`: of the IP packet.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: HostId,
        to: HostId,
        bytes: usize,
        payload: P,
    ) -> Verdict {
        let charged_bytes = bytes.saturating_add(PACKET_OVERHEAD_BYTES);
        let room = (self.config.max_queued_bytes - self.queued_bytes) / charged_bytes;
        let pair = self.pair(from, to);
        let arrival = match self.pairs[pair].admit(now, bytes, room) {
            Fate::Arrives(arrival) => arrival,
            Fate::Dropped(cause) => return Verdict::Dropped(cause),
        };
        let deadline = arrival.deadline;
        let queued = Queued {
            pair,
            bytes,
            corruption: arrival.corruption,
            payload,
        };
        if let Some(deadline) = arrival.copy {
            let original = self.next_sequence;
            self.next_sequence += 1;
            self.push(deadline, original + 1, queued.clone());
            self.push(arrival.deadline, original, queued);
        } else {
            self.push(deadline, self.next_sequence, queued);
        }
        self.next_sequence += 1;
        Verdict::Queued { deadline }
    }

    /// When the next packet arrives; `None` if none is on its way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(key)| key.deadline)
    }

    /// The next packet that has arrived by `now`, ordered by deadline and then by sequence.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery<P>> {
        let first = self.queue.peek_mut()?;
        if first.0.deadline > now {
            return None;
        }
        let Reverse(key) = PeekMut::pop(first);
        let queued = self.queued.remove(key.place);
        self.queued_bytes -= queued.bytes.saturating_add(PACKET_OVERHEAD_BYTES);
        let pair = &mut self.pairs[queued.pair];
        pair.on_delivered();
        Some(Delivery {
            from: pair.from,
            to: pair.to,
            bytes: queued.bytes,
            deadline: key.deadline,
            sequence: key.sequence,
            corruption: queued.corruption,
            payload: queued.payload,
        })
    }

    /// Sets the model of the direction `from` to `to`, and ends its schedule. A cut stays.
    pub fn set_pair(&mut self, from: HostId, to: HostId, model: PairModel) {
        let pair = self.pair(from, to);
        self.pairs[pair].set_model(model);
    }

    /// Begins a schedule for the direction `from` to `to` at `now`, in place of the one before.
    pub fn set_schedule(&mut self, now: Instant, from: HostId, to: HostId, schedule: Schedule) {
        let pair = self.pair(from, to);
        self.pairs[pair].set_schedule(now, schedule);
    }

    /// Drops every packet of the direction `from` to `to` from now on.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        let pair = self.pair(from, to);
        self.pairs[pair].set_cut(true);
    }

    /// Ends a cut; does nothing where there is none.
    pub fn heal(&mut self, from: HostId, to: HostId) {
        let pair = self.pair(from, to);
        self.pairs[pair].set_cut(false);
    }

    /// What the direction `from` to `to` does at `now`, its schedule followed.
    pub fn pair_state(&mut self, now: Instant, from: HostId, to: HostId) -> PairState<'_> {
        let pair = self.pair(from, to);
        let pair = &mut self.pairs[pair];
        let is_cut = pair.is_cut();
        let (model, up) = pair.model(now);
        PairState {
            model,
            is_cut,
            is_down: !up,
        }
    }

    /// The directions that carried packets or that something was said of, in order.
    pub fn known_pairs(&self) -> Vec<(HostId, HostId)> {
        self.pair_by_hosts.keys().copied().collect()
    }

    /// What became of the packets of the direction `from` to `to`.
    pub fn pair_counters(&self, from: HostId, to: HostId) -> Counters {
        self.pair_by_hosts
            .get(&(from, to))
            .map_or_else(Counters::default, |pair| self.pairs[*pair].counters.clone())
    }

    /// What became of all packets.
    pub fn counters(&self) -> Counters {
        let mut total = Counters::default();
        for pair in &self.pairs {
            total.add(&pair.counters);
        }
        total
    }

    /// The most that was ever on its way at once, each packet with [`PACKET_OVERHEAD_BYTES`].
    pub fn queued_bytes_max(&self) -> usize {
        self.queued_bytes_max
    }

    fn push(&mut self, deadline: Instant, sequence: u64, queued: Queued<P>) {
        self.queued_bytes += queued.bytes.saturating_add(PACKET_OVERHEAD_BYTES);
        self.queued_bytes_max = self.queued_bytes_max.max(self.queued_bytes);
        let place = self.queued.insert(queued);
        self.queue.push(Reverse(Key {
            deadline,
            sequence,
            place,
        }));
    }

    /// Where the pair is in `pairs`.
    fn pair(&mut self, from: HostId, to: HostId) -> usize {
        let (config, pairs) = (&self.config, &mut self.pairs);
        *self.pair_by_hosts.entry((from, to)).or_insert_with(|| {
            let random = random::stream(config.seed, from, to);
            pairs.push(Pair::new(from, to, config.default_pair.clone(), random));
            pairs.len() - 1
        })
    }
}

/// What an engine is made of. There is no default: the seed is the caller's to choose and print.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Everything random follows from it; the same on every platform.
    pub seed: u64,
    /// The model of each pair that was not set.
    pub default_pair: PairModel,
    /// The most that may be on its way at once, each packet with [`PACKET_OVERHEAD_BYTES`]. Over
    /// it, packets are dropped as [`DropCause::EngineFull`]: the emulator was too small for the
    /// experiment, and the run says nothing.
    pub max_queued_bytes: usize,
}

/// One host, as the engine's user numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// What becomes of a packet that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not arrive.
    Dropped(DropCause),
    /// It arrives at `deadline`.
    Queued {
        /// Exact, and never before the packet was handed in.
        deadline: Instant,
    },
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// The pair is cut.
    Cut,
    /// More is on its way than the engine holds: see [`EngineConfig::max_queued_bytes`].
    EngineFull,
    /// Lost at random.
    Loss,
    /// The pair's rate has a full queue.
    QueueFull,
    /// Larger than the pair passes.
    TooLarge,
}

impl DropCause {
    /// Every cause.
    pub const ALL: [Self; 5] = [
        Self::Cut,
        Self::EngineFull,
        Self::Loss,
        Self::QueueFull,
        Self::TooLarge,
    ];

    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::EngineFull => "engine_full",
            Self::Loss => "loss",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
        }
    }
}

/// A packet that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<P> {
    /// Its sender.
    pub from: HostId,
    /// Its receiver.
    pub to: HostId,
    /// Its size as it was handed in.
    pub bytes: usize,
    /// When it arrived; the time of the call less this is how late the caller was.
    pub deadline: Instant,
    /// Counts the packets that were queued, over all pairs.
    pub sequence: u64,
    /// The damage that is to be done to it, if any.
    pub corruption: Option<Corruption>,
    /// What was handed in.
    pub payload: P,
}

/// Which bit of a packet is flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corruption(u64);

impl Corruption {
    /// Flips one bit of `bytes`, every one as likely; nothing where there is none.
    pub fn flip(self, bytes: &mut [u8]) {
        let bits = bytes.len() as u64 * 8;
        let bit = random::up_to(self.0, bits.saturating_sub(1));
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = bytes.get_mut(byte) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// What a directed pair does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairState<'a> {
    /// What it does to packets that get through.
    pub model: &'a PairModel,
    /// Whether [`Engine::cut`] was called for it last.
    pub is_cut: bool,
    /// Whether its schedule has it down.
    pub is_down: bool,
}

/// What a packet counts for besides its bytes wherever a bound is in bytes, so that empty packets
/// are bounded too. About what its bookkeeping takes.
pub const PACKET_OVERHEAD_BYTES: usize = 128;

/// Longer delays are taken for this one: a bound that keeps times from overflowing.
const MAX_DELAY: Duration = Duration::from_secs(3_600);

/// Where a packet is among those on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline: Instant,
    sequence: u64,
    /// In the slab; never decides, since no two packets have the same sequence.
    place: usize,
}

#[derive(Debug, Clone)]
struct Queued<P> {
    pair: usize,
    bytes: usize,
    corruption: Option<Corruption>,
    payload: P,
}
