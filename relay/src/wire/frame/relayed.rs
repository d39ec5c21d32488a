//! What two nodes say to each other that use no link between them.

use bytes::Bytes;
use prost::Message;

use crate::{
    code::{FlowCode, RefuseCode},
    id::{NodeGeneration, NodeKey},
    wire::{
        frame::{
            FIRST_MINOR, Fields, FrameError, OpenFlow,
            fields::packed_keys,
            messages::{open_flow, open_flow_message, read_direction},
        },
        limits::{MAX_RELAYED_BYTES, clean_text},
        message,
        packet::{Direction, FlowId, RemainingHops},
        words::words,
    },
};

/// A control frame between two nodes that use no link to each other, carried by those between.
///
/// No node is named twice among `origin`, `via` and `hops`; one that does is refused when it is
/// decoded. That the receiver itself is none of them is for the receiver to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    /// Who says it.
    pub origin: NodeKey,
    /// The nodes that it has passed, in order, without the origin; at most
    /// [`MAX_HOPS`](crate::wire::limits::MAX_HOPS). The answer goes back along them.
    pub via: Vec<NodeKey>,
    /// The nodes that it has still to visit after the receiver, the destination last; none at the
    /// destination.
    pub hops: RemainingHops,
    /// What is said.
    pub body: RelayedBody,
}

/// What is said in a [`Relayed`] frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayedBody {
    /// Asks for a flow to a service. The origin is its ingress.
    OpenFlow {
        /// The generation of the ingress.
        generation: NodeGeneration,
        /// What is asked for.
        open: OpenFlow,
    },
    /// The flow is open.
    FlowAccepted {
        /// Which.
        flow: FlowId,
    },
    /// The flow is not opened.
    FlowRefused {
        /// Which.
        flow: FlowId,
        /// Why, for the node.
        code: RefuseCode,
        /// Why, for people.
        reason: String,
    },
    /// The flow ends.
    CloseFlow {
        /// Which.
        flow: FlowId,
        /// Which end of the flow the origin is. [`Direction::Forward`]: its ingress.
        direction: Direction,
        /// Why.
        code: FlowCode,
    },
    /// The origin, a node on the way, cannot go on.
    Unreachable {
        /// The flow whose packet got stuck; none where it was something else.
        flow: Option<FlowId>,
        /// Whom it cannot reach.
        next: NodeKey,
    },
    /// Asks the destination for a [`RelayedBody::EchoReply`] at once: a probe of the whole path.
    Echo {
        /// Chosen by the prober.
        id: u64,
    },
    /// The answer to [`RelayedBody::Echo`].
    EchoReply {
        /// As in the echo.
        id: u64,
    },
    /// What this build does not know: carried to its destination as it is, and counted there.
    Unknown {
        /// Its kind.
        kind: u32,
        /// Its message, of 1 to [`MAX_RELAYED_BYTES`] bytes.
        message: Bytes,
    },
}

words! {
    /// The bodies of relayed frames that this build knows.
    RelayedKind {
        /// [`RelayedBody::OpenFlow`].
        OpenFlow(1) = "open_flow";
        /// [`RelayedBody::FlowAccepted`].
        FlowAccepted(2) = "flow_accepted";
        /// [`RelayedBody::FlowRefused`].
        FlowRefused(3) = "flow_refused";
        /// [`RelayedBody::CloseFlow`].
        CloseFlow(4) = "close_flow";
        /// [`RelayedBody::Unreachable`].
        Unreachable(5) = "unreachable";
        /// [`RelayedBody::Echo`].
        Echo(6) = "echo";
        /// [`RelayedBody::EchoReply`].
        EchoReply(7) = "echo_reply";
    }
}

impl RelayedKind {
    /// The number on the wire. One that was given out never means another kind.
    pub const fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32) -> Option<Self> {
        let mut known = Self::ALL.iter().copied();
        known.find(|kind| kind.number() == number)
    }
}

pub(super) fn to_message(relayed: &Relayed) -> message::Relayed {
    let (kind, body) = body_message(&relayed.body);
    message::Relayed {
        origin: Some(relayed.origin.0.to_vec()),
        via: Some(packed_keys(&relayed.via)),
        hops: Some(packed_keys(relayed.hops.as_slice())),
        kind: Some(kind),
        body: Some(body),
    }
}

pub(super) fn read(fields: Fields, body: &[u8]) -> Result<Relayed, FrameError> {
    let m: message::Relayed = fields.message(body)?;
    let origin = fields.key(FIRST_MINOR, "origin", m.origin)?;
    let via = fields.keys(FIRST_MINOR, "via", m.via)?;
    let hops = fields.hops(FIRST_MINOR, "hops", m.hops)?;
    let path = std::iter::once(&origin).chain(&via).chain(hops.as_slice());
    fields.check_no_loop(path.copied())?;
    let kind = fields.required(FIRST_MINOR, "kind", m.kind)?;
    let body = fields.required(FIRST_MINOR, "body", m.body)?;
    if body.len() > MAX_RELAYED_BYTES {
        return Err(fields.bad("body", "longer than 4,096 bytes"));
    }
    Ok(Relayed {
        origin,
        via,
        hops,
        body: read_body(fields, kind, body)?,
    })
}

fn body_message(body: &RelayedBody) -> (u32, Vec<u8>) {
    let (kind, message) = match body {
        RelayedBody::OpenFlow { generation, open } => {
            let m = message::RelayedOpenFlow {
                generation: Some(generation.0),
                open: Some(open_flow_message(open)),
            };
            (RelayedKind::OpenFlow, m.encode_to_vec())
        }
        RelayedBody::FlowAccepted { flow } => {
            let flow = Some(flow_message(flow));
            let m = message::RelayedFlowAccepted { flow };
            (RelayedKind::FlowAccepted, m.encode_to_vec())
        }
        RelayedBody::FlowRefused { flow, code, reason } => {
            let m = message::RelayedFlowRefused {
                flow: Some(flow_message(flow)),
                code: Some(code.number()),
                reason: Some(clean_text(reason)),
            };
            (RelayedKind::FlowRefused, m.encode_to_vec())
        }
        RelayedBody::CloseFlow {
            flow,
            direction,
            code,
        } => {
            let m = message::RelayedCloseFlow {
                flow: Some(flow_message(flow)),
                direction: Some(*direction as u32),
                code: Some(code.number()),
            };
            (RelayedKind::CloseFlow, m.encode_to_vec())
        }
        RelayedBody::Unreachable { flow, next } => {
            let m = message::RelayedUnreachable {
                flow: flow.as_ref().map(flow_message),
                next: Some(next.0.to_vec()),
            };
            (RelayedKind::Unreachable, m.encode_to_vec())
        }
        RelayedBody::Echo { id } => {
            let m = message::RelayedEcho { id: Some(*id) };
            (RelayedKind::Echo, m.encode_to_vec())
        }
        RelayedBody::EchoReply { id } => {
            let m = message::RelayedEchoReply { id: Some(*id) };
            (RelayedKind::EchoReply, m.encode_to_vec())
        }
        RelayedBody::Unknown { kind, message } => return (*kind, message.to_vec()),
    };
    (kind.number(), message)
}

fn read_body(fields: Fields, kind: u32, body: Vec<u8>) -> Result<RelayedBody, FrameError> {
    let first = FIRST_MINOR;
    let Some(known) = RelayedKind::from_number(kind) else {
        if body.is_empty() {
            return Err(fields.bad("body", "empty"));
        }
        let message = body.into();
        return Ok(RelayedBody::Unknown { kind, message });
    };
    Ok(match known {
        RelayedKind::OpenFlow => {
            let m: message::RelayedOpenFlow = fields.message(&body)?;
            let generation = fields.required(first, "generation", m.generation)?;
            let open = fields.required(first, "open", m.open)?;
            RelayedBody::OpenFlow {
                generation: fields.generation("generation", generation)?,
                open: open_flow(fields, open)?,
            }
        }
        RelayedKind::FlowAccepted => {
            let m: message::RelayedFlowAccepted = fields.message(&body)?;
            let flow = fields.flow(m.flow)?;
            RelayedBody::FlowAccepted { flow }
        }
        RelayedKind::FlowRefused => {
            let m: message::RelayedFlowRefused = fields.message(&body)?;
            let code: u32 = fields.required(first, "code", m.code)?;
            RelayedBody::FlowRefused {
                flow: fields.flow(m.flow)?,
                code: RefuseCode::from_number(code.into()),
                reason: fields.text(first, "reason", m.reason)?,
            }
        }
        RelayedKind::CloseFlow => {
            let m: message::RelayedCloseFlow = fields.message(&body)?;
            let code: u32 = fields.required(first, "code", m.code)?;
            RelayedBody::CloseFlow {
                flow: fields.flow(m.flow)?,
                direction: read_direction(fields, m.direction)?,
                code: FlowCode::from_number(code.into()),
            }
        }
        RelayedKind::Unreachable => {
            let m: message::RelayedUnreachable = fields.message(&body)?;
            let flow = m.flow.map(|flow| fields.flow(Some(flow)));
            RelayedBody::Unreachable {
                flow: flow.transpose()?,
                next: fields.key(first, "next", m.next)?,
            }
        }
        RelayedKind::Echo => {
            let m: message::RelayedEcho = fields.message(&body)?;
            let id = fields.required(first, "id", m.id)?;
            RelayedBody::Echo { id }
        }
        RelayedKind::EchoReply => {
            let m: message::RelayedEchoReply = fields.message(&body)?;
            let id = fields.required(first, "id", m.id)?;
            RelayedBody::EchoReply { id }
        }
    })
}

fn flow_message(flow: &FlowId) -> message::FlowId {
    message::FlowId {
        ingress: Some(flow.ingress.0.to_vec()),
        generation: Some(flow.generation.0),
        number: Some(flow.number),
    }
}

#[cfg(test)]
pub(super) mod tests;
