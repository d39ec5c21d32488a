//! iperf3 across the mesh.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use causeway::clock;
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

/// Sends UDP one way for some time, at 20 Mbit/s in packets of 1,200 bytes.
///
/// - `ports`: of the listen and of the service.
pub(crate) async fn stream((near, far): (u16, u16), seconds: u32) -> Stream {
    let mut server = Server::start(far).await;
    let mode = ["--udp", "--length", "1200", "--bitrate", "20M"];
    let (json, mut stream) = tokio::join!(client(near, seconds, &mode), async {
        let mut stream = Stream::default();
        while let Some(line) = server.line().await {
            stream.read(clock::now(), &line);
        }
        stream
    });
    server.ended().await;
    stream.sent = json["end"]["sum"]["packets"].as_u64().unwrap_or_default();
    stream
}

/// What became of a stream, as iperf3's server says.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Packets that the client sent.
    pub(crate) sent: u64,
    /// One after the other.
    pub(crate) intervals: Vec<Interval>,
    /// Over all of it.
    pub(crate) sum: Option<Count>,
}

/// What became of a stream in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    /// When the server said so, which is at its end.
    pub(crate) end: Instant,
    pub(crate) count: Count,
}

/// Packets as the server counts them: by the numbers of those that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Below zero if more that were lost before have come late.
    pub(crate) lost: i64,
    /// Those that arrived, and those missing before them.
    pub(crate) total: i64,
}

impl Stream {
    /// Intervals that lie between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = Interval> {
        let within = move |interval: &Interval| interval.end - SECOND >= from && interval.end < to;
        self.intervals.iter().copied().filter(within)
    }

    fn read(&mut self, now: Instant, line: &str) {
        let Some(count) = Count::read(line) else {
            return;
        };
        match line.trim_end().ends_with("receiver") {
            true => self.sum = Some(count),
            false => self.intervals.push(Interval { end: now, count }),
        }
    }
}

impl Count {
    /// Reads `..  0.017 ms  0/2083 (0%)`, where the server says that much of an interval.
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_share = |word: &str| word.starts_with('(') && word.ends_with("%)");
        let at = words.iter().position(|word| is_share(word))?;
        let (lost, total) = words[at.checked_sub(1)?].split_once('/')?;
        Some(Self {
            lost: lost.parse().ok()?,
            total: total.parse().ok()?,
        })
    }
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

/// How often the server speaks.
const SECOND: Duration = Duration::from_secs(1);
