//! The mesh in a few numbers, for metrics.
//!
//! The router's task is the only writer; whoever scrapes reads without asking it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{routes::Kind, wire::words::words};

words! {
    /// How a destination is reached.
    How {
        /// Over the link to it.
        Direct = "direct";
        /// Over other nodes.
        Overlay = "overlay";
        /// Not at all.
        None = "none";
    }
}

/// What the router saw when it last looked.
#[derive(Debug, Default)]
pub struct Survey {
    /// Nodes that are known, this one included.
    pub nodes: AtomicU64,
    /// Names in which two processes seem to speak.
    pub contested: AtomicU64,
    /// The epoch of the policy of the fleet, expired or not; 0 if there is none.
    pub policy: AtomicU64,
    /// This node does not take what it has not heard of for absent yet.
    pub is_warming: AtomicBool,
    /// This node suspects itself.
    pub is_doubting: AtomicBool,
    routes: [[AtomicU64; How::ALL.len()]; Kind::ALL.len()],
}

impl Survey {
    /// How many destinations are reached this way.
    pub fn routes(&self, kind: Kind, how: How) -> u64 {
        self.routes[kind as usize][how as usize].load(Ordering::Relaxed)
    }

    /// Takes in how traffic of one kind goes: for each destination with a path, whether that is
    /// direct.
    ///
    /// - `destinations`: those without a path included.
    pub fn set_routes(&self, kind: Kind, destinations: usize, paths: impl Iterator<Item = bool>) {
        let (mut direct, mut overlay) = (0, 0);
        for is_direct in paths {
            match is_direct {
                true => direct += 1,
                false => overlay += 1,
            }
        }
        let none = (destinations as u64).saturating_sub(direct + overlay);
        for (how, count) in [
            (How::Direct, direct),
            (How::Overlay, overlay),
            (How::None, none),
        ] {
            self.routes[kind as usize][how as usize].store(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_without_a_path_are_what_is_left() {
        let survey = Survey::default();
        survey.set_routes(Kind::Bulk, 7, [true, false, true, true].into_iter());
        let seen = How::ALL.iter().map(|how| survey.routes(Kind::Bulk, *how));
        assert_eq!(seen.collect::<Vec<_>>(), [3, 1, 3]);
        assert_eq!(survey.routes(Kind::Interactive, How::Direct), 0);
        // A path that is known before its node must not wrap the count.
        survey.set_routes(Kind::Bulk, 0, [true].into_iter());
        assert_eq!(survey.routes(Kind::Bulk, How::None), 0);
    }
}
