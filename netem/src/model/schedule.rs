//! How a pair changes over time.

use std::time::Duration;

use super::PairModel;

/// Changes of one directed pair, in the order of their times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    changes: Vec<Change>,
}

impl Schedule {
    /// From changes in any order; those of one time are made in the order given.
    ///
    /// # Errors
    /// - [`ScheduleError::Count`]: more than [`Self::MAX_CHANGES`].
    /// - [`ScheduleError::Empty`]: a change takes no time that needs some.
    /// - [`ScheduleError::TooLong`]: a change is, or lasts, beyond a year.
    pub fn try_new(mut changes: Vec<Change>) -> Result<Self, ScheduleError> {
        if changes.len() > Self::MAX_CHANGES {
            return Err(ScheduleError::Count { got: changes.len() });
        }
        for change in &changes {
            let lengths: &[Duration] = match &change.what {
                What::Set(_) => &[],
                What::Ramp { over, .. } => &[*over],
                What::Down { lasts } => &[*lasts],
                What::Flap { up, down, lasts } => &[*up, *down, *lasts],
            };
            if lengths.iter().any(Duration::is_zero) {
                return Err(ScheduleError::Empty { at: change.at });
            }
            if change.at > MAX_TIME || lengths.iter().any(|length| *length > MAX_TIME) {
                return Err(ScheduleError::TooLong { at: change.at });
            }
        }
        // Stable, so that changes of one time keep their order.
        changes.sort_by_key(|change| change.at);
        Ok(Self { changes })
    }

    /// The changes, in the order of their times.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bounds what one pair's schedule takes and what one packet can have to catch up with.
    pub const MAX_CHANGES: usize = 10_000;
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Since the schedule began.
    pub at: Duration,
    /// What changes then.
    pub what: What,
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The pair is down, as if cut, and then up again.
    Down {
        /// For how long.
        lasts: Duration,
    },
    /// The pair goes down and up again and again, beginning with down.
    Flap {
        /// Each time up for this long.
        up: Duration,
        /// Each time down for this long.
        down: Duration,
        /// Until this long after it began.
        lasts: Duration,
    },
    /// Delay, random loss and rate move in a straight line from what they are to those of `to`;
    /// all else is that of `to` at once. Where only one of both has a rate, so is the rate. A later
    /// `Set` or `Ramp` begins from where this one has got to.
    Ramp {
        /// What the pair is at the end.
        to: PairModel,
        /// How long it takes.
        over: Duration,
    },
    /// The pair is another from now on.
    Set(PairModel),
}

/// Why changes are no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Too many.
    #[error("{got} changes of one path, limit is {}", Schedule::MAX_CHANGES)]
    Count {
        /// How many.
        got: usize,
    },
    /// Something that takes time takes none.
    #[error("the change at {at:?} lasts no time")]
    Empty {
        /// Which.
        at: Duration,
    },
    /// Beyond what anybody means, and what times can be added up to.
    #[error("the change at {at:?} is or lasts beyond a year")]
    TooLong {
        /// Which.
        at: Duration,
    },
}

const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn changes_are_sorted_by_time_and_those_of_one_time_stay_as_given() {
        let set = |at, delay| Change {
            at: seconds(at),
            what: What::Set(PairModel::delayed(seconds(delay))),
        };
        let given = vec![set(5, 1), set(2, 2), set(5, 3)];
        let schedule = Schedule::try_new(given).unwrap();
        assert_eq!(schedule.changes(), [set(2, 2), set(5, 1), set(5, 3)]);
    }

    #[test]
    fn what_needs_time_must_take_some() {
        let none = Duration::ZERO;
        let some = seconds(1);
        let to = PairModel::default();
        for what in [
            What::Ramp { to, over: none },
            What::Down { lasts: none },
            What::Flap {
                up: none,
                down: some,
                lasts: some,
            },
            What::Flap {
                up: some,
                down: none,
                lasts: some,
            },
            What::Flap {
                up: some,
                down: some,
                lasts: none,
            },
        ] {
            let at = seconds(3);
            let error = Schedule::try_new(vec![Change { at, what }]);
            assert_eq!(error, Err(ScheduleError::Empty { at }));
        }
    }

    #[test]
    fn times_end_at_a_year() {
        let down = |at, lasts| {
            let what = What::Down { lasts };
            Schedule::try_new(vec![Change { at, what }])
        };
        assert!(down(MAX_TIME, MAX_TIME).is_ok());
        let more = MAX_TIME + Duration::from_nanos(1);
        for (at, lasts) in [(more, MAX_TIME), (MAX_TIME, more)] {
            assert_eq!(down(at, lasts), Err(ScheduleError::TooLong { at }));
        }
    }
}
