//! Labs as a user runs them, with plain `ping` and `iperf3`.
//!
//! Every lab here has a name of its own, and is taken down even where a test fails.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]
#![cfg(target_os = "linux")]

#[path = "real_time/until.rs"]
mod real_time;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use self::real_time::until;

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-south-1"];

/// The jitter of the longest path moves the median of as many by 0.4 ms; the seed says which way.
const PINGS: usize = 401;
/// A round trip meets it twice: half of the millisecond that is asserted.
const LATE_US: f64 = 250.0;
/// Half of the round trip in which TCP has to hear of what it sent.
const TCP_LATE_US: f64 = 20_000.0;

struct Lab {
    directory: TempDir,
    name: &'static str,
}

impl Lab {
    /// Three regions at the distances of the AWS matrix.
    fn new(name: &'static str) -> Self {
        let lab = Self::absent(name);
        let up = lab.run(&["up", lab.file().to_str().unwrap()]);
        assert!(up.status.success(), "{up:?}");
        lab
    }

    /// The same, not yet up.
    fn absent(name: &'static str) -> Self {
        let lab = Self {
            directory: tempfile::tempdir().unwrap(),
            name,
        };
        let hosts = REGIONS.map(|region| format!("[[host]]\nname = \"{region}\"\n"));
        let file = format!("seed = 11\nmatrix = \"aws\"\n{}", hosts.concat());
        std::fs::write(lab.file(), file).unwrap();
        lab
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("lab.toml")
    }

    fn netem(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netem"));
        command
            .arg("lab")
            .args(arguments)
            .env("NETEM_LAB", self.name);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.netem(arguments).output().unwrap()
    }

    fn does(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn exec(&self, region: &str, program: &[&str]) -> Output {
        self.run(&[&["exec", region, "--"], program].concat())
    }

    /// Round trips in milliseconds of so many pings, 50 ms apart.
    fn ping(&self, from: &str, to: usize, count: usize) -> Vec<f64> {
        let (count, to) = (count.to_string(), format!("10.77.0.{}", to + 1));
        let output = self.exec(
            from,
            &["ping", "-n", "-i", "0.05", "-W", "1", "-c", &count, &to],
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter_map(|line| line.split_once("time=")?.1.split_once(' ')?.0.parse().ok())
            .collect()
    }

    fn show(&self) -> Value {
        serde_json::from_slice(&self.run(&["show", "--json"]).stdout).unwrap()
    }

    fn namespaces(&self) -> Vec<String> {
        let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
        let names = String::from_utf8(output.stdout).unwrap();
        let names = names.lines().filter_map(|line| line.split(' ').next());
        let ours = names.filter(|name| name.starts_with(&format!("netem-{}-", self.name)));
        ours.map(str::to_owned).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.run(&["down"]);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The round trip that the matrix has, in milliseconds.
fn matrix_rtt(from: &str, to: &str) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_netem"))
        .args(["regions", "aws", from, to, "--json"])
        .output()
        .unwrap();
    let table: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pairs = table["pairs"].as_array().unwrap();
    let one_way = |from: &str, to: &str| {
        let pair = pairs
            .iter()
            .find(|pair| pair["from"] == from && pair["to"] == to);
        pair.unwrap()["one_way_ms"].as_f64().unwrap()
    };
    one_way(from, to) + one_way(to, from)
}

/// An `iperf3` server, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root, ping and ip"]
fn ping_shows_the_matrix_within_a_millisecond_and_a_cut_as_loss() {
    let lab = Lab::new("test-ping");
    // At the same time, which no path notices of another.
    let medians = std::thread::scope(|scope| {
        let pings = [(0, 1), (1, 2), (2, 0)].map(|(from, to)| {
            let lab = &lab;
            scope.spawn(move || (from, to, lab.ping(REGIONS[from], to, PINGS)))
        });
        pings.map(|ping| ping.join().unwrap())
    });
    let lateness = lab.show()["lateness"].clone();
    println!("lateness {lateness}");
    for (from, to, times) in medians {
        let (from, to) = (REGIONS[from], REGIONS[to]);
        assert_eq!(times.len(), PINGS, "{from} to {to}");
        let (got, expected) = (median(times), matrix_rtt(from, to));
        println!("{from} to {to}: {got} ms, the matrix {expected} ms");
        let off = (got - expected).abs();
        if off > 1.0 && lateness["p50_us"].as_f64().unwrap() > LATE_US {
            println!("inconclusive: this machine was too late for a millisecond");
        } else {
            assert!(off <= 1.0, "{from} to {to}: {got} ms, not {expected} ms");
        }
    }
    lab.does(&["cut", REGIONS[0], REGIONS[1]]);
    assert_eq!(lab.ping(REGIONS[0], 1, 5).len(), 0);
    // Nobody else is cut off.
    assert_eq!(lab.ping(REGIONS[0], 2, 5).len(), 5);
    lab.does(&["heal", REGIONS[0], REGIONS[1]]);
    assert_eq!(lab.ping(REGIONS[0], 1, 5).len(), 5);
    let report = lab.show();
    assert_eq!(report["packets"]["conserved"], true, "{report}");
    assert_eq!(report["own_drops"], serde_json::json!({}), "{report}");
}

#[test]
#[ignore = "needs root, ping, iperf3 and ip"]
fn tcp_gets_what_fifty_megabits_leave_after_headers_over_ipv4_and_ipv6() {
    let lab = Lab::new("test-iperf");
    lab.does(&["set", REGIONS[0], REGIONS[1], "delay 20ms rate 50mbit"]);
    let mut server = lab.netem(&["exec", REGIONS[1], "--", "iperf3", "-s"]);
    let server = server.stdout(Stdio::null()).spawn().unwrap();
    let _server = Server(server);
    for (family, to, headers) in [("-4", "10.77.0.2", 52.0), ("-6", "fd77::2", 72.0)] {
        // Not the BBR that some systems begin with: every ten seconds it stops to look for a shorter
        // round trip.
        let client = [
            "iperf3", family, "-C", "cubic", "-c", to, "-t", "8", "-O", "3", "-J",
        ];
        let mut report = Value::Null;
        until("iperf3 is served", || {
            let output = lab.exec(REGIONS[0], &client);
            report = serde_json::from_slice(&output.stdout).unwrap_or_default();
            report["end"]["sum_received"].is_object()
        });
        let got = &report["end"]["sum_received"]["bits_per_second"];
        let got = got.as_f64().unwrap() / 1e6;
        // IP, TCP and its timestamps in each packet of 1,500 bytes.
        let expected = 50.0 * (1_500.0 - headers) / 1_500.0;
        let lateness = lab.show()["lateness"].clone();
        println!("{to}: {got:.2} Mbit/s, expected {expected:.2}; lateness {lateness}");
        let off = (got / expected - 1.0).abs();
        if off > 0.03 && lateness["p99_us"].as_f64().unwrap() > TCP_LATE_US {
            println!("inconclusive: this machine was too late for a steady rate");
            continue;
        }
        assert!(off <= 0.03, "{got} of {expected} Mbit/s");
    }
}

#[test]
#[ignore = "needs root and ip"]
fn forwarder_that_was_killed_leaves_nothing_that_the_next_one_does_not_clear() {
    let lab = Lab::new("test-killed");
    assert_eq!(lab.namespaces().len(), 3);
    let state = std::fs::read_to_string("/run/netem/test-killed/state.json").unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let pid = state["forwarder"]["pid"].as_u64().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(lab.namespaces().len(), 3);
    until("it is seen to be dead", || {
        let said = lab.run(&["exec", REGIONS[0], "--", "true"]);
        let complaint = String::from_utf8(said.stderr).unwrap();
        said.status.code() == Some(2) && complaint.contains("the lab test-killed was killed")
    });
    lab.does(&["up", lab.file().to_str().unwrap()]);
    assert!(lab.run(&["show"]).status.success());
    lab.does(&["down"]);
    assert_eq!(lab.namespaces().len(), 0);
    assert!(!Path::new("/run/netem/test-killed").exists());
}

#[test]
#[ignore = "needs root and ip"]
fn up_that_is_interrupted_leaves_no_lab() {
    let lab = Lab::absent("test-interrupted");
    let mut up = lab.netem(&["up", lab.file().to_str().unwrap()]);
    let mut up = up.stderr(Stdio::piped()).spawn().unwrap();
    until("it is being built", || lab.namespaces().len() > 1);
    let pid = up.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = up.wait().unwrap();
    // It may have been up by then: then it was not interrupted, and `down` ends it.
    if ended.success() {
        lab.does(&["down"]);
    }
    assert_eq!(lab.namespaces().len(), 0);
    assert!(!Path::new("/run/netem/test-interrupted").exists());
}

#[test]
#[ignore = "needs root and ip"]
fn program_that_is_not_there_is_told_from_one_that_fails() {
    let lab = Lab::new("test-exec");
    assert_eq!(
        lab.exec(REGIONS[0], &["sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    let absent = lab.exec(REGIONS[0], &["no-such-program"]);
    assert_eq!(absent.status.code(), Some(127));
    let complaint = String::from_utf8(absent.stderr).unwrap();
    assert!(
        complaint.contains("cannot run no-such-program"),
        "{complaint}"
    );
}

#[test]
#[ignore = "needs root and ip"]
fn mistakes_are_one_line_each_and_make_nothing() {
    let lab = Lab::absent("test-mistakes");
    let file = lab.file();
    let file = file.to_str().unwrap();
    let refused = |arguments: &[&str], said: &str| {
        let output = lab.run(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
    };
    refused(&["down"], "no lab is named test-mistakes");
    refused(
        &["exec", REGIONS[0], "--", "true"],
        "no lab is named test-mistakes",
    );
    refused(&["up", "/no/such/file"], "could not be read");
    refused(&["up", file, "--lab", "No"], "allowed are a-z");
    // A namespace of that name belongs to somebody else.
    let taken = "netem-test-mistakes-eu-west-1";
    let ip = |arguments: &[&str]| {
        Command::new("ip")
            .args(arguments)
            .status()
            .unwrap()
            .success()
    };
    assert!(ip(&["netns", "add", taken]));
    refused(&["up", file], taken);
    assert_eq!(lab.namespaces(), [taken]);
    assert!(ip(&["netns", "delete", taken]));
    lab.does(&["up", file]);
    refused(&["up", file], "is up, run by process");
    refused(
        &["exec", "eu-west-2", "--", "true"],
        "did you mean eu-west-1?",
    );
    refused(
        &["set", REGIONS[0], "nowhere", "loss 1%"],
        "no host is named nowhere",
    );
    assert_eq!(lab.namespaces().len(), 3);
}
