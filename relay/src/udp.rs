//! Local UDP across the mesh: listens at the ingress, services at the egress.

pub(crate) mod activity;
pub(crate) mod flow_table;
pub(crate) mod intake;
pub(crate) mod listen;
pub(crate) mod service;

use std::sync::Arc;

pub(crate) use activity::Activity;

use crate::{
    code::{FlowCode, RefuseCode},
    id::NodeKey,
    link::Link,
    routes::Way,
    wire::{Direction, FlowId, Frame, OpenFlow, RelayedBody, RemainingHops},
};

/// What is said about a flow that this node opens.
#[derive(Debug, Clone)]
pub(crate) struct FlowEvent {
    pub(crate) flow: u32,
    /// The link that it came over.
    pub(crate) link: Arc<Link>,
    /// The nodes behind that link, up to the one that says it.
    pub(crate) hops: RemainingHops,
    pub(crate) answer: FlowAnswer,
}

impl FlowEvent {
    /// Whether it is about the flow on `way`.
    pub(crate) fn is_about(&self, way: &Way) -> bool {
        let same_link = Arc::ptr_eq(&way.first, &self.link);
        match self.answer {
            FlowAnswer::Unreachable { at, next } => same_link && way.leads_over(at, next),
            // Packets do not say which nodes they have passed, so the far end of a longer way can
            // tell the flow's ingress, but not on which way it has lost the flow.
            FlowAnswer::Closed if !way.is_direct() => {
                self.hops.as_slice().last() == Some(&way.destination)
            }
            FlowAnswer::Accepted | FlowAnswer::Closed | FlowAnswer::Refused(_) => {
                same_link && way.hops == self.hops
            }
        }
    }
}

/// The answer to an `OpenFlow`, or news of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowAnswer {
    Accepted,
    /// The far end has lost the flow.
    Closed,
    Refused(RefuseCode),
    /// A node on the way cannot go on.
    Unreachable {
        at: NodeKey,
        next: NodeKey,
    },
}

/// What the two ends of a flow say to each other.
#[derive(Debug)]
pub(crate) enum FlowWord {
    Open(OpenFlow),
    Accepted,
    Refused(RefuseCode),
    /// - the end that says it, as in [`Frame::CloseFlow`].
    Close(Direction, FlowCode),
}

/// Says `word` about `flow` to the destination of `way`.
///
/// - `us`: this node.
pub(crate) fn say(us: NodeKey, way: &Way, flow: FlowId, word: FlowWord) {
    if !way.is_direct() {
        return way.say(
            us,
            match word {
                FlowWord::Open(open) => RelayedBody::OpenFlow {
                    generation: flow.generation,
                    open,
                },
                FlowWord::Accepted => RelayedBody::FlowAccepted { flow },
                FlowWord::Refused(code) => RelayedBody::FlowRefused {
                    flow,
                    code,
                    reason: String::new(),
                },
                FlowWord::Close(direction, code) => RelayedBody::CloseFlow {
                    flow,
                    direction,
                    code,
                },
            },
        );
    }
    let flow = flow.number;
    way.first.send_frame(match word {
        FlowWord::Open(open) => Frame::OpenFlow(open),
        FlowWord::Accepted => Frame::FlowAccepted { flow },
        FlowWord::Refused(code) => Frame::FlowRefused {
            flow,
            code,
            reason: String::new(),
        },
        FlowWord::Close(direction, code) => Frame::CloseFlow {
            flow,
            direction,
            code,
        },
    });
}
