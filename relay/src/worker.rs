//! One worker of a node: a single-threaded runtime with its own port and endpoint.

use crate::{deadline::Endpoint, id::NodeKey, tasks::Scope};

/// A worker, as those see it who place work on it.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Owns everything that runs there.
    pub(crate) scope: Scope,
    /// Its endpoint, bound to its own port.
    pub(crate) endpoint: Endpoint,
}

impl Worker {
    /// The worker on which this node keeps a peer: always the same one for a pair.
    pub(crate) fn of_pair(workers: &[Self], own: NodeKey, peer: NodeKey) -> &Self {
        let mixed = u64::from_be_bytes(own.0) ^ u64::from_be_bytes(peer.0);
        let count = workers.len() as u64;
        &workers[(mixed % count) as usize]
    }
}
