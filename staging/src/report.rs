//! What a run comes to: a verdict, sentences for people and JSON for programs.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    failover::{self, ASK_INTERVAL},
    view::{Megabytes, Snapshot},
};

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
    /// What a cut link did to the traffic between its ends; none if no link was cut.
    pub failover: Option<Failover>,
    /// From the heal of that link until both of its ends were seen to use the direct path again,
    /// in milliseconds; none if that did not happen.
    pub return_ms: Option<f64>,
    /// The nodes, as they were before they were asked to end.
    pub nodes: Vec<Node>,
    /// The network between them; none if it did not say.
    pub emulator: Option<Emulator>,
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every peer was up, packets crossed, the stream arrived with the same SHA-256, and the cut
    /// link, if there was one, was left for another path and taken again.
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

/// A link that was cut and healed; what did not happen is none. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failover {
    /// The region at one end of the link.
    pub from: &'static str,
    /// The region at the other.
    pub to: &'static str,
    /// When it was cut, from the start of traffic.
    pub cut_at_ms: f64,
    /// When it was healed, likewise.
    pub healed_at_ms: Option<f64>,
    /// From the cut until the node at each end was seen to use another path.
    pub detected_ms: Option<f64>,
    /// By how much more than `detected_ms` and `return_ms` say it may have been sooner: how often
    /// the nodes were asked.
    pub resolution_ms: f64,
    /// The longest time between two packets that arrived one after the other around the cut.
    pub gap_ms: Option<f64>,
    /// Packets of both ways that never arrived, of those sent from a second before the cut to a
    /// second after the gap.
    pub packets_lost: Option<u64>,
    /// Packets of both ways that never arrived, of those sent after that and after the heal, until
    /// a second after the return.
    pub return_packets_lost: Option<u64>,
    /// Each way by itself; the figures above are the later, longer, and the sum of these.
    pub ways: Vec<FailoverWay>,
    /// All of it in words.
    #[serde(skip)]
    pub sentence: String,
}

/// The traffic from one end of a cut link to the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailoverWay {
    /// The region that it was sent in.
    pub from: &'static str,
    /// The region that it was sent to.
    pub to: &'static str,
    /// The regions of the first other path that it took, both ends included.
    pub detour: Option<Vec<String>>,
    /// As in [`Failover`], of this way.
    pub detected_ms: Option<f64>,
    /// As in [`Failover`], of this way.
    pub gap_ms: Option<f64>,
    /// As in [`Failover`], of this way.
    pub packets_lost: Option<u64>,
    /// As in [`Report`], of this way.
    pub return_ms: Option<f64>,
    /// As in [`Failover`], of this way.
    pub return_packets_lost: Option<u64>,
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
            failover: last.failover.as_ref().and_then(Failover::new),
            return_ms: last
                .failover
                .as_ref()
                .and_then(|failover| failover.returned().map(millis)),
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

impl Failover {
    /// None if the link was not cut, or not yet.
    fn new(failover: &failover::Failover) -> Option<Self> {
        let [failover::Way { from, to, .. }, _] = &failover.ways;
        let way = |way: &failover::Way| FailoverWay {
            from: way.from,
            to: way.to,
            detour: way.detour.as_ref().map(|path| path.regions().to_vec()),
            detected_ms: way.detected.map(millis),
            gap_ms: way.outage.map(|outage| millis(outage.gap)),
            packets_lost: way.outage.map(|outage| outage.packets_lost),
            return_ms: way.returned.map(millis),
            return_packets_lost: way.lost_on_return,
        };
        Some(Self {
            from,
            to,
            cut_at_ms: millis(failover.cut?),
            healed_at_ms: failover.healed.map(millis),
            detected_ms: failover.detected().map(millis),
            resolution_ms: millis(ASK_INTERVAL),
            gap_ms: failover.gap().map(millis),
            packets_lost: failover.packets_lost(),
            return_packets_lost: failover.lost_on_return(),
            ways: failover.ways.iter().map(way).collect(),
            sentence: failover.sentence()?,
        })
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
    if let Some(failover) = &last.failover {
        problems.extend(failover.problems());
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
mod tests;
