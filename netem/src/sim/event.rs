//! What happened on the simulated network.

use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::engine::DropCause;

/// One thing that happened to one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, since the simulation began.
    pub at: Duration,
    /// The packet's sender.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// Bytes of its payload.
    pub bytes: usize,
    /// What happened to it.
    pub outcome: Outcome,
}

/// What happened to a packet. One that crosses a pair has two events, all others one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It left, and will arrive at `deadline`, counted since the simulation began.
    Queued {
        /// Exact; the arrival itself waits for the clock's next millisecond.
        deadline: Duration,
    },
    /// It crossed a pair and reached its socket, this much after its deadline.
    Delivered {
        /// Below a millisecond on virtual time.
        late: Duration,
    },
    /// It reached its socket without leaving the host.
    Loopback,
    /// The pair dropped it.
    Dropped(DropCause),
    /// It found nobody who takes it.
    Undelivered(Undelivered),
}

/// Why a packet that was not dropped on its way reached no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Undelivered {
    /// The socket's receive buffer is full.
    BufferFull,
    /// No host has the address.
    NoHost,
    /// The host has no socket there.
    NoSocket,
}

impl Undelivered {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::BufferFull, Self::NoHost, Self::NoSocket];
}

/// Keeps the newest events, and a hash over all of them.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: VecDeque<Event>,
    max_kept: usize,
    count: u64,
    hash: u64,
    observer: Option<Observer>,
}

/// Sees every event as it happens.
pub(super) struct Observer(pub(super) Box<dyn FnMut(&Event) + Send>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Recorder {
    pub(super) fn new(max_kept: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            max_kept,
            count: 0,
            hash: FNV_OFFSET,
            observer: None,
        }
    }

    pub(super) fn set_observer(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    pub(super) fn record(&mut self, event: Event) {
        self.count += 1;
        self.mix_event(&event);
        if let Some(Observer(see)) = &mut self.observer {
            see(&event);
        }
        if self.max_kept == 0 {
            return;
        }
        if self.kept.len() == self.max_kept {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    pub(super) fn kept(&self) -> Vec<Event> {
        self.kept.iter().copied().collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn mix_event(&mut self, event: &Event) {
        self.mix_duration(event.at);
        self.mix_address(event.from);
        self.mix_address(event.to);
        self.mix(&(event.bytes as u64).to_le_bytes());
        match event.outcome {
            Outcome::Queued { deadline } => {
                self.mix(&[0]);
                self.mix_duration(deadline);
            }
            Outcome::Delivered { late } => {
                self.mix(&[1]);
                self.mix_duration(late);
            }
            Outcome::Loopback => self.mix(&[2]),
            Outcome::Dropped(cause) => self.mix(&[3, cause as u8]),
            Outcome::Undelivered(cause) => self.mix(&[4, cause as u8]),
        }
    }

    fn mix_duration(&mut self, duration: Duration) {
        self.mix(&duration.as_nanos().to_le_bytes());
    }

    fn mix_address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => self.mix(&ip.octets()),
            IpAddr::V6(ip) => self.mix(&ip.octets()),
        }
        self.mix(&address.port().to_le_bytes());
    }

    /// FNV-1a: the standard library's hasher may change from release to release.
    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(millis: u64, outcome: Outcome) -> Event {
        Event {
            at: Duration::from_millis(millis),
            from: ([10, 0, 0, 1], 1).into(),
            to: ([10, 0, 0, 2], 2).into(),
            bytes: 3,
            outcome,
        }
    }

    fn hash(events: &[Event], max_kept: usize) -> u64 {
        let mut recorder = Recorder::new(max_kept);
        for event in events {
            recorder.record(*event);
        }
        recorder.hash()
    }

    #[test]
    fn ring_keeps_the_newest_and_the_hash_covers_all() {
        let events: Vec<_> = (0..5).map(|ms| event(ms, Outcome::Loopback)).collect();
        let mut recorder = Recorder::new(2);
        for event in &events {
            recorder.record(*event);
        }
        assert_eq!(recorder.kept(), events[3..]);
        assert_eq!(recorder.count(), 5);
        assert_eq!(recorder.hash(), hash(&events, 0));
        assert_ne!(recorder.hash(), hash(&events[1..], 2));
    }

    #[test]
    fn every_field_changes_the_hash() {
        let base = event(1, Outcome::Dropped(DropCause::Cut));
        let others = [
            event(2, base.outcome),
            event(1, Outcome::Dropped(DropCause::Loss)),
            event(1, Outcome::Undelivered(Undelivered::BufferFull)),
            event(1, Outcome::Loopback),
            Event { bytes: 4, ..base },
            Event {
                from: base.to,
                ..base
            },
            Event {
                to: base.from,
                ..base
            },
        ];
        for other in others {
            assert_ne!(hash(&[base], 1), hash(&[other], 1), "{other:?}");
        }
    }
}
