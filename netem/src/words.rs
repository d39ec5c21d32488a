//! A pair's model in words: one line, in the grammar of `tc netem` and a little more.
//!
//! ```
//! # use netem::model::PairModel;
//! let model: PairModel = "delay 80ms 5ms distribution pareto loss gemodel 1% 20% rate 50mbit".parse()?;
//! assert_eq!(model.to_string().parse(), Ok(model));
//! # Ok::<(), netem::words::WordsError>(())
//! ```
//!
//! ```text
//! WORDS   := [ PRESET ] [ OPTION ... ]         options in any order, each at most once
//! OPTION  := delay TIME [ JITTER [ CORRELATION ] ]         or latency
//!          | distribution { uniform | normal | pareto }    of the jitter; uniform if not said
//!          | quantiles P=TIME,P=TIME,... [ CORRELATION ]   in place of jitter and distribution
//!          | unordered                                     packets overtake where jitter says so
//!          | loss [ random ] PERCENT [ CORRELATION ]       or drop
//!          | loss gemodel P [ R [ 1-H [ 1-K ] ] ]          R: 100% - P, 1-H: 100%, 1-K: 0%
//!          | loss burst MEAN_LOSS MEAN_BURST               percent, packets; becomes a gemodel
//!          | loss trace ..x.xx                             . arrives, x is lost; repeated
//!          | duplicate PERCENT [ CORRELATION ]
//!          | corrupt PERCENT [ CORRELATION ]
//!          | reorder PERCENT [ CORRELATION ]
//!          | gap PACKETS                                   of the reorder
//!          | rate RATE [ OVERHEAD ]                        overhead in bytes a packet
//!          | queue { SIZE | none }                         bytes that wait for the rate
//!          | limit PACKETS                                 on their way at once
//!          | max-packet SIZE                               larger ones vanish
//! ```
//!
//! - Units are those of tc: see [`Quantity`]. A number that would have to be rounded is refused.
//! - A [preset](presets()) is a first word that stands for others. Each option then replaces all that
//!   it governs: `wifi delay 9ms` has no jitter left, `wifi-bad rate 1mbit` has that rate's queue.
//! - A `rate` with neither `queue` nor `limit` has the queue of [`Rate::new`]; one with a `limit`
//!   alone has no bound in bytes, as in tc; `queue none` is none of either.
//! - No words are a perfect wire.
//!
//! `Display` prints the shortest words that parse to an equal model; for every model there are some.
//! `delay T 0s C distribution constant` is how it writes a correlation of no jitter.
//!
//! The same words mean something else to the kernel, which lets packets overtake, counts the
//! Ethernet header and never goes without a limit: [`PairModel::from_tc`] and [`to_tc`] translate.
//! What tc has and this has not (`loss state`, `slot`, `ecn`, `seed`, cells, other distributions)
//! is refused, with what to use in its place.
//!
//! [`Rate::new`]: crate::model::Rate::new

mod draft;
mod error;
mod options;
mod presets;
mod print;
mod scan;
pub(crate) mod table;
mod tc;
pub(crate) mod units;

use std::str::FromStr;

pub use self::{
    error::{WordsError, WordsFault},
    presets::{Preset, presets},
    table::{ModelTable, Scalar, TableError},
    tc::{NotInTc, TcReason, to_tc},
    units::{Quantity, QuantityFault},
};
use self::{
    options::{Draft, OPTIONS},
    scan::Scan,
};
use crate::{model::PairModel, nearest::nearest};

impl FromStr for PairModel {
    type Err = WordsError;

    fn from_str(words: &str) -> Result<Self, WordsError> {
        let mut scan = Scan::new(words);
        let preset = scan.peek().and_then(Preset::named);
        if preset.is_some() {
            scan.word();
        }
        let mut may_be_preset = preset.is_none();
        let mut draft = Draft::default();
        while let Some(name) = scan.option() {
            let place = scan.place();
            draft.option(name, &mut scan).map_err(|mut error| {
                if let WordsFault::Unknown { nearest: near, .. } = &mut error.fault
                    && may_be_preset
                    && error.at == place
                {
                    let presets = presets().iter().map(Preset::name);
                    *near = nearest(name, OPTIONS.iter().copied().chain(presets));
                }
                error
            })?;
            may_be_preset = false;
        }
        let base = preset.map_or_else(Self::default, Preset::model);
        draft.model(base).map_err(|(option, fault)| WordsError {
            words: option.to_owned(),
            at: place_of(words, option),
            fault,
        })
    }
}

/// Where a word stands in `words`.
fn place_of(words: &str, option: &str) -> usize {
    let mut scan = Scan::new(words);
    while let Some(word) = scan.word() {
        if word == option {
            break;
        }
    }
    scan.place()
}
