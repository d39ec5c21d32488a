//! The command line of `netem`: one file for each command.

mod regions;

use std::{error::Error, io, io::Write, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

/// Impairs the network between programs, or shows how it would.
#[derive(Debug, Parser)]
#[command(name = "netem", version, after_help = EXIT_CODES, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows round trips between real regions.
    Regions(regions::Arguments),
}

/// Does what the process was asked to on its command line, and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return refuse(&answer),
    };
    let mut out = io::stdout().lock();
    match run(&arguments.command, &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output had enough of it.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(stop) => {
            complain(&stop.to_string());
            ExitCode::from(stop.code())
        }
    }
}

fn run(command: &Command, out: &mut dyn Write) -> Result<(), Stop> {
    match command {
        Command::Regions(arguments) => regions::run(arguments, out),
    }
}

/// Why a command came to its end without its result.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Usage(Box<dyn Error>),
}

impl Stop {
    /// What was given on the command line or in a file cannot be used.
    fn usage(error: impl Error + 'static) -> Self {
        Self::Usage(Box::new(error))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Output(_) => FAILED,
            Self::Usage(_) => USAGE,
        }
    }
}

/// Answers a command line that is none, or that asks for help.
fn refuse(answer: &clap::Error) -> ExitCode {
    match answer.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Nothing can be said where not even this can be written.
            answer.print().ok();
        }
        _ => complain(&one_line(&answer.render().to_string())),
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(USAGE))
}

/// What is wrong and what may have been meant, without the usage that follows.
fn one_line(answer: &str) -> String {
    let said = answer.split("\n\nUsage:").next().unwrap_or(answer);
    let words: Vec<&str> = said.split_whitespace().collect();
    let line = words.join(" ").replace(" tip: ", "; ");
    line.trim_start_matches("error: ").to_owned()
}

fn complain(what: &str) {
    // Nothing can be said where not even this can be written.
    writeln!(io::stderr(), "netem: {what}").ok();
}

/// The command worked as far as its words go, and then failed.
const FAILED: u8 = 1;
/// The command line or a file that it names cannot be used.
const USAGE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes: 0 it worked, 1 it failed, 2 the command line or a file cannot be used.";
