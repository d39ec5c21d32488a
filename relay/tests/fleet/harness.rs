//! Real `causeway` processes on loopback addresses, with certificates from `causeway pki`.

use std::{
    fs::{self, File},
    future::Future,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use causeway::admin::{
    Client,
    view::{PeerDetailView, StatusView},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// A directory with a trust domain, in which nodes are configured and run.
#[derive(Debug)]
pub(crate) struct Fleet {
    directory: TempDir,
}

/// What one node is started with.
#[derive(Debug, Clone)]
pub(crate) struct NodeSpec {
    /// `region/name`.
    pub(crate) id: &'static str,
    /// Tells two nodes with one name apart; else the name.
    pub(crate) files: &'static str,
    pub(crate) bind: SocketAddr,
    /// Other keys of `[node]`.
    pub(crate) keys: String,
    /// `[[peer]]` tables.
    pub(crate) peers: String,
    /// `[[service]]`, `[[listen]]` and other tables.
    pub(crate) tables: String,
}

/// A node that runs as a process of its own, and is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    pub(crate) spec: NodeSpec,
    pub(crate) admin: String,
    child: Child,
    log: PathBuf,
}

impl Fleet {
    /// Makes the directory, and a private authority in it.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let fleet = Self { directory };
        fleet.init("pki").await;
        fleet
    }

    /// Makes an authority of the trust domain in a directory of its own.
    pub(crate) async fn init(&self, pki: &str) {
        let dir = self.path(pki);
        let arguments = ["pki", "init", "--trust-domain", TRUST_DOMAIN, "--dir"];
        succeed(causeway(arguments).arg(dir)).await;
    }

    /// Issues certificate and key of a node, by the authority in `pki`, to where its configuration
    /// looks for them.
    pub(crate) async fn issue(&self, pki: &str, spec: &NodeSpec) {
        self.issue_for_days(pki, spec, 90).await;
    }

    /// As [`Fleet::issue`], with an end of the caller's choice.
    pub(crate) async fn issue_for_days(&self, pki: &str, spec: &NodeSpec, days: u32) {
        let (region, name) = spec.region_and_name();
        let (dir, out) = (self.path(pki), self.path(spec.files));
        let arguments = ["pki", "issue", "--region", region, "--name", name, "--dir"];
        let mut command = causeway(arguments);
        command.arg(dir).arg("--out").arg(out);
        succeed(command.args(["--days", &days.to_string()])).await;
    }

    /// Writes the configuration of a node, and returns where.
    pub(crate) fn configure(&self, spec: &NodeSpec) -> PathBuf {
        let path = self.path(&format!("{}.toml", spec.files));
        fs::write(&path, spec.config()).expect("the test's own directory can be written");
        path
    }

    /// Starts a node that is configured and certified, and does not wait for it.
    pub(crate) fn spawn(&self, spec: &NodeSpec) -> NodeProcess {
        let log = self.path(&format!("{}.log", spec.files));
        let file = File::options().create(true).append(true).open(&log);
        let config = self.path(&format!("{}.toml", spec.files));
        let child = causeway(["node", "--config"])
            .arg(config)
            .stderr(file.expect("the test's own directory can be written"))
            .spawn()
            .expect("the binary was built with this test");
        let socket = self.path(&format!("{}.sock", spec.files));
        NodeProcess {
            spec: spec.clone(),
            admin: format!("unix:{}", socket.display()),
            child,
            log,
        }
    }

    /// Certifies, configures and starts a node, and waits until its admin API answers.
    pub(crate) async fn start(&self, spec: &NodeSpec) -> NodeProcess {
        self.issue("pki", spec).await;
        self.configure(spec);
        let mut node = self.spawn(spec);
        node.answers().await;
        node
    }

    /// As [`Fleet::start`], for a full mesh of all `specs`; waits until all see all others up.
    pub(crate) async fn start_mesh<const N: usize>(
        &self,
        mut specs: [NodeSpec; N],
    ) -> [NodeProcess; N] {
        let everybody = specs.clone();
        for spec in &mut specs {
            let id = spec.id;
            for other in everybody.iter().filter(|other| other.id != id) {
                *spec = spec.clone().peer(other.id, &[other.bind]);
            }
            self.issue("pki", spec).await;
            self.configure(spec);
        }
        let mut nodes = specs.map(|spec| self.spawn(&spec));
        for node in &mut nodes {
            let id = node.spec.id;
            for other in everybody.iter().filter(|other| other.id != id) {
                node.peer_is(other.id, "up").await;
            }
        }
        nodes
    }

    /// A path in the fleet's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl NodeSpec {
    /// A node without peers, on a port of its own.
    pub(crate) fn new(id: &'static str) -> Self {
        let mut spec = Self {
            id,
            files: "",
            bind: free_both(),
            keys: String::new(),
            peers: String::new(),
            tables: String::new(),
        };
        spec.files = spec.region_and_name().1;
        spec
    }

    /// With a peer to dial.
    pub(crate) fn peer(self, id: &str, addresses: &[SocketAddr]) -> Self {
        let (region, name) = id.split_once('/').expect("an id is region/name");
        let named = format!("region = \"{region}\"\nname = \"{name}\"\n");
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        self.peer_table(&named, &format!("{addresses:?}"))
    }

    /// With a peer to dial at one address or name.
    pub(crate) fn peer_at(self, id: &str, address: &str) -> Self {
        let (region, name) = id.split_once('/').expect("an id is region/name");
        let named = format!("region = \"{region}\"\nname = \"{name}\"\n");
        self.peer_table(&named, &format!("[{address:?}]"))
    }

    /// Telling others an address at which it cannot be dialed: it has the links that it dials.
    pub(crate) fn hidden(mut self) -> Self {
        self.keys += "advertise = [\"127.0.0.1:9\"]\n";
        self
    }

    /// With an address to dial whose node is not known.
    pub(crate) fn seed(self, address: &str) -> Self {
        self.peer_table("", &format!("[{address:?}]"))
    }

    /// With other tables.
    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.tables += tables;
        self
    }

    fn peer_table(mut self, named: &str, addresses: &str) -> Self {
        self.peers += &format!("[[peer]]\n{named}addresses = {addresses}\n");
        self
    }

    fn region_and_name(&self) -> (&'static str, &'static str) {
        self.id.split_once('/').expect("an id is region/name")
    }

    /// The configuration, whose relative paths start at the fleet's directory.
    pub(crate) fn config(&self) -> String {
        let (region, name) = self.region_and_name();
        let Self {
            files,
            bind,
            keys,
            peers,
            tables,
            ..
        } = self;
        format!(
            r#"
[node]
name = "{name}"
region = "{region}"
trust_domain = "{TRUST_DOMAIN}"
bind = "{bind}"
state_dir = "{files}.state"
{keys}

[identity]
certificate = "{files}/{name}.pem"
key = "{files}/{name}.key"
bundle = "{files}/bundle.pem"

[admin]
listen = "unix:{files}.sock"

{tables}
{peers}
"#
        )
    }
}

impl NodeProcess {
    /// Asks the node, in this process.
    pub(crate) fn client(&self) -> Client {
        let address = self.admin.parse().expect("the test made a good address");
        Client::new(address, Duration::from_secs(5))
    }

    /// Waits until the admin API answers.
    pub(crate) async fn answers(&mut self) -> StatusView {
        let client = self.client();
        self.eventually("answers", async || {
            let status = client.status().await;
            status.map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until `look` finds what is waited for; its error says what there is instead.
    pub(crate) async fn eventually<T, F>(&mut self, what: &str, mut look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, String>>,
    {
        let mut last = "nothing was looked at".to_owned();
        for _ in 0..LOOKS {
            match look().await {
                Ok(found) => return found,
                Err(instead) => last = instead,
            }
            self.assert_runs();
            sleep(LOOK_EVERY).await;
        }
        panic!("never: {what}; last: {last}\n{}", self.log());
    }

    /// Waits until a peer satisfies `test`, and returns it.
    pub(crate) async fn peer_where(
        &mut self,
        peer: &str,
        what: &str,
        test: impl Fn(&PeerDetailView) -> bool,
    ) -> PeerDetailView {
        let client = self.client();
        let (test, client) = (&test, &client);
        self.eventually(&format!("{peer} {what}"), async || {
            match client.peer(peer).await {
                Ok(detail) if test(&detail) => Ok(detail),
                Ok(detail) => Err(format!("{detail:#?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Waits until a peer is in `state`.
    pub(crate) async fn peer_is(&mut self, peer: &str, state: &str) -> PeerDetailView {
        let is = |detail: &PeerDetailView| detail.peer.state == state;
        self.peer_where(peer, &format!("is {state}"), is).await
    }

    /// A peer as the node sees it now.
    pub(crate) async fn peer(&self, peer: &str) -> PeerDetailView {
        let found = self.client().peer(peer).await;
        found.unwrap_or_else(|error| panic!("{peer}: {error}\n{}", self.log()))
    }

    /// Waits until the log has `text`.
    pub(crate) async fn logs(&mut self, text: &str) {
        let log = self.log.clone();
        self.eventually(&format!("logs {text:?}"), async || {
            match read(&log).contains(text) {
                true => Ok(()),
                false => Err("it did not".to_owned()),
            }
        })
        .await;
    }

    /// The sum of a metric's series whose labels contain all of `labels`; 0 if there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let metrics = self.client().metrics().await;
        let metrics = metrics.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        let series = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let meant = series.filter(|(series, _)| {
            let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
            found == name && found_labels.contains(labels)
        });
        meant
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric is above `least`.
    pub(crate) async fn metric_above(&mut self, least: f64, name: &str, labels: &str) {
        let client = self.client();
        for _ in 0..LOOKS {
            if self.metric(name, labels).await > least {
                return;
            }
            self.assert_runs();
            sleep(LOOK_EVERY).await;
        }
        let metrics = client.metrics().await.unwrap_or_default();
        panic!("{name}{{{labels}}} never was above {least}:\n{metrics}");
    }

    /// Waits until what comes in at a listen would go to `peer`.
    pub(crate) async fn serves(&mut self, near: SocketAddr, peer: &str) {
        let (client, near) = (self.client(), near.to_string());
        self.eventually(&format!("{near} is carried to {peer}"), async || {
            let status = client.status().await.map_err(|error| error.to_string())?;
            let listen = status.listens.iter().find(|listen| listen.address == near);
            match listen.and_then(|listen| listen.via.as_deref()) {
                Some(via) if via == peer => Ok(()),
                via => Err(format!("{via:?}")),
            }
        })
        .await;
    }

    /// Has the node read its configuration again, and waits until it did.
    pub(crate) async fn reloads(&mut self) {
        let before = self.log().matches(RELOADED).count();
        self.signal("HUP").await;
        let log = self.log.clone();
        self.eventually("reloads its configuration", async || {
            match read(&log).matches(RELOADED).count() > before {
                true => Ok(()),
                false => Err("it has not".to_owned()),
            }
        })
        .await;
    }

    /// Status and body of the answer to a plain request to the admin API.
    pub(crate) async fn http(&self, path: &str) -> (u16, String) {
        let socket = self.admin.trim_start_matches("unix:");
        let mut stream = UnixStream::connect(socket).await.expect("the node runs");
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        let answer = async {
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = timeout(WITHIN, answer).await.expect("an answer comes");
        let answer = answer.expect("the connection is not broken");
        let (head, body) = answer.split_once("\r\n\r\n").expect("it speaks HTTP");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("there is a status"), body.to_owned())
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.pid();
        let script = format!("kill -{name} {pid}");
        succeed(Command::new("sh").args(["-c", &script])).await;
    }

    /// Kills the process at once, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it is ours");
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        match timeout(WITHIN, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("{} did not end:\n{}", self.spec.id, self.log()),
        }
    }

    /// Sends SIGTERM and expects an orderly end.
    pub(crate) async fn terminate(mut self) {
        self.signal("TERM").await;
        let status = self.ended().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// What the node logged, and those before it with the same files.
    pub(crate) fn log(&self) -> String {
        format!("log of {}:\n{}", self.spec.id, read(&self.log))
    }

    fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("{} ended with {status}:\n{}", self.spec.id, self.log());
        }
    }
}

/// A `causeway` command, which is killed when it is dropped.
pub(crate) fn causeway<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command
        .args(arguments)
        .env_remove("CAUSEWAY_LOG")
        .env_remove("CAUSEWAY_ADMIN")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn output(command: &mut Command) -> Output {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output();
    let output = timeout(WITHIN, output).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} did not end"));
    output.expect("the program can be run")
}

/// Runs a command that must succeed; what it printed.
pub(crate) async fn succeed(command: &mut Command) -> String {
    let output = output(command).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A loopback address whose port is free for TCP and UDP, and not handed out twice.
///
/// Below the ports that the system gives to sockets that do not ask for one, so that none of those
/// takes it before it is used.
pub(crate) fn free_both() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 97 % 20_000).expect("it is below 20,000");
    for _ in 0..1_000 {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// A `[[service]]` for all nodes of the trust domain.
pub(crate) fn service(kind: &str, address: SocketAddr, name: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nkind = \"{kind}\"\naddress = \"{address}\"\n\
         allow = [\"spiffe://{TRUST_DOMAIN}/region/*/node/*\"]\n"
    )
}

/// A `[[listen]]`; `to` names a region or a node, as in `region = "us-east"`.
pub(crate) fn listen(kind: &str, address: SocketAddr, service: &str, to: &str) -> String {
    format!(
        "[[listen]]\nkind = \"{kind}\"\naddress = \"{address}\"\nservice = \"{service}\"\n\
         to = {{ {to} }}\n"
    )
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub(crate) const TRUST_DOMAIN: &str = "example.org";
/// Far above what anything here takes, so that a busy machine fails no test.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);
const RELOADED: &str = "configuration reloaded";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 600;
