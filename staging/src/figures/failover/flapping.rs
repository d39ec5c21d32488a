//! A link fails and heals, again and again.

use std::time::Duration;

use super::{
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage, Watched},
};
use crate::sim::fleet::{ms, sleep};

/// Cuts and heals a pair, for half of `period` each, over two minutes and three periods at least.
pub(super) async fn run(seed: u64, period: Duration) -> anyhow::Result<Vec<Sample>> {
    let setting = Setting {
        look_every: ms(5),
        ..Setting::default()
    };
    let stage = Stage::new(seed, setting).await?;
    let pair = stage.struck();
    let from = stage.now();
    let end = from + (3 * period).max(AT_LEAST);
    while stage.now() < end {
        stage.cut(PAIRS[pair]);
        sleep(period / 2).await;
        stage.heal(PAIRS[pair]);
        sleep(period / 2).await;
    }
    let until = stage.now();
    let mut samples = Vec::new();
    for Watched { flow, route } in stage.flows_of(pair) {
        let changes = route.changes(from, until);
        let in_minute = |at: Duration| {
            let within = at..at + MINUTE;
            changes
                .iter()
                .filter(|seen| within.contains(&seen.at))
                .count()
        };
        let most = changes.iter().map(|seen| in_minute(seen.at)).max();
        samples.push(CHANGES.is(most.unwrap_or_default() as f64));
        let sent = flow.packets(from, until - ms(1_000)).len();
        let lost = flow.lost(from, until - ms(1_000));
        samples.push(SHARE_LOST.is(100.0 * lost as f64 / sent as f64));
    }
    Ok(samples)
}

const CHANGES: Quantity = Quantity {
    what: "route changes of a flow in a minute",
    unit: "",
    told: Told::Most,
    // What `router::choice` promises of a link that is up for as long as it is down.
    at_most: Some(6.0),
};
const SHARE_LOST: Quantity = Quantity {
    what: "lost of a flow",
    unit: "%",
    told: Told::Most,
    at_most: None,
};
const AT_LEAST: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);
