//! What the router makes of the mesh.

use std::sync::{
    Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    mesh::Mesh,
    routes::Kind,
    survey::{How, Survey},
    telemetry::Metrics,
};

pub(super) fn register(metrics: &Metrics, mesh: &Weak<Mesh>) {
    let routes = mesh.clone();
    metrics.gauges(
        "relay.route.count",
        "{route}",
        "Destinations by how traffic of each kind reaches them: direct, overlay or none",
        move |series| {
            let Some(mesh) = routes.upgrade() else { return };
            for kind in Kind::ALL {
                for how in How::ALL {
                    let count = mesh.survey.routes(kind, *how) as f64;
                    series.report(count, &[("kind", kind.word()), ("how", how.word())]);
                }
            }
        },
    );
    number(
        metrics,
        mesh,
        "relay.mesh.nodes",
        "{node}",
        "Nodes that are known, this one included",
        |survey| &survey.nodes,
    );
    number(
        metrics,
        mesh,
        "relay.mesh.contested",
        "{node}",
        "Names in which two processes seem to speak",
        |survey| &survey.contested,
    );
    number(
        metrics,
        mesh,
        "relay.policy.epoch",
        "{epoch}",
        "The epoch of the policy of the fleet, expired or not; 0 if there is none",
        |survey| &survey.policy,
    );
    flag(
        metrics,
        mesh,
        "relay.node.warming",
        "Whether this node has just started, and does not take what it has not heard of for absent",
        |survey| &survey.is_warming,
    );
    flag(
        metrics,
        mesh,
        "relay.node.doubting",
        "Whether this node suspects itself, since many of its links were lost at once",
        |survey| &survey.is_doubting,
    );
}

fn number(
    metrics: &Metrics,
    mesh: &Weak<Mesh>,
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    of: fn(&Survey) -> &AtomicU64,
) {
    let mesh = mesh.clone();
    metrics.gauges(name, unit, help, move |series| {
        if let Some(mesh) = mesh.upgrade() {
            series.report(of(&mesh.survey).load(Ordering::Relaxed) as f64, &[]);
        }
    });
}

fn flag(
    metrics: &Metrics,
    mesh: &Weak<Mesh>,
    name: &'static str,
    help: &'static str,
    of: fn(&Survey) -> &AtomicBool,
) {
    let mesh = mesh.clone();
    metrics.gauges(name, "{node}", help, move |series| {
        if let Some(mesh) = mesh.upgrade() {
            let is = of(&mesh.survey).load(Ordering::Relaxed);
            series.report(if is { 1.0 } else { 0.0 }, &[]);
        }
    });
}
