//! `netem lab`: regions with networks of their own.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::{self, Child, Stdio},
    time::Duration,
};

use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use super::{Stop, control, help, stop, text, topology_from, write_json};
use crate::{
    clock,
    control::{Answer, Client, ClientError, Command},
    lab::{self, Claim, ClaimError, ExecError, LabName, RegionName, State, check_privileges},
    nearest::{did_you_mean, nearest},
    realtime,
};

#[derive(Debug, Subcommand)]
pub(super) enum Lab {
    /// Builds a lab from a topology file, with a region for each of its hosts.
    #[command(after_long_help = help::FILE)]
    Up(Up),
    /// Runs a program in a region.
    Exec {
        #[command(flatten)]
        lab: Which,
        /// The region.
        region: String,
        /// The program and its arguments, behind `--`.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Sets what the paths between two regions do.
    #[command(after_long_help = help::WORDS)]
    Set {
        #[command(flatten)]
        set: control::SetArguments,
        #[command(flatten)]
        lab: Which,
        #[command(flatten)]
        format: control::Format,
    },
    /// Drops every packet between two regions.
    Cut {
        #[command(flatten)]
        between: control::Between,
        #[command(flatten)]
        lab: Which,
        #[command(flatten)]
        format: control::Format,
    },
    /// Ends a cut.
    Heal {
        #[command(flatten)]
        between: control::Between,
        #[command(flatten)]
        lab: Which,
        #[command(flatten)]
        format: control::Format,
    },
    /// Shows the regions, what the lab did, and how late it was.
    Show {
        #[command(flatten)]
        lab: Which,
        #[command(flatten)]
        format: control::Format,
    },
    /// Ends a lab and clears it away; also what is left of one that was killed.
    Down {
        #[command(flatten)]
        lab: Which,
        #[command(flatten)]
        format: control::Format,
    },
}

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Topology file: hosts, and what lies between them.
    file: PathBuf,
    #[command(flatten)]
    lab: Which,
    /// Stays until ctrl-C, and clears the lab away then.
    #[arg(long)]
    foreground: bool,
    #[command(flatten)]
    format: control::Format,
}

/// Which lab.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Name of the lab.
    #[arg(long = "lab", env = "NETEM_LAB", value_name = "NAME", default_value = DEFAULT)]
    name: String,
}

impl Which {
    fn name(&self) -> Result<LabName, Stop> {
        LabName::try_new(&self.name).map_err(Stop::usage)
    }

    /// What there is of the lab.
    fn remains(&self) -> Result<State, Stop> {
        check_privileges().map_err(Stop::usage)?;
        let state = State::load(&self.name()?).map_err(Stop::failed)?;
        state.ok_or_else(|| Stop::usage(NoLab(self.name.clone())))
    }

    /// The lab, which is up.
    fn state(&self) -> Result<State, Stop> {
        let state = self.remains()?;
        if state.is_alive() {
            Ok(state)
        } else {
            Err(Stop::usage(DeadLab(self.name.clone())))
        }
    }

    fn client(&self) -> Result<Client, Stop> {
        Ok(client_of(&self.state()?))
    }
}

pub(super) fn run(command: &Lab, out: &mut dyn Write) -> Result<(), Stop> {
    match command {
        Lab::Up(up) if up.foreground => stay(up, out),
        Lab::Up(up) => start(up, out),
        Lab::Exec {
            lab,
            region,
            program,
        } => exec(lab, region, program),
        Lab::Set { set, lab, format } => control::ask(&lab.client()?, &set.command()?, format, out),
        Lab::Cut {
            between,
            lab,
            format,
        } => control::ask(&lab.client()?, &control::cut(between), format, out),
        Lab::Heal {
            between,
            lab,
            format,
        } => control::ask(&lab.client()?, &control::heal(between), format, out),
        Lab::Show { lab, format } => control::ask(&lab.client()?, &control::show(), format, out),
        Lab::Down { lab, format } => down(lab, format, out),
    }
}

/// Runs a lab until ctrl-C or `lab down`.
fn stay(up: &Up, out: &mut dyn Write) -> Result<(), Stop> {
    let stop = stop::on_signals()?;
    let topology = topology_from(&up.file)?;
    let lab = lab::Lab::build(&up.lab.name()?, &topology).map_err(Stop::usage)?;
    writeln!(out, "lab {} is up; ctrl-C ends it", up.lab.name)?;
    out.flush()?;
    let report = lab.run(stop.as_fd())?;
    // Whoever started it may have gone.
    let _ = write!(out, "\n{}", text::report(&report));
    Ok(())
}

/// Has a process of its own run the lab, and waits until it is up.
fn start(up: &Up, out: &mut dyn Write) -> Result<(), Stop> {
    let stop = stop::on_signals()?;
    // What is wrong with the file or with the name is told by this process.
    topology_from(&up.file)?;
    let name = up.lab.name()?;
    check_privileges().map_err(Stop::usage)?;
    let mut forwarder = process::Command::new(std::env::current_exe()?)
        .args(["lab", "up", "--foreground", "--lab", name.as_str()])
        .arg(&up.file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // The ctrl-C of this terminal is for this process, which ends it in order.
        .process_group(0)
        .spawn()?;
    let deadline = clock::now() + UP_DEADLINE;
    let report = loop {
        if forwarder.try_wait()?.is_some() {
            return Err(Stop::usage(NotUp(complaint(&mut forwarder))));
        }
        if let Ok(Some(state)) = State::load(&name)
            && state
                .forwarder()
                .is_some_and(|process| process.pid == forwarder.id())
            && let Ok(Answer::Report(report)) = client_of(&state).ask(&Command::Show)
        {
            break report;
        }
        let interrupted = stop::has_come(&stop)?;
        if interrupted || clock::now() > deadline {
            end(&mut forwarder)?;
            let why = if interrupted {
                "it was interrupted"
            } else {
                "it took too long"
            };
            return Err(Stop::failed(NotUp(why.into())));
        }
        realtime::pause(POLL);
    };
    if up.format.json {
        return write_json(&report.hosts, out);
    }
    out.write_all(text::hosts(&report.hosts).as_bytes())?;
    let lab = if up.lab.name == DEFAULT {
        String::new()
    } else {
        format!(" --lab {name}")
    };
    let [one, other, ..] = report.hosts.as_slice() else {
        return Ok(());
    };
    writeln!(out, "\nthe lab is up; now for example")?;
    let (one, other) = (&one.name, &other.reached_at[0]);
    writeln!(out, "  netem lab exec{lab} {one} -- ping {other}")?;
    Ok(writeln!(out, "  netem lab down{lab}")?)
}

/// Has a forwarder clear its lab away, and waits until it has.
fn end(forwarder: &mut Child) -> io::Result<()> {
    let pid = i32::try_from(forwarder.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = clock::now() + DOWN_DEADLINE;
    while forwarder.try_wait()?.is_none() {
        if clock::now() > deadline {
            // What it leaves is cleared away by the next lab of the name.
            return forwarder.kill();
        }
        realtime::pause(POLL);
    }
    Ok(())
}

/// What a process said before it ended, without its name.
fn complaint(child: &mut Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What it said and cannot be read is not said.
        let _ = stderr.read_to_string(&mut said);
    }
    said.trim().trim_start_matches("netem: ").to_owned()
}

fn exec(lab: &Which, region: &str, program: &[OsString]) -> Result<(), Stop> {
    let state = lab.state()?;
    let name = RegionName::try_new(region).map_err(Stop::usage)?;
    if !state.regions().contains(&name) {
        let regions = state.regions().iter().map(RegionName::as_str);
        let nearest = nearest(region, regions);
        return Err(Stop::usage(NoRegion(format!(
            "{region}{}",
            did_you_mean(&nearest)
        ))));
    }
    let namespace = state.namespace(&name).map_err(Stop::failed)?;
    let [program, arguments @ ..] = program else {
        return Ok(());
    };
    match lab::exec(&namespace, program, arguments) {
        Ok(never) => match never {},
        Err(error @ ExecError::Program { .. }) => Err(Stop::NoProgram(error)),
        Err(error) => Err(Stop::failed(error)),
    }
}

/// Ends a lab in order if it runs, and clears away what is left of it in any case.
fn down(lab: &Which, format: &control::Format, out: &mut dyn Write) -> Result<(), Stop> {
    let deadline = clock::now() + DOWN_DEADLINE;
    let state = lab.remains()?;
    while state.is_alive() {
        let client = client_of(&state);
        // What cannot be shown is no reason to leave it up.
        if let Ok(answer) = client.ask(&Command::Show) {
            control::write(&answer, format, out)?;
        }
        match client.ask(&Command::Stop) {
            Ok(_) => break,
            // It is being built.
            Err(ClientError::Absent { .. }) if clock::now() < deadline => realtime::pause(POLL),
            Err(error) => return Err(Stop::failed(error)),
        }
    }
    loop {
        match Claim::try_new(&lab.name()?) {
            Ok(claim) => return claim.clean_up().map_err(Stop::failed),
            // It is being cleared away by the one that ran it.
            Err(ClaimError::Busy { .. } | ClaimError::Up { .. }) if clock::now() < deadline => {
                realtime::pause(POLL);
            }
            Err(error) => return Err(Stop::failed(error)),
        }
    }
}

fn client_of(state: &State) -> Client {
    Client::new(lab::control_socket(state.directory()))
}

#[derive(Debug, thiserror::Error)]
#[error("no lab is named {0}: netem lab up FILE builds one")]
struct NoLab(String);

#[derive(Debug, thiserror::Error)]
#[error("the lab {0} was killed: netem lab down clears it away")]
struct DeadLab(String);

#[derive(Debug, thiserror::Error)]
#[error("the lab has no region {0}")]
struct NoRegion(String);

#[derive(Debug, thiserror::Error)]
#[error("the lab did not come up: {0}")]
struct NotUp(String);

const DEFAULT: &str = "lab";
/// Sixty-four regions take five seconds on a busy machine.
const UP_DEADLINE: Duration = Duration::from_secs(30);
const DOWN_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
