//! The direct link of a pair is black-holed, both ways.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage, Watched},
};
use crate::sim::fleet::{ms, sleep};

/// Cuts one pair and watches its flows, and all others.
pub(super) async fn run(seed: u64, liveness: &'static str) -> anyhow::Result<Vec<Sample>> {
    let setting = Setting {
        liveness,
        ..Setting::default()
    };
    let stage = Stage::new(seed, setting).await?;
    let pair = PAIRS[stage.struck()];
    let round_trips = 2 * stage.round_trip(pair.0, pair.1)?;
    let from = stage.now();
    stage.cut(pair);
    sleep(WATCHED).await;

    let mut samples = Vec::new();
    for watched in stage.flows_of(stage.struck()) {
        let moved = watched
            .route
            .first_change(from)
            .context("the route stays")?;
        let beyond = (moved - from).as_secs_f64() - round_trips.as_secs_f64();
        let decided = Quantity {
            at_most: Some(if liveness == "fast" { 0.2 } else { 0.5 }),
            ..DECIDED
        };
        samples.push(decided.is(beyond));
        samples.extend(interruption(&stage, &watched, from, moved)?);
    }
    samples.push(untouched(&stage, from));
    Ok(samples)
}

/// What the receiver of a flow sees of something that happened at `from`, for which the sender's
/// route changed at `moved`.
pub(super) fn interruption(
    stage: &Stage,
    Watched { flow, route }: &Watched,
    from: Duration,
    moved: Duration,
) -> anyhow::Result<[Sample; 4]> {
    let until = stage.now();
    let way = stage.one_way(flow.from, &route.at(moved + ms(1)))?;
    let first = flow.first_arrival(from);
    let first = first.context("nothing that was sent since has arrived")?;
    let gap = flow.longest_gap(from - ms(100), until);
    // What is on its way at the end is not lost.
    let lost = flow.lost(from - ms(500), until - ms(1_000));
    let after = first.as_secs_f64() - (moved + way).as_secs_f64();
    Ok([
        AFTER.is(after),
        FIRST.is((first - from).as_secs_f64()),
        GAP.is(gap.as_secs_f64()),
        LOST.is(lost as f64),
    ])
}

/// That flows between other regions lost nothing since `from`.
pub(super) fn untouched(stage: &Stage, from: Duration) -> Sample {
    let until = stage.now() - ms(1_000);
    let others = stage.others(stage.struck());
    let lost = others.iter().map(|other| other.flow.lost(from, until));
    OTHERS_LOST.is(lost.sum::<u64>() as f64)
}

pub(super) const DECIDED: Quantity = Quantity {
    what: "until the route is another, less 2 RTT",
    unit: "s",
    told: Told::Spread,
    at_most: None,
};
const AFTER: Quantity = Quantity {
    what: "from then until a packet arrives, less what its path takes",
    // A packet every 20 ms, jitter, and a tick of a millisecond at each node. A round trip of the
    // path, which an opening takes, is more.
    at_most: Some(0.06),
    ..DECIDED
};
const FIRST: Quantity = Quantity {
    what: "until a packet sent since then arrives",
    ..DECIDED
};
const GAP: Quantity = Quantity {
    what: "longest gap at the receiver",
    ..DECIDED
};
pub(super) const LOST: Quantity = Quantity {
    what: "lost of a flow",
    unit: "packets",
    ..DECIDED
};
pub(super) const OTHERS_LOST: Quantity = Quantity {
    what: "lost of all other flows",
    unit: "packets",
    told: Told::Most,
    at_most: Some(0.0),
};
const WATCHED: Duration = Duration::from_secs(4);
