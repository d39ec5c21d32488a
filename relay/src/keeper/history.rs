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
pub(super) struct History(VecDeque<Transition>);

impl History {
    pub(super) fn push(&mut self, transition: Transition) {
        if self.0.len() == MAX_TRANSITIONS {
            self.0.pop_front();
        }
        self.0.push_back(transition);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Transition> {
        self.0.iter()
    }
}

/// Enough for the way into trouble and several ways out of it.
pub const MAX_TRANSITIONS: usize = 32;
