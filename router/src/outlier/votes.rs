//! Who is far below the others, as one observer sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::MARGIN;
use crate::window::Loss;

/// What an observer last said of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) seen: Loss,
    pub(super) at: Instant,
}

/// One observer's judgement of a region.
#[derive(Debug, Clone)]
pub(super) struct Ballot<N> {
    /// Those it has seen enough of, among enough others, and what it has seen.
    pub(super) judged: BTreeMap<N, Loss>,
    /// Those of them that are outliers.
    pub(super) below: BTreeSet<N>,
}

impl<N> Default for Ballot<N> {
    /// That of one who has seen nothing.
    fn default() -> Self {
        Self {
            judged: BTreeMap::new(),
            below: BTreeSet::new(),
        }
    }
}

/// Compares what one observer saw of each node with what it saw of the others.
pub(super) fn outliers<N: Ord + Copy>(seen: impl Iterator<Item = (N, Loss)>) -> Ballot<N> {
    let enough = seen.filter(|(_, loss)| loss.packets() >= MIN_OUTCOMES);
    let judged: BTreeMap<N, Loss> = enough.collect();
    let shares = judged.iter().map(|(node, loss)| (share(*loss), *node));
    let mut shares: Vec<(u64, N)> = shares.collect();
    shares.sort_unstable();
    if shares.len() <= MIN_OTHERS {
        return Ballot::default();
    }
    // The lower median of the others. An outlier is among the first, and leaves a gap there.
    let middle = (shares.len() - 2) / 2;
    let median = |at: usize| shares[middle + usize::from(at <= middle)].0;
    let below = shares.iter().enumerate();
    let below = below.filter(|(at, (share, _))| share + MARGIN < median(*at));
    Ballot {
        below: below.map(|(_, (_, node))| *node).collect(),
        judged,
    }
}

/// Thousandths that succeeded.
fn share(seen: Loss) -> u64 {
    let share = u128::from(seen.delivered) * 1_000 / u128::from(seen.packets().max(1));
    u64::try_from(share).unwrap_or(1_000)
}

/// A share of fewer says nothing.
pub(super) const MIN_OUTCOMES: u64 = 20;
/// With one other, nobody can tell which of the two is the outlier.
const MIN_OTHERS: usize = 2;
