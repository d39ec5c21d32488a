//! Every peer of this node and its current link, found without a lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use router::health::Condition;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::{
    id::{LinkGeneration, NodeGeneration, NodeId, NodeKey},
    keeper::PeerStatus,
    link::Link,
    peer::PeerEvent,
    slot::{Slot, WaitError},
    wire::{ServiceKind, ServicesDecl},
};

pub use crate::peer::{ConditionChange, PairFigures, PeerReport};

/// The peers of this node. One task adds and removes them; everybody reads.
#[derive(Debug, Default)]
pub struct Links {
    peers: ArcSwap<BTreeMap<NodeKey, Arc<Peer>>>,
}

/// What is published about one peer. Its keeper is the only writer.
#[derive(Debug)]
pub struct Peer {
    /// The peer.
    pub id: NodeId,
    /// Whether it is reachable, and over which link.
    pub slot: Slot<PeerState>,
    /// For people: history and addresses.
    pub report: ArcSwap<PeerReport>,
    /// What it declared last. Outlives the link that it came on, since the peer may be reached
    /// through others then.
    pub(crate) declared: ArcSwap<Declared>,
    pub(crate) inbox: mpsc::Sender<PeerEvent>,
    /// A place in [`CONDITIONS`].
    condition: AtomicU8,
}

/// What a peer exposes to this node, as it said itself.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// The run of the peer that said so; another one may expose something else.
    generation: NodeGeneration,
    services: Arc<ServicesDecl>,
}

/// A keeper's published answer to "can I reach this peer now".
#[derive(Debug, Clone)]
pub struct PeerState {
    /// What the keeper is doing.
    pub status: PeerStatus,
    /// The current link.
    pub link: Option<Arc<Link>>,
}

impl Links {
    /// All peers, by key, as they were at the time of the call.
    pub fn snapshot(&self) -> Arc<BTreeMap<NodeKey, Arc<Peer>>> {
        self.peers.load_full()
    }

    /// All peers, in the order of their keys, as they were at the time of the call.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.load().values().cloned().collect()
    }

    /// The usable link to `peer`, if there is one now.
    pub fn get(&self, peer: NodeKey) -> Option<Arc<Link>> {
        self.peers.load().get(&peer)?.usable()
    }

    /// The current link to `peer`, usable or not: what Hello says is held.
    pub fn current(&self, peer: NodeKey) -> Option<LinkGeneration> {
        let state = self.peers.load().get(&peer)?.slot.load();
        state.link.as_ref().map(|link| link.generation)
    }

    /// The usable link to `peer`: at once if there is one, else that of the dial in progress.
    ///
    /// Never causes a dial and never waits for one of another peer.
    ///
    /// # Errors
    /// - [`ConnectError::NotNow`]: the peer backs off, or is not dialed at all; at once.
    /// - [`ConnectError::TimedOut`]: the dial in progress did not end by `deadline`.
    /// - [`ConnectError::TooManyWaiters`]: as many requests wait for this dial as may.
    /// - [`ConnectError::UnknownPeer`]: nothing is known of it.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future cancels nothing but this wait.
    pub async fn connect(
        &self,
        peer: NodeKey,
        deadline: Instant,
    ) -> Result<Arc<Link>, ConnectError> {
        let peer = self
            .peers
            .load()
            .get(&peer)
            .cloned()
            .ok_or(ConnectError::UnknownPeer)?;
        let decided = peer.slot.wait_until(PeerState::decided, deadline).await;
        decided.map_err(|error| match error {
            WaitError::TimedOut => ConnectError::TimedOut,
            WaitError::Full { .. } => ConnectError::TooManyWaiters,
            WaitError::Gone => ConnectError::UnknownPeer,
        })?
    }

    /// Makes `peer` known. The roster's task is the only caller.
    pub(crate) fn add(&self, peer: Arc<Peer>) {
        let mut peers = BTreeMap::clone(&self.peers.load());
        peers.insert(peer.id.key(), peer);
        self.peers.store(Arc::new(peers));
    }

    /// Forgets `peer`. The roster's task is the only caller.
    pub(crate) fn remove(&self, peer: NodeKey) {
        let mut peers = BTreeMap::clone(&self.peers.load());
        peers.remove(&peer);
        self.peers.store(Arc::new(peers));
    }
}

impl Peer {
    /// A peer without a link.
    pub(crate) fn new(id: NodeId, slot: Slot<PeerState>, inbox: mpsc::Sender<PeerEvent>) -> Self {
        let peer = Self {
            id,
            slot,
            report: ArcSwap::default(),
            declared: ArcSwap::default(),
            inbox,
            condition: AtomicU8::new(0),
        };
        peer.set_condition(Condition::Down);
        peer
    }

    /// What is thought of it, over all links that it ever had. Takes no lock.
    pub fn condition(&self) -> Condition {
        let place = usize::from(self.condition.load(Ordering::Relaxed));
        CONDITIONS[place % CONDITIONS.len()]
    }

    /// Its keeper's task is the only caller.
    pub(crate) fn set_condition(&self, condition: Condition) {
        let place = CONDITIONS.iter().position(|of| *of == condition);
        let place = place.unwrap_or_default() as u8;
        self.condition.store(place, Ordering::Relaxed);
    }

    /// Whether it exposes such a service to this node, as far as it has said.
    pub(crate) fn exposes(&self, service: &str, kind: ServiceKind) -> bool {
        let declared = self.declared.load();
        let is_its_own = self
            .usable()
            .is_none_or(|link| link.peer_generation == declared.generation);
        let mut services = declared.services.services.iter();
        is_its_own && services.any(|s| s.kind == kind && s.name == service)
    }

    /// Takes what it declares on a link of its run `generation`.
    pub(crate) fn keep_declared(&self, generation: NodeGeneration, services: Arc<ServicesDecl>) {
        // A link of its former run may still be read for a moment.
        if generation >= self.declared.load().generation {
            self.declared.store(Arc::new(Declared {
                generation,
                services,
            }));
        }
    }

    /// Its usable link, if there is one now.
    pub fn usable(&self) -> Option<Arc<Link>> {
        self.slot
            .load()
            .link
            .clone()
            .filter(|link| link.is_usable())
    }
}

impl PeerState {
    /// What a request makes of this state; `None` while a dial may still end well.
    fn decided(&self) -> Option<Result<Arc<Link>, ConnectError>> {
        if let Some(link) = &self.link
            && link.is_usable()
        {
            return Some(Ok(link.clone()));
        }
        match &self.status {
            PeerStatus::Dialing { .. } => None,
            other => Some(Err(ConnectError::NotNow {
                why: other.to_string(),
            })),
        }
    }
}

/// All that can be thought of a peer, from best to worst.
pub(crate) const CONDITIONS: [Condition; 5] = [
    Condition::Up,
    Condition::Suspect,
    Condition::Degraded,
    Condition::Confirmed,
    Condition::Down,
];

/// Why there is no link to a peer now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// It is not being dialed, for a reason.
    #[error("{why}")]
    NotNow {
        /// What its keeper does instead.
        why: String,
    },
    /// The dial in progress takes longer than the request has.
    #[error("the dial in progress did not end in time")]
    TimedOut,
    /// As many requests wait for the dial as may.
    #[error("too many requests wait for this dial")]
    TooManyWaiters,
    /// It is neither configured nor linked.
    #[error("no such peer")]
    UnknownPeer,
}
