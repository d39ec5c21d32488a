//! The demo as a user runs it: real processes, real sockets, and nothing left of them.

use std::{
    fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use netem::regions::Matrix;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

#[tokio::test]
async fn a_short_run_passes_says_so_in_json_and_leaves_nothing_behind() {
    let mut demo = Demo::start(3);
    let (status, stderr) = demo.wait().await;
    assert!(status.success(), "{status}\n{stderr}");
    assert_eq!(stderr, "");

    let json = demo.json();
    assert_eq!(json["outcome"], "passed", "{json}");
    let packets = |key: &str| json["packets"][key].as_u64().unwrap();
    assert!(packets("delivered") > 0, "{json}");
    assert_eq!(
        packets("sent"),
        packets("delivered") + packets("lost"),
        "{json}"
    );
    let stream = &json["stream"];
    assert_eq!(stream["sha256_match"], true, "{json}");
    assert!(stream["bytes_sent"].as_u64() > Some(0), "{json}");
    assert_eq!(stream["bytes_sent"], stream["bytes_received"], "{json}");
    let nodes = json["nodes"].as_array().unwrap();
    let name = |node: &serde_json::Value| (node["name"].to_string(), node["region"].to_string());
    let names: std::collections::BTreeSet<_> = nodes.iter().map(name).collect();
    assert_eq!(names.len(), 4, "{json}");
    assert!(nodes.iter().all(|node| node["peers_up"] == 3), "{json}");
    assert_distances_are_real(&json);
    // Too short for a link to be cut and to be in use again.
    assert!(
        json["failover"].is_null() && json["return_ms"].is_null(),
        "{json}"
    );
    let emulator = &json["emulator"];
    assert_eq!(emulator["conserved"], true, "{json}");
    assert!(emulator["packets"].as_u64() > json["packets"]["delivered"].as_u64());
    let late = |key: &str| emulator["lateness"][key].as_f64().unwrap();
    assert!(late("p50_us") <= late("p99_us") && late("p99_us") <= late("max_us"));

    let crossing = demo.seen.iter().filter(|line| line.contains("crossing"));
    assert!(crossing.count() >= 3, "a line a second: {:#?}", demo.seen);
    assert!(!demo.seen.concat().contains('\x1b'), "{:#?}", demo.seen);
    let pairs = demo.seen.iter().filter(|line| line.contains("on AWS"));
    assert_eq!(pairs.count(), 6, "{:#?}", demo.seen);
    let emulator = demo
        .seen
        .iter()
        .filter(|line| line.starts_with("Emulator: "));
    assert_eq!(emulator.count(), 1, "{:#?}", demo.seen);
    demo.assert_nothing_is_left();
}

/// What a cut costs, by the packets' own account. Only what the run compares with itself is bounded:
/// the machine may be busy.
#[tokio::test]
async fn a_cut_link_costs_the_time_to_notice_it_and_nothing_on_the_way_back() {
    let mut demo = Demo::start(20);
    let (status, stderr) = demo.wait().await;
    let json = demo.json();
    let failover = &json["failover"];
    assert_cut_is_measured(&json);
    assert!(status.success(), "{status}\n{stderr}");
    assert_eq!(stderr, "");
    let cut_for = number(failover, "healed_at_ms") - number(failover, "cut_at_ms");
    for way in failover["ways"].as_array().expect("it is a list") {
        let (detected, gap) = (number(way, "detected_ms"), number(way, "gap_ms"));
        assert!(detected > 0.0 && detected < cut_for, "{way}");
        // Packets take the other path from about then on, and not only from the heal on.
        assert!(gap < cut_for, "{way}");
        let detour = way["detour"].as_array().expect("another path was used");
        assert_eq!(
            (&detour[0], &detour[detour.len() - 1]),
            (&way["from"], &way["to"])
        );
        assert!(detour.len() > 2, "{way}");
        assert!(number(way, "return_ms") > 0.0, "{way}");
    }
    let returned = number(&json, "return_ms");
    let left = 1e3 * number(&json, "seconds") - number(failover, "healed_at_ms");
    assert!(returned < left, "{json}");
    // Beyond a chance loss of a busy machine.
    assert!(number(failover, "return_packets_lost") < 10.0, "{json}");
    demo.assert_nothing_is_left();
}

/// Whatever the nodes did about the cut: its figures are there and agree with each other.
fn assert_cut_is_measured(json: &serde_json::Value) {
    let failover = &json["failover"];
    let (cut, healed) = (
        number(failover, "cut_at_ms"),
        number(failover, "healed_at_ms"),
    );
    assert!(cut > 0.0 && healed > cut, "{json}");
    assert!(number(failover, "resolution_ms") > 0.0, "{json}");
    let ways = failover["ways"].as_array().expect("it is a list");
    assert_eq!(ways.len(), 2, "{json}");
    assert_eq!(
        (&ways[0]["from"], &ways[0]["to"]),
        (&ways[1]["to"], &ways[1]["from"])
    );
    for way in ways {
        let same =
            |flow: &&serde_json::Value| (&flow["from"], &flow["to"]) == (&way["from"], &way["to"]);
        let flows = json["flows"].as_array().expect("it is a list");
        let flow = flows.iter().find(same).expect("every way has a flow");
        let rate = number(flow, "sent") / number(json, "seconds");
        let (gap, lost) = (number(way, "gap_ms") / 1e3, number(way, "packets_lost"));
        // Half as much again and half a second of packets: those under way, and a chance loss.
        let most = 1.5 * gap * rate + 0.5 * rate;
        assert!(lost <= most, "{lost} lost in {gap} s at {rate}/s: {way}");
        assert!(lost <= number(flow, "lost"), "{way} of {flow}");
    }
    let of = |key: &str| ways.iter().map(|way| number(way, key)).collect::<Vec<_>>();
    let gap = of("gap_ms").into_iter().fold(0.0, f64::max);
    assert_eq!(number(failover, "gap_ms"), gap, "{json}");
    let lost: f64 = of("packets_lost").iter().sum();
    assert_eq!(number(failover, "packets_lost"), lost, "{json}");
    // Null for one way is null for both.
    for (both, key) in [(failover, "detected_ms"), (json, "return_ms")] {
        let told = ways.iter().all(|way| way[key].is_number());
        assert_eq!(both[key].is_number(), told, "{key}: {json}");
    }
}

fn number(json: &serde_json::Value, key: &str) -> f64 {
    let number = json[key].as_f64();
    number.unwrap_or_else(|| panic!("{key} is not a number: {json}"))
}

#[tokio::test]
async fn a_run_that_is_to_cut_nothing_loses_no_link() {
    let mut demo = Demo::start_with(20, &["--no-cut"]);
    demo.read_until("   6 s  crossing").await;
    assert!(
        !demo.seen.concat().contains("direct link"),
        "{:#?}",
        demo.seen
    );
    demo.signal(Signal::INT);
    demo.wait().await;
    assert!(demo.json()["failover"].is_null());
}

#[tokio::test]
async fn ctrl_c_half_way_leaves_no_process_and_no_file_behind() {
    let mut demo = Demo::start(60);
    demo.read_until("crossing").await;
    demo.signal(Signal::INT);
    let (status, stderr) = demo.wait().await;
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_eq!(demo.json()["outcome"], "interrupted");
    demo.assert_nothing_is_left();
}

#[tokio::test]
async fn sigterm_while_the_mesh_starts_leaves_no_process_and_no_file_behind() {
    let mut demo = Demo::start(60);
    demo.read_until("is process").await;
    demo.signal(Signal::TERM);
    let (status, stderr) = demo.wait().await;
    assert_eq!(status.code(), Some(143), "{stderr}");
    demo.assert_nothing_is_left();
}

#[tokio::test]
async fn nodes_end_when_the_demo_is_killed_and_cannot_end_them() {
    let mut demo = Demo::start(60);
    demo.read_until("crossing").await;
    demo.signal(Signal::KILL);
    demo.wait().await;
    let all_gone = async {
        while demo.node_pids().into_iter().any(is_running) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, all_gone)
        .await
        .expect("nodes outlived the demo");
}

#[tokio::test]
async fn a_node_that_dies_fails_the_run_and_is_named() {
    let mut demo = Demo::start(60);
    demo.read_until("crossing").await;
    kill_process(demo.node_pids()[1], Signal::KILL).unwrap();
    let (status, stderr) = demo.wait().await;
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("error: us-1 ended by itself, with signal: 9"),
        "{stderr}"
    );
    assert_eq!(demo.json()["outcome"], "failed");
    demo.assert_nothing_is_left();
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_said_before_anything_is_started() {
    let output = Command::new(BINARY)
        .args(["demo", "--json", "/nonexistent/result.json"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: /nonexistent/result.json could not be written: "),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
}

/// Every flow takes at least as long as the matrix says that any packet of its pair does. Nothing
/// bounds it from above: the machine may be busy.
fn assert_distances_are_real(json: &serde_json::Value) {
    let matrix = Matrix::named("aws").expect("it is built in");
    let flows = json["flows"].as_array().expect("it is a list");
    assert_eq!(flows.len(), 12, "{json}");
    for flow in flows {
        let region = |end: &str| flow[end].as_str().expect("it is a name");
        let millis = |from, to| {
            let path = matrix.path(region(from), region(to));
            let path = path.expect("AWS has these regions");
            path.delay.as_secs_f64() * 1e3
        };
        let (there, back) = (millis("from", "to"), millis("to", "from"));
        let said = flow["distance_ms"].as_f64().expect("it is a number");
        assert!((said - there).abs() < 0.001, "{there} ms: {flow}");
        // As `netem::regions` has it: no packet takes less than half of the shorter way.
        let floor = there.min(back) / 2.0;
        let [p50, p99, max] = ["delay_p50_ms", "delay_p99_ms", "delay_max_ms"]
            .map(|key| flow[key].as_f64().expect("packets arrived"));
        assert!(
            floor <= p50 && p50 <= p99 && p99 <= max,
            "{floor} ms: {flow}"
        );
    }
}

/// A running demo whose temporary files all lie in a directory of the test.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has printed so far.
    seen: Vec<String>,
    temporary: TempDir,
    json: PathBuf,
    _result: TempDir,
}

impl Demo {
    fn start(seconds: u32) -> Self {
        Self::start_with(seconds, &[])
    }

    fn start_with(seconds: u32, more: &[&str]) -> Self {
        let directory = || TempDir::new().expect("the system has room for temporary files");
        let (temporary, result) = (directory(), directory());
        let json = result.path().join("result.json");
        let mut child = Command::new(BINARY)
            .args(["demo", "--seconds", &seconds.to_string(), "--json"])
            .arg(&json)
            .args(more)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with this test");
        Self {
            lines: BufReader::new(child.stdout.take().expect(PIPED)).lines(),
            child,
            seen: Vec::new(),
            temporary,
            json,
            _result: result,
        }
    }

    /// Reads what it prints up to a line that contains `text`.
    async fn read_until(&mut self, text: &str) {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.expect("the demo goes on by itself");
            let Some(line) = line.expect(UTF8) else {
                let (status, stderr) = self.wait().await;
                panic!(
                    "ended with {status} before {text:?}: {:#?}\n{stderr}",
                    self.seen
                );
            };
            let found = line.contains(text);
            self.seen.push(line);
            if found {
                return;
            }
        }
    }

    /// Reads everything that it still prints and waits for its end; returns what it has on
    /// standard error.
    async fn wait(&mut self) -> (ExitStatus, String) {
        let ended = async {
            while let Some(line) = self.lines.next_line().await.expect(UTF8) {
                self.seen.push(line);
            }
            let mut stderr = String::new();
            let mut pipe = self.child.stderr.take().expect(PIPED);
            pipe.read_to_string(&mut stderr).await.expect(UTF8);
            let status = self.child.wait().await;
            (status.expect("a child can be waited for"), stderr)
        };
        timeout(PATIENCE, ended)
            .await
            .expect("the demo ends by itself")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it was not waited for");
        kill_process(to_pid(&pid.to_string()), signal).expect("it is a child of this process");
    }

    fn json(&self) -> serde_json::Value {
        let json = fs::read(&self.json).expect("the demo writes its result");
        serde_json::from_slice(&json).expect("the result is JSON")
    }

    /// The processes of its nodes, as it has named them.
    fn node_pids(&self) -> Vec<Pid> {
        let pid = |line: &String| Some(to_pid(line.split_once(" is process ")?.1));
        self.seen.iter().filter_map(pid).collect()
    }

    fn assert_nothing_is_left(&self) {
        let pids = self.node_pids();
        assert_eq!(pids.len(), 4, "{:#?}", self.seen);
        for pid in pids {
            assert!(!is_running(pid), "{pid:?} outlived the demo");
        }
        let files: Vec<_> = fs::read_dir(self.temporary.path())
            .expect("it was made for this test")
            .collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

fn to_pid(text: &str) -> Pid {
    let number = text.parse().ok();
    number
        .and_then(Pid::from_raw)
        .expect("it is the id of a process")
}

/// Whether a process runs. One that has ended and that nobody has waited for does not: where
/// process 1 waits for nobody, an orphan stays like that for ever.
fn is_running(pid: Pid) -> bool {
    match fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) if PathBuf::from("/proc/self/stat").exists() => false,
        Err(_) => test_kill_process(pid).is_ok(),
    }
}

const PIPED: &str = "it was asked for, and taken once";
const UTF8: &str = "the demo prints text";
const BINARY: &str = env!("CARGO_BIN_EXE_staging");
/// For a machine that compiles something else at the same time; a run that works needs seconds.
const PATIENCE: Duration = Duration::from_secs(60);
