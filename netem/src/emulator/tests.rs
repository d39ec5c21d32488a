use std::time::Duration;

use super::*;
use crate::lateness::Lateness;

const THREE: &str = r#"
seed = 5
default = "delay 5ms"
[[host]]
name = "a"
[[host]]
name = "b"
[[host]]
name = "c"
[[path]]
from = "a"
to = "b"
netem = "delay 20ms"
[[path.change]]
at = "10s"
down = "2s"
"#;

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

struct Fixture {
    emulator: Emulator<&'static str>,
    start: Instant,
}

impl Fixture {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the origin of made-up times"
    )]
    fn new() -> Self {
        let start = Instant::now();
        let topology = THREE.parse().unwrap();
        let reached_at = ["1", "2", "3"].map(|at| vec![at.to_owned()]).to_vec();
        Self {
            emulator: Emulator::new("proxy", &topology, reached_at, Lateness::default(), start),
            start,
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn delay(&mut self, at: u64, from: HostId, to: HostId) -> Option<u128> {
        let now = self.at(at);
        match self.emulator.handle_packet(now, from, to, 100, "packet") {
            Verdict::Queued { deadline } => Some((deadline - now).as_millis()),
            Verdict::Dropped(_) => None,
        }
    }

    fn command(&mut self, at: u64, command: &Command) -> Result<Vec<Path>, String> {
        match self.emulator.handle_command(self.at(at), command) {
            Answer::Done(paths) => Ok(paths),
            Answer::Refused { reason } => Err(reason),
            Answer::Report(_) => panic!("nobody asked for one"),
        }
    }
}

fn paths(from: &str, to: &str, one_way: bool) -> Paths {
    Paths {
        from: from.into(),
        to: to.into(),
        one_way,
    }
}

fn set(paths: Paths, netem: &str) -> Command {
    Command::Set {
        paths,
        netem: netem.into(),
    }
}

#[test]
fn topology_says_what_each_path_does_and_when() {
    let mut t = Fixture::new();
    assert_eq!(t.delay(0, A, B), Some(20));
    assert_eq!(t.delay(0, B, A), Some(5));
    assert_eq!(t.delay(0, A, C), Some(5));
    assert_eq!(t.delay(9_999, A, B), Some(20));
    assert_eq!(t.delay(10_000, A, B), None);
    assert_eq!(t.delay(12_000, A, B), Some(20));
}

#[test]
fn set_takes_the_place_of_model_and_schedule_both_ways_or_one() {
    let mut t = Fixture::new();
    let done = t
        .command(0, &set(paths("a", "b", false), "delay 7ms"))
        .unwrap();
    let said: Vec<_> = done
        .iter()
        .map(|path| (path.from.as_str(), path.to.as_str(), path.netem.as_str()))
        .collect();
    assert_eq!(said, [("a", "b", "delay 7ms"), ("b", "a", "delay 7ms")]);
    assert_eq!(t.delay(11_000, A, B), Some(7));
    let done = t.command(12_000, &set(paths("a", "b", true), "")).unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!(t.delay(12_000, A, B), Some(0));
    assert_eq!(t.delay(12_000, B, A), Some(7));
}

#[test]
fn cut_drops_and_heal_lets_through_again() {
    let mut t = Fixture::new();
    let cut = t.command(0, &Command::Cut(paths("a", "c", true))).unwrap();
    assert!(cut[0].cut);
    assert_eq!(t.delay(0, A, C), None);
    assert_eq!(t.delay(0, C, A), Some(5));
    let healed = t
        .command(0, &Command::Heal(paths("a", "c", false)))
        .unwrap();
    assert!(healed.iter().all(|path| !path.cut));
    assert_eq!(t.delay(0, A, C), Some(5));
}

#[test]
fn command_that_cannot_be_done_changes_nothing_and_says_why() {
    let mut t = Fixture::new();
    for (command, reason) in [
        (set(paths("a", "bb", false), ""), "no host is named bb"),
        (set(paths("a", "a", false), ""), "not from a to itself"),
        (set(paths("a", "b", false), "loss 120%"), "120%"),
        (Command::Cut(paths("", "b", false)), "no host is named"),
    ] {
        let refused = t.command(0, &command).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
    assert_eq!(t.delay(0, A, B), Some(20));
}

#[test]
fn report_counts_lateness_and_lists_paths_that_carried_something_or_were_changed() {
    let mut t = Fixture::new();
    t.delay(0, A, C);
    t.command(0, &Command::Cut(paths("b", "c", true))).unwrap();
    let now = t.at(8);
    let delivered = t.emulator.poll_delivery(now).unwrap();
    assert_eq!((delivered.from, delivered.to), (A, C));
    t.emulator.on_handed_over(now, delivered.deadline);
    let report = t.emulator.report(now);
    assert_eq!(report.packets.received, 1);
    assert!(report.packets.conserved);
    assert_eq!(report.lateness.count, 1);
    let off = report.lateness.max.abs_diff(Duration::from_millis(3));
    assert!(off < Duration::from_micros(3));
    let shown: Vec<_> = report
        .paths
        .iter()
        .map(|path| (path.from.as_str(), path.to.as_str(), path.cut))
        .collect();
    assert_eq!(shown, [("a", "c", false), ("b", "c", true)]);
    assert_eq!(report.hosts[1].reached_at, ["2"]);
    // It is what `show --json` prints, and is read back by the command line.
    let line = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&line).unwrap(), report);
}
