//! Which node of a region a flow goes to. Pure.

use router::cost::{Cost, Load, Margin};

/// A node that could serve a flow.
#[derive(Debug, Clone)]
pub(super) struct Candidate<W> {
    /// The ways to it, the best first.
    pub(super) ways: Vec<W>,
    /// What the best of them costs.
    pub(super) cost: Cost,
    /// How much of what it can do it does.
    pub(super) load: Load,
    /// Whether it is to take new work.
    pub(super) standing: Standing,
}

/// Whether a node is to take new work, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// In full service.
    Serving,
    /// Just started.
    Warming,
    /// It leaves.
    Draining,
    /// It fails what it is asked.
    Ejected,
}

/// Puts the candidates in the order in which to try them.
///
/// A node in full service goes before one that has just started, that before one that is leaving,
/// and one that fails what it is asked is the last resort. Among those, the nearest goes first; nodes that are hardly
/// farther are as good, and of two of these the less loaded one is taken. Two drawn at random spread
/// flows nearly as well as a comparison of all, and do not send all newcomers to the one that said
/// last that it was idle.
///
/// - `draw`: decides which two; should differ between flows.
///
/// Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12(10),
/// 2001.
pub(super) fn order<W>(mut candidates: Vec<Candidate<W>>, draw: u64) -> Vec<Candidate<W>> {
    candidates.sort_by_key(|candidate| (candidate.standing, candidate.cost));
    let Some(best) = candidates.first() else {
        return candidates;
    };
    let (cost, standing) = (best.cost, best.standing);
    let is_as_good = |candidate: &&Candidate<W>| {
        candidate.standing == standing && !Margin::default().is_better(cost, candidate.cost)
    };
    let near = candidates.iter().take_while(is_as_good).count() as u64;
    if near >= 2 {
        let first = draw % near;
        let second = (first + 1 + draw / near % (near - 1)) % near;
        // The nearer one, unless it clearly does more.
        let (nearer, other) = (first.min(second) as usize, first.max(second) as usize);
        let load = |at: usize| candidates[at].load.as_permille();
        let taken = match load(nearer) >= load(other).saturating_add(LOAD_STEP_PERMILLE) {
            true => other,
            false => nearer,
        };
        candidates[..=taken].rotate_right(1);
    }
    candidates
}

/// What a node says of its load is some seconds old, and it says smaller changes later still.
const LOAD_STEP_PERMILLE: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: char, cost_ms: u64, load: u16, standing: Standing) -> Candidate<char> {
        Candidate {
            ways: vec![name],
            cost: Cost::from_millis(cost_ms),
            load: Load::from_permille(load),
            standing,
        }
    }

    fn firsts(candidates: &[Candidate<char>]) -> Vec<char> {
        let first = |draw| order(candidates.to_vec(), draw)[0].ways[0];
        let mut firsts: Vec<char> = (0..100).map(first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        firsts
    }

    #[test]
    fn nearest_is_taken_whatever_is_drawn_if_the_others_are_farther_by_the_margin() {
        let far = candidate('f', 80, 0, Standing::Serving);
        let near = candidate('n', 60, 900, Standing::Serving);
        assert_eq!(firsts(&[far, near]), ['n']);
    }

    #[test]
    fn of_two_that_are_as_near_the_less_loaded_is_taken_and_the_nearer_if_there_is_no_difference() {
        let pair = |a, b| {
            [
                candidate('a', 70, a, Standing::Serving),
                candidate('b', 72, b, Standing::Serving),
            ]
        };
        assert_eq!(firsts(&pair(500, 300)), ['b']);
        assert_eq!(firsts(&pair(500, 450)), ['a']);
        assert_eq!(firsts(&pair(300, 500)), ['a']);
    }

    #[test]
    fn of_many_that_are_as_near_all_but_the_most_loaded_have_their_flows() {
        let loads = [('a', 200), ('b', 350), ('c', 500), ('d', 900)];
        let near = loads.map(|(name, load)| candidate(name, 70, load, Standing::Serving));
        assert_eq!(firsts(&near), ['a', 'b', 'c']);
    }

    #[test]
    fn node_that_starts_leaves_or_fails_is_taken_where_there_is_no_other() {
        let failing = candidate('x', 1, 0, Standing::Ejected);
        let leaving = candidate('l', 10, 0, Standing::Draining);
        let starting = candidate('s', 20, 0, Standing::Warming);
        let far = candidate('f', 200, 900, Standing::Serving);
        assert_eq!(firsts(&[leaving.clone(), starting.clone(), far]), ['f']);
        assert_eq!(firsts(&[leaving.clone(), starting]), ['s']);
        assert_eq!(firsts(&[failing.clone(), leaving]), ['l']);
        assert_eq!(firsts(&[failing]), ['x']);
        assert!(order(Vec::<Candidate<char>>::new(), 5).is_empty());
    }
}
