//! From keys and values to a model.

use crate::{
    model::PairModel,
    nearest::nearest,
    words::{
        error::{WordsError, WordsFault},
        options::{Draft, overhead, set, time},
        presets::{Preset, presets},
        scan::Scan,
        units::Quantity,
    },
};

/// The keys of the table.
pub(crate) const KEYS: &[&str] = &[
    "preset",
    "delay",
    "jitter",
    "correlation",
    "distribution",
    "quantiles",
    "unordered",
    "loss",
    "duplicate",
    "corrupt",
    "reorder",
    "gap",
    "rate",
    "overhead",
    "queue",
    "limit",
    "max-packet",
];

/// The keys whose values may be bare numbers.
pub(crate) const NUMBER_KEYS: &[&str] = &["gap", "overhead", "queue", "limit", "max-packet"];

/// Reads keys and their values; `unordered` is given if it is true.
///
/// # Errors
/// Everything that is wrong, each with its key.
pub(crate) fn read<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<PairModel, Vec<(String, WordsError)>> {
    let mut draft = Draft::default();
    let mut base = PairModel::default();
    let mut faults = Vec::new();
    for (key, value) in entries {
        let mut scan = Scan::of_key(key, value);
        let read = entry(&mut draft, &mut base, key, &mut scan);
        let read = read.and_then(|()| match scan.word() {
            Some(_) if key != "unordered" => {
                Err(scan.error(WordsFault::Misplaced("has a word too many")))
            }
            _ => Ok(()),
        });
        faults.extend(read.err().map(|fault| (key.to_owned(), fault)));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    draft.model(base).map_err(|(key, fault)| {
        let words = key.to_owned();
        let fault = WordsError {
            words,
            at: 0,
            fault,
        };
        vec![(key.to_owned(), fault)]
    })
}

fn entry(
    draft: &mut Draft,
    base: &mut PairModel,
    key: &str,
    scan: &mut Scan<'_>,
) -> Result<(), WordsError> {
    match key {
        "preset" => {
            let name = scan.word().unwrap_or_default();
            let preset = Preset::named(name).ok_or_else(|| {
                let names = presets().iter().map(Preset::name);
                scan.error(WordsFault::UnknownPreset {
                    nearest: nearest(name, names),
                })
            })?;
            *base = preset.model();
            Ok(())
        }
        "jitter" => set(&mut draft.jitter, scan, time),
        "correlation" if scan.peek().is_none() => Err(scan.missing(Quantity::Percentage)),
        "correlation" => draft.optional_correlation(scan),
        "overhead" => {
            let word = scan.required(Quantity::Number)?;
            let bytes = overhead(scan, word)?;
            set(&mut draft.overhead, scan, |_| Ok(bytes))
        }
        _ => draft.option(key, scan),
    }
}
