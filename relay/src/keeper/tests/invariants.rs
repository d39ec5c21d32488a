//! What holds in every order of events, possible or not.

use std::{collections::BTreeSet, env};

use proptest::prelude::*;

use super::bench::{Bench, ms, ours, refused, theirs};
use crate::keeper::*;

/// The shell's view: what it must be able to rely on.
struct Shell {
    bench: Bench,
    open: BTreeSet<LinkGeneration>,
    dial: Option<DialId>,
    links: u32,
    closed_for_good: bool,
}

impl Shell {
    fn event(&mut self, kind: u8, pick: usize, wait: u64) {
        let any = self.open.iter().nth(pick % self.open.len().max(1)).copied();
        let link = any.unwrap_or_else(|| theirs(u32::MAX));
        let epoch = pick as u64 % 5;
        let dial = self.dial.unwrap_or(DialId(u64::MAX));
        let facts = self.facts(kind == 1, pick);
        self.bench.now += ms(wait);
        let removes = matches!(kind, 9..=11);
        if removes {
            self.open.remove(&link);
        }
        if matches!(kind, 0 | 1) {
            self.open.insert(facts.link);
        }
        if matches!(kind, 1..=3) {
            self.dial = None;
        }
        let before = self.bench.keeper.clone();
        self.bench.act(|keeper, now| match kind {
            0 => keeper.handle_accepted(now, facts),
            1 => keeper.handle_dialed(now, dial, facts),
            2 => keeper.handle_dial_failed(now, dial, refused()),
            3 => keeper.handle_stale(now, dial, NodeGeneration(500)),
            4 | 5 => keeper.handle_promote(now, link, before.epoch + epoch),
            6 | 7 => keeper.handle_promoted(now, link, before.epoch),
            8 => keeper.handle_promoted(now, link, epoch),
            9..=11 => keeper.handle_closed(now, link, CloseCause::Lost),
            12 => keeper.handle_silent(now, link),
            13 => keeper.handle_link_idle(now, link),
            14 => keeper.handle_health(now, link, Health::Down),
            15 => keeper.handle_health(now, link, Health::Up),
            16 => keeper.handle_replace(now, link, ReplaceReason::Untrusted),
            17 => keeper.handle_heard_of(now),
            18 => keeper.handle_generation_moved(now),
            19 => keeper.handle_duplicate_name(now),
            20 => keeper.forget(now, CloseCode::Removed, now + ms(300)),
            21..=23 => keeper.want(now),
            _ => keeper.handle_timeout(now),
        });
        for output in std::mem::take(&mut self.bench.outputs) {
            self.obey(output);
        }
        self.check();
    }

    fn facts(&mut self, dialed: bool, pick: usize) -> LinkFacts {
        self.links += 1;
        let link = if dialed {
            ours(self.links)
        } else {
            theirs(self.links)
        };
        LinkFacts {
            link,
            began: self.bench.now - ms(pick as u64 % 500),
            peer_generation: NodeGeneration(100 + (pick as u64 / 7) % 3),
            peer_holds: self.open.iter().nth(pick % 5).copied(),
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Dial { dial, .. } => {
                assert_eq!(self.dial, None, "one dial at a time");
                assert!(!self.closed_for_good);
                self.dial = Some(dial);
            }
            Output::CancelDial { dial } => assert_eq!(self.dial.take(), Some(dial)),
            Output::SendPromote { link, .. }
            | Output::SendPromoted { link, .. }
            | Output::Retire { link, .. } => assert!(self.open.contains(&link)),
            Output::Close { link, .. } => assert!(self.open.remove(&link), "closed before"),
            Output::Publish(_) => unreachable!("kept apart"),
            Output::StaleReported { .. } => {}
        }
    }

    fn check(&mut self) {
        let keeper = &self.bench.keeper;
        let held: BTreeSet<_> = keeper.links.iter().map(|link| link.id).collect();
        assert_eq!(held, self.open, "both know the same links");
        assert_eq!(keeper.dial, self.dial, "both know the same dial");
        assert!(held.len() <= MAX_LINKS);
        assert!(keeper.transitions().count() <= MAX_TRANSITIONS);
        if let Some(current) = keeper.current() {
            assert!(held.contains(&current));
        }
        let armed = keeper.poll_timeout().is_some();
        match keeper.state() {
            StateName::Idle | StateName::Halted => assert!(keeper.dial.is_none()),
            StateName::Dialing => assert!(keeper.dial.is_some() || armed, "nothing is awaited"),
            StateName::Up => assert!(keeper.current().is_some()),
            StateName::Backoff | StateName::Draining => assert!(armed),
            StateName::Closed => {
                assert!(held.is_empty() && !armed && keeper.dial.is_none());
                self.closed_for_good = true;
            }
        }
        assert!(!self.closed_for_good || keeper.state() == StateName::Closed);
        // A link that awaits something, or goes, has a deadline.
        let pending = |link: &Link| link.phase != Phase::Settled && link.deadline().is_none();
        assert!(keeper.links.ids(pending).is_empty());
        if keeper.role == Role::Arbiter && !keeper.is_leaving() {
            assert_eq!(
                keeper.current().is_none(),
                held.is_empty(),
                "an open link is used"
            );
        }
        if keeper.is_leaving() {
            assert!(matches!(keeper.status(), PeerStatus::Gone { .. }));
        }
        match keeper.status() {
            PeerStatus::Up { link, health } => {
                assert_eq!(Some(*link), keeper.current());
                assert_ne!(*health, Health::Down);
            }
            PeerStatus::Down { link, .. } => assert_eq!(Some(*link), keeper.current()),
            PeerStatus::Idle
            | PeerStatus::Dialing { .. }
            | PeerStatus::Backoff { .. }
            | PeerStatus::Halted { .. }
            | PeerStatus::Gone { .. } => {}
        }
    }
}

/// How many orders of events are tried: 256, or as many as `KEEPER_ORDERS` says.
fn orders() -> ProptestConfig {
    let cases = env::var("KEEPER_ORDERS").map_or(256, |cases| {
        cases.parse().expect("KEEPER_ORDERS is a number")
    });
    ProptestConfig::with_cases(cases)
}

proptest! {
    #![proptest_config(orders())]

    #[test]
    fn any_order_of_events_leaves_the_shell_what_it_relies_on(
        arbiter: bool,
        events in proptest::collection::vec((0_u8..40, 0_usize..1_000, 0_u64..2_000), 1..200),
    ) {
        let role = if arbiter { Role::Arbiter } else { Role::Follower };
        let mut shell = Shell {
            bench: Bench::new(role),
            open: BTreeSet::new(),
            dial: None,
            links: 0,
            closed_for_good: false,
        };
        for (kind, pick, wait) in events {
            // Leaving is for good: once in a while is enough.
            let kind = if kind == 20 && pick > 100 { 21 } else { kind };
            shell.event(kind, pick, wait);
        }
    }

    /// The peer stops answering for good in whatever state a run has led to: every link ends and
    /// every dial fails. What is wanted keeps being dialed, at the pace of the backoff.
    #[test]
    fn a_peer_that_vanishes_in_any_state_is_dialed_on_and_on(
        arbiter: bool,
        events in proptest::collection::vec((0_u8..19, 0_usize..1_000, 0_u64..2_000), 0..60),
    ) {
        let role = if arbiter { Role::Arbiter } else { Role::Follower };
        let mut shell = Shell {
            bench: Bench::new(role),
            open: BTreeSet::new(),
            dial: None,
            links: 0,
            closed_for_good: false,
        };
        shell.event(21, 0, 0);
        for (kind, pick, wait) in events {
            shell.event(kind, pick, wait);
        }
        let mut dials = 0;
        let end = shell.bench.now + ms(60_000);
        while shell.bench.now < end {
            if shell.dial.is_some() {
                dials += 1;
                shell.event(2, 0, 1_000);
            } else if let Some(link) = shell.open.first().copied() {
                let at = shell.open.iter().position(|open| *open == link).unwrap_or(0);
                shell.event(12, at, 100);
            } else {
                let due = shell.bench.keeper.poll_timeout().expect("a wanted peer is dialed");
                let wait = due.saturating_duration_since(shell.bench.now);
                shell.event(30, 0, wait.as_millis() as u64 + 1);
            }
        }
        // A second for each dial to fail, and five between them at most.
        prop_assert!(dials >= 60 / 7, "{dials} dials in a minute");
        prop_assert!(dials <= 60);
    }
}
