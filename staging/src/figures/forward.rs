//! What carrying a packet costs: client, node, node, client, over loopback.
//!
//! Beside it the same two hops with bare quinn, and with plain UDP: see
//! [`quinn_forwarder`](super::comparators::quinn_forwarder) and
//! [`udp_forwarder`](super::comparators::udp_forwarder). All of them have to share this machine's
//! processors with the client, which sends packet by packet, as real programs do, and several of
//! them at once where a timer was late. What the client alone needs is measured without any hop and
//! subtracted.

mod client;
mod ladder;
mod ways;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use self::{
    client::{Heard, Load},
    ways::Way,
};
use super::{Context, process::own_program, rounds::Rounds, row::Row};

/// What the figure is called.
pub const NAME: &str = "forward";

/// How the figure is measured.
#[derive(Debug, Clone)]
pub struct Setting {
    /// This program.
    pub program: PathBuf,
    /// Bytes of a packet.
    pub sizes: Vec<usize>,
    /// Packets a second.
    pub rates: Vec<u32>,
    /// Packets a second among which the highest without loss is looked for, in rising order.
    pub ladder: Vec<u32>,
    /// How long is sent before anything is measured.
    pub warm_up: Duration,
    /// How long is measured.
    pub window: Duration,
}

impl Setting {
    fn new() -> anyhow::Result<Self> {
        // Steps of a fifth: finer ones are lost in what else the machine does.
        let rung = |step| (10_000.0 * 1.2_f64.powi(step)) as u32;
        Ok(Self {
            program: own_program()?,
            sizes: vec![200, 1_100],
            rates: vec![10_000, 50_000],
            ladder: (0..=24).map(rung).collect(),
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(500),
        })
    }
}

/// Measures the figure: stated as it is, for its budget is promised for what is yet to come.
///
/// # Errors
/// A process could not be started, or ended.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    compare(context, &Setting::new()?)
}

/// As [`measure`], in another setting.
///
/// # Errors
/// As [`measure`].
pub fn compare(context: &mut Context, setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let directory = context.directory.join(NAME);
    std::fs::create_dir(&directory)?;
    ways::make_certificates(&directory)?;
    let mut ground = Ground {
        ways: [
            Way::ours(&setting.program, &directory).context("two nodes")?,
            Way::quinn(&setting.program, &directory).context("bare quinn")?,
            Way::udp(&setting.program).context("plain UDP")?,
        ],
        direct: Way::direct()?,
    };
    let mut rows = Vec::new();
    for &bytes in &setting.sizes {
        for &rate in &setting.rates {
            let load = load(setting, rate, bytes);
            let case = format!("{bytes} B at {rate}/s");
            let rounds = in_rounds(context, &case, |side, _| {
                let alone = ground.direct.carry(load)?;
                Ok(Point::new(ground.ways[side].carry(load)?, alone))
            })?;
            rows.extend(rounds.rows(&case, &[CPU, P50, P99]));
            rows.extend(rounds.lost(&case));
        }
        let case = format!("{bytes} B at the highest rate without loss");
        let mut found = [None; SIDES];
        let rounds = in_rounds(context, &case, |side, _| {
            let (point, rung) = ground.highest(setting, bytes, side, found[side])?;
            found[side] = rung;
            Ok(point)
        })?;
        rows.extend(rounds.rows(&case, &[RATE, CPU, P50, P99]));
        let (alone, _) = ladder_top(&mut ground.direct, setting, bytes, None)?;
        let alone = alone.map_or(0.0, |heard| heard.rate);
        let case = format!("{bytes} B, highest rate without loss and without any hop");
        rows.push(Row::stated(NAME, case, "packets/s", alone));
    }
    Ok(rows)
}

/// The ways that are compared, ours first, and the client without any.
struct Ground {
    ways: [Way; SIDES],
    direct: Way,
}

impl Ground {
    /// The highest rate of a side, what it was like there, and its rung.
    fn highest(
        &mut self,
        setting: &Setting,
        bytes: usize,
        side: usize,
        near: Option<usize>,
    ) -> anyhow::Result<(Point, Option<usize>)> {
        let (best, rung) = ladder_top(&mut self.ways[side], setting, bytes, near)?;
        let Some((best, rung)) = best.zip(rung) else {
            return Ok((Point::NOTHING, None));
        };
        let alone = self
            .direct
            .carry(load(setting, setting.ladder[rung], bytes))?;
        Ok((Point::new(best, alone), Some(rung)))
    }
}

/// What the highest rung that holds was like, and which it is.
fn ladder_top(
    way: &mut Way,
    setting: &Setting,
    bytes: usize,
    near: Option<usize>,
) -> anyhow::Result<(Option<Heard>, Option<usize>)> {
    let mut best: Option<(usize, Heard)> = None;
    let rung = ladder::highest(setting.ladder.len(), near, |rung| {
        let heard = way.carry(load(setting, setting.ladder[rung], bytes))?;
        // A rate that this machine could not even send was not carried.
        let offered = heard.rate >= 0.95 * f64::from(setting.ladder[rung]);
        let holds = offered && heard.received == heard.sent;
        if holds && best.is_none_or(|(before, _)| before < rung) {
            best = Some((rung, heard));
        }
        anyhow::Ok(holds)
    })?;
    Ok((best.map(|(_, heard)| heard), rung))
}

fn load(setting: &Setting, rate: u32, bytes: usize) -> Load {
    Load {
        rate,
        bytes,
        warm_up: setting.warm_up,
        window: setting.window,
    }
}

/// What one side was like in one case of one round.
#[derive(Debug, Clone, Copy)]
struct Point {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    /// The same without any hop.
    alone_p50_us: f64,
    alone_p99_us: f64,
    lost_percent: f64,
    rate: f64,
}

impl Point {
    /// It carries not even the lowest rate.
    const NOTHING: Self = Self {
        cpu_us: f64::NAN,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        alone_p50_us: f64::NAN,
        alone_p99_us: f64::NAN,
        lost_percent: 100.0,
        rate: 0.0,
    };

    fn new(heard: Heard, alone: Heard) -> Self {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            cpu_us: micros(heard.used) / heard.received as f64,
            p50_us: micros(heard.p50),
            p99_us: micros(heard.p99),
            alone_p50_us: micros(alone.p50),
            alone_p99_us: micros(alone.p99),
            lost_percent: 100.0 * (heard.sent - heard.received) as f64 / heard.sent as f64,
            rate: heard.rate,
        }
    }
}

/// Measures each side in each round, in an order that changes from round to round.
fn in_rounds(
    context: &Context,
    case: &str,
    mut point: impl FnMut(usize, u32) -> anyhow::Result<Point>,
) -> anyhow::Result<Measured> {
    let mut measured = Measured(Vec::new());
    for round in 0..context.rounds {
        context.say(&format!(
            "{case}, round {} of {}",
            round + 1,
            context.rounds
        ));
        let mut points = [Point::NOTHING; SIDES];
        for turn in 0..SIDES {
            let side = (turn + round as usize) % SIDES;
            points[side] = point(side, round)?;
        }
        measured.0.push(points);
    }
    Ok(measured)
}

/// All rounds of one case.
struct Measured(Vec<[Point; SIDES]>);

impl Measured {
    fn rows(&self, case: &str, columns: &[Column]) -> Vec<Row> {
        let row = |column: &Column, theirs: usize| {
            let mut rounds = Rounds::default();
            let alone = [0, theirs].map(|side| self.alone(column, side));
            for points in &self.0 {
                let value = |at: usize, side: usize| match alone[at] {
                    Some(alone) => ((column.value)(&points[side]) - alone).max(LEAST_ADDED_US),
                    None => (column.value)(&points[side]),
                };
                rounds.push(value(0, 0), value(1, theirs));
            }
            let case = format!("{}, {case}, against {}", column.what, NAMES[theirs]);
            Row::compared(NAME, case, column.unit, &rounds, None)
        };
        let rows = columns.iter().flat_map(|column| {
            let against = 1..SIDES;
            against.map(move |theirs| row(column, theirs))
        });
        rows.collect()
    }

    /// What of a column is there without any hop: the median of all rounds, for what is subtracted
    /// from each must not be noise of its own.
    fn alone(&self, column: &Column, side: usize) -> Option<f64> {
        let alone = column.alone?;
        let mut rounds = Rounds::default();
        for points in &self.0 {
            rounds.push(alone(&points[side]), 1.0);
        }
        Some(rounds.ours())
    }

    /// What was lost, for whoever reads the other rows. A rate that a side does not carry is one
    /// whose costs say little.
    fn lost(&self, case: &str) -> impl Iterator<Item = Row> {
        let worst = |side: usize| {
            let lost = self.0.iter().map(|points| points[side].lost_percent);
            lost.fold(0.0, f64::max)
        };
        (1..SIDES).map(move |theirs| {
            let case = format!("most lost in a round, {case}, against {}", NAMES[theirs]);
            Row::stated(NAME, case, "%", worst(0)).beside(worst(theirs))
        })
    }
}

/// Something that rows tell of points.
#[derive(Clone, Copy)]
struct Column {
    what: &'static str,
    unit: &'static str,
    value: fn(&Point) -> f64,
    /// What of it is subtracted.
    alone: Option<fn(&Point) -> f64>,
}

const CPU: Column = Column {
    what: "CPU per packet",
    unit: "us",
    value: |point| point.cpu_us,
    alone: None,
};
const P50: Column = Column {
    what: "added p50",
    unit: "us",
    value: |point| point.p50_us,
    alone: Some(|point| point.alone_p50_us),
};
const P99: Column = Column {
    what: "added p99",
    unit: "us",
    value: |point| point.p99_us,
    alone: Some(|point| point.alone_p99_us),
};
const RATE: Column = Column {
    what: "rate",
    unit: "packets/s",
    value: |point| point.rate,
    alone: None,
};

/// Less than this is not told apart from none, on the quietest of machines.
const LEAST_ADDED_US: f64 = 1.0;
const SIDES: usize = 3;
const NAMES: [&str; SIDES] = ["ours", "bare quinn", "plain UDP"];
