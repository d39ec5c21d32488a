//! The task around a keeper: does what it decides, and tells it what happened.

mod pair;
mod telling;

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use router::liveness::Health;
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFuture;
use tracing::{debug, info, warn};

pub(crate) use self::pair::Measure;
use self::pair::Pair;
pub use self::pair::{ConditionChange, PairFigures};
use crate::{
    clock,
    code::CloseCode,
    config::HostPort,
    deadline::{Closed, Endpoint},
    dial::{DialFailure, DialRequest, Dialer},
    id::{LinkGeneration, NodeGeneration},
    identity::{Expect, PassedChain},
    keeper::{
        CloseCause, DialId, DialPool, Keeper, KeeperConfig, LinkFacts, Output, PeerStatus,
        ReplaceReason, Role, StateName, Transition,
    },
    link::{Link, setup::Established},
    links::{Peer, PeerState},
    mesh::Mesh,
    roster::RosterEvent,
    slot::{Publisher, Slot},
    tasks::{Scope, Task, TaskHandle, Wait},
    wire::{CloseReason, Frame},
};

/// What happens to a peer, for its keeper to hear.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// It is wanted, at these addresses.
    Addresses(Vec<HostPort>),
    /// The dial that was asked for has ended.
    Dialed(DialId, Box<Result<Established, DialFailure>>),
    /// Another process uses this node's name.
    DuplicateName,
    /// Close everything and end.
    Forget(CloseCode),
    /// This node's generation has moved.
    GenerationMoved,
    /// The peer has dialed, or a seeker has found it.
    Inbound(Box<Established>),
    /// Something happened on a link. Boxed, since each inbox keeps room for 32 events and more.
    Link(Box<(LinkGeneration, LinkEvent)>),
    /// The bundle was reloaded, or time has passed: check the peer's certificates.
    Recheck,
}

/// What happens on a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It ended.
    Closed(Closed),
    /// What its probes say.
    Health(Health),
    /// What it showed.
    Measured(Measure),
    /// The peer promotes it.
    Promote(u64),
    /// The peer confirms its promotion.
    Promoted(u64),
    /// No reply for as long as a silent link is kept.
    Silent,
    /// This process stood still for so long, as a timer has shown.
    Stalled(Duration),
}

/// For people: what `causeway explain peer` shows.
#[derive(Debug, Clone, Default)]
pub struct PeerReport {
    /// Where it is dialed.
    pub addresses: Vec<HostPort>,
    /// The last changes of what is thought of it, oldest first.
    pub conditions: Vec<ConditionChange>,
    /// What was measured lately, about a second old.
    pub figures: PairFigures,
    /// The last transitions, oldest first.
    pub history: Vec<Transition>,
    /// Every link that is open, the current one or not.
    pub links: Vec<Arc<Link>>,
}

/// Owns one keeper and its links.
pub(crate) struct PeerTask {
    mesh: Arc<Mesh>,
    peer: Arc<Peer>,
    publisher: Publisher<PeerState>,
    endpoint: Endpoint,
    dialer: Dialer,
    scope: Scope,
    keeper: Keeper,
    pair: Pair,
    addresses: Vec<HostPort>,
    /// Mostly one, while a node of the map has room for eleven: hence the box.
    links: BTreeMap<LinkGeneration, Box<Served>>,
    /// How many transitions the log has.
    logged: u64,
    dial: Option<(DialId, TaskHandle)>,
    inbox: mpsc::Receiver<PeerEvent>,
    /// Something of the report has changed since it was stored.
    unreported: bool,
    /// When the figures of the report are old.
    figures_at: Instant,
    /// Events handled since the timer was last looked at.
    events_in_row: usize,
    /// When a peer that is not wanted and has no link is forgotten.
    forget_at: Option<Instant>,
}

/// A link and what owns its tasks.
struct Served {
    link: Arc<Link>,
    scope: Scope,
    /// Once retired: when to see whether its work is done.
    retiring: Option<Instant>,
    /// Nothing was open on it when it was last looked at.
    quiet: bool,
    /// Another was asked for because its congestion window has collapsed.
    renewing: bool,
    /// For how long the peer's certificates stand.
    passed: PassedChain,
}

enum Wake {
    Event(PeerEvent),
    Stop,
    Timer,
}

impl PeerTask {
    /// Makes the peer known to readers, and the task that keeps it; [`PeerTask::run`] must follow.
    ///
    /// - `addresses`: where to dial it; empty for a peer that is only accepted.
    /// - `scope`: owns the peer's links and dials.
    pub(crate) fn new(
        mesh: &Arc<Mesh>,
        id: crate::id::NodeId,
        addresses: Vec<HostPort>,
        (endpoint, dialer): (Endpoint, Dialer),
        scope: Scope,
    ) -> (Self, Arc<Peer>) {
        let (inbox_in, inbox) = mpsc::channel(INBOX);
        let now = clock::now();
        let config = KeeperConfig {
            role: Role::of(mesh.id.key(), id.key()),
            seed: mesh.seed_for(id.uri().as_bytes()),
            epoch_floor: mesh.millis(now) + 1,
            backoff_max: mesh.config.shared().backoff_max,
            backoff_reset: mesh.config.shared().backoff_reset,
        };
        let mut keeper = Keeper::new(config);
        if !addresses.is_empty() {
            keeper.want(now);
        }
        if mesh.duplicate.load(Ordering::Relaxed) {
            keeper.handle_duplicate_name(now);
        }
        // As it is and not as it begins: who asks before the task has run joins the dial.
        let first = PeerState {
            status: keeper.status().clone(),
            link: None,
        };
        let (publisher, slot) = Slot::with_publisher(first);
        let peer = Arc::new(Peer::new(id, slot, inbox_in));
        let task = Self {
            mesh: mesh.clone(),
            peer: peer.clone(),
            publisher,
            endpoint,
            dialer,
            scope,
            keeper,
            pair: Pair::new(mesh.health(), now),
            addresses,
            links: BTreeMap::new(),
            logged: 0,
            dial: None,
            inbox,
            unreported: true,
            figures_at: now,
            events_in_row: 0,
            forget_at: None,
        };
        (task, peer)
    }

    /// Runs until the keeper is closed or the owner stops it.
    pub(crate) async fn run(mut self: Box<Self>, task: Task) {
        self.perform_outputs(clock::now());
        // Both are kept from turn to turn: an idle link alone makes a few in a second.
        let mut stop = pin!(task.stopping());
        let mut timer = pin!(sleep_until(clock::now().into()));
        while self.keeper.state() != StateName::Closed {
            let wake = self.next_wake(&task, stop.as_mut(), timer.as_mut()).await;
            let now = clock::now();
            // Before anything that may bring the pair back.
            self.renew_collapsed(now);
            match wake {
                Wake::Stop => {
                    self.keeper.forget(now, CloseCode::Shutdown, now);
                    self.keeper.handle_timeout(now);
                }
                Wake::Event(event) => {
                    self.handle_event(now, event);
                    // Events go before the timer, so that none is late that came in time. A peer
                    // that floods this node with them does not stop the clock.
                    self.events_in_row += 1;
                    if self.events_in_row >= INBOX {
                        self.handle_timeout(now);
                    }
                }
                Wake::Timer => self.handle_timeout(now),
            }
            self.perform_outputs(now);
            self.forget_at = match (self.keeper.state(), self.addresses.is_empty()) {
                (StateName::Idle, true) => self.forget_at.or(Some(now + FORGET_AFTER)),
                _ => None,
            };
        }
        self.turn_away();
        task.waits(Wait::Message);
        self.tell_gone().await;
        // The roster finds it out by itself if it has no room for this.
        let _ = self.mesh.roster.try_send(RosterEvent::Ended);
        task.waits(Wait::Close);
        self.scope.close(clock::now() + END_WITHIN).await;
    }

    async fn next_wake(
        &mut self,
        task: &Task,
        stop: Pin<&mut WaitForCancellationFuture<'_>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Wake {
        task.waits(if self.dial.is_some() {
            Wait::Dial
        } else {
            Wait::Message
        });
        let look = self
            .links
            .values()
            .filter_map(|served| served.retiring)
            .min();
        let timers = [
            self.keeper.poll_timeout(),
            self.pair.poll_timeout(),
            look,
            self.forget_at,
        ];
        let is_armed = clock::arm(timer.as_mut(), timers.into_iter().flatten().min());
        tokio::select! {
            biased;
            () = stop => Wake::Stop,
            Some(event) = self.inbox.recv() => Wake::Event(event),
            () = timer, if is_armed => Wake::Timer,
        }
    }

    /// Hears nobody any more: those who have something to say find that out at once.
    fn turn_away(&mut self) {
        self.inbox.close();
        while let Ok(event) = self.inbox.try_recv() {
            if let PeerEvent::Inbound(established) = event {
                established.connection.close(CloseCode::Removed, b"");
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.events_in_row = 0;
        if self.forget_at.is_some_and(|at| at <= now) {
            return self.keeper.forget(now, CloseCode::Removed, now);
        }
        let mut idle = Vec::new();
        for (generation, served) in &mut self.links {
            if served.retiring.is_some_and(|at| at <= now) {
                served.retiring = Some(now + LOOK_EVERY);
                // Twice in a row: a stream may be on its way that was opened just before.
                let was_quiet = std::mem::replace(&mut served.quiet, served.link.is_idle());
                if was_quiet && served.quiet {
                    idle.push(*generation);
                }
            }
        }
        for generation in idle {
            self.keeper.handle_link_idle(now, generation);
        }
        self.keeper.handle_timeout(now);
        self.pair.handle_timeout(now);
    }

    /// Asks for another link where the current one's window would hold up what comes back to it.
    fn renew_collapsed(&mut self, now: Instant) {
        if !self.pair.is_returning() {
            return;
        }
        let Some((generation, served)) = self.pair.current().and_then(|generation| {
            let served = self.links.get_mut(&generation)?;
            Some((generation, served))
        }) else {
            return;
        };
        let window = served.link.connection.stats().congestion_window_bytes;
        if self.pair.handle_window(now, window) && !std::mem::replace(&mut served.renewing, true) {
            self.mesh.counts.links_renewed.incr();
            self.keeper
                .handle_replace(now, generation, ReplaceReason::Collapsed);
        }
    }

    fn handle_event(&mut self, now: Instant, event: PeerEvent) {
        match event {
            PeerEvent::Addresses(addresses) => {
                self.addresses = addresses;
                self.keeper.want(now);
                self.keeper.handle_heard_of(now);
                self.report(now);
            }
            PeerEvent::Dialed(dial, result) => self.handle_dialed(now, dial, *result),
            PeerEvent::DuplicateName => self.keeper.handle_duplicate_name(now),
            PeerEvent::Forget(code) => self.keeper.forget(now, code, now + LEAVE_WITHIN),
            PeerEvent::GenerationMoved => self.keeper.handle_generation_moved(now),
            PeerEvent::Inbound(established) => {
                if let Some(facts) = self.serve(*established) {
                    self.keeper.handle_accepted(now, facts);
                }
            }
            PeerEvent::Link(of_link) => {
                let (link, event) = *of_link;
                self.handle_link(now, link, event);
            }
            PeerEvent::Recheck => self.recheck(now),
        }
    }

    fn handle_dialed(
        &mut self,
        now: Instant,
        dial: DialId,
        result: Result<Established, DialFailure>,
    ) {
        if self
            .dial
            .as_ref()
            .is_some_and(|(current, _)| *current == dial)
        {
            self.dial = None;
        }
        match result {
            Ok(established) => match self.serve(established) {
                Some(facts) => self.keeper.handle_dialed(now, dial, facts),
                None => self.keeper.handle_dial_failed(
                    now,
                    dial,
                    DialFailure::local("no room for the link's tasks").error,
                ),
            },
            Err(DialFailure {
                known: Some(known), ..
            }) => {
                self.keeper.handle_stale(now, dial, known);
            }
            Err(failure) => {
                self.mesh.counts.dials_failed.incr();
                self.keeper.handle_dial_failed(now, dial, failure.error);
            }
        }
    }
}

impl PeerTask {
    /// Starts the tasks of a new link; `None` if it was refused, and closed.
    fn serve(&mut self, established: Established) -> Option<LinkFacts> {
        let facts = LinkFacts {
            link: established.generation,
            began: established.began,
            peer_generation: established.hello.generation,
            peer_holds: established.hello.current_link,
        };
        // Two dials with one generation: a peer that mints them so cannot be told apart from itself.
        if self.keeper.holds(facts.link) {
            let reason = CloseReason::new(CloseCode::Malformed, "link generation used twice");
            established.connection.close(reason.code, &reason.encode());
            return None;
        }
        let passed = established.passed.clone();
        let scope = self.scope.child(format!("link {}", facts.link.dial));
        let started = Link::start(&self.mesh, established, self.peer.inbox.clone(), &scope);
        let link = started.inspect_err(|error| warn!(peer = %self.peer.id, %error, "link refused"));
        let link = link.ok()?;
        self.unreported = true;
        self.links.insert(
            facts.link,
            Box::new(Served {
                link,
                scope,
                retiring: None,
                quiet: false,
                renewing: false,
                passed,
            }),
        );
        Some(facts)
    }

    fn handle_link(&mut self, now: Instant, link: LinkGeneration, event: LinkEvent) {
        match event {
            LinkEvent::Health(health) => {
                match health {
                    Health::Down => warn!(peer = %self.peer.id, "the link does not answer"),
                    Health::Up | Health::Suspect | Health::Confirmed => {
                        debug!(peer = %self.peer.id, ?health, "link judged");
                    }
                }
                self.keeper.handle_health(now, link, health);
                self.pair.handle_health(now, link, health);
            }
            LinkEvent::Measured(measure) => self.pair.handle_measure(now, link, measure),
            LinkEvent::Stalled(stalled) => self.pair.handle_stall(now, link, stalled),
            LinkEvent::Promote(epoch) => self.keeper.handle_promote(now, link, epoch),
            LinkEvent::Promoted(epoch) => self.keeper.handle_promoted(now, link, epoch),
            LinkEvent::Silent => self.keeper.handle_silent(now, link),
            LinkEvent::Closed(closed) => {
                // One that the keeper has closed is counted, and its end is no news.
                let Some(served) = self.links.get(&link) else {
                    return;
                };
                let cause = self.cause_of(&closed, &served.link);
                let code = match cause {
                    CloseCause::Peer(code) | CloseCause::Local(code) => code,
                    CloseCause::Lost | CloseCause::PeerLost => CloseCode::Silent,
                };
                self.mesh.counts.links_closed.incr(code);
                info!(peer = %self.peer.id, %closed, "link closed");
                self.end_link(link);
                self.keeper.handle_closed(now, link, cause);
            }
        }
    }

    /// Why a link ended; a peer that knows a newer process of our name is reported at once.
    fn cause_of(&self, closed: &Closed, link: &Link) -> CloseCause {
        match closed {
            Closed::ByPeer { code, reason } => {
                let reason = CloseReason::decode(code.number().into(), reason);
                if let (CloseCode::Stale, Some(known)) = (*code, reason.known) {
                    self.report_stale(known);
                }
                CloseCause::Peer(*code)
            }
            Closed::Here => link
                .closed_with()
                .map_or(CloseCause::Lost, CloseCause::Local),
            Closed::PeerLost => CloseCause::PeerLost,
            _ => CloseCause::Lost,
        }
    }

    fn report_stale(&self, known: NodeGeneration) {
        // A full roster has reports enough; the next refused dial brings another.
        let _ = self.mesh.roster.try_send(RosterEvent::Stale { known });
    }

    /// Asks for a replacement of every link whose peer would not pass now.
    fn recheck(&mut self, now: Instant) {
        let material = self.mesh.material.load_full();
        let date = self.mesh.env.wall.now();
        let mut refused = Vec::new();
        for (generation, served) in &mut self.links {
            if served.passed.stands(&material, date) {
                continue;
            }
            let chain = served.link.connection.peer_chain();
            match PassedChain::check(&material, &chain, date) {
                Ok((_, passed)) => served.passed = passed,
                Err(error) => {
                    warn!(peer = %self.peer.id, %error, "the peer's certificate no longer passes");
                    refused.push(*generation);
                }
            }
        }
        for generation in refused {
            self.keeper
                .handle_replace(now, generation, ReplaceReason::Untrusted);
        }
    }

    fn perform_outputs(&mut self, now: Instant) {
        let mut published = None;
        while let Some(output) = self.keeper.poll_output() {
            self.unreported = true;
            match output {
                Output::Dial { dial, pool, .. } => self.start_dial(now, dial, pool),
                Output::CancelDial { dial } => {
                    if let Some((_, task)) = self.dial.take_if(|(current, _)| *current == dial) {
                        task.abort();
                    }
                }
                Output::SendPromote { link, epoch } => {
                    self.with_link(link, |link| {
                        link.send_frame_or_close(Frame::Promote { epoch })
                    });
                }
                Output::SendPromoted { link, epoch } => {
                    self.with_link(link, |link| {
                        link.send_frame_or_close(Frame::Promoted { epoch })
                    });
                }
                Output::Retire { link, .. } => {
                    if let Some(served) = self.links.get_mut(&link) {
                        served.link.set_retiring(true);
                        served.retiring = Some(now + MOVE_WITHIN);
                        served.quiet = false;
                    }
                }
                Output::Close { link, code, known } => {
                    let reason = CloseReason {
                        code,
                        known,
                        message: String::new(),
                    };
                    self.with_link(link, |link| link.close_with(&reason));
                    self.mesh.counts.links_closed.incr(code);
                    self.end_link(link);
                }
                Output::Publish(status) => published = Some(status),
                Output::StaleReported { known } => self.report_stale(known),
            }
        }
        if let Some(status) = published {
            self.publish(status);
        }
        self.tell_of_pair(now);
        if std::mem::take(&mut self.unreported) {
            self.report(now);
        }
    }

    fn start_dial(&mut self, now: Instant, dial: DialId, pool: DialPool) {
        let request = DialRequest {
            endpoint: self.endpoint.clone(),
            expect: Expect::Node(self.peer.id.clone()),
            targets: self.addresses.clone(),
        };
        let (dialer, inbox) = (self.dialer.clone(), self.peer.inbox.clone());
        self.mesh.counts.dials.incr();
        let spawned = self.scope.spawn("dial", |task| async move {
            task.waits(Wait::Dial);
            let result = tokio::select! {
                biased;
                () = task.stopping() => return,
                result = dialer.dial(pool, request) => result,
            };
            task.waits(Wait::Message);
            // The keeper's own task reads it and waits for nobody.
            let _ = inbox.send(PeerEvent::Dialed(dial, Box::new(result))).await;
        });
        match spawned {
            Ok(task) => self.dial = Some((dial, task)),
            Err(refused) => {
                let failure = DialFailure::local(&refused.to_string());
                self.keeper.handle_dial_failed(now, dial, failure.error);
            }
        }
    }

    fn publish(&mut self, status: PeerStatus) {
        let link = match &status {
            PeerStatus::Up { link, .. } | PeerStatus::Down { link, .. } => self.links.get_mut(link),
            _ => None,
        };
        let link = link.map(|served| {
            // A promotion takes a retirement back.
            served.retiring = None;
            served.link.set_retiring(false);
            served.link.clone()
        });
        self.publisher.publish(PeerState { status, link });
    }

    /// Logs what changed since the last time, and shows it.
    fn report(&mut self, now: Instant) {
        self.figures_at = now + FIGURES_EVERY;
        for transition in self.keeper.transitions_since(self.logged) {
            let Transition {
                from, to, reason, ..
            } = transition;
            info!(peer = %self.peer.id, %from, %to, %reason, "peer changed");
        }
        self.logged = self.keeper.transition_count();
        self.peer.report.store(Arc::new(PeerReport {
            addresses: self.addresses.clone(),
            conditions: self.pair.changes().copied().collect(),
            figures: self.pair.figures(now),
            history: self.keeper.transitions().cloned().collect(),
            links: self
                .links
                .values()
                .map(|served| served.link.clone())
                .collect(),
        }));
    }

    fn with_link(&self, link: LinkGeneration, act: impl FnOnce(&Link)) {
        if let Some(served) = self.links.get(&link) {
            act(&served.link);
        }
    }

    /// Forgets a link that is closed, and sees its tasks off.
    fn end_link(&mut self, link: LinkGeneration) {
        if let Some(served) = self.links.remove(&link) {
            let Served { scope, .. } = *served;
            // Also where the keeper has nothing to say about it, or the report keeps the link alive.
            self.unreported = true;
            // Refused only when the peer's own scope ends, which then ends these tasks too.
            let _ = self.scope.spawn("link ending", |task| async move {
                task.waits(Wait::Close);
                scope.close(clock::now() + END_WITHIN).await;
            });
        }
    }
}

/// A person who looks wants figures of now, and a node of a thousand peers something to do besides.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// The keeper is told of a few events for each link and dial; more than this waiting means that it
/// is not running at all.
const INBOX: usize = 256;
/// Flows leave a retired link within this time, so it stays for so long even when it is idle.
const MOVE_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For people who look for why it went; then it counts no longer against `limits.links`.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A peer that is removed may finish its streams for so long.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// Every task of a link ends with its connection; what takes longer is named.
const END_WITHIN: Duration = Duration::from_secs(2);
