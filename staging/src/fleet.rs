//! Real node processes on this machine, owned: they end with their [`Fleet`].

pub mod network;
pub mod paths;
pub mod ports;
pub mod switch;

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use causeway::{admin, identity::pki};
use futures_util::future::{join_all, select_all};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, ChildStdin, Command},
    time::timeout,
};

use self::{
    network::{Network, Place},
    paths::PathClient,
    ports::Ports,
    switch::Switch,
};
use crate::node_process;

/// What one node is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name, which also names its files.
    pub name: &'static str,
    /// Its region.
    pub region: &'static str,
    /// Its `[[service]]` and `[[listen]]` sections.
    pub tables: String,
}

/// Node processes, the network between them, and the directory with their certificates,
/// configurations, state and logs.
///
/// Dropping it kills what still runs, ends the network and removes the directory;
/// [`Fleet::stop`] first lets the nodes end in order. Should this process be killed, the nodes end
/// by themselves: see [`node_process`].
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: nodes end with their network still there, and nothing writes to the
    // directory any more when it is removed.
    nodes: Vec<NodeProcess>,
    network: Network,
    directory: TempDir,
}

/// What has ended by itself.
#[derive(Debug)]
pub enum Exit {
    /// The network; why.
    Network(anyhow::Error),
    /// A node: which, and how.
    Node(usize, ExitStatus),
}

/// What is left to tell of a fleet.
#[derive(Debug)]
pub struct Remains {
    /// Whether its directory is gone.
    pub directory: io::Result<()>,
    /// What the network did.
    pub network: anyhow::Result<netem::report::Report>,
}

#[derive(Debug)]
struct NodeProcess {
    spec: NodeSpec,
    child: Child,
    pid: u32,
    admin: admin::AdminAddress,
    log: PathBuf,
    /// Closed when this process ends, however that comes about.
    _lifeline: ChildStdin,
}

impl Fleet {
    /// Starts a full mesh of `specs`, each node of which knows all others, as far apart as their
    /// regions.
    ///
    /// `ports` are given free just before the nodes start, which is when they bind them.
    ///
    /// # Errors
    /// Certificates or files could not be written, the network not opened, or a process not
    /// started. What was started is killed.
    ///
    /// # Cancel safety
    /// Cancel safe: what was started is killed.
    pub async fn start(specs: Vec<NodeSpec>, mut ports: Ports) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("causeway-demo-")
            .tempdir()
            .context("a temporary directory could not be made")?;
        let addresses = specs
            .iter()
            .map(|_| ports.udp())
            .collect::<io::Result<Vec<_>>>()
            .context("no UDP port is free")?;
        make_certificates(directory.path(), &specs)?;
        let places = specs.iter().zip(&addresses).map(|(spec, address)| Place {
            name: spec.name,
            region: spec.region,
            address: *address,
        });
        let control = socket(directory.path(), NETWORK);
        let network = Network::start(&places.collect::<Vec<_>>(), control).await?;
        for (own, spec) in specs.iter().enumerate() {
            let path = directory.path().join(format!("{}.toml", spec.name));
            fs::write(&path, config(&specs, addresses[own], network.fronts(), own))
                .with_context(|| format!("{} could not be written", path.display()))?;
        }
        drop(ports);
        let mut fleet = Self {
            nodes: Vec::new(),
            network,
            directory,
        };
        for spec in specs {
            let node = NodeProcess::start(fleet.directory.path(), spec)?;
            fleet.nodes.push(node);
        }
        Ok(fleet)
    }

    /// Name, region and process id of every node, in the order of the specs.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&'static str, &'static str, u32)> {
        self.nodes
            .iter()
            .map(|node| (node.spec.name, node.spec.region, node.pid))
    }

    /// Clients of the nodes' admin APIs, in the same order.
    pub fn admin_clients(&self, deadline: Duration) -> impl Iterator<Item = admin::Client> {
        self.nodes
            .iter()
            .map(move |node| admin::Client::new(node.admin.clone(), deadline))
    }

    /// The median of the one-way delay between two nodes, by their places in the specs.
    pub fn distance(&self, from: usize, to: usize) -> Duration {
        self.network.distance(from, to)
    }

    /// Cuts and heals what lies between two nodes, by their places in the specs.
    pub fn switch(&self, a: usize, b: usize) -> Switch {
        self.network.switch(a, b)
    }

    /// Asks node `from` which path it uses to node `to`.
    pub fn path_client(&self, from: usize, to: usize) -> PathClient {
        let name = |place: usize| {
            let NodeSpec { name, region, .. } = &self.nodes[place].spec;
            format!("{region}/{name}")
        };
        let socket = socket(self.directory.path(), self.nodes[from].spec.name);
        PathClient::new(socket, name(from), name(to))
    }

    /// Waits until a node or the network has ended; returns which, and how.
    ///
    /// # Errors
    /// The operating system cannot tell.
    ///
    /// # Cancel safety
    /// Cancel safe; a node that has ended is found again by the next call. The end of the network
    /// is not: nothing is to be waited for after it.
    pub async fn next_exit(&mut self) -> io::Result<Exit> {
        let waits = self
            .nodes
            .iter_mut()
            .map(|node| Box::pin(node.child.wait()));
        tokio::select! {
            biased;
            reason = self.network.failed() => Ok(Exit::Network(reason)),
            (status, index, _) = select_all(waits) => Ok(Exit::Node(index, status?)),
        }
    }

    /// The last lines that a node logged.
    pub fn log_tail(&self, index: usize) -> Vec<String> {
        let log = fs::read(&self.nodes[index].log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().filter(|line| !line.is_empty()).collect();
        let first = lines.len().saturating_sub(TAIL_LINES);
        lines[first..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// Asks all nodes to end and waits for them; kills what has not ended by the deadline.
    ///
    /// Returns the names of those that were killed.
    ///
    /// # Cancel safety
    /// Cancel safe; dropping the fleet then kills at once.
    pub async fn stop(&mut self, deadline: Duration) -> Vec<&'static str> {
        let ends = self.nodes.iter_mut().map(|node| node.stop(deadline));
        join_all(ends).await.into_iter().flatten().collect()
    }

    /// Ends the network of a fleet that was stopped and removes its directory.
    ///
    /// # Cancel safety
    /// Cancel safe: all of it is done, but not told.
    pub async fn remove(self) -> Remains {
        let Self {
            nodes,
            network,
            directory,
        } = self;
        drop(nodes);
        let network = network.stop(NETWORK_DEADLINE).await;
        Remains {
            directory: directory.close(),
            network,
        }
    }
}

impl NodeProcess {
    fn start(directory: &Path, spec: NodeSpec) -> anyhow::Result<Self> {
        let file = |extension| directory.join(format!("{}.{extension}", spec.name));
        let log = file("log");
        let log_file =
            File::create(&log).with_context(|| format!("{} could not be made", log.display()))?;
        let program = std::env::current_exe().context("this program does not know its own file")?;
        let mut child = Command::new(program)
            .arg(node_process::COMMAND)
            .args(["node", "--config"])
            .arg(file("toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log_file)
            // Ctrl-C goes to the whole group of the terminal's foreground; in a group of its own
            // the node lives until its owner ends it, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the process of {} could not be started", spec.name))?;
        // Taken out, because waiting for a child closes the standard input that it still has.
        let lifeline = child.stdin.take().expect("it was asked for");
        let pid = child.id().expect("it was not waited for");
        Ok(Self {
            child,
            pid,
            admin: admin::AdminAddress::Unix(socket(directory, spec.name)),
            log,
            _lifeline: lifeline,
            spec,
        })
    }

    /// Returns the node's name if it had to be killed.
    async fn stop(&mut self, deadline: Duration) -> Option<&'static str> {
        // No id means that it has ended and was waited for: its number may be another's by now.
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))?;
        // It may end by itself before the signal comes.
        let _ = kill_process(pid, Signal::TERM);
        if timeout(deadline, self.child.wait()).await.is_ok() {
            return None;
        }
        // SIGKILL is not refused; a process in an uninterruptible sleep is left to the system.
        let _ = timeout(KILL_DEADLINE, self.child.kill()).await;
        Some(self.spec.name)
    }
}

/// Where the node of that name, or the network, takes questions.
fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

fn make_certificates(directory: &Path, specs: &[NodeSpec]) -> anyhow::Result<()> {
    // A socket whose path is cut off would be another socket.
    for name in specs.iter().map(|spec| spec.name).chain([NETWORK]) {
        let bytes = socket(directory, name).as_os_str().len();
        ensure!(
            bytes <= MAX_SOCKET_PATH_BYTES,
            "{} is too long a path for sockets in it; set TMPDIR to a shorter one",
            directory.display()
        );
    }
    let authority = directory.join(PKI);
    let now = wall_clock();
    pki::init(&authority, TRUST_DOMAIN, now)?;
    for spec in specs {
        pki::issue(&authority, spec.region, spec.name, &authority, 1, now)?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates of real processes begin at the real date"
)]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// The configuration file of node `own`, which binds `bind` and is reached at its front; relative
/// paths in it start at the file's directory.
fn config(specs: &[NodeSpec], bind: SocketAddr, fronts: &[SocketAddr], own: usize) -> String {
    let NodeSpec {
        name,
        region,
        tables,
    } = &specs[own];
    let mut text = format!(
        r#"[node]
name = "{name}"
region = "{region}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{bind}"
advertise = ["{}"]
state_dir = "{name}.state"

[identity]
certificate = "{PKI}/{name}.pem"
key = "{PKI}/{name}.key"
bundle = "{PKI}/bundle.pem"

[admin]
listen = "unix:{name}.sock"
"#,
        fronts[own]
    );
    for (index, (peer, front)) in specs.iter().zip(fronts).enumerate() {
        if index != own {
            text += &format!(
                "\n[[peer]]\nregion = \"{}\"\nname = \"{}\"\naddresses = [\"{front}\"]\n",
                peer.region, peer.name
            );
        }
    }
    text + "\n" + tables
}

/// The trust domain of every fleet; its CA is made anew each time and gone with the directory.
pub const TRUST_DOMAIN: &str = "demo.example";
const PKI: &str = "pki";
/// Names the control socket of the network; no node has this name.
const NETWORK: &str = "network";
/// Enough for an error and what led to it.
const TAIL_LINES: usize = 8;
const KILL_DEADLINE: Duration = Duration::from_secs(2);
/// It ends within one turn of its loop; the rest is for a machine with much else to do.
const NETWORK_DEADLINE: Duration = Duration::from_secs(2);
/// `sun_path` holds 104 bytes with its final zero on the BSDs, which is the least of all systems.
const MAX_SOCKET_PATH_BYTES: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_s_configuration_is_valid_and_names_the_fronts_of_all_others() {
        let spec = |name, region| NodeSpec {
            name,
            region,
            tables: String::new(),
        };
        let specs = [spec("a", "north"), spec("b", "south"), spec("c", "east")];
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (bind, fronts) = (local(7_400), [7_401, 7_402, 7_403].map(local));
        for own in 0..specs.len() {
            let text = config(&specs, bind, &fronts, own);
            let config = causeway::config::Config::parse(&text, Path::new("/tmp/x")).unwrap();
            assert_eq!(config.peers().len(), 2, "{text}");
            assert_eq!(text.matches("127.0.0.1:7400").count(), 1, "{text}");
            for front in fronts {
                assert!(text.contains(&format!("[\"{front}\"]")), "{text}");
            }
        }
    }
}
