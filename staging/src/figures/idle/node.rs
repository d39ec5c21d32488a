//! The process of the node whose links are idle.

use std::{future::pending, path::PathBuf};

use anyhow::Context as _;
use causeway::{config::Config, node::Node, telemetry::Metrics};
use clap::Args;

use super::ground::{ANY_PORT, Ground, TRUST_DOMAIN, runtime, server_id};
use crate::figures::process::tell;

/// What the node is started with.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where it keeps its state.
    #[arg(long)]
    state: PathBuf,
    /// How many links it has to admit.
    #[arg(long)]
    links: u32,
}

/// Runs a node on one worker, which is this thread; prints where it accepts links.
///
/// # Errors
/// It did not start.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let ground = Ground::new()?;
        let env = ground.env(&server_id(), &options.state)?;
        let text = configuration(options);
        let config = Config::parse(&text, &options.state).context("the node's configuration")?;
        let node = Node::start(config, env, Metrics::new()).await?;
        let bound = node.bound();
        tell(bound.first().context("the node is bound to nothing")?)?;
        // Its owner ends the process.
        pending().await
    })
}

/// Whatever is not said is the default. All peers dial from one address and at once, which a node
/// would take for an attack.
fn configuration(options: &Options) -> String {
    let (id, links) = (server_id(), options.links);
    format!(
        r#"
[node]
name = "{}"
region = "{}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{ANY_PORT}"
state_dir = "state"

[identity]
certificate = "in memory"
key = "in memory"
bundle = "in memory"

[limits]
links = {links}
connections_per_source_per_s = 100000
connections_per_source_burst = 100000
unauthenticated_handshakes = 1024
retry_above = 1024
"#,
        id.name(),
        id.region()
    )
}
