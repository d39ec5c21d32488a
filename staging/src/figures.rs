//! `cargo figures`: measures what Causeway claims, beside what it is compared with.
//!
//! Each figure is a module with a function that measures it and returns [`row::Row`]s. What is
//! compared is measured in alternating [`rounds`] of one run, for this machine's speed drifts and
//! the ratio does not. The comparators live beside the figures: small, honest, built the same way.

pub mod closing;
pub mod comparators;
pub mod contention;
pub mod detection;
pub mod endpoint;
pub mod failover;
pub mod forward;
pub mod idle;
pub mod process;
pub mod role;
pub mod rounds;
pub mod row;
pub mod table;
pub mod timer;

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Instant,
};

use anyhow::Context as _;
use causeway::clock;
use clap::{Args, ValueEnum};
use tempfile::TempDir;

use self::row::{Row, Verdict};
use crate::{screen, signals::Signals};

/// What can be asked of the figures.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Measures these alone.
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    pub only: Vec<Figure>,
    /// How many rounds of each comparison; with fewer than 10 no ratio is judged.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Where to write the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What is asked of `failover`.
    #[command(flatten)]
    pub failover: failover::FailoverOptions,
}

/// The figures, in the order in which they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Figure {
    /// Requests to healthy peers beside a thousand that are not.
    Contention,
    /// A pool whose peers fall silent before they acknowledge the ends of streams.
    Closing,
    /// How long a peer that no longer works is taken for one that does.
    Detection,
    /// What flows meet when something between them fails, and heals.
    Failover,
    /// Memory and CPU of links that nothing uses.
    Idle,
    /// What carrying a packet through two nodes costs.
    Forward,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Contention => contention::NAME,
            Self::Closing => closing::NAME,
            Self::Detection => detection::NAME,
            Self::Failover => failover::NAME,
            Self::Idle => idle::NAME,
            Self::Forward => forward::NAME,
        }
    }

    fn measure(self, context: &mut Context) -> anyhow::Result<Vec<Row>> {
        match self {
            Self::Contention => contention::measure(context),
            Self::Closing => closing::measure(context),
            Self::Detection => detection::measure(context),
            Self::Failover => failover::measure(context),
            Self::Idle => idle::measure(context),
            Self::Forward => forward::measure(context),
        }
    }
}

/// What a figure is measured with.
#[derive(Debug)]
pub struct Context {
    /// How many rounds of each comparison, at least 1.
    pub rounds: u32,
    /// For files of this run; it is removed at the end, however that comes.
    pub directory: PathBuf,
    /// What is asked of `failover`.
    pub failover: failover::FailoverOptions,
    began: Instant,
    figure: &'static str,
    in_place: bool,
}

impl Context {
    /// For a run in `directory`, which the caller removes.
    pub fn new(rounds: u32, directory: &Path) -> Self {
        Self {
            rounds,
            directory: directory.to_owned(),
            failover: failover::FailoverOptions::default(),
            began: clock::now(),
            figure: "figures",
            in_place: io::stderr().is_terminal(),
        }
    }

    /// Tells whoever waits what is being done now.
    pub fn say(&self, what: &str) {
        let seconds = (clock::now() - self.began).as_secs();
        let line = format!("[{seconds:>4} s] {}: {what}", self.figure);
        // Who closed standard error does not want to hear of it.
        let _ = match self.in_place {
            true => write!(io::stderr(), "\r{line:.79}\x1b[K"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    /// Tells something that is to be read later too.
    pub fn note(&self, what: &str) {
        let clear = if self.in_place { "\r\x1b[K" } else { "" };
        let _ = writeln!(io::stderr(), "{clear}{}: {what}", self.figure);
    }
}

/// Measures what was asked for, and prints the table.
///
/// The exit code is 0 if every budget holds, 1 if one does not or something could not be measured,
/// 3 if all that can be said of one is that the figure is not sure; 128 and the signal's number
/// after a signal.
#[expect(clippy::print_stderr, reason = "this is the program's own surface")]
pub fn run(options: &Options) -> ExitCode {
    match measure(options) {
        Ok(rows) => exit_code(&rows),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let json = options.json.as_ref().map(|path| {
        let file = File::create(path);
        file.with_context(|| format!("{} could not be written", path.display()))
    });
    let json = json.transpose()?;
    let directory = tempfile::Builder::new()
        .prefix("causeway-figures-")
        .tempdir()
        .context("a temporary directory could not be made")?;
    end_at_signals(&directory)?;
    let mut figures = match options.only.as_slice() {
        [] => Figure::value_variants().to_vec(),
        only => only.to_vec(),
    };
    figures.sort();
    figures.dedup();

    let mut context = Context::new(options.rounds, directory.path());
    context.failover = options.failover.clone();
    context.say("measuring how late this machine's timers are");
    let mut rows = vec![timer::measure()];
    for figure in figures {
        context.figure = figure.name();
        context.say("starting");
        let measured = figure.measure(&mut context);
        rows.extend(measured.with_context(|| format!("{} was not measured", figure.name()))?);
    }
    if context.in_place {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    tell(&rows).context("the table could not be written")?;
    if let Some(file) = json {
        write_json(file, &rows).context("the JSON could not be written")?;
    }
    Ok(rows)
}

fn tell(rows: &[Row]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let width = out.is_terminal().then(|| screen::size(&out).0);
    let width = width.and_then(|columns| u16::try_from(columns).ok());
    writeln!(out, "{}", table::table(rows, width))
}

fn write_json(file: File, rows: &[Row]) -> anyhow::Result<()> {
    let mut file = io::BufWriter::new(file);
    serde_json::to_writer_pretty(&mut file, rows)?;
    writeln!(file)?;
    file.flush()?;
    Ok(())
}

fn exit_code(rows: &[Row]) -> ExitCode {
    let verdicts = rows.iter().filter_map(|row| row.verdict);
    match verdicts.max() {
        None | Some(Verdict::Pass) => ExitCode::SUCCESS,
        Some(Verdict::Inconclusive) => ExitCode::from(3),
        Some(Verdict::Fail) => ExitCode::FAILURE,
    }
}

/// Ends the process at a signal, from a thread of its own: the figures keep theirs busy.
///
/// The processes that were started end with this one, each by its lifeline.
fn end_at_signals(directory: &TempDir) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let guard = runtime.enter();
    let mut signals = Signals::install().context("signals cannot be handled")?;
    drop(guard);
    let directory = directory.path().to_owned();
    let watch = move || {
        let signal = runtime.block_on(signals.next());
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(directory);
        std::process::exit(128 + signal);
    };
    let watcher = thread::Builder::new().name("signals".to_owned());
    watcher.spawn(watch).context("no thread for signals")?;
    Ok(())
}
