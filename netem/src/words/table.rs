//! A model as a table, and both forms through serde.

mod read;

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

pub(crate) use self::read::{KEYS, NUMBER_KEYS, read};
use super::{error::WordsError, print, units};
use crate::model::{Chance, Correlation, Distribution, Loss, Order, PairModel};

/// A model as a table: the options of [`crate::words`], one key each, whose values are the words
/// that would follow.
///
/// ```toml
/// netem = { delay = "80ms", jitter = "5ms", distribution = "pareto", loss = "gemodel 1% 20%" }
/// ```
///
/// What follows an option in words has a key of its own here: `jitter` and `correlation` (of the
/// jitter or the quantiles), `overhead` (of the rate). `preset` names the preset to start from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelTable {
    /// The preset to start from. Default: a perfect wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// A time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// A time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// A percentage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// `uniform`, `normal`, `pareto` or `constant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// Like `0%=-2ms,50%=0ms,100%=40ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<String>,
    /// Whether packets overtake where jitter says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unordered: bool,
    /// A percentage and its correlation, or another model of loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// A percentage and its correlation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<String>,
    /// A percentage and its correlation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<String>,
    /// A percentage and its correlation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<String>,
    /// A number of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Scalar>,
    /// A rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Scalar>,
    /// A size, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Scalar>,
    /// A number of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Scalar>,
    /// A size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packet: Option<Scalar>,
}

/// A value that may be written without quotes, since its bare number has no unit to be wrong about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `1400`.
    Number(i64),
    /// `"64k"`.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// Why a table is no model: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TableError {
    /// One for each key that is wrong; `at` counts within its value.
    pub faults: Vec<WordsError>,
}

impl TryFrom<&ModelTable> for PairModel {
    type Error = TableError;

    fn try_from(table: &ModelTable) -> Result<Self, TableError> {
        let text = |key, value: &Option<String>| value.clone().map(|value| (key, value));
        let scalar =
            |key, value: &Option<Scalar>| value.as_ref().map(|value| (key, value.to_string()));
        let entries = [
            text("preset", &table.preset),
            text("delay", &table.delay),
            text("jitter", &table.jitter),
            text("correlation", &table.correlation),
            text("distribution", &table.distribution),
            text("quantiles", &table.quantiles),
            table.unordered.then(|| ("unordered", String::new())),
            text("loss", &table.loss),
            text("duplicate", &table.duplicate),
            text("corrupt", &table.corrupt),
            text("reorder", &table.reorder),
            scalar("gap", &table.gap),
            text("rate", &table.rate),
            scalar("overhead", &table.overhead),
            scalar("queue", &table.queue),
            scalar("limit", &table.limit),
            scalar("max-packet", &table.max_packet),
        ];
        let entries = entries
            .iter()
            .flatten()
            .map(|(key, value)| (*key, &**value));
        read(entries).map_err(|faults| TableError {
            faults: faults.into_iter().map(|(_, fault)| fault).collect(),
        })
    }
}

/// The shortest table that parses to an equal model.
impl From<&PairModel> for ModelTable {
    fn from(model: &PairModel) -> Self {
        let jitter = &model.jitter;
        let is_correlated = jitter.correlation != Correlation::NONE;
        let (spread, distribution) = match &jitter.distribution {
            Distribution::Constant if is_correlated => (Some(Default::default()), Some("constant")),
            Distribution::Constant | Distribution::Empirical(_) => (None, None),
            Distribution::Normal(spread) => (Some(*spread), Some("normal")),
            Distribution::Pareto(spread) => (Some(*spread), Some("pareto")),
            Distribution::Uniform(spread) => (Some(*spread), None),
        };
        let quantiles = match &jitter.distribution {
            Distribution::Empirical(quantiles) => Some(print::quantiles(quantiles)),
            Distribution::Constant
            | Distribution::Normal(_)
            | Distribution::Pareto(_)
            | Distribution::Uniform(_) => None,
        };
        let chance = |chance| (chance != Chance::default()).then(|| print::chance(chance));
        let number = |number: u32| Scalar::Number(number.into());
        let gap = model.reorder.map(|reorder| reorder.gap.get());
        let overhead = model.rate.map(|rate| rate.overhead_bytes);
        let queue = model
            .rate
            .and_then(|rate| print::queue(rate, model.limit_packets));
        let correlation = units::percentage(jitter.correlation.ppb());
        Self {
            preset: None,
            delay: (!model.delay.is_zero()).then(|| units::time(model.delay).to_string()),
            jitter: spread.map(|spread| units::time(spread).to_string()),
            correlation: is_correlated.then(|| correlation.to_string()),
            distribution: distribution.map(str::to_owned),
            quantiles,
            unordered: jitter.order == Order::Free,
            loss: (model.loss != Loss::default()).then(|| print::loss(&model.loss, 1)),
            duplicate: chance(model.duplicate),
            corrupt: chance(model.corrupt),
            reorder: model.reorder.map(|reorder| print::chance(reorder.chance)),
            gap: gap.filter(|gap| *gap != 1).map(number),
            rate: model
                .rate
                .map(|rate| units::rate(rate.bits_per_second.get()).to_string()),
            overhead: overhead
                .filter(|bytes| *bytes != 0)
                .map(|bytes| Scalar::Number(bytes.into())),
            queue: queue.map(Scalar::Text),
            limit: model.limit_packets.map(|limit| number(limit.get())),
            max_packet: model
                .max_bytes
                .map(|bytes| Scalar::Text(units::size(bytes).to_string())),
        }
    }
}

/// As words.
impl Serialize for PairModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From words, or from a [`ModelTable`].
impl<'de> Deserialize<'de> for PairModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModelVisitor)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = PairModel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words like \"delay 40ms loss 1%\", or a table of them")
    }

    fn visit_str<E: de::Error>(self, words: &str) -> Result<PairModel, E> {
        words.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PairModel, A::Error> {
        let table = ModelTable::deserialize(MapAccessDeserializer::new(map))?;
        PairModel::try_from(&table).map_err(de::Error::custom)
    }
}
