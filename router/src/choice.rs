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
///              by half the margin: 2 s, 4 s, 8 s, then 12 s
/// ```
///
/// - A path that was fine when it was taken and has become Down, suspect or draining is left at once
///   for one that is not. There is nothing to wait for.
/// - Everything else is a gain that can wait, and it has to last: it is counted from when it began,
///   and starts again when it is interrupted.
/// - What repeats within two minutes has to last twice as long each time, up to 12 s: the direct
///   path once it was left again, and other paths after any change but the way back to direct. An
///   outage in which one path after the other falls has left the direct path once.
///
/// To have no path is not a choice: losing the last path and having one again are at once. No wait
/// grows by it, and those that had grown are over, since what comes back comes back as a whole and
/// not in the order in which it fell.
///
/// Call a `handle_*` on every input, then drain [`Choice::poll_output`], then arm
/// [`Choice::poll_timeout`]. `now` must never go backwards.
///
/// # Bounds
///
/// Once the direct path is usable and no other is better, it is taken after at most 12 s, and after
/// 2 s if it was not left before within two minutes. One link that comes and goes causes, in any
/// minute, whatever its rhythm, at most 13 changes from one path to another; if it is up for as
/// long as it is down, with a period of 1 s to 60 s, at most 7, and below 24 s none after the third
/// return.
#[derive(Debug)]
pub struct Choice {
    config: ChoiceConfig,
    held: Option<Held>,
    offer: Offer,
    /// All changes from one path to another.
    changes: Damper,
    /// Those that left the direct path.
    departures: Damper,
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
            changes: Damper::default(),
            departures: Damper::default(),
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
        let longest = self.config.longest_wait;
        match reason {
            Reason::Found | Reason::Lost | Reason::Suspect | Reason::Draining => Duration::ZERO,
            Reason::DirectWell => self.departures.grown(self.config.direct_after, longest),
            Reason::Sounder if to.is_direct() => {
                self.departures.grown(self.config.direct_after, longest)
            }
            // The first time there is nothing to weigh against it.
            Reason::Sounder if self.changes.doublings == 0 => Duration::ZERO,
            Reason::Sounder | Reason::Better => self.changes.grown(self.config.better_for, longest),
        }
    }

    /// The only transition.
    fn enter(&mut self, now: Instant, to: Option<Path>, reason: Reason, waited: Duration) {
        let from = self.held.take().map(|held| held.path);
        match (from, to) {
            (Some(from), Some(to)) => self.count(now, from, to, reason),
            (_, None) => {
                self.changes = Damper::default();
                self.departures = Damper::default();
            }
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
            doublings: match to {
                Some(to) if to.is_direct() => self.departures.doublings,
                Some(_) | None => self.changes.doublings,
            },
        };
        if self.decisions.len() == MAX_DECISIONS {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
        self.outputs.push_back(decision);
    }

    /// Counts a change from one path to another into the waits.
    fn count(&mut self, now: Instant, from: Path, to: Path, reason: Reason) {
        let memory = self.config.memory;
        self.changes.note(now, memory, reason != Reason::DirectWell);
        if from.is_direct() || to.is_direct() {
            self.departures.note(now, memory, from.is_direct());
        }
    }
}

/// Makes waits longer when what they are for repeats.
#[derive(Debug, Default)]
struct Damper {
    doublings: u32,
    last: Option<Instant>,
}

impl Damper {
    /// It happened again; `counts` if that is to be waited for longer, where the last time was
    /// within `memory`.
    fn note(&mut self, now: Instant, memory: Duration, counts: bool) {
        if !self.is_within(now, memory) {
            self.doublings = 0;
        } else if counts {
            self.doublings = self.doublings.saturating_add(1);
        }
        self.last = Some(now);
    }

    fn is_within(&self, now: Instant, time: Duration) -> bool {
        self.last.is_some_and(|at| now.duration_since(at) < time)
    }

    fn grown(&self, first: Duration, longest: Duration) -> Duration {
        let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        first.saturating_mul(factor).min(longest)
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
        // half the margin over it. The other half keeps noise from moving traffic to and fro. While
        // both are suspect, as when all links of a region heal at once, whichever is well first
        // would be left for the other.
        let is_well = preferred.is_direct()
            && preferred.tier().suspect == 0
            && !path.beats(&preferred, config.margin.half());
        if is_well {
            Some((Reason::DirectWell, preferred))
        } else {
            overlay.map(|overlay| (Reason::Better, overlay))
        }
    }
}

/// Decisions remembered: some five minutes of the worst that flapping can do. A table of 1,000
/// destinations that all flapped holds 10 MB of them.
const MAX_DECISIONS: usize = 32;
