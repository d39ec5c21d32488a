//! Asks a node for echoes of others, and shows how long they took.

use std::{io::Write, time::Duration};

use futures_util::future::try_join_all;
use serde::Serialize;

use super::{
    super::{
        Stop,
        arguments::Ping,
        table::{millis, percent, table, wrapped},
    },
    routes::way,
    show, wait,
};
use crate::admin::{Client, ClientError, view::EchoView};

/// Echoes over the path in use, one after another.
pub(in crate::cli) fn ping(ping: &Ping, out: &mut dyn Write) -> Result<(), Stop> {
    let mut echoes = Vec::new();
    for seq in 1..=ping.count {
        let pause = pause(ping, seq);
        let echo = wait(&ping.ask, async |client| {
            let (echo, ()) = tokio::join!(client.echo(&ping.dest, None), pause);
            echo
        })?;
        if !ping.ask.json {
            out.write_all(echo_text(seq, &echo).as_bytes())?;
            // Whoever watches sees each as it comes.
            out.flush()?;
        }
        echoes.push(echo);
    }
    let to = echoes
        .first()
        .map_or_else(|| ping.dest.clone(), |echo| echo.to.clone());
    let trips = Trips::new(echoes.iter());
    let report = PingReport { to, trips, echoes };
    show(&ping.ask, &report, |report| trips_text(&report.trips), out)?;
    report.trips.came_back(&report.to)
}

/// Echoes of each node on the path in use.
pub(in crate::cli) fn trace(ping: &Ping, out: &mut dyn Write) -> Result<(), Stop> {
    let mut trace = Trace::default();
    for round in 1..=ping.count {
        let pause = pause(ping, round);
        let known = trace.path.len().saturating_sub(1);
        let answers = wait(&ping.ask, async |client| {
            let (answers, ()) = tokio::join!(each_hop(&client, &ping.dest, known), pause);
            answers
        })?;
        trace.take(answers);
    }
    let report = trace.report(&ping.dest);
    show(&ping.ask, &report, trace_text, out)?;
    match report.hops.last() {
        Some(last) => last.trips.came_back(&report.to),
        None => Err(Stop::Failed(format!("no path to {}", report.to).into())),
    }
}

/// Echoes of all nodes on the path, at once.
///
/// - `links`: of the path as far as it is known; 0 if it is not.
async fn each_hop(client: &Client, dest: &str, links: usize) -> Result<Vec<EchoView>, ClientError> {
    let links = match links {
        0 => {
            let first = client.echo(dest, None).await?;
            match first.path.len() {
                0 => return Ok(vec![first]),
                nodes => nodes - 1,
            }
        }
        links => links,
    };
    let echoes = (1..=links).map(|hop| client.echo(dest, Some(hop)));
    match try_join_all(echoes).await {
        // The path has become shorter.
        Err(ClientError::Refused { .. }) if links > 1 => Ok(Vec::new()),
        answers => answers,
    }
}

/// What is waited for beside an echo; nothing after the last.
fn pause(ping: &Ping, round: u32) -> impl Future<Output = ()> {
    let interval = Duration::from_millis(ping.interval.into());
    let pause = match round < ping.count {
        true => interval,
        false => Duration::ZERO,
    };
    async move { tokio::time::sleep(pause).await }
}

#[derive(Serialize)]
struct PingReport {
    to: String,
    #[serde(flatten)]
    trips: Trips,
    echoes: Vec<EchoView>,
}

/// What became of some echoes.
#[derive(Debug, Clone, Copy, Serialize)]
struct Trips {
    sent: u32,
    received: u32,
    loss: f64,
    min_us: Option<u64>,
    avg_us: Option<u64>,
    max_us: Option<u64>,
}

#[derive(Debug, Default)]
struct Trace {
    to: Option<String>,
    path: Vec<String>,
    changes: u32,
    /// For each link of the path, what came of the node at its end.
    hops: Vec<Vec<EchoView>>,
}

#[derive(Serialize)]
struct TraceReport {
    to: String,
    path: Vec<String>,
    /// How often the path changed meanwhile; the figures are of the last.
    path_changes: u32,
    hops: Vec<TraceHop>,
}

#[derive(Serialize)]
struct TraceHop {
    hop: u32,
    node: String,
    #[serde(flatten)]
    trips: Trips,
    /// What this hop adds to the average before it.
    own_us: Option<u64>,
    /// What this hop adds to the loss before it.
    own_loss: f64,
}

impl Trips {
    fn new<'a>(echoes: impl Iterator<Item = &'a EchoView>) -> Self {
        let rtts: Vec<Option<u64>> = echoes.map(|echo| echo.rtt_us).collect();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let sent = count(rtts.len());
        let came: Vec<u64> = rtts.into_iter().flatten().collect();
        let received = count(came.len());
        Self {
            sent,
            received,
            loss: f64::from(sent - received) / f64::from(sent.max(1)),
            min_us: came.iter().min().copied(),
            avg_us: came.iter().sum::<u64>().checked_div(received.into()),
            max_us: came.iter().max().copied(),
        }
    }

    fn came_back(&self, to: &str) -> Result<(), Stop> {
        match self.received {
            0 => {
                let error = format!("nothing came back from {to}");
                Err(Stop::Failed(error.into()))
            }
            _ => Ok(()),
        }
    }
}

impl Trace {
    fn take(&mut self, answers: Vec<EchoView>) {
        let Some(first) = answers.first() else {
            self.restart(Vec::new());
            return;
        };
        self.to = Some(first.to.clone());
        if let Some(other) = answers.iter().find(|answer| answer.path != self.path) {
            self.restart(other.path.clone());
        }
        // What was asked on another path says nothing of this one.
        for answer in answers {
            let place = self.path.iter().position(|node| *node == answer.asked);
            let hop = place.and_then(|place| place.checked_sub(1));
            if let Some(of) = hop.and_then(|hop| self.hops.get_mut(hop))
                && answer.path == self.path
            {
                of.push(answer);
            }
        }
    }

    fn restart(&mut self, path: Vec<String>) {
        self.changes += u32::from(!self.path.is_empty());
        self.hops = vec![Vec::new(); path.len().saturating_sub(1)];
        self.path = path;
    }

    fn report(self, asked: &str) -> TraceReport {
        let (mut before_us, mut before_loss) = (0, 0.0);
        let hops = (1..).zip(self.path.iter().skip(1).zip(&self.hops));
        let hops = hops.map(|(hop, (node, echoes))| {
            let trips = Trips::new(echoes.iter());
            let own_us = trips.avg_us.map(|avg| avg.saturating_sub(before_us));
            let own_loss = f64::max(trips.loss - before_loss, 0.0);
            before_us = trips.avg_us.unwrap_or(before_us);
            before_loss = trips.loss;
            TraceHop {
                hop,
                node: node.clone(),
                trips,
                own_us,
                own_loss,
            }
        });
        TraceReport {
            hops: hops.collect(),
            to: self.to.unwrap_or_else(|| asked.to_owned()),
            path: self.path,
            path_changes: self.changes,
        }
    }
}

fn echo_text(seq: u32, echo: &EchoView) -> String {
    let path = match echo.path.is_empty() {
        true => None,
        false => Some(way(Some(&echo.path))),
    };
    let words: Vec<String> = path.into_iter().chain(echo.error.clone()).collect();
    let first = format!("{seq:>3}  {:<8}  ", millis(echo.rtt_us));
    wrapped(&first, first.chars().count(), &words.join(": "))
}

fn trips_text(trips: &Trips) -> String {
    let [min, avg, max] = [trips.min_us, trips.avg_us, trips.max_us].map(millis);
    format!(
        "\n{} sent, {} came back, {} lost; min {min}, avg {avg}, max {max}\n",
        trips.sent,
        trips.received,
        percent(Some(trips.loss)),
    )
}

fn trace_text(report: &TraceReport) -> String {
    let Some(from) = report.path.first() else {
        return String::new();
    };
    let mut text = format!("{from} to {}, {}\n", report.to, way(Some(&report.path)));
    match report.path_changes {
        0 => {}
        1 => text.push_str("The path changed meanwhile; this is the last one.\n"),
        times => text.push_str(&format!(
            "The path changed {times} times meanwhile; this is the last one.\n"
        )),
    }
    let rows = report.hops.iter().map(|hop| {
        let [min, avg, max, own] = [
            hop.trips.min_us,
            hop.trips.avg_us,
            hop.trips.max_us,
            hop.own_us,
        ]
        .map(millis);
        let [loss, own_loss] = [hop.trips.loss, hop.own_loss].map(|share| percent(Some(share)));
        let sent = hop.trips.sent.to_string();
        [hop.node.clone(), sent, loss, min, avg, max, own, own_loss]
    });
    let heading = [
        "NODE", "SENT", "LOSS", "MIN", "AVG", "MAX", "OWN RTT", "OWN LOSS",
    ];
    text.push_str(&table(heading, &[1, 2, 3, 4, 5, 6, 7], rows));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(path: &[&str], asked: &str, rtt_us: u64) -> EchoView {
        let path: Vec<String> = path.iter().map(|node| (*node).to_owned()).collect();
        EchoView {
            to: path.last().unwrap().clone(),
            path,
            asked: asked.to_owned(),
            rtt_us: (rtt_us > 0).then_some(rtt_us),
            error: None,
        }
    }

    #[test]
    fn each_hop_of_a_trace_owns_what_it_adds_and_nothing_negative() {
        let mut trace = Trace::default();
        let path = ["a", "b", "c", "d"];
        for (b, c, d) in [(10, 50, 90), (20, 0, 40), (15, 0, 0)] {
            trace.take(vec![
                answer(&path, "b", b),
                answer(&path, "c", c),
                answer(&path, "d", d),
            ]);
        }
        let report = trace.report("d");
        let own: Vec<_> = report
            .hops
            .iter()
            .map(|hop| (hop.own_us, hop.own_loss))
            .collect();
        let third = 1.0 / 3.0;
        assert_eq!(own[0], (Some(15), 0.0));
        assert_eq!(own[1], (Some(35), 2.0 * third));
        assert_eq!(own[2], (Some(15), 0.0));
        assert_eq!(report.path_changes, 0);
    }

    #[test]
    fn trace_whose_path_changes_starts_again_and_says_so() {
        let mut trace = Trace::default();
        trace.take(vec![answer(&["a", "c"], "c", 10)]);
        trace.take(vec![answer(&["a", "b", "c"], "b", 20)]);
        trace.take(vec![
            answer(&["a", "b", "c"], "b", 30),
            answer(&["a", "b", "c"], "c", 50),
        ]);
        let report = trace.report("c");
        assert_eq!(report.path_changes, 1);
        let sent: Vec<_> = report.hops.iter().map(|hop| hop.trips.sent).collect();
        assert_eq!(sent, [2, 1]);
        // It has become shorter than the hop that was asked for.
        let mut trace = Trace::default();
        trace.take(vec![answer(&["a", "b", "c"], "c", 20)]);
        trace.take(Vec::new());
        assert!(trace.path.is_empty());
        assert_eq!(trace.changes, 1);
    }
}
