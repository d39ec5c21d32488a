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
use tokio::sync::{mpsc, oneshot};
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
    peer::{PeerEvent, PeerTask},
    seeker::{self, Seeking},
    tasks::{Scope, Task, TaskHandle, Wait},
    worker::Worker,
};

/// What the roster is told.
#[derive(Debug)]
pub(crate) enum RosterEvent {
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
}

/// Owns the list of peers.
pub(crate) struct Roster {
    mesh: Arc<Mesh>,
    workers: Vec<Worker>,
    dialer: Dialer,
    generation: OwnGeneration,
    events: mpsc::Receiver<RosterEvent>,
    peers: BTreeMap<NodeKey, Kept>,
    /// By configured addresses.
    sought: BTreeMap<Vec<HostPort>, Sought>,
    fingerprint: u64,
    next_check: Instant,
    next_look: Option<Instant>,
}

/// A peer that has a keeper.
struct Kept {
    id: NodeId,
    inbox: mpsc::Sender<PeerEvent>,
    task: TaskHandle,
    /// Owns the keeper alone, and names it in listings.
    scope: Scope,
    /// Whether it is dialed: configured, or found by a seeker.
    wanted: bool,
    /// Whether it is configured by its name.
    configured: bool,
    /// Told to go. Such a keeper takes nothing back: a peer that is wanted again gets another.
    leaving: bool,
    /// Wanted again, and where.
    again: Option<Vec<HostPort>>,
}

/// What came of addresses that are configured without a name.
enum Sought {
    Found(NodeKey),
    Myself,
    Running {
        seeking: Arc<Seeking>,
        /// Owns the seeker: dropping it ends the search.
        _scope: Scope,
    },
}

enum Wake {
    Check,
    Event(RosterEvent),
    Look,
    Stop,
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
            sought: BTreeMap::new(),
            fingerprint: mesh.env.certificates.fingerprint(),
            next_check: clock::now() + CHECK_EVERY,
            next_look: None,
        }
    }

    /// Keeps the configured peers, and those that come, until the owner's end.
    pub(crate) async fn run(mut self, task: Task) {
        let mesh = self.mesh.clone();
        self.reload(mesh.config.peers());
        loop {
            task.waits(Wait::Message);
            let wake = tokio::select! {
                biased;
                () = task.stopping() => Wake::Stop,
                Some(event) = self.events.recv() => Wake::Event(event),
                () = clock::sleep_until(self.next_look) => Wake::Look,
                () = clock::sleep_until(Some(self.next_check)) => Wake::Check,
            };
            match wake {
                Wake::Stop => {
                    task.waits(Wait::Close);
                    return self.end().await;
                }
                Wake::Check => {
                    self.next_check = clock::now() + CHECK_EVERY;
                    self.forget_ended();
                    self.check_certificates();
                }
                Wake::Look => self.forget_ended(),
                Wake::Event(event) => self.handle_event(event),
            }
        }
    }

    /// Sees the keepers off: each tells its peer.
    async fn end(self) {
        let deadline = clock::now() + self.mesh.config.shared().shutdown_timeout;
        let kept = self.peers.into_values();
        join_all(kept.map(|kept| kept.scope.close(deadline))).await;
    }

    fn handle_event(&mut self, event: RosterEvent) {
        match event {
            RosterEvent::Found {
                established,
                targets,
            } => {
                let found = Sought::Found(established.peer.key());
                // The configuration may have dropped them since.
                let wanted = self.sought.contains_key(&targets);
                let dialed_at = if wanted { targets.clone() } else { Vec::new() };
                self.take(established, dialed_at);
                self.end_seeking(&targets, found);
            }
            RosterEvent::Myself { targets } => self.end_seeking(&targets, Sought::Myself),
            RosterEvent::Inbound(established) => self.take(established, Vec::new()),
            RosterEvent::Reload { peers, done } => {
                self.reload(&peers);
                self.check_certificates();
                // Nobody waits any more: then nobody needs to know.
                let _ = done.send(());
            }
            RosterEvent::Stale { known } => self.handle_stale(known),
        }
    }

    /// Gives a link to its peer's keeper, which is made if there is none.
    ///
    /// - `targets`: where a seeker has found the peer; it is dialed there from now on.
    fn take(&mut self, established: Box<Established>, targets: Vec<HostPort>) {
        self.forget_ended();
        let connection = established.connection.clone();
        let id = established.peer.clone();
        let known = self.peers.contains_key(&id.key());
        if !known && self.peers.len() >= self.mesh.config.limits().links {
            warn!(peer = %id, "refused: as many peers as may be");
            self.make_room();
            return connection.close(CloseCode::Overloaded, b"");
        }
        match self.peers.get_mut(&id.key()) {
            None => self.keep(&id, targets),
            // What is configured under its name counts more than where else it was found.
            Some(kept) if targets.is_empty() || kept.configured => {}
            Some(kept) => {
                kept.wanted = true;
                self.tell(id.key(), PeerEvent::Addresses(targets));
            }
        }
        let kept = self.peers.get(&id.key());
        if kept.is_none_or(|kept| {
            kept.inbox
                .try_send(PeerEvent::Inbound(established))
                .is_err()
        }) {
            connection.close(CloseCode::Overloaded, b"");
        }
    }

    /// Lets one peer go that came by itself and is not here any more, for the next that comes.
    fn make_room(&mut self) {
        let links = self.mesh.links.snapshot();
        let gone = self.peers.iter_mut().find(|(key, kept)| {
            let linked = |peer: &Arc<Peer>| peer.slot.load().link.is_some();
            !kept.wanted && !kept.leaving && !links.get(key).is_some_and(linked)
        });
        if let Some((_, kept)) = gone {
            kept.leaving = true;
            self.next_look = Some(clock::now() + LOOK_EVERY);
            let _ = kept.inbox.try_send(PeerEvent::Forget(CloseCode::Removed));
        }
    }

    /// Adds and removes what has changed, and touches nothing else.
    fn reload(&mut self, peers: &[PeerConfig]) {
        let mut named = BTreeMap::new();
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
        self.let_go(&named);
        for (key, (id, addresses)) in named {
            match self.peers.get_mut(&key) {
                Some(kept) if kept.leaving => kept.again = Some(addresses),
                Some(kept) if !kept.task.is_finished() => {
                    (kept.wanted, kept.configured) = (true, true);
                    self.tell(key, PeerEvent::Addresses(addresses));
                }
                _ => self.keep_configured(&id, addresses),
            }
        }
        for targets in unnamed {
            if !self.sought.contains_key(&targets) {
                self.seek(targets);
            }
        }
        self.publish_seekers();
    }

    /// Tells the peers to go that were wanted and are not any more: neither by name nor by one of
    /// the addresses that are still configured.
    fn let_go(&mut self, named: &BTreeMap<NodeKey, (NodeId, Vec<HostPort>)>) {
        let found: BTreeMap<NodeKey, &Vec<HostPort>> = self
            .sought
            .iter()
            .filter_map(|(targets, sought)| match sought {
                Sought::Found(key) => Some((*key, targets)),
                Sought::Myself | Sought::Running { .. } => None,
            })
            .collect();
        for (key, kept) in &mut self.peers {
            kept.again = None;
            if named.contains_key(key) || kept.leaving || !kept.wanted {
                continue;
            }
            kept.configured = false;
            let news = match found.get(key) {
                Some(targets) => PeerEvent::Addresses((*targets).clone()),
                None => {
                    info!(peer = %kept.id, "no longer configured");
                    kept.leaving = true;
                    self.next_look = Some(clock::now() + LOOK_EVERY);
                    PeerEvent::Forget(CloseCode::Removed)
                }
            };
            // A keeper whose queue is full or gone is ending.
            let _ = kept.inbox.try_send(news);
        }
    }

    fn keep_configured(&mut self, id: &NodeId, addresses: Vec<HostPort>) {
        self.keep(id, addresses);
        if let Some(kept) = self.peers.get_mut(&id.key()) {
            kept.configured = true;
        }
    }

    fn keep(&mut self, id: &NodeId, addresses: Vec<HostPort>) {
        let worker = Worker::of_pair(&self.workers, self.mesh.id.key(), id.key());
        let scope = worker.scope.child(format!("peer {id}"));
        let wanted = !addresses.is_empty();
        let with = (worker.endpoint.clone(), self.dialer.clone());
        let (task, peer) = PeerTask::new(&self.mesh, id.clone(), addresses, with, scope);
        // Apart from the scope of its links, which it ends itself.
        let own = worker.scope.child(format!("peer {id}"));
        match own.spawn("keeper", |running| task.run(running)) {
            Ok(task) => {
                let inbox = peer.inbox.clone();
                self.mesh.links.add(peer);
                self.peers.insert(
                    id.key(),
                    Kept {
                        id: id.clone(),
                        inbox,
                        task,
                        scope: own,
                        wanted,
                        configured: false,
                        leaving: false,
                        again: None,
                    },
                );
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

    /// Keepers that have closed leave the list; a removed peer that is dialed by is new again.
    fn forget_ended(&mut self) {
        let links = &self.mesh.links;
        let mut again = Vec::new();
        self.peers.retain(|key, kept| {
            let ended = kept.task.is_finished();
            if ended {
                links.remove(*key);
                again.extend(
                    kept.again
                        .take()
                        .map(|addresses| (kept.id.clone(), addresses)),
                );
            }
            !ended
        });
        for (id, addresses) in again {
            self.keep_configured(&id, addresses);
        }
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
        let leaving = self.peers.values().any(|kept| kept.leaving);
        self.next_look = leaving.then(|| clock::now() + LOOK_EVERY);
    }

    fn handle_stale(&mut self, known: NodeGeneration) {
        match self.generation.handle_stale(known, &*self.mesh.env.state) {
            Ok(Conflict::AlreadyAbove) => {}
            Ok(Conflict::Moved(generation)) => {
                warn!(%known, %generation, "a peer knows a newer process of this name: moved above it");
                self.mesh.generation.store(generation.0, Ordering::Relaxed);
                self.tell_all(|| PeerEvent::GenerationMoved);
            }
            Ok(Conflict::DuplicateName) => {
                if !self.mesh.duplicate.swap(true, Ordering::Relaxed) {
                    error!(%known, "another process uses this node's name: this one stops dialing");
                    self.tell_all(|| PeerEvent::DuplicateName);
                }
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
            return self.tell_all(|| PeerEvent::Recheck);
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
        self.tell_all(|| PeerEvent::Recheck);
    }

    fn tell(&self, peer: NodeKey, event: PeerEvent) {
        // A keeper whose queue is full or gone is ending.
        let _ = self.peers.get(&peer).map(|kept| kept.inbox.try_send(event));
    }

    fn tell_all(&self, event: impl Fn() -> PeerEvent) {
        for kept in self.peers.values() {
            let _ = kept.inbox.try_send(event());
        }
    }
}

/// How soon a changed certificate is noticed without a signal, and a link whose peer's has expired.
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// How soon a peer that was told to go leaves the list once it has gone.
const LOOK_EVERY: Duration = Duration::from_millis(250);
