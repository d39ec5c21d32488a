//! Who overtakes whom.

use super::{Check, LeansOn::Packets, Measured, count, percent, percent_asked};
use crate::verify::{ground::PairRun, statistics};

/// Nobody overtakes.
pub(in crate::verify) fn kept() -> Check {
    Check::certain("order", "kept", Packets, |run| {
        match overtakers(run).len() {
            _ if run.arrivals.is_empty() => Measured::wrong("nothing arrived"),
            0 => Measured::new(format!("by all {}", run.arrivals.len()), true),
            some => Measured::new(format!("{some} overtook"), false),
        }
    })
}

/// How many packets overtake, of those that `gap` lets.
pub(in crate::verify) fn skipped(probability: f64, gap: u32) -> Check {
    let asked = format!("{} of those let", percent_asked(probability));
    Check::random("reordered", asked, Packets, move |run| {
        let overtakers = overtakers(run);
        let sent = u32::try_from(run.sent.len()).ok()?;
        let let_skip = opportunities(&overtakers, gap, sent);
        if let_skip == 0 {
            return None;
        }
        let skipped = count(overtakers.len()).min(let_skip);
        let p_value = statistics::binomial(skipped, let_skip, probability);
        Some((percent(skipped, let_skip), p_value))
    })
}

/// How close together two packets overtake at the least.
pub(in crate::verify) fn gap(gap: u32) -> Check {
    Check::certain(
        "shortest gap",
        format!("{gap} packets"),
        Packets,
        move |run| {
            let overtakers = overtakers(run);
            let gaps = overtakers.windows(2).map(|pair| pair[1] - pair[0]);
            match gaps.min() {
                Some(least) => Measured::new(format!("{least} packets"), least == gap),
                None => Measured::wrong("nobody overtook"),
            }
        },
    )
}

/// The packets that arrived before one that was sent earlier, by sequence.
fn overtakers(run: &PairRun) -> Vec<u32> {
    let mut earliest_to_come = u32::MAX;
    let mut overtakers = Vec::new();
    for arrival in run.arrivals.iter().rev() {
        if arrival.sequence > earliest_to_come {
            overtakers.push(arrival.sequence);
        }
        earliest_to_come = earliest_to_come.min(arrival.sequence);
    }
    overtakers.sort_unstable();
    overtakers
}

/// How many packets may skip: all but the first `gap - 1`, and as many after each that did.
fn opportunities(overtakers: &[u32], gap: u32, sent: u32) -> u64 {
    let ends = overtakers.iter().copied().chain([sent]);
    let mut let_from = gap - 1;
    let mut opportunities = 0;
    for end in ends {
        // Those from `let_from` up to the one that skipped, itself included.
        let up_to = end.saturating_add(1).min(sent);
        opportunities += u64::from(up_to.saturating_sub(let_from));
        let_from = end.saturating_add(gap);
    }
    opportunities
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::verify::ground::Arrival;

    fn arrivals(sequences: &[u32]) -> PairRun {
        let arrival = |sequence| Arrival {
            sequence,
            at: Duration::ZERO,
            due: None,
            flipped_bits: 0,
        };
        PairRun {
            arrivals: sequences.iter().copied().map(arrival).collect(),
            ..PairRun::default()
        }
    }

    #[test]
    fn those_overtake_that_arrive_before_one_sent_earlier_and_copies_do_not() {
        assert_eq!(overtakers(&arrivals(&[0, 1, 1, 3, 4])), [0; 0]);
        assert_eq!(overtakers(&arrivals(&[5, 0, 1, 7, 2, 3])), [5, 7]);
    }

    #[test]
    fn packets_after_one_that_skipped_are_no_opportunities() {
        // With a gap of 3: 2 skips, 3 and 4 may not; 5, 6 and 7 may, 7 does; 8 and 9 may not.
        assert_eq!(opportunities(&[2, 7], 3, 10), 4);
        assert_eq!(opportunities(&[2, 7], 3, 12), 6);
        assert_eq!(opportunities(&[], 1, 10), 10);
        assert_eq!(opportunities(&[0, 1], 1, 10), 10);
    }
}
