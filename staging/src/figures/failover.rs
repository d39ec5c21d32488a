//! `failover`: what flows of whole nodes meet when something between them fails, and heals.
//!
//! Six nodes, one in each of six regions at the distances of AWS, find each other by one seed, and
//! carry flows of sound between four pairs of regions, both ways. Each scenario does one thing to
//! them, on virtual time, for many seeds: another seed strikes another pair, at another point of
//! the turn of probes, and jitter and loss fall differently. Every value is exact but for the
//! millisecond of tokio's timers, and the same each time for its seed.

mod cut;
mod ledger;
mod routes;
mod seeds;
mod stage;

use std::{ops::Range, str::FromStr};

use clap::Args;

use self::seeds::Scenario;
use super::{Context, row::Row};

/// How the rows are called.
pub const NAME: &str = "failover";

/// What can be asked of this figure.
#[derive(Debug, Clone, Default, Args)]
pub struct FailoverOptions {
    /// In `failover`, runs few seeds: 20, and fewer where a scenario is long.
    #[arg(long)]
    pub quick: bool,
    /// In `failover`, runs these scenarios alone.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub scenario: Vec<String>,
    /// In `failover`, runs these seeds.
    #[arg(long, value_name = "FROM..TO")]
    pub seeds: Option<Seeds>,
}

/// A range of seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once("..").ok_or("expected FROM..TO")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        let seeds = number(from)?..number(to)?;
        match seeds.is_empty() {
            true => Err("there is no seed in it".to_owned()),
            false => Ok(Self(seeds)),
        }
    }
}

/// Measures what `context` was asked for.
///
/// # Errors
/// A fleet did not come to be as it should, or there is no such scenario.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    let options = context.failover.clone();
    for name in &options.scenario {
        let mut names = SCENARIOS.iter().map(|scenario| scenario.name);
        anyhow::ensure!(
            names.any(|known| known == name),
            "there is no scenario {name}; there are {}",
            SCENARIOS.map(|scenario| scenario.name).join(", ")
        );
    }
    let mut rows = Vec::new();
    for scenario in &SCENARIOS {
        let is_asked = options.scenario.iter().any(|name| name == scenario.name);
        if !options.scenario.is_empty() && !is_asked {
            continue;
        }
        let count = if options.quick {
            scenario.quick
        } else {
            scenario.full
        };
        let seeds = options.seeds.clone().map_or(0..count, |seeds| seeds.0);
        context.say(&format!("{}, seeds {seeds:?}", scenario.case));
        rows.extend(scenario.measure(context, seeds)?);
    }
    Ok(rows)
}

const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "cut",
        case: "link black-holed, default",
        quick: 20,
        full: 200,
        run: |seed| Box::pin(cut::run(seed, "default")),
    },
    Scenario {
        name: "cut-fast",
        case: "link black-holed, fast",
        quick: 20,
        full: 200,
        run: |seed| Box::pin(cut::run(seed, "fast")),
    },
];
