//! Comparisons in alternating rounds: the median ratio and its interval.

use super::Context;

/// What was measured of both sides, round by round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rounds {
    pairs: Vec<(f64, f64)>,
}

impl Rounds {
    /// Measures both sides in each round, in an order that changes from round to round, so that
    /// neither always follows the other.
    ///
    /// The closures are given the number of the round, from 0.
    ///
    /// # Errors
    /// The first of either closure.
    pub fn alternate(
        context: &Context,
        case: &str,
        mut ours: impl FnMut(u32) -> anyhow::Result<f64>,
        mut theirs: impl FnMut(u32) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let mut rounds = Self::default();
        for round in 0..context.rounds {
            context.say(&format!(
                "{case}, round {} of {}",
                round + 1,
                context.rounds
            ));
            if round % 2 == 0 {
                let first = ours(round)?;
                rounds.push(first, theirs(round)?);
            } else {
                let first = theirs(round)?;
                rounds.push(ours(round)?, first);
            }
        }
        Ok(rounds)
    }

    /// Adds a round.
    pub fn push(&mut self, ours: f64, theirs: f64) {
        self.pairs.push((ours, theirs));
    }

    /// How many rounds there were.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The median of our values.
    ///
    /// # Panics
    /// If there was no round, as for [`Rounds::theirs`] and [`Rounds::ratio`].
    pub fn ours(&self) -> f64 {
        median(self.pairs.iter().map(|(ours, _)| *ours))
    }

    /// The median of their values.
    pub fn theirs(&self) -> f64 {
        median(self.pairs.iter().map(|(_, theirs)| *theirs))
    }

    /// The median of the rounds' ratios.
    pub fn ratio(&self) -> f64 {
        median(self.ratios())
    }

    /// Between these, the median of the ratios lies in at least 95 of 100 runs; `None` if there
    /// were fewer than six rounds, which cannot say that of any interval.
    ///
    /// Taken from the ranks of what was measured, as the sign test does, so that nothing is assumed
    /// about how it is distributed.
    pub fn interval(&self) -> Option<(f64, f64)> {
        let rank = rank(self.pairs.len())?;
        let sorted = sorted(self.ratios());
        Some((sorted[rank - 1], sorted[sorted.len() - rank]))
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.pairs.iter().map(|(ours, theirs)| ours / theirs)
    }
}

/// The median of at least one value.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The largest rank, from 1, such that fewer than `rank` of `rounds` fair coins fall on one side
/// in at most 2.5 % of the cases.
fn rank(rounds: usize) -> Option<usize> {
    let mut below = 0.0;
    let mut probability = 0.5_f64.powi(i32::try_from(rounds).ok()?);
    let mut rank = 0;
    for heads in 0..rounds {
        below += probability;
        if below > 0.025 {
            break;
        }
        rank = heads + 1;
        probability *= (rounds - heads) as f64 / (heads + 1) as f64;
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn ranks_are_those_of_the_sign_test() {
        // From tables of the sign test at 5 %, two-sided.
        let table = [
            (5, None),
            (6, Some(1)),
            (8, Some(1)),
            (9, Some(2)),
            (10, Some(2)),
            (12, Some(3)),
            (20, Some(6)),
            (100, Some(40)),
        ];
        for (rounds, expected) in table {
            assert_eq!(rank(rounds), expected, "{rounds} rounds");
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians() {
        let mut rounds = Rounds::default();
        for (ours, theirs) in [(1.0, 1.0), (10.0, 5.0), (100.0, 400.0)] {
            rounds.push(ours, theirs);
        }
        assert_eq!((rounds.ours(), rounds.theirs()), (10.0, 5.0));
        assert_eq!(rounds.ratio(), 1.0);
        rounds.push(4.0, 2.0);
        assert_eq!(rounds.ratio(), 1.5);
    }

    #[test]
    fn sides_take_turns_in_going_first() {
        let context = Context::new(3, Path::new(""));
        let order = std::cell::RefCell::new(String::new());
        let side = |name| {
            let order = &order;
            move |_| {
                order.borrow_mut().push(name);
                Ok(1.0)
            }
        };
        let rounds = Rounds::alternate(&context, "case", side('o'), side('t')).unwrap();
        assert_eq!(*order.borrow(), "ottoot");
        assert_eq!(rounds.len(), 3);
        assert_eq!(rounds.interval(), None);
    }
}
