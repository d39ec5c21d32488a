//! `netem tc`: a network as a script for the kernel's own netem.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{Stop, topology_from};
use crate::tc;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Topology file: hosts, and what lies between them.
    file: PathBuf,
    /// Leaves jitter out and rounds delays to microseconds: tc can say no matrix without that.
    #[arg(long)]
    approximate: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Stop> {
    let mut topology = topology_from(&arguments.file)?;
    if arguments.approximate {
        tc::approximate(&mut topology);
    }
    let script = tc::script(&topology).map_err(Stop::usage)?;
    Ok(out.write_all(script.as_bytes())?)
}
