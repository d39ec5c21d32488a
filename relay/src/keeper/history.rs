//! The last transitions of a keeper.

use std::{collections::VecDeque, fmt, time::Instant};

use super::event::Reason;
use crate::id::LinkGeneration;

/// One transition of a keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Instant,
    /// The state before.
    pub from: StateName,
    /// The state since. The same as before where only its data changed.
    pub to: StateName,
    /// The current link since, if there is one.
    pub link: Option<LinkGeneration>,
    /// Why.
    pub reason: Reason,
}

/// The states of a keeper, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// Not wanted, no link.
    Idle,
    /// A dial is out or a link awaits its promotion.
    Dialing,
    /// There is a current link.
    Up,
    /// No link; the next dial is some time away.
    Backoff,
    /// No link, and no dialing: two processes use this node's name.
    Halted,
    /// Leaving: the current link finishes its work.
    Draining,
    /// Left.
    Closed,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Dialing => "dialing",
            Self::Up => "up",
            Self::Backoff => "backoff",
            Self::Halted => "halted",
            Self::Draining => "draining",
            Self::Closed => "closed",
        })
    }
}

/// The last [`MAX_TRANSITIONS`] transitions, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    last: VecDeque<Transition>,
    pushed: u64,
}

impl History {
    pub(super) fn push(&mut self, transition: Transition) {
        if self.last.len() == MAX_TRANSITIONS {
            self.last.pop_front();
        }
        self.last.push_back(transition);
        self.pushed += 1;
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Transition> {
        self.last.iter()
    }

    /// Those since there were `before` in all, oldest first, as far as they are kept.
    pub(super) fn since(&self, before: u64) -> impl Iterator<Item = &Transition> {
        let new = usize::try_from(self.pushed.saturating_sub(before)).unwrap_or(usize::MAX);
        self.last.iter().skip(self.last.len().saturating_sub(new))
    }

    /// How many there were in all.
    pub(super) fn count(&self) -> u64 {
        self.pushed
    }
}

/// Enough for the way into trouble and several ways out of it.
pub const MAX_TRANSITIONS: usize = 32;
