//! The lab as a ground: its hosts are sockets inside regions.

use std::{
    fs::File,
    net::SocketAddr,
    os::{
        fd::AsFd,
        unix::{fs::FileExt, net::UnixStream},
    },
    process, thread,
};

use super::{
    busyness::Busyness,
    emulated::{self, failed},
    ground::{Backend, Ground, GroundError, Plan, Run, Time},
    traffic::{End, exchange},
};
use crate::{
    clock,
    lab::{Lab, LabName, Region, check_privileges},
    model::Probability,
    topology::HostSpec,
};

/// The `lab` backend, in a thread of this process and with regions of its own.
#[derive(Debug, Default)]
pub struct LabGround;

impl Ground for LabGround {
    fn backend(&self) -> Backend {
        Backend::Lab
    }

    fn time(&self) -> Time {
        Time::Real
    }

    fn run(&mut self, plan: &Plan) -> Result<Run, GroundError> {
        check_privileges().map_err(|missing| GroundError::Unavailable {
            reason: missing.to_string(),
        })?;
        let hosts = (0..plan.hosts as usize).map(emulated::host_name);
        let hosts = hosts.map(|name| HostSpec::made(name, None, None)).collect();
        let topology = emulated::topology(plan, hosts);
        // Of its own, so that two runs at once do not meet.
        let name = LabName::try_new(&format!("verify-{}", process::id())).map_err(failed)?;
        let lab = Lab::build(&name, &topology).map_err(failed)?;
        let ends = lab.regions().iter().map(end_in);
        let ends = ends.collect::<Result<Vec<End>, _>>()?;

        let books = lab.regions().iter().map(UdpBooks::of);
        let books = books.collect::<Result<Vec<UdpBooks>, _>>()?;

        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let busyness = Busyness::start();
        let start = clock::now();
        let (exchanged, report) = thread::scope(|scope| {
            let lab = scope.spawn(move || lab.run(stopped.as_fd()));
            let exchanged = exchange(plan, &ends, start);
            // The other end is readable from now on.
            drop(stop);
            (exchanged, lab.join())
        });
        let report = report.map_err(|_| emulated::panicked())?.map_err(failed)?;
        let others = busyness.and_then(|busyness| busyness.of_others());
        let mut run = emulated::run(plan, exchanged.map_err(failed)?, &report, others);
        for (books, host) in books.iter().zip(0..) {
            let errors = books.errors();
            run.report.own_drops += errors.no_room;
            // Of all pairs to one host, a plan damages the packets of one.
            let mut damaged = run.pairs.iter_mut().zip(&plan.pairs).filter(|(_, pair)| {
                pair.to == host && pair.model.corrupt.probability > Probability::NEVER
            });
            if let Some((run, _)) = damaged.next() {
                run.caught = errors.damaged;
            }
        }
        Ok(run)
    }
}

/// What UDP counts in a region, whatever namespace it is read in.
struct UdpBooks(File);

/// Packets that UDP did not hand to their sockets.
#[derive(Debug, PartialEq, Eq)]
struct UdpErrors {
    damaged: u64,
    no_room: u64,
}

impl UdpBooks {
    fn of(region: &Region) -> Result<Self, GroundError> {
        let opened = region
            .namespace
            .run_in(|| File::open("/proc/thread-self/net/snmp"));
        Ok(Self(opened.map_err(failed)?.map_err(failed)?))
    }

    fn errors(&self) -> UdpErrors {
        let mut text = vec![0; 8 * 1_024];
        let bytes = self.0.read_at(&mut text, 0).unwrap_or(0);
        errors_in(&String::from_utf8_lossy(&text[..bytes]))
    }
}

/// From a table as in `/proc/net/snmp`: a line of names, then one of figures.
fn errors_in(table: &str) -> UdpErrors {
    let mut lines = table.lines().filter(|line| line.starts_with("Udp: "));
    let (names, figures) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let figure = |wanted: &str| {
        let mut columns = names.split(' ').zip(figures.split(' '));
        let found = columns.find(|(name, _)| *name == wanted);
        found
            .and_then(|(_, figure)| figure.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let no_room = figure("RcvbufErrors");
    UdpErrors {
        // Those without room count as errors too.
        damaged: figure("InErrors").saturating_sub(no_room),
        no_room,
    }
}

/// A socket in a region: it stays there, whoever uses it.
fn end_in(region: &Region) -> Result<End, GroundError> {
    let reached_at = SocketAddr::new(region.addresses.v4.into(), PORT);
    let socket = region.namespace.run_in(|| emulated::socket(reached_at));
    Ok(End {
        socket: socket.map_err(failed)??,
        reached_at,
    })
}

const PORT: u16 = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_packets_are_told_from_those_without_room() {
        let table = "Tcp: InErrs\nTcp: 9\n\
            Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors\n\
            Udp: 100 2 7 90 3 0 4\n";
        let expected = UdpErrors {
            damaged: 4,
            no_room: 3,
        };
        assert_eq!(errors_in(table), expected);
    }
}
