//! Which packets are lost.

use super::{Check, LeansOn::Packets, Measured, count, percent, percent_asked};
use crate::verify::statistics;

/// How many are lost, where each packet's luck is its own.
pub(in crate::verify) fn independent(probability: f64) -> Check {
    Check::random("lost", percent_asked(probability), Packets, move |run| {
        let (lost, sent) = lost(&run.lost())?;
        let p_value = statistics::binomial(lost, sent, probability);
        Some((percent(lost, sent), p_value))
    })
}

/// How many are lost, where luck that goes on multiplies the variance by `inflation`.
pub(in crate::verify) fn correlated(probability: f64, inflation: f64) -> Check {
    Check::random("lost", percent_asked(probability), Packets, move |run| {
        let (lost, sent) = lost(&run.lost())?;
        let p_value = statistics::share(lost, sent, probability, inflation);
        Some((percent(lost, sent), p_value))
    })
}

/// How a packet's loss is correlated with that of the packet before it.
pub(in crate::verify) fn autocorrelation(expected: f64) -> Check {
    let asked = format!("{expected:.4}");
    Check::random("loss after loss", asked, Packets, move |run| {
        let losses = run.lost().into_iter().map(f64::from);
        let estimate = statistics::autocorrelation(&losses.collect::<Vec<_>>())?;
        Some((format!("{:.4}", estimate.value), estimate.p_value(expected)))
    })
}

/// How many packets in a row are lost: geometric, going on with this probability after each.
pub(in crate::verify) fn bursts(goes_on: f64) -> Check {
    let asked = format!("geometric, mean {:.3}", 1.0 / (1.0 - goes_on));
    Check::random("bursts", asked, Packets, move |run| {
        let lengths = burst_lengths(&run.lost());
        let fit = statistics::geometric_fit(&lengths, goes_on)?;
        let shown = format!("mean {:.3} of {}", fit.mean, lengths.len());
        Some((shown, fit.p_value))
    })
}

/// Which packets are lost, one by one; `None` of those that may or may not be.
pub(in crate::verify) fn exactly(
    test: &'static str,
    asked: &str,
    is_lost: impl Fn(u32) -> Option<bool> + 'static,
) -> Check {
    Check::certain(test, asked, Packets, move |run| {
        let lost = run.lost();
        let differs = (0..)
            .zip(&lost)
            .find(|(sequence, lost)| is_lost(*sequence).is_some_and(|expected| expected != **lost));
        match differs {
            _ if lost.is_empty() => Measured::wrong("nothing was sent"),
            None => Measured::new(format!("so are all {}", lost.len()), true),
            Some((sequence, true)) => Measured::new(format!("packet {sequence} is lost"), false),
            Some((sequence, false)) => Measured::new(format!("packet {sequence} arrives"), false),
        }
    })
}

/// How many of how many are lost; `None` of none.
fn lost(lost: &[bool]) -> Option<(u64, u64)> {
    let lost_count = lost.iter().filter(|lost| **lost).count();
    (!lost.is_empty()).then(|| (count(lost_count), count(lost.len())))
}

/// The lengths of runs of losses. One at either end of the run may have been longer and is left
/// out.
fn burst_lengths(lost: &[bool]) -> Vec<u64> {
    let mut runs = lost.chunk_by(|a, b| a == b);
    runs.next();
    runs.next_back();
    runs.filter(|run| run[0])
        .map(|run| count(run.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_counted_whole_and_not_those_cut_off_by_the_ends() {
        let lost = |text: &str| -> Vec<bool> { text.chars().map(|c| c == 'x').collect() };
        assert_eq!(burst_lengths(&lost("xx.x..xxx.x")), [1, 3]);
        assert_eq!(burst_lengths(&lost("..x.")), [1]);
        assert_eq!(burst_lengths(&lost("xxx")), [0; 0]);
        assert_eq!(burst_lengths(&[]), [0; 0]);
    }
}
