//! Control frames: what nodes tell each other on streams.
//!
//! Each is the length of its message (u32), its type (u16), both big endian, and the message, which
//! is protobuf as in `proto/control.proto`. What carries payload afterwards, a stream after
//! [`Frame::Accept`], carries it as it is.

mod decoder;
mod fields;
mod gossip;
mod messages;
mod relayed;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use router::{advert::Version, gossip::Digest, window::ArrivalReport};
use thiserror::Error;

pub(super) use self::fields::{FIRST_MINOR, Fields};
pub use self::{
    decoder::{FrameDecoder, FrameError, FrameErrorReason},
    relayed::{Relayed, RelayedBody, RelayedKind},
};
use crate::{
    code::{FlowCode, RefuseCode},
    id::NodeKey,
    wire::{
        Unsupported,
        hello::Hello,
        limits::{MAX_MESSAGE_BYTES, MAX_VERSIONS},
        packet::{Class, Direction, RemainingHops},
        services::{ServicesDecl, ServicesDigest},
        words::words,
    },
};

/// One control frame.
///
/// Durations are whole milliseconds on the wire, rounded down, at most 49 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// First on a link, both ways, and only once.
    Hello(Box<Hello>),
    /// The arbiter of the pair makes this link the current one.
    Promote {
        /// Counts the arbiter's decisions about the pair.
        epoch: u64,
    },
    /// The link is taken for the current one at the other end too.
    Promoted {
        /// As in [`Frame::Promote`].
        epoch: u64,
    },
    /// Asks the peer's request loop for a [`Frame::ProbeReply`] at once.
    Probe {
        /// Chosen by the prober.
        id: u64,
    },
    /// The answer to [`Frame::Probe`].
    ProbeReply {
        /// As in the probe.
        id: u64,
    },
    /// All that the sender exposes.
    Services(ServicesDecl),
    /// A digest of all that the sender exposes.
    ServicesDigest(ServicesDigest),
    /// Asks for [`Frame::Services`].
    ServicesWanted {
        /// The version that is held, 0 if none.
        have_version: u64,
    },
    /// Asks for a flow to a service.
    OpenFlow(OpenFlow),
    /// The flow is open.
    FlowAccepted {
        /// The number in [`OpenFlow`].
        flow: u32,
    },
    /// The flow is not opened.
    FlowRefused {
        /// The number in [`OpenFlow`].
        flow: u32,
        /// Why, for the node.
        code: RefuseCode,
        /// Why, for people.
        reason: String,
    },
    /// The flow ends.
    CloseFlow {
        /// The number in [`OpenFlow`].
        flow: u32,
        /// Which end of the flow the sender is; without it, two flows could be meant, since each
        /// node numbers its own. [`Direction::Forward`]: its ingress.
        direction: Direction,
        /// Why.
        code: FlowCode,
    },
    /// First on every stream but the control stream.
    Open(Open),
    /// Answers [`Frame::Open`]; payload follows.
    Accept {
        /// Bytes of the session that the sender has already received; 0 unless it was resumed.
        resume_offset: u64,
    },
    /// Answers [`Frame::Open`]; the stream ends.
    Refuse {
        /// Why, for the node.
        code: RefuseCode,
        /// Why, for people.
        reason: String,
    },
    /// A node's newest advert.
    Advert {
        /// Statement, signature and certificates, of 1 to
        /// [`MAX_SIGNED_BYTES`](crate::wire::limits::MAX_SIGNED_BYTES) bytes. Goes on to others as
        /// it came.
        signed: Bytes,
        /// How long ago its node said it.
        age: Duration,
    },
    /// Adverts that the sender holds and the receiver may not: 1 to [`MAX_VERSIONS`].
    AdvertOffer(Vec<Version>),
    /// Adverts that the sender wants: 1 to [`MAX_VERSIONS`].
    AdvertRequest(Vec<Version>),
    /// All adverts that the sender holds, in short.
    AdvertDigest(Box<Digest>),
    /// What an administrator decided for the whole fleet.
    Policy {
        /// Statement, signature and certificates, of 1 to
        /// [`MAX_SIGNED_BYTES`](crate::wire::limits::MAX_SIGNED_BYTES) bytes. Goes on to others as
        /// it came.
        signed: Bytes,
    },
    /// Which policy the sender holds.
    PolicyDigest {
        /// 0 if none.
        epoch: u64,
        /// Tells policies of one epoch apart.
        hash: u64,
    },
    /// What the sender of this frame has received on the link so far. Whether it can be true is for [`Ledger`](router::window::Ledger) to say.
    LinkReport(ArrivalReport),
    /// Something between two nodes, carried by those between them.
    Relayed(Box<Relayed>),
    /// A frame that this build does not know, to be counted. When sent, its message is empty.
    Unknown {
        /// Its type.
        type_number: u16,
    },
}

impl Frame {
    /// Appends the whole frame to `out`. Texts for people are cut to 200 bytes.
    ///
    /// # Errors
    /// [`TooLong`]: something is beyond [`limits`](crate::wire::limits); nothing was appended.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), TooLong> {
        messages::put(self, out)
    }

    /// Offers of all `versions`, in as many frames as they need.
    pub fn offers(versions: &[Version]) -> impl Iterator<Item = Self> {
        let parts = versions.chunks(MAX_VERSIONS);
        parts.map(|part| Self::AdvertOffer(part.to_vec()))
    }

    /// Requests of all `versions`, in as many frames as they need.
    pub fn requests(versions: &[Version]) -> impl Iterator<Item = Self> {
        let parts = versions.chunks(MAX_VERSIONS);
        parts.map(|part| Self::AdvertRequest(part.to_vec()))
    }

    /// The number of the frame's type on the wire.
    pub fn type_number(&self) -> u16 {
        let kind = match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Promote { .. } => FrameKind::Promote,
            Self::Promoted { .. } => FrameKind::Promoted,
            Self::Probe { .. } => FrameKind::Probe,
            Self::ProbeReply { .. } => FrameKind::ProbeReply,
            Self::Services(_) => FrameKind::Services,
            Self::ServicesDigest(_) => FrameKind::ServicesDigest,
            Self::ServicesWanted { .. } => FrameKind::ServicesWanted,
            Self::OpenFlow(_) => FrameKind::OpenFlow,
            Self::FlowAccepted { .. } => FrameKind::FlowAccepted,
            Self::FlowRefused { .. } => FrameKind::FlowRefused,
            Self::CloseFlow { .. } => FrameKind::CloseFlow,
            Self::Open(_) => FrameKind::Open,
            Self::Accept { .. } => FrameKind::Accept,
            Self::Refuse { .. } => FrameKind::Refuse,
            Self::Advert { .. } => FrameKind::Advert,
            Self::AdvertOffer(_) => FrameKind::AdvertOffer,
            Self::AdvertRequest(_) => FrameKind::AdvertRequest,
            Self::AdvertDigest(_) => FrameKind::AdvertDigest,
            Self::LinkReport(_) => FrameKind::LinkReport,
            Self::Relayed(_) => FrameKind::Relayed,
            Self::Policy { .. } => FrameKind::Policy,
            Self::PolicyDigest { .. } => FrameKind::PolicyDigest,
            Self::Unknown { type_number } => return *type_number,
        };
        kind.number()
    }
}

/// Asks for a flow of packets to a service. The sender is the flow's ingress, or the origin of the
/// [`Relayed`] frame that this comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFlow {
    /// The flow's number at its ingress.
    pub flow: u32,
    /// The service's name.
    pub service: String,
    /// The node that exposes it.
    pub destination: NodeKey,
    /// How urgent its packets are.
    pub class: Class,
    /// How long the flow may be without packets in either direction.
    pub idle_timeout: Duration,
    /// Whether the flow is only prepared on this path, while its packets go on another.
    pub spare: bool,
}

/// Asks for a stream to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Names the session, however many streams it takes one after the other.
    pub session: [u8; 16],
    /// The node that exposes the service.
    pub destination: NodeKey,
    /// The service's name.
    pub service: String,
    /// How long the sender still waits for the answer.
    pub budget: Duration,
    /// Bytes of the session that need not be sent again; 0 for a new one.
    pub resume_offset: u64,
    /// The trace that the request belongs to.
    pub trace: Option<TraceContext>,
    /// The nodes after the receiver, each once, the destination last; none at the destination.
    pub hops: RemainingHops,
    /// The nodes that it has passed, in order, the one that asks first; none on its first link.
    pub via: Vec<NodeKey>,
}

impl Open {
    /// Tells whether this release can do what is asked for.
    ///
    /// # Errors
    /// [`Unsupported::ResumeOffset`], to be counted and answered with
    /// [`RefuseCode::ResumeUnsupported`].
    pub fn check_supported(&self) -> Result<(), Unsupported> {
        if self.resume_offset == 0 {
            Ok(())
        } else {
            Err(Unsupported::ResumeOffset)
        }
    }
}

/// Where a request stands in a distributed trace.
///
/// Sources: W3C Trace Context, level 1, section 3.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span within it that made the request.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

words! {
    /// The frame types that this build knows.
    FrameKind {
        /// [`Frame::Hello`].
        Hello(1) = "hello";
        /// [`Frame::Promote`].
        Promote(2) = "promote";
        /// [`Frame::Promoted`].
        Promoted(3) = "promoted";
        /// [`Frame::Probe`].
        Probe(4) = "probe";
        /// [`Frame::ProbeReply`].
        ProbeReply(5) = "probe_reply";
        /// [`Frame::Services`].
        Services(6) = "services";
        /// [`Frame::ServicesDigest`].
        ServicesDigest(7) = "services_digest";
        /// [`Frame::ServicesWanted`].
        ServicesWanted(8) = "services_wanted";
        /// [`Frame::OpenFlow`].
        OpenFlow(9) = "open_flow";
        /// [`Frame::FlowAccepted`].
        FlowAccepted(10) = "flow_accepted";
        /// [`Frame::FlowRefused`].
        FlowRefused(11) = "flow_refused";
        /// [`Frame::CloseFlow`].
        CloseFlow(12) = "close_flow";
        /// [`Frame::Open`].
        Open(13) = "open";
        /// [`Frame::Accept`].
        Accept(14) = "accept";
        /// [`Frame::Refuse`].
        Refuse(15) = "refuse";
        /// [`Frame::Advert`].
        Advert(16) = "advert";
        /// [`Frame::AdvertOffer`].
        AdvertOffer(17) = "advert_offer";
        /// [`Frame::AdvertRequest`].
        AdvertRequest(18) = "advert_request";
        /// [`Frame::AdvertDigest`].
        AdvertDigest(19) = "advert_digest";
        /// [`Frame::LinkReport`].
        LinkReport(20) = "link_report";
        /// [`Frame::Relayed`].
        Relayed(21) = "relayed";
        /// [`Frame::Policy`].
        Policy(22) = "policy";
        /// [`Frame::PolicyDigest`].
        PolicyDigest(23) = "policy_digest";
    }
}

impl FrameKind {
    /// The number on the wire. One that was given out never means another type.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The type behind a number from the wire, if this build knows it.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.number() == number)
    }
}

/// A frame of ours is longer than a peer would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("message of frame type {type_number} is {got_bytes} bytes, limit is {MAX_MESSAGE_BYTES}")]
pub struct TooLong {
    /// The frame's type.
    pub type_number: u16,
    /// Bytes of its message.
    pub got_bytes: usize,
}

/// Appends the head of a frame.
fn put_head(type_number: u16, got_bytes: usize, out: &mut BytesMut) -> Result<(), TooLong> {
    let too_long = TooLong {
        type_number,
        got_bytes,
    };
    let length = u32::try_from(got_bytes).map_err(|_| too_long)?;
    if got_bytes > MAX_MESSAGE_BYTES {
        return Err(too_long);
    }
    out.put_u32(length);
    out.put_u16(type_number);
    Ok(())
}

#[cfg(test)]
mod tests;
