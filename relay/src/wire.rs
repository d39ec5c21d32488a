//! What nodes say to each other, as bytes and as values. Pure: no socket, no clock, no await.
//!
//! - On **datagrams**: [`Datagram`], above all packets behind a [`PacketHeader`]. What is larger
//!   than a datagram is [`split()`] by its sender and put together by a [`Reassembler`] at its end;
//!   nodes in between forward pieces as they are.
//! - On **streams**: [`Frame`]s, read by a [`FrameDecoder`]. The control stream of a link begins
//!   with [`Hello`] both ways, every other stream with [`Open`].
//! - In the **reason of a close**: [`CloseReason`].
//! - In **adverts**, which go through the mesh as their author encoded them: [`SignedStatement`]
//!   around [`AdvertStatement`].
//!
//! Everything here may come from a peer that is broken or hostile. Whatever the bytes, decoding
//! returns a value or an error of a closed enum, whose `reason()` counts it; it never panics,
//! and what it allocates is bounded by constants in [`limits`]. What is decoded has passed those
//! limits: nobody checks again.
//!
//! A newer minor may add frame types (reported as [`Frame::Unknown`], to be counted), fields
//! (skipped) and bits of the packet header that are reserved now (ignored). `docs/wire.md` has all
//! of it in tables.

mod advert;
mod close;
mod frame;
mod hello;
pub mod limits;
mod packet;
mod policy;
mod reassemble;
mod services;
mod split;
mod statement;
pub(crate) mod words;

pub use self::{
    advert::AdvertStatement,
    close::CloseReason,
    frame::{
        Frame, FrameDecoder, FrameError, FrameErrorReason, FrameKind, Open, OpenFlow, Relayed,
        RelayedBody, RelayedKind, TooLong, TraceContext,
    },
    hello::{Hello, Minors, NoCommonProtocol, negotiate},
    packet::{
        Class, Datagram, Direction, FlowId, Fragment, HeaderError, HeaderErrorReason, PacketHeader,
        PacketKey, Probe, RemainingHops, TooLarge,
    },
    policy::PolicyStatement,
    reassemble::{PieceError, PieceErrorReason, Reassembler, ReassemblyCounts, ReassemblyLimits},
    services::{ServiceDecl, ServiceKind, ServicesDecl, ServicesDigest},
    split::{Pieces, SplitError, split},
    statement::{SignedStatement, StatementError},
};

use self::words::words;

/// The application protocol that both ends must agree on in the TLS handshake: the name and major
/// version. Minors are settled in [`Hello`].
pub const ALPN: &[u8] = b"causeway/1";

/// The minors that this build speaks.
pub const PROTOCOL: Minors = Minors { min: 1, max: 1 };

words! {
    /// What is part of the layout but not offered yet: decoded, then refused.
    Unsupported {
        /// An [`Open`] that resumes a session.
        ResumeOffset = "resume_offset";
    }
}

/// The messages of control frames and signed statements, as compiled from `proto/`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]
mod message {
    include!(concat!(env!("OUT_DIR"), "/causeway.v1.rs"));
}

#[cfg(test)]
mod tests {
    use super::{FrameErrorReason, FrameKind, HeaderErrorReason, PieceErrorReason, RelayedKind};
    use crate::{
        adverts::AdvertRefusedReason,
        code::{CloseCode, FlowCode, RefuseCode, StreamCode},
        policies::PolicyRefusedReason,
    };

    #[test]
    fn every_frame_type_code_and_reason_stands_in_the_document() {
        let document = include_str!("../../docs/wire.md");
        let frames = FrameKind::ALL
            .iter()
            .map(|kind| (u32::from(kind.number()), kind.word()));
        let close = CloseCode::ALL.iter().map(|c| (c.number(), c.word()));
        let stream = StreamCode::ALL.iter().map(|c| (c.number(), c.word()));
        let refuse = RefuseCode::ALL.iter().map(|c| (c.number(), c.word()));
        let flow = FlowCode::ALL.iter().map(|c| (c.number(), c.word()));
        for (number, word) in frames.chain(close).chain(stream).chain(refuse).chain(flow) {
            let row = format!("| {number} | `{word}` |");
            assert!(document.contains(&row), "{row}");
        }
        for kind in RelayedKind::ALL {
            let row = format!("| {} | `{kind}` | ", kind.number());
            assert!(document.contains(&row), "{row}");
        }
        let advert = AdvertRefusedReason::ALL.iter().map(|reason| reason.word());
        let policy = PolicyRefusedReason::ALL.iter().map(|reason| reason.word());
        let header = HeaderErrorReason::ALL.iter().map(|reason| reason.word());
        let piece = PieceErrorReason::ALL.iter().map(|reason| reason.word());
        let frame = FrameErrorReason::ALL.iter().map(|reason| reason.word());
        let words = header.chain(piece).chain(frame);
        for word in words.chain(advert).chain(policy) {
            let row = format!("| `{word}` |");
            assert!(document.contains(&row), "{row}");
        }
    }
}
