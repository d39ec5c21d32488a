//! `netem presets`: links that have a name.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{Stop, write_json};
use crate::words::presets;

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
    let names = presets().iter().map(|preset| preset.name().len()).max();
    let names = names.unwrap_or_default();
    writeln!(out, "{:names$}  EACH WAY", "NAME")?;
    for preset in presets() {
        let words = match preset.words() {
            "" => "(a perfect wire)",
            words => words,
        };
        writeln!(out, "{:names$}  {words}", preset.name())?;
    }
    writeln!(out, "\n--json says whose figures they are")?;
    Ok(())
}
