//! Which state fits the links and dials there are, and what is published about it.

use std::time::Instant;

use router::liveness::Health;

use super::{
    Keeper, Redial, State,
    event::{DialId, DialPool, Output, PeerStatus, Reason, Role},
    history::Transition,
    links::Phase,
};

impl Keeper {
    pub(super) fn start_dial(&mut self, now: Instant, reason: Reason) {
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.dial = Some(dial);
        self.backoff.on_dial(now);
        let pool = if self.doubtful {
            DialPool::Retry
        } else {
            DialPool::Fresh
        };
        self.outputs.push_back(Output::Dial { dial, pool, reason });
    }

    pub(super) fn dial_if_due(&mut self, now: Instant, reason: Reason) -> bool {
        let due = match self.state {
            State::Backoff { until, .. } => until <= now && self.dial.is_none(),
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Halted { .. }
            | State::Draining { .. }
            | State::Closed { .. } => false,
        };
        if due {
            self.start_dial(now, reason);
        }
        due
    }

    pub(super) fn take_dial(&mut self, dial: DialId) -> bool {
        let own = self.dial == Some(dial);
        if own {
            self.dial = None;
        }
        own
    }

    pub(super) fn cancel_dial(&mut self) {
        if let Some(dial) = self.dial.take() {
            self.outputs.push_back(Output::CancelDial { dial });
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Closed { .. })
    }

    /// Moves to the state that fits the links and dials there are, and publishes it.
    pub(super) fn settle(&mut self, now: Instant, reason: Reason) {
        match self.state {
            State::Draining { code, .. } if self.links.len() == 0 => {
                self.enter(now, State::Closed { code }, reason);
            }
            State::Draining { .. } | State::Closed { .. } => {}
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. } => self.settle_serving(now, reason),
        }
        self.publish();
    }

    pub(super) fn settle_serving(&mut self, now: Instant, reason: Reason) {
        if self.links.current_id().is_none() {
            self.fall_back(now);
        }
        let awaited = self.dial.is_some() || self.links.any_unpromoted();
        if let Some(link) = self.links.current_id() {
            let redial = match self.state {
                State::Up { redial, .. } => redial,
                State::Idle
                | State::Dialing { .. }
                | State::Backoff { .. }
                | State::Halted { .. }
                | State::Draining { .. }
                | State::Closed { .. } => Redial::Needless,
            };
            let redial = self.redial(now, redial);
            match &mut self.state {
                State::Up {
                    link: before,
                    redial: kept,
                } if *before == link => *kept = redial,
                State::Idle
                | State::Dialing { .. }
                | State::Up { .. }
                | State::Backoff { .. }
                | State::Halted { .. }
                | State::Draining { .. }
                | State::Closed { .. } => self.enter(now, State::Up { link, redial }, reason),
            }
        } else if awaited {
            if !matches!(self.state, State::Dialing { .. }) {
                self.enter(now, State::Dialing { since: now }, reason);
            }
        } else if self.halted {
            if !matches!(self.state, State::Halted { .. }) {
                let state = State::Halted {
                    reason: Reason::DuplicateName,
                };
                self.enter(now, state, reason);
            }
        } else if !self.wanted {
            if !matches!(self.state, State::Idle) {
                self.enter(now, State::Idle, reason);
            }
        } else if !matches!(self.state, State::Backoff { .. }) {
            let state = State::Backoff {
                until: self.backoff.next(now),
                reason: reason.clone(),
            };
            self.enter(now, state, reason);
        }
    }

    /// Makes the best of the links that are left current.
    pub(super) fn fall_back(&mut self, now: Instant) {
        match self.role {
            Role::Arbiter => {
                if let Some(id) = self.links.best(false) {
                    self.promote(now, id);
                }
            }
            // Readers are better off with what was good before than with nothing, until the
            // arbiter says what it chose.
            Role::Follower => {
                if let Some(id) = self.links.best(true) {
                    if let Some(link) = self.links.get_mut(id) {
                        link.phase = Phase::Settled;
                    }
                    self.links.set_current(now, id);
                }
            }
        }
    }

    /// Dials another link while the current one needs to be replaced, and stops when it does not.
    pub(super) fn redial(&mut self, now: Instant, before: Redial) -> Redial {
        let Some(current) = self.links.current().filter(|link| link.needs_replacement()) else {
            self.cancel_dial();
            return Redial::Needless;
        };
        if !self.wanted || self.halted {
            return Redial::Needless;
        }
        let reason = match current.replace {
            Some(replace) => Reason::Replaced(current.id, replace.reason),
            None => Reason::CurrentDown,
        };
        let since = current.current_since;
        let at = match before {
            _ if self.dial.is_some() || self.links.any_unpromoted() => return Redial::Out,
            Redial::At(at) => at,
            Redial::Out => self.backoff.next(now),
            Redial::Needless => {
                if let Some(since) = since {
                    self.backoff.on_link(now, since);
                }
                if self.backoff.has_dialed() {
                    self.backoff.next(now)
                } else {
                    now
                }
            }
        };
        if at <= now {
            self.start_dial(now, reason);
            Redial::Out
        } else {
            Redial::At(at)
        }
    }

    /// The only way from one state to another.
    pub(super) fn enter(&mut self, now: Instant, to: State, reason: Reason) {
        let from = self.state();
        self.state = to;
        self.history.push(Transition {
            at: now,
            from,
            to: self.state(),
            link: self.links.current_id(),
            reason,
        });
    }

    /// Keeps a reason that changed no state; once, however often it comes.
    pub(super) fn note(&mut self, now: Instant, reason: Reason) {
        if self.history.iter().next_back().map(|last| &last.reason) == Some(&reason) {
            return;
        }
        let state = self.state();
        self.history.push(Transition {
            at: now,
            from: state,
            to: state,
            link: self.links.current_id(),
            reason,
        });
    }

    pub(super) fn publish(&mut self) {
        let status = match &self.state {
            State::Idle => PeerStatus::Idle,
            State::Dialing { since } => PeerStatus::Dialing { since: *since },
            State::Up { link, .. } => {
                let current = self.links.current();
                let health = current.map_or(Health::Up, |link| link.health);
                let down_since = current.and_then(|link| link.down_since);
                match (health, down_since) {
                    (Health::Down, Some(since)) => PeerStatus::Down { link: *link, since },
                    (health, _) => PeerStatus::Up {
                        link: *link,
                        health,
                    },
                }
            }
            State::Backoff { until, reason } => PeerStatus::Backoff {
                until: *until,
                reason: reason.clone(),
            },
            State::Halted { reason } => PeerStatus::Halted {
                reason: reason.clone(),
            },
            State::Draining { code, .. } | State::Closed { code } => {
                PeerStatus::Gone { code: *code }
            }
        };
        if status != self.published {
            self.published = status.clone();
            self.outputs.push_back(Output::Publish(status));
        }
    }
}
