//! The queue of outgoing packets of one link, in front of quinn's datagram buffer.
//!
//! quinn has one FIFO for datagrams, no priorities, and writes DATAGRAM frames before STREAM frames.
//! Two things follow for a link that is offered more than it carries.
//!
//! **Order.** Whatever is in quinn's buffer is out of reach, so that buffer is small (64 KiB, set by
//! the transport profile) and the backlog waits here: probes before data, and when data overflows
//! the oldest goes, because old real-time packets are worth the least. While there is no backlog, a
//! push goes into quinn's buffer in the caller's own turn, with no task in between. Otherwise it is
//! handed to the link's pump, the one task that owns the queue; no lock of ours is taken. The
//! hand-over holds one batch and drops the newest when it is full, which takes a pump that did not
//! run for that many packets.
//!
//! **The control stream.** As long as quinn's buffer is never empty, packets that datagrams fill
//! have no room for STREAM frames: requests, and the probes of the request loop, would starve on a
//! link that works. So whoever writes control bytes says so before with
//! [`Outbox::control_pending`]. From the next data on, the pump then watches quinn's count of STREAM
//! frames sent; a link that carries no data spends nothing on it. With room they leave at once and
//! nothing happens. If they have not within 5 ms, the pump holds data back, both its own and direct
//! pushes, until they have: quinn's buffer runs dry and the next packet is theirs. Nothing is lost by
//! that while the buffer drains, for the link goes on sending at its full rate. There is no event for
//! a dry buffer, hence a look every 2 ms in this state only. A hold ends after a second at the
//! latest, or when the buffer has been dry for longer than an acknowledgement takes and still no
//! frame went: the peer does not read its control stream, for which its packets shall not suffer.
//! Then there is no other hold for a while.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use self::{counts::Counters, pump::Pump};
pub use self::{
    counts::OutboxCounts,
    queue::{MAX_DATA_BYTES, MAX_DATA_PACKETS, MAX_PROBES},
};
use crate::{
    deadline::{Closed, Connection, DatagramError},
    tasks::{Scope, SpawnRefused},
};

mod counts;
mod pump;
mod queue;
#[cfg(test)]
mod tests;
mod turn;

/// What a packet is, for the order of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Probes and their replies: first, and never held back.
    Probe,
    /// Everything else.
    Data,
}

/// Sends packets on one link. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    probes: mpsc::Sender<Bytes>,
    data: mpsc::Sender<Bytes>,
    /// Data packets that were handed to the pump and are neither sent nor dropped: while there are
    /// any, a direct push would overtake them.
    backlog: AtomicUsize,
    /// Data is held back for the control stream's sake.
    held: AtomicBool,
    /// How many STREAM frames will have been sent when what was announced is out.
    control_target: AtomicU64,
    /// Something was announced while no data was about: the next data wakes the pump for it.
    announced: AtomicBool,
    control: Notify,
    /// The space that an empty datagram buffer has.
    dry_space: usize,
    counters: Counters,
}

impl Outbox {
    /// Starts the pump of `connection`, which has sent no datagram yet, in `scope`.
    ///
    /// The pump ends with the scope or the connection; what is queued then is dropped and counted.
    ///
    /// # Errors
    /// As [`Scope::spawn`].
    pub fn start(scope: &Scope, connection: Connection) -> Result<Self, SpawnRefused> {
        let (probes, probes_in) = mpsc::channel(MAX_PROBES);
        let (data, data_in) = mpsc::channel(HANDOVER_PACKETS);
        let dry_space = connection.datagram_buffer_space();
        let shared = Arc::new(Shared {
            connection,
            probes,
            data,
            backlog: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            control_target: AtomicU64::new(0),
            announced: AtomicBool::new(false),
            control: Notify::new(),
            dry_space,
            counters: Counters::default(),
        });
        // In a box, since a future has room for its arguments and again for what they become.
        let pump = Box::new(Pump::new(shared.clone(), probes_in, data_in));
        scope.spawn("pump", |task| pump.run(task))?;
        Ok(Self(shared))
    }

    /// Sends `packet`, or queues it. Never waits.
    ///
    /// Success says nothing about delivery: a queued packet may be pushed out by later ones.
    ///
    /// # Errors
    /// [`PushError`]; the packet is dropped and counted.
    pub fn push(&self, class: Class, packet: Bytes) -> Result<(), PushError> {
        let shared = &*self.0;
        let (direct, handover) = match class {
            Class::Probe => (true, &shared.probes),
            Class::Data => (
                shared.backlog.load(Ordering::Relaxed) == 0 && !shared.held.load(Ordering::Relaxed),
                &shared.data,
            ),
        };
        if class == Class::Data && shared.announced.load(Ordering::Relaxed) {
            shared.announced.store(false, Ordering::Relaxed);
            shared.control.notify_one();
        }
        if direct {
            match shared.connection.try_send_datagram(packet.clone()) {
                Ok(()) => {
                    shared.counters.on_direct(class);
                    return Ok(());
                }
                Err(DatagramError::Full) => {}
                Err(error) => {
                    shared.counters.on_error(&error);
                    return Err(error.into());
                }
            }
        }
        if class == Class::Data {
            shared.backlog.fetch_add(1, Ordering::Relaxed);
        }
        handover.try_send(packet).map_err(|error| {
            if class == Class::Data {
                shared.backlog.fetch_sub(1, Ordering::Relaxed);
            }
            match error {
                mpsc::error::TrySendError::Full(_) => {
                    shared.counters.on_handover_full(class);
                    PushError::Full
                }
                mpsc::error::TrySendError::Closed(_) => {
                    shared.counters.on_closed(1);
                    let closed = shared.connection.close_reason();
                    PushError::Closed(closed.unwrap_or(Closed::Here))
                }
            }
        })
    }

    /// Says that about `bytes` are about to be written to the control stream. Never waits.
    ///
    /// Call it *before* the write: frames that leave before the call are not counted. The control
    /// stream must have the highest priority among the link's streams, for it is the next STREAM
    /// frames that are taken for its own.
    pub fn control_pending(&self, bytes: usize) {
        let frames = bytes.div_ceil(turn::FRAME_BYTES).max(1) as u64;
        let target = self.0.connection.stats().sent_stream_frames + frames;
        self.0.control_target.fetch_max(target, Ordering::Relaxed);
        match self.0.is_quiet() {
            true => self.0.announced.store(true, Ordering::Relaxed),
            false => self.0.control.notify_one(),
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> OutboxCounts {
        self.0.counters.read(self.0.backlog.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Whether no data is queued, here or in quinn, that could keep the control stream waiting.
    fn is_quiet(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) == 0
            && self.connection.datagram_buffer_space() >= self.dry_space
    }
}

/// Why a packet was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PushError {
    /// The link has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Too many packets came before the pump could run.
    #[error("too many packets at once")]
    Full,
    /// It is larger than the path carries now.
    #[error("packet is {got_bytes} bytes, limit is {limit_bytes}")]
    TooLarge {
        /// Its size.
        got_bytes: usize,
        /// What the path carries at this time.
        limit_bytes: usize,
    },
    /// The peer takes no datagrams.
    #[error("no datagrams on this link")]
    Unsupported,
}

impl From<DatagramError> for PushError {
    fn from(error: DatagramError) -> Self {
        match error {
            DatagramError::Closed(closed) => Self::Closed(closed),
            DatagramError::Full => Self::Full,
            DatagramError::TooLarge {
                got_bytes,
                limit_bytes,
            } => Self::TooLarge {
                got_bytes,
                limit_bytes,
            },
            DatagramError::Unsupported => Self::Unsupported,
        }
    }
}

/// Twice what quinn's endpoint reads in one turn (`IO_LOOP_BOUND`), which is what a forwarding task
/// can push before the pump has its own turn.
const HANDOVER_PACKETS: usize = 320;
