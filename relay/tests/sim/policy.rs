//! What an administrator decides reaches every node, and nobody else's word does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::{Duration, UNIX_EPOCH},
};

use causeway::{
    id::AdministratorId,
    identity::{
        Administrator,
        pki::{Authority, Leaf},
    },
    policies::{self, ApplyPolicyError, PolicyRefused, PolicyRefusedReason, sign_policy},
    wire::Frame,
};
use router::policy::FleetPolicy;

use crate::{
    fleet::{Fleet, Member, TRUST_DOMAIN, authority, ms, sleep, year},
    raw::{Answers, Raw},
};

/// Whoever has a certificate that says `leaf`.
fn signer(authority: &Authority, leaf: &Leaf) -> Administrator {
    let directory = tempfile::tempdir().unwrap();
    let issued = authority.issue(leaf).unwrap();
    let (certificate, key) = (
        directory.path().join("a.pem"),
        directory.path().join("a.key"),
    );
    std::fs::write(&certificate, issued.certificate).unwrap();
    std::fs::write(&key, issued.key).unwrap();
    Administrator::load(certificate, key).unwrap()
}

fn administrator(authority: &Authority) -> Administrator {
    let id = AdministratorId::try_new(TRUST_DOMAIN, "ops").unwrap();
    signer(authority, &Leaf::administrator(&id, year()))
}

/// A policy that is good until long after the test.
fn policy(epoch: u64) -> FleetPolicy {
    let until = year().not_after.duration_since(UNIX_EPOCH).unwrap();
    FleetPolicy {
        epoch,
        expires: until - Duration::from_secs(1),
        weights: BTreeMap::from([("canary".into(), 5)]),
        condemned: BTreeSet::new(),
    }
}

fn epoch(fleet: &Fleet, member: Member) -> u64 {
    fleet.mesh(member).survey.policy.load(Ordering::Relaxed)
}

fn refused(fleet: &Fleet, member: Member, reason: PolicyRefusedReason) -> u64 {
    fleet.mesh(member).counts.policies_refused.value(reason)
}

/// Nodes in a row, each linked to the next.
async fn row(seed: u64, length: usize) -> (Fleet, Vec<Member>) {
    let mut fleet = Fleet::new(seed);
    let regions = ["eu", "us", "ap", "sa"];
    let nodes: Vec<Member> = (0..length)
        .map(|number| fleet.add(regions[number], "n", ""))
        .collect();
    for pair in nodes.windows(2) {
        fleet.delay(pair[0], pair[1], ms(40));
        fleet.pair(pair[0], pair[1]);
    }
    fleet.start_all().await;
    for pair in nodes.windows(2) {
        fleet.until_linked(pair, ms(5_000)).await;
    }
    (fleet, nodes)
}

#[tokio::test(start_paused = true)]
async fn policy_brought_to_one_node_is_held_by_all_and_the_next_takes_its_place() {
    let (fleet, nodes) = row(300, 4).await;
    // Digests are ten seconds apart by then, and would not be soon enough.
    sleep(ms(20_000)).await;
    let ops = administrator(&fleet.authority);
    for next in [3, 4] {
        let signed = sign_policy(&ops, policy(next)).unwrap();
        let taken = policies::apply(fleet.mesh(nodes[0]), signed).await.unwrap();
        assert_eq!(
            (taken.policy, taken.signed_by.name()),
            (policy(next), "ops")
        );
        // A frame over each link, and no digest in between.
        let everywhere = || nodes.iter().all(|node| epoch(&fleet, *node) == next);
        fleet.until("held by all", ms(300), everywhere).await;
    }
    let held = policies::in_force(fleet.mesh(nodes[3])).await.unwrap();
    assert_eq!(held.unwrap().policy, policy(4));
    let older = sign_policy(&ops, policy(3)).unwrap();
    let refused = policies::apply(fleet.mesh(nodes[2]), older).await;
    let outdated = PolicyRefused::Outdated { got: 3, held: 4 };
    assert_eq!(refused, Err(ApplyPolicyError::Refused(outdated)));
}

#[tokio::test(start_paused = true)]
async fn node_that_was_away_gets_the_policy_and_one_that_restarts_keeps_it() {
    let (mut fleet, nodes) = row(301, 3).await;
    let [a, b, c] = nodes[..] else { unreachable!() };
    let ops = administrator(&fleet.authority);
    fleet.kill(c);
    let signed = sign_policy(&ops, policy(1)).unwrap();
    policies::apply(fleet.mesh(a), signed).await.unwrap();
    let taken = || epoch(&fleet, b) == 1;
    fleet.until("held by the neighbour", ms(300), taken).await;
    fleet.start(c).await;
    fleet.until_linked(&[b, c], ms(5_000)).await;
    let taken = || epoch(&fleet, c) == 1;
    // With the next digest at the latest.
    fleet
        .until("held by the one that was away", ms(11_000), taken)
        .await;
    // Nobody is there to ask.
    for node in [a, b, c] {
        fleet.kill(node);
    }
    fleet.start(c).await;
    assert_eq!(epoch(&fleet, c), 1);
    let held = policies::in_force(fleet.mesh(c)).await.unwrap();
    assert_eq!(held.unwrap().policy, policy(1));
}

#[tokio::test(start_paused = true)]
async fn policy_that_expired_before_a_restart_still_keeps_out_an_older_one() {
    let (mut fleet, nodes) = row(304, 1).await;
    let [node] = nodes[..] else { unreachable!() };
    let ops = administrator(&fleet.authority);
    let today = || {
        let date = fleet.mesh(node).env.wall.now();
        date.duration_since(UNIX_EPOCH).unwrap()
    };
    let brief = FleetPolicy {
        expires: today() + Duration::from_secs(60),
        ..policy(2)
    };
    let signed = sign_policy(&ops, brief).unwrap();
    policies::apply(fleet.mesh(node), signed).await.unwrap();
    sleep(ms(61_000)).await;
    fleet.kill(node);
    fleet.start(node).await;
    let held = policies::in_force(fleet.mesh(node)).await.unwrap();
    assert_eq!(held, None);
    let older = sign_policy(&ops, policy(1)).unwrap();
    let refusal = policies::apply(fleet.mesh(node), older).await;
    let outdated = PolicyRefused::Outdated { got: 1, held: 2 };
    assert_eq!(refusal, Err(ApplyPolicyError::Refused(outdated)));
    assert_eq!(refused(&fleet, node, PolicyRefusedReason::Outdated), 1);
    let next = sign_policy(&ops, policy(3)).unwrap();
    policies::apply(fleet.mesh(node), next).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn policies_of_one_epoch_end_in_one_at_all_nodes() {
    let (fleet, nodes) = row(302, 4).await;
    let ops = administrator(&fleet.authority);
    let other = FleetPolicy {
        weights: BTreeMap::new(),
        ..policy(1)
    };
    let mut brought = Vec::new();
    for (at, policy) in [(0, policy(1)), (3, other)] {
        let signed = sign_policy(&ops, policy).unwrap();
        brought.push(signed.clone());
        policies::apply(fleet.mesh(nodes[at]), signed)
            .await
            .unwrap();
    }
    sleep(ms(11_000)).await;
    let expected = brought.iter().max().unwrap();
    for node in nodes {
        assert_eq!(&fleet.disk(node).policy().unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_administrator_of_the_trust_domain_signed_is_refused_and_not_checked_each_time() {
    let (fleet, nodes) = row(303, 2).await;
    let (a, b) = (nodes[0], nodes[1]);
    let strangers = sign_policy(&administrator(&authority(TRUST_DOMAIN, 99)), policy(9)).unwrap();
    let refusal = policies::apply(fleet.mesh(a), strangers.clone()).await;
    assert!(matches!(
        refusal,
        Err(ApplyPolicyError::Refused(PolicyRefused::Untrusted(_)))
    ));
    // A peer that sends what it should have refused, again and again.
    let raw = Raw::new(&fleet, "us", "raw");
    let link = raw.link(fleet.address(a), Answers::ALL).await;
    for _ in 0..50 {
        link.say(&Frame::Policy {
            signed: strangers.clone().into(),
        });
    }
    sleep(ms(1_000)).await;
    // That of the program, and the first of the peer.
    assert_eq!(refused(&fleet, a, PolicyRefusedReason::Untrusted), 2);
    assert_eq!(refused(&fleet, a, PolicyRefusedReason::TooSoon), 49);
    assert_eq!((epoch(&fleet, a), epoch(&fleet, b)), (0, 0));
    // Not for ever: what it sends later is looked at.
    sleep(ms(10_000)).await;
    let ops = administrator(&fleet.authority);
    link.say(&Frame::Policy {
        signed: sign_policy(&ops, policy(1)).unwrap().into(),
    });
    sleep(ms(1_000)).await;
    assert_eq!((epoch(&fleet, a), epoch(&fleet, b)), (1, 1));
    assert!(link.is_open());
}
