//! What a link costs, in equivalent milliseconds of round trip.

mod emodel;
mod margin;
mod mathis;

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
    time::Duration,
};

pub use self::margin::Margin;

/// A cost: the round-trip time that would be as bad.
///
/// Costs are of the round trip because that is what a node can measure by itself: the two ways of a
/// link cannot be told apart without clocks that agree. They are whole microseconds, and everything
/// they are made of is computed in integers, so that all nodes get the same.
///
/// The cost of a path is the sum over its links and the nodes between them. That is what makes a
/// best path cheap to find, and it is why nothing here depends on more than one link: see
/// [`CostPolicy::Interactive`] for what is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cost(u64);

/// What is measured about one direction of a link.
///
/// Values beyond [`Measure::MAX_RTT`] count as that, so an absurd report makes a bad link and
/// nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Round trip, as the end measured it that sends in this direction.
    pub rtt: Duration,
    /// Share of the packets sent in this direction that did not arrive.
    pub loss: Loss,
}

/// A share of packets that did not arrive, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Loss(u32);

/// How much of what it can do a node does: the largest of rate over limit, busy share of its loops
/// and flows over limit, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Load(u16);

/// What a cost is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CostParts {
    /// The measured round trip; [`CostPolicy::UNMEASURED`] where there is none.
    pub delay: Cost,
    /// What loss is worth.
    pub loss: Cost,
    /// What the load of the nodes between the links is worth.
    pub load: Cost,
}

/// What matters to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CostPolicy {
    /// Nothing but the round trip.
    DelayOnly,
    /// How a conversation sounds, by the E-model of ITU-T G.107.
    ///
    /// The model subtracts from a rating of 93 an impairment for delay and one for loss. Loss is
    /// converted to the delay that subtracts as much. The rate of exchange is a constant, the slope
    /// of the delay impairment above its knee at 177 ms one way. Taken as the model has it, with its
    /// knee, two links of 100 ms would cost less than one of 200 ms; and below the knee delay is
    /// almost free, so that the router would go half around the world to avoid a little loss.
    ///
    /// The impairment by loss is concave, so the sum over several lossy links is more than the model
    /// says of them together. That errs towards fewer lossy links.
    ///
    /// Loss up to [`CostPolicy::TOLERATED_LOSS`] is not counted.
    #[default]
    Interactive,
    /// How long a megabyte takes, by the throughput that loss allows.
    Bulk,
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A cost in microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A cost in milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// In whole microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// What is left of `self` above `other`; nothing if that is not less.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Measure {
    /// A longer round trip counts as this.
    pub const MAX_RTT: Duration = Duration::from_secs(10);

    fn rtt_micros(self) -> u64 {
        self.rtt.min(Self::MAX_RTT).as_micros() as u64
    }
}

impl Loss {
    /// Everything arrives.
    pub const NONE: Self = Self(0);

    /// Lost packets in a million; more than a million count as a million.
    pub const fn from_ppm(ppm: u32) -> Self {
        Self(if ppm > MILLION { MILLION } else { ppm })
    }

    /// Lost packets in a million.
    pub const fn as_ppm(self) -> u32 {
        self.0
    }
}

impl Load {
    /// Nothing to do.
    pub const IDLE: Self = Self(0);

    /// Thousandths of what a node can do, 1,000 being all of it. More is allowed.
    pub const fn from_permille(permille: u16) -> Self {
        Self(permille)
    }

    /// Thousandths of what a node can do.
    pub const fn as_permille(self) -> u16 {
        self.0
    }
}

impl CostParts {
    /// All of it.
    pub fn total(&self) -> Cost {
        self.delay + self.loss + self.load
    }
}

impl CostPolicy {
    /// Loss of which an interactive flow takes no notice: 2 %.
    ///
    /// The E-model knows nothing of it. A packet lost here and there is asked for again on the same
    /// link, and 1 % of random loss must move no flow: over 2,500 packets that measures as 1 % with
    /// a standard deviation of 0.2 %, so that 2 % is five of those away.
    pub const TOLERATED_LOSS: Loss = Loss::from_ppm(20_000);

    /// The cost of a link that nothing is known about: more than any link on Earth that works well,
    /// less than having none.
    pub const UNMEASURED: Cost = Cost::from_millis(1_000);

    /// What one direction of a link costs; `None` where it is not measured yet.
    pub fn link(self, measure: Option<Measure>) -> CostParts {
        let Some(measure) = measure else {
            return CostParts {
                delay: Self::UNMEASURED,
                ..CostParts::default()
            };
        };
        CostParts {
            delay: Cost(measure.rtt_micros()),
            loss: match self {
                Self::DelayOnly => Cost::ZERO,
                Self::Interactive => emodel::loss_cost(measure.loss, Self::TOLERATED_LOSS),
                Self::Bulk => mathis::transfer_cost(measure.rtt_micros(), measure.loss),
            },
            load: Cost::ZERO,
        }
    }

    /// What it costs to pass through a node with this load.
    ///
    /// A queue that is served at random keeps a packet waiting for `load / (1 - load)` service
    /// times. With a millisecond for each of the two ways, a node at half its limit costs 2 ms, and
    /// only one beyond five sixths of it costs the 10 ms that by themselves move a flow. That is
    /// deliberate: routes that follow load too eagerly swing between two nodes.
    ///
    /// Sources: the wait in an M/M/1 queue (Kleinrock, "Queueing Systems" volume 1, 1975); Khanna
    /// and Zinky, "The revised ARPANET routing metric", SIGCOMM 1989, for the swinging.
    pub fn transit(self, load: Load) -> Cost {
        match self {
            Self::DelayOnly => Cost::ZERO,
            Self::Interactive | Self::Bulk => {
                let load = u64::from(load.0.min(FULL_LOAD));
                Cost(QUEUE_MICROS * load / (1_000 - load))
            }
        }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

impl AddAssign for CostParts {
    fn add_assign(&mut self, other: Self) {
        self.delay += other.delay;
        self.loss += other.loss;
        self.load += other.load;
    }
}

impl fmt::Display for Cost {
    /// In milliseconds, with one digit after the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 + 50) / 100;
        write!(f, "{}.{} ms", tenths / 10, tenths % 10)
    }
}

const MILLION: u32 = 1_000_000;
/// A service time of 1 ms on the way there and one on the way back.
const QUEUE_MICROS: u64 = 2_000;
/// More load than 99 % costs no more than that, 198 ms: a node that is swamped is still a way.
const FULL_LOAD: u16 = 990;

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(rtt_ms: u64, loss_ppm: u32) -> Option<Measure> {
        Some(Measure {
            rtt: Duration::from_millis(rtt_ms),
            loss: Loss::from_ppm(loss_ppm),
        })
    }

    #[test]
    fn delay_alone_is_its_own_cost_under_every_policy() {
        for policy in [
            CostPolicy::DelayOnly,
            CostPolicy::Interactive,
            CostPolicy::Bulk,
        ] {
            let cost = policy.link(measure(80, 0)).total();
            assert_eq!(cost, Cost::from_millis(80), "{policy:?}");
        }
    }

    #[test]
    fn loss_counts_for_nothing_under_the_delay_only_policy() {
        let cost = CostPolicy::DelayOnly.link(measure(80, 500_000)).total();
        assert_eq!(cost, Cost::from_millis(80));
    }

    #[test]
    fn interactive_flows_take_no_notice_of_two_percent_of_loss_and_do_of_more() {
        let at = |ppm| CostPolicy::Interactive.link(measure(80, ppm)).loss;
        assert_eq!(at(20_000), Cost::ZERO);
        assert!(at(20_100) > Cost::ZERO);
        // A fifth lost is worth more than any way around the world.
        assert!(at(200_000) > Cost::from_millis(400));
    }

    #[test]
    fn link_that_is_not_measured_costs_more_than_a_slow_lossy_one_and_less_than_absurdity() {
        for policy in [
            CostPolicy::DelayOnly,
            CostPolicy::Interactive,
            CostPolicy::Bulk,
        ] {
            let new = policy.link(None).total();
            assert!(new > policy.link(measure(375, 0)).total());
            assert!(new < policy.link(measure(100_000, 1_000_000)).total());
        }
        let new = CostPolicy::Interactive.link(None).total();
        assert!(new > CostPolicy::Interactive.link(measure(300, 100_000)).total());
    }

    #[test]
    fn absurd_measures_cost_as_much_as_the_worst_sensible_one() {
        let worst = CostPolicy::Bulk.link(measure(10_000, 1_000_000)).total();
        let absurd = Measure {
            rtt: Duration::MAX,
            loss: Loss::from_ppm(u32::MAX),
        };
        assert_eq!(CostPolicy::Bulk.link(Some(absurd)).total(), worst);
    }

    #[test]
    fn passing_through_a_node_costs_two_milliseconds_at_half_load_and_is_bounded() {
        let at = |permille| CostPolicy::Interactive.transit(Load::from_permille(permille));
        assert_eq!(at(0), Cost::ZERO);
        assert_eq!(at(500), Cost::from_millis(2));
        assert!(at(833) < Cost::from_millis(10) && at(834) > Cost::from_millis(10));
        assert_eq!(at(u16::MAX), Cost::from_millis(198));
    }

    #[test]
    fn cost_is_shown_in_milliseconds_rounded_to_a_tenth() {
        assert_eq!(Cost::from_micros(82_969).to_string(), "83.0 ms");
        assert_eq!(Cost::from_micros(49).to_string(), "0.0 ms");
        assert_eq!(Cost::from_micros(50).to_string(), "0.1 ms");
    }
}
