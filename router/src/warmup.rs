//! Just started, or just woken: what was not heard yet is not gone.

use std::time::{Duration, Instant};

/// Decides whether absence is news.
///
/// A node that has just started has heard of nobody. If nodes restart together and each takes its
/// own ignorance for the others' absence, they withdraw all of each other's routes; that has stopped
/// a mesh for minutes. So until a node is *warm*, whom it has not heard of is [`News::Unknown`],
/// which nobody is told and nothing is decided by. What it does hear counts from the first moment.
///
/// It is warm when it has the whole state of every peer that it was told to start from, and at the
/// latest after [`WARM_UP`], so that one dead address does not keep it cold. A stall of its own, or a
/// time in which it doubted itself, makes it cold again: what expired meanwhile, expired because it
/// was not listening.
#[derive(Debug, Clone)]
pub struct WarmUp {
    state: State,
    /// Peers whose whole state is still missing.
    missing: usize,
}

/// What it means that nothing was heard of a node for as long as news of it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was heard of.
    Present,
    /// It was not, but neither could it have been.
    Unknown,
    /// It is gone.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Cold { since: Instant },
    Warm,
}

impl WarmUp {
    /// A node that starts. `sources` peers are asked for all that they know; with none, it is the
    /// first of a mesh, and waits all the same for others that start now.
    pub fn new(sources: usize, now: Instant) -> Self {
        Self {
            state: State::Cold { since: now },
            missing: sources,
        }
    }

    /// The whole state of another peer that it started from is there.
    pub fn handle_synced(&mut self) {
        self.missing = self.missing.saturating_sub(1);
        if self.missing == 0 {
            self.state = State::Warm;
        }
    }

    /// It did not listen: its process stood still, or it doubted itself. `sources` peers are asked
    /// again. Stalls shorter than [`SHORT_STALL`] lose no news.
    pub fn handle_deaf(&mut self, now: Instant, stalled: Duration, sources: usize) {
        if stalled >= SHORT_STALL {
            *self = Self::new(sources, now);
        }
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_warm(now) {
            self.state = State::Warm;
        }
    }

    /// Whether absence is news by now.
    pub fn is_warm(&self, now: Instant) -> bool {
        match self.state {
            State::Warm => true,
            State::Cold { since } => now.saturating_duration_since(since) >= WARM_UP,
        }
    }

    /// When to call [`WarmUp::handle_timeout`]: when it is warm at the latest, if it is not yet.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Warm => None,
            State::Cold { since } => Some(since + WARM_UP),
        }
    }

    /// What it means that a node was, or was not, `heard` of.
    pub fn judge(&self, now: Instant, heard: bool) -> News {
        if heard {
            News::Present
        } else if self.is_warm(now) {
            News::Absent
        } else {
            News::Unknown
        }
    }
}

/// Longer than the longest backoff of 5 s, a dial and a state's transfer over a slow path: a peer
/// that was there is heard of by then.
pub const WARM_UP: Duration = Duration::from_secs(10);

/// Sockets hold what comes in for about this long.
pub const SHORT_STALL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "tests need some instant to start from"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn absence_is_news_when_warm_and_not_before_and_presence_always() {
        let start = origin();
        let mut warm_up = WarmUp::new(2, start);
        assert_eq!(warm_up.judge(start, true), News::Present);
        assert_eq!(warm_up.judge(start + ms(9_999), false), News::Unknown);
        assert_eq!(warm_up.judge(start + ms(10_000), false), News::Absent);
        warm_up.handle_synced();
        assert_eq!(warm_up.judge(start, false), News::Unknown);
        assert_eq!(warm_up.poll_timeout(), Some(start + WARM_UP));
        warm_up.handle_synced();
        assert_eq!(warm_up.judge(start, false), News::Absent);
        assert_eq!(warm_up.poll_timeout(), None);
    }

    #[test]
    fn a_node_without_peers_to_start_from_waits_for_those_that_start_with_it() {
        let start = origin();
        assert!(!WarmUp::new(0, start).is_warm(start + ms(9_999)));
    }

    #[test]
    fn a_stall_of_a_second_makes_it_cold_again_and_a_shorter_one_does_not() {
        for (stalled, warm) in [(999, true), (1_000, false)] {
            let start = origin();
            let mut warm_up = WarmUp::new(1, start);
            warm_up.handle_synced();
            let woke = start + ms(60_000);
            warm_up.handle_deaf(woke, ms(stalled), 1);
            assert_eq!(warm_up.is_warm(woke), warm);
            assert!(warm_up.is_warm(woke + WARM_UP));
            warm_up.handle_timeout(woke + WARM_UP);
            assert_eq!(warm_up.poll_timeout(), None);
        }
    }

    #[test]
    fn nodes_that_restart_together_take_nobody_for_absent_who_comes_back() {
        // F16: eight nodes restart within two seconds, and link up one after the other.
        let start = origin();
        let started = |node: u64| start + ms(node * 250);
        let linked =
            |a: u64, b: u64| started(a).max(started(b)) + ms(100 + (a * 7 + b * 5) % 40 * 100);
        let nodes = 0..8;
        let mut absent = BTreeSet::new();
        let mut unknown = 0;
        for node in nodes.clone() {
            let warm_up = WarmUp::new(7, started(node));
            for tick in 0..200 {
                let now = started(node) + ms(100 * tick);
                for other in nodes.clone().filter(|other| *other != node) {
                    let heard = now >= linked(node, other);
                    match warm_up.judge(now, heard) {
                        News::Absent => drop(absent.insert((node, other))),
                        News::Unknown => unknown += 1,
                        News::Present => {}
                    }
                }
            }
        }
        assert_eq!(absent, BTreeSet::new());
        assert!(unknown > 500);
    }
}
