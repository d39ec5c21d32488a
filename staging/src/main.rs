//! The command `staging`; `cargo demo` is `staging demo`, `cargo figures` is `staging figures`.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use staging::{
    demo,
    figures::{
        self,
        role::{self, Role},
    },
    node_process,
};

#[derive(Debug, Parser)]
#[command(about = "Runs fleets of Causeway nodes", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts nodes on this machine at the distances of four regions and sends traffic across.
    Demo(demo::Options),
    /// Measures what Causeway claims, beside what it is compared with.
    Figures(figures::Options),
    /// Is what this program starts itself as, for what a figure needs beside its own process.
    #[command(name = role::COMMAND, hide = true)]
    FigureProcess {
        /// What it is.
        #[command(subcommand)]
        role: Role,
    },
    /// Is what this program starts itself as, for each node.
    #[command(name = node_process::COMMAND, hide = true)]
    NodeProcess {
        /// What `causeway` would be called with.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Figures(options) => figures::run(&options),
        Command::FigureProcess { role } => role::run(&role),
        Command::NodeProcess { arguments } => node_process::run(arguments),
    }
}
