//! What a run looks like, as text: a table to redraw in place, and a line to print.

use std::{fmt, time::Duration};

use crate::{
    failover::{Failover, Way},
    traffic::{ledger::FlowTotals, stream::StreamTotals},
};

/// A run at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the run is doing.
    pub phase: Phase,
    /// How long traffic has been sent.
    pub elapsed: Duration,
    /// How long it is to be sent.
    pub total: Duration,
    /// All nodes of the mesh.
    pub nodes: Vec<NodeRow>,
    /// All flows of packets.
    pub flows: Vec<FlowRow>,
    /// The stream.
    pub stream: StreamRow,
    /// The link that is cut, if one is.
    pub failover: Option<Failover>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The nodes start and find each other.
    Starting,
    /// Packets and the stream cross.
    Crossing,
    /// Nothing is sent any more, and what is under way may arrive.
    Settling,
    /// The nodes are asked to end.
    Stopping,
    /// Everything has ended.
    Done,
}

/// One node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name.
    pub name: &'static str,
    /// Its region.
    pub region: &'static str,
    /// Its process.
    pub pid: u32,
    /// How many links it has up, as it said last.
    pub peers_up: usize,
}

/// One flow at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRow {
    /// The region that it is sent in.
    pub from: &'static str,
    /// The region that it is sent to.
    pub to: &'static str,
    /// The median of the one-way delay between the two, as AWS has it.
    pub distance: Duration,
    /// Its account.
    pub totals: FlowTotals,
}

/// Both flows between two regions at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRow {
    /// One region.
    pub a: &'static str,
    /// The other.
    pub b: &'static str,
    /// The round trip between the two, as AWS has it.
    pub distance: Duration,
    /// The round trip as packets have it now: the delay there and the delay back.
    pub round_trip: Option<Duration>,
    /// The packets of both flows.
    pub totals: FlowTotals,
}

/// The stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRow {
    /// The region that it is sent in.
    pub from: &'static str,
    /// The region that it is sent to.
    pub to: &'static str,
    /// How far it has come.
    pub totals: StreamTotals,
}

impl Snapshot {
    /// How many peers each node has.
    pub fn peers_each(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    /// Whether every node has links to all others.
    pub fn all_up(&self) -> bool {
        self.nodes
            .iter()
            .all(|node| node.peers_up == self.peers_each())
    }

    /// All flows together, without delays: there is no median of medians.
    pub fn packets(&self) -> FlowTotals {
        let flows = self.flows.iter().map(|flow| flow.totals);
        flows.fold(FlowTotals::default(), together)
    }

    /// The flows by pairs of regions, each at the place of the first flow of the pair.
    pub fn pairs(&self) -> impl Iterator<Item = PairRow> {
        self.flows.iter().enumerate().filter_map(|(place, there)| {
            let back = &self.flows[place..];
            let back = back
                .iter()
                .find(|back| (back.from, back.to) == (there.to, there.from))?;
            let now = there.totals.delay_now.zip(back.totals.delay_now);
            Some(PairRow {
                a: there.from,
                b: there.to,
                distance: there.distance + back.distance,
                round_trip: now.map(|(there, back)| there + back),
                totals: together(there.totals, back.totals),
            })
        })
    }
}

fn together(a: FlowTotals, b: FlowTotals) -> FlowTotals {
    FlowTotals {
        sent: a.sent + b.sent,
        delivered: a.delivered + b.delivered,
        lost: a.lost + b.lost,
        duplicates: a.duplicates + b.duplicates,
        ..FlowTotals::default()
    }
}

/// The whole snapshot as lines of at most [`WIDTH`] columns, each ended by a line feed.
///
/// Four nodes, twelve flows and a link that is cut make 23 lines.
pub fn table(snapshot: &Snapshot) -> String {
    Table(snapshot).to_string()
}

/// The snapshot in one line, without a line feed.
pub fn line(snapshot: &Snapshot) -> String {
    let packets = snapshot.packets();
    let stream = snapshot.stream.totals;
    let up: usize = snapshot.nodes.iter().map(|node| node.peers_up).sum();
    let all = snapshot.nodes.len() * snapshot.peers_each();
    let failover = snapshot.failover.as_ref().map(|failover| {
        let [there, _] = &failover.ways;
        let link = link_state(failover, snapshot.elapsed);
        format!("  direct link {link}, {}", InUse(there))
    });
    format!(
        "{:>4} s  {:<8}  peers up {up}/{all}  packets {} sent {} delivered {} lost  stream {}{}",
        snapshot.elapsed.as_secs(),
        snapshot.phase.to_string(),
        packets.sent,
        packets.delivered,
        packets.lost,
        Megabytes(stream.bytes_received),
        failover.unwrap_or_default(),
    )
}

/// What the distances came to, a line for each pair of regions that has been measured, each ended
/// by a line feed.
pub fn distances(snapshot: &Snapshot) -> String {
    let measured = snapshot.pairs().filter_map(|pair| {
        let PairRow { a, b, distance, .. } = pair;
        let round_trip = pair.round_trip?;
        Some(format!(
            "{a} <> {b}: round trip {}, on AWS {}\n",
            Delay(round_trip),
            Delay(distance)
        ))
    });
    measured.collect()
}

/// The columns of a terminal that is as small as they come.
pub const WIDTH: usize = 80;

struct Table<'a>(&'a Snapshot);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(snapshot) = self;
        let title = format!(
            "Causeway: {} nodes on this machine, at AWS distances",
            snapshot.nodes.len()
        );
        let clock = format!(
            "{}  {} s of {} s",
            snapshot.phase,
            snapshot.elapsed.as_secs(),
            snapshot.total.as_secs()
        );
        writeln!(f, "{title:<52}{clock:>27}\n")?;

        writeln!(
            f,
            "{:<14}{:<15}{:>9}{:>11}",
            "node", "region", "process", "peers up"
        )?;
        for node in &snapshot.nodes {
            let up = format!("{} of {}", node.peers_up, snapshot.peers_each());
            writeln!(
                f,
                "{:<14}{:<15}{:>9}{up:>11}",
                node.name, node.region, node.pid
            )?;
        }

        writeln!(
            f,
            "\n{:<30}{:>9}{:>10}{:>8}{:>12}{:>11}",
            "packets", "sent", "delivered", "lost", "round trip", "on AWS"
        )?;
        for pair in snapshot.pairs() {
            let name = format!("{} <> {}", pair.a, pair.b);
            let round_trip = pair.round_trip.map(|delay| Delay(delay).to_string());
            packets(f, &name, &pair.totals)?;
            writeln!(
                f,
                "{:>12}{:>11}",
                round_trip.unwrap_or_default(),
                Delay(pair.distance).to_string()
            )?;
        }
        packets(f, "all", &snapshot.packets())?;
        writeln!(f)?;

        let StreamRow { from, to, totals } = snapshot.stream;
        writeln!(
            f,
            "\n{:<30}{:>9}{:>10}{:>20}",
            "stream", "sent", "received", "SHA-256"
        )?;
        writeln!(
            f,
            "{:<30}{:>9}{:>10}{:>20}",
            format!("{from} > {to}"),
            Megabytes(totals.bytes_sent).to_string(),
            Megabytes(totals.bytes_received).to_string(),
            match totals.sha256_match {
                None => "at the end",
                Some(true) => "same at both ends",
                Some(false) => "DIFFERENT",
            }
        )?;
        match &snapshot.failover {
            Some(failover) => paths(f, failover, snapshot.elapsed),
            None => Ok(()),
        }
    }
}

fn paths(f: &mut fmt::Formatter<'_>, failover: &Failover, elapsed: Duration) -> fmt::Result {
    let seconds = |time: Duration, digits: usize| format!("{:.digits$} s", time.as_secs_f64());
    let noticed = match (failover.detected(), failover.returned()) {
        (_, Some(returned)) => format!("in use after {}", seconds(returned, 1)),
        (Some(detected), None) => format!("noticed in {}", seconds(detected, 2)),
        (None, None) => String::new(),
    };
    let [there, back] = &failover.ways;
    writeln!(f, "\n{:<57}{:>23}", "path in use", "direct link")?;
    for (way, said) in [(there, link_state(failover, elapsed)), (back, noticed)] {
        // Who makes a path longer than all regions of this mesh has it cut off.
        writeln!(f, "{:<57.57}{said:>23}", InUse(way).to_string())?;
    }
    Ok(())
}

fn link_state(failover: &Failover, elapsed: Duration) -> String {
    let since = |then| elapsed.saturating_sub(then).as_secs_f64();
    match (failover.cut, failover.healed) {
        (None, _) => "up".to_owned(),
        (Some(cut), None) => format!("CUT for {:.1} s", since(cut)),
        (Some(_), Some(healed)) => format!("healed for {:.1} s", since(healed)),
    }
}

/// The path that a way takes now.
struct InUse<'a>(&'a Way);

impl fmt::Display for InUse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Way { from, to, path, .. } = self.0;
        match path {
            Some(path) => f.write_str(&path.regions().join(" > ")),
            None => write!(f, "{from} > {to}: path unknown"),
        }
    }
}

fn packets(f: &mut fmt::Formatter<'_>, name: &str, totals: &FlowTotals) -> fmt::Result {
    let FlowTotals {
        sent,
        delivered,
        lost,
        ..
    } = totals;
    write!(f, "{name:<30}{sent:>9}{delivered:>10}{lost:>8}")
}

/// A delay to a tenth of its unit.
struct Delay(Duration);

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            seconds if seconds < 1.0 => write!(f, "{:.1} ms", seconds * 1e3),
            seconds => write!(f, "{seconds:.1} s"),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Crossing => "crossing",
            Self::Settling => "settling",
            Self::Stopping => "stopping",
            Self::Done => "done",
        })
    }
}

/// A number of bytes in units of a million.
#[derive(Debug, Clone, Copy)]
pub struct Megabytes(pub u64);

impl fmt::Display for Megabytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} MB", self.0 / 1_000_000, self.0 / 100_000 % 10)
    }
}

#[cfg(test)]
pub(crate) mod tests;
