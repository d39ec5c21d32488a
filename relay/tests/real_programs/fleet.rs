//! Real `causeway` processes on loopback addresses, with certificates from `causeway pki`.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A node that runs as a process of its own.
pub(crate) struct NodeProcess {
    pub(crate) name: &'static str,
    child: Child,
    admin: String,
    log: PathBuf,
}

/// What one node of a fleet is started with.
pub(crate) struct NodeSpec {
    pub(crate) region: &'static str,
    pub(crate) name: &'static str,
    /// `[[service]]` and `[[listen]]` tables.
    pub(crate) tables: String,
}

/// Starts a full mesh of `specs` in `directory` and waits until every node sees all others up.
pub(crate) async fn start(directory: &Path, specs: &[NodeSpec]) -> Vec<NodeProcess> {
    let pki = directory.join("pki");
    causeway(&[
        "pki",
        "init",
        "--trust-domain",
        TRUST_DOMAIN,
        "--dir",
        text(&pki),
    ])
    .await;
    let addresses: Vec<_> = specs.iter().map(|_| free_udp()).collect();
    let mut nodes = Vec::new();
    for (spec, address) in specs.iter().zip(&addresses) {
        let NodeSpec {
            region,
            name,
            tables,
        } = spec;
        causeway(&[
            "pki",
            "issue",
            "--dir",
            text(&pki),
            "--region",
            region,
            "--name",
            name,
        ])
        .await;
        let mut config = format!(
            r#"
[node]
name = "{name}"
region = "{region}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{address}"
state_dir = "{name}.state"

[identity]
certificate = "pki/{name}.pem"
key = "pki/{name}.key"
bundle = "pki/bundle.pem"

[admin]
listen = "unix:{name}.sock"

{tables}
"#
        );
        for (peer, address) in specs.iter().zip(&addresses) {
            if peer.name != *name {
                config += &format!(
                    "[[peer]]\nregion = \"{}\"\nname = \"{}\"\naddresses = [\"{address}\"]\n",
                    peer.region, peer.name
                );
            }
        }
        let path = directory.join(format!("{name}.toml"));
        fs::write(&path, config).expect("the test's own directory can be written");
        let log = directory.join(format!("{name}.log"));
        let child = Command::new(BINARY)
            .args(["node", "--config", text(&path)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the test's own directory can be written"))
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with this test");
        let admin = format!("unix:{}", text(&directory.join(format!("{name}.sock"))));
        nodes.push(NodeProcess {
            name,
            child,
            admin,
            log,
        });
    }
    for node in &mut nodes {
        node.wait_for_peers(specs.len() - 1).await;
    }
    nodes
}

impl NodeProcess {
    /// Waits until `count` peers are up, as `causeway peers --json` tells.
    async fn wait_for_peers(&mut self, count: usize) {
        let mut seen = String::new();
        for _ in 0..100 {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("{} ended with {status}:\n{}", self.name, self.log());
            }
            seen = self.peers().await;
            if seen.matches("\"state\":\"up\"").count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "{} has not {count} peers up: {seen}\n{}",
            self.name,
            self.log()
        );
    }

    /// What `causeway peers --json` says, without white space.
    pub(crate) async fn peers(&self) -> String {
        let output = Command::new(BINARY)
            .args(["peers", "--json", "--admin", &self.admin])
            .output()
            .await
            .expect("the binary was built with this test");
        let json = String::from_utf8_lossy(&output.stdout).into_owned();
        json.split_whitespace().collect()
    }

    /// Sends SIGTERM and expects an orderly end.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().expect("it has not been waited for");
        let killed = Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .await;
        assert!(killed.expect("kill is part of every system").success());
        let status = timeout(Duration::from_secs(10), self.child.wait()).await;
        let status =
            status.unwrap_or_else(|_| panic!("{} did not end:\n{}", self.name, self.log()));
        assert!(
            status.expect("a child can be waited for").success(),
            "{}",
            self.log()
        );
    }

    /// What the node logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Runs a `causeway` command that must succeed.
async fn causeway(arguments: &[&str]) {
    let output = Command::new(BINARY)
        .args(arguments)
        .output()
        .await
        .expect("the binary was built with this test");
    assert!(
        output.status.success(),
        "causeway {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An address on which nothing listens for UDP; it may be taken before it is used, but the kernel
/// hands out its ports in an order that makes this rare.
pub(crate) fn free_udp() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    socket.local_addr().expect("it is bound")
}

/// A port that is free for TCP and UDP both.
pub(crate) fn free_both() -> SocketAddr {
    for _ in 0..64 {
        let address = free_udp();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both TCP and UDP");
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the test's own paths are UTF-8")
}

const BINARY: &str = env!("CARGO_BIN_EXE_causeway");
const TRUST_DOMAIN: &str = "example.org";
