//! Packets that arrive twice, and packets that arrive with other bits.

use super::{Check, LeansOn::Packets, Measured, count, percent, percent_asked};
use crate::verify::statistics;

/// How many packets arrive twice.
pub(in crate::verify) fn copies(probability: f64) -> Check {
    Check::random("copies", percent_asked(probability), Packets, move |run| {
        let copies = count(
            run.arrivals
                .len()
                .saturating_sub(run.delays_of_arrived().len()),
        );
        let sent = count(run.sent.len());
        if sent == 0 {
            return None;
        }
        let p_value = statistics::binomial(copies.min(sent), sent, probability);
        Some((percent(copies, sent), p_value))
    })
}

/// A copy comes right behind its original, and none of them more than once.
pub(in crate::verify) fn copies_follow() -> Check {
    Check::certain("copy's place", "behind its original", Packets, |run| {
        let sequences: Vec<u32> = run.arrivals.iter().map(|a| a.sequence).collect();
        let runs: Vec<usize> = sequences
            .chunk_by(|a, b| a == b)
            .map(<[u32]>::len)
            .collect();
        let most = runs.iter().copied().max().unwrap_or(0);
        let elsewhere = runs.len().saturating_sub(run.delays_of_arrived().len());
        match (elsewhere, most) {
            (0, 2) => Measured::new("so is each", true),
            (0, 0 | 1) => Measured::wrong("there is none"),
            (0, _) => Measured::wrong("a packet arrives three times"),
            _ => Measured::new(format!("{elsewhere} are elsewhere"), false),
        }
    })
}

/// How many packets are not as they were sent, those among them that checksums caught.
pub(in crate::verify) fn corrupted(probability: f64) -> Check {
    Check::random(
        "corrupted",
        percent_asked(probability),
        Packets,
        move |run| {
            let corrupted = run
                .arrivals
                .iter()
                .filter(|arrival| arrival.flipped_bits > 0);
            let corrupted = count(corrupted.count()) + run.caught;
            let came = count(run.arrivals.len()) + run.caught;
            if came == 0 {
                return None;
            }
            let p_value = statistics::binomial(corrupted, came, probability);
            Some((percent(corrupted, came), p_value))
        },
    )
}

/// A corrupted packet differs in one bit; what checksums caught cannot be looked at.
pub(in crate::verify) fn one_bit() -> Check {
    Check::certain("flipped bits", "1 of each corrupted", Packets, |run| {
        let flipped = run.arrivals.iter().map(|arrival| arrival.flipped_bits);
        match (flipped.max().unwrap_or(0), run.caught) {
            (0, caught @ 1..) => Measured::new(format!("{caught} caught by checksums"), true),
            (most, _) => Measured::new(format!("at most {most}"), most == 1),
        }
    })
}
