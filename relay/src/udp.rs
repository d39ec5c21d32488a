//! Local UDP across the mesh: listens at the ingress, services at the egress.

pub(crate) mod activity;
pub(crate) mod flow_table;
pub(crate) mod intake;
pub(crate) mod listen;
pub(crate) mod service;

use std::sync::Arc;

pub(crate) use activity::Activity;

use crate::{code::RefuseCode, link::Link};

/// What the far end of a link says about a flow that this node opens.
#[derive(Debug, Clone)]
pub(crate) struct FlowEvent {
    pub(crate) flow: u32,
    pub(crate) link: Arc<Link>,
    pub(crate) answer: FlowAnswer,
}

/// The answer to an `OpenFlow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowAnswer {
    Accepted,
    /// The far end has lost the flow.
    Closed,
    Refused(RefuseCode),
}
