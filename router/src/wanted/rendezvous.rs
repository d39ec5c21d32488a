//! Which links follow from who is in the mesh.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::{NodeKey, RegionId},
    random::SplitMix64,
};

/// The peers that `own` should have links to, by who is in the mesh.
///
/// Each node *chooses* some nodes of each region: those that draw the highest number in a lottery
/// that only the two keys decide. A link is wished for if either end chooses the other. So:
///
/// - Both ends compute the same from the same members, without a word.
/// - A node that comes displaces, in each choice, at most one other; one that leaves is replaced by
///   one. No other choice changes.
/// - Nobody is left out: a node has at least the links that it chose itself.
///
/// A node chooses [`OWN_REGION`] nodes of its own region, all if there are no more, and
/// [`PER_REGION`] of each other one. It has some more links than it chose, by those who chose it;
/// not twice as many, because what draws high for one end draws high for the other: on average up to
/// 18 in its own region and 2.7 in each other one, which makes 42 for 300 nodes in ten regions.
///
/// `own` must be one of `members`. The cost grows with the number of pairs of another node and one
/// of `own`'s region.
///
/// Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN
/// 6(1), 1998.
pub fn wish(members: &BTreeMap<NodeKey, RegionId>, own: NodeKey) -> BTreeSet<NodeKey> {
    let Some(own_region) = members.get(&own) else {
        return BTreeSet::new();
    };
    let mut regions: BTreeMap<RegionId, Vec<NodeKey>> = BTreeMap::new();
    for (node, region) in members {
        regions.entry(*region).or_default().push(*node);
    }
    let mates = regions.get(own_region).map_or(&[][..], Vec::as_slice);
    let mut wish = BTreeSet::new();
    for (region, nodes) in &regions {
        let number = match region == own_region {
            true => OWN_REGION,
            false => PER_REGION,
        };
        wish.extend(choice(own, nodes, number));
        let chooses_us = |node: &&NodeKey| **node != own && is_chosen(**node, own, mates, number);
        wish.extend(nodes.iter().filter(chooses_us));
    }
    wish
}

/// The `number` nodes that draw highest with `node`, without itself.
fn choice(node: NodeKey, from: &[NodeKey], number: usize) -> impl Iterator<Item = NodeKey> {
    let others = from.iter().filter(|other| **other != node);
    let mut drawn: Vec<_> = others.map(|other| (draw(node, *other), *other)).collect();
    drawn.sort_unstable_by(|a, b| b.cmp(a));
    drawn.truncate(number);
    drawn.into_iter().map(|(_, other)| other)
}

/// Whether `other` is in the choice of `node`: fewer than `number` draw higher.
fn is_chosen(node: NodeKey, other: NodeKey, from: &[NodeKey], number: usize) -> bool {
    let own = (draw(node, other), other);
    let higher = from
        .iter()
        .filter(|rival| **rival != node && (draw(node, **rival), **rival) > own);
    higher.take(number).count() < number
}

/// What two nodes draw, the same from both ends.
fn draw(a: NodeKey, b: NodeKey) -> u64 {
    let (low, high) = (a.min(b), a.max(b));
    SplitMix64(SplitMix64(low.0).next() ^ high.0).next()
}

/// How many nodes of each other region a node chooses: the second is there when the first is not.
pub const PER_REGION: usize = 2;
/// How many nodes of its own region a node chooses.
pub const OWN_REGION: usize = 16;
