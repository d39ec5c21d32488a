//! Which peers there are: from configuration, from seekers, and from those who dial this node.
//!
//! One task owns the list. It also owns what concerns all peers at once: the node's generation, and
//! its certificates.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

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
    mesh::Mesh,
    peer::{PeerEvent, PeerTask},
    seeker,
    tasks::{Task, TaskHandle, Wait},
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
    seekers: BTreeMap<Vec<HostPort>, TaskHandle>,
    fingerprint: u64,
    next_check: Instant,
}

/// A peer that has a keeper.
struct Kept {
    id: NodeId,
    inbox: mpsc::Sender<PeerEvent>,
    task: TaskHandle,
    wanted: bool,
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
            seekers: BTreeMap::new(),
            fingerprint: mesh.env.certificates.fingerprint(),
            next_check: clock::now() + CHECK_EVERY,
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
                () = clock::sleep_until(Some(self.next_check)) => Wake::Timer,
            };
            match wake {
                Wake::Stop => return,
                Wake::Timer => {
                    self.next_check = clock::now() + CHECK_EVERY;
                    self.forget_ended();
                    self.check_certificates();
                }
                Wake::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: RosterEvent) {
        match event {
            RosterEvent::Found {
                established,
                targets,
            } => {
                self.seekers.remove(&targets);
                self.take(established, targets);
            }
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
            return connection.close(CloseCode::Overloaded, b"");
        }
        let wanted = !targets.is_empty();
        if !known {
            self.keep(&id, targets);
        } else if wanted {
            self.tell(id.key(), PeerEvent::Addresses(targets));
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
        let gone: Vec<NodeKey> = self
            .peers
            .iter()
            .filter(|(key, kept)| kept.wanted && !named.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            info!(peer = %self.peers[&key].id, "no longer configured");
            self.tell(key, PeerEvent::Forget(CloseCode::Removed));
        }
        for (key, (id, addresses)) in named {
            if self
                .peers
                .get(&key)
                .is_some_and(|kept| !kept.task.is_finished())
            {
                self.tell(key, PeerEvent::Addresses(addresses));
            } else {
                self.keep(&id, addresses);
            }
        }
        self.seekers.retain(|targets, task| {
            let wanted = unnamed.contains(targets);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for targets in unnamed {
            self.seek(targets);
        }
    }

    fn keep(&mut self, id: &NodeId, addresses: Vec<HostPort>) {
        let worker = Worker::of_pair(&self.workers, self.mesh.id.key(), id.key());
        let scope = worker.scope.child(format!("peer {id}"));
        let wanted = !addresses.is_empty();
        let with = (worker.endpoint.clone(), self.dialer.clone());
        let (task, peer) = PeerTask::new(&self.mesh, id.clone(), addresses, with, scope);
        match worker.scope.spawn("keeper", |running| task.run(running)) {
            Ok(task) => {
                let inbox = peer.inbox.clone();
                self.mesh.links.add(peer);
                self.peers.insert(
                    id.key(),
                    Kept {
                        id: id.clone(),
                        inbox,
                        task,
                        wanted,
                    },
                );
            }
            Err(refused) => error!(peer = %id, error = %refused, "cannot keep a peer"),
        }
    }

    fn seek(&mut self, targets: Vec<HostPort>) {
        if self.seekers.contains_key(&targets) {
            return;
        }
        let worker = &self.workers[0];
        let with = (worker.endpoint.clone(), self.dialer.clone());
        let (mesh, addresses) = (self.mesh.clone(), targets.clone());
        let seeking = worker
            .scope
            .spawn("seeker", |task| seeker::run(mesh, with, addresses, task));
        match seeking {
            Ok(task) => {
                self.seekers.insert(targets, task);
            }
            Err(refused) => error!(error = %refused, "cannot seek a peer"),
        }
    }

    /// Keepers that have closed leave the list; a removed peer that is dialed by is new again.
    fn forget_ended(&mut self) {
        let links = &self.mesh.links;
        self.peers.retain(|key, kept| {
            let ended = kept.task.is_finished();
            if ended {
                links.remove(*key);
            }
            !ended
        });
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
