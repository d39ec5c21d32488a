//! What rides in a QUIC datagram: packets behind their header, probes, and the answer to a packet
//! that is too large.
//!
//! All numbers are big endian. The first byte is the same for all: version in its upper three bits,
//! kind in its lower five. The second is, from its highest bit: class (2), direction (1), whether a
//! fragment follows (1), number of hops (2), reserved (2). A sender sets reserved bits to 0, a
//! receiver ignores them.
//!
//! A packet, of [`PacketHeader::BASE_LEN`] to [`PacketHeader::MAX_LEN`] bytes before its payload:
//!
//! | byte | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | version 1, kind 1 |
//! | 1 | 1 | class, direction, fragment follows, number of hops |
//! | 2 | 8 | flow: node key of its ingress |
//! | 10 | 6 | flow: generation of its ingress |
//! | 16 | 4 | flow: number |
//! | 20 | 6 | sequence |
//! | 26 | 4 | link: microseconds of the clock of the node that sent this datagram, wrapping |
//! | 30 | 4 | link: counts the packets of this direction of the link, wrapping |
//! | 34 | 2 | lifetime in milliseconds, 0 for none |
//! | 36 | 0 or 2 | fragment: index, count |
//! | 36 or 38 | 0, 8, 16 or 24 | remaining hops: node keys, the next one first |
//!
//! What belongs to the link is written anew by every node that sends the packet on.
//!
//! A probe (kind 2) or its reply (kind 3) is 14 bytes: first byte, second byte 0, id (8), microseconds
//! of the prober's clock (4). The answer to a packet that is too large (kind 4) is 28 bytes: first
//! byte, second byte with the packet's direction, flow (18), sequence (6), limit (2). Bytes after
//! these are ignored: they are a newer minor's.

use bytes::BufMut;
use thiserror::Error;

use crate::{
    id::{NodeGeneration, NodeKey},
    wire::{
        limits::{MAX_HOPS, MAX_PIECES},
        words::words,
    },
};

/// A decoded datagram. Borrows the payload; decoding allocates nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A packet, or a piece of one.
    Packet {
        /// What stands before the payload.
        header: PacketHeader,
        /// The rest of the datagram; may be empty.
        payload: &'a [u8],
    },
    /// Asks for a [`Datagram::ProbeReply`] at once.
    Probe(Probe),
    /// A probe as it came, sent back.
    ProbeReply(Probe),
    /// A packet did not fit the next link.
    TooLarge(TooLarge),
}

impl<'a> Datagram<'a> {
    /// Decodes a whole datagram.
    ///
    /// # Errors
    /// [`HeaderError`], for the caller to count; the datagram is then to be dropped.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let mut rest = Reader {
            rest: bytes,
            got_bytes: bytes.len(),
        };
        let first = rest.u8()?;
        if first >> KIND_BITS != VERSION {
            return Err(HeaderError::UnknownVersion {
                got: first >> KIND_BITS,
            });
        }
        match first & KIND_MASK {
            KIND_PACKET => {
                let header = PacketHeader::decode(&mut rest)?;
                let payload = rest.rest;
                Ok(Self::Packet { header, payload })
            }
            KIND_PROBE => Ok(Self::Probe(Probe::decode(&mut rest)?)),
            KIND_PROBE_REPLY => Ok(Self::ProbeReply(Probe::decode(&mut rest)?)),
            KIND_TOO_LARGE => Ok(Self::TooLarge(TooLarge::decode(&mut rest)?)),
            got => Err(HeaderError::UnknownKind { got }),
        }
    }

    /// Appends the whole datagram to `out`.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Packet { header, payload } => {
                header.encode(out);
                out.put_slice(payload);
            }
            Self::Probe(probe) => probe.encode(KIND_PROBE, out),
            Self::ProbeReply(probe) => probe.encode(KIND_PROBE_REPLY, out),
            Self::TooLarge(too_large) => too_large.encode(out),
        }
    }
}

/// What stands before a packet's payload. Send time and link sequence belong to the link, and every
/// node writes its own; remaining hops become fewer. Everything else is end to end: nodes between
/// ingress and egress leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHeader {
    /// Which end of the flow it comes from.
    pub direction: Direction,
    /// How urgent it is.
    pub class: Class,
    /// Which flow it belongs to.
    pub flow: FlowId,
    /// Counts the packets of the flow in this direction; below 2^48, which at a million packets a
    /// second lasts for eight years.
    pub sequence: u64,
    /// Microseconds of the clock of the node that sent this datagram; wraps after 71 minutes.
    pub sent_us: u32,
    /// Counts the datagrams with packets in this direction of the link, from 0, wrapping: what is
    /// missing at the receiver was lost on the link.
    pub link_sequence: u32,
    /// Milliseconds after which the packet is of no use any more; 0 for no limit.
    pub lifetime_ms: u16,
    /// Which piece of the packet this is, if it was split.
    pub fragment: Option<Fragment>,
    /// The nodes after the receiver of this datagram that still have to carry the packet.
    pub hops: RemainingHops,
}

impl PacketHeader {
    /// Bytes of a header without fragment and hops.
    pub const BASE_LEN: usize = 36;

    /// Bytes of the longest header.
    pub const MAX_LEN: usize = Self::BASE_LEN + Fragment::LEN + MAX_HOPS * NodeKey::LEN;

    /// Bytes of this header.
    pub fn encoded_len(&self) -> usize {
        let fragment = self.fragment.map_or(0, |_| Fragment::LEN);
        Self::BASE_LEN + fragment + self.hops.as_slice().len() * NodeKey::LEN
    }

    /// Appends the header to `out`; the payload goes right behind it.
    ///
    /// Of sequence and generation the lower 48 bits are sent; more is a bug of the caller.
    pub fn encode(&self, out: &mut impl BufMut) {
        let hops = self.hops.as_slice();
        let count = self.hops.len & HOPS_MASK;
        out.put_u8(first_byte(KIND_PACKET));
        out.put_u8(
            (self.class as u8) << CLASS_SHIFT
                | (self.direction as u8) << DIRECTION_SHIFT
                | u8::from(self.fragment.is_some()) << FRAGMENT_SHIFT
                | count << HOPS_SHIFT,
        );
        self.flow.encode(out);
        put_u48(out, self.sequence);
        out.put_u32(self.sent_us);
        out.put_u32(self.link_sequence);
        out.put_u16(self.lifetime_ms);
        if let Some(fragment) = self.fragment {
            out.put_u8(fragment.index);
            out.put_u8(fragment.count);
        }
        for hop in hops {
            out.put_slice(&hop.0);
        }
    }

    /// Names the packet that this is, or is a piece of.
    pub fn key(&self) -> PacketKey {
        PacketKey {
            flow: self.flow,
            direction: self.direction,
            sequence: self.sequence,
        }
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, HeaderError> {
        let flags = rest.u8()?;
        let flow = FlowId::decode(rest)?;
        let sequence = rest.u48()?;
        let sent_us = rest.u32()?;
        let link_sequence = rest.u32()?;
        let lifetime_ms = rest.u16()?;
        let fragment = if flags >> FRAGMENT_SHIFT & 1 == 1 {
            let (index, count) = (rest.u8()?, rest.u8()?);
            let bad = HeaderError::BadFragment { index, count };
            Some(Fragment::try_new(index, count).ok_or(bad)?)
        } else {
            None
        };
        let mut hops = RemainingHops::NONE;
        hops.len = flags >> HOPS_SHIFT & HOPS_MASK;
        for key in &mut hops.keys[..usize::from(hops.len)] {
            *key = NodeKey(rest.array()?);
        }
        Ok(Self {
            direction: Direction::from_flags(flags),
            class: Class::from_bits(flags >> CLASS_SHIFT),
            flow,
            sequence,
            sent_us,
            link_sequence,
            lifetime_ms,
            fragment,
            hops,
        })
    }
}

/// Names one packet of one flow, whichever piece of it is meant and however often it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketKey {
    /// The flow.
    pub flow: FlowId,
    /// Which end of the flow the packet comes from.
    pub direction: Direction,
    /// The packet's number in this direction.
    pub sequence: u64,
}

/// A flow, the same at every node: who began it, in which run, and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    /// The node where the flow began.
    pub ingress: NodeKey,
    /// That node's generation, so that its numbers after a restart mean other flows.
    pub generation: NodeGeneration,
    /// The flow's number at that node.
    pub number: u32,
}

impl FlowId {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.ingress.0);
        put_u48(out, self.generation.0);
        out.put_u32(self.number);
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, HeaderError> {
        Ok(Self {
            ingress: NodeKey(rest.array()?),
            generation: NodeGeneration(rest.u48()?),
            number: rest.u32()?,
        })
    }
}

words! {
    /// Which end of a flow a packet comes from, or an end speaks as.
    Direction {
        /// From the flow's ingress, to its service.
        Forward(0) = "forward";
        /// To the flow's ingress, from its service.
        Back(1) = "back";
    }
}

impl Direction {
    fn from_flags(flags: u8) -> Self {
        if flags >> DIRECTION_SHIFT & 1 == 0 {
            Self::Forward
        } else {
            Self::Back
        }
    }
}

words! {
    /// How urgent a packet is, the most urgent first.
    Class {
        /// What keeps the mesh and its flows going.
        Control(0) = "control";
        /// Sound, and what else is small and must be in time.
        Audio(1) = "audio";
        /// Pictures.
        Video(2) = "video";
        /// What can wait.
        Bulk(3) = "bulk";
    }
}

impl Class {
    fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::Control,
            1 => Self::Audio,
            2 => Self::Video,
            _ => Self::Bulk,
        }
    }
}

/// Which piece of a packet a datagram carries: `index` of `count`, which is 2 to [`MAX_PIECES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    index: u8,
    count: u8,
}

impl Fragment {
    /// Bytes in a header.
    pub const LEN: usize = 2;

    /// Piece `index` of `count`, if there can be such a piece.
    pub fn try_new(index: u8, count: u8) -> Option<Self> {
        ((2..=MAX_PIECES).contains(&count) && index < count).then_some(Self { index, count })
    }

    /// Which piece it is, from 0.
    pub fn index(self) -> u8 {
        self.index
    }

    /// How many pieces the packet has.
    pub fn count(self) -> u8 {
        self.count
    }
}

/// The nodes that a packet has still to visit: none to [`MAX_HOPS`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RemainingHops {
    // Zero beyond `len`, so that equality can be derived.
    keys: [NodeKey; MAX_HOPS],
    len: u8,
}

impl RemainingHops {
    /// No more hops: the receiver is the end of the path.
    pub const NONE: Self = Self {
        keys: [NodeKey([0; NodeKey::LEN]); MAX_HOPS],
        len: 0,
    };

    /// The given hops, the next one first, if they are not more than a header can hold.
    pub fn try_new(hops: &[NodeKey]) -> Option<Self> {
        let mut remaining = Self::NONE;
        remaining.keys.get_mut(..hops.len())?.copy_from_slice(hops);
        remaining.len = u8::try_from(hops.len()).ok()?;
        Some(remaining)
    }

    /// The hops, the next one first.
    pub fn as_slice(&self) -> &[NodeKey] {
        &self.keys[..usize::from(self.len)]
    }

    /// The next hop, and those behind it.
    pub fn split_first(&self) -> Option<(NodeKey, Self)> {
        let (next, rest) = self.as_slice().split_first()?;
        Some((*next, Self::try_new(rest)?))
    }
}

impl std::fmt::Debug for RemainingHops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A question whether the peer's packet loop turns, or the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Chosen by the prober; the same in the answer.
    pub id: u64,
    /// Microseconds of the prober's clock, wrapping; the same in the answer.
    pub sent_us: u32,
}

impl Probe {
    /// Bytes of the whole datagram.
    pub const LEN: usize = 14;

    fn encode(self, kind: u8, out: &mut impl BufMut) {
        out.put_u8(first_byte(kind));
        out.put_u8(0);
        out.put_u64(self.id);
        out.put_u32(self.sent_us);
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, HeaderError> {
        rest.u8()?;
        Ok(Self {
            id: u64::from_be_bytes(rest.array()?),
            sent_us: rest.u32()?,
        })
    }
}

/// Tells the sender of a packet that it did not fit a link on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// The packet, as its header named it.
    pub packet: PacketKey,
    /// The largest datagram in bytes, header included, that the link takes.
    pub limit: u16,
}

impl TooLarge {
    /// Bytes of the whole datagram.
    pub const LEN: usize = 28;

    fn encode(&self, out: &mut impl BufMut) {
        out.put_u8(first_byte(KIND_TOO_LARGE));
        out.put_u8((self.packet.direction as u8) << DIRECTION_SHIFT);
        self.packet.flow.encode(out);
        put_u48(out, self.packet.sequence);
        out.put_u16(self.limit);
    }

    fn decode(rest: &mut Reader<'_>) -> Result<Self, HeaderError> {
        let direction = Direction::from_flags(rest.u8()?);
        let packet = PacketKey {
            flow: FlowId::decode(rest)?,
            direction,
            sequence: rest.u48()?,
        };
        let limit = rest.u16()?;
        Ok(Self { packet, limit })
    }
}

/// Why a datagram cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// No packet has such a piece.
    #[error("piece {index} of {count} cannot be, a packet has 2 to {MAX_PIECES}")]
    BadFragment {
        /// Its number, from 0.
        index: u8,
        /// The number of pieces.
        count: u8,
    },
    /// It ends within its header.
    #[error("datagram of {got_bytes} bytes ends within its header")]
    TooShort {
        /// Bytes of the datagram.
        got_bytes: usize,
    },
    /// Its kind is not known.
    #[error("datagram is of unknown kind {got}")]
    UnknownKind {
        /// The kind.
        got: u8,
    },
    /// Its version is not known.
    #[error("datagram is of version {got}, expected {VERSION}")]
    UnknownVersion {
        /// The version.
        got: u8,
    },
}

impl HeaderError {
    /// What to count it under.
    pub fn reason(&self) -> HeaderErrorReason {
        match self {
            Self::BadFragment { .. } => HeaderErrorReason::BadFragment,
            Self::TooShort { .. } => HeaderErrorReason::TooShort,
            Self::UnknownKind { .. } => HeaderErrorReason::UnknownKind,
            Self::UnknownVersion { .. } => HeaderErrorReason::UnknownVersion,
        }
    }
}

words! {
    /// The kinds of [`HeaderError`].
    HeaderErrorReason {
        /// [`HeaderError::BadFragment`].
        BadFragment = "bad_fragment";
        /// [`HeaderError::TooShort`].
        TooShort = "too_short";
        /// [`HeaderError::UnknownKind`].
        UnknownKind = "unknown_kind";
        /// [`HeaderError::UnknownVersion`].
        UnknownVersion = "unknown_version";
    }
}

/// Takes fields off the front of a datagram.
struct Reader<'a> {
    rest: &'a [u8],
    got_bytes: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(HeaderError::TooShort {
            got_bytes: self.got_bytes,
        })?;
        self.rest = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, HeaderError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, HeaderError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, HeaderError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u48(&mut self) -> Result<u64, HeaderError> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

fn first_byte(kind: u8) -> u8 {
    VERSION << KIND_BITS | kind
}

fn put_u48(out: &mut impl BufMut, value: u64) {
    debug_assert!(value >> 48 == 0, "{value} does not fit in 48 bits");
    out.put_slice(&value.to_be_bytes()[2..]);
}

const VERSION: u8 = 1;
const KIND_BITS: u8 = 5;
const KIND_MASK: u8 = (1 << KIND_BITS) - 1;
const CLASS_SHIFT: u8 = 6;
const DIRECTION_SHIFT: u8 = 5;
const FRAGMENT_SHIFT: u8 = 4;
const HOPS_SHIFT: u8 = 2;
const HOPS_MASK: u8 = 0b11;

// 0 is no kind, so that a datagram of zeros is none.
const KIND_PACKET: u8 = 1;
const KIND_PROBE: u8 = 2;
const KIND_PROBE_REPLY: u8 = 3;
const KIND_TOO_LARGE: u8 = 4;

#[cfg(test)]
pub(super) mod tests;
