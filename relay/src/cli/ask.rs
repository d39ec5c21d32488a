//! Asks a running node and shows what it says.

mod echo;
mod mesh;
mod policy;
mod routes;

use std::{io::Write, time::Duration};

use serde::Serialize;

pub(super) use self::{
    echo::{ping, trace},
    mesh::mesh,
    policy::{apply, policy},
    routes::routes,
};
use super::{
    Stop,
    arguments::{Ask, Explain},
    table::{NONE, age, bytes, fact, millis, percent, table},
};
use crate::admin::{
    Client, ClientError,
    view::{
        ListenView, PairView, PeerDetailView, PeerView, RoundTripsView, ServiceView, StatusView,
        TaskView, TransitionView,
    },
};

/// Shows the node itself.
pub(super) fn status(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let status = wait(ask, async |client| client.status().await)?;
    show(ask, &status, status_text, out)
}

/// Lists its peers.
pub(super) fn peers(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let peers = wait(ask, async |client| client.peers().await)?;
    show(ask, &peers, |peers| peers_text(peers), out)
}

/// Lists its tasks.
pub(super) fn tasks(ask: &Ask, out: &mut dyn Write) -> Result<(), Stop> {
    let mut tasks = wait(ask, async |client| client.tasks().await)?;
    tasks.sort_by_key(|task| !task.overdue);
    show(ask, &tasks, |tasks| tasks_text(tasks), out)
}

/// Explains one thing.
pub(super) fn explain(explain: &Explain, out: &mut dyn Write) -> Result<(), Stop> {
    match explain {
        Explain::Peer { name, ask } => {
            let detail = wait(ask, async |client| client.peer(name).await)?;
            show(ask, &detail, detail_text, out)
        }
        Explain::Route { dest, ask } => routes::explain(dest, ask, out),
    }
}

fn wait<T>(
    ask: &Ask,
    question: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = Client::new(ask.admin.clone(), DEADLINE);
    runtime
        .block_on(question(client))
        .map_err(|error| Stop::Failed(error.into()))
}

fn show<T: Serialize>(
    ask: &Ask,
    answer: &T,
    text: impl FnOnce(&T) -> String,
    out: &mut dyn Write,
) -> Result<(), Stop> {
    if ask.json {
        let json = serde_json::to_string_pretty(answer).map_err(std::io::Error::from)?;
        writeln!(out, "{json}")?;
    } else {
        out.write_all(text(answer).as_bytes())?;
    }
    Ok(())
}

fn status_text(status: &StatusView) -> String {
    let ready = match status.ready.is_ready() {
        true => "ready".to_owned(),
        false => format!("not ready: {}", status.ready.reasons.join("; ")),
    };
    let mut text = format!("{} is {ready}\n", status.node);
    let (oldest, newest) = status.protocol;
    let protocol = match oldest == newest {
        true => newest.to_string(),
        false => format!("{oldest} to {newest}"),
    };
    let release = format!(
        "{} (version {}, protocol {protocol})",
        status.release, status.version
    );
    text.push_str(&fact("release", release));
    text.push_str(&fact("up for", age(status.uptime_ms)));
    text.push_str(&fact("identity", &status.uri));
    text.push_str(&fact(
        "key",
        format!("{}, generation {}", status.key, status.generation),
    ));
    text.push_str(&fact(
        "certificate",
        format!("until {}", status.certificate_ends),
    ));
    text.push_str(&fact("bound", status.bound.join(", ")));
    text.push_str(&fact("advertised", status.advertised.join(", ")));
    text.push_str(&fact(
        "peers",
        format!("{} of {} up", status.peers_up, status.peers),
    ));
    let labels = status.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        text.push_str(&fact("labels", labels.join(" ")));
    }
    text.push_str(&services_text(&status.services));
    text.push_str(&listens_text(&status.listens));
    text
}

fn services_text(services: &[ServiceView]) -> String {
    if services.is_empty() {
        return String::new();
    }
    let rows = services.iter().map(|service| {
        let ServiceView {
            name,
            kind,
            address,
        } = service.clone();
        [name, kind, address]
    });
    let rows = table(["SERVICE", "KIND", "AT"], &[], rows);
    format!("\n{rows}")
}

fn listens_text(listens: &[ListenView]) -> String {
    if listens.is_empty() {
        return String::new();
    }
    let rows = listens.iter().map(|listen| {
        let ListenView {
            kind,
            address,
            service,
            to,
            via,
        } = listen.clone();
        let via = via.unwrap_or_else(|| "nobody".into());
        [address, kind, service, to, via]
    });
    let heading = ["LISTEN", "KIND", "TO SERVICE", "IN OR ON", "VIA"];
    let rows = table(heading, &[], rows);
    format!("\n{rows}")
}

fn peers_text(peers: &[PeerView]) -> String {
    if peers.is_empty() {
        return "no peers\n".to_owned();
    }
    let rows = peers.iter().map(|peer| {
        [
            peer.name.clone(),
            peer.state.clone(),
            age(peer.state_ms),
            millis(peer.srtt_us),
            percent(peer.loss),
            peer.services.to_string(),
            peer.reason.clone(),
        ]
    });
    let heading = ["PEER", "STATE", "FOR", "RTT", "LOSS", "SERVES", "WHY"];
    table(heading, &[2, 3, 4, 5], rows)
}

fn tasks_text(tasks: &[TaskView]) -> String {
    let rows = tasks.iter().map(|task| {
        let overdue = if task.overdue { "OVERDUE" } else { NONE };
        [
            task.name.clone(),
            task.owner.clone(),
            age(task.age_ms),
            overdue.to_owned(),
            task.waits_for.clone(),
        ]
    });
    let overdue = tasks.iter().filter(|task| task.overdue).count();
    let rows = table(["TASK", "OWNER", "AGE", "STATE", "WAITS FOR"], &[2], rows);
    format!(
        "{rows}\n{} tasks, {overdue} past their deadline\n",
        tasks.len()
    )
}

fn detail_text(detail: &PeerDetailView) -> String {
    let peer = &detail.peer;
    let (name, state, since) = (&peer.name, &peer.state, age(peer.state_ms));
    let mut text = format!("{name}: {state} for {since} ({})\n", peer.reason);
    if let Some(backoff_ms) = detail.backoff_ms {
        text.push_str(&fact("next dial", format!("in {}", age(backoff_ms))));
    }
    if let Some(key) = &detail.key {
        text.push_str(&fact("key", key));
    }
    if let Some(release) = &detail.release {
        text.push_str(&fact("release", release));
    }
    let labels = detail.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty() {
        text.push_str(&fact("labels", labels.join(" ")));
    }
    if !detail.addresses.is_empty() {
        text.push_str(&fact("dialed at", detail.addresses.join(", ")));
    }
    if !detail.services.is_empty() {
        text.push_str(&fact("services", detail.services.join(", ")));
    }
    if let Some(pair) = &detail.pair {
        text.push_str(&pair_text(pair));
    }
    text.push_str(&detail_tables(detail));
    text
}

fn pair_text(pair: &PairView) -> String {
    let PairView {
        condition, falls, ..
    } = pair;
    let falls = match falls {
        0 => "never fell".to_owned(),
        1 => "fell once".to_owned(),
        _ => format!("fell {falls} times"),
    };
    let loss = percent(Some(pair.loss));
    let jitter = millis(Some(pair.jitter_us));
    let judged = format!("{condition}, {falls}; {loss} lost on the way out, jitter {jitter}");
    let mut text = fact("judged", judged);
    if let Some(RoundTripsView {
        p50_us,
        p90_us,
        p99_us,
        max_us,
    }) = pair.round_trips
    {
        let [p50, p90, p99, max] = [p50_us, p90_us, p99_us, max_us].map(|us| millis(Some(us)));
        let trips = format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max}");
        text.push_str(&fact("round trips", trips));
    }
    text
}

fn detail_tables(detail: &PeerDetailView) -> String {
    let mut text = String::new();
    for link in &detail.links {
        let current = if link.current { "current link" } else { "link" };
        let made = format!("{} {} ago", link.direction, age(link.age_ms));
        text.push_str(&format!("\n{current} {}\n", link.generation));
        text.push_str(&fact("to", format!("{}, {made}", link.address)));
        let (rtt, loss) = (millis(link.srtt_us), percent(link.loss));
        text.push_str(&fact("measured", format!("rtt {rtt}, loss {loss}")));
        let (sent, received) = (bytes(link.sent_bytes), bytes(link.received_bytes));
        text.push_str(&fact(
            "carried",
            format!("{sent} sent, {received} received"),
        ));
    }
    text.push_str(&changes_text(
        ["AGO", "JUDGED", "NOW", "WHY"],
        &detail.conditions,
    ));
    let heading = ["AGO", "FROM", "TO", "WHY"];
    text.push_str(&changes_text(heading, &detail.transitions));
    text
}

fn changes_text(heading: [&str; 4], changes: &[TransitionView]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let rows = changes.iter().map(|change| {
        let (from, to) = (change.from.clone(), change.to.clone());
        [age(change.ago_ms), from, to, change.reason.clone()]
    });
    let rows = table(heading, &[0], rows);
    format!("\n{rows}")
}

/// A healthy node answers within milliseconds; a person waits this long before asking twice.
const DEADLINE: Duration = Duration::from_secs(5);
