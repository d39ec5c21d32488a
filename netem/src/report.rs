//! What a backend did, and how far it can be trusted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{counters::Counters, engine::DropCause, lateness::Lateness};

/// What a real-time backend did so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `proxy` or `lab`.
    pub backend: String,
    /// The hosts, in the order of the topology.
    pub hosts: Vec<Host>,
    /// Since it began.
    pub elapsed_s: f64,
    /// What became of all packets.
    pub packets: Packets,
    /// When packets were handed over, less when they were due.
    pub lateness: Lateness,
    /// The same of a timer on this machine while nothing was to do, from before the start: what no
    /// emulator here can be better than.
    pub idle_timer: Lateness,
    /// The most that was ever on its way at once, bookkeeping included.
    pub queued_bytes_max: u64,
    /// Packets that were lost by the emulator or the system under it, and not by any model.
    pub own_drops: BTreeMap<String, u64>,
    /// Each direction between two hosts that carried packets, is cut or down, or was changed by a
    /// command.
    pub paths: Vec<Path>,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Where the others reach it.
    pub reached_at: Vec<String>,
}

/// One direction between two hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// The sending host.
    pub from: String,
    /// The receiving host.
    pub to: String,
    /// What it does to packets, in the words that `set` takes.
    pub netem: String,
    /// Whether it is cut.
    pub cut: bool,
    /// Whether its schedule has it down.
    pub down: bool,
    /// What became of its packets.
    pub packets: Packets,
}

/// What became of packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Handed in.
    pub received: u64,
    /// Copies that were made.
    pub copied: u64,
    /// Handed over; what the system did not take of it is among the report's own drops.
    pub delivered: u64,
    /// On their way.
    pub queued: u64,
    /// Handed over with a flipped bit, or on their way to be.
    pub corrupted: u64,
    /// Sent ahead of others.
    pub reordered: u64,
    /// Dropped, by cause; causes that dropped nothing are left out.
    pub dropped: BTreeMap<String, u64>,
    /// Whether `received + copied = delivered + queued + dropped`.
    pub conserved: bool,
}

impl Packets {
    /// Dropped for any cause.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

impl From<&Counters> for Packets {
    fn from(counters: &Counters) -> Self {
        let dropped = DropCause::ALL
            .into_iter()
            .map(|cause| (cause.name().to_owned(), counters.dropped(cause)))
            .filter(|(_, packets)| *packets > 0);
        Self {
            received: counters.received,
            copied: counters.copied,
            delivered: counters.delivered,
            queued: counters.queued,
            corrupted: counters.corrupted,
            reordered: counters.reordered,
            dropped: dropped.collect(),
            conserved: counters.is_conserved(),
        }
    }
}

/// Why the emulator, or the system under it, lost a packet that no model meant to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnDrop {
    /// The system had no room for what arrived, before the emulator read it.
    Unread,
    /// The system did not take what was to be handed over.
    Unsent,
    /// It came from nobody that the emulator knows.
    Stranger,
    /// It was for nobody else that the emulator knows.
    NoHost,
}

impl OwnDrop {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Unread, Self::Unsent, Self::Stranger, Self::NoHost];

    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Unsent => "unsent",
            Self::Stranger => "stranger",
            Self::NoHost => "no_host",
        }
    }
}

/// How many packets were lost for each [`OwnDrop`].
#[derive(Debug, Clone, Default)]
pub struct OwnDrops {
    counts: [u64; OwnDrop::ALL.len()],
}

impl OwnDrops {
    /// Counts `packets` more.
    pub fn add(&mut self, cause: OwnDrop, packets: u64) {
        self.counts[cause as usize] += packets;
    }

    /// Adds other counts to these.
    pub fn absorb(&mut self, others: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(others.counts) {
            *mine += theirs;
        }
    }

    /// Sets a count that somebody else keeps.
    pub fn set(&mut self, cause: OwnDrop, packets: u64) {
        self.counts[cause as usize] = packets;
    }

    /// By name; causes that lost nothing are left out.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        OwnDrop::ALL
            .into_iter()
            .map(|cause| (cause.name().to_owned(), self.counts[cause as usize]))
            .filter(|(_, packets)| *packets > 0)
            .collect()
    }
}
