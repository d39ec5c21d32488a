//! The command line of `netem`: one file for each command.

mod control;
mod help;
#[cfg(target_os = "linux")]
mod lab;
mod presets;
mod proxy;
mod regions;
mod stop;
mod tc;
mod text;
mod verify;

use std::{error::Error, io, io::Write, path::Path, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};
use serde::Serialize;

use crate::topology::Topology;

/// Impairs the network between programs, or shows how it would.
#[derive(Debug, Parser)]
#[command(name = "netem", version, after_help = EXIT_CODES, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Impairs UDP between programs on this machine, without privileges.
    #[command(after_long_help = help::FILE)]
    Proxy(proxy::Arguments),
    /// Sets what the paths between two hosts of a running proxy do.
    #[command(after_long_help = help::WORDS)]
    Set {
        #[command(flatten)]
        set: control::SetArguments,
        #[command(flatten)]
        emulator: control::Emulator,
        #[command(flatten)]
        format: control::Format,
    },
    /// Drops every packet between two hosts of a running proxy.
    Cut {
        #[command(flatten)]
        between: control::Between,
        #[command(flatten)]
        emulator: control::Emulator,
        #[command(flatten)]
        format: control::Format,
    },
    /// Ends a cut.
    Heal {
        #[command(flatten)]
        between: control::Between,
        #[command(flatten)]
        emulator: control::Emulator,
        #[command(flatten)]
        format: control::Format,
    },
    /// Shows what a running proxy did, and how late it was.
    Show {
        #[command(flatten)]
        emulator: control::Emulator,
        #[command(flatten)]
        format: control::Format,
    },
    /// Gives each region a network of its own, for any program. Needs root.
    #[cfg(target_os = "linux")]
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Lists links that have a name, such as wifi-bad.
    Presets(presets::Arguments),
    /// Shows round trips between real regions.
    Regions(regions::Arguments),
    /// Prints a network as a shell script that makes it with the kernel's own netem.
    Tc(tc::Arguments),
    /// Measures whether the backends do what they are asked to, on this machine.
    Verify(verify::Arguments),
}

/// Does what the process was asked to on its command line, and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return refuse(&answer),
    };
    let mut out = io::stdout().lock();
    match run(&arguments.command, &mut out).and_then(|code| Ok(out.flush().map(|()| code)?)) {
        Ok(code) => code,
        // Whoever read the output had enough of it.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(stop) => {
            complain(&stop.to_string());
            ExitCode::from(stop.code())
        }
    }
}

fn run(command: &Command, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let done = match command {
        Command::Proxy(arguments) => proxy::run(arguments, out),
        Command::Set {
            set,
            emulator,
            format,
        } => control::ask(&emulator.client(), &set.command()?, format, out),
        Command::Cut {
            between,
            emulator,
            format,
        } => control::ask(&emulator.client(), &control::cut(between), format, out),
        Command::Heal {
            between,
            emulator,
            format,
        } => control::ask(&emulator.client(), &control::heal(between), format, out),
        Command::Show { emulator, format } => {
            control::ask(&emulator.client(), &control::show(), format, out)
        }
        #[cfg(target_os = "linux")]
        Command::Lab(command) => lab::run(command, out),
        Command::Presets(arguments) => presets::run(arguments, out),
        Command::Regions(arguments) => regions::run(arguments, out),
        Command::Tc(arguments) => tc::run(arguments, out),
        Command::Verify(arguments) => return verify::run(arguments, out),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// What a file describes, its matrix applied.
fn topology_from(file: &Path) -> Result<Topology, Stop> {
    let mut topology = Topology::load(file).map_err(Stop::usage)?;
    crate::regions::apply(&mut topology).map_err(Stop::usage)?;
    Ok(topology)
}

fn write_json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value).expect("names and numbers have a JSON form");
    Ok(writeln!(out, "{text}")?)
}

/// Why a command came to its end without its result.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("{}", chain(&**_0))]
    Failed(Box<dyn Error>),
    /// A program that was to be run is not there, or is none.
    #[cfg(target_os = "linux")]
    #[error("{}", chain(_0))]
    NoProgram(crate::lab::ExecError),
    #[error("input or output failed: {0}")]
    Output(#[from] io::Error),
    #[error("{}", chain(&**_0))]
    Usage(Box<dyn Error>),
}

impl Stop {
    /// What was asked for is sound, and could not be done.
    fn failed(error: impl Error + 'static) -> Self {
        Self::Failed(Box::new(error))
    }

    /// What was given on the command line or in a file cannot be used.
    fn usage(error: impl Error + 'static) -> Self {
        Self::Usage(Box::new(error))
    }

    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => FAILED,
            #[cfg(target_os = "linux")]
            Self::NoProgram(_) => NO_PROGRAM,
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

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let what = error.to_string();
        // Some say themselves what caused them.
        if !text.ends_with(&what) {
            text.push_str(": ");
            text.push_str(&what);
        }
        cause = error.source();
    }
    text
}

fn complain(what: &str) {
    // Nothing can be said where not even this can be written.
    writeln!(io::stderr(), "netem: {what}").ok();
}

/// The command worked as far as its words go, and then failed.
const FAILED: u8 = 1;
/// As shells have it.
#[cfg(target_os = "linux")]
const NO_PROGRAM: u8 = 127;
/// The command line or a file that it names cannot be used.
const USAGE: u8 = 2;

const EXIT_CODES: &str = "\
Exit codes: 0 it worked, 1 it failed, 2 the command line or a file is wrong,
3 verify: this machine was too late to tell.";
