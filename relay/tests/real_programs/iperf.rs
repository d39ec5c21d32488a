//! iperf3 across the mesh.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::fleet::WITHIN;

/// Runs one client for three seconds, against a server of its own.
///
/// - `ports`: of the listen and of the service.
pub(crate) async fn run(
    (near, far): (u16, u16),
    mode: &[&str],
    direction: Option<&str>,
) -> serde_json::Value {
    let mut server = Server::start(far).await;
    let mode: Vec<&str> = mode.iter().copied().chain(direction).collect();
    let json = client(near, 3, &mode).await;
    server.ended().await;
    json
}

/// Runs one client to its end; what it reports.
async fn client(port: u16, seconds: u32, mode: &[&str]) -> serde_json::Value {
    let output = Command::new("iperf3")
        .args(["--client", "127.0.0.1", "--json", "--port"])
        .arg(port.to_string())
        .arg("--time")
        .arg(seconds.to_string())
        .args(mode)
        .kill_on_drop(true)
        .output();
    let within = Duration::from_secs(seconds.into()) + 2 * WITHIN;
    let output = timeout(within, output).await;
    let output = output
        .expect("iperf3 ends by itself")
        .expect("iperf3 is installed");
    let json = serde_json::from_slice(&output.stdout).expect("iperf3 was asked for JSON");
    assert!(output.status.success(), "iperf3 {mode:?} failed: {json}");
    json
}

/// A server for one client: one that takes one after the other does not listen in between.
struct Server {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it and waits until it listens.
    async fn start(port: u16) -> Self {
        let mut child = Command::new("iperf3")
            .args(["--server", "--one-off", "--forceflush", "--port"])
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("iperf3 is installed");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut server = Self { child, said };
        let listens = async {
            while !server
                .line()
                .await
                .expect("iperf3 listens")
                .contains("listening")
            {}
        };
        timeout(WITHIN, listens).await.expect("iperf3 starts");
        server
    }

    /// The next line that it says, until it ends.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line).await.unwrap();
        (read > 0).then_some(line)
    }

    /// Waits for its end after its client's.
    async fn ended(&mut self) {
        let mut rest = Vec::new();
        let ended = async {
            self.said.read_to_end(&mut rest).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let ended = timeout(WITHIN, ended).await;
        let ended = ended.expect("a server for one client ends after it");
        assert!(ended.success(), "{}", String::from_utf8_lossy(&rest));
    }
}
