//! Packets are lost at random, a few for long, or many.

use std::time::Duration;

use anyhow::Context as _;

use super::{
    cut,
    seeds::{Quantity, Sample, Told},
    stage::{PAIRS, Setting, Stage, Watched},
};
use crate::sim::fleet::{ms, sleep};

/// One percent is lost each way between all pairs with flows, for ten minutes.
pub(super) async fn little(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let setting = Setting {
        look_every: ms(20),
        ..Setting::default()
    };
    let stage = Stage::new(seed, setting).await?;
    let from = stage.now();
    for (a, b) in PAIRS {
        stage.set_loss(a, b, LITTLE_PPM)?;
        stage.set_loss(b, a, LITTLE_PPM)?;
    }
    sleep(TEN_MINUTES).await;
    let until = stage.now();
    let moves = |watched: &Watched| watched.route.changes(from, until).len();
    let moves: usize = stage.flows.iter().map(moves).sum();
    let mut samples = vec![MOVES.is(moves as f64)];
    for Watched { flow, .. } in &stage.flows {
        let until = until - ms(1_000);
        let lost = flow.lost(from, until) as f64;
        let sent = flow.packets(from, until).len() as f64;
        samples.push(SHARE_LOST.is(100.0 * lost / sent));
    }
    Ok(samples)
}

/// A fifth of what one end of a pair sends is lost.
pub(super) async fn much(seed: u64) -> anyhow::Result<Vec<Sample>> {
    let stage = Stage::new(seed, Setting::default()).await?;
    let pair = stage.struck();
    let (a, b) = PAIRS[pair];
    // Either end in turn.
    let is_back = (seed / PAIRS.len() as u64) % 2 == 1;
    let (sender, receiver) = if is_back { (b, a) } else { (a, b) };
    let from = stage.now();
    stage.set_loss(sender, receiver, MUCH_PPM)?;
    sleep(WATCHED).await;
    let flows = stage.flows_of(pair);
    let Watched { flow, route } = &flows[usize::from(is_back)];
    let moved = route.first_change(from).context("the route stays")?;
    let until = stage.now() - ms(1_000);
    let packets = flow.packets(from, until);
    let last_lost = packets.iter().rev().find(|(_, arrived)| arrived.is_none());
    let last_lost = last_lost.map_or(from, |(sent, _)| *sent);
    Ok(vec![
        MOVED.is((moved - from).as_secs_f64()),
        LAST_LOST.is((last_lost - from).as_secs_f64()),
        cut::LOST.is(flow.lost(from, until) as f64),
        cut::untouched(&stage, from),
    ])
}

const MOVES: Quantity = Quantity {
    what: "route changes of 8 flows",
    unit: "",
    told: Told::Most,
    at_most: Some(0.0),
};
const SHARE_LOST: Quantity = Quantity {
    what: "lost of a flow",
    unit: "%",
    told: Told::Spread,
    at_most: None,
};
const MOVED: Quantity = Quantity {
    what: "until the route is another",
    unit: "s",
    told: Told::Spread,
    at_most: Some(3.0),
};
const LAST_LOST: Quantity = Quantity {
    what: "until the last packet that is lost",
    at_most: None,
    ..MOVED
};
const LITTLE_PPM: u32 = 10_000;
const MUCH_PPM: u32 = 200_000;
const TEN_MINUTES: Duration = Duration::from_secs(600);
const WATCHED: Duration = Duration::from_secs(8);
