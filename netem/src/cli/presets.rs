//! `netem presets`: links that have a name.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{Stop, write_json};
use crate::words::{Preset, presets};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct View {
    name: &'static str,
    netem: &'static str,
    source: &'static str,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Stop> {
    if arguments.json {
        let views = presets().iter().map(|preset| View {
            name: preset.name(),
            netem: preset.words(),
            source: preset.source(),
        });
        return write_json(&views.collect::<Vec<_>>(), out);
    }
    let width = |text: fn(&Preset) -> &'static str| {
        let widths = presets().iter().map(|preset| text(preset).len());
        widths.max().unwrap_or_default()
    };
    let (names, words) = (width(Preset::name), width(Preset::words));
    writeln!(out, "{:names$}  {:words$}  FIGURES OF", "NAME", "EACH WAY")?;
    for preset in presets() {
        let (name, what, source) = (preset.name(), preset.words(), preset.source());
        writeln!(out, "{name:names$}  {what:words$}  {source}")?;
    }
    Ok(())
}
