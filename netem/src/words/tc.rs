//! To and from the words of the kernel's netem.
//!
//! What the kernel makes of its words was read in Linux 6.18 (net/sched/sch_netem.c), what tc lets
//! through was tried with iproute2 6.1. Where it is not what [`crate::model`] says, the words are
//! refused both ways, so that what is printed is what happens:
//!
//! - Packets whose delays vary overtake each other, unless there is a rate: then each follows the
//!   one before. So jitter is [`Order::Free`] without a rate and [`Order::Kept`] with one.
//! - A correlated number is an average of uniform ones, and so no longer uniform: what it decides
//!   happens too rarely or too often, and jitter shrinks.
//! - Of a jitter, at most 2^31 - 1 ns count. The table of `pareto` ends at four standard deviations,
//!   which leaves 0.82 of the one that was asked for; that of `normal` is cut there too, which
//!   leaves all of it. There is no table for `uniform`, which is what jitter is without one.
//! - A rate counts whole bytes per second, and the Ethernet header of every packet: 14 bytes are
//!   taken off its overhead, and added when reading.
//! - There is always a limit in packets: 1,000 if none is said, at most 2^32 - 1, which is printed
//!   for none. There is none in bytes, and no packet is too large.
//! - A packet that is reordered waits for no rate.
//! - Duplication is decided before loss, of which each takes one of two; and a copy has loss,
//!   corruption, jitter and reordering of its own.
//! - tc counts time in whole microseconds, up to 274.877906 s, and asks for some delay where packets
//!   are reordered or jitter has a distribution.
//!
//! These differences are left, as none of them shows in a measurement of one of the things asked
//! for: the kernel keeps times in units of 64 ns and probabilities in units of 2^-32; begins
//! `gemodel` in the good state; flips bits of the Ethernet and IP headers too; and jitter is lost on
//! packets that wait for a rate, as the waiting counts as delay.

mod refused;

use std::num::NonZeroU32;

use self::refused::{NO_LIMIT, refused};
pub use self::refused::{NotInTc, TcReason};
use super::{
    draft::spread,
    error::{WordsError, WordsFault},
    options::{Draft, OPTIONS},
    place_of, print,
    scan::{Scan, clip},
};
use crate::model::{Distribution, Order, PairModel, Probability, Rate};

impl PairModel {
    /// Reads words as the kernel's netem means them on an Ethernet device.
    ///
    /// # Errors
    /// As for `parse`, and what [`to_tc`] refuses: nothing here does what the kernel would.
    pub fn from_tc(words: &str) -> Result<Self, WordsError> {
        let mut scan = Scan::new(words);
        let mut draft = Draft::default();
        while let Some(name) = scan.option() {
            let value = scan.peek().unwrap_or_default();
            let is_ours = matches!(
                (name, value),
                ("quantiles" | "unordered" | "queue" | "max-packet", _)
                    | ("loss" | "drop", "burst" | "trace")
                    | ("distribution", "constant")
            );
            if is_ours && OPTIONS.contains(&name) {
                return Err(scan.error(WordsFault::UnknownToTc));
            }
            draft.option(name, &mut scan)?;
        }
        let wrong = |option: &str, fault| WordsError {
            words: option.to_owned(),
            at: place_of(words, option),
            fault,
        };
        let model = draft.model(Self::default());
        let model = model.map_err(|(option, fault)| wrong(option, fault))?;
        let model = as_the_kernel_means(model)
            .ok_or_else(|| wrong("rate", WordsFault::Misplaced("the overhead is too large")))?;
        match refused(&model) {
            Some(refused) => Err(WordsError {
                words: clip(words),
                at: 0,
                fault: refused.into(),
            }),
            None => Ok(model),
        }
    }
}

/// Prints the words that make the kernel's netem do on an Ethernet device what the model says.
///
/// [`PairModel::from_tc`] reads them back to an equal model.
///
/// # Errors
/// The kernel or tc would do something else: every reason, and the way out where there is one.
pub fn to_tc(model: &PairModel) -> Result<String, NotInTc> {
    if let Some(refused) = refused(model) {
        return Err(refused);
    }
    let limit = model.limit_packets.map_or(NO_LIMIT, NonZeroU32::get);
    let rate = model.rate.map(|rate| Rate {
        overhead_bytes: rate.overhead_bytes - ETHERNET_HEADER_BYTES,
        ..rate
    });
    // What is left has the same words in both languages, but for these.
    let mut jitter = model.jitter.clone();
    jitter.order = Order::Kept;
    let words = PairModel {
        jitter,
        rate,
        limit_packets: NonZeroU32::new(limit),
        ..model.clone()
    };
    // Older ones of tc take 100% for an R that is not said.
    Ok(print::words(&words, 2))
}

/// The kernel's defaults, and what it counts otherwise. `None` if the overhead overflows.
fn as_the_kernel_means(model: PairModel) -> Option<PairModel> {
    let mut jitter = model.jitter;
    if spread(&jitter.distribution).is_some_and(|spread| spread.is_zero()) {
        jitter.distribution = Distribution::Constant;
    }
    let varies = jitter.distribution != Distribution::Constant;
    if varies && model.rate.is_none() {
        jitter.order = Order::Free;
    }
    let rate = match model.rate {
        Some(rate) => Some(Rate {
            overhead_bytes: rate.overhead_bytes.checked_add(ETHERNET_HEADER_BYTES)?,
            queue_bytes: None,
            ..rate
        }),
        None => None,
    };
    let limit = model.limit_packets.unwrap_or(DEFAULT_LIMIT);
    Some(PairModel {
        jitter,
        rate,
        reorder: model
            .reorder
            .filter(|reorder| reorder.chance.probability != Probability::NEVER),
        limit_packets: Some(limit).filter(|limit| limit.get() != NO_LIMIT),
        ..model
    })
}

/// What tc has where no limit is said.
const DEFAULT_LIMIT: NonZeroU32 = NonZeroU32::new(1_000).expect("not zero");

/// The kernel's sizes are those of Ethernet frames.
const ETHERNET_HEADER_BYTES: i32 = 14;
