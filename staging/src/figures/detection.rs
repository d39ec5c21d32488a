//! `detection`: how long a peer that no longer works is taken for one that does.
//!
//! From the moment at which something is done to a peer to the moment at which its keeper has
//! published that its link is not to be used, which is what every request sees. Each case is
//! measured with peers that are struck at moments spread over two intervals of probes, so that
//! both loops are met at every point of their turn. On virtual time the values are exact but for
//! the millisecond of tokio's timers; real ones are read in the observing node's own process, which
//! adds how late that is woken.

mod forwarder;
mod real;
mod responder;
mod simulated;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use causeway::{
    clock,
    links::{Peer, PeerState},
};

use self::responder::Wedge;
use super::{
    Context,
    process::own_program,
    row::{Budget, Row},
    timer,
};

/// How the rows are called.
pub const NAME: &str = "detection";

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This program, whichever program measures.
    pub program: PathBuf,
    /// How many peers are struck in each simulated case.
    pub simulated: u32,
    /// The simulated round trips.
    pub round_trips: Vec<Duration>,
    /// How many peers are struck in each real case; with 0 there is none.
    pub real: u32,
    /// How long links are up before: round trips vary in a node's estimate until some fifteen
    /// replies have come in each loop.
    pub settle: Duration,
}

/// Measures as the table promises.
///
/// # Errors
/// A process could not be started, links were not made, or a peer is never known down.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    let plan = Plan {
        program: own_program()?,
        simulated: 100,
        round_trips: [1, 70, 220].map(Duration::from_millis).into(),
        real: 20,
        settle: Duration::from_secs(10),
    };
    measure_plan(context, &plan)
}

/// Measures as much as `plan` says.
///
/// # Errors
/// As [`measure`].
pub fn measure_plan(context: &mut Context, plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for profile in [Profile::Default, Profile::Fast] {
        for rtt in &plan.round_trips {
            for (case, faults) in profile.cases() {
                let case = format!("{}, RTT {} ms, {case}", profile.word(), rtt.as_millis());
                context.say(&case);
                let mut times = Vec::new();
                for fault in *faults {
                    times.extend(simulated::measure(plan, profile, *rtt, *fault)?);
                }
                let bound = profile.bound(faults[0]) + *rtt;
                rows.extend(told(&case, times, bound));
            }
        }
    }
    for (case, fault) in REAL_CASES {
        if plan.real == 0 {
            break;
        }
        let case = format!("real, default, {case}");
        context.say(&case);
        let real = real::measure(context, plan, fault)?;
        let bound = Profile::Default.bound(fault) + real.rtt;
        let late = timer::lateness();
        rows.extend(told(&case, real.times, bound).map(|row| match late > LATE {
            true => row.unsure(),
            false => row,
        }));
    }
    Ok(rows)
}

/// What is done to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Its process no longer runs.
    Frozen,
    /// Nothing crosses between the two, either way.
    BlackHole,
    /// Nothing reaches the peer.
    Forward,
    /// Nothing of the peer's arrives.
    Back,
    /// One of its loops no longer answers.
    Wedged(Wedge),
}

/// How fast silence is noticed, as the configuration has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    Default,
    Fast,
}

impl Profile {
    fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fast => "fast",
        }
    }

    fn cases(self) -> Cases {
        match self {
            Self::Default => CASES,
            Self::Fast => CASES_IN_SHORT,
        }
    }

    /// The longest time between two probes.
    fn interval(self) -> Duration {
        Duration::from_millis(match self {
            Self::Default => 200,
            Self::Fast => 48,
        })
    }

    /// What is promised, besides the round trip.
    fn bound(self, fault: Fault) -> Duration {
        let one_loop = matches!(fault, Fault::Wedged(_));
        Duration::from_millis(match (self, one_loop) {
            (Self::Default, false) => 900,
            (Self::Default, true) => 1_500,
            (Self::Fast, false) => 300,
            (Self::Fast, true) => 500,
        })
    }

    /// When peer `index` of `count` is struck, after the first: both loops have one turn in all.
    fn moment(self, index: u32, count: u32) -> Duration {
        self.interval() * 2 * index / count
    }
}

/// Waits until `at`, strikes the peer, and waits until no request is given its link.
async fn time_to_down(
    peer: &Peer,
    at: Instant,
    strike: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    clock::sleep_until(Some(at)).await;
    ensure!(
        peer.usable().is_some(),
        "down before it was struck: {}",
        peer.id
    );
    let from = clock::now();
    strike()?;
    let gone = |state: &PeerState| match &state.link {
        Some(link) if link.is_usable() => None,
        _ => Some(clock::now()),
    };
    let down = peer.slot.wait_until(gone, from + PATIENCE).await;
    Ok(down.with_context(|| format!("not known down: {}", peer.id))? - from)
}

/// The median and the worst, which must be within the bound.
fn told(case: &str, mut times: Vec<Duration>, bound: Duration) -> [Row; 2] {
    times.sort();
    let row = |what: &str, time: Duration| {
        let case = format!("{case}, {what} of {}", times.len());
        Row::stated(NAME, case, "s", time.as_secs_f64())
    };
    let worst = times.last().copied().unwrap_or(Duration::MAX);
    [
        row("median", times[times.len() / 2]),
        row("worst", worst).promised(Budget::AtMost(bound.as_secs_f64())),
    ]
}

/// What is simulated; the faults of a case have one bound.
type Cases = &'static [(&'static str, &'static [Fault])];
const CASES: Cases = &[
    ("peer frozen", &[Fault::Frozen]),
    ("path black-holed", &[Fault::BlackHole]),
    ("one direction black-holed", &[Fault::Forward, Fault::Back]),
    ("request loop wedged", &[Fault::Wedged(Wedge::Requests)]),
    ("packet loop wedged", &[Fault::Wedged(Wedge::Packets)]),
];
const CASES_IN_SHORT: Cases = &[
    (
        "peer silent or unheard",
        &[Fault::Frozen, Fault::BlackHole, Fault::Forward, Fault::Back],
    ),
    (
        "one loop wedged",
        &[
            Fault::Wedged(Wedge::Requests),
            Fault::Wedged(Wedge::Packets),
        ],
    ),
];
const REAL_CASES: [(&str, Fault); 3] = [
    ("process stopped", Fault::Frozen),
    ("path black-holed", Fault::BlackHole),
    ("request loop wedged", Fault::Wedged(Wedge::Requests)),
];
/// Timers that are later than this make a real time that of the machine.
const LATE: Duration = Duration::from_millis(5);
/// By when the peer is known down, or never will be.
const PATIENCE: Duration = Duration::from_secs(10);
