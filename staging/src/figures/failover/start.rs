//! Flows begin on links over which nothing was sent but probes.

use std::time::Duration;

use super::{
    back::PICTURES,
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage},
};
use crate::sim::fleet::{ms, sleep};

/// Starts a flow of 2.4 Mbit/s each way between the ends of every pair, on a clean network.
pub(super) async fn run(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let mut stage = Stage::new(seed, Setting::default()).await?;
    let from = stage.now();
    let mut large = Vec::new();
    for (a, b) in PAIRS {
        large.push(stage.start_flow(a, b, PICTURES, ms(5))?);
        large.push(stage.start_flow(b, a, PICTURES, ms(5))?);
    }
    sleep(WATCHED).await;
    let until = stage.now();
    let mut samples = Vec::new();
    for watched in &large {
        let moves = watched.route.changes(from, until).len();
        samples.push(MOVES.is(moves as f64));
        let lost = watched.flow.lost(from, until - ms(1_000));
        samples.push(LOST.is(lost as f64));
    }
    Ok(samples)
}

const MOVES: Quantity = Quantity {
    what: "route changes of a flow",
    unit: "",
    told: Told::Most,
    at_most: Some(0.0),
};
const LOST: Quantity = Quantity {
    what: "lost of a flow",
    unit: "packets",
    told: Told::Spread,
    at_most: None,
};
const WATCHED: Duration = Duration::from_secs(10);
