//! The options, each read into a draft of a model.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use super::{
    error::{WordsError, WordsFault},
    scan::Scan,
    units::{Quantity, QuantityFault, parse_time},
};
use crate::model::{Chance, Correlation, GilbertElliott, Loss, LossTrace, Probability, Quantiles};

/// What was said so far; what was not said is `None`.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) delay: Option<Duration>,
    pub(super) jitter: Option<Duration>,
    pub(super) correlation: Option<Correlation>,
    pub(super) shape: Option<Shape>,
    pub(super) quantiles: Option<Quantiles>,
    pub(super) unordered: bool,
    pub(super) loss: Option<Loss>,
    pub(super) duplicate: Option<Chance>,
    pub(super) corrupt: Option<Chance>,
    pub(super) reorder: Option<Chance>,
    pub(super) gap: Option<NonZeroU32>,
    pub(super) rate: Option<NonZeroU64>,
    pub(super) overhead: Option<i32>,
    /// Bytes; `None` inside is no bound.
    pub(super) queue: Option<Option<usize>>,
    pub(super) limit: Option<NonZeroU32>,
    pub(super) max_bytes: Option<usize>,
}

/// The name of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Constant,
    Normal,
    Pareto,
    Uniform,
}

/// The options of the language.
pub(super) const OPTIONS: &[&str] = &[
    "delay",
    "distribution",
    "quantiles",
    "unordered",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    "gap",
    "rate",
    "queue",
    "limit",
    "max-packet",
];

impl Draft {
    /// Reads what follows `name`, the last word, if that is an option.
    pub(super) fn option(&mut self, name: &str, scan: &mut Scan<'_>) -> Result<(), WordsError> {
        match name {
            "delay" | "latency" => {
                set(&mut self.delay, scan, time)?;
                if let Some(word) = scan.number() {
                    let jitter = parse_time(word).map_err(|fault| scan.error(fault))?;
                    set(&mut self.jitter, scan, |_| Ok(jitter))?;
                    self.optional_correlation(scan)?;
                }
                Ok(())
            }
            "distribution" => set(&mut self.shape, scan, shape),
            "quantiles" => {
                set(&mut self.quantiles, scan, quantiles)?;
                self.optional_correlation(scan)
            }
            "unordered" if self.unordered => Err(scan.error(WordsFault::Twice)),
            "unordered" => {
                self.unordered = true;
                Ok(())
            }
            "loss" | "drop" => set(&mut self.loss, scan, loss),
            "duplicate" => set(&mut self.duplicate, scan, chance),
            "corrupt" => set(&mut self.corrupt, scan, chance),
            "reorder" => set(&mut self.reorder, scan, chance),
            "gap" => set(&mut self.gap, scan, |scan| count(scan, Quantity::Number)),
            "rate" => {
                set(&mut self.rate, scan, rate)?;
                if let Some(word) = scan.number() {
                    let bytes = overhead(scan, word)?;
                    set(&mut self.overhead, scan, |_| Ok(bytes))?;
                }
                match scan.number() {
                    Some(_) => Err(scan.error(WordsFault::NotModelled {
                        instead: "packets are sent whole; leave cell size and cell overhead out",
                    })),
                    None => Ok(()),
                }
            }
            "queue" => set(&mut self.queue, scan, queue),
            // As in tc, in the units of sizes: 1k is 1,024 packets.
            "limit" => set(&mut self.limit, scan, |scan| count(scan, Quantity::Size)),
            "max-packet" => set(&mut self.max_bytes, scan, Scan::bytes),
            _ => Err(unknown(name, scan)),
        }
    }

    pub(super) fn optional_correlation(&mut self, scan: &mut Scan<'_>) -> Result<(), WordsError> {
        match scan.optional_correlation()? {
            Some(correlation) => set(&mut self.correlation, scan, |_| Ok(correlation)),
            None => Ok(()),
        }
    }
}

/// Reads something that may be given once.
pub(super) fn set<'a, T>(
    place: &mut Option<T>,
    scan: &mut Scan<'a>,
    read: impl FnOnce(&mut Scan<'a>) -> Result<T, WordsError>,
) -> Result<(), WordsError> {
    if place.is_some() {
        return Err(scan.error(WordsFault::Twice));
    }
    *place = Some(read(scan)?);
    Ok(())
}

pub(super) fn time(scan: &mut Scan<'_>) -> Result<Duration, WordsError> {
    let word = scan.required(Quantity::Time)?;
    parse_time(word).map_err(|fault| scan.error(fault))
}

/// What tc has, where it is not an option here.
fn unknown(name: &str, scan: &Scan<'_>) -> WordsError {
    let instead = match name {
        "slot" => "use quantiles for delays that vary, or rate",
        "ecn" => "packets are lost and not marked; leave it out",
        "seed" => "the seed is the whole network's, beside its paths",
        _ => return scan.unknown(name, OPTIONS),
    };
    scan.error(WordsFault::NotModelled { instead })
}

fn shape(scan: &mut Scan<'_>) -> Result<Shape, WordsError> {
    const SHAPES: &[&str] = &["uniform", "normal", "pareto", "constant"];
    match scan.word() {
        Some("constant") => Ok(Shape::Constant),
        Some("normal") => Ok(Shape::Normal),
        Some("pareto") => Ok(Shape::Pareto),
        Some("uniform") => Ok(Shape::Uniform),
        Some("paretonormal" | "experimental") => Err(scan.error(WordsFault::NotModelled {
            instead: "use normal, pareto or quantiles",
        })),
        word => Err(scan.unknown(word.unwrap_or_default(), SHAPES)),
    }
}

fn quantiles(scan: &mut Scan<'_>) -> Result<Quantiles, WordsError> {
    const EXAMPLE: &str = "quantiles are written like 0%=-2ms,50%=0ms,100%=40ms";
    let words = scan.word().unwrap_or_default();
    let mut points = Vec::new();
    for point in words.split(',') {
        let Some((probability, time)) = point.split_once('=') else {
            return Err(scan.error(WordsFault::Misplaced(EXAMPLE)));
        };
        let probability = scan.probability_of(probability)?;
        let (negative, nanos) = Quantity::Time
            .parse_signed(time)
            .map_err(|fault| scan.error(fault))?;
        // What does not fit is beyond an hour, as the quantiles will say.
        let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
        points.push((probability, if negative { -nanos } else { nanos }));
    }
    Quantiles::try_new(&points).map_err(|fault| scan.error(fault))
}

fn loss(scan: &mut Scan<'_>) -> Result<Loss, WordsError> {
    const MODELS: &[&str] = &["random", "gemodel", "burst", "trace"];
    if scan.number_follows() {
        return chance(scan).map(Loss::Random);
    }
    match scan.word() {
        None => Err(scan.missing(Quantity::Percentage)),
        Some("random") => chance(scan).map(Loss::Random),
        Some("gemodel") => gilbert_elliott(scan),
        Some("burst") => burst(scan),
        Some("trace") => trace(scan),
        Some("state") => Err(scan.error(WordsFault::NotModelled {
            instead: "use loss gemodel or loss burst",
        })),
        Some(word) => Err(scan.unknown(word, MODELS)),
    }
}

/// `P [R [1-H [1-K]]]`, with the defaults of tc.
fn gilbert_elliott(scan: &mut Scan<'_>) -> Result<Loss, WordsError> {
    let to_bad = scan.probability()?;
    let to_good = scan.optional_probability()?;
    let loss_in_bad = scan.optional_probability()?;
    let loss_in_good = scan.optional_probability()?;
    Ok(Loss::GilbertElliott(GilbertElliott {
        to_bad,
        to_good: to_good.unwrap_or_else(|| complement(to_bad)),
        loss_in_bad: loss_in_bad.unwrap_or(Probability::ALWAYS),
        loss_in_good: loss_in_good.unwrap_or(Probability::NEVER),
    }))
}

pub(super) fn complement(probability: Probability) -> Probability {
    let ppb = Probability::ALWAYS.ppb() - probability.ppb();
    Probability::from_ppb(ppb).expect("at most one")
}

/// `MEAN_LOSS MEAN_BURST`.
fn burst(scan: &mut Scan<'_>) -> Result<Loss, WordsError> {
    let loss = scan.probability()?;
    let word = scan.required(Quantity::Number)?;
    // Not as f64 alone would: no exponents, infinities or names of numbers.
    let is_decimal = word.bytes().all(|byte| b"+-.0123456789".contains(&byte));
    let packets = word.parse().ok().filter(|_| is_decimal);
    let no_number = QuantityFault::NotANumber(Quantity::Number);
    let packets: f64 = packets.ok_or_else(|| scan.error(no_number))?;
    let model = GilbertElliott::try_from_means(loss, packets);
    model
        .map(Loss::GilbertElliott)
        .map_err(|fault| scan.error(fault))
}

fn trace(scan: &mut Scan<'_>) -> Result<Loss, WordsError> {
    let letters = scan.word().unwrap_or_default();
    let lost: Option<Vec<bool>> = letters
        .bytes()
        .map(|letter| match letter {
            b'.' => Some(false),
            b'x' => Some(true),
            _ => None,
        })
        .collect();
    let lost = lost.ok_or_else(|| scan.error(WordsFault::TraceLetter))?;
    LossTrace::try_new(&lost)
        .map(Loss::Trace)
        .map_err(|fault| scan.error(fault))
}

fn chance(scan: &mut Scan<'_>) -> Result<Chance, WordsError> {
    Ok(Chance {
        probability: scan.probability()?,
        correlation: scan.optional_correlation()?.unwrap_or(Correlation::NONE),
    })
}

/// A whole number of at least one.
fn count(scan: &mut Scan<'_>, quantity: Quantity) -> Result<NonZeroU32, WordsError> {
    let word = scan.required(quantity)?;
    let number = scan.amount(quantity, word)?;
    let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
    number.ok_or_else(|| {
        scan.error(WordsFault::Range {
            least: 1,
            most: u32::MAX.into(),
        })
    })
}

fn rate(scan: &mut Scan<'_>) -> Result<NonZeroU64, WordsError> {
    let word = scan.required(Quantity::Rate)?;
    let bits = scan.amount(Quantity::Rate, word)?;
    let bits = u64::try_from(bits).ok().and_then(NonZeroU64::new);
    bits.ok_or_else(|| {
        scan.error(WordsFault::Range {
            least: 1,
            most: u64::MAX,
        })
    })
}

/// Bytes that each packet is longer, or shorter if below zero.
pub(super) fn overhead(scan: &Scan<'_>, word: &str) -> Result<i32, WordsError> {
    let (negative, bytes) = Quantity::Number
        .parse_signed(word)
        .map_err(|fault| scan.error(fault))?;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    i32::try_from(if negative { -bytes } else { bytes }).map_err(|_| {
        scan.error(WordsFault::Misplaced(
            "an overhead is -2147483648 to 2147483647 bytes",
        ))
    })
}

fn queue(scan: &mut Scan<'_>) -> Result<Option<usize>, WordsError> {
    if scan.peek() == Some("none") {
        scan.word();
        return Ok(None);
    }
    scan.bytes().map(Some)
}
