//! When to move from one path to another.

mod config;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::config::ChoiceConfig;
use crate::{
    graph::NodeKey,
    paths::{Path, RouteTable, Tier},
};

/// Decides over time which path the traffic for one destination takes.
///
/// ```text
///              direct Down, or worse off than an overlay path: at once
///              overlay path better by the margin: 1 s
///    Direct ──────────────────────────────────────────────────────────▶ Overlay ─┐ the same
///       ▲                                                                  │ ▲   │ rules to
///       └──────────────────────────────────────────────────────────────────┘ └───┘ another
///              direct as good as any, and the overlay path not better            overlay path
///              by half the margin: 5 s, then 10 s, then 12 s
/// ```
///
/// - A path that was fine when it was taken and has become Down, suspect or draining is left at once
///   for one that is not. There is nothing to wait for.
/// - Everything else is a gain that can wait, and it has to last: it is counted from when it began,
///   and starts again when it is interrupted.
/// - A change within two minutes of another doubles all waits, up to 12 s; only the way back to
///   direct does not count. Two minutes without a change, and the next is the first again.
///
/// To have no path is not a choice: losing the last path and having one again are at once. No wait
/// grows by it, and those that had grown are over, since what comes back comes back as a whole and
/// not in the order in which it fell. Nor does any wait grow when a path falls within a second of the one that was left for it:
/// one fault shows on one path after the other.
///
/// Call a `handle_*` on every input, then drain [`Choice::poll_output`], then arm
/// [`Choice::poll_timeout`]. `now` must never go backwards.
///
/// # Bounds
///
/// Once the direct path is usable and no other is better, it is taken after at most 12 s, and after
/// 5 s if there was no other change in two minutes. One link that comes and goes causes, in any
/// minute, whatever its rhythm, at most 13 changes from one path to another; if it is up for as
/// long as it is down, with a period of 1 s to 60 s, at most 6, and below 24 s none after the second
/// return.
#[derive(Debug)]
pub struct Choice {
    config: ChoiceConfig,
    held: Option<Held>,
    offer: Offer,
    /// How often the waits were doubled.
    doublings: u32,
    last_change: Option<Instant>,
    decisions: VecDeque<Decision>,
    outputs: VecDeque<Decision>,
}

/// What there is to choose from, with the figures of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// The path that is in use; `None` if it cannot be used any more.
    pub held: Option<Path>,
    /// The direct path.
    pub direct: Option<Path>,
    /// The best path over more than one link.
    pub overlay: Option<Path>,
}

/// A change of path and what led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: Instant,
    /// Why.
    pub reason: Reason,
    /// The path that was left, with its last figures.
    pub from: Option<Path>,
    /// The path that was taken.
    pub to: Option<Path>,
    /// The direct path at that moment.
    pub direct: Option<Path>,
    /// The best overlay path at that moment.
    pub overlay: Option<Path>,
    /// For how long the reason had held.
    pub waited: Duration,
    /// How often the waits were doubled when it was taken.
    pub doublings: u32,
}

/// Why a path was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// There was none before.
    Found,
    /// The one before cannot be used any more.
    Lost,
    /// The one before became suspect, and this one is not, or less so.
    Suspect,
    /// The one before came to pass through a draining node, and this one does not.
    Draining,
    /// It is of a better tier than the one before, which was a last resort from the start.
    Sounder,
    /// It is an overlay path and better by the margin.
    Better,
    /// It is the direct path, and nothing is better any more.
    DirectWell,
}

/// A reason to move that has not lasted long enough yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub since: Instant,
    /// When it will have lasted long enough.
    pub due: Instant,
}

#[derive(Debug)]
struct Held {
    path: Path,
    /// The best tier that the path had while it was held.
    best_tier: Tier,
    wish: Option<Wish>,
}

impl Choice {
    /// Starts without a path.
    pub fn new(config: ChoiceConfig) -> Self {
        Self {
            config,
            held: None,
            offer: Offer::default(),
            doublings: 0,
            last_change: None,
            decisions: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The path to take, with its figures as of the last offer.
    pub fn path(&self) -> Option<&Path> {
        self.held.as_ref().map(|held| &held.path)
    }

    /// What would move the traffic if it lasted.
    pub fn wish(&self) -> Option<Wish> {
        self.held.as_ref()?.wish
    }

    /// The last changes, the oldest first: 32 at most.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter()
    }

    /// What there is to choose from changed.
    pub fn handle_offer(&mut self, now: Instant, offer: Offer) {
        debug_assert!(self.outputs.is_empty(), "drain the outputs first");
        self.offer = offer;
        self.decide(now);
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        debug_assert!(self.outputs.is_empty(), "drain the outputs first");
        self.decide(now);
    }

    /// When to call [`Choice::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wish().map(|wish| wish.due)
    }

    /// The next change of path, until there is none.
    pub fn poll_output(&mut self) -> Option<Decision> {
        self.outputs.pop_front()
    }

    fn decide(&mut self, now: Instant) {
        let preferred = self.offer.preferred(self.config);
        let Some(held) = &mut self.held else {
            if preferred.is_some() {
                self.enter(now, preferred, Reason::Found, Duration::ZERO);
            }
            return;
        };
        let Some(path) = self.offer.held else {
            self.enter(now, preferred, Reason::Lost, Duration::ZERO);
            return;
        };
        let worsened = path.tier() > held.best_tier;
        held.path = path;
        held.best_tier = held.best_tier.min(path.tier());
        let before = held.wish.take();
        let Some((reason, to)) = self.offer.reason_to_leave(&path, worsened, self.config) else {
            return;
        };
        let since = match before {
            Some(wish) if wish.reason == reason => wish.since,
            Some(_) | None => now,
        };
        let due = since + self.wait(reason, &to);
        if due <= now {
            self.enter(now, Some(to), reason, now - since);
        } else if let Some(held) = &mut self.held {
            held.wish = Some(Wish { reason, since, due });
        }
    }

    /// How long a reason has to last.
    fn wait(&self, reason: Reason, to: &Path) -> Duration {
        let grown = |first: Duration| {
            let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
            first.saturating_mul(factor).min(self.config.longest_wait)
        };
        match reason {
            Reason::Found | Reason::Lost | Reason::Suspect | Reason::Draining => Duration::ZERO,
            Reason::DirectWell => grown(self.config.direct_after),
            Reason::Sounder if to.is_direct() => grown(self.config.direct_after),
            // The first time there is nothing to weigh against it.
            Reason::Sounder if self.doublings == 0 => Duration::ZERO,
            Reason::Sounder | Reason::Better => grown(self.config.better_for),
        }
    }

    /// The only transition.
    fn enter(&mut self, now: Instant, to: Option<Path>, reason: Reason, waited: Duration) {
        let from = self.held.take().map(|held| held.path);
        match (from, to) {
            (Some(_), Some(_)) => self.count(now, reason),
            (_, None) => (self.doublings, self.last_change) = (0, None),
            (None, Some(_)) => {}
        }
        self.held = to.map(|path| Held {
            path,
            best_tier: path.tier(),
            wish: None,
        });
        // A timeout decides by the last offer; its path in use is now this one.
        self.offer.held = to;
        let decision = Decision {
            at: now,
            reason,
            from,
            to,
            direct: self.offer.direct,
            overlay: self.offer.overlay,
            waited,
            doublings: self.doublings,
        };
        if self.decisions.len() == MAX_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
        self.outputs.push_back(decision);
    }

    /// Counts a change from one path to another into the waits.
    fn count(&mut self, now: Instant, reason: Reason) {
        let is_within = |time: Duration| {
            let since = self.last_change.map(|at| now.duration_since(at));
            since.is_some_and(|since| since < time)
        };
        let is_flight = |reason| matches!(reason, Reason::Lost | Reason::Suspect);
        let before = self.decisions.back();
        let is_same_fault = is_flight(reason)
            && before.is_some_and(|before| is_flight(before.reason))
            && is_within(ONE_FAULT);
        if !is_within(self.config.memory) {
            self.doublings = 0;
        } else if reason != Reason::DirectWell && !is_same_fault {
            self.doublings = self.doublings.saturating_add(1);
        }
        self.last_change = Some(now);
    }
}

impl Offer {
    /// What `table` offers for `destination`, where `held` is the path in use.
    pub fn new(table: &RouteTable, destination: NodeKey, held: Option<&Path>) -> Self {
        let route = table.route(destination);
        Self {
            held: held.and_then(|path| table.path(path.hops())),
            direct: route.and_then(|route| route.direct),
            overlay: route.and_then(|route| route.overlay),
        }
    }

    /// What to take if nothing is in use.
    fn preferred(&self, config: ChoiceConfig) -> Option<Path> {
        Path::preferred(self.direct, self.overlay, config.margin)
    }

    /// Why to leave `path`, which is usable, and for which other.
    fn reason_to_leave(
        &self,
        path: &Path,
        worsened: bool,
        config: ChoiceConfig,
    ) -> Option<(Reason, Path)> {
        let preferred = self.preferred(config)?;
        if preferred.tier() < path.tier() {
            let reason = match worsened {
                true if preferred.tier().draining < path.tier().draining => Reason::Draining,
                true => Reason::Suspect,
                false => Reason::Sounder,
            };
            return Some((reason, preferred));
        }
        let overlay = self
            .overlay
            .filter(|overlay| overlay.beats(path, config.margin));
        if path.is_direct() {
            return overlay.map(|overlay| (Reason::Better, overlay));
        }
        // As good as any: what is preferred of all is direct, and what is in use has no more than
        // half the margin over it. The other half keeps noise from moving traffic to and fro.
        let is_well = preferred.is_direct() && !path.beats(&preferred, config.margin.half());
        if is_well {
            Some((Reason::DirectWell, preferred))
        } else {
            overlay.map(|overlay| (Reason::Better, overlay))
        }
    }
}

/// What takes one path and, this soon after, the next, is one fault. All of a node's own links show
/// it within 0.3 s; what others tell of theirs comes after the 0.5 s for which they doubt
/// themselves, see [`isolation`](crate::isolation), and the time that news takes.
const ONE_FAULT: Duration = Duration::from_secs(1);
/// Decisions remembered: some five minutes of the worst that flapping can do. A table of 1,000
/// destinations that all flapped holds 10 MB of them.
const MAX_DECISIONS: usize = 32;
