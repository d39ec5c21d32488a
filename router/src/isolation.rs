//! When many links are lost at once: oneself first.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

/// Stands between what this node sees of its links and what it says to others.
///
/// ```text
///               3 links and half of all lost within 5 s
///    Trusting ───────────────────────────────────────────▶ Doubting
///        ▲                                                   │
///        └──── any link proves alive, or 15 s are over ──────┘
/// ```
///
/// A node whose own network is gone sees all others vanish. If it believes that, it tells them so as
/// soon as the first link is back, withdraws routes, or takes itself out of service; and a second's
/// outage of one node becomes an hour's of a region. So a loss is not told at once: it *settles* for
/// half a second, which is longer than a single fault takes to show on all links. If meanwhile so
/// many are lost that oneself is the likelier cause, nothing is told until it is clear:
///
/// - A link proves alive: the outside is there, so what is lost by then is told.
/// - None does for the stated time: then we are alone, and there is nobody to tell. What is lost is
///   believed, so that nothing is held for ever.
///
/// A link that is back before its loss was told was never lost. What was told is told again as
/// alive. Readiness is no output: a node never fences itself, it holds its tongue.
///
/// What this node does with its own packets does not wait for any of this: it takes the backup path
/// when a pair falls.
///
/// Call a `handle_*` on every input, then drain [`IsolationGuard::poll_output`], then arm
/// [`IsolationGuard::poll_timeout`]. Memory is an entry for each peer that is known; forget those
/// that left.
#[derive(Debug, Clone)]
pub struct IsolationGuard<P> {
    links: BTreeMap<P, Link>,
    /// Those whose loss is to be told: few of them, so that thousands that are well cost nothing
    /// at each timer.
    untold: BTreeSet<P>,
    state: State,
    doubts: u64,
    outputs: VecDeque<Output<P>>,
}

/// What others may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<P> {
    /// The link to this peer is lost.
    TellLost(P),
    /// The link to this peer, whose loss was told, is there again.
    TellAlive(P),
    /// Oneself is suspected; nothing is told.
    Doubting,
    /// That is over.
    Resolved(Resolution),
}

/// How a doubt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// A link proved alive: what was lost, was.
    Alive,
    /// None did. This node is alone, or the last one.
    Alone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Alive,
    Lost {
        at: Instant,
        /// When it is to be told; nothing once it was.
        tell: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trusting,
    Doubting { since: Instant },
}

impl<P: Ord + Copy> IsolationGuard<P> {
    /// Knows no link.
    pub fn new() -> Self {
        Self {
            links: BTreeMap::new(),
            untold: BTreeSet::new(),
            state: State::Trusting,
            doubts: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Whether oneself is suspected: hold what is known, tell nothing, expire nothing.
    pub fn is_doubting(&self) -> bool {
        match self.state {
            State::Doubting { .. } => true,
            State::Trusting => false,
        }
    }

    /// Whether the loss of the link to this peer is known and not to be told yet.
    pub fn holds(&self, peer: P) -> bool {
        self.untold.contains(&peer)
    }

    /// How often oneself was suspected.
    pub fn doubts(&self) -> u64 {
        self.doubts
    }

    /// A link proved that it is alive: it is up, or a reply or a packet came on it.
    ///
    /// Cheap, but not meant for each packet.
    pub fn handle_alive(&mut self, now: Instant, peer: P) {
        let before = self.links.insert(peer, Link::Alive);
        self.untold.remove(&peer);
        if let Some(Link::Lost { tell: None, .. }) = before {
            self.outputs.push_back(Output::TellAlive(peer));
        }
        if let State::Doubting { .. } = self.state {
            self.resolve(now, Resolution::Alive);
        }
    }

    /// The link to a peer is lost, for a reason that could be our own: silence, not a close that
    /// the peer sent, which proves it alive.
    pub fn handle_lost(&mut self, now: Instant, peer: P) {
        if let Some(Link::Lost { .. }) = self.links.get(&peer) {
            return;
        }
        let lost = Link::Lost {
            at: now,
            tell: Some(now + SETTLE),
        };
        self.links.insert(peer, lost);
        self.untold.insert(peer);
        if self.state == State::Trusting && self.too_many(now) {
            self.state = State::Doubting { since: now };
            self.doubts += 1;
            self.outputs.push_back(Output::Doubting);
        }
    }

    /// A peer left the mesh, or no link to it is wanted.
    pub fn handle_forgotten(&mut self, peer: P) {
        self.links.remove(&peer);
        self.untold.remove(&peer);
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.poll_timeout().filter(|due| *due <= now) else {
            return;
        };
        if now.duration_since(due) > TOLERANCE {
            // Our own stall: what came meanwhile has yet to be read.
            self.settle_again(now);
        }
        match self.state {
            State::Trusting => self.tell(now),
            State::Doubting { .. } => self.resolve(now, Resolution::Alone),
        }
    }

    /// When to call [`IsolationGuard::handle_timeout`], if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Doubting { since } => Some(since + HOLD),
            State::Trusting => {
                let settle = |peer: &P| match self.links.get(peer)? {
                    Link::Lost { tell, .. } => *tell,
                    Link::Alive => None,
                };
                self.untold.iter().filter_map(settle).min()
            }
        }
    }

    /// The next thing to tell, until there is none.
    pub fn poll_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop_front()
    }

    /// Of the links that were there at the begin of the window, many were lost in it.
    fn too_many(&self, now: Instant) -> bool {
        let (mut lost, mut alive) = (0, 0);
        for link in self.links.values() {
            match link {
                Link::Alive => alive += 1,
                Link::Lost { at, .. } if now.saturating_duration_since(*at) < WINDOW => lost += 1,
                Link::Lost { .. } => {}
            }
        }
        lost >= MIN_LOST && lost >= alive
    }

    fn resolve(&mut self, now: Instant, resolution: Resolution) {
        self.state = State::Trusting;
        self.outputs.push_back(Output::Resolved(resolution));
        match resolution {
            // What heals with us heals within moments.
            Resolution::Alive => self.settle_again(now),
            Resolution::Alone => {}
        }
        self.tell(now);
    }

    /// Gives what is not told yet more time, but not for ever: others may go on flapping.
    fn settle_again(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            if let Link::Lost {
                at,
                tell: Some(tell),
            } = link
            {
                *tell = (now + SETTLE).min(*at + HOLD);
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        for (peer, link) in &mut self.links {
            if let Link::Lost { tell, .. } = link
                && tell.is_some_and(|tell| tell <= now)
            {
                *tell = None;
                self.untold.remove(peer);
                self.outputs.push_back(Output::TellLost(*peer));
            }
        }
    }
}

impl<P: Ord + Copy> Default for IsolationGuard<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a loss waits. One fault is found on all links within 0.1 s plus the difference of
/// their round trips, 0.3 s on the longest: by default each is Down 0.8 to 0.9 s + RTT after it.
pub const SETTLE: Duration = Duration::from_millis(500);
/// Losses this close may have one cause. Links that nothing uses are probed once a second, and are
/// Down 4 s after a fault at the latest, three seconds after the first.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Fewer may be gone together by chance: two nodes of one rack.
pub const MIN_LOST: usize = 3;
/// Above this lateness of a timer, the stall was our own.
const TOLERANCE: Duration = Duration::from_millis(250);
/// How long nothing is told; a loss that stays is told within twice that. Long enough for links that were closed after 5 s of silence to be
/// dialed again after the longest backoff of 5 s, and to answer.
pub const HOLD: Duration = Duration::from_secs(15);
