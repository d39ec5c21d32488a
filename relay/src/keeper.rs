//! All decisions about one peer: when to dial it, which link is current, which are closed.

mod backoff;
mod event;
mod history;
mod links;
mod promotion;
mod settle;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use router::liveness::Health;

use self::{
    backoff::Backoff,
    history::History,
    links::{Link, Links, Phase},
    promotion::replace_now,
};
pub use self::{
    event::{
        CloseCause, DialError, DialErrorKind, DialId, DialPool, KeeperConfig, LinkFacts, Output,
        PeerStatus, REPLACE_DEADLINE, Reason, ReplaceReason, Role,
    },
    history::{MAX_TRANSITIONS, StateName, Transition},
};
use crate::{
    code::CloseCode,
    id::{LinkGeneration, NodeGeneration},
};

/// Decides everything about one peer: the only writer of what is published about it.
///
/// ```text
///         want              link promoted             no link left
///   Idle ─────▶ Dialing ─────────────────▶ Up ─────────────────────▶ Backoff ──▶ Dialing
///                  └──────── failed ────────────────────────────────────▲
///   any ── two processes of our name, and no link ──▶ Halted ── want ──▶ Dialing
///   any ── forget ──▶ Draining ──▶ Closed
/// ```
///
/// # Promotion
///
/// Both ends may dial, so that a pair may have several links; the arbiter chooses one, by messages
/// on the links themselves, each of which keeps its own order.
///
/// 1. Whatever link comes up, whoever dialed it, is reported to the keepers at both its ends.
/// 2. The arbiter makes the newest current at once and sends `Promote { epoch }` on it. Epochs
///    count up over all links of the pair.
/// 3. The follower makes a link current when a `Promote` above every earlier one comes in on it, and
///    answers `Promoted { epoch }`. Older ones are late and move nothing.
/// 4. With that answer the new link has carried a message each way. Only now does the arbiter let
///    the others go: they are retired, and closed by it once their work is done.
/// 5. If the current link ends, each end goes back to the best of those that are still open. The
///    arbiter says so by promoting it again; where the follower was wrong, that corrects it.
///
/// The arbiter closes no other link before the newest is confirmed, and the follower cancels its own
/// dial only for a link that the arbiter chose; so whichever link dies meanwhile, another is left or
/// both ends know of none.
///
/// A peer that says it holds no link has lost those that it had confirmed before it was asked: they
/// are closed at once. (Links that come up side by side say "none" too, about each other; these were
/// not confirmed before.) So has a peer with a newer node generation, unless it names one of the
/// links: then it is the same process, which moved its generation, and they are retired.
///
/// # Choices
///
/// - While the current link is Down, another is dialed, on either side: a peer that restarted and
///   does not dial us is found this way. It is an ordinary dial, whose link the arbiter promotes as
///   the newest; if the old link recovers first, the dial is cancelled.
/// - A link that comes up here makes our own dial needless: the arbiter cancels it then, the follower
///   once the link is promoted.
/// - Links that come up while Halted are taken: it is dialing that makes two processes of one name
///   push each other out.
///
/// # Use
///
/// Call one `handle_*` (or [`Keeper::want`], [`Keeper::forget`]) for each event, then drain
/// [`Keeper::poll_output`], then arm [`Keeper::poll_timeout`]. `now` must never go backwards. What
/// is said of links and dials that the keeper no longer knows is ignored, so late events are harmless.
#[derive(Debug, Clone)]
pub struct Keeper {
    role: Role,
    state: State,
    wanted: bool,
    halted: bool,
    dial: Option<DialId>,
    next_dial: u64,
    /// The last dial failed, or the last link fell silent.
    doubtful: bool,
    backoff: Backoff,
    links: Links,
    /// The arbiter's last promotion; the highest that the follower has seen.
    epoch: u64,
    /// The highest node generation of the peer.
    known: Option<NodeGeneration>,
    /// When our own generation moved: links begun before carry the old one.
    moved_at: Option<Instant>,
    history: History,
    published: PeerStatus,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    Dialing {
        since: Instant,
    },
    Up {
        link: LinkGeneration,
        redial: Redial,
    },
    Backoff {
        until: Instant,
        reason: Reason,
    },
    Halted {
        reason: Reason,
    },
    Draining {
        until: Instant,
        code: CloseCode,
    },
    Closed {
        code: CloseCode,
    },
}

/// Whether another link is on its way while there is a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redial {
    /// The current link is good.
    Needless,
    /// It is not; a dial starts at this time.
    At(Instant),
    /// A dial is out, or its link awaits promotion.
    Out,
}

impl Keeper {
    /// Starts Idle, and published as such.
    pub fn new(config: KeeperConfig) -> Self {
        Self {
            role: config.role,
            state: State::Idle,
            wanted: false,
            halted: false,
            dial: None,
            next_dial: 0,
            doubtful: false,
            backoff: Backoff::new(config.seed, config.backoff_max, config.backoff_reset),
            links: Links::default(),
            epoch: match config.role {
                Role::Arbiter => config.epoch_floor,
                Role::Follower => 0,
            },
            known: None,
            moved_at: None,
            history: History::default(),
            published: PeerStatus::Idle,
            outputs: VecDeque::new(),
        }
    }

    /// The state, by name.
    pub fn state(&self) -> StateName {
        match self.state {
            State::Idle => StateName::Idle,
            State::Dialing { .. } => StateName::Dialing,
            State::Up { .. } => StateName::Up,
            State::Backoff { .. } => StateName::Backoff,
            State::Halted { .. } => StateName::Halted,
            State::Draining { .. } => StateName::Draining,
            State::Closed { .. } => StateName::Closed,
        }
    }

    /// What was last published.
    pub fn status(&self) -> &PeerStatus {
        &self.published
    }

    /// The current link: what our own Hello names as `current_link`.
    pub fn current(&self) -> Option<LinkGeneration> {
        self.links.current_id()
    }

    /// Whether `link` is open as far as the keeper knows, current or not. A new link with the
    /// generation of one that is held must be refused before it is reported.
    pub fn holds(&self, link: LinkGeneration) -> bool {
        self.links.holds(link)
    }

    /// The highest node generation of the peer, if any of its Hellos was seen.
    pub fn known_generation(&self) -> Option<NodeGeneration> {
        self.known
    }

    /// The last [`MAX_TRANSITIONS`] transitions, oldest first.
    pub fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.history.iter()
    }

    /// The transitions since there were `before` in all, oldest first, as far as they are kept.
    pub fn transitions_since(&self, before: u64) -> impl Iterator<Item = &Transition> {
        self.history.since(before)
    }

    /// How many transitions there were in all.
    pub fn transition_count(&self) -> u64 {
        self.history.count()
    }

    // === Commands ===

    /// The peer is wanted, by configuration or by an advert; also after a reload, which lifts
    /// [`PeerStatus::Halted`]. A keeper that was forgotten stays so.
    pub fn want(&mut self, now: Instant) {
        if self.is_leaving() {
            return;
        }
        let resting = !self.wanted || self.halted;
        self.wanted = true;
        self.halted = false;
        if resting && self.dial.is_none() && self.links.len() == 0 {
            self.start_dial(now, Reason::Wanted);
        }
        self.settle(now, Reason::Wanted);
    }

    /// The peer is no longer wanted, or this node ends: nothing new, and everything is closed with
    /// `code`. The current link may finish its work until `until`. Calling it again can only bring
    /// the end nearer.
    pub fn forget(&mut self, now: Instant, code: CloseCode, until: Instant) {
        match &mut self.state {
            State::Closed { .. } => {}
            State::Draining { until: earlier, .. } => *earlier = until.min(*earlier),
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. } => {
                self.cancel_dial();
                let current = self.links.current_id();
                for link in self.links.ids(|link| Some(link.id) != current) {
                    self.close(now, link, code);
                }
                let reason = Reason::Forgotten(code);
                self.enter(now, State::Draining { until, code }, reason.clone());
                if let Some(link) = current {
                    self.outputs.push_back(Output::Retire { link, until });
                }
                self.settle(now, reason);
            }
        }
    }

    // === Dials and links ===

    /// A dial of ours came through: Hello went both ways.
    pub fn handle_dialed(&mut self, now: Instant, dial: DialId, facts: LinkFacts) {
        // A dial that was won just before it was cancelled still brought a good link.
        self.take_dial(dial);
        self.establish(now, facts);
    }

    /// The peer dialed us: Hello went both ways.
    pub fn handle_accepted(&mut self, now: Instant, facts: LinkFacts) {
        self.establish(now, facts);
    }

    /// A dial of ours came to nothing.
    pub fn handle_dial_failed(&mut self, now: Instant, dial: DialId, error: DialError) {
        if self.take_dial(dial) {
            self.doubtful = true;
            self.settle(now, Reason::DialFailed(error));
        }
    }

    /// A dial of ours was answered `Stale`: the peer knows a newer process of our name.
    pub fn handle_stale(&mut self, now: Instant, dial: DialId, known: NodeGeneration) {
        if self.take_dial(dial) {
            self.outputs.push_back(Output::StaleReported { known });
            self.settle(now, Reason::Stale { known });
        }
    }

    /// `Promote { epoch }` came in on `link`.
    pub fn handle_promote(&mut self, now: Instant, link: LinkGeneration, epoch: u64) {
        if self.is_leaving() || !self.links.holds(link) {
            return;
        }
        if self.role == Role::Arbiter {
            return self.misbehaved(now, link);
        }
        let highest = self.epoch;
        let current = self.links.current_id();
        let Some(promoted) = self.links.get_mut(link) else {
            return;
        };
        promoted.confirmed_at.get_or_insert(now);
        if epoch > highest {
            promoted.epoch = epoch;
            promoted.phase = Phase::Settled;
            self.epoch = epoch;
            self.links.set_current(now, link);
            self.outputs.push_back(Output::SendPromoted { link, epoch });
            self.retire(now, |other| other.id != link && other.epoch > 0);
        } else if promoted.epoch == 0 && current != Some(link) {
            // A later promotion, on another link, was faster.
            promoted.epoch = epoch;
            self.retire(now, |other| other.id == link);
        }
        self.settle(now, Reason::Promoted(link));
    }

    /// `Promoted { epoch }` came in on `link`.
    pub fn handle_promoted(&mut self, now: Instant, link: LinkGeneration, epoch: u64) {
        if self.is_leaving() {
            return;
        }
        let Some(promoted) = self.links.get_mut(link) else {
            return;
        };
        if self.role == Role::Follower || epoch > promoted.epoch {
            return self.misbehaved(now, link);
        }
        promoted.confirmed_at.get_or_insert(now);
        if epoch == promoted.epoch && matches!(promoted.phase, Phase::Awaiting { .. }) {
            promoted.phase = Phase::Settled;
            if self.links.current_id() == Some(link) {
                self.retire(now, |other| other.id != link);
            }
        }
        self.settle(now, Reason::Promoted(link));
    }

    /// A retiring link has nothing in flight any more, in neither direction.
    pub fn handle_link_idle(&mut self, now: Instant, link: LinkGeneration) {
        let is_current = self.links.current_id() == Some(link);
        let Some(idle) = self.links.get_mut(link) else {
            return;
        };
        let done = match self.state {
            State::Draining { code, .. } => is_current.then_some(code),
            // Only the arbiter knows that nobody will go back to it.
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. }
            | State::Closed { .. } => match (self.role, idle.phase) {
                (Role::Arbiter, Phase::Retiring { .. }) => Some(idle.close_code()),
                (Role::Arbiter, Phase::Awaiting { .. } | Phase::Settled) => None,
                (Role::Follower, _) => None,
            },
        };
        if let Some(code) = done {
            self.close(now, link, code);
            self.settle(now, Reason::LinkIdle(link));
        }
    }

    /// A link ended, and it was not this keeper that closed it.
    pub fn handle_closed(&mut self, now: Instant, link: LinkGeneration, cause: CloseCause) {
        if self.remove(now, link).is_some() {
            self.settle(now, Reason::LinkClosed(link, cause));
        }
    }

    // === Judgements of links ===

    /// Liveness thinks differently of a link.
    pub fn handle_health(&mut self, now: Instant, link: LinkGeneration, health: Health) {
        let Some(judged) = self.links.get_mut(link) else {
            return;
        };
        if health == Health::Down && judged.health != Health::Down {
            judged.down_since = Some(now);
        }
        judged.health = health;
        self.settle(now, Reason::CurrentDown);
    }

    /// A link was without any reply for as long as a silent link is kept.
    pub fn handle_silent(&mut self, now: Instant, link: LinkGeneration) {
        if self.links.holds(link) {
            self.doubtful = true;
            self.close(now, link, CloseCode::Silent);
            self.settle(now, Reason::LinkSilent(link));
        }
    }

    /// A link is to be replaced make-before-break.
    pub fn handle_replace(&mut self, now: Instant, link: LinkGeneration, reason: ReplaceReason) {
        let Some(replaced) = self.links.get_mut(link) else {
            return;
        };
        // Distrust is never taken back.
        if replaced
            .replace
            .is_none_or(|before| before.reason != ReplaceReason::Untrusted)
        {
            replaced.replace = Some(replace_now(now, reason));
        }
        self.settle(now, Reason::Replaced(link, reason));
    }

    // === News ===

    /// The peer was heard of: it dialed, an advert of it came in, its name resolves differently.
    pub fn handle_heard_of(&mut self, now: Instant) {
        let at = self.backoff.after_news(now);
        match &mut self.state {
            State::Backoff { until, reason } if at < *until => {
                let state = State::Backoff {
                    until: at,
                    reason: reason.clone(),
                };
                self.enter(now, state, Reason::HeardOf);
            }
            State::Up {
                redial: Redial::At(until),
                ..
            } => *until = at.min(*until),
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. }
            | State::Draining { .. }
            | State::Closed { .. } => return,
        }
        self.dial_if_due(now, Reason::HeardOf);
        self.settle(now, Reason::HeardOf);
    }

    /// This node's generation moved up: links with the old one are replaced.
    pub fn handle_generation_moved(&mut self, now: Instant) {
        if self.is_leaving() {
            return;
        }
        self.moved_at = Some(now);
        for link in self.links.iter_mut() {
            if link.replace.is_none() {
                link.replace = Some(replace_now(now, ReplaceReason::GenerationMoved));
            }
        }
        if matches!(self.state, State::Backoff { .. }) {
            self.start_dial(now, Reason::GenerationMoved);
        }
        self.settle(now, Reason::GenerationMoved);
    }

    /// Another process uses this node's name: nothing is dialed until [`Keeper::want`].
    pub fn handle_duplicate_name(&mut self, now: Instant) {
        if self.is_leaving() {
            return;
        }
        self.halted = true;
        self.cancel_dial();
        self.settle(now, Reason::DuplicateName);
    }

    // === Time ===

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        let overdue = |link: &Link| link.deadline().is_some_and(|until| until <= now);
        for id in self.links.ids(overdue) {
            if let Some(code) = self.links.get_mut(id).map(|link| link.close_code()) {
                self.close(now, id, code);
            }
        }
        match self.state {
            State::Draining { until, code } if until <= now => {
                for link in self.links.ids(|_| true) {
                    self.close(now, link, code);
                }
            }
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. }
            | State::Draining { .. }
            | State::Closed { .. } => {}
        }
        let reason = if self.dial_if_due(now, Reason::BackoffOver) {
            Reason::BackoffOver
        } else {
            Reason::TimedOut
        };
        self.settle(now, reason);
    }

    /// When to call [`Keeper::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match self.state {
            State::Backoff { until, .. } | State::Draining { until, .. } => Some(until),
            State::Up {
                redial: Redial::At(at),
                ..
            } => Some(at),
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Halted { .. }
            | State::Closed { .. } => None,
        };
        let links = self.links.iter().filter_map(Link::deadline);
        links.chain(state).min()
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

/// Open links of one pair; above it the oldest that is not current is closed. Two come from
/// simultaneous dials, and each may be retiring while it is replaced.
pub const MAX_LINKS: usize = 4;
/// From Hello to `Promote` on the follower, from `Promote` to `Promoted` on the arbiter.
pub const PROMOTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a superseded link may finish its work.
pub const RETIRE_DEADLINE: Duration = Duration::from_secs(30);
