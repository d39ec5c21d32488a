//! The figure with real processes on loopback: the node under test beside a thousand black holes, the
//! same beside none, and one process with all healthy peers.
//!
//! Both nodes run all the time, and so does the dialing of black holes; the requests take turns.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{
    NAME,
    load::{Sample, p99_ms},
    processes::{Extent, Plan},
};
use crate::figures::{
    Context,
    process::OwnProcess,
    role,
    rounds::Rounds,
    row::{Budget, Row},
    timer,
};

/// What the figure is made with: 80 requests a second.
const FULL: Extent = Extent {
    linked: 40,
    group: 4,
    groups: 40,
    holes: 1_000,
    turns: 30,
};

/// Healthy requests beside black holes, in alternating rounds.
///
/// # Errors
/// A process could not be run.
pub fn black_holes(context: &Context) -> anyhow::Result<Vec<Row>> {
    context.say("starting the processes, and waiting until every black hole has failed");
    let directory = context.directory.join(NAME);
    fs::create_dir_all(&directory)?;
    // Bound, so that nothing tells the dialer that nobody is there, and never read.
    let hole = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    Plan::new(FULL, hole.local_addr()?)?.write(&directory)?;
    let mut peers = Process::start("contention-peers", &directory, None)?;
    peers.process.line()?;
    let mut with = Process::start("contention-node", &directory, Some("with"))?;
    let mut without = Process::start("contention-node", &directory, Some("without"))?;
    with.process.line()?;
    without.process.line()?;

    let (mut first, mut all) = (Rounds::default(), Rounds::default());
    let mut unanswered = 0;
    let mut late = timer::lateness();
    for round in 0..context.rounds {
        context.say(&format!(
            "{} black holes, real, round {} of {}",
            FULL.holes,
            round + 1,
            context.rounds
        ));
        let (with, without) = if round % 2 == 0 {
            let with = with.measure()?;
            (with, without.measure()?)
        } else {
            let without = without.measure()?;
            (with.measure()?, without)
        };
        first.push(with.first_ms, without.first_ms);
        all.push(with.all_ms, without.all_ms);
        unanswered += with.unanswered + without.unanswered;
    }
    late = late.max(timer::lateness());
    let holes = FULL.holes;
    let compared = [("first connects", &first), ("all", &all)].map(|(which, rounds)| {
        let case = format!("p99 of {which}, real, beside {holes} black holes");
        let row = Row::compared(NAME, case, "ms", rounds, Some(Budget::AtMost(1.1)));
        if late > LATE { row.unsure() } else { row }
    });
    let failed = Row::stated(
        NAME,
        "healthy requests without an answer, real, all rounds",
        "requests",
        unanswered as f64,
    );
    Ok(compared
        .into_iter()
        .chain([failed.promised(Budget::AtMost(0.0))])
        .collect())
}

/// A process of the figure.
struct Process {
    process: OwnProcess,
    socket: PathBuf,
}

impl Process {
    fn start(role: &str, directory: &Path, name: Option<&str>) -> anyhow::Result<Self> {
        let path = directory.to_str().context("a path that is no text")?;
        let arguments = [role::COMMAND, role, path].into_iter().chain(name);
        Ok(Self {
            process: OwnProcess::start(arguments)?,
            socket: socket(directory, name.unwrap_or_default()),
        })
    }

    /// Has the node asked for its peers, and waits for what came of it.
    fn measure(&self) -> anyhow::Result<Measured> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ROUND_WITHIN))?;
        stream.write_all(b"\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        serde_json::from_str(&line).context("a node did not measure its round")
    }
}

/// What a node tells of a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The p99 of requests that joined a first dial.
    pub first_ms: f64,
    /// The p99 of all.
    pub all_ms: f64,
    /// Requests without an answer.
    pub unanswered: usize,
}

impl Measured {
    /// What `samples` come to.
    pub fn of(samples: &[Sample]) -> Self {
        Self {
            first_ms: p99_ms(samples.iter().filter(|sample| sample.first)),
            all_ms: p99_ms(samples),
            unanswered: samples.iter().filter(|sample| !sample.answered).count(),
        }
    }
}

/// Where the node `name` takes orders.
pub fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// Three seconds of requests, and the longest that one of them can wait.
const ROUND_WITHIN: Duration = Duration::from_secs(30);
/// Tokio's own timers are this coarse; with more, a p99 of some milliseconds says nothing.
const LATE: Duration = Duration::from_millis(1);
