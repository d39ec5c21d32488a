//! The first second of a large flow after its link was black-holed.
//!
//! Nothing was sent over the links of its backup but probes, so that their congestion windows are
//! those that links begin with.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    ledger::Pace,
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage},
};
use crate::sim::fleet::{ms, sleep};

/// Cuts a pair and counts what arrives of a flow of 20 Mbit/s between its ends.
pub(super) async fn run(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let mut stage = Stage::new(seed, Setting::default()).await?;
    let pair = PAIRS[stage.struck()];
    let large = stage.start_flow(pair.0, pair.1, LARGE, ms(1))?;
    sleep(WARM).await;
    let before = stage.now();
    let lost_before = large.flow.lost(before - ms(1_500), before - ms(500));
    stage.cut(pair);
    sleep(WATCHED).await;
    let moved = large.route.first_change(before);
    let moved = moved.context("the route stays")?;

    let share = |from: Duration, length: Duration| {
        let packets = large.flow.packets(from, from + length);
        100.0 * large.flow.lost(from, from + length) as f64 / packets.len() as f64
    };
    let mut samples = vec![
        LOST_BEFORE.is(lost_before as f64),
        FIRST.is(share(moved, SECOND)),
        NEXT.is(share(moved + SECOND, SECOND)),
    ];
    let steps = (0..).map(|step| moved + ms(20) * step);
    let mut steps = steps.take_while(|at| *at + SECOND + ms(1_000) <= stage.now());
    let whole = steps.find(|at| large.flow.lost(*at, *at + SECOND) == 0);
    let whole = whole.map_or(f64::INFINITY, |at| (at - moved).as_secs_f64());
    samples.push(WHOLE.is(whole));
    Ok(samples)
}

/// 20 Mbit/s in 2,000 packets a second, each of which an overlay path carries in two pieces.
const LARGE: Pace = Pace {
    every: Duration::from_millis(1),
    burst: 2,
    bytes: 1_200,
};
const LOST_BEFORE: Quantity = Quantity {
    what: "lost in the second before the cut",
    unit: "packets",
    told: Told::Most,
    at_most: None,
};
const FIRST: Quantity = Quantity {
    what: "lost of what is sent in the first second on the other path",
    unit: "%",
    told: Told::Spread,
    at_most: None,
};
const NEXT: Quantity = Quantity {
    what: "lost of what is sent in the next second",
    ..FIRST
};
const WHOLE: Quantity = Quantity {
    what: "until a second begins of which nothing is lost",
    unit: "s",
    ..FIRST
};
const SECOND: Duration = Duration::from_secs(1);
const WARM: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(12);
