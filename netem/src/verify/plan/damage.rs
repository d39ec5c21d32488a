//! Copies, flipped bits, and packets that overtake.

use std::num::NonZeroU32;

use super::{BASE, Case, steady};
use crate::{
    model::{Chance, PairModel, Probability, Reorder},
    verify::{
        checks::{damage, order},
        ground::Time,
    },
};

pub(super) fn cases(time: Time) -> Vec<Case> {
    let five = Chance::independent(Probability::from_ppm(50_000));
    let duplicate = PairModel {
        duplicate: five,
        ..PairModel::delayed(BASE)
    };
    let corrupt = PairModel {
        corrupt: five,
        ..PairModel::delayed(BASE)
    };
    let reorder = PairModel {
        reorder: Some(Reorder {
            chance: Chance::independent(Probability::from_ppm(250_000)),
            gap: NonZeroU32::new(GAP).expect("above zero"),
        }),
        ..PairModel::delayed(BASE)
    };
    vec![
        Case::new(
            "duplicate 5%",
            duplicate,
            steady(time),
            vec![damage::copies(0.05), damage::copies_follow()],
        ),
        Case::new(
            "corrupt 5%",
            corrupt,
            steady(time),
            vec![damage::corrupted(0.05), damage::one_bit()],
        ),
        Case::new(
            "reorder 25% gap 5",
            reorder,
            steady(time),
            vec![order::skipped(0.25, GAP), order::gap(GAP)],
        ),
    ]
}

const GAP: u32 = 5;
