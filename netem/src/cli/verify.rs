//! `netem verify`: whether backends do what they are asked to.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::Stop;
use crate::verify::{self, Backend, Ground, Options, ProxyGround, SimGround, Verdict};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Backends, with commas between them; without it, all that this machine allows.
    #[arg(long, value_delimiter = ',')]
    backend: Vec<Backend>,
    /// Everything random follows from it.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Writes the rows to a file as a JSON list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, and returns the exit code that the verdict has.
pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Stop> {
    let named = &arguments.backend;
    let all = Backend::ALL
        .iter()
        .filter(|backend| named.is_empty() || named.contains(backend));
    let mut grounds: Vec<Box<dyn Ground>> = all.map(|backend| ground(*backend)).collect();
    let options = Options {
        seed: arguments.seed,
        skip_unavailable: named.is_empty(),
        json: arguments.json.as_deref(),
    };
    let verdict = verify::run(&mut grounds, &options, out, &mut io::stderr());
    let verdict: Verdict = verdict.map_err(Stop::usage)?;
    Ok(ExitCode::from(verdict.exit_code()))
}

fn ground(backend: Backend) -> Box<dyn Ground> {
    match backend {
        #[cfg(target_os = "linux")]
        Backend::Lab => Box::new(verify::LabGround),
        Backend::Proxy => Box::new(ProxyGround),
        Backend::Sim => Box::new(SimGround),
    }
}
