//! What is wrong with words.

use super::{
    tc::NotInTc,
    units::{Quantity, QuantityFault},
};
use crate::{
    model::{GilbertElliottError, LossTraceError, QuantilesError},
    nearest::did_you_mean,
};

/// Why words are no model: one line that quotes the words it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{words}: {fault}")]
pub struct WordsError {
    /// The option up to the word that is wrong, like `loss 120%`.
    pub words: String,
    /// Where that word begins, in bytes; the end of the text if a word is missing.
    pub at: usize,
    /// What is wrong with it.
    pub fault: WordsFault,
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WordsFault {
    /// No Gilbert-Elliott model has these means.
    #[error(transparent)]
    Burst(#[from] GilbertElliottError),
    /// 100% or more.
    #[error("a correlation is below 100%")]
    Correlation,
    /// A word is missing.
    #[error("expected {} like {} after it", .0.name(), .0.example())]
    Missing(Quantity),
    /// It needs, or excludes, something else.
    #[error("{0}")]
    Misplaced(&'static str),
    /// The kernel's meaning of the words is no model.
    #[error(transparent)]
    NotInTc(#[from] NotInTc),
    /// tc has it, this does not.
    #[error("is not modelled, {instead}")]
    NotModelled {
        /// What to use.
        instead: &'static str,
    },
    /// Above 100%.
    #[error("a probability is at most 100%")]
    Probability,
    /// No distribution has these quantiles.
    #[error(transparent)]
    Quantiles(#[from] QuantilesError),
    /// Not a number with a unit.
    #[error(transparent)]
    Quantity(#[from] QuantityFault),
    /// Not within its limits.
    #[error("must be {least} to {most}")]
    Range {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A trace of no or too many packets.
    #[error(transparent)]
    Trace(#[from] LossTraceError),
    /// A trace of other letters.
    #[error("a trace is written with . for a packet that arrives and x for one that is lost")]
    TraceLetter,
    /// The option was there before.
    #[error("is given twice")]
    Twice,
    /// Not a word of the language.
    #[error(
        "unknown word{}",
        if nearest.is_empty() {
            format!(", expected {}", known.join(", "))
        } else {
            did_you_mean(nearest)
        }
    )]
    Unknown {
        /// The known words that are written most like it.
        nearest: Vec<String>,
        /// All that may stand there.
        known: &'static [&'static str],
    },
    /// No preset has that name.
    #[error("unknown preset{}", did_you_mean(nearest))]
    UnknownPreset {
        /// The presets that are written most like it.
        nearest: Vec<String>,
    },
    /// A word of this language, where only tc's are taken.
    #[error("is not a word of tc")]
    UnknownToTc,
}
