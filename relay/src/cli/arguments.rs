//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};

use super::{pki::PkiCommand, policy::PolicyCommand};
use crate::{admin::AdminAddress, telemetry::logs::LogFormat};

/// Carries real-time traffic between regions over a mesh of QUIC links.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, after_help = EXIT_CODES, max_term_width = 80)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs a node until it is told to end (SIGTERM or ctrl-C).
    Node(NodeArguments),
    /// Checks a configuration, or prints an example of one.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Makes a private authority and the certificates of nodes and administrators.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Shows a running node: who it is, whether it is ready, what it carries.
    Status(Ask),
    /// Lists the peers of a running node and how their links are.
    Peers(Ask),
    /// Lists the tasks of a running node, those past their deadline first.
    Tasks(Ask),
    /// Lists how a running node's traffic to every other node goes, and why.
    Routes(Ask),
    /// Shows every node that a running node knows, and what there is between regions.
    Mesh(Ask),
    /// Has a running node ask another for echoes, over the path that traffic takes.
    ///
    /// Ends with code 1 if none came back.
    Ping(Ping),
    /// As ping, of each node on the path: what every hop adds to delay and loss.
    ///
    /// Ends with code 1 if none came back from the destination.
    Trace(Ping),
    /// Shows the policy of the fleet, signs one, or brings it to a node.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Says why something is as it is.
    #[command(subcommand)]
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct NodeArguments {
    /// The configuration; `causeway config example` prints one.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// For people or for programs [default: the configuration's].
    #[arg(long, value_name = "FORMAT", value_parser = log_format())]
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Says everything that is wrong with a file, or what a node would do with it.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Prints a file that explains every key.
    Example,
}

#[derive(Debug, Subcommand)]
pub(super) enum Explain {
    /// Shows everything about one peer: its links, addresses and last changes of state.
    Peer {
        /// REGION/NAME as `causeway peers` shows it, or just NAME where one peer has it; an address
        /// where the node is not known yet.
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
    /// Shows how traffic to one node goes, what would move it, and the last 32 decisions.
    Route {
        /// REGION/NAME as `causeway routes` shows it, or just NAME where one node has it.
        dest: String,
        #[command(flatten)]
        ask: Ask,
    },
}

/// Whom to ask for echoes, and how often.
#[derive(Debug, Args)]
pub(super) struct Ping {
    /// REGION/NAME as `causeway routes` shows it, or just NAME where one node has it.
    pub(super) dest: String,
    /// How many echoes to ask for, up to 100.
    #[arg(
        long,
        default_value_t = 10,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(super) count: u32,
    /// Milliseconds from one to the next, 10 to 10000; an echo that takes longer is waited for.
    #[arg(
        long,
        default_value_t = 200,
        value_name = "MS",
        value_parser = clap::value_parser!(u32).range(10..=10_000)
    )]
    pub(super) interval: u32,
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// Whom to ask, and how to show the answer.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The node's admin API: IP:PORT or unix:PATH.
    #[arg(
        long,
        env = "CAUSEWAY_ADMIN",
        hide_env_values = true,
        default_value_t,
        value_name = "ADDR",
        value_parser = admin
    )]
    pub(super) admin: AdminAddress,
    /// Prints JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

fn admin(text: &str) -> Result<AdminAddress, String> {
    text.parse().map_err(|error| format!("expected {error}"))
}

fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    let words = LogFormat::WORDS.map(|(word, _)| word);
    PossibleValuesParser::new(words).map(|given| {
        let known = LogFormat::WORDS.iter().find(|(word, _)| *word == given);
        known.expect("the parser lets only these words through").1
    })
}

const EXIT_CODES: &str = "\
Exit codes: 0 it worked, 1 it failed, 2 the command line or the configuration cannot be used.
To start: `causeway config example` explains every key of a configuration.";
