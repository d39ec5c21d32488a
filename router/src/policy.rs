//! What administrators decided for the whole fleet.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::verified::Verified;

/// A decision for the whole fleet, signed by an administrator. What follows from it is for others to
/// say; here it is carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPolicy {
    /// The higher one replaces the lower. An administrator's tool takes the one that it read, plus 1.
    pub epoch: u64,
    /// From when on it says nothing, as a date: time since 1970, UTC.
    pub expires: Duration,
    /// Shares of a region's flows by release; a release that is not listed has weight 1.
    pub weights: BTreeMap<String, u32>,
    /// Releases that nobody is to run.
    pub condemned: BTreeSet<String>,
}

/// Keeps the policy in force, and says when there is a newer one to persist and to pass on.
///
/// The highest epoch wins, whatever order policies come in, so that after any exchange all nodes
/// have the same. The same epoch with other content is an administrator's mistake: two of them read
/// the same one. All nodes take the one whose signed bytes are greater.
///
/// An expired policy says nothing, but its epoch stays: it must not give way to an older one that
/// somebody kept. It is not passed on any more.
///
/// Dates come in as `today`, for it is dates that administrators sign. A node whose clock is off
/// takes a policy for too long or too short, and no other harm is done.
#[derive(Debug, Clone, Default)]
pub struct PolicyStore {
    held: Option<Verified<FleetPolicy>>,
    /// See [`PolicyStore::remember`].
    remembered: u64,
    outputs: VecDeque<Verified<FleetPolicy>>,
}

/// What became of a policy that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// It is the one that is held.
    Known,
    /// It is held from here on.
    Taken,
    /// It is held from here on, instead of another of the same epoch.
    TookOver,
    /// Another of the same epoch stays.
    Yielded,
    /// A newer one is held.
    Outdated,
    /// Its date is over.
    Expired,
    /// It lists more than [`MAX_RELEASES`], or longer names than a release has.
    Oversized,
}

impl PolicyStore {
    /// Holds none.
    pub fn new() -> Self {
        Self::default()
    }

    /// The policy that is in force; none if there is none, or it has expired.
    pub fn policy(&self, today: Duration) -> Option<&Verified<FleetPolicy>> {
        let in_force = |held: &&Verified<FleetPolicy>| held.value().expires > today;
        self.held.as_ref().filter(in_force)
    }

    /// The highest epoch that is known, expired or not; 0 if there is none.
    pub fn epoch(&self) -> u64 {
        let held = self.held.as_ref().map_or(0, |held| held.value().epoch);
        held.max(self.remembered)
    }

    /// A policy of this epoch was held before this node started: what is older is not taken any
    /// more, whether that one still passes or not.
    pub fn remember(&mut self, epoch: u64) {
        self.remembered = self.remembered.max(epoch);
    }

    /// A policy came from a peer, an administrator or this node's own disk.
    pub fn handle_policy(&mut self, today: Duration, policy: Verified<FleetPolicy>) -> Reception {
        if !policy.value().is_bounded() {
            return Reception::Oversized;
        }
        let epoch = policy.value().epoch;
        if epoch < self.epoch() {
            return Reception::Outdated;
        }
        let mut reception = Reception::Taken;
        if let Some(held) = &self.held {
            if policy == *held {
                return Reception::Known;
            }
            if epoch == held.value().epoch {
                if policy.signed() <= held.signed() {
                    return Reception::Yielded;
                }
                reception = Reception::TookOver;
            }
        }
        if policy.value().expires <= today {
            return Reception::Expired;
        }
        self.held = Some(policy.clone());
        self.outputs.push_back(policy);
        reception
    }

    /// The next policy to persist and to pass on, until there is none.
    pub fn poll_output(&mut self) -> Option<Verified<FleetPolicy>> {
        self.outputs.pop_front()
    }
}

impl FleetPolicy {
    fn is_bounded(&self) -> bool {
        let names = || self.weights.keys().chain(&self.condemned);
        names().count() <= MAX_RELEASES && names().all(|name| name.len() <= MAX_RELEASE_BYTES)
    }
}

/// Most releases in a policy: a fleet has two, and some that it must not have again.
pub const MAX_RELEASES: usize = 64;
const MAX_RELEASE_BYTES: usize = crate::advert::MAX_RELEASE_BYTES;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(days: u64) -> Duration {
        Duration::from_secs(days * 86_400)
    }

    fn policy(epoch: u64, expires: u64, canary: u32) -> Verified<FleetPolicy> {
        let policy = FleetPolicy {
            epoch,
            expires: day(expires),
            weights: BTreeMap::from([("canary".into(), canary)]),
            condemned: BTreeSet::new(),
        };
        let signed = format!("{epoch} {expires} {canary}").into_bytes();
        Verified::vouch(policy, signed)
    }

    #[test]
    fn higher_epoch_replaces_the_lower_and_not_the_other_way() {
        let mut store = PolicyStore::new();
        let mut came = |policy| store.handle_policy(day(0), policy);
        assert_eq!(came(policy(2, 10, 1)), Reception::Taken);
        assert_eq!(came(policy(1, 10, 1)), Reception::Outdated);
        assert_eq!(came(policy(2, 10, 1)), Reception::Known);
        assert_eq!(store.epoch(), 2);
        store.handle_policy(day(0), policy(3, 10, 1));
        assert_eq!(store.policy(day(0)), Some(&policy(3, 10, 1)));
        assert_eq!(store.poll_output(), Some(policy(2, 10, 1)));
        assert_eq!(store.poll_output(), Some(policy(3, 10, 1)));
        assert_eq!(store.poll_output(), None);
    }

    #[test]
    fn policy_is_in_force_until_its_date_and_an_older_one_does_not_take_its_place() {
        let mut store = PolicyStore::new();
        store.handle_policy(day(0), policy(2, 10, 1));
        assert!(store.policy(day(10) - Duration::from_nanos(1)).is_some());
        assert_eq!(store.policy(day(10)), None);
        store.handle_policy(day(10), policy(1, 99, 1));
        assert_eq!(store.policy(day(10)), None);
    }

    #[test]
    fn remembered_epoch_is_a_floor_and_one_of_that_epoch_is_taken() {
        let mut store = PolicyStore::new();
        store.remember(3);
        store.remember(2);
        assert_eq!(store.epoch(), 3);
        let mut came = |policy| store.handle_policy(day(0), policy);
        assert_eq!(came(policy(2, 10, 1)), Reception::Outdated);
        assert_eq!(came(policy(3, 10, 1)), Reception::Taken);
        assert_eq!(came(policy(4, 10, 1)), Reception::Taken);
        assert_eq!(store.epoch(), 4);
    }

    #[test]
    fn expired_policy_is_not_taken() {
        let mut store = PolicyStore::new();
        let came = store.handle_policy(day(10), policy(2, 10, 1));
        assert_eq!((store.epoch(), came), (0, Reception::Expired));
        assert_eq!(store.poll_output(), None);
    }

    #[test]
    fn of_two_with_one_epoch_the_one_with_greater_bytes_is_held_whichever_comes_first() {
        let mut store = PolicyStore::new();
        store.handle_policy(day(0), policy(2, 10, 1));
        let came = store.handle_policy(day(0), policy(2, 10, 2));
        assert_eq!(came, Reception::TookOver);
        let came = store.handle_policy(day(0), policy(2, 10, 1));
        assert_eq!(came, Reception::Yielded);
        assert_eq!(store.policy(day(0)), Some(&policy(2, 10, 2)));
    }

    #[test]
    fn policy_that_is_too_large_is_not_taken() {
        let releases = |number: usize, bytes: usize| {
            let name = |index| format!("{index:0bytes$}");
            let policy = FleetPolicy {
                epoch: 1,
                expires: day(10),
                weights: BTreeMap::new(),
                condemned: (0..number).map(name).collect(),
            };
            let mut store = PolicyStore::new();
            let came = store.handle_policy(day(0), Verified::vouch(policy, Vec::new()));
            came == Reception::Taken
        };
        assert!(releases(MAX_RELEASES, MAX_RELEASE_BYTES));
        assert!(!releases(MAX_RELEASES + 1, 4));
        assert!(!releases(1, MAX_RELEASE_BYTES + 1));
    }

    proptest! {
        #[test]
        fn all_orders_of_the_same_policies_end_with_the_same_one(
            policies in proptest::collection::vec((0_u64..4, 1_u64..3, 0_u32..3), 1..12),
            seed in any::<u64>(),
        ) {
            let policies: Vec<_> = policies.into_iter().map(|(e, x, c)| policy(e, x, c)).collect();
            let mut shuffled = policies.clone();
            let mut random = crate::random::SplitMix64(seed);
            for index in (1..shuffled.len()).rev() {
                shuffled.swap(index, random.below(index as u64 + 1) as usize);
            }
            let held = |policies: Vec<Verified<FleetPolicy>>| {
                let mut store = PolicyStore::new();
                for policy in policies {
                    store.handle_policy(day(0), policy);
                }
                store.held
            };
            prop_assert_eq!(held(policies), held(shuffled));
        }
    }
}
