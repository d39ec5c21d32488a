//! A link that was black-holed works again.

use std::time::Duration;

use super::{
    ledger::{Flow, Pace},
    routes::RouteLog,
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage, Watched},
};
use crate::sim::fleet::{ms, sleep};

/// Heals a pair, and watches its flows return to it.
pub(super) async fn run(seed: u64, pace: Pace) -> anyhow::Result<Vec<Sample>> {
    let setting = Setting {
        pace,
        ..Setting::default()
    };
    let stage = Stage::new(seed, setting).await?;
    let pair = stage.struck();
    stage.cut(PAIRS[pair]);
    // The link outlasts the one and not the others.
    sleep(CUT_FOR[(seed / PAIRS.len() as u64) as usize % CUT_FOR.len()]).await;
    let healed = stage.now();
    stage.heal(PAIRS[pair]);
    sleep(WATCHED).await;

    let until = stage.now();
    let mut samples = Vec::new();
    for Watched { flow, route } in stage.flows_of(pair) {
        let direct = direct_since(&stage, &route, &flow, healed);
        samples.push(DIRECT.is((direct - healed).as_secs_f64()));
        samples.push(MOVES.is(route.changes(healed, until).len() as f64));
        samples.push(LOST.is(flow.lost(healed, until - ms(1_000)) as f64));
    }
    Ok(samples)
}

/// Since when a flow's route is the link, for good; if it is not, that is the end of the scenario.
pub(super) fn direct_since(
    stage: &Stage,
    route: &RouteLog,
    flow: &Flow,
    healed: Duration,
) -> Duration {
    let since = route.since(&[stage.fleet.key(flow.to)]);
    since.unwrap_or_else(|| stage.now()).max(healed)
}

/// Three hundred packets a second, as video has them.
pub(super) const PICTURES: Pace = Pace {
    every: Duration::from_millis(10),
    burst: 3,
    bytes: 1_000,
};
const DIRECT: Quantity = Quantity {
    what: "from healing until direct for good",
    unit: "s",
    told: Told::Spread,
    at_most: Some(15.0),
};
const MOVES: Quantity = Quantity {
    what: "route changes of a flow since then",
    unit: "",
    told: Told::Most,
    at_most: Some(1.0),
};
const LOST: Quantity = Quantity {
    what: "lost of a flow since then",
    unit: "packets",
    told: Told::Most,
    at_most: Some(0.0),
};
const CUT_FOR: [Duration; 3] = [
    Duration::from_secs(3),
    Duration::from_secs(12),
    Duration::from_secs(60),
];
pub(super) const WATCHED: Duration = Duration::from_secs(40);
