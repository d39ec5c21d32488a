//! The shortest words for a model.

use std::{fmt, fmt::Write, num::NonZeroU32};

use super::{options::complement, units};
use crate::model::{
    Chance, Correlation, Distribution, GilbertElliott, Jitter, Loss, LossTrace, Order, PairModel,
    Probability, Quantiles, Rate, Reorder,
};

/// The shortest words that parse to an equal model: see [`crate::words`].
impl fmt::Display for PairModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&words(self, 1))
    }
}

/// The words, with at least so many parameters of a gemodel.
pub(super) fn words(model: &PairModel, least_parameters: usize) -> String {
    let mut options: Vec<String> = Vec::new();
    options.extend(delay(model));
    if let Distribution::Empirical(points) = &model.jitter.distribution {
        let correlation = correlation(model.jitter.correlation);
        options.push(format!("quantiles {}{correlation}", quantiles(points)));
    }
    if model.jitter.order == Order::Free {
        options.push("unordered".to_owned());
    }
    if model.loss != Loss::default() {
        options.push(format!("loss {}", loss(&model.loss, least_parameters)));
    }
    for (name, happens) in [("duplicate", model.duplicate), ("corrupt", model.corrupt)] {
        if happens != Chance::default() {
            options.push(format!("{name} {}", chance(happens)));
        }
    }
    options.extend(model.reorder.map(reorder));
    if let Some(rate) = model.rate {
        let overhead = match rate.overhead_bytes {
            0 => String::new(),
            bytes => format!(" {bytes}"),
        };
        let bits = units::rate(rate.bits_per_second.get());
        options.push(format!("rate {bits}{overhead}"));
        options.extend(queue(rate, model.limit_packets).map(|queue| format!("queue {queue}")));
    }
    let limit = model
        .limit_packets
        .map(|packets| format!("limit {packets}"));
    options.extend(limit);
    let max_packet = model.max_bytes.map(units::size);
    options.extend(max_packet.map(|size| format!("max-packet {size}")));
    if options.is_empty() {
        // Nothing would do, and would look like an accident.
        options.push("delay 0s".to_owned());
    }
    options.join(" ")
}

fn delay(model: &PairModel) -> Option<String> {
    let Jitter {
        distribution,
        correlation: share,
        order: _,
    } = &model.jitter;
    let delay = units::time(model.delay);
    let (spread, shape) = match distribution {
        Distribution::Constant if *share != Correlation::NONE => {
            let correlation = correlation(*share);
            return Some(format!(
                "delay {delay} 0s{correlation} distribution constant"
            ));
        }
        Distribution::Constant | Distribution::Empirical(_) if model.delay.is_zero() => {
            return None;
        }
        Distribution::Constant | Distribution::Empirical(_) => {
            return Some(format!("delay {delay}"));
        }
        Distribution::Normal(spread) => (spread, " distribution normal"),
        Distribution::Pareto(spread) => (spread, " distribution pareto"),
        Distribution::Uniform(spread) => (spread, ""),
    };
    let (spread, correlation) = (units::time(*spread), correlation(*share));
    Some(format!("delay {delay} {spread}{correlation}{shape}"))
}

pub(super) fn quantiles(quantiles: &Quantiles) -> String {
    let mut words = String::new();
    for (probability, nanos) in quantiles.points() {
        let time = units::signed_time(*nanos < 0, nanos.unsigned_abs().into());
        let probability = units::percentage(probability.ppb());
        write!(words, "{probability}={time},").expect("writing to a string");
    }
    words.pop();
    words
}

pub(super) fn loss(loss: &Loss, least_parameters: usize) -> String {
    match loss {
        Loss::GilbertElliott(model) => gilbert_elliott(model, least_parameters),
        Loss::Random(happens) => chance(*happens),
        Loss::Trace(recorded) => trace(recorded),
    }
}

/// Without the last parameters that are tc's defaults.
fn gilbert_elliott(model: &GilbertElliott, least_parameters: usize) -> String {
    let parameters = [
        (model.to_bad, None),
        (model.to_good, Some(complement(model.to_bad))),
        (model.loss_in_bad, Some(Probability::ALWAYS)),
        (model.loss_in_good, Some(Probability::NEVER)),
    ];
    let said = parameters
        .iter()
        .rposition(|(value, default)| Some(*value) != *default)
        .expect("the first has no default")
        .max(least_parameters - 1);
    let mut words = "gemodel".to_owned();
    for (value, _) in &parameters[..=said] {
        write!(words, " {}", units::percentage(value.ppb())).expect("writing to a string");
    }
    words
}

fn trace(trace: &LossTrace) -> String {
    let letter = |lost: &bool| if *lost { 'x' } else { '.' };
    let letters: String = trace.lost().iter().map(letter).collect();
    format!("trace {letters}")
}

pub(super) fn chance(chance: Chance) -> String {
    let probability = units::percentage(chance.probability.ppb());
    format!("{probability}{}", correlation(chance.correlation))
}

/// With a blank before it; nothing if there is none.
fn correlation(correlation: Correlation) -> String {
    match correlation.ppb() {
        0 => String::new(),
        ppb => format!(" {}", units::percentage(ppb)),
    }
}

fn reorder(reorder: Reorder) -> String {
    let chance = chance(reorder.chance);
    match reorder.gap {
        NonZeroU32::MIN => format!("reorder {chance}"),
        gap => format!("reorder {chance} gap {gap}"),
    }
}

/// What must be said of the rate's queue; nothing where it is the one that goes without saying.
pub(super) fn queue(rate: Rate, limit: Option<NonZeroU32>) -> Option<String> {
    let unsaid = match limit {
        Some(_) => None,
        None => Rate::new(rate.bits_per_second).queue_bytes,
    };
    if rate.queue_bytes == unsaid {
        return None;
    }
    let size = |bytes| units::size(bytes).to_string();
    Some(rate.queue_bytes.map_or_else(|| "none".to_owned(), size))
}
