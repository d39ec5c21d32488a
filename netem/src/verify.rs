//! Measures whether a backend does what it was asked to: `netem verify`.
//!
//! A plan holds each model with the traffic that shows it; a [`Ground`] runs them all at once on a
//! fresh emulator; what arrived is compared with what was asked for, by statistical tests where
//! chance decides. [`run`] does it all:
//!
//! ```no_run
//! use std::{io, process::ExitCode};
//!
//! use netem::verify::{self, Ground, Options, SimGround, VerifyError};
//!
//! fn main() -> Result<ExitCode, VerifyError> {
//!     let mut grounds: [Box<dyn Ground>; 1] = [Box::new(SimGround)];
//!     let (mut out, mut progress) = (io::stdout(), io::stderr());
//!     let verdict = verify::run(&mut grounds, &Options::default(), &mut out, &mut progress)?;
//!     Ok(ExitCode::from(verdict.exit_code()))
//! }
//! ```
//!
//! Where a backend tells its deadlines, models are measured on its schedule, and its lateness is a
//! row of its own. A row that fails on a host that was late itself, or after packets were lost to
//! the emulator's own bounds, is inconclusive. Nothing is inconclusive on virtual time.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

#[cfg(target_os = "linux")]
pub use self::lab::LabGround;
use self::plan::Stage;
pub use self::{
    ground::{
        Arrival, Backend, BackendReport, Departure, FIRST_DEPARTURE, Ground, GroundError, PairPlan,
        PairRun, Plan, Run, Time, Traffic, UnknownBackend,
    },
    proxy::ProxyGround,
    report::{Findings, Row, Verdict},
    sim::SimGround,
    statistics::ALPHA,
};
use crate::clock;

mod busyness;
mod checks;
mod emulated;
mod ground;
mod judge;
#[cfg(target_os = "linux")]
mod lab;
pub mod payload;
mod plan;
mod proxy;
mod report;
mod sim;
mod statistics;
#[cfg(test)]
mod tests;
mod traffic;

/// What is verified, and where that is written besides.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Of the emulators.
    pub seed: u64,
    /// Whether a backend that this machine does not allow is left out with a word on `progress`,
    /// rather than an error: for those that nobody named.
    pub skip_unavailable: bool,
    /// Gets the rows as a JSON list.
    pub json: Option<&'a Path>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            seed: DEFAULT_SEED,
            skip_unavailable: false,
            json: None,
        }
    }
}

/// Verifies backends one after the other: the table goes to `out`, what is being done to
/// `progress`. The process is to end with the exit code of the verdict.
///
/// Blocks, and must not be called within a tokio runtime.
///
/// # Errors
/// - [`VerifyError::Json`]: nothing was measured, or all was and could not be written.
/// - [`VerifyError::Output`]: all was measured, and the table is not whole.
/// - [`VerifyError::Unavailable`]: a backend is not allowed here that may not be left out.
pub fn run(
    grounds: &mut [Box<dyn Ground>],
    options: &Options<'_>,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<Verdict, VerifyError> {
    // Opened before the work of which it is to hold the result.
    let json = options.json.map(JsonFile::create).transpose()?;
    let mut findings = Findings::default();
    for ground in grounds {
        measure(&mut **ground, options, &mut findings, progress)?;
    }
    if let Some(json) = json {
        json.write(&findings.rows)?;
    }
    out.write_all(findings.table().as_bytes())?;
    Ok(findings.verdict())
}

/// Runs all of one backend's stages, until one cannot be run.
fn measure(
    ground: &mut dyn Ground,
    options: &Options<'_>,
    findings: &mut Findings,
    progress: &mut dyn Write,
) -> Result<(), VerifyError> {
    let (backend, time) = (ground.backend(), ground.time());
    for stage in plan::stages(time, options.seed) {
        let began = clock::now();
        say(progress, &announcement(backend, time, &stage));
        match ground.run(&stage.plan) {
            Ok(run) => {
                let (name, took) = (stage.name, (clock::now() - began).as_secs_f64());
                say(
                    progress,
                    &format!("{backend}: {name}: took {took:.1} s, {}", run.report),
                );
                findings.add(judge::judge(backend, time, &stage, &run));
            }
            Err(GroundError::Unavailable { reason }) if options.skip_unavailable => {
                say(progress, &format!("{backend}: left out: {reason}"));
                return Ok(());
            }
            Err(GroundError::Unavailable { reason }) => {
                return Err(VerifyError::Unavailable { backend, reason });
            }
            Err(GroundError::Failed { reason }) => {
                findings.rows.push(judge::no_run(backend, &stage, &reason));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn announcement(backend: Backend, time: Time, stage: &Stage) -> String {
    let (name, pairs, packets) = (stage.name, stage.plan.pairs.len(), stage.plan.packets());
    let seconds = stage.plan.lasts().as_secs_f64();
    let kind = match time {
        Time::Real => "",
        Time::Virtual => "virtual ",
    };
    format!("{backend}: {name}: {packets} packets over {pairs} pairs in {seconds:.0} {kind}s")
}

struct JsonFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> JsonFile<'a> {
    fn create(path: &'a Path) -> Result<Self, VerifyError> {
        match File::create(path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(json_error(path, error)),
        }
    }

    fn write(mut self, rows: &[Row]) -> Result<(), VerifyError> {
        serde_json::to_writer_pretty(&self.file, rows)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|error| json_error(self.path, error))
    }
}

fn json_error(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Json {
        path: path.display().to_string(),
        source,
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The JSON file cannot be written.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The table cannot be written.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    /// A backend that was named is not allowed on this machine.
    #[error("{backend}: {reason}")]
    Unavailable {
        /// Which.
        backend: Backend,
        /// What is missing.
        reason: String,
    },
}

/// Progress is a courtesy: who closed it does not want it.
fn say(progress: &mut dyn Write, what: &str) {
    writeln!(progress, "{what}").ok();
}

/// Any will do; the same one always gives the same luck to each packet of each pair.
pub const DEFAULT_SEED: u64 = 20_260_101;
