//! What a run comes to: a verdict, sentences for people and JSON for programs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::view::{Megabytes, Snapshot};

/// How a run ended, before it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It went its way.
    Completed,
    /// It could not go on; the reason, for people.
    Failed(String),
    /// A signal ended it; its number.
    Interrupted(i32),
}

/// The result of a run, as `--json` writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether the run showed what it should.
    pub outcome: Outcome,
    /// What was not as it should be; never empty if the outcome is `failed`.
    pub problems: Vec<String>,
    /// For how long traffic was sent, in seconds.
    pub seconds: f64,
    /// All flows of packets together.
    pub packets: Packets,
    /// Each flow by itself.
    pub flows: Vec<Flow>,
    /// The stream.
    pub stream: Stream,
    /// The nodes, as they were before they were asked to end.
    pub nodes: Vec<Node>,
    /// The network between them; none if it did not say.
    pub emulator: Option<Emulator>,
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every peer was up, packets crossed, and the stream arrived with the same SHA-256.
    Passed,
    /// Something of that is not so.
    Failed,
    /// A signal came first.
    Interrupted,
}

/// Packets that were sent once each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Packets {
    /// Handed to the near nodes.
    pub sent: u64,
    /// Came out of the far nodes, each counted once.
    pub delivered: u64,
    /// All others, but for what was under way when a run was cut short.
    pub lost: u64,
    /// Further copies of delivered ones.
    pub duplicates: u64,
}

/// One flow of packets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flow {
    /// The region that it was sent in.
    pub from: &'static str,
    /// The region that it was sent to.
    pub to: &'static str,
    /// What became of its packets.
    #[serde(flatten)]
    pub packets: Packets,
    /// The median of its one-way delays, in milliseconds.
    pub delay_p50_ms: Option<f64>,
    /// Their 99th percentile.
    pub delay_p99_ms: Option<f64>,
    /// The longest of them.
    pub delay_max_ms: Option<f64>,
    /// The median between these regions as AWS has it, in milliseconds: what the network was asked
    /// for.
    pub distance_ms: f64,
}

/// The stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stream {
    /// The region that it was sent in.
    pub from: &'static str,
    /// The region that it was sent to.
    pub to: &'static str,
    /// Bytes that the near node took.
    pub bytes_sent: u64,
    /// Bytes that came out of the far node.
    pub bytes_received: u64,
    /// Whether both ends have the same SHA-256; false as well if the run ended before.
    pub sha256_match: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: &'static str,
    /// Its region.
    pub region: &'static str,
    /// How many of its peers were up.
    pub peers_up: usize,
    /// The process that it was.
    pub pid: u32,
}

/// How far the network between the nodes did what it was asked to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Emulator {
    /// Packets that it was given.
    pub packets: u64,
    /// How much later than due it handed them over.
    pub lateness: Lateness,
    /// Packets that it lost itself, by cause; never any that it was asked to lose.
    pub own_drops: BTreeMap<String, u64>,
    /// Whether every packet is accounted for.
    pub conserved: bool,
}

/// Quantiles, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lateness {
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The worst.
    pub max_us: f64,
}

impl Report {
    /// Judges a run by its last snapshot before the nodes were asked to end, by what did not go as
    /// it should when they were, and by the network between them.
    ///
    /// That the network was late is told and does not fail a run: it is the machine that was busy.
    /// Lost packets are told and do not fail a run: a machine that is busy with other things may
    /// overrun a socket's buffer. That none arrive at all does.
    pub fn new(
        last: &Snapshot,
        end: &End,
        ending: Vec<String>,
        network: Option<&netem::report::Report>,
    ) -> Self {
        let packets = |totals: &crate::traffic::ledger::FlowTotals| Packets {
            sent: totals.sent,
            delivered: totals.delivered,
            lost: totals.lost,
            duplicates: totals.duplicates,
        };
        let mut problems = problems(last, end);
        problems.extend(ending);
        let emulator = network.map(Emulator::from);
        if emulator.as_ref().is_some_and(|network| !network.conserved) {
            problems.push("the emulator's account of packets does not add up".to_owned());
        }
        Self {
            outcome: match end {
                End::Interrupted(_) => Outcome::Interrupted,
                _ if problems.is_empty() => Outcome::Passed,
                _ => Outcome::Failed,
            },
            problems,
            seconds: last.elapsed.as_secs_f64(),
            packets: packets(&last.packets()),
            flows: last
                .flows
                .iter()
                .map(|flow| Flow {
                    from: flow.from,
                    to: flow.to,
                    packets: packets(&flow.totals),
                    delay_p50_ms: flow.totals.delay_p50.map(millis),
                    delay_p99_ms: flow.totals.delay_p99.map(millis),
                    delay_max_ms: flow.totals.delay_max.map(millis),
                    distance_ms: millis(flow.distance),
                })
                .collect(),
            stream: Stream {
                from: last.stream.from,
                to: last.stream.to,
                bytes_sent: last.stream.totals.bytes_sent,
                bytes_received: last.stream.totals.bytes_received,
                sha256_match: last.stream.totals.sha256_match == Some(true),
            },
            nodes: last
                .nodes
                .iter()
                .map(|node| Node {
                    name: node.name,
                    region: node.region,
                    peers_up: node.peers_up,
                    pid: node.pid,
                })
                .collect(),
            emulator,
        }
    }

    /// The result in one line, without problems.
    pub fn sentence(&self) -> String {
        let Packets {
            sent,
            delivered,
            lost,
            ..
        } = self.packets;
        let stream = match (self.outcome, self.stream.sha256_match) {
            (_, true) => "same SHA-256",
            (Outcome::Interrupted, false) => "cut short",
            (Outcome::Passed | Outcome::Failed, false) => "did not arrive whole",
        };
        format!(
            "{sent} packets sent, {delivered} delivered, {lost} lost. Stream: {}, {stream}.",
            Megabytes(self.stream.bytes_sent)
        )
    }
}

impl Emulator {
    /// How far the distances can be trusted: one line, and another for each thing that was wrong.
    pub fn sentences(&self) -> String {
        let Lateness {
            p50_us,
            p99_us,
            max_us,
        } = self.lateness;
        let mut lines = format!(
            "Emulator: {} packets, late by p50 {p50_us:.0} us, p99 {p99_us:.0} us, \
             max {max_us:.0} us.",
            self.packets
        );
        if p99_us > LATE_US {
            lines += "\nIt was late, so delays are longer than they should be: a busy machine?";
        }
        let dropped: u64 = self.own_drops.values().sum();
        if dropped > 0 {
            lines += &format!("\nIt lost {dropped} packets that it should have carried.");
        }
        lines
    }
}

impl From<&netem::report::Report> for Emulator {
    fn from(network: &netem::report::Report) -> Self {
        let micros = |late: Duration| late.as_nanos() as f64 / 1e3;
        Self {
            packets: network.packets.received,
            lateness: Lateness {
                p50_us: micros(network.lateness.p50),
                p99_us: micros(network.lateness.p99),
                max_us: micros(network.lateness.max),
            },
            own_drops: network.own_drops.clone(),
            conserved: network.packets.conserved,
        }
    }
}

fn problems(last: &Snapshot, end: &End) -> Vec<String> {
    match end {
        End::Failed(reason) => return vec![reason.clone()],
        // What did not come to its end cannot be judged.
        End::Interrupted(_) => return Vec::new(),
        End::Completed => {}
    }
    let mut problems = Vec::new();
    for node in last
        .nodes
        .iter()
        .filter(|node| node.peers_up < last.peers_each())
    {
        let (up, all) = (node.peers_up, last.peers_each());
        problems.push(format!(
            "{} had {up} of {all} peers up at the end",
            node.name
        ));
    }
    for flow in last.flows.iter().filter(|flow| flow.totals.delivered == 0) {
        problems.push(format!("no packet went from {} to {}", flow.from, flow.to));
    }
    if last.stream.totals.sha256_match != Some(true) {
        problems.push("the stream arrived with another SHA-256".to_owned());
    }
    problems
}

/// To the microsecond; more would be noise.
fn millis(delay: Duration) -> f64 {
    (delay.as_secs_f64() * 1e6).round() / 1e3
}

/// A millisecond is what round trips between regions differ by from one minute to the next.
const LATE_US: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::crossing;

    fn completed() -> Snapshot {
        let mut snapshot = crossing();
        snapshot.flows[3].totals.lost = 3;
        snapshot.stream.totals.bytes_received = snapshot.stream.totals.bytes_sent;
        snapshot.stream.totals.sha256_match = Some(true);
        snapshot
    }

    fn network() -> netem::report::Report {
        let micros = Duration::from_micros;
        let packets = netem::report::Packets {
            received: 30_000,
            delivered: 30_000,
            conserved: true,
            ..Default::default()
        };
        netem::report::Report {
            backend: "proxy".to_owned(),
            hosts: Vec::new(),
            elapsed_s: 11.0,
            packets,
            lateness: netem::lateness::Lateness {
                count: 30_000,
                p50: micros(30),
                p99: micros(1_000),
                p999: micros(1_500),
                max: micros(2_100),
            },
            idle_timer: netem::lateness::Lateness::default(),
            queued_bytes_max: 0,
            own_drops: BTreeMap::new(),
            paths: Vec::new(),
        }
    }

    fn judged(last: &Snapshot, end: &End) -> Report {
        Report::new(last, end, Vec::new(), Some(&network()))
    }

    #[test]
    fn json_has_the_keys_that_programs_read() {
        let report = judged(&completed(), &End::Completed);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["outcome"], "passed");
        assert_eq!(json["packets"]["sent"], 2_403);
        assert_eq!(json["packets"]["delivered"], 2_400);
        assert_eq!(json["packets"]["lost"], 3);
        assert_eq!(json["stream"]["bytes_sent"], 8_120_000);
        assert_eq!(json["stream"]["bytes_received"], 8_120_000);
        assert_eq!(json["stream"]["sha256_match"], true);
        let node = &json["nodes"][2];
        assert_eq!(node["name"], "ap-1");
        assert_eq!(node["region"], "ap-southeast-1");
        assert_eq!(node["peers_up"], 3);
        let flow = &json["flows"][0];
        assert_eq!(flow["delay_p50_ms"], 35.399);
        assert_eq!(flow["delay_p99_ms"], 41.97);
        assert_eq!(flow["delay_max_ms"], 52.003);
        assert_eq!(flow["distance_ms"], 34.868);
        let emulator = &json["emulator"];
        assert_eq!(emulator["packets"], 30_000);
        assert_eq!(emulator["lateness"]["p50_us"], 30.0);
        assert_eq!(emulator["lateness"]["p99_us"], 1_000.0);
        assert_eq!(emulator["lateness"]["max_us"], 2_100.0);
        assert_eq!(emulator["own_drops"], serde_json::json!({}));
        assert_eq!(emulator["conserved"], true);
    }

    #[test]
    fn a_few_lost_packets_pass_and_are_told() {
        let report = judged(&completed(), &End::Completed);
        assert_eq!(report.outcome, Outcome::Passed);
        let sentence = "2403 packets sent, 2400 delivered, 3 lost. \
                        Stream: 8.1 MB, same SHA-256.";
        assert_eq!(report.sentence(), sentence);
    }

    #[test]
    fn each_thing_that_must_hold_fails_a_run_by_itself() {
        let problem = |spoil: fn(&mut Snapshot)| {
            let mut snapshot = completed();
            spoil(&mut snapshot);
            let report = judged(&snapshot, &End::Completed);
            assert_eq!(report.outcome, Outcome::Failed);
            report.problems.join("; ")
        };
        let peers = problem(|snapshot| snapshot.nodes[1].peers_up = 1);
        assert_eq!(peers, "us-1 had 1 of 3 peers up at the end");
        let packets = problem(|snapshot| snapshot.flows[4].totals.delivered = 0);
        assert_eq!(packets, "no packet went from us-east-1 to ap-southeast-1");
        let stream = problem(|snapshot| snapshot.stream.totals.sha256_match = Some(false));
        assert_eq!(stream, "the stream arrived with another SHA-256");
    }

    #[test]
    fn an_emulator_that_loses_count_fails_a_run() {
        let mut network = network();
        network.packets.conserved = false;
        let report = Report::new(&completed(), &End::Completed, Vec::new(), Some(&network));
        assert_eq!(report.outcome, Outcome::Failed);
        assert_eq!(
            report.problems,
            ["the emulator's account of packets does not add up"]
        );
    }

    #[test]
    fn an_emulator_that_is_late_by_more_than_a_millisecond_says_so_and_passes() {
        let mut network = network();
        let line = "Emulator: 30000 packets, late by p50 30 us, p99 1000 us, max 2100 us.";
        assert_eq!(Emulator::from(&network).sentences(), line);
        network.lateness.p99 = Duration::from_micros(1_001);
        network.own_drops.insert("unread".to_owned(), 2);
        let report = Report::new(&completed(), &End::Completed, Vec::new(), Some(&network));
        assert_eq!(report.outcome, Outcome::Passed);
        let sentences = report.emulator.unwrap().sentences();
        let lines: Vec<_> = sentences.lines().collect();
        assert_eq!(lines.len(), 3, "{sentences}");
        assert!(lines[1].starts_with("It was late"), "{sentences}");
        assert!(lines[2].starts_with("It lost 2 packets"), "{sentences}");
    }

    #[test]
    fn a_run_that_was_interrupted_neither_passed_nor_failed() {
        let report = judged(&completed(), &End::Interrupted(2));
        assert_eq!(report.outcome, Outcome::Interrupted);
        let report = judged(&completed(), &End::Failed("a node ended".to_owned()));
        assert_eq!(report.outcome, Outcome::Failed);
        assert_eq!(report.problems, ["a node ended"]);
    }
}
