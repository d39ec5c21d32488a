//! `failover`: what flows of whole nodes meet when something between them fails, and heals.
//!
//! Six nodes, one in each of six regions at the distances of AWS, find each other by one seed, and
//! carry flows of sound between four pairs of regions, both ways. Each scenario does one thing to
//! them, on virtual time, for many seeds: another seed strikes another pair, at another point of
//! the turn of probes, and jitter and loss fall differently. Every value is exact but for the
//! millisecond of tokio's timers, and the same each time for its seed.

mod back;
mod cut;
mod first_second;
mod flapping;
mod ledger;
mod loss;
mod region;
mod routes;
mod seeds;
mod stage;
mod start;
mod transit;

use std::{ops::Range, str::FromStr, time::Duration};

use clap::Args;

use self::{ledger::SOUND, seeds::Scenario, transit::Blow};
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

const SCENARIOS: [Scenario; 17] = [
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
    Scenario {
        name: "loss-1",
        case: "1 % lost each way for 10 min",
        quick: 3,
        full: 40,
        run: |seed| Box::pin(loss::little(seed)),
    },
    Scenario {
        name: "loss-20",
        case: "20 % lost one way",
        quick: 20,
        full: 200,
        run: |seed| Box::pin(loss::much(seed)),
    },
    Scenario {
        name: "transit-killed",
        case: "node on the way killed",
        quick: 20,
        full: 200,
        run: |seed| Box::pin(transit::run(seed, Blow::Killed)),
    },
    Scenario {
        name: "transit-frozen",
        case: "node on the way frozen",
        quick: 20,
        full: 200,
        run: |seed| Box::pin(transit::run(seed, Blow::Frozen)),
    },
    Scenario {
        name: "region",
        case: "region cut off",
        quick: 12,
        full: 180,
        run: |seed| Box::pin(region::run(seed)),
    },
    Scenario {
        name: "back",
        case: "link heals, 50 packets/s",
        quick: 12,
        full: 200,
        run: |seed| Box::pin(back::run(seed, SOUND)),
    },
    Scenario {
        name: "back-300",
        case: "link heals, 300 packets/s",
        quick: 6,
        full: 120,
        run: |seed| Box::pin(back::run(seed, back::PICTURES)),
    },
    Scenario {
        name: "flapping-1",
        case: "link flaps, period 1 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(1))),
    },
    Scenario {
        name: "flapping-2",
        case: "link flaps, period 2 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(2))),
    },
    Scenario {
        name: "flapping-5",
        case: "link flaps, period 5 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(5))),
    },
    Scenario {
        name: "flapping-10",
        case: "link flaps, period 10 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(10))),
    },
    Scenario {
        name: "flapping-20",
        case: "link flaps, period 20 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(20))),
    },
    Scenario {
        name: "flapping-60",
        case: "link flaps, period 60 s",
        quick: 2,
        full: 40,
        run: |seed| Box::pin(flapping::run(seed, Duration::from_secs(60))),
    },
    Scenario {
        name: "start",
        case: "flows of 2.4 Mbit/s begin",
        quick: 6,
        full: 120,
        run: |seed| Box::pin(start::run(seed)),
    },
    Scenario {
        name: "first-second",
        case: "20 Mbit/s, link black-holed",
        quick: 8,
        full: 120,
        run: |seed| Box::pin(first_second::run(seed)),
    },
];
