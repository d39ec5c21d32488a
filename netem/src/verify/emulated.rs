//! What the real-time grounds have in common.

use std::{
    fmt,
    net::{SocketAddr, UdpSocket},
};

use socket2::SockRef;

use super::{
    ground::{BackendReport, GroundError, Plan, Run},
    traffic::Exchanged,
};
use crate::{
    engine::DropCause,
    lateness::Lateness,
    report::Report,
    topology::{HostSpec, PathSpec, Topology},
};

/// A socket that holds what arrives while its reader has no turn.
pub(super) fn socket(address: SocketAddr) -> Result<UdpSocket, GroundError> {
    let socket = UdpSocket::bind(address).map_err(failed)?;
    SockRef::from(&socket)
        .set_recv_buffer_size(BUFFER_BYTES)
        .map_err(failed)?;
    Ok(socket)
}

pub(super) fn host_name(index: usize) -> String {
    format!("host-{index}")
}

/// The plan's pairs between hosts that are numbered as its own.
pub(super) fn topology(plan: &Plan, hosts: Vec<HostSpec>) -> Topology {
    let paths = plan.pairs.iter().map(|pair| {
        let (from, to) = (pair.from as usize, pair.to as usize);
        PathSpec::made(from, to, pair.model.clone(), pair.schedule.clone())
    });
    Topology::made(plan.seed, hosts, paths.collect())
}

/// What the sockets saw and what the backend said, together.
pub(super) fn run(
    plan: &Plan,
    exchanged: Exchanged,
    report: &Report,
    used_by_others: Option<f64>,
) -> Run {
    let Exchanged { mut pairs, timer } = exchanged;
    for (run, pair) in pairs.iter_mut().zip(&plan.pairs) {
        let ends = [pair.from, pair.to].map(|host| host_name(host as usize));
        let path = report
            .paths
            .iter()
            .find(|path| [&path.from, &path.to] == [&ends[0], &ends[1]]);
        run.packets = path.map(|path| path.packets.clone()).unwrap_or_default();
    }
    let full = report.packets.dropped.get(DropCause::EngineFull.name());
    Run {
        pairs,
        report: BackendReport {
            lateness: report.lateness,
            idle_lateness: Some(worse(report.idle_timer, timer)),
            used_by_others,
            queued_bytes_max: report.queued_bytes_max,
            own_drops: full.copied().unwrap_or(0) + report.own_drops.values().sum::<u64>(),
        },
    }
}

/// The later one.
fn worse(a: Lateness, b: Lateness) -> Lateness {
    if a.p99 > b.p99 { a } else { b }
}

pub(super) fn failed(error: impl fmt::Display) -> GroundError {
    GroundError::Failed {
        reason: error.to_string(),
    }
}

pub(super) fn panicked() -> GroundError {
    failed("its loop panicked")
}

/// Half a second of what the plans send.
const BUFFER_BYTES: usize = 4 << 20;
