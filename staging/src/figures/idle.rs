//! What a link costs that nothing uses: memory and CPU of the node, beside bare quinn.
//!
//! Each round starts a fresh node and a fresh comparator, one after the other, so that neither
//! disturbs the other's window. The peers are one process with a light responder for each link, the
//! same for both sides: they dial, say Hello and answer probes, and cannot tell whom they have
//! dialed. The comparator probes as often as the node does, as datagrams and on the control stream
//! in turn; the peers count what they answered, and where the counts differ nothing is judged.
//!
//! A process is measured at a few links, then at more, then at all of them: what a link costs is the
//! difference, so that what a process costs at all is in neither side's figure.
//!
//! Each side is one thread. Where bare quinn alone needs most of a core, nothing is compared: a node
//! that has no time left probes late, asks again, and in the end loses links.

pub mod ground;
pub mod node;
pub mod peers;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use causeway::clock;

use self::peers::Seen;
use super::{
    Context,
    process::{OwnProcess, Usage},
    role::COMMAND,
    rounds::Rounds,
    row::{Budget, Row},
};

/// How the rows are called.
pub const NAME: &str = "idle";

/// Measures the figure.
///
/// # Errors
/// A process ended, or links were lost.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    let program = std::env::current_exe().context("this program does not know its own file")?;
    compare(
        context,
        &Setting {
            program,
            few: 100,
            counts: vec![1_000, 5_000],
            most_cores: MOST_CORES,
            settle: Duration::from_millis(6_000),
            window: Duration::from_millis(4_000),
            theirs: Vec::new(),
        },
    )
}

/// How the figure is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The command `staging`.
    pub program: PathBuf,
    /// How many links there are before any is measured.
    pub few: u32,
    /// At how many links it is measured, ascending.
    pub counts: Vec<u32>,
    /// How much of its core the comparator may need at a count for the node to be measured there.
    pub most_cores: f64,
    /// From the last link to the window: path discovery is over by then, and what nodes tell each
    /// other of those who came.
    pub settle: Duration,
    /// How long usage is measured.
    pub window: Duration,
    /// More arguments for the comparator, with which tests make it another.
    pub theirs: Vec<String>,
}

/// Measures the node and the comparator in alternating rounds.
///
/// # Errors
/// A process ended, or links were lost.
pub fn compare(context: &mut Context, setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut measured = setting.clone();
    let mut too_many = Vec::new();
    for links in &setting.counts {
        context.say(&format!("Quinn alone, {links} links"));
        let cores = cores_of_quinn(context, setting, *links)?;
        if cores > setting.most_cores {
            measured.counts.retain(|measured| measured != links);
            too_many.push(busy(*links, cores, setting.most_cores));
        }
    }
    let mut rows = match measured.counts.is_empty() {
        true => Vec::new(),
        false => rounds(context, &measured)?,
    };
    rows.extend(too_many);
    Ok(rows)
}

/// How much of its core the comparator needs for so many links.
fn cores_of_quinn(context: &Context, setting: &Setting, links: u32) -> anyhow::Result<f64> {
    let alone = Setting {
        counts: vec![links],
        ..setting.clone()
    };
    let costs = cost(&context.directory, &alone, Side::Quinn)?;
    let [cost] = &costs[..] else {
        unreachable!("one count was measured");
    };
    Ok(cost.micros * f64::from(links) / 1e6)
}

/// The row of a count at which nothing was compared.
fn busy(links: u32, cores: f64, most: f64) -> Row {
    let case = format!("bare quinn alone needs of its core, at {links}: not compared");
    Row::stated(NAME, case, "cores", cores)
        .promised(Budget::AtMost(most))
        .unsure()
}

fn rounds(context: &mut Context, setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut counts: Vec<Compared> = setting.counts.iter().map(|_| Compared::default()).collect();
    for round in 0..context.rounds {
        let mut sides = [Side::Node, Side::Quinn];
        if round % 2 == 1 {
            sides.reverse();
        }
        let mut measured = Vec::new();
        for side in sides {
            let of = format!("{side:?}, round {} of {}", round + 1, context.rounds);
            context.say(&of);
            let costs = cost(
                &context.directory.join(format!("idle-{round}")),
                setting,
                side,
            );
            measured.push((side, costs.with_context(|| of)?));
        }
        measured.sort_by_key(|(side, _)| *side);
        let [(_, ours), (_, theirs)] = &measured[..] else {
            unreachable!("two sides were measured");
        };
        for ((compared, ours), theirs) in counts.iter_mut().zip(ours).zip(theirs) {
            compared.push(ours, theirs);
        }
    }
    let rows = setting.counts.iter().zip(&counts);
    Ok(rows
        .flat_map(|(links, compared)| compared.rows(*links))
        .collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Node,
    Quinn,
}

/// What one link cost one side.
#[derive(Debug, Clone, Copy)]
struct Cost {
    kilobytes: f64,
    /// On a processor, in each second.
    micros: f64,
    probes_per_s: f64,
}

/// Both sides at one number of links.
#[derive(Debug, Default)]
struct Compared {
    memory: Rounds,
    cpu: Rounds,
    probes: Rounds,
}

impl Compared {
    fn push(&mut self, ours: &Cost, theirs: &Cost) {
        self.memory.push(ours.kilobytes, theirs.kilobytes);
        self.cpu.push(ours.micros, theirs.micros);
        self.probes.push(ours.probes_per_s, theirs.probes_per_s);
    }

    fn rows(&self, links: u32) -> [Row; 2] {
        let probes = self.probes.ours();
        let memory = Row::compared(
            NAME,
            format!("memory of a link, at {links}"),
            "kB",
            &self.memory,
            Some(Budget::AtMost(1.5)),
        );
        let cpu = Row::compared(
            NAME,
            format!("CPU of a link, at {links}, {probes:.2} probes/s"),
            "us/s",
            &self.cpu,
            Some(Budget::AtMost(1.2)),
        );
        // A node that was too busy to probe in time did less than what is claimed.
        match (self.probes.ratio() - 1.0).abs() <= SAME_RATE {
            true => [memory, cpu],
            false => [memory, cpu.unsure()],
        }
    }
}

/// Measures one side, in processes of its own.
fn cost(directory: &Path, setting: &Setting, side: Side) -> anyhow::Result<Vec<Cost>> {
    let most = setting.counts.iter().max().copied().unwrap_or_default();
    let links = ["--links".to_owned(), most.to_string()];
    let mut arguments = vec![COMMAND.to_owned()];
    match side {
        Side::Node => {
            let state = directory.display().to_string();
            arguments.extend(["idle-node".to_owned(), "--state".to_owned(), state]);
            arguments.extend(links);
        }
        Side::Quinn => {
            arguments.push("idle-quinn".to_owned());
            arguments.extend(links);
            arguments.extend(setting.theirs.iter().cloned());
        }
    }
    let mut server = OwnProcess::start_program(&setting.program, arguments)?;
    let address = server.line()?;
    let stages: Vec<u32> = [setting.few]
        .into_iter()
        .chain(setting.counts.iter().copied())
        .collect();
    let listed: Vec<String> = stages.iter().map(u32::to_string).collect();
    let mut peers = OwnProcess::start_program(
        &setting.program,
        [
            COMMAND,
            "idle-peers",
            "--to",
            &address,
            "--stages",
            &listed.join(","),
            "--settle-ms",
            &setting.settle.as_millis().to_string(),
            "--window-ms",
            &setting.window.as_millis().to_string(),
        ],
    )?;
    let windows: anyhow::Result<Vec<Window>> = stages
        .iter()
        .map(|links| Window::watch(*links, &server, &mut peers, side))
        .collect();
    let windows = windows?;
    let (few, more) = windows.split_first().context("no stage")?;
    Ok(more.iter().map(|window| window.cost_beyond(few)).collect())
}

/// One number of links, watched for a while.
#[derive(Debug)]
struct Window {
    links: u32,
    used: Duration,
    lasted: Duration,
    resident_bytes: u64,
    seen: Seen,
}

impl Window {
    fn watch(
        links: u32,
        server: &OwnProcess,
        peers: &mut OwnProcess,
        side: Side,
    ) -> anyhow::Result<Self> {
        let line = peers.line()?;
        ensure!(line == peers::BEGIN, "the peers said {line:?}");
        let (began, before) = sample(server)?;
        let seen: Seen = serde_json::from_str(&peers.line()?)?;
        let (ended, after) = sample(server)?;
        let promoted = match side {
            Side::Node => links,
            Side::Quinn => 0,
        };
        ensure!(
            (seen.links, seen.promoted) == (links.into(), promoted.into()),
            "of {links} links {} are open and {} were promoted",
            seen.links,
            seen.promoted
        );
        Ok(Self {
            links,
            used: after.cpu - before.cpu,
            lasted: ended - began,
            resident_bytes: after.resident_bytes,
            seen,
        })
    }

    fn cost_beyond(&self, few: &Self) -> Cost {
        let links = f64::from(self.links);
        let bytes = self.resident_bytes as f64 - few.resident_bytes as f64;
        Cost {
            kilobytes: bytes / 1e3 / f64::from(self.links - few.links),
            micros: self.used.as_secs_f64() * 1e6 / links / self.lasted.as_secs_f64(),
            probes_per_s: self.seen.probes_per_link_and_second(),
        }
    }
}

fn sample(server: &OwnProcess) -> anyhow::Result<(Instant, Usage)> {
    Ok((clock::now(), server.usage()?))
}

/// The node may take 1.2 times as much, and shakes hands besides.
const MOST_CORES: f64 = 0.7;

/// Two sides that probe at rates within this of each other probe at the same.
const SAME_RATE: f64 = 0.02;
