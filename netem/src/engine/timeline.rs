//! A pair's schedule as it is played.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::model::{Chance, Loss, PairModel, Probability, Rate, Schedule, What};

/// Where a pair is in its schedule.
#[derive(Debug)]
pub(super) struct Timeline {
    schedule: Schedule,
    start: Instant,
    /// The first change that is not yet made.
    next: usize,
    ramp: Option<Ramp>,
    outages: Vec<Outage>,
}

/// What a schedule says of one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Whether the pair is up.
    pub(super) up: bool,
    /// Whether another model began since the last step.
    pub(super) is_new: bool,
}

#[derive(Debug)]
struct Ramp {
    from: PairModel,
    to: PairModel,
    began: Instant,
    over: Duration,
}

#[derive(Debug)]
struct Outage {
    began: Instant,
    ends: Instant,
    /// Down for the first part of each period.
    down: Duration,
    period: Duration,
}

impl Timeline {
    pub(super) fn new(schedule: Schedule, start: Instant) -> Self {
        Self {
            schedule,
            start,
            next: 0,
            ramp: None,
            outages: Vec::new(),
        }
    }

    /// Makes the changes that are due, and brings `model` up to date.
    pub(super) fn advance(&mut self, now: Instant, model: &mut PairModel) -> Step {
        let mut is_new = false;
        while let Some(change) = self.schedule.changes().get(self.next) {
            let at = self.start + change.at;
            if at > now {
                break;
            }
            self.next += 1;
            let outage = |down, period, lasts| Outage {
                began: at,
                ends: at + lasts,
                down,
                period,
            };
            match &change.what {
                What::Down { lasts } => self.outages.push(outage(*lasts, *lasts, *lasts)),
                What::Flap { up, down, lasts } => {
                    self.outages.push(outage(*down, *down + *up, *lasts));
                }
                What::Ramp { to, over } => {
                    if let Some(before) = self.ramp.take() {
                        before.apply(at, model);
                    }
                    is_new = true;
                    let from = std::mem::replace(model, to.clone());
                    self.ramp = Some(Ramp {
                        from,
                        to: to.clone(),
                        began: at,
                        over: *over,
                    });
                }
                What::Set(to) => {
                    is_new = true;
                    self.ramp = None;
                    *model = to.clone();
                }
            }
        }
        if let Some(ramp) = &self.ramp
            && ramp.apply(now, model)
        {
            self.ramp = None;
        }
        self.outages.retain(|outage| outage.ends > now);
        Step {
            up: !self.outages.iter().any(|outage| outage.is_down(now)),
            is_new,
        }
    }
}

impl Ramp {
    /// Sets what moves to where it is at `now`; whether it has arrived.
    fn apply(&self, now: Instant, model: &mut PairModel) -> bool {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed >= self.over {
            model.clone_from(&self.to);
            return true;
        }
        let between = |from: u64, to: u64| {
            let way = i128::from(to) - i128::from(from);
            let gone = way * elapsed.as_nanos().cast_signed() / self.over.as_nanos().cast_signed();
            u64::try_from(i128::from(from) + gone).expect("between two that fit")
        };
        let nanos = |delay: Duration| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let delay = between(nanos(self.from.delay), nanos(self.to.delay));
        model.delay = Duration::from_nanos(delay);
        if let (Loss::Random(from), Loss::Random(to)) = (&self.from.loss, &self.to.loss) {
            let ppb = between(from.probability.ppb().into(), to.probability.ppb().into());
            let ppb = u32::try_from(ppb).expect("between two that fit");
            model.loss = Loss::Random(Chance {
                probability: Probability::from_ppb(ppb).expect("between two that are"),
                correlation: to.correlation,
            });
        }
        if let (Some(from), Some(to)) = (self.from.rate, self.to.rate) {
            let bits = between(from.bits_per_second.get(), to.bits_per_second.get());
            model.rate = Some(Rate {
                bits_per_second: NonZeroU64::new(bits).expect("between two that are not zero"),
                ..to
            });
        }
        false
    }
}

impl Outage {
    fn is_down(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.began).as_nanos();
        elapsed % self.period.as_nanos() < self.down.as_nanos()
    }
}
