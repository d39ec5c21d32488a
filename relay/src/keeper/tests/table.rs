//! Every event in every state, with what is expected of it: `table.txt`.

use std::fmt::Write;

use super::bench::{Bench, ms, ours, refused, theirs};
use crate::keeper::*;

/// The states, told apart further where their data decides.
#[derive(Debug, Clone, Copy)]
enum Setup {
    Idle,
    /// A dial is out.
    Dialing,
    /// Our dial came through, and its link `o0` is not promoted yet. The arbiter has no such state.
    Awaiting,
    /// The only link is `o0`.
    Up,
    /// `o0` is current; the older `t1` is still there: with the follower it was promoted before,
    /// with the arbiter `o0` is not confirmed yet.
    UpTwo,
    /// The only link, `o0`, is Down, and another is dialed.
    Down,
    Backoff,
    Halted,
    /// `o0` finishes its work.
    Draining,
    Closed,
}

const SETUPS: [Setup; 10] = [
    Setup::Idle,
    Setup::Dialing,
    Setup::Awaiting,
    Setup::Up,
    Setup::UpTwo,
    Setup::Down,
    Setup::Backoff,
    Setup::Halted,
    Setup::Draining,
    Setup::Closed,
];

#[derive(Debug, Clone, Copy)]
enum Event {
    Want,
    Forget,
    Dialed,
    DialFailed,
    DialStale,
    Accepted,
    AcceptedOlderProcess,
    AcceptedNewerProcess,
    AcceptedHoldsNone,
    Promote,
    PromoteLate,
    Promoted,
    PromotedUnsent,
    Closed,
    Silent,
    Idle,
    HealthDown,
    HealthUp,
    Replace,
    HeardOf,
    GenerationMoved,
    DuplicateName,
    Timer,
}

const EVENTS: [Event; 23] = [
    Event::Want,
    Event::Forget,
    Event::Dialed,
    Event::DialFailed,
    Event::DialStale,
    Event::Accepted,
    Event::AcceptedOlderProcess,
    Event::AcceptedNewerProcess,
    Event::AcceptedHoldsNone,
    Event::Promote,
    Event::PromoteLate,
    Event::Promoted,
    Event::PromotedUnsent,
    Event::Closed,
    Event::Silent,
    Event::Idle,
    Event::HealthDown,
    Event::HealthUp,
    Event::Replace,
    Event::HeardOf,
    Event::GenerationMoved,
    Event::DuplicateName,
    Event::Timer,
];

/// Brings a keeper into a state. `None` if its role never has it.
fn set_up(role: Role, setup: Setup) -> Option<Bench> {
    let mut bench = Bench::new(role);
    match setup {
        Setup::Idle => {}
        Setup::Dialing => {
            bench.want();
        }
        Setup::Awaiting => match role {
            Role::Arbiter => return None,
            Role::Follower => {
                bench.want().dialed(ours(0));
            }
        },
        Setup::Up => {
            bench.want().dialed(ours(0));
            confirm(&mut bench, role, 1);
        }
        Setup::UpTwo => {
            bench.want().accepted(theirs(1));
            if role == Role::Follower {
                bench.promote(theirs(1), 1);
            }
            bench.accepted(ours(0));
            if role == Role::Follower {
                bench.promote(ours(0), 2);
            }
        }
        Setup::Down => {
            bench.want().dialed(ours(0));
            confirm(&mut bench, role, 1);
            bench.wait(ms(20_000)).health(ours(0), Health::Down);
            assert!(bench.keeper.dial.is_some());
        }
        Setup::Backoff => {
            bench.want().dial_failed();
            // Not the first one, whose wait may be shorter than what news is held to.
            for _ in 0..4 {
                bench.timer().dial_failed();
            }
        }
        Setup::Halted => {
            bench.want();
            bench.act(|keeper, now| keeper.handle_duplicate_name(now));
        }
        Setup::Draining => {
            bench.want().dialed(ours(0));
            confirm(&mut bench, role, 1);
            bench.forget();
        }
        Setup::Closed => {
            bench.forget();
        }
    }
    let expected = match setup {
        Setup::Idle => StateName::Idle,
        Setup::Dialing | Setup::Awaiting => StateName::Dialing,
        Setup::Up | Setup::UpTwo | Setup::Down => StateName::Up,
        Setup::Backoff => StateName::Backoff,
        Setup::Halted => StateName::Halted,
        Setup::Draining => StateName::Draining,
        Setup::Closed => StateName::Closed,
    };
    assert_eq!(bench.keeper.state(), expected);
    Some(bench)
}

/// Both ends know that `o0` is current.
fn confirm(bench: &mut Bench, role: Role, epoch: u64) {
    match role {
        Role::Arbiter => bench.promoted(ours(0), epoch),
        Role::Follower => bench.promote(ours(0), epoch),
    };
}

fn apply(bench: &mut Bench, event: Event) {
    let link = ours(0);
    // The dial that is out, or one that is long forgotten.
    let dial = bench.keeper.dial.unwrap_or(DialId(1_000));
    let mut facts = bench.facts(theirs(7));
    facts.peer_holds = bench.keeper.current().or_else(|| Some(theirs(9)));
    let act = |bench: &mut Bench, run: &dyn Fn(&mut Keeper, Instant)| {
        bench.act(run);
    };
    match event {
        Event::Want => act(bench, &|keeper, now| keeper.want(now)),
        Event::Forget => {
            bench.forget();
        }
        Event::Dialed => {
            facts.link = ours(7);
            act(bench, &|keeper, now| keeper.handle_dialed(now, dial, facts));
        }
        Event::DialFailed => act(bench, &|keeper, now| {
            keeper.handle_dial_failed(now, dial, refused());
        }),
        Event::DialStale => act(bench, &|keeper, now| {
            keeper.handle_stale(now, dial, NodeGeneration(500));
        }),
        Event::Accepted => act(bench, &|keeper, now| keeper.handle_accepted(now, facts)),
        Event::AcceptedOlderProcess => {
            facts.peer_generation = NodeGeneration(99);
            act(bench, &|keeper, now| keeper.handle_accepted(now, facts));
        }
        Event::AcceptedNewerProcess => {
            facts.peer_generation = NodeGeneration(101);
            facts.peer_holds = None;
            act(bench, &|keeper, now| keeper.handle_accepted(now, facts));
        }
        Event::AcceptedHoldsNone => {
            facts.began = bench.now + ms(1);
            facts.peer_holds = None;
            act(bench, &|keeper, now| keeper.handle_accepted(now, facts));
        }
        Event::Promote => act(bench, &|keeper, now| keeper.handle_promote(now, link, 9)),
        Event::PromoteLate => act(bench, &|keeper, now| keeper.handle_promote(now, link, 0)),
        Event::Promoted => {
            let epoch = bench.keeper.epoch;
            act(bench, &|keeper, now| {
                keeper.handle_promoted(now, link, epoch)
            });
        }
        Event::PromotedUnsent => act(bench, &|keeper, now| keeper.handle_promoted(now, link, 99)),
        Event::Closed => act(bench, &|keeper, now| {
            keeper.handle_closed(now, link, CloseCause::Lost);
        }),
        Event::Silent => act(bench, &|keeper, now| keeper.handle_silent(now, link)),
        Event::Idle => act(bench, &|keeper, now| keeper.handle_link_idle(now, link)),
        Event::HealthDown => act(bench, &|keeper, now| {
            keeper.handle_health(now, link, Health::Down);
        }),
        Event::HealthUp => act(bench, &|keeper, now| {
            keeper.handle_health(now, link, Health::Up);
        }),
        Event::Replace => act(bench, &|keeper, now| {
            keeper.handle_replace(now, link, ReplaceReason::Untrusted);
        }),
        Event::HeardOf => act(bench, &|keeper, now| keeper.handle_heard_of(now)),
        Event::GenerationMoved => act(bench, &|keeper, now| keeper.handle_generation_moved(now)),
        Event::DuplicateName => act(bench, &|keeper, now| keeper.handle_duplicate_name(now)),
        Event::Timer => {
            if bench.keeper.poll_timeout().is_some() {
                bench.timer();
            } else {
                act(bench, &|keeper, now| keeper.handle_timeout(now));
            }
        }
    }
}

/// One line for each event: the state after it and what the shell was told, or a dash if neither
/// state, status nor timer changed and nothing was told.
fn table() -> String {
    let mut table = String::new();
    for role in [Role::Arbiter, Role::Follower] {
        for setup in SETUPS {
            let Some(bench) = set_up(role, setup) else {
                continue;
            };
            let _ = writeln!(table, "\n{role:?} {setup:?}");
            for event in EVENTS {
                let mut bench = bench.clone();
                bench.outputs.clear();
                let before = (bench.keeper.status().clone(), bench.keeper.poll_timeout());
                apply(&mut bench, event);
                let after = (bench.keeper.status().clone(), bench.keeper.poll_timeout());
                let line = if before == after && bench.outputs.is_empty() {
                    "-".to_owned()
                } else {
                    let link = bench.keeper.current().map(super::bench::name);
                    let link = link.map_or(String::new(), |link| format!("({link})"));
                    format!("{}{link} {}", bench.keeper.state(), bench.said())
                };
                let _ = writeln!(table, "  {:<21}{}", format!("{event:?}"), line.trim_end());
            }
        }
    }
    table
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let table = table();
    if table.trim() != include_str!("table.txt").trim() {
        panic!("the machine does this:\n{table}");
    }
}
