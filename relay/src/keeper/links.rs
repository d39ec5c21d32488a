//! The open links of a pair, as one end sees them.

use std::time::Instant;

use router::liveness::Health;

use super::event::{LinkFacts, ReplaceReason};
use crate::{code::CloseCode, id::LinkGeneration};

/// One open link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) id: LinkGeneration,
    pub(super) phase: Phase,
    /// Of its last promotion; zero before the first.
    pub(super) epoch: u64,
    /// When this end first knew that the other held this link as its current one.
    pub(super) confirmed_at: Option<Instant>,
    /// When it last became the current one here.
    pub(super) current_since: Option<Instant>,
    pub(super) health: Health,
    pub(super) down_since: Option<Instant>,
    pub(super) replace: Option<Replace>,
}

/// How far the promotion of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The follower awaits `Promote`, the arbiter `Promoted`.
    Awaiting { until: Instant },
    /// Promoted and confirmed: current, or next in line.
    Settled,
    /// A later one was promoted and confirmed: closed when its work is done.
    Retiring { until: Instant },
}

/// That a link is to be replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replace {
    pub(super) reason: ReplaceReason,
    /// When it is closed even without a replacement.
    pub(super) until: Option<Instant>,
}

/// The open links of a pair, in the order in which they came up here.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    all: Vec<Link>,
    current: Option<LinkGeneration>,
}

impl Link {
    pub(super) fn new(facts: &LinkFacts, until: Instant) -> Self {
        Self {
            id: facts.link,
            phase: Phase::Awaiting { until },
            epoch: 0,
            confirmed_at: None,
            current_since: None,
            health: Health::Up,
            down_since: None,
            replace: None,
        }
    }

    /// When this link is closed if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Awaiting { until } | Phase::Retiring { until } => Some(until),
            Phase::Settled => None,
        };
        let replace = self.replace.and_then(|replace| replace.until);
        [phase, replace].into_iter().flatten().min()
    }

    /// What to close it with when its time has come.
    pub(super) fn close_code(&self) -> CloseCode {
        match (self.replace.map(|replace| replace.reason), self.phase) {
            (Some(ReplaceReason::Untrusted), _) => CloseCode::Untrusted,
            (_, Phase::Awaiting { .. }) => CloseCode::SetupTimeout,
            (_, Phase::Settled | Phase::Retiring { .. }) => CloseCode::Superseded,
        }
    }

    /// Whether a better one should take its place.
    pub(super) fn needs_replacement(&self) -> bool {
        self.replace.is_some() || self.health == Health::Down
    }
}

impl Links {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Link> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.all.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get_mut(&mut self, id: LinkGeneration) -> Option<&mut Link> {
        self.all.iter_mut().find(|link| link.id == id)
    }

    pub(super) fn holds(&self, id: LinkGeneration) -> bool {
        self.all.iter().any(|link| link.id == id)
    }

    pub(super) fn push(&mut self, link: Link) {
        self.all.push(link);
    }

    /// Takes a link out; it is no longer current if it was.
    pub(super) fn remove(&mut self, id: LinkGeneration) -> Option<Link> {
        let at = self.all.iter().position(|link| link.id == id)?;
        if self.current == Some(id) {
            self.current = None;
        }
        Some(self.all.remove(at))
    }

    pub(super) fn current_id(&self) -> Option<LinkGeneration> {
        self.current
    }

    pub(super) fn current(&self) -> Option<&Link> {
        let id = self.current?;
        self.all.iter().find(|link| link.id == id)
    }

    pub(super) fn set_current(&mut self, now: Instant, id: LinkGeneration) {
        self.current = Some(id);
        if let Some(link) = self.get_mut(id) {
            link.current_since = Some(now);
        }
    }

    /// Whether a link that is not current may still be promoted.
    pub(super) fn any_unpromoted(&self) -> bool {
        let unpromoted =
            |link: &Link| link.epoch == 0 && matches!(link.phase, Phase::Awaiting { .. });
        self.all.iter().any(unpromoted)
    }

    /// The link to fall back to: one that need not be replaced, and of those the newest, or for
    /// the follower the one that was promoted last.
    pub(super) fn best(&self, promoted_only: bool) -> Option<LinkGeneration> {
        let links = self.all.iter().enumerate();
        links
            .filter(|(_, link)| !promoted_only || link.epoch > 0)
            .max_by_key(|(order, link)| {
                let rank = if promoted_only {
                    link.epoch
                } else {
                    *order as u64
                };
                (!link.needs_replacement(), rank)
            })
            .map(|(_, link)| link.id)
    }

    /// The oldest link that is not current.
    pub(super) fn oldest_spare(&self) -> Option<LinkGeneration> {
        let spare = self.all.iter().find(|link| Some(link.id) != self.current);
        spare.map(|link| link.id)
    }

    /// Every link for which `test` holds, oldest first.
    pub(super) fn ids(&self, test: impl Fn(&Link) -> bool) -> Vec<LinkGeneration> {
        let links = self.all.iter();
        links
            .filter(|link| test(link))
            .map(|link| link.id)
            .collect()
    }
}
