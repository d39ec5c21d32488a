//! Whom to dial of those that were lost.

use std::time::{Duration, Instant};

use crate::graph::NodeKey;

/// Takes turns among the nodes that were lost: some at a time, each for a while.
#[derive(Debug)]
pub(super) struct Redial {
    next_turn: Instant,
    dialed: Vec<NodeKey>,
}

/// Who is dialed next, and whose turn is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) over: Vec<NodeKey>,
    pub(super) next: Vec<NodeKey>,
}

impl Redial {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_turn: now + TURN,
            dialed: Vec::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.next_turn
    }

    /// The turn is over; `lost` are those that can have the next, by key.
    pub(super) fn handle_timeout(&mut self, now: Instant, lost: &[NodeKey]) -> Turn {
        self.next_turn = now + TURN;
        let last = self.dialed.last().copied();
        let over = std::mem::take(&mut self.dialed);
        let after = lost.iter().filter(|node| Some(**node) > last);
        let before = lost.iter().filter(|node| Some(**node) <= last);
        self.dialed = after.chain(before).copied().take(AT_A_TIME).collect();
        Turn {
            over: over
                .into_iter()
                .filter(|node| !self.dialed.contains(node))
                .collect(),
            next: self.dialed.clone(),
        }
    }
}

/// Long enough for three dials with the longest backoff between them.
const TURN: Duration = Duration::from_secs(15);
/// Of a region that was lost, a few tries are as good as all: whoever is reached knows the others.
const AT_A_TIME: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "tests need some instant to start from"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn all_who_were_lost_have_their_turn_and_not_more_than_some_at_a_time() {
        let start = origin();
        let lost: Vec<NodeKey> = (0..7).map(NodeKey).collect();
        let mut redial = Redial::new(start);
        let mut turns = vec![0; 7];
        for turn in 1..=7 {
            let now = start + TURN * turn;
            assert_eq!(redial.poll_timeout(), now);
            let turn = redial.handle_timeout(now, &lost);
            assert_eq!(turn.next.len(), AT_A_TIME);
            turn.next
                .iter()
                .for_each(|node| turns[node.0 as usize] += 1);
        }
        assert_eq!(turns, [3; 7]);
    }

    #[test]
    fn turn_of_one_who_is_back_is_over() {
        let start = origin();
        let mut redial = Redial::new(start);
        redial.handle_timeout(start, &[NodeKey(1), NodeKey(2)]);
        let turn = redial.handle_timeout(start, &[NodeKey(2)]);
        assert_eq!(turn.over, [NodeKey(1)]);
        assert_eq!(turn.next, [NodeKey(2)]);
    }
}
