//! The mesh of the demo: its nodes, and which ways traffic goes through it.

use std::{fmt::Write, io, net::SocketAddr};

use anyhow::Context;
use tokio::net::{TcpListener, UdpSocket};

use crate::fleet::{
    NodeSpec, TRUST_DOMAIN,
    ports::{ANY_PORT, Ports},
};

/// Name and region of each node; the regions are those of AWS, so that distances are known.
const NODES: [(&str, &str); 4] = [
    ("eu-1", "eu-west-1"),
    ("us-1", "us-east-1"),
    ("ap-1", "ap-southeast-1"),
    ("ca-1", "ca-central-1"),
];
/// The link that is cut, by the places of its ends. By the matrix, a round trip of 69.6 ms becomes
/// 85.9 ms over ca-central-1: the shortest detour in this mesh.
pub(super) const CUT: (usize, usize) = (1, 0);
/// The stream goes from the first node to this one.
const STREAM_TO: usize = 2;

/// The programs at both ends of everything that crosses, bound and not yet started.
#[derive(Debug)]
pub(super) struct Ways {
    /// One flow of packets for each ordered pair of regions.
    pub flows: Vec<FlowWay>,
    /// The stream.
    pub stream: StreamWay,
}

/// The two ends of a flow.
#[derive(Debug)]
pub(super) struct FlowWay {
    /// The places of its two nodes in the specs.
    pub ends: (usize, usize),
    pub from: &'static str,
    pub to: &'static str,
    /// Connected to the listen of the near node.
    pub near: UdpSocket,
    /// Bound where the service is.
    pub far: UdpSocket,
}

/// The two ends of the stream.
#[derive(Debug)]
pub(super) struct StreamWay {
    pub from: &'static str,
    pub to: &'static str,
    /// The listen of the near node.
    pub near: SocketAddr,
    /// Bound where the service is.
    pub far: TcpListener,
}

/// Lays the mesh out: what its nodes expose and listen for, and the programs around it.
///
/// # Errors
/// No port is free.
pub(super) async fn lay_out(ports: &mut Ports) -> anyhow::Result<(Vec<NodeSpec>, Ways)> {
    let mut specs = NODES.map(|(name, region)| NodeSpec {
        name,
        region,
        tables: String::new(),
    });
    let mut flows = Vec::new();
    for from in 0..NODES.len() {
        for to in (0..NODES.len()).filter(|to| *to != from) {
            flows.push(flow(&mut specs, from, to, ports).await.context(NO_PORT)?);
        }
    }
    let stream = stream(&mut specs, 0, STREAM_TO, ports)
        .await
        .context(NO_PORT)?;
    Ok((specs.into(), Ways { flows, stream }))
}

async fn flow(
    specs: &mut [NodeSpec],
    from: usize,
    to: usize,
    ports: &mut Ports,
) -> io::Result<FlowWay> {
    // Sockets of our own are bound while the ports for the nodes are held, so they cannot clash.
    let (near, far) = (
        UdpSocket::bind(ANY_PORT).await?,
        UdpSocket::bind(ANY_PORT).await?,
    );
    let listen = ports.udp()?;
    near.connect(listen).await?;
    let service = format!("packets-from-{}", specs[from].region);
    join(
        specs,
        from,
        to,
        Local {
            kind: "udp",
            listen,
            service: &service,
            address: far.local_addr()?,
        },
    );
    Ok(FlowWay {
        ends: (from, to),
        from: specs[from].region,
        to: specs[to].region,
        near,
        far,
    })
}

async fn stream(
    specs: &mut [NodeSpec],
    from: usize,
    to: usize,
    ports: &mut Ports,
) -> io::Result<StreamWay> {
    let far = TcpListener::bind(ANY_PORT).await?;
    let near = ports.tcp()?;
    let address = far.local_addr()?;
    join(
        specs,
        from,
        to,
        Local {
            kind: "tcp",
            listen: near,
            service: "stream",
            address,
        },
    );
    Ok(StreamWay {
        from: specs[from].region,
        to: specs[to].region,
        near,
        far,
    })
}

/// What is local to the two nodes of one way.
struct Local<'a> {
    kind: &'a str,
    /// At the near node.
    listen: SocketAddr,
    service: &'a str,
    /// Of the service, at the far node.
    address: SocketAddr,
}

/// Adds a listen to node `from` and its service to node `to`, which allows `from` only.
fn join(specs: &mut [NodeSpec], from: usize, to: usize, local: Local<'_>) {
    let Local {
        kind,
        listen,
        service,
        address,
    } = local;
    // A stream that stands still is given up by the nodes before the demo gives it up.
    let timeout = match kind {
        "tcp" => "stall_timeout_s = 5\n",
        _ => "",
    };
    let (near, region) = (&specs[from], specs[to].region);
    let allow = format!(
        "spiffe://{TRUST_DOMAIN}/region/{}/node/{}",
        near.region, near.name
    );
    write!(
        specs[to].tables,
        "\n[[service]]\nname = \"{service}\"\nkind = \"{kind}\"\naddress = \"{address}\"\n\
         allow = [\"{allow}\"]\n{timeout}"
    )
    .expect("a string takes everything");
    write!(
        specs[from].tables,
        "\n[[listen]]\nkind = \"{kind}\"\naddress = \"{listen}\"\nservice = \"{service}\"\n\
         to = {{ region = \"{region}\" }}\n{timeout}"
    )
    .expect("a string takes everything");
}

const NO_PORT: &str = "no port is free";
