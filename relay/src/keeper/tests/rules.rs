//! One rule of the keeper each.

use super::bench::{Bench, ms, ours, theirs};
use crate::{id::NodeKey, keeper::*};

fn up(role: Role) -> Bench {
    let mut bench = Bench::new(role);
    bench.want().dialed(ours(0));
    match role {
        Role::Arbiter => bench.promoted(ours(0), 1),
        Role::Follower => bench.promote(ours(0), 1),
    };
    assert_eq!(bench.keeper.state(), StateName::Up);
    bench
}

#[test]
fn the_smaller_key_is_the_arbiter() {
    let (small, large) = (NodeKey([1; 8]), NodeKey([2; 8]));
    assert_eq!(Role::of(small, large), Role::Arbiter);
    assert_eq!(Role::of(large, small), Role::Follower);
}

#[test]
fn a_thousand_wants_are_one_dial() {
    let mut bench = Bench::new(Role::Follower);
    bench.want();
    assert_eq!(bench.said(), "dial(fresh)");
    for _ in 0..1_000 {
        bench.want();
        assert_eq!(bench.said(), "");
    }
}

#[test]
fn backoff_says_until_when_and_why_and_ends_in_a_dial_from_the_other_pool() {
    let mut bench = Bench::new(Role::Arbiter);
    bench.want().dial_failed();
    let PeerStatus::Backoff { until, reason } = bench.keeper.status().clone() else {
        panic!("{:?}", bench.keeper.status());
    };
    assert!(until <= bench.now + ms(100));
    assert_eq!(reason, Reason::DialFailed(super::bench::refused()));
    bench.timer();
    assert_eq!((bench.now, bench.said().as_str()), (until, "dial(retry)"));
    // It answers after all: the next dial is as good as the first.
    bench.dialed(ours(1)).closed(ours(1)).timer();
    assert_eq!(bench.said(), "dial(fresh)");
    bench.dialed(ours(2));
    bench.act(|keeper, now| keeper.handle_silent(now, ours(2)));
    bench.timer();
    assert_eq!(
        bench.said(),
        "dial(retry)",
        "a silent peer may be a black hole"
    );
}

#[test]
fn news_cut_a_backoff_short_but_not_below_200_ms_after_the_last_dial() {
    let mut bench = Bench::new(Role::Arbiter);
    bench.want().dial_failed();
    let mut dials = Vec::new();
    let begin = bench.now;
    while bench.now < begin + ms(10_000) {
        bench.act(|keeper, now| keeper.handle_heard_of(now));
        if bench
            .keeper
            .poll_timeout()
            .is_some_and(|due| due <= bench.now)
        {
            bench.timer();
        }
        if bench.keeper.dial.is_some() {
            dials.push(bench.now);
            bench.dial_failed();
        }
    }
    // Now and then jitter draws a shorter wait of its own accord.
    for pair in dials.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap <= ms(204), "{gap:?}");
    }
    let most = 10_000 / 200 + 5;
    assert!(
        dials.len() >= 45 && dials.len() <= most,
        "{} dials",
        dials.len()
    );
    assert!(bench.keeper.transitions().count() <= MAX_TRANSITIONS);
}

#[test]
fn a_link_of_less_than_ten_seconds_leaves_the_backoff_where_it_was() {
    for (lived, most) in [(ms(9_998), ms(3_200)), (ms(10_000), ms(100))] {
        let mut bench = Bench::new(Role::Arbiter);
        bench.want();
        for _ in 0..5 {
            bench.dial_failed().timer();
        }
        bench.dialed(ours(0)).promoted(ours(0), 1);
        bench.wait(lived - ms(1)).closed(ours(0));
        // Every draw is below its ceiling; the ceiling itself is seen over many seeds.
        let mut longest = Duration::ZERO;
        for seed in 0..200 {
            let mut backoff = bench.keeper.backoff.clone();
            backoff.reseed(seed);
            longest = longest.max(backoff.next(bench.now) - bench.now);
        }
        assert!(
            longest <= most && longest > most * 9 / 10,
            "{lived:?}: {longest:?}"
        );
    }
}

#[test]
fn a_newer_node_generation_closes_the_links_of_the_older_process_at_once() {
    for role in [Role::Arbiter, Role::Follower] {
        let mut bench = up(role);
        let mut facts = bench.facts(theirs(1));
        facts.peer_generation = NodeGeneration(101);
        bench.act(|keeper, now| keeper.handle_accepted(now, facts));
        assert!(
            bench.said().starts_with("close(o0,superseded)"),
            "{}",
            bench.said()
        );
        // What the older process sent may still arrive: with the new one's promotions unharmed.
        bench.promote(ours(0), 7);
        if role == Role::Follower {
            // A process that starts over counts its promotions from the start.
            bench.promote(theirs(1), 1);
            assert_eq!(bench.said(), "promoted(t1,1)");
        }
        let mut late = bench.facts(theirs(2));
        late.peer_generation = NodeGeneration(100);
        bench.act(|keeper, now| keeper.handle_accepted(now, late));
        let [Output::Close { code, known, .. }] = bench.outputs[..] else {
            panic!("{}", bench.said());
        };
        assert_eq!((code, known), (CloseCode::Stale, Some(NodeGeneration(101))));
        assert_eq!(bench.keeper.current(), Some(theirs(1)));
    }
}

#[test]
fn a_peer_that_moved_its_generation_and_names_our_link_keeps_it_until_the_new_one_is_confirmed() {
    for role in [Role::Arbiter, Role::Follower] {
        let mut bench = up(role);
        let mut facts = bench.facts(theirs(1));
        facts.peer_generation = NodeGeneration(101);
        facts.peer_holds = Some(ours(0));
        bench.act(|keeper, now| keeper.handle_accepted(now, facts));
        assert!(bench.keeper.holds(ours(0)));
        match role {
            Role::Arbiter => bench.promoted(theirs(1), 2),
            Role::Follower => bench.promote(theirs(1), 2),
        };
        assert!(bench.said().contains("retire(o0)"), "{}", bench.said());
    }
}

#[test]
fn a_peer_without_a_link_has_lost_only_what_was_confirmed_before_it_was_asked() {
    for role in [Role::Arbiter, Role::Follower] {
        for (after, lost) in [(ms(0), false), (ms(1), true)] {
            let mut bench = Bench::new(role);
            bench.want().dialed(ours(0));
            match role {
                Role::Arbiter => bench.promoted(ours(0), 1),
                Role::Follower => bench.promote(ours(0), 1),
            };
            let mut facts = bench.facts(theirs(1));
            facts.began = bench.now + after;
            bench.act(|keeper, now| keeper.handle_accepted(now, facts));
            assert_eq!(bench.keeper.holds(ours(0)), !lost, "{role:?} {after:?}");
        }
    }
}

#[test]
fn a_retiring_link_is_closed_when_idle_and_at_the_latest_after_30_s() {
    let retiring = || {
        let mut bench = up(Role::Arbiter);
        bench.accepted(theirs(1)).promoted(theirs(1), 2);
        assert_eq!(bench.said(), "retire(o0)");
        bench
    };
    let mut bench = retiring();
    bench.act(|keeper, now| keeper.handle_link_idle(now, ours(0)));
    assert_eq!(bench.said(), "close(o0,superseded)");
    let mut bench = retiring();
    bench.wait(ms(29_999));
    assert!(bench.keeper.holds(ours(0)));
    bench.wait(ms(1));
    assert_eq!(bench.said(), "close(o0,superseded)");
}

#[test]
fn an_unconfirmed_promotion_is_undone_after_5_s_and_an_older_link_promoted_again() {
    let mut bench = up(Role::Arbiter);
    bench.accepted(theirs(1)).wait(ms(4_999));
    assert_eq!(bench.keeper.current(), Some(theirs(1)));
    bench.wait(ms(1));
    assert_eq!(bench.said(), "close(t1,setup_timeout) promote(o0,3)");
    bench.wait(ms(4_999)).promoted(ours(0), 3).wait(ms(10_000));
    assert_eq!(bench.keeper.current(), Some(ours(0)));
}

#[test]
fn a_link_that_nobody_promotes_is_closed_after_5_s_and_counts_as_a_failed_dial() {
    let mut bench = Bench::new(Role::Follower);
    bench.want().dialed(ours(0)).wait(ms(4_999));
    assert_eq!(bench.keeper.state(), StateName::Dialing);
    bench.wait(ms(1));
    assert_eq!(bench.said(), "close(o0,setup_timeout)");
    assert_eq!(bench.keeper.state(), StateName::Backoff);
}

#[test]
fn a_late_promotion_moves_nothing_and_its_link_is_retired() {
    let mut bench = Bench::new(Role::Follower);
    bench.want().accepted(theirs(1)).accepted(theirs(2));
    bench.promote(theirs(2), 2).promote(theirs(1), 1);
    assert_eq!(bench.said(), "retire(t1)");
    assert_eq!(bench.keeper.current(), Some(theirs(2)));
}

#[test]
fn over_four_links_the_oldest_that_is_not_current_is_closed() {
    let mut bench = Bench::new(Role::Follower);
    bench.want().accepted(theirs(1)).promote(theirs(1), 1);
    bench
        .accepted(theirs(2))
        .accepted(theirs(3))
        .accepted(theirs(4));
    assert_eq!(bench.said(), "");
    bench.accepted(theirs(5));
    assert_eq!(bench.said(), "close(t2,superseded)");
    assert_eq!(bench.keeper.current(), Some(theirs(1)));
}

#[test]
fn a_down_link_is_dialed_around_at_once_and_not_again_and_again() {
    let mut bench = up(Role::Arbiter);
    bench.wait(ms(10_000)).health(ours(0), Health::Down);
    assert_eq!(bench.said(), "dial(fresh)");
    assert!(matches!(bench.keeper.status(), PeerStatus::Down { .. }));
    bench.dial_failed();
    assert_eq!(bench.said(), "");
    bench.timer();
    assert_eq!(bench.said(), "dial(retry)");
    // The new link is Down as well, as that of a peer whose requests hang: now it takes its time.
    bench.dialed(ours(1)).promoted(ours(1), 2);
    bench.health(ours(1), Health::Down);
    assert_eq!(bench.said(), "");
    bench.health(ours(1), Health::Up);
    assert_eq!(
        bench.keeper.poll_timeout(),
        Some(bench.now + RETIRE_DEADLINE - ms(2))
    );
}

#[test]
fn a_replaced_link_stays_until_the_new_one_is_confirmed() {
    let mut bench = up(Role::Follower);
    bench.wait(ms(10_000));
    bench.act(|keeper, now| keeper.handle_replace(now, ours(0), ReplaceReason::Untrusted));
    assert_eq!(bench.said(), "dial(fresh)");
    bench.dialed(ours(1));
    assert_eq!(bench.keeper.current(), Some(ours(0)));
    bench.promote(ours(1), 2);
    assert_eq!(bench.said(), "promoted(o1,2) retire(o0)");
    bench.wait(ms(30_000));
    assert_eq!(bench.said(), "close(o0,untrusted)");
}

#[test]
fn an_untrusted_link_is_closed_after_30_s_even_without_another() {
    let mut bench = up(Role::Arbiter);
    bench.act(|keeper, now| keeper.handle_replace(now, ours(0), ReplaceReason::Untrusted));
    let end = bench.now + REPLACE_DEADLINE;
    while bench.keeper.holds(ours(0)) {
        if bench.keeper.dial.is_some() {
            bench.dial_failed();
        }
        bench.timer();
    }
    assert_eq!(bench.now, end);
    assert!(bench.said().contains("close(o0,untrusted)"));
}

#[test]
fn links_begun_before_our_generation_moved_are_replaced_too() {
    let mut bench = up(Role::Arbiter);
    let began = bench.now;
    bench.wait(ms(10_000));
    bench.act(|keeper, now| keeper.handle_generation_moved(now));
    assert_eq!(bench.said(), "dial(fresh)");
    let mut facts = bench.facts(theirs(1));
    facts.began = began;
    bench.act(|keeper, now| keeper.handle_accepted(now, facts));
    assert_eq!(bench.said(), "promote(t1,2)", "and the dial goes on");
    bench.dialed(ours(1));
    facts = bench.facts(ours(2));
    facts.began = bench.now;
    bench.act(|keeper, now| keeper.handle_accepted(now, facts));
    bench.promoted(ours(2), 4);
    assert!(bench.keeper.dial.is_none());
}

#[test]
fn a_stale_answer_is_reported_and_dialed_again_once_the_generation_moved() {
    let mut bench = Bench::new(Role::Follower);
    bench.want();
    let dial = bench.keeper.dial.unwrap();
    bench.act(|keeper, now| keeper.handle_stale(now, dial, NodeGeneration(500)));
    assert_eq!(bench.said(), "stale(500)");
    bench.act(|keeper, now| keeper.handle_generation_moved(now));
    assert_eq!(bench.said(), "dial(fresh)");
}

#[test]
fn a_duplicate_name_stops_dialing_until_the_peer_is_wanted_again() {
    let mut bench = up(Role::Arbiter);
    bench.act(|keeper, now| keeper.handle_duplicate_name(now));
    bench.closed(ours(0));
    assert_eq!(
        *bench.keeper.status(),
        PeerStatus::Halted {
            reason: Reason::DuplicateName
        }
    );
    bench.act(|keeper, now| keeper.handle_heard_of(now));
    assert_eq!(
        (bench.said().as_str(), bench.keeper.poll_timeout()),
        ("", None)
    );
    bench.want();
    assert_eq!(bench.said(), "dial(fresh)");
}

#[test]
fn forgetting_twice_only_brings_the_end_nearer() {
    let mut bench = up(Role::Arbiter);
    let now = bench.now;
    bench.act(|keeper, at| keeper.forget(at, CloseCode::Removed, now + ms(500)));
    bench.act(|keeper, at| keeper.forget(at, CloseCode::Shutdown, now + ms(900)));
    assert_eq!(bench.keeper.poll_timeout(), Some(now + ms(500)));
    bench.act(|keeper, at| keeper.forget(at, CloseCode::Shutdown, now + ms(300)));
    bench.timer();
    assert_eq!(bench.now, now + ms(300));
    assert_eq!(bench.said(), "close(o0,removed)");
    assert_eq!(bench.keeper.state(), StateName::Closed);
}

#[test]
fn the_last_32_transitions_are_kept_with_their_reasons() {
    let mut bench = Bench::new(Role::Arbiter);
    bench.want();
    for _ in 0..40 {
        bench.dial_failed().timer();
    }
    let kept: Vec<_> = bench.keeper.transitions().cloned().collect();
    assert_eq!(kept.len(), MAX_TRANSITIONS);
    let last = kept.last().unwrap();
    assert_eq!(
        (last.from, last.to),
        (StateName::Backoff, StateName::Dialing)
    );
    assert_eq!((last.at, &last.reason), (bench.now, &Reason::BackoffOver));
    for pair in kept.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
        assert!(pair[0].at <= pair[1].at);
    }
}

#[test]
fn a_link_that_ends_is_followed_by_one_that_works_before_a_newer_one_that_does_not() {
    for role in [Role::Arbiter, Role::Follower] {
        let mut bench = up(role);
        for (nth, link) in [theirs(1), theirs(2)].into_iter().enumerate() {
            bench.accepted(link);
            if role == Role::Follower {
                bench.promote(link, 2 + nth as u64);
            }
        }
        bench.health(theirs(1), Health::Down).closed(theirs(2));
        assert_eq!(bench.keeper.current(), Some(ours(0)));
    }
}

#[test]
fn promotions_count_up_from_the_floor() {
    let mut keeper = Keeper::new(KeeperConfig {
        role: Role::Arbiter,
        seed: 7,
        epoch_floor: 1_000,
        backoff_max: Duration::from_secs(5),
        backoff_reset: Duration::from_secs(10),
    });
    let bench = Bench::new(Role::Arbiter);
    keeper.handle_accepted(bench.now, bench.facts(theirs(1)));
    let promotion = Output::SendPromote {
        link: theirs(1),
        epoch: 1_001,
    };
    assert_eq!(keeper.poll_output(), Some(promotion));
}
