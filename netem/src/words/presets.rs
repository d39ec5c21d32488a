//! Links by name.

use crate::model::PairModel;

/// A link that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    name: &'static str,
    words: &'static str,
    source: &'static str,
}

impl Preset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The word that stands for it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it stands for, one way.
    pub fn words(&self) -> &'static str {
        self.words
    }

    /// Where its figures are from.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The model.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: a test parses all")]
    pub fn model(&self) -> PairModel {
        let parsed = self.words.parse();
        parsed.expect("every preset is written in this file, and parsed by a test")
    }
}

/// Every preset.
///
/// Delays and rates are per direction: a round trip meets them twice. The `-bursty` ones have the
/// delays of their namesake and lose in bursts, after str0m's figures: mean packets between two
/// bursts and within one.
///
/// Sources: n0-computer/patchbay, docs/reference/toml-reference.md (MIT OR Apache-2.0);
/// algesten/str0m, netem/src/config.rs; tylertreat/comcast, README. Figures only.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

const PRESETS: &[Preset] = &[
    // patchbay's links.
    preset("lan", "", PATCHBAY),
    preset("wifi", "delay 5ms 2ms loss 0.1%", PATCHBAY),
    preset("wifi-bad", "delay 40ms 15ms loss 2% rate 20mbit", PATCHBAY),
    preset("mobile-4g", "delay 25ms 8ms loss 0.5%", PATCHBAY),
    preset("mobile-3g", "delay 100ms 30ms loss 2% rate 2mbit", PATCHBAY),
    preset("satellite", "delay 40ms 7ms loss 1%", PATCHBAY),
    preset(
        "satellite-geo",
        "delay 300ms 20ms loss 0.5% rate 25mbit",
        PATCHBAY,
    ),
    // str0m's losses: 200, 40, 100, 100 and 20 packets in the good state; 2, 2, 2, 3 and 2 in the
    // bad one, which loses all.
    preset("wifi-bursty", "delay 5ms 2ms loss gemodel 0.5% 50%", STR0M),
    preset(
        "wifi-bad-bursty",
        "delay 40ms 15ms loss gemodel 2.5% 50% rate 20mbit",
        STR0M,
    ),
    preset(
        "mobile-4g-bursty",
        "delay 25ms 8ms loss gemodel 1% 50%",
        STR0M,
    ),
    preset(
        "satellite-bursty",
        "delay 40ms 7ms loss gemodel 1% 33.3333333%",
        STR0M,
    ),
    preset("congested", "loss gemodel 5% 50%", STR0M),
    // comcast's profiles.
    preset("gprs", "delay 500ms loss 2% rate 50kbit", COMCAST),
    preset("edge", "delay 300ms loss 1.5% rate 250kbit", COMCAST),
    preset("hsdpa", "delay 250ms loss 1.5% rate 750kbit", COMCAST),
    preset("dial-up", "delay 185ms loss 2% rate 40kbit", COMCAST),
    preset("dsl-poor", "delay 70ms loss 2% rate 2mbit", COMCAST),
    preset("dsl", "delay 40ms loss 0.5% rate 8mbit", COMCAST),
];

const fn preset(name: &'static str, words: &'static str, source: &'static str) -> Preset {
    Preset {
        name,
        words,
        source,
    }
}

const PATCHBAY: &str = "patchbay";
const STR0M: &str = "patchbay's delays, str0m's loss";
const COMCAST: &str = "comcast";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_parses_and_has_a_name_of_its_own() {
        for (place, preset) in PRESETS.iter().enumerate() {
            assert_eq!(preset.name.parse(), Ok(preset.model()));
            assert_eq!(Preset::named(preset.name), Some(&PRESETS[place]));
            assert!(!super::super::OPTIONS.contains(&preset.name));
        }
    }
}
