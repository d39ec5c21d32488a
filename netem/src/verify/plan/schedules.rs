//! Changes over time.

use std::{ops::Range, time::Duration};

use super::{BASE, Case, ms, regular};
use crate::{
    model::{Change, PairModel, Schedule, What},
    verify::checks::{Check, schedule},
};

pub(super) fn cases() -> Vec<Case> {
    vec![step(), ramp(), down(), flap()]
}

/// Longer from one moment on: the packets behind stay behind, so each shows its own delay.
fn step() -> Case {
    let after = ms(30);
    let check = schedule::follows("10 ms, then 30 ms", &[JUMP], move |sent| {
        if sent < JUMP { BASE } else { after }
    });
    scheduled(
        "step to 30ms at 1s",
        JUMP,
        What::Set(PairModel::delayed(after)),
        check,
    )
}

/// 40 ms longer over a second.
fn ramp() -> Case {
    let (from, over) = (ms(500), ms(1_000));
    let to = BASE + ms(40);
    let what = What::Ramp {
        to: PairModel::delayed(to),
        over,
    };
    let check = schedule::follows("10 ms to 50 ms in 1 s", &[], move |sent| {
        let gone = sent.saturating_sub(from).min(over);
        BASE + (to - BASE).mul_f64(gone.as_secs_f64() / over.as_secs_f64())
    });
    scheduled("ramp to 50ms from 0.5s", from, what, check)
}

fn down() -> Case {
    let (at, lasts) = (ms(700), ms(300));
    let check = schedule::down("0.7 s to 1 s", vec![at..at + lasts]);
    scheduled("down at 0.7s for 0.3s", at, What::Down { lasts }, check)
}

/// Down for 100 ms of every 250 ms, beginning with down, for a second.
fn flap() -> Case {
    let at = ms(300);
    let outages: Vec<Range<Duration>> = (0..4)
        .map(|turn| at + ms(250) * turn)
        .map(|start| start..start + ms(100))
        .collect();
    let what = What::Flap {
        up: ms(150),
        down: ms(100),
        lasts: ms(1_000),
    };
    let check = schedule::down("4 times 0.1 s", outages);
    scheduled("flap at 0.3s for 1s", at, what, check)
}

/// Two seconds of packets, from before the change until after it.
fn scheduled(name: &'static str, at: Duration, what: What, check: Check) -> Case {
    let schedule =
        Schedule::try_new(vec![Change { at, what }]).expect("one change that takes time");
    let traffic = regular(2_000, ms(1));
    Case {
        schedule,
        ..Case::new(name, PairModel::delayed(BASE), traffic, vec![check])
    }
}

/// Since the schedule began.
const JUMP: Duration = Duration::from_millis(1_000);
