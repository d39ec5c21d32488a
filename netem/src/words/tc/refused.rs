//! What tc cannot say, or the kernel would do otherwise, and why.

use std::time::Duration;

use crate::{
    model::{Chance, Correlation, Distribution, Loss, Order, PairModel, Probability},
    words::{draft::spread, units},
};

/// Why tc has no words for a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NotInTc {
    /// Every reason; at least one.
    pub reasons: Vec<TcReason>,
}

/// One reason why tc has no words for a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TcReason {
    /// Something is correlated.
    #[error(
        "the kernel's correlation changes how much {of} there is: leave the correlation out{}",
        if *of == "loss" { ", or use loss burst" } else { "" }
    )]
    Correlated {
        /// The option.
        of: &'static str,
    },
    /// Duplication together with what decides about the copy again.
    #[error("the kernel's copies have {with} of their own: leave duplicate or {with} out")]
    CopyHasOwn {
        /// The option.
        with: &'static str,
    },
    /// A time that is not whole microseconds.
    #[error("tc rounds the {of} to whole microseconds: write it in those")]
    Fraction {
        /// `delay` or `jitter`.
        of: &'static str,
    },
    /// Jitter in order without a rate.
    #[error(
        "the kernel lets jitter reorder packets unless there is a rate: say unordered, or a rate"
    )]
    InOrder,
    /// The limit that tc takes for none.
    #[error("tc takes a limit of 4294967295 for none: leave it out")]
    Limit,
    /// A largest packet.
    #[error("tc has no max-packet: give the device an MTU, which answers where this is silent")]
    MaxPacket,
    /// An option that tc takes only where there is some delay.
    #[error("tc wants some delay for a {of}: let it be 1us at least")]
    NoDelay {
        /// The option.
        of: &'static str,
    },
    /// Words that say nothing.
    #[error("{words} does nothing: leave it out")]
    Nothing {
        /// The words.
        words: &'static str,
    },
    /// An overhead that makes a packet smaller than nothing.
    #[error(
        "the kernel never sends a packet that its overhead makes negative: let it be -20 at least"
    )]
    Overhead,
    /// Pareto.
    #[error("tc's pareto ends at 4 deviations and has 0.82 of the one asked for: use normal")]
    Pareto,
    /// Quantiles.
    #[error("tc knows distributions by name only: use normal, or a uniform jitter")]
    Quantiles,
    /// A queue in bytes.
    #[error("tc counts packets where the queue counts bytes: use limit PACKETS in its place")]
    QueueBytes,
    /// A rate that is not whole bytes per second.
    #[error("the kernel rounds the rate to whole bytes per second: let it be a multiple of 8bit")]
    RateFraction,
    /// A rate that tc rounds.
    #[error("tc rounds a rate beyond 9007199254740992bit: let it be less")]
    RateTooLarge,
    /// Reordering with a rate.
    #[error("the kernel's reordered packets wait for no rate: leave reorder or rate out")]
    ReorderedRate,
    /// A time beyond what is counted.
    #[error("the {of} is more than {}, which is all that {by} counts", units::time(*most))]
    TooLong {
        /// `delay` or `jitter`.
        of: &'static str,
        /// The most.
        most: Duration,
        /// `tc` or `the kernel`.
        by: &'static str,
    },
    /// A trace.
    #[error("tc has no loss trace: use loss burst")]
    Trace,
    /// Free order with a rate.
    #[error("the kernel keeps packets in order where there is a rate: leave unordered or rate out")]
    UnorderedRate,
}

/// Every reason why a model has no words; `None` if it has.
pub(super) fn refused(model: &PairModel) -> Option<NotInTc> {
    let mut reasons = Vec::new();
    refuse_delay(model, &mut reasons);
    refuse_chances(model, &mut reasons);
    refuse_rate(model, &mut reasons);
    if model
        .limit_packets
        .is_some_and(|limit| limit.get() == NO_LIMIT)
    {
        reasons.push(TcReason::Limit);
    }
    if model.max_bytes.is_some() {
        reasons.push(TcReason::MaxPacket);
    }
    (!reasons.is_empty()).then_some(NotInTc { reasons })
}

fn refuse_delay(model: &PairModel, reasons: &mut Vec<TcReason>) {
    let jitter = &model.jitter;
    let spread = spread(&jitter.distribution);
    let times = [
        ("delay", Some(model.delay), MAX_DELAY, "tc"),
        ("jitter", spread, MAX_JITTER, "the kernel"),
    ];
    for (of, time, most, by) in times {
        let Some(time) = time else {
            continue;
        };
        if time > most {
            reasons.push(TcReason::TooLong { of, most, by });
        } else if !time.as_nanos().is_multiple_of(1_000) {
            reasons.push(TcReason::Fraction { of });
        }
    }
    match &jitter.distribution {
        Distribution::Empirical(_) => reasons.push(TcReason::Quantiles),
        Distribution::Pareto(_) => reasons.push(TcReason::Pareto),
        Distribution::Normal(_) if model.delay.is_zero() => {
            reasons.push(TcReason::NoDelay { of: "distribution" });
        }
        Distribution::Constant | Distribution::Normal(_) | Distribution::Uniform(_) => {}
    }
    if spread.is_some_and(|spread| spread.is_zero()) {
        reasons.push(TcReason::Nothing {
            words: "a jitter of 0s",
        });
    }
    let varies = jitter.distribution != Distribution::Constant
        && spread.is_none_or(|spread| !spread.is_zero());
    match (jitter.order, varies, model.rate.is_some()) {
        (Order::Free, false, _) => reasons.push(TcReason::Nothing {
            words: "unordered without jitter",
        }),
        (Order::Free, true, true) => reasons.push(TcReason::UnorderedRate),
        (Order::Kept, true, false) => reasons.push(TcReason::InOrder),
        (Order::Free, true, false) | (Order::Kept, true, true) | (Order::Kept, false, _) => {}
    }
}

fn refuse_chances(model: &PairModel, reasons: &mut Vec<TcReason>) {
    let loss = match &model.loss {
        Loss::Random(chance) => chance.correlation,
        Loss::GilbertElliott(_) => Correlation::NONE,
        Loss::Trace(_) => {
            reasons.push(TcReason::Trace);
            Correlation::NONE
        }
    };
    let reorder = model.reorder.map(|reorder| reorder.chance);
    let correlations = [
        ("jitter", model.jitter.correlation),
        ("loss", loss),
        ("duplicate", model.duplicate.correlation),
        ("corrupt", model.corrupt.correlation),
        (
            "reorder",
            reorder.map_or(Correlation::NONE, |chance| chance.correlation),
        ),
    ];
    for (of, correlation) in correlations {
        if correlation != Correlation::NONE {
            reasons.push(TcReason::Correlated { of });
        }
    }
    if let Some(chance) = reorder {
        if chance.probability == Probability::NEVER {
            reasons.push(TcReason::Nothing {
                words: "reorder 0%",
            });
        }
        if model.delay.is_zero() {
            reasons.push(TcReason::NoDelay { of: "reorder" });
        }
        if model.rate.is_some() {
            reasons.push(TcReason::ReorderedRate);
        }
    }
    if model.duplicate == Chance::default() {
        return;
    }
    let own = [
        ("loss", model.loss != Loss::default()),
        (
            "jitter",
            model.jitter.distribution != Distribution::Constant,
        ),
        ("corrupt", model.corrupt != Chance::default()),
        ("reorder", reorder.is_some()),
    ];
    for (with, is_there) in own {
        if is_there {
            reasons.push(TcReason::CopyHasOwn { with });
        }
    }
}

fn refuse_rate(model: &PairModel, reasons: &mut Vec<TcReason>) {
    let Some(rate) = model.rate else {
        return;
    };
    if !rate.bits_per_second.get().is_multiple_of(8) {
        reasons.push(TcReason::RateFraction);
    }
    if rate.bits_per_second.get() > MAX_RATE {
        reasons.push(TcReason::RateTooLarge);
    }
    if rate.overhead_bytes < -MIN_IP_BYTES {
        reasons.push(TcReason::Overhead);
    }
    if rate.queue_bytes.is_some() {
        reasons.push(TcReason::QueueBytes);
    }
}

/// The largest limit that tc takes.
pub(super) const NO_LIMIT: u32 = u32::MAX;

/// No packet is smaller, so no overhead down to this makes one negative.
const MIN_IP_BYTES: i32 = 20;

/// 2^32 of the kernel's units of 64 ns.
const MAX_DELAY: Duration = Duration::from_micros(274_877_906);

/// 2^31 - 1 ns, in whole microseconds.
const MAX_JITTER: Duration = Duration::from_micros(2_147_483);

/// tc reads rates as floating-point numbers, which are exact up to here.
const MAX_RATE: u64 = 1 << 53;
