//! How paths compare: one number that adds up.

use super::path::Tier;
use crate::cost::Cost;

/// What a path weighs against others: tier, what a backup shares with its primary, cost, in this
/// order.
///
/// ```text
///   63      60 59      56 55      52 51                                   0
///  ┌──────────┬──────────┬──────────┬──────────────────────────────────────┐
///  │ draining │ suspect  │ shared   │ cost in microseconds                 │
///  └──────────┴──────────┴──────────┴──────────────────────────────────────┘
/// ```
///
/// Weights of links and of the nodes between them add up to that of a path without a carry from one
/// field into the next: a path has at most three links, two nodes between them, and a cost below
/// three times [`MAX_COST`] and the load of two nodes. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight(u64);

/// What a backup has in common with its primary. It never shares a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// Neither a node between its links, nor a region passed through, nor a pair of regions crossed.
    Nothing = 0,
    /// A region, or a pair of regions between which both have a link.
    Region = 1,
    /// A node.
    Node = 2,
}

impl Weight {
    /// More than any path; adding to it changes nothing.
    pub(super) const UNUSABLE: Self = Self(u64::MAX);

    pub(super) fn link(cost: Cost, suspect: bool) -> Self {
        Self(cost.min(MAX_COST).as_micros() + (u64::from(suspect) << SUSPECT_SHIFT))
    }

    pub(super) fn transit(cost: Cost, draining: bool) -> Self {
        Self(cost.min(MAX_COST).as_micros() + (u64::from(draining) << DRAINING_SHIFT))
    }

    pub(super) fn sharing(self, shared: Shared) -> Self {
        self + Self((shared as u64) << SHARED_SHIFT)
    }

    pub(super) fn is_usable(self) -> bool {
        self != Self::UNUSABLE
    }

    pub(super) fn tier(self) -> Tier {
        Tier {
            draining: (self.0 >> DRAINING_SHIFT) as u8,
            suspect: ((self.0 >> SUSPECT_SHIFT) & FIELD) as u8,
        }
    }
}

impl std::ops::Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Far above what any policy makes of a link, and five times it fits the field.
const MAX_COST: Cost = Cost::from_micros(1 << 48);
const SHARED_SHIFT: u32 = 52;
const SUSPECT_SHIFT: u32 = 56;
const DRAINING_SHIFT: u32 = 60;
const FIELD: u64 = 0xf;

#[cfg(test)]
mod tests {
    use super::*;

    fn link(cost_ms: u64, suspect: bool) -> Weight {
        Weight::link(Cost::from_millis(cost_ms), suspect)
    }

    #[test]
    fn draining_outweighs_suspicion_and_suspicion_any_cost() {
        let draining = Weight::transit(Cost::ZERO, true);
        let suspect = link(0, true);
        let absurd = Weight::link(Cost::from_micros(u64::MAX), false);
        assert!(draining > suspect + suspect + suspect + absurd);
        assert!(suspect > absurd + absurd + absurd + absurd + absurd);
        assert!(Weight::UNUSABLE > draining + draining + suspect + suspect + suspect + absurd);
    }

    #[test]
    fn what_a_backup_shares_outweighs_cost_and_yields_to_suspicion() {
        let alone = link(400, false).sharing(Shared::Nothing);
        assert!(link(1, false).sharing(Shared::Region) > alone);
        assert!(link(1, false).sharing(Shared::Node) > link(400, false).sharing(Shared::Region));
        assert!(link(1, true).sharing(Shared::Nothing) > link(1, false).sharing(Shared::Node));
    }

    #[test]
    fn nothing_makes_an_unusable_weight_usable() {
        assert!(!(Weight::UNUSABLE + link(10, true)).is_usable());
        assert!(
            !(link(10, true) + Weight::UNUSABLE)
                .sharing(Shared::Node)
                .is_usable()
        );
    }

    #[test]
    fn tier_counts_draining_nodes_and_suspect_links() {
        let path = link(3, true) + Weight::transit(Cost::ZERO, true) + link(4, true);
        assert_eq!((path.tier().draining, path.tier().suspect), (1, 2));
    }
}
