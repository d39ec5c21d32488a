//! A region is cut off from all others, and healed.

use std::time::Duration;

use super::{
    back,
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, REGIONS, Setting, Stage, Watched},
};
use crate::sim::fleet::{ms, sleep};

/// Cuts all links of one region for as long as the seed says.
pub(super) async fn run(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let stage = Stage::new(seed, Setting::default()).await?;
    let region = (seed % REGIONS.len() as u64) as usize;
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..PAIRS.len()).partition(|pair| PAIRS[*pair].0 == region || PAIRS[*pair].1 == region);
    let others = (0..REGIONS.len()).filter(|other| *other != region);
    let from = stage.now();
    others.clone().for_each(|other| stage.cut((region, other)));
    // Links outlast the one and not the others.
    sleep(CUT_FOR[(seed / REGIONS.len() as u64) as usize % CUT_FOR.len()]).await;
    let healed = stage.now();
    others.for_each(|other| stage.heal((region, other)));
    sleep(back::WATCHED).await;

    let until = stage.now() - ms(1_000);
    let flows_of = |pairs: &[usize]| -> Vec<Watched> {
        let flows = pairs.iter().flat_map(|pair| stage.flows_of(*pair));
        flows.collect()
    };
    let (inside, outside) = (flows_of(&inside), flows_of(&outside));
    let lost = outside.iter().map(|other| other.flow.lost(from, until));
    let moves = outside
        .iter()
        .map(|other| other.route.changes(from, until).len());
    let mut samples = vec![
        OUTSIDE_LOST.is(lost.sum::<u64>() as f64),
        OUTSIDE_MOVES.is(moves.sum::<usize>() as f64),
    ];
    for Watched { flow, route } in &inside {
        let direct = back::direct_since(&stage, route, flow, healed);
        samples.push(DIRECT.is((direct - healed).as_secs_f64()));
        let first = flow.first_arrival(healed);
        let first = first.map_or(f64::INFINITY, |at| (at - healed).as_secs_f64());
        samples.push(FIRST.is(first));
    }
    Ok(samples)
}

const OUTSIDE_LOST: Quantity = Quantity {
    what: "lost of flows between others",
    unit: "packets",
    told: Told::Most,
    at_most: Some(0.0),
};
const OUTSIDE_MOVES: Quantity = Quantity {
    what: "route changes of flows between others",
    unit: "",
    ..OUTSIDE_LOST
};
const DIRECT: Quantity = Quantity {
    what: "from healing until direct for good",
    unit: "s",
    told: Told::Spread,
    at_most: Some(15.0),
};
const FIRST: Quantity = Quantity {
    what: "from healing until a packet sent since then arrives",
    at_most: None,
    ..DIRECT
};
const CUT_FOR: [Duration; 3] = [
    Duration::from_secs(3),
    Duration::from_secs(12),
    Duration::from_secs(60),
];
