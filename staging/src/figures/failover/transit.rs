//! A node on the way of a flow is killed, or frozen.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{
    cut,
    seeds::{Quantity, Sample},
    stage::{PAIRS, Setting, Stage},
};
use crate::sim::fleet::{ms, sleep};

/// What happens to the node on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// Its process ends without a goodbye.
    Killed,
    /// Its process does not run any more, and packets to it wait.
    Frozen,
}

/// Cuts the link of a pair, waits until its flows go over other nodes, and strikes the one that the
/// flow of the pair's first node goes over first.
pub(super) async fn run(seed: u64, blow: Blow) -> anyhow::Result<Vec<Sample>> {
    let mut stage = Stage::new(seed, Setting::default()).await?;
    let struck = stage.struck();
    let pair = PAIRS[struck];
    stage.cut(pair);
    sleep(ON_OTHER_PATHS).await;
    let flows = stage.flows_of(struck);
    let path = flows[0].route.now();
    ensure!(path.len() > 1, "the flow is not on an overlay path");
    let transit = stage.region_of(path[0])?;
    let from = stage.now();
    match blow {
        Blow::Killed => stage.fleet.kill(stage.members[transit]),
        Blow::Frozen => stage.machine(transit).freeze(),
    }
    sleep(WATCHED).await;

    let mut samples = Vec::new();
    let transit = stage.fleet.key(stage.members[transit]);
    for (watched, sender) in flows.iter().zip([pair.0, pair.1]) {
        let route = &watched.route;
        let before = route.at(from);
        if before.first() != Some(&transit) {
            // The way back may be another one.
            ensure!(!before.contains(&transit), "the node is not the first hop");
            continue;
        }
        let rtt = stage.round_trip(sender, stage.region_of(transit)?)?;
        let moved = route.first_change(from).context("the route stays")?;
        let beyond = (moved - from).as_secs_f64() - 2.0 * rtt.as_secs_f64();
        samples.push(DECIDED.is(beyond));
        samples.extend(cut::interruption(&stage, watched, from, moved)?);
    }
    // The other flows of the node itself are none of the others'.
    let others = stage.others(struck).into_iter();
    let others = others.filter(|other| {
        let ends = [other.flow.from, other.flow.to];
        ends.iter().all(|end| stage.fleet.key(*end) != transit)
    });
    let until = stage.now() - ms(1_000);
    let lost = others
        .map(|other| other.flow.lost(from, until))
        .sum::<u64>();
    samples.push(cut::OTHERS_LOST.is(lost as f64));
    Ok(samples)
}

const DECIDED: Quantity = Quantity {
    what: "until the route is another, less 2 RTT to the node",
    at_most: Some(0.5),
    ..cut::DECIDED
};
/// Twice what it takes until spares are open.
const ON_OTHER_PATHS: Duration = Duration::from_secs(6);
const WATCHED: Duration = Duration::from_secs(6);
