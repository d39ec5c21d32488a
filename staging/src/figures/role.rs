//! What a figure starts this program again as.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;

use super::{
    closing,
    comparators::{idle_quinn, quinn_forwarder, udp_forwarder},
    contention::processes,
    idle,
    process::end_with_owner,
};

/// The first argument that makes this program one of a figure's processes.
pub const COMMAND: &str = "figure-process";

/// One of a figure's processes.
#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// Answers the streams of `closing`.
    ClosingPeers {
        /// Holds its certificate.
        directory: PathBuf,
    },
    /// A node that is asked for its peers when told so.
    ContentionNode {
        /// Where the plan is.
        directory: PathBuf,
        /// The node's name.
        name: String,
    },
    /// All healthy peers of such nodes.
    ContentionPeers {
        /// Where the plan is.
        directory: PathBuf,
    },
    /// The node whose links are idle.
    IdleNode(idle::node::Options),
    /// All peers of idle links.
    IdlePeers(idle::peers::Options),
    /// Bare quinn instead of the node whose links are idle.
    IdleQuinn(idle_quinn::Options),
    /// The far end of a connection of bare quinn, with packets to a local program.
    QuinnEgress(quinn_forwarder::Egress),
    /// The near end of a connection of bare quinn, with packets from a local program.
    QuinnIngress(quinn_forwarder::Ingress),
    /// Plain UDP, in and out.
    UdpForwarder(udp_forwarder::Options),
}

/// Is what it is told to be, until the process that started it is gone.
#[expect(clippy::print_stderr, reason = "this is the process's own surface")]
pub fn run(role: &Role) -> ExitCode {
    let done = end_with_owner()
        .map_err(Into::into)
        .and_then(|()| match role {
            Role::ClosingPeers { directory } => closing::peers::run(directory),
            Role::ContentionNode { directory, name } => processes::run_node(directory, name),
            Role::ContentionPeers { directory } => processes::run_peers(directory),
            Role::IdleNode(options) => idle::node::run(options),
            Role::IdlePeers(options) => idle::peers::run(options),
            Role::IdleQuinn(options) => idle_quinn::run(*options),
            Role::QuinnEgress(options) => quinn_forwarder::egress(options),
            Role::QuinnIngress(options) => quinn_forwarder::ingress(options),
            Role::UdpForwarder(options) => udp_forwarder::run(options),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
