//! `netem proxy`: a hub between real processes, until ctrl-C.

use std::{io::Write, net::SocketAddr, os::fd::AsFd, path::PathBuf, str::FromStr};

use clap::Args;

use super::{Stop, control, stop, text, topology_from, write_json};
use crate::{
    model::PairModel,
    proxy::Proxy,
    topology::{Topology, TopologyError},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Topology file: hosts, their addresses and fronts, and what lies between them.
    #[arg(long, value_name = "FILE", conflicts_with = "host")]
    config: Option<PathBuf>,
    /// In place of a file: a host, where its program is, and its front, where the others reach it.
    ///
    /// Without ADDRESS, the host is wherever packets come from that no other sends.
    #[arg(long, value_name = "NAME=[ADDRESS,]FRONT")]
    host: Vec<HostArgument>,
    /// With --host: what lies between any two of them, such as "delay 80ms loss 2%".
    #[arg(long, value_name = "WORDS", requires = "host", default_value = "")]
    netem: String,
    /// With --host: everything random follows from it.
    #[arg(long, requires = "host", default_value_t = 1)]
    seed: u64,
    /// Where `netem set` and its like reach this proxy.
    #[arg(long, env = "NETEM_SOCKET", value_name = "PATH", default_value_os_t = control::default_socket())]
    socket: PathBuf,
    /// Prints the report at the end as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct HostArgument {
    name: String,
    address: Option<SocketAddr>,
    front: SocketAddr,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Stop> {
    let topology = match &arguments.config {
        Some(file) => topology_from(file)?,
        None if arguments.host.is_empty() => return Err(Stop::usage(NoHosts)),
        None => given(arguments)?,
    };
    let stop = stop::on_signals()?;
    let proxy = Proxy::bind(&topology, Some(&arguments.socket)).map_err(Stop::usage)?;
    if !arguments.json {
        for (host, front) in topology.hosts().iter().zip(proxy.fronts()?) {
            let place = match host.address() {
                Some(address) => format!("is at {address}"),
                None => "is where unknown packets come from".into(),
            };
            writeln!(out, "{} {place}; the others send to {front}", host.name())?;
        }
        let socket = arguments.socket.display();
        writeln!(out, "control socket {socket}; ctrl-C ends it")?;
        out.flush()?;
    }
    let report = proxy.run(stop.as_fd())?;
    if arguments.json {
        write_json(&report, out)
    } else {
        writeln!(out)?;
        Ok(out.write_all(text::report(&report).as_bytes())?)
    }
}

/// The file that these arguments stand for.
fn given(arguments: &Arguments) -> Result<Topology, Stop> {
    let model: PairModel = arguments.netem.parse().map_err(Stop::usage)?;
    let mut file = format!("seed = {}\ndefault = \"{model}\"\n", arguments.seed);
    for HostArgument {
        name,
        address,
        front,
    } in &arguments.host
    {
        file.push_str(&format!("[[host]]\nname = {name:?}\nfront = \"{front}\"\n"));
        if let Some(address) = address {
            file.push_str(&format!("address = \"{address}\"\n"));
        }
    }
    file.parse().map_err(|error| match error {
        // Its lines are none that anybody wrote.
        TopologyError::Invalid { problems, .. } => {
            let faults = problems.iter().map(|problem| problem.fault.to_string());
            Stop::usage(Hosts(faults.collect::<Vec<_>>().join("; ")))
        }
        error @ TopologyError::Read { .. } => Stop::usage(error),
    })
}

impl FromStr for HostArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, addresses) = text
            .split_once('=')
            .ok_or("must be NAME=ADDRESS,FRONT or NAME=FRONT")?;
        let parse = |address: &str| {
            let parsed = address.parse::<SocketAddr>();
            parsed.map_err(|_| format!("\"{address}\" is not an address such as 127.0.0.1:7001"))
        };
        let (address, front) = match addresses.split_once(',') {
            Some((address, front)) => (Some(parse(address)?), parse(front)?),
            None => (None, parse(addresses)?),
        };
        Ok(Self {
            name: name.to_owned(),
            address,
            front,
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("--host: {0}")]
struct Hosts(String);

#[derive(Debug, thiserror::Error)]
#[error("which hosts? give --config FILE, or --host NAME=ADDRESS,FRONT for each")]
struct NoHosts;
