//! What is measured when somebody asks: peers, links, tasks and queues.

mod survey;

use std::sync::{Arc, Weak};

use super::view::View;
use crate::{
    accounts::{Cell, Passage},
    clock,
    deadline::Endpoint,
    link::Link,
    links::CONDITIONS,
    mesh::Mesh,
    telemetry::{Metrics, Series},
};

/// Registers the instruments that read a running node. They hold it weakly: metrics may outlive it.
pub(super) fn register(view: &Arc<View>) {
    let View {
        mesh,
        tasks,
        metrics,
        ..
    } = &**view;
    let weak = Arc::downgrade(mesh);
    gauge_per_link(
        metrics,
        &weak,
        "relay.link.rtt",
        "s",
        "Smoothed round trip of probes",
        |link| link.srtt().as_secs_f64(),
    );
    gauge_per_link(
        metrics,
        &weak,
        "relay.link.health",
        "{state}",
        "What probes say of the current link: 0 up, 1 suspect, 2 confirmed, 3 down",
        |link| f64::from(link.health() as u8),
    );
    survey::register(metrics, &weak);
    let peers = weak.clone();
    metrics.gauges(
        "relay.peer.up",
        "{peer}",
        "Whether the peer has a usable link",
        move |series| {
            for peer in peers.upgrade().iter().flat_map(|mesh| mesh.links.peers()) {
                let up = if peer.usable().is_some() { 1.0 } else { 0.0 };
                series.report(up, &[("peer", &peer.id.to_string())]);
            }
        },
    );
    let judged = weak.clone();
    metrics.gauges(
        "relay.peer.condition",
        "{peer}",
        "How many peers there are of which this is thought",
        move |series| {
            let Some(mesh) = judged.upgrade() else { return };
            let peers = mesh.links.peers();
            for condition in CONDITIONS {
                let of = peers.iter().filter(|peer| peer.condition() == condition);
                let word = condition.to_string();
                series.report(of.count() as f64, &[("condition", &word)]);
            }
        },
    );
    let sent = weak.clone();
    metrics.counters(
        "relay.link.sent",
        "By",
        "Bytes sent on current links",
        move |series| {
            per_link(&sent, series, |link| link.connection.stats().sent_bytes);
        },
    );
    let received = weak.clone();
    metrics.counters(
        "relay.link.received",
        "By",
        "Bytes received on current links",
        move |series| {
            per_link(&received, series, |link| {
                link.connection.stats().received_bytes
            });
        },
    );
    let lost = weak.clone();
    metrics.counters(
        "relay.link.lost",
        "{packet}",
        "QUIC packets lost on current links",
        move |series| {
            per_link(&lost, series, |link| link.connection.stats().lost_packets);
        },
    );
    let narrowed = weak.clone();
    metrics.counters(
        "relay.link.black_holes",
        "{black_hole}",
        "How often the paths of current links stopped carrying large packets",
        move |series| {
            per_link(&narrowed, series, |link| {
                link.connection.stats().black_holes
            });
        },
    );
    let queued = weak.clone();
    metrics.counters(
        "relay.link.outbox_dropped",
        "{packet}",
        "Packets dropped in front of current links, because the link carries less",
        move |series| {
            per_link(&queued, series, |link| link.outbox.counts().dropped());
        },
    );
    let loaded = weak.clone();
    metrics.gauges(
        "relay.node.load",
        "1",
        "How much of what it can do this node does: from 1 on it takes nothing new",
        move |series| {
            if let Some(mesh) = loaded.upgrade() {
                series.report(f64::from(mesh.load.load().as_permille()) / 1_000.0, &[]);
            }
        },
    );
    region_counters(
        metrics,
        &weak,
        "relay.region.traffic",
        "By",
        "Bytes of packets and streams to and from regions",
        |cell| cell.bytes.value(),
    );
    region_counters(
        metrics,
        &weak,
        "relay.region.packets",
        "{packet}",
        "Packets to and from regions, pieces of packets each",
        |cell| cell.packets.value(),
    );
    let own = weak.clone();
    metrics.gauges(
        "relay.node.certificate_ends",
        "s",
        "Until the node's certificate ends",
        move |series| {
            if let Some(mesh) = own.upgrade() {
                let left = mesh
                    .material
                    .load()
                    .not_after()
                    .duration_since(mesh.env.wall.now());
                series.report(left.map_or(0.0, |left| left.as_secs_f64()), &[]);
            }
        },
    );
    let reaper = weak.clone();
    metrics.counters(
        "relay.reaper.ended",
        "{stream}",
        "Streams handed over for closing",
        move |series| {
            if let Some(mesh) = reaper.upgrade() {
                let counts = mesh.reaper.counts();
                for (outcome, value) in [
                    ("finished", counts.finished),
                    ("failed", counts.failed),
                    ("reset_deadline", counts.reset_deadline),
                    ("reset_overflow", counts.reset_overflow),
                    ("reset_shutdown", counts.reset_shutdown),
                ] {
                    series.report(value, &[("outcome", outcome)]);
                }
            }
        },
    );
    gauge_of_endpoints(
        view,
        "relay.connection.open",
        "{connection}",
        "QUIC connections, those in handshake and those that are ending included",
        Endpoint::open_connections,
    );
    gauge_of_endpoints(
        view,
        "relay.stream.open",
        "{stream}",
        "QUIC streams of all connections, control streams and those that are being closed included",
        Endpoint::open_streams,
    );
    let flows = weak;
    metrics.gauges(
        "relay.flow.open",
        "{flow}",
        "Flows that end on this node",
        move |series| {
            if let Some(mesh) = flows.upgrade() {
                series.report(mesh.egress.len() as f64, &[]);
            }
        },
    );
    let running = tasks.clone();
    metrics.gauges(
        "relay.task.running",
        "{task}",
        "Tasks that are registered",
        move |series| {
            series.report(running.counts().running as f64, &[]);
        },
    );
    let overdue = tasks.clone();
    metrics.gauges(
        "relay.task.overdue",
        "{task}",
        "Tasks past their owner's end",
        move |series| {
            let rows = overdue.list(clock::now());
            series.report(rows.iter().filter(|row| row.overdue).count() as f64, &[]);
        },
    );
    let ended = tasks.clone();
    metrics.counters(
        "relay.task.failed",
        "{task}",
        "Tasks that were aborted, panicked or refused",
        move |series| {
            let counts = ended.counts();
            for (outcome, value) in [
                ("overdue", counts.overdue),
                ("panicked", counts.panicked),
                ("refused_closed", counts.refused_closed),
                ("refused_full", counts.refused_full),
            ] {
                series.report(value, &[("outcome", outcome)]);
            }
        },
    );
}

fn gauge_of_endpoints(
    view: &Arc<View>,
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&Endpoint) -> usize,
) {
    // An endpoint that somebody holds keeps its socket.
    let weak = Arc::downgrade(view);
    view.metrics.gauges(name, unit, help, move |series| {
        if let Some(view) = weak.upgrade() {
            let sum: usize = view.endpoints.iter().map(read).sum();
            series.report(sum as f64, &[]);
        }
    });
}

fn gauge_per_link(
    metrics: &Metrics,
    mesh: &Weak<Mesh>,
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&Link) -> f64,
) {
    let mesh = mesh.clone();
    metrics.gauges(name, unit, help, move |series| {
        per_link(&mesh, series, read)
    });
}

/// What goes to and from each region: sent by kind of path, and received.
fn region_counters(
    metrics: &Metrics,
    mesh: &Weak<Mesh>,
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    read: fn(&Cell) -> u64,
) {
    let mesh = mesh.clone();
    metrics.counters(name, unit, help, move |series| {
        let Some(mesh) = mesh.upgrade() else { return };
        for (region, account) in mesh.accounts.all() {
            for passage in Passage::ALL {
                let labels = [
                    ("region", region.as_str()),
                    ("direction", "sent"),
                    ("path", passage.word()),
                ];
                series.report(read(account.sent(*passage)), &labels);
            }
            let labels = [
                ("region", region.as_str()),
                ("direction", "received"),
                ("path", "any"),
            ];
            series.report(read(account.received()), &labels);
        }
    });
}

fn per_link<N: Copy>(mesh: &Weak<Mesh>, series: &mut Series<'_, N>, read: impl Fn(&Link) -> N) {
    for peer in mesh.upgrade().iter().flat_map(|mesh| mesh.links.peers()) {
        if let Some(link) = peer.slot.load().link.clone() {
            series.report(read(&link), &[("peer", &peer.id.to_string())]);
        }
    }
}
