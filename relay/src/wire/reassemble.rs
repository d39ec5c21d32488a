//! Puts split packets together again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::wire::{
    limits::MAX_PACKET_BYTES,
    packet::{Fragment, PacketKey},
    words::words,
};

/// Collects the pieces of packets until they are whole, within bounded memory.
///
/// Hold one for each peer that packets come from: what one peer sends can then push out only its
/// own. Call [`Self::handle_piece`] on each piece, and [`Self::handle_timeout`] when
/// [`Self::poll_timeout`] says. `now` must never go backwards between calls.
///
/// A packet ends whole, or because its pieces did not come in time, or because it was the oldest
/// when room was needed. Pieces that come after its end are refused as late rather than taken for
/// the begin of another packet: with pieces sent on two paths that is the common case.
#[derive(Debug)]
pub struct Reassembler {
    limits: ReassemblyLimits,
    // In the order of their first pieces, so that the oldest is in front. Few enough to search.
    partial: VecDeque<Partial>,
    partial_bytes: usize,
    // The last packets that ended, as many as can be in progress.
    ended: VecDeque<PacketKey>,
    counts: ReassemblyCounts,
}

/// What a [`Reassembler`] may hold.
#[derive(Debug, Clone, Copy)]
pub struct ReassemblyLimits {
    /// Most packets in progress, at least 1; each takes up to 700 bytes besides its pieces.
    pub packets: usize,
    /// Most bytes in pieces. No less than [`MAX_PACKET_BYTES`] has effect.
    pub bytes: usize,
    /// How long after its first piece a packet is waited for.
    pub timeout: Duration,
}

impl Default for ReassemblyLimits {
    fn default() -> Self {
        Self {
            // A few flows of one peer, each with a burst of large packets under way.
            packets: 64,
            bytes: 16 * MAX_PACKET_BYTES,
            // Pieces leave together: who is later than the slowest detour around the globe and a
            // full queue is of no use to a real-time flow.
            timeout: Duration::from_secs(1),
        }
    }
}

/// How packets ended, since the reassembler was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReassemblyCounts {
    /// Whole.
    pub completed: u64,
    /// Pushed out by newer ones.
    pub evicted: u64,
    /// Given up because pieces did not come in time.
    pub expired: u64,
    /// Given up because the pieces made more than [`MAX_PACKET_BYTES`].
    pub oversized: u64,
}

impl Reassembler {
    /// An empty one.
    pub fn new(limits: ReassemblyLimits) -> Self {
        Self {
            limits: ReassemblyLimits {
                packets: limits.packets.max(1),
                bytes: limits.bytes.max(MAX_PACKET_BYTES),
                timeout: limits.timeout,
            },
            partial: VecDeque::new(),
            partial_bytes: 0,
            ended: VecDeque::new(),
            counts: ReassemblyCounts::default(),
        }
    }

    /// Takes a piece; returns the whole packet if this was the last that was missing.
    ///
    /// # Errors
    /// [`PieceError`], for the caller to count: the piece is dropped. The packet is waited for as
    /// before, but for [`PieceError::TooLarge`], which ends it.
    pub fn handle_piece(
        &mut self,
        now: Instant,
        packet: PacketKey,
        fragment: Fragment,
        piece: &[u8],
    ) -> Result<Option<Vec<u8>>, PieceError> {
        self.handle_timeout(now);
        if piece.is_empty() {
            return Err(PieceError::Empty);
        }
        if self.ended.contains(&packet) {
            return Err(PieceError::Late);
        }
        let at = match self.partial.iter().position(|p| p.packet == packet) {
            Some(at) => at,
            None => {
                self.partial
                    .push_back(Partial::new(now, packet, fragment.count()));
                self.partial.len() - 1
            }
        };
        match self.partial[at].put(fragment, piece) {
            Ok(()) => self.partial_bytes += piece.len(),
            Err(error) => {
                if matches!(error, PieceError::TooLarge { .. }) {
                    self.end(at);
                    self.counts.oversized += 1;
                }
                return Err(error);
            }
        }
        if self.partial[at].missing == 0 {
            let whole = self.end(at).map(Partial::join);
            self.counts.completed += 1;
            return Ok(whole);
        }
        while self.partial.len() > self.limits.packets || self.partial_bytes > self.limits.bytes {
            self.end(0);
            self.counts.evicted += 1;
        }
        Ok(None)
    }

    /// Gives up on packets that have waited for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.end(0);
            self.counts.expired += 1;
        }
    }

    /// When to call [`Self::handle_timeout`]; `None` while nothing is in progress.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.partial.front()?;
        Some(oldest.begun + self.limits.timeout)
    }

    /// How packets ended so far.
    pub fn counts(&self) -> ReassemblyCounts {
        self.counts
    }

    /// Packets in progress.
    pub fn packets(&self) -> usize {
        self.partial.len()
    }

    /// Bytes in the pieces that wait for others.
    pub fn bytes(&self) -> usize {
        self.partial_bytes
    }

    fn end(&mut self, at: usize) -> Option<Partial> {
        let partial = self.partial.remove(at)?;
        self.partial_bytes -= partial.bytes;
        if self.ended.len() == self.limits.packets {
            self.ended.pop_front();
        }
        self.ended.push_back(partial.packet);
        Some(partial)
    }
}

/// Why a piece was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PieceError {
    /// Earlier pieces spoke of another number of pieces.
    #[error("piece says that the packet has {got} pieces, earlier ones said {expected}")]
    CountMismatch {
        /// The number in this piece.
        got: u8,
        /// The number in earlier ones.
        expected: u8,
    },
    /// It is there already.
    #[error("piece {index} is there already")]
    Duplicate {
        /// Its number, from 0.
        index: u8,
    },
    /// It has no bytes.
    #[error("piece is empty")]
    Empty,
    /// The packet has ended, whole or not.
    #[error("piece of a packet that has ended")]
    Late,
    /// The pieces make more than a packet may have.
    #[error("pieces make {got_bytes} bytes, limit is {MAX_PACKET_BYTES}")]
    TooLarge {
        /// What they make so far.
        got_bytes: usize,
    },
}

impl PieceError {
    /// What to count it under.
    pub fn reason(&self) -> PieceErrorReason {
        match self {
            Self::CountMismatch { .. } => PieceErrorReason::CountMismatch,
            Self::Duplicate { .. } => PieceErrorReason::Duplicate,
            Self::Empty => PieceErrorReason::Empty,
            Self::Late => PieceErrorReason::Late,
            Self::TooLarge { .. } => PieceErrorReason::TooLarge,
        }
    }
}

words! {
    /// The kinds of [`PieceError`].
    PieceErrorReason {
        /// [`PieceError::CountMismatch`].
        CountMismatch = "count_mismatch";
        /// [`PieceError::Duplicate`].
        Duplicate = "duplicate";
        /// [`PieceError::Empty`].
        Empty = "empty";
        /// [`PieceError::Late`].
        Late = "late";
        /// [`PieceError::TooLarge`].
        TooLarge = "too_large";
    }
}

/// A packet of which pieces are missing.
#[derive(Debug)]
struct Partial {
    packet: PacketKey,
    begun: Instant,
    // Copies: a slice of a received datagram would keep the whole receive buffer alive.
    pieces: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
}

impl Partial {
    fn new(now: Instant, packet: PacketKey, count: u8) -> Self {
        let count = usize::from(count);
        Self {
            packet,
            begun: now,
            pieces: vec![None; count],
            missing: count,
            bytes: 0,
        }
    }

    fn put(&mut self, fragment: Fragment, piece: &[u8]) -> Result<(), PieceError> {
        let (index, got) = (fragment.index(), fragment.count());
        if usize::from(got) != self.pieces.len() {
            let expected = u8::try_from(self.pieces.len()).expect("made from a u8");
            return Err(PieceError::CountMismatch { got, expected });
        }
        let got_bytes = self.bytes + piece.len();
        // A fragment's index is below its count, which is the number of places.
        let place = &mut self.pieces[usize::from(index)];
        if place.is_some() {
            return Err(PieceError::Duplicate { index });
        }
        if got_bytes > MAX_PACKET_BYTES {
            return Err(PieceError::TooLarge { got_bytes });
        }
        *place = Some(piece.into());
        self.missing -= 1;
        self.bytes = got_bytes;
        Ok(())
    }

    fn join(self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.bytes);
        for piece in self.pieces.into_iter().flatten() {
            whole.extend_from_slice(&piece);
        }
        whole
    }
}

#[cfg(test)]
mod tests;
