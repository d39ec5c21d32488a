//! Which packets of a pair are lost.

use super::{chance::ChanceState, random, random::Luck};
use crate::model::{GilbertElliott, Loss};

/// Where a pair is in its model of loss.
#[derive(Debug)]
pub(super) struct LossState {
    /// Decides in which state Gilbert and Elliott's model begins.
    start: u64,
    random: ChanceState,
    /// Whether Gilbert and Elliott's state is the bad one; `None` before the first packet.
    bad: Option<bool>,
    /// The next packet of the trace.
    traced: usize,
}

impl LossState {
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            random: ChanceState::default(),
            bad: None,
            traced: 0,
        }
    }

    pub(super) fn loses(&mut self, luck: &Luck, loss: &Loss) -> bool {
        match loss {
            Loss::GilbertElliott(model) => self.bursts(luck, model),
            Loss::Random(chance) => self.random.happens(luck.loss, *chance),
            Loss::Trace(trace) => {
                let lost = trace.lost();
                let is_lost = lost[self.traced % lost.len()];
                self.traced = (self.traced + 1) % lost.len();
                is_lost
            }
        }
    }

    /// Begins a model that is new.
    pub(super) fn restart(&mut self) {
        *self = Self::new(random::mix(self.start));
    }

    fn bursts(&mut self, luck: &Luck, model: &GilbertElliott) -> bool {
        let start = self.start;
        let bad = self
            .bad
            .unwrap_or_else(|| random::fraction(start) < model.in_bad());
        let (lost, change) = if bad {
            (model.loss_in_bad, model.to_good)
        } else {
            (model.loss_in_good, model.to_bad)
        };
        self.bad = Some(bad != random::happens(luck.loss_state, change));
        random::happens(luck.loss, lost)
    }
}
