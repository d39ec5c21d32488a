//! Which peers there are: from configuration, from seekers, and from those who dial this node.
//!
//! One task owns the list. It also owns what concerns all peers at once: the node's generation, and
//! its certificates.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::{
    mpsc::{self, error::SendTimeoutError},
    oneshot,
};
use tracing::{error, info, warn};

use crate::{
    clock,
    code::CloseCode,
    config::{HostPort, Peer as PeerConfig},
    dial::Dialer,
    generation::{Conflict, OwnGeneration},
    id::{NodeGeneration, NodeId, NodeKey},
    link::setup::Established,
    links::Peer,
    mesh::Mesh,
    navigator::NavigatorEvent,
    peer::{PeerEvent, PeerTask},
    seeker::{self, Seeking},
    tasks::{Scope, Task, Wait},
    worker::Worker,
};

/// What the roster is told.
#[derive(Debug)]
pub(crate) enum RosterEvent {
    /// A keeper has closed.
    Ended,
    /// A seeker has found out who lives at its addresses.
    Found {
        established: Box<Established>,
        targets: Vec<HostPort>,
    },
    /// A node that has no keeper here has dialed.
    Inbound(Box<Established>),
    /// The configuration was read again.
    Reload {
        peers: Vec<PeerConfig>,
        done: oneshot::Sender<()>,
    },
    /// A seeker's addresses lead to this node.
    Myself { targets: Vec<HostPort> },
    /// A peer knows this generation of our name.
    Stale { known: NodeGeneration },
    /// The router wants links to these peers, and to no others but those that are configured.
    Wanted(Vec<(NodeId, Vec<HostPort>)>),
}

/// Owns the list of peers.
pub(crate) struct Roster {
    mesh: Arc<Mesh>,
    workers: Vec<Worker>,
    dialer: Dialer,
    generation: OwnGeneration,
    events: mpsc::Receiver<RosterEvent>,
    peers: BTreeMap<NodeKey, Kept>,
    /// What the router wanted last.
    routed: BTreeMap<NodeKey, (NodeId, Vec<HostPort>)>,
    /// By the addresses that are configured without a name.
    sought: BTreeMap<Vec<HostPort>, Sought>,
    fingerprint: u64,
    next_check: Instant,
}

/// A peer that has a keeper.
struct Kept {
    id: NodeId,
    inbox: mpsc::Sender<PeerEvent>,
    /// Owns the keeper alone, and names it in listings.
    scope: Scope,
    wanted: Wanted,
    /// Where its keeper was last told to dial it.
    addresses: Vec<HostPort>,
}

/// Who wants a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// Nobody here: it has dialed.
    No,
    /// The router, which has learned of it from others.
    ByRouter,
    /// The configuration names it, or it was found at an address there.
    Yes,
    /// It is not wanted any more; its keeper finishes what is under way.
    NoMore,
    /// It was let go and is wanted again: it gets a new keeper, with these addresses, after the old one.
    Again(Vec<HostPort>),
}

/// What came of addresses that are configured without a name.
enum Sought {
    /// This peer lives there.
    Found(NodeKey),
    /// They lead to this node.
    Myself,
    /// A seeker dials them.
    Running {
        seeking: Arc<Seeking>,
        /// Owns the seeker: dropping it ends the search.
        _scope: Scope,
    },
}

enum Wake {
    Event(RosterEvent),
    Stop,
    Timer,
}

impl Roster {
    pub(crate) fn new(
        mesh: &Arc<Mesh>,
        workers: Vec<Worker>,
        generation: OwnGeneration,
        events: mpsc::Receiver<RosterEvent>,
    ) -> Self {
        Self {
            dialer: Dialer::new(mesh),
            mesh: mesh.clone(),
            workers,
            generation,
            events,
            peers: BTreeMap::new(),
            routed: BTreeMap::new(),
            sought: BTreeMap::new(),
            fingerprint: mesh.env.certificates.fingerprint(),
            next_check: clock::now() + CHECK_EVERY,
        }
    }

    /// Keeps the configured peers, and those that come, until the owner's end.
    pub(crate) async fn run(mut self, task: Task) {
        let mesh = self.mesh.clone();
        self.reload(mesh.config.peers()).await;
        loop {
            task.waits(Wait::Message);
            let wake = tokio::select! {
                biased;
                () = task.stopping() => Wake::Stop,
                Some(event) = self.events.recv() => Wake::Event(event),
                () = clock::sleep_until(Some(self.next_check)) => Wake::Timer,
            };
            match wake {
                Wake::Stop => {
                    task.waits(Wait::Close);
                    return self.end().await;
                }
                Wake::Timer => {
                    self.next_check = clock::now() + CHECK_EVERY;
                    self.forget_ended();
                    self.check_certificates();
                }
                Wake::Event(event) => self.handle_event(event).await,
            }
        }
    }

    /// Sees the keepers off: each tells its peer.
    async fn end(self) {
        let deadline = clock::now() + self.mesh.config.shared().shutdown_timeout;
        let kept = self.peers.into_values();
        join_all(kept.map(|kept| kept.scope.close(deadline))).await;
    }

    async fn handle_event(&mut self, event: RosterEvent) {
        match event {
            RosterEvent::Ended => self.forget_ended(),
            RosterEvent::Found {
                established,
                targets,
            } => {
                // The configuration may have dropped them since.
                let wanted = self.sought.contains_key(&targets);
                let found = Sought::Found(established.peer.key());
                let dialed_at = if wanted { targets.clone() } else { Vec::new() };
                self.take(established, dialed_at).await;
                self.end_seeking(&targets, found);
            }
            RosterEvent::Myself { targets } => self.end_seeking(&targets, Sought::Myself),
            RosterEvent::Inbound(established) => self.take(established, Vec::new()).await,
            RosterEvent::Reload { peers, done } => {
                // The operator may have ended the other process of this name.
                self.generation.handle_reload();
                let halted = self.mesh.duplicate.swap(false, Ordering::Relaxed);
                self.reload(&peers).await;
                if halted {
                    self.resume().await;
                }
                self.check_certificates();
                // Nobody waits any more: then nobody needs to know.
                let _ = done.send(());
            }
            RosterEvent::Stale { known } => self.handle_stale(known).await,
            RosterEvent::Wanted(wanted) => self.handle_wanted(wanted).await,
        }
    }

    /// Gives a link to its peer's keeper, which is made if there is none.
    ///
    /// - `targets`: where a seeker has found the peer; it is dialed there from now on.
    async fn take(&mut self, established: Box<Established>, targets: Vec<HostPort>) {
        self.forget_ended();
        let connection = established.connection.clone();
        let (id, key) = (established.peer.clone(), established.peer.key());
        let known = self.peers.contains_key(&key);
        if !known && self.peers.len() >= self.mesh.config.limits().links {
            warn!(peer = %id, "refused: as many peers as may be");
            self.make_room().await;
            return connection.close(CloseCode::Overloaded, b"");
        }
        if !known {
            let wanted = match targets.is_empty() {
                true => Wanted::No,
                false => Wanted::Yes,
            };
            self.keep(&id, targets, wanted);
        } else if !targets.is_empty() {
            // One that is named in the configuration has addresses of its own.
            self.want(key, targets, false).await;
        }
        let kept = self.peers.get(&key);
        if kept.is_none_or(|kept| {
            kept.inbox
                .try_send(PeerEvent::Inbound(established))
                .is_err()
        }) {
            connection.close(CloseCode::Overloaded, b"");
        }
    }

    /// Lets one peer go that is not here any more, for the next that comes: one that came by itself,
    /// or else one that only the router wants.
    ///
    /// The router learns that a node is gone minutes after its link has ended, and one that comes is
    /// worth more than one that may come back.
    async fn make_room(&mut self) {
        let links = self.mesh.links.snapshot();
        let linked = |peer: &Arc<Peer>| peer.slot.load().link.is_some();
        let gone = self
            .peers
            .iter_mut()
            .filter(|(_, kept)| matches!(kept.wanted, Wanted::No | Wanted::ByRouter))
            .filter(|(key, _)| !links.get(key).is_some_and(linked))
            .min_by_key(|(_, kept)| kept.wanted == Wanted::ByRouter);
        if let Some((key, kept)) = gone {
            kept.wanted = Wanted::NoMore;
            let key = *key;
            self.tell(key, PeerEvent::Forget(CloseCode::Removed)).await;
        }
    }

    /// Adds and removes what has changed, and touches nothing else.
    async fn reload(&mut self, peers: &[PeerConfig]) {
        self.forget_ended();
        let mut named: BTreeMap<NodeKey, (NodeId, Vec<HostPort>)> = BTreeMap::new();
        let mut unnamed = Vec::new();
        for peer in peers {
            match &peer.id {
                Some(id) => {
                    named.insert(id.key(), (id.clone(), peer.addresses.clone()));
                }
                None => unnamed.push(peer.addresses.clone()),
            }
        }
        self.sought.retain(|targets, _| unnamed.contains(targets));
        // Wanted at the addresses that the configuration gives, or else at those that led to it.
        for (targets, sought) in &self.sought {
            if let Sought::Found(key) = sought
                && let Some(kept) = self.peers.get(key)
            {
                let found = || (kept.id.clone(), targets.clone());
                named.entry(*key).or_insert_with(found);
            }
        }
        let stays = |key: &NodeKey| named.contains_key(key);
        let mut gone = Vec::new();
        for (key, kept) in &mut self.peers {
            match kept.wanted {
                // It is in the mesh, and its link stays for that.
                Wanted::Yes if !stays(key) && self.routed.contains_key(key) => {
                    kept.wanted = Wanted::ByRouter;
                }
                Wanted::Yes if !stays(key) => {
                    info!(peer = %kept.id, "no longer configured");
                    kept.wanted = Wanted::NoMore;
                    gone.push(*key);
                }
                Wanted::Again(_) if !stays(key) => kept.wanted = Wanted::NoMore,
                Wanted::No | Wanted::ByRouter | Wanted::Yes | Wanted::NoMore | Wanted::Again(_) => {
                }
            }
        }
        for key in gone {
            self.tell(key, PeerEvent::Forget(CloseCode::Removed)).await;
        }
        for (key, (id, addresses)) in named {
            if self.peers.contains_key(&key) {
                self.want(key, addresses, true).await;
            } else {
                self.keep(&id, addresses, Wanted::Yes);
            }
        }
        for targets in unnamed {
            // Found means kept, and from there on the keeper dials.
            if !self.sought.contains_key(&targets) {
                self.seek(targets);
            }
        }
        self.publish_seekers();
    }

    /// Keeps the peers that the router wants, and lets those go that only it has wanted.
    ///
    /// What is configured stays as it is: an operator who names addresses has a reason.
    async fn handle_wanted(&mut self, wanted: Vec<(NodeId, Vec<HostPort>)>) {
        self.forget_ended();
        self.routed = wanted.into_iter().map(|w| (w.0.key(), w)).collect();
        let mut gone = Vec::new();
        for (key, kept) in &mut self.peers {
            if kept.wanted == Wanted::ByRouter && !self.routed.contains_key(key) {
                kept.wanted = Wanted::NoMore;
                gone.push(*key);
            }
        }
        for key in gone {
            self.tell(key, PeerEvent::Forget(CloseCode::Removed)).await;
        }
        for (key, (id, addresses)) in self.routed.clone() {
            let Some(kept) = self.peers.get_mut(&key) else {
                if self.peers.len() < self.mesh.config.limits().links {
                    self.keep(&id, addresses, Wanted::ByRouter);
                }
                continue;
            };
            let is_new = kept.wanted == Wanted::No || kept.addresses != addresses;
            match kept.wanted {
                Wanted::No | Wanted::ByRouter if is_new => {
                    kept.wanted = Wanted::ByRouter;
                    kept.addresses.clone_from(&addresses);
                    self.tell(key, PeerEvent::Addresses(addresses)).await;
                }
                // The operator or the router has just let it go; if it is still wanted when its
                // keeper has ended, the router's next word keeps it.
                Wanted::No | Wanted::ByRouter | Wanted::Yes | Wanted::NoMore | Wanted::Again(_) => {
                }
            }
        }
    }

    /// Every keeper dials again that two processes of this node's name had stopped.
    async fn resume(&self) {
        for (key, kept) in &self.peers {
            if matches!(kept.wanted, Wanted::ByRouter | Wanted::Yes) {
                let addresses = PeerEvent::Addresses(kept.addresses.clone());
                self.tell(*key, addresses).await;
            }
        }
    }

    /// A peer that has a keeper is wanted, at `addresses`; these count if they are `named`, or if it
    /// was not wanted before.
    ///
    /// A keeper whose addresses did not change is not told: to it, that would be news of the peer,
    /// and a thousand that back off would dial at once, at every reload.
    async fn want(&mut self, key: NodeKey, addresses: Vec<HostPort>, named: bool) {
        let Some(kept) = self.peers.get_mut(&key) else {
            return;
        };
        match kept.wanted {
            // A keeper that leaves does not come back.
            Wanted::NoMore | Wanted::Again(_) => kept.wanted = Wanted::Again(addresses),
            Wanted::Yes if !named || kept.addresses == addresses => {}
            Wanted::No | Wanted::ByRouter | Wanted::Yes => {
                let is_known = kept.wanted != Wanted::No && kept.addresses == addresses;
                kept.wanted = Wanted::Yes;
                if is_known {
                    return;
                }
                kept.addresses.clone_from(&addresses);
                self.tell(key, PeerEvent::Addresses(addresses)).await;
            }
        }
    }

    /// Makes a keeper for a peer, which dials it at `addresses`.
    fn keep(&mut self, id: &NodeId, addresses: Vec<HostPort>, wanted: Wanted) {
        let worker = Worker::of_pair(&self.workers, self.mesh.id.key(), id.key());
        let scope = worker.scope.child(format!("peer {id}"));
        let with = (worker.endpoint.clone(), self.dialer.clone());
        let (task, peer) = PeerTask::new(&self.mesh, id.clone(), addresses.clone(), with, scope);
        // A future has room for its arguments and again for what they become.
        let task = Box::new(task);
        // Apart from the scope of its links, which it ends itself.
        let own = worker.scope.child(format!("peer {id}"));
        match own.spawn("keeper", |running| task.run(running)) {
            Ok(_) => {
                let kept = Kept {
                    id: id.clone(),
                    inbox: peer.inbox.clone(),
                    scope: own,
                    wanted,
                    addresses,
                };
                self.mesh.links.add(peer);
                self.peers.insert(id.key(), kept);
            }
            Err(refused) => error!(peer = %id, error = %refused, "cannot keep a peer"),
        }
    }

    fn seek(&mut self, targets: Vec<HostPort>) {
        let worker = &self.workers[0];
        let with = (worker.endpoint.clone(), self.dialer.clone());
        let seeking = Arc::new(Seeking::new(clock::now(), targets.clone()));
        let (mesh, published) = (self.mesh.clone(), seeking.clone());
        let scope = worker.scope.child(format!("seek {}", seeking.name()));
        match scope.spawn("seeker", |task| seeker::run(mesh, with, published, task)) {
            Ok(_) => {
                let running = Sought::Running {
                    seeking,
                    _scope: scope,
                };
                self.sought.insert(targets, running);
            }
            Err(refused) => error!(error = %refused, "cannot seek a peer"),
        }
    }

    /// Notes what came of seeking.
    fn end_seeking(&mut self, targets: &[HostPort], end: Sought) {
        if let Some(sought) = self.sought.get_mut(targets) {
            *sought = end;
            self.publish_seekers();
        }
    }

    /// Shows which addresses have no known node yet.
    fn publish_seekers(&self) {
        let sought = self.sought.values();
        let running = sought.filter_map(|sought| match sought {
            Sought::Running { seeking, .. } => Some(seeking.clone()),
            Sought::Found(_) | Sought::Myself => None,
        });
        self.mesh.seekers.store(Arc::new(running.collect()));
    }

    /// Keepers that have closed leave the list. A peer that was removed and is configured again gets
    /// a new one; any other is new when it dials.
    fn forget_ended(&mut self) {
        let ended = |kept: &Kept| kept.inbox.is_closed();
        let ended: Vec<NodeKey> = self
            .peers
            .iter()
            .filter(|(_, kept)| ended(kept))
            .map(|(key, _)| *key)
            .collect();
        for key in ended {
            self.mesh.links.remove(key);
            if let Some(Kept { id, wanted, .. }) = self.peers.remove(&key)
                && let Wanted::Again(addresses) = wanted
            {
                self.keep(&id, addresses, Wanted::Yes);
            }
        }
        // A peer that was found and has no keeper any more is sought again where it was.
        let lost: Vec<Vec<HostPort>> = self
            .sought
            .iter()
            .filter(
                |(_, sought)| matches!(sought, Sought::Found(key) if !self.peers.contains_key(key)),
            )
            .map(|(targets, _)| targets.clone())
            .collect();
        if !lost.is_empty() {
            lost.into_iter().for_each(|targets| self.seek(targets));
            self.publish_seekers();
        }
    }

    async fn handle_stale(&mut self, known: NodeGeneration) {
        match self.generation.handle_stale(known, &*self.mesh.env.state) {
            Ok(Conflict::AlreadyAbove) => {}
            Ok(Conflict::Moved(generation)) => {
                warn!(%known, %generation, "a peer knows a newer process of this name: moved above it");
                self.mesh.generation.store(generation.0, Ordering::Relaxed);
                let moved = NavigatorEvent::GenerationMoved(generation);
                // Without room it goes on in the old name, is outbid, and gets here again.
                let _ = self.mesh.navigator.try_send(moved);
                self.tell_all(|| PeerEvent::GenerationMoved).await;
            }
            Ok(Conflict::DuplicateName) => {
                if !self.mesh.duplicate.swap(true, Ordering::Relaxed) {
                    error!(%known, "another process uses this node's name: this one stops dialing until it is reloaded");
                }
                // Told again even if known: a reload may have set the keepers to dialing.
                self.tell_all(|| PeerEvent::DuplicateName).await;
            }
            Err(error) => error!(%error, "cannot move above a newer process of this name"),
        }
    }

    /// Loads certificate, key and bundle again; what cannot be used leaves the old ones in place.
    fn check_certificates(&mut self) {
        let now = self.mesh.env.wall.now();
        let certificates = &self.mesh.env.certificates;
        // Taken before loading: files that change while they are read are then read again.
        let fingerprint = certificates.fingerprint();
        if std::mem::replace(&mut self.fingerprint, fingerprint) == fingerprint {
            return self.recheck();
        }
        match certificates.load(now) {
            Ok(material) => {
                info!("certificates reloaded");
                self.mesh.material.store(Arc::new(material));
                for worker in &self.workers {
                    match self.mesh.server_config() {
                        Ok(config) => worker.endpoint.set_server_config(Some(config)),
                        Err(error) => error!(%error, "reloaded certificates cannot be served"),
                    }
                }
            }
            Err(error) => error!(%error, "certificates not reloaded, the old ones stay in use"),
        }
        self.recheck();
    }

    fn recheck(&self) {
        for kept in self.peers.values() {
            // One without room is asked the next time.
            let _ = kept.inbox.try_send(PeerEvent::Recheck);
        }
    }

    /// Nothing repeats what is told, so this waits for room. A keeper takes its events at once and
    /// never waits for the roster; one that does not is stuck, and is left to its fate.
    async fn tell(&self, peer: NodeKey, event: PeerEvent) {
        let Some(kept) = self.peers.get(&peer) else {
            return;
        };
        if let Err(SendTimeoutError::Timeout(_)) = kept.inbox.send_timeout(event, TELL_WITHIN).await
        {
            error!(peer = %kept.id, "its keeper does not listen");
        }
    }

    async fn tell_all(&self, event: impl Fn() -> PeerEvent) {
        for peer in self.peers.keys() {
            self.tell(*peer, event()).await;
        }
    }
}

/// How soon a changed certificate is noticed without a signal, and a link whose peer's has expired.
const CHECK_EVERY: Duration = Duration::from_secs(10);
const TELL_WITHIN: Duration = Duration::from_secs(1);
