//! What a backend offers so that it can be verified.

use std::{fmt, str::FromStr, time::Duration};

use serde::Serialize;

use crate::{
    lateness::Lateness,
    model::{PairModel, Schedule},
    report::Packets,
};

/// A backend under test: runs a plan on a fresh emulator and says what happened.
///
/// - Every pair has a socket of its own at either end, which receives from the first departure to
///   [`Plan::lasts`].
/// - Each packet's payload is that of [`super::payload::write`].
/// - All times of a run count from one moment of one monotonic clock.
pub trait Ground {
    /// Which one it is.
    fn backend(&self) -> Backend;

    /// How much can be sent, and what can make a run inconclusive.
    fn time(&self) -> Time;

    /// Runs the plan from beginning to end. Blocks for [`Plan::lasts`] where time is real.
    ///
    /// # Errors
    /// - [`GroundError::Failed`]: it began, and could not go on.
    /// - [`GroundError::Unavailable`]: this machine does not allow it; nothing was done.
    fn run(&mut self, plan: &Plan) -> Result<Run, GroundError>;
}

/// The backends that can be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Network namespaces joined over TUN.
    Lab,
    /// A UDP hub between processes.
    Proxy,
    /// One process on virtual time.
    Sim,
}

impl Backend {
    /// Every one, what needs least first.
    pub const ALL: [Self; 3] = [Self::Sim, Self::Proxy, Self::Lab];

    fn word(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Proxy => "proxy",
            Self::Sim => "sim",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(word: &str) -> Result<Self, UnknownBackend> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|backend| backend.word() == word);
        found.ok_or_else(|| UnknownBackend {
            got: word.to_owned(),
        })
    }
}

/// No backend is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no backend is called {got:?}: there are sim, proxy and lab")]
pub struct UnknownBackend {
    /// What was asked for.
    pub got: String,
}

/// What a second costs a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// A second: a run says nothing where the host's timers are late.
    Real,
    /// Next to nothing, and nothing is ever late.
    Virtual,
}

/// Why there is no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroundError {
    /// It began, and could not go on.
    #[error("{reason}")]
    Failed {
        /// In one line.
        reason: String,
    },
    /// This machine does not allow it.
    #[error("{reason}")]
    Unavailable {
        /// What is missing, in one line.
        reason: String,
    },
}

/// What a backend is to run: all pairs at once.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the emulator.
    pub seed: u64,
    /// How many hosts there are, numbered from 0.
    pub hosts: u32,
    /// At most one for each two hosts and direction.
    pub pairs: Vec<PairPlan>,
    /// How long to go on receiving after the last departure: longer than any packet travels.
    pub linger: Duration,
}

impl Plan {
    /// When everything has arrived, since the run began.
    pub fn lasts(&self) -> Duration {
        let last = |pair: &PairPlan| pair.traffic.departures().next_back().map(|last| last.at);
        let last = self.pairs.iter().filter_map(last).max();
        last.unwrap_or_default() + self.linger
    }

    /// How many packets are sent.
    pub fn packets(&self) -> u64 {
        let packets = self
            .pairs
            .iter()
            .map(|pair| u64::from(pair.traffic.packets));
        packets.sum()
    }
}

/// One directed pair of hosts, what it does, and what is sent over it.
#[derive(Debug, Clone)]
pub struct PairPlan {
    /// The sender.
    pub from: u32,
    /// The receiver.
    pub to: u32,
    /// What the pair does from the beginning on.
    pub model: PairModel,
    /// Begins when the run does; often empty.
    pub schedule: Schedule,
    /// What is sent.
    pub traffic: Traffic,
}

/// Packets in bursts of one size, at regular times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// In total.
    pub packets: u32,
    /// Sent at once each time; at least 1.
    pub burst: u32,
    /// From one time to the next. Whole milliseconds, as virtual time has no others.
    pub every: Duration,
    /// UDP payloads of the first packets and again from the beginning; at least
    /// [`super::payload::MIN_BYTES`] each.
    pub payload_bytes: Vec<usize>,
}

impl Traffic {
    /// When each packet leaves, in order; the first at [`FIRST_DEPARTURE`].
    pub fn departures(&self) -> impl DoubleEndedIterator<Item = Departure> {
        (0..self.packets).map(|sequence| Departure {
            sequence,
            at: FIRST_DEPARTURE + self.every * (sequence / self.burst),
            payload_bytes: self.payload_bytes[sequence as usize % self.payload_bytes.len()],
        })
    }
}

/// A packet that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Counts the pair's packets from 0.
    pub sequence: u32,
    /// Since the run began.
    pub at: Duration,
    /// Of UDP.
    pub payload_bytes: usize,
}

/// Room to start what sends and receives.
pub const FIRST_DEPARTURE: Duration = Duration::from_millis(100);

/// What happened in a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// As in [`Plan::pairs`].
    pub pairs: Vec<PairRun>,
    /// What the backend says of itself.
    pub report: BackendReport,
}

/// What happened to the packets of one pair.
#[derive(Debug, Clone, Default)]
pub struct PairRun {
    /// When the pair's schedule began.
    pub began: Duration,
    /// When each packet was sent, by sequence: read just before it was handed to the socket. Where
    /// the backend tells deadlines, the time from which it counted them.
    pub sent: Vec<Duration>,
    /// In the order in which the socket gave them.
    pub arrivals: Vec<Arrival>,
    /// Packets that came with a flipped bit and that the system kept from the socket, because its
    /// checksums caught it.
    pub caught: u64,
    /// The backend's own, after all has arrived.
    pub packets: Packets,
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Which one.
    pub sequence: u32,
    /// When the socket gave it.
    pub at: Duration,
    /// The engine's deadline, where the backend tells: models are then measured on the schedule,
    /// to the nanosecond. Of all arrivals of a pair or of none.
    pub due: Option<Duration>,
    /// Bits that are not as they were sent.
    pub flipped_bits: u32,
}

/// What a backend says of itself after a run.
#[derive(Debug, Clone, Default)]
pub struct BackendReport {
    /// Actual less scheduled, over all packets.
    pub lateness: Lateness,
    /// How late a timer of this kind fires on this host that has nothing else to do, before the run
    /// or during it, whichever is worse; `None` where time is virtual.
    pub idle_lateness: Option<Lateness>,
    /// The queue's high-water mark: the most that was ever on its way at once.
    pub queued_bytes_max: u64,
    /// How much of the host's processors others than this process used meanwhile; `None` where
    /// time is virtual.
    pub used_by_others: Option<f64>,
    /// Packets that were lost to the emulator's own bounds and to full sockets, rather than to
    /// what was asked for.
    pub own_drops: u64,
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "late by {}", brief(&self.lateness))?;
        if let Some(idle) = self.idle_lateness {
            write!(f, " (idle timers by {})", brief(&idle))?;
        }
        if let Some(share) = self.used_by_others {
            write!(f, ", {:.0} % of the host used by others", share * 100.0)?;
        }
        let (queued_bytes, own_drops) = (self.queued_bytes_max, self.own_drops);
        write!(
            f,
            ", at most {queued_bytes} B on their way, {own_drops} own drops"
        )
    }
}

/// As p50/p99/max in microseconds.
fn brief(lateness: &Lateness) -> String {
    let Lateness { p50, p99, max, .. } = lateness;
    let [p50, p99, max] = [p50, p99, max].map(Duration::as_micros);
    format!("{p50}/{p99}/{max} us")
}
