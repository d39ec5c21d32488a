//! The sans-IO engine: packets and times in, drops and deadlines out.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    counters::Counters,
    engine::pair::{Fate, Pair},
    model::PairModel,
};

mod pair;
mod random;
#[cfg(test)]
mod tests;

/// Decides for every packet between two hosts whether it arrives, and when.
///
/// It reads no clock and moves no bytes: `P` is carried untouched. Call [`Self::handle_packet`] for
/// each packet, arm a timer for [`Self::poll_timeout`], and when it fires drain
/// [`Self::poll_delivery`]. `now` must never go backwards between calls.
///
/// - A packet's fate is sealed when it is handed in. A change of the pair, a cut included, is for
///   the packets after it; what is on its way arrives.
/// - Packets of one directed pair arrive in the order in which they were handed in.
/// - Every directed pair draws from a random stream of its own, two numbers per packet whatever
///   the model says. So pairs do not disturb each other, and changing a pair's jitter does not
///   change which of its packets are lost.
/// - `received = delivered + queued + dropped`, for each pair and in total, after every call.
#[derive(Debug)]
pub struct Engine<P> {
    config: EngineConfig,
    pairs: BTreeMap<(HostId, HostId), Pair>,
    /// Packets on their way, in the order in which they arrive.
    queue: BTreeMap<(Instant, u64), Queued<P>>,
    queued_bytes: usize,
    queued_bytes_max: usize,
    next_sequence: u64,
}

impl<P> Engine<P> {
    /// An engine with no packets.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            pairs: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued_bytes: 0,
            queued_bytes_max: 0,
            next_sequence: 0,
        }
    }

    /// Takes a packet of `bytes` bytes that leaves `from` for `to` at `now`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: HostId,
        to: HostId,
        bytes: usize,
        payload: P,
    ) -> Verdict {
        let charged_bytes = bytes.saturating_add(PACKET_OVERHEAD_BYTES);
        let full = self.config.max_queued_bytes - self.queued_bytes < charged_bytes;
        let pair = self.pair(from, to);
        let deadline = match pair.admit(now, bytes, full) {
            Fate::Arrives(deadline) => deadline,
            Fate::Dropped(cause) => return Verdict::Dropped(cause),
        };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.queued_bytes += charged_bytes;
        self.queued_bytes_max = self.queued_bytes_max.max(self.queued_bytes);
        let queued = Queued {
            from,
            to,
            bytes,
            payload,
        };
        self.queue.insert((deadline, sequence), queued);
        Verdict::Queued { deadline }
    }

    /// When the next packet arrives; `None` if none is on its way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ((deadline, _), _) = self.queue.first_key_value()?;
        Some(*deadline)
    }

    /// The next packet that has arrived by `now`, ordered by deadline and then by sequence.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery<P>> {
        let first = self.queue.first_entry()?;
        let (deadline, sequence) = *first.key();
        if deadline > now {
            return None;
        }
        let Queued {
            from,
            to,
            bytes,
            payload,
        } = first.remove();
        self.queued_bytes -= bytes.saturating_add(PACKET_OVERHEAD_BYTES);
        self.pair(from, to).on_delivered();
        Some(Delivery {
            from,
            to,
            bytes,
            deadline,
            sequence,
            payload,
        })
    }

    /// Sets the model of the direction `from` to `to`. A cut stays.
    pub fn set_pair(&mut self, from: HostId, to: HostId, model: PairModel) {
        self.pair(from, to).set_model(model);
    }

    /// Drops every packet of the direction `from` to `to` from now on.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        self.pair(from, to).set_up(false);
    }

    /// Ends a cut; does nothing where there is none.
    pub fn heal(&mut self, from: HostId, to: HostId) {
        self.pair(from, to).set_up(true);
    }

    /// What became of the packets of the direction `from` to `to`.
    pub fn pair_counters(&self, from: HostId, to: HostId) -> Counters {
        self.pairs
            .get(&(from, to))
            .map_or_else(Counters::default, |pair| pair.counters().clone())
    }

    /// What became of all packets.
    pub fn counters(&self) -> Counters {
        let mut total = Counters::default();
        for pair in self.pairs.values() {
            total.add(pair.counters());
        }
        total
    }

    /// The most that was ever on its way at once, each packet with [`PACKET_OVERHEAD_BYTES`].
    pub fn queued_bytes_max(&self) -> usize {
        self.queued_bytes_max
    }

    fn pair(&mut self, from: HostId, to: HostId) -> &mut Pair {
        let config = &self.config;
        self.pairs.entry((from, to)).or_insert_with(|| {
            Pair::new(
                config.default_pair.clone(),
                random::stream(config.seed, from, to),
            )
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
    /// What was handed in.
    pub payload: P,
}

/// What a packet counts for besides its bytes wherever a bound is in bytes, so that empty packets
/// are bounded too. About what its bookkeeping takes.
pub const PACKET_OVERHEAD_BYTES: usize = 128;

/// Longer delays are taken for this one: a bound that keeps times from overflowing.
const MAX_DELAY: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
struct Queued<P> {
    from: HostId,
    to: HostId,
    bytes: usize,
    payload: P,
}
