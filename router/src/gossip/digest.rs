//! All that a node holds, in a few hundred bytes.

use crate::{advert::Version, graph::NodeKey, random::SplitMix64};

/// A sum over the versions that a node holds, for each of [`BUCKETS`] groups of node keys.
///
/// Equal sums mean equal groups but for one in four billion, and an update to either heals that. A
/// liar can make sums equal that should not be, and thereby keeps to itself what it could have kept
/// to itself anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(pub [u32; BUCKETS]);

impl Digest {
    /// Of nothing.
    pub(super) fn new() -> Self {
        Self([0; BUCKETS])
    }

    /// Adds a version, or takes away one that was added.
    pub(super) fn toggle(&mut self, version: Version) {
        let mixed = mix(mix(mix(version.node.0) ^ version.generation) ^ version.sequence);
        self.0[bucket(version.node)] ^= (mixed >> 32) as u32;
    }

    /// The groups that differ, a bit for each.
    pub(super) fn differing(&self, other: &Self) -> u64 {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        let differ = pairs.filter(|(_, (ours, theirs))| ours != theirs);
        differ.fold(0, |mask, (bucket, _)| mask | 1 << bucket)
    }
}

/// The group of a node. Keys are hashes, and mixed all the same: whoever names nodes might choose.
pub(super) fn bucket(node: NodeKey) -> usize {
    (mix(node.0) % BUCKETS as u64) as usize
}

fn mix(value: u64) -> u64 {
    SplitMix64(value).next()
}

/// How many groups there are: with 1,000 nodes, what differs is found in a list of 16.
pub const BUCKETS: usize = 64;
