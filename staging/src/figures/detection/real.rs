//! Peers on this machine, struck in real time.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use causeway::{
    clock,
    config::Config,
    id::{NodeId, NodeKey},
    link::setup::{self, Times},
    links::Links,
    node::Node,
    tasks::{Scope, Tasks},
    telemetry::Metrics,
};
use futures_util::future::try_join_all;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Fault, NAME, Plan, Profile,
    forwarder::{BlackHole, Forwarder},
    responder::{self, Switch, Wedge},
    time_to_down,
};
use crate::{
    figures::{
        Context,
        endpoint::{self, RealEndpoint, TRUST_DOMAIN, soon},
        process::OwnProcess,
    },
    fleet::ports::{ANY_PORT, Ports},
    node_process,
};

/// What was measured.
pub(super) struct Real {
    pub(super) times: Vec<Duration>,
    /// The longest round trip of any of the links, smoothed.
    pub(super) rtt: Duration,
}

/// From each peer's fault to the verdict.
pub(super) fn measure(context: &Context, plan: &Plan, fault: Fault) -> anyhow::Result<Real> {
    let directory = tempfile::tempdir_in(&context.directory)?;
    let directory = directory.path();
    let names: Vec<String> = (0..plan.real)
        .map(|index| format!("peer-{index}"))
        .collect();
    let all = names.iter().map(String::as_str).chain([OBSERVER]);
    endpoint::certify(directory, REGION, all)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let runtime = endpoint::env(directory, OBSERVER)?.runtimes[0].clone();
        let scope = Tasks::new(runtime).scope(NAME);
        let (targets, node) = match fault {
            Fault::Wedged(wedge) => responders(directory, &names, wedge, &scope).await?,
            Fault::Frozen | Fault::BlackHole | Fault::Forward | Fault::Back => {
                processes(directory, &names, fault, &scope, &plan.program).await?
            }
        };
        let links = &node.mesh().links;
        until_linked(links, &targets).await?;
        clock::sleep_until(Some(clock::now() + plan.settle)).await;
        let rtts = targets.iter().filter_map(|target| links.get(target.peer));
        let rtt = rtts.map(|link| link.srtt()).max().unwrap_or_default();
        let now = clock::now();
        let times = targets.iter().zip(0..).map(|(target, index)| {
            let peer = links.snapshot().get(&target.peer).cloned();
            let at = now + Profile::Default.moment(index, plan.real);
            async move {
                let peer = peer.context("the peer is not known")?;
                time_to_down(&peer, at, || target.strike()).await
            }
        });
        let times = try_join_all(times).await?;
        Ok(Real { times, rtt })
    })
}

/// A peer, and what is done to it.
struct Target {
    peer: NodeKey,
    means: Means,
}

enum Means {
    /// Its process is stopped.
    Stop(OwnProcess),
    /// The way to its process is cut.
    Cut {
        hole: BlackHole,
        _process: OwnProcess,
    },
    /// One of its loops is told not to answer.
    Wedge(Switch),
}

impl Target {
    fn strike(&self) -> anyhow::Result<()> {
        match &self.means {
            Means::Stop(process) => {
                let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
                kill_process(pid.context("a process without an id")?, Signal::STOP)?;
            }
            Means::Cut { hole, .. } => hole.open(),
            Means::Wedge(switch) => switch.strike(),
        }
        Ok(())
    }
}

/// Nodes that are processes of their own, which the observer dials through forwarders where it is
/// the path that is struck.
async fn processes(
    directory: &Path,
    names: &[String],
    fault: Fault,
    scope: &Scope,
    program: &Path,
) -> anyhow::Result<(Vec<Target>, Node)> {
    let mut ports = Ports::default();
    let (mut targets, mut starts, mut peers) = (Vec::new(), Vec::new(), String::new());
    for name in names {
        let bind = ports.udp()?;
        let (front, hole) = match fault {
            Fault::BlackHole => {
                let forwarder = Forwarder::bind(bind).await?;
                let (front, hole) = (forwarder.address()?, forwarder.hole());
                scope.spawn("forwarder", |_| forwarder.run())?;
                (front, Some(hole))
            }
            Fault::Frozen | Fault::Forward | Fault::Back | Fault::Wedged(_) => (bind, None),
        };
        // Told to advertise its front, so that no dial goes around it.
        let text = config(name, bind, &format!("advertise = [\"{front}\"]"));
        let path = directory.join(format!("{name}.toml"));
        fs::write(&path, text)?;
        peers += &format!(
            "[[peer]]\nregion = \"{REGION}\"\nname = \"{name}\"\naddresses = [\"{front}\"]\n"
        );
        starts.push((NodeId::try_new(TRUST_DOMAIN, REGION, name)?, path, hole));
    }
    drop(ports);
    for (id, path, hole) in starts {
        let arguments = [node_process::COMMAND, "node", "--config"].map(AsRef::as_ref);
        let arguments = arguments.into_iter().chain([path.as_os_str()]);
        let process = OwnProcess::start_program(program, arguments)?;
        let means = match hole {
            Some(hole) => Means::Cut {
                hole,
                _process: process,
            },
            None => Means::Stop(process),
        };
        targets.push(Target {
            peer: id.key(),
            means,
        });
    }
    Ok((targets, observer(directory, &peers).await?))
}

/// Links that are nothing else, on sockets of their own, which dial the observer.
async fn responders(
    directory: &Path,
    names: &[String],
    wedge: Wedge,
    scope: &Scope,
) -> anyhow::Result<(Vec<Target>, Node)> {
    let node = observer(directory, "").await?;
    let address = *node.bound().first().context("a node without an address")?;
    let mut targets = Vec::new();
    for name in names {
        let own = RealEndpoint::bind(directory, name)?;
        let connection = own.connect(address).await?;
        let now = clock::now();
        let times = Times {
            began: now,
            deadline: soon(),
            date: own.date(),
        };
        let hello = |_: &NodeId| responder::hello(own.id());
        let link = setup::dialed(connection, hello, &own.material, times).await?;
        let switch = Switch::default();
        let serving = responder::serve(own.id().clone(), link, wedge, switch.clone());
        scope.spawn("responder", |_| serving)?;
        targets.push(Target {
            peer: own.id().key(),
            means: Means::Wedge(switch),
        });
    }
    Ok((targets, node))
}

/// The node that detects, in this process.
async fn observer(directory: &Path, peers: &str) -> anyhow::Result<Node> {
    // All responders dial from one address at once.
    let limits = "[limits]\nconnections_per_source_burst = 1000\n";
    // Peers that have heard of it would dial it, and so go around the path that is struck.
    let nowhere = format!("advertise = [\"{NOWHERE}\"]");
    let text = config(OBSERVER, ANY_PORT.into(), &nowhere) + limits + peers;
    let config = Config::parse(&text, directory)?;
    let env = endpoint::env(directory, OBSERVER)?;
    Ok(Node::start(config, env, Metrics::new()).await?)
}

/// - `more`: keys of `[node]`.
fn config(name: &str, bind: SocketAddr, more: &str) -> String {
    format!(
        r#"[node]
name = "{name}"
region = "{REGION}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{bind}"
state_dir = "{name}.state"
{more}

[log]
level = "error"

[admin]
listen = "unix:{name}.sock"

[identity]
certificate = "{name}.pem"
key = "{name}.key"
bundle = "bundle.pem"

"#
    )
}

async fn until_linked(links: &Links, targets: &[Target]) -> anyhow::Result<()> {
    let deadline = soon();
    while !targets
        .iter()
        .all(|target| links.get(target.peer).is_some())
    {
        ensure!(clock::now() < deadline, "the links were not made");
        clock::sleep_until(Some(clock::now() + LOOK_EVERY)).await;
    }
    Ok(())
}

const REGION: &str = "figures";
const OBSERVER: &str = "observer";
/// The port `discard`, where no node is.
const NOWHERE: &str = "127.0.0.1:9";
const LOOK_EVERY: Duration = Duration::from_millis(10);
