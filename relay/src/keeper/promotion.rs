//! How links come in, are promoted, and go.

use std::time::Instant;

use super::{
    Keeper, MAX_LINKS, PROMOTION_TIMEOUT, RETIRE_DEADLINE, State,
    event::{LinkFacts, Output, REPLACE_DEADLINE, Reason, ReplaceReason, Role},
    links::{Link, Phase, Replace},
};
use crate::{code::CloseCode, id::LinkGeneration};

impl Keeper {
    /// Takes in a link that came up, or refuses it.
    pub(super) fn establish(&mut self, now: Instant, facts: LinkFacts) {
        let id = facts.link;
        let refusal = match self.state {
            State::Draining { code, .. } | State::Closed { code } => Some((code, None)),
            State::Idle
            | State::Dialing { .. }
            | State::Up { .. }
            | State::Backoff { .. }
            | State::Halted { .. } => match self.known {
                Some(known) if facts.peer_generation < known => {
                    Some((CloseCode::Stale, Some(known)))
                }
                Some(_) | None => None,
            },
        };
        if let Some((code, known)) = refusal {
            self.outputs.push_back(Output::Close {
                link: id,
                code,
                known,
            });
            let got = facts.peer_generation;
            let reason = known.map_or(Reason::Forgotten(code), |known| Reason::PeerStale {
                got,
                known,
            });
            if known.is_some() {
                // No change of state, but what an operator looks for when two use one name.
                self.note(now, reason.clone());
            }
            return self.settle(now, reason);
        }
        if self.links.holds(id) {
            return self.settle(now, Reason::Established(id));
        }
        self.doubtful = false;
        self.close_what_the_peer_lost(now, &facts);
        let mut link = Link::new(&facts, now + PROMOTION_TIMEOUT);
        if self.moved_at.is_some_and(|moved| facts.began < moved) {
            link.replace = Some(replace_now(now, ReplaceReason::GenerationMoved));
        }
        self.links.push(link);
        if self.links.len() > MAX_LINKS
            && let Some(oldest) = self.links.oldest_spare()
        {
            self.close(now, oldest, CloseCode::Superseded);
        }
        match self.role {
            Role::Arbiter => self.promote(now, id),
            Role::Follower => {}
        }
        self.settle(now, Reason::Established(id));
    }

    /// Closes the links that the other end of a new one cannot have any more.
    pub(super) fn close_what_the_peer_lost(&mut self, now: Instant, facts: &LinkFacts) {
        let newer = self.known.is_none_or(|known| facts.peer_generation > known);
        let moved = facts.peer_holds.is_some_and(|held| self.links.holds(held));
        let lost = if newer && !moved {
            // Another process: its promotions start over.
            if self.role == Role::Follower {
                self.epoch = 0;
            }
            self.links.ids(|_| true)
        } else if facts.peer_holds.is_none() {
            let began = facts.began;
            self.links
                .ids(|link| link.confirmed_at.is_some_and(|confirmed| confirmed < began))
        } else {
            Vec::new()
        };
        for link in lost {
            self.close(now, link, CloseCode::Superseded);
        }
        self.known = self.known.max(Some(facts.peer_generation));
    }

    /// The arbiter's choice falls on `id`.
    pub(super) fn promote(&mut self, now: Instant, id: LinkGeneration) {
        self.epoch += 1;
        let epoch = self.epoch;
        if let Some(link) = self.links.get_mut(id) {
            link.epoch = epoch;
            link.phase = Phase::Awaiting {
                until: now + PROMOTION_TIMEOUT,
            };
            self.links.set_current(now, id);
            self.outputs
                .push_back(Output::SendPromote { link: id, epoch });
        }
    }

    pub(super) fn retire(&mut self, now: Instant, test: impl Fn(&Link) -> bool) {
        let until = now + RETIRE_DEADLINE;
        for link in self.links.iter_mut().filter(|link| test(link)) {
            if !matches!(link.phase, Phase::Retiring { .. }) {
                link.phase = Phase::Retiring { until };
                let link = link.id;
                self.outputs.push_back(Output::Retire { link, until });
            }
        }
    }

    pub(super) fn misbehaved(&mut self, now: Instant, link: LinkGeneration) {
        self.close(now, link, CloseCode::Malformed);
        self.settle(now, Reason::Misbehaved(link));
    }

    pub(super) fn close(&mut self, now: Instant, link: LinkGeneration, code: CloseCode) {
        if self.remove(now, link).is_some() {
            self.outputs.push_back(Output::Close {
                link,
                code,
                known: None,
            });
        }
    }

    pub(super) fn remove(&mut self, now: Instant, id: LinkGeneration) -> Option<Link> {
        let was_current = self.links.current_id() == Some(id);
        let link = self.links.remove(id)?;
        if let Some(since) = link.current_since.filter(|_| was_current) {
            self.backoff.on_link(now, since);
        }
        Some(link)
    }
}

pub(super) fn replace_now(now: Instant, reason: ReplaceReason) -> Replace {
    Replace {
        reason,
        until: match reason {
            ReplaceReason::Untrusted => Some(now + REPLACE_DEADLINE),
            ReplaceReason::GenerationMoved | ReplaceReason::Collapsed => None,
        },
    }
}
