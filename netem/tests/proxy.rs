//! `netem proxy` between real sockets, as a user runs it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "real_time/until.rs"]
mod real_time;

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use self::real_time::{now, until};

/// A proxy between two sockets, and the control socket that it listens on.
struct Fixture {
    directory: TempDir,
    proxy: Option<Child>,
    a: UdpSocket,
    b: UdpSocket,
    fronts: [SocketAddr; 2],
}

impl Fixture {
    /// Between two hosts with addresses.
    fn new(netem: &str) -> Self {
        Self::started(netem, |a, b, fronts| {
            [
                format!("a={a},{}", fronts[0]),
                format!("b={b},{}", fronts[1]),
            ]
        })
    }

    fn started(
        netem: &str,
        hosts: impl FnOnce(SocketAddr, SocketAddr, [SocketAddr; 2]) -> [String; 2],
    ) -> Self {
        let (a, b) = (socket(), socket());
        // Free now, and bound by the proxy in a moment.
        let free = [socket(), socket()];
        let fronts = free.each_ref().map(|socket| socket.local_addr().unwrap());
        drop(free);
        let mut t = Self {
            directory: tempfile::tempdir().unwrap(),
            proxy: None,
            a,
            b,
            fronts,
        };
        let (a, b) = (t.a.local_addr().unwrap(), t.b.local_addr().unwrap());
        let mut command = t.netem(&["proxy", "--json", "--netem", netem]);
        for host in hosts(a, b, fronts) {
            command.args(["--host", &host]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        t.proxy = Some(command.spawn().unwrap());
        until("the proxy answers", || t.run(&["show"]).status.success());
        t
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    fn netem(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_netem"));
        command.args(arguments).env("NETEM_SOCKET", self.control());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.netem(arguments).output().unwrap()
    }

    /// Ends the proxy as ctrl-C does; what it reports.
    fn finish(mut self) -> Value {
        let proxy = self.proxy.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(proxy.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let output = proxy.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!self.control().exists());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Sends from a to b and waits for it there; who b saw as the sender.
    fn sends(&self, payload: &[u8]) -> Option<SocketAddr> {
        self.a.send_to(payload, self.fronts[1]).unwrap();
        receive(&self.b, payload)
    }
}

/// A proxy that was not told to end is not left behind by a test that fails.
impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket
}

/// Waits for a packet; who sent it.
fn receive(socket: &UdpSocket, expected: &[u8]) -> Option<SocketAddr> {
    let mut buffer = [0; 2_000];
    let (bytes, from) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(&buffer[..bytes], expected);
    Some(from)
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn packets_take_at_least_their_delay_and_both_ends_see_each_other_at_their_fronts() {
    let t = Fixture::new("delay 30ms");
    let sent = now();
    assert_eq!(t.sends(b"there"), Some(t.fronts[0]));
    assert!(now() - sent >= Duration::from_millis(30));
    t.b.send_to(b"back", t.fronts[0]).unwrap();
    assert_eq!(receive(&t.a, b"back"), Some(t.fronts[1]));
    assert!(now() - sent >= Duration::from_millis(60));
    let report = t.finish();
    assert_eq!(report["packets"]["received"], 2);
    assert_eq!(report["packets"]["delivered"], 2);
    assert_eq!(report["packets"]["conserved"], true);
    assert_eq!(report["lateness"]["count"], 2);
    assert_eq!(report["own_drops"], serde_json::json!({}));
}

#[test]
fn paths_are_set_cut_and_healed_while_packets_go() {
    let t = Fixture::new("");
    assert!(t.sends(b"1").is_some());
    assert!(t.run(&["cut", "a", "b", "--one-way"]).status.success());
    assert!(t.sends(b"2").is_none());
    t.b.send_to(b"back", t.fronts[0]).unwrap();
    assert!(receive(&t.a, b"back").is_some());
    assert!(t.run(&["heal", "a", "b"]).status.success());
    assert!(t.sends(b"3").is_some());
    let set = t.run(&["set", "a", "b", "loss 100%", "--json"]);
    let paths: Value = serde_json::from_slice(&set.stdout).unwrap();
    assert_eq!(paths[0]["netem"], "loss 100%");
    assert_eq!(paths[1]["from"], "b");
    assert!(t.sends(b"4").is_none());
    let report = t.finish();
    let path = &report["paths"][0];
    assert_eq!(
        path["packets"]["dropped"],
        serde_json::json!({ "cut": 1, "loss": 1 })
    );
}

#[test]
fn host_without_an_address_is_wherever_unknown_packets_come_from() {
    let t = Fixture::started("delay 1ms", |_, b, fronts| {
        [
            format!("client={}", fronts[0]),
            format!("server={b},{}", fronts[1]),
        ]
    });
    assert_eq!(t.sends(b"1"), Some(t.fronts[0]));
    // The client comes again from another port, and answers go there.
    let again = socket();
    again.send_to(b"2", t.fronts[1]).unwrap();
    assert_eq!(receive(&t.b, b"2"), Some(t.fronts[0]));
    t.b.send_to(b"answer", t.fronts[0]).unwrap();
    assert_eq!(receive(&again, b"answer"), Some(t.fronts[1]));
    t.finish();
}

#[test]
fn packets_of_strangers_are_dropped_and_counted() {
    let t = Fixture::new("");
    socket().send_to(b"stranger", t.fronts[1]).unwrap();
    assert!(t.sends(b"known").is_some());
    let report = t.finish();
    assert_eq!(report["own_drops"], serde_json::json!({ "stranger": 1 }));
}

#[test]
fn empty_and_large_packets_pass_as_they_are() {
    let t = Fixture::new("delay 1ms");
    assert!(t.sends(b"").is_some());
    for bytes in [1, 1_472, 1_473] {
        assert!(t.sends(&vec![7; bytes]).is_some());
    }
    t.finish();
}

#[test]
fn mistakes_are_one_line_each_with_exit_2_and_leave_nothing_behind() {
    let t = Fixture::new("");
    let taken = t.fronts[0];
    let other = socket().local_addr().unwrap();
    for (arguments, said) in [
        (vec!["proxy"], "give --config FILE, or --host"),
        (
            vec!["proxy", "--config", "/no/such/file"],
            "could not be read",
        ),
        (vec!["proxy", "--host", "a"], "must be NAME=ADDRESS,FRONT"),
        (vec!["proxy", "--host", "a=127.0.0.1"], "is not an address"),
        (
            vec![
                "proxy",
                "--host",
                &format!("a={taken}"),
                "--netem",
                "loss 120%",
            ],
            "120%",
        ),
        (vec!["set", "a", "b", "delya 3ms"], "did you mean delay?"),
        (vec!["set", "a", "bb", "delay 3ms"], "no host is named bb"),
        (vec!["cut", "a"], "<TO>"),
    ] {
        let output = t.run(&arguments);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty());
    }
    // A front that is taken: the other was bound, and is free again.
    let both = [
        "--host",
        &format!("x={other}"),
        "--host",
        &format!("y=127.0.0.1:1,{taken}"),
    ];
    let mut command = t.netem(&["proxy", "--socket", "/nowhere/x.sock"]);
    let output = command.args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains(&format!("front {taken} of host \"y\"")));
    assert!(UdpSocket::bind(other).is_ok());
}
