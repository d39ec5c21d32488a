//! The command line of a node: runs it, checks its configuration, asks it about itself.
//!
//! [`main`] is all of `causeway`; another binary that calls it can be a node too.

mod arguments;
mod ask;
mod check;
mod pki;
mod policy;
mod table;

use std::{error::Error, ffi::OsString, fmt, io, io::Write, process::ExitCode};

use clap::Parser;

use self::arguments::{Arguments, Command, ConfigCommand, NodeArguments};
use self::policy::PolicyCommand;
pub use self::{
    pki::{Issue, IssueAdmin, PkiCommand},
    policy::SignPolicy,
};
use crate::{
    config::{Config, ConfigError, example},
    process,
    telemetry::logs::{self, LogError},
};

/// Why a command failed, for people.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The parts of `causeway` that the command line only starts.
#[derive(Clone, Copy)]
pub struct Program {
    /// Runs a node until it is told to end. Logging is set up already.
    pub node: fn(Config) -> Result<(), Failure>,
    /// Makes keys and certificates; returns what to print.
    pub pki: fn(PkiCommand) -> Result<String, Failure>,
    /// Signs a policy of the fleet; returns what to print.
    pub sign: fn(SignPolicy) -> Result<String, Failure>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// Does what the process was asked to on its command line, and returns its exit code: 0 if that
/// worked, 1 if it failed, 2 if the command line or the configuration cannot be used.
pub fn main() -> ExitCode {
    main_from(std::env::args_os(), PROGRAM)
}

/// As [`main`], with a command line and parts of the caller's choice; `arguments` begin with the
/// name of the program.
pub fn main_from(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    program: Program,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are such answers too, and go to standard output with code 0.
            // Nothing can be said where not even this can be written.
            answer.print().ok();
            let code = u8::try_from(answer.exit_code()).unwrap_or(USAGE);
            return ExitCode::from(code);
        }
    };
    let mut out = io::stdout().lock();
    match run(arguments.command, program, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output had enough of it.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(stop) => {
            writeln!(io::stderr(), "causeway: {stop}").ok();
            ExitCode::from(stop.code())
        }
    }
}

fn run(command: Command, program: Program, out: &mut dyn Write) -> Result<(), Stop> {
    match command {
        Command::Node(arguments) => run_node(&arguments, program),
        Command::Config(ConfigCommand::Check { file }) => {
            let config = Config::load(&file).map_err(Stop::Config)?;
            Ok(check::summary(&config, out)?)
        }
        Command::Config(ConfigCommand::Example) => Ok(out.write_all(example().as_bytes())?),
        Command::Pki(command) => {
            let said = (program.pki)(command).map_err(Stop::Failed)?;
            Ok(writeln!(out, "{}", said.trim_end())?)
        }
        Command::Status(ask) => ask::status(&ask, out),
        Command::Peers(ask) => ask::peers(&ask, out),
        Command::Tasks(ask) => ask::tasks(&ask, out),
        Command::Routes(ask) => ask::routes(&ask, out),
        Command::Mesh(ask) => ask::mesh(&ask, out),
        Command::Ping(ping) => ask::ping(&ping, out),
        Command::Trace(ping) => ask::trace(&ping, out),
        Command::Policy(PolicyCommand::Show(ask)) => ask::policy(&ask, out),
        Command::Policy(PolicyCommand::Sign(policy)) => {
            let said = (program.sign)(policy).map_err(Stop::Failed)?;
            Ok(writeln!(out, "{said}")?)
        }
        Command::Policy(PolicyCommand::Apply { file, ask }) => ask::apply(&file, &ask, out),
        Command::Explain(explain) => ask::explain(&explain, out),
    }
}

fn run_node(arguments: &NodeArguments, program: Program) -> Result<(), Stop> {
    let config = Config::load(&arguments.config).map_err(Stop::Config)?;
    let log = config.log();
    let format = arguments.log_format.unwrap_or(log.format);
    match logs::init(format, log.level) {
        // A binary that is more than a node may log its own way.
        Ok(()) | Err(LogError::Twice) => {}
        Err(error @ LogError::Filter { .. }) => return Err(Stop::Failed(error.into())),
    }
    (program.node)(config).map_err(Stop::Failed)
}

/// Why a command came to its end without its result.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Config(ConfigError),
    #[error("{0}")]
    Failed(Failure),
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

impl Stop {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) => USAGE,
            Self::Failed(_) | Self::Output(_) => FAILED,
        }
    }
}

/// The command worked as far as its words go, and then failed.
const FAILED: u8 = 1;
/// The command line or the configuration cannot be used.
const USAGE: u8 = 2;

/// The parts that make this `causeway`.
pub const PROGRAM: Program = Program {
    node: process::run,
    pki: process::make_certificates,
    sign: process::sign_policy,
};

#[cfg(test)]
mod tests;
