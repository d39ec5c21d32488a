//! The proxy as a ground: its hosts are sockets on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use super::{
    busyness::Busyness,
    emulated::{self, failed},
    ground::{Backend, Ground, GroundError, Plan, Run, Time},
    traffic::{End, exchange},
};
use crate::{clock, proxy::Proxy, topology::HostSpec};

/// The `proxy` backend, in a thread of this process.
#[derive(Debug, Default)]
pub struct ProxyGround;

impl Ground for ProxyGround {
    fn backend(&self) -> Backend {
        Backend::Proxy
    }

    fn time(&self) -> Time {
        Time::Real
    }

    fn run(&mut self, plan: &Plan) -> Result<Run, GroundError> {
        let sockets = (0..plan.hosts).map(|_| emulated::socket(any_port()));
        let sockets = sockets.collect::<Result<Vec<UdpSocket>, _>>()?;
        let mut hosts = Vec::new();
        for (index, socket) in sockets.iter().enumerate() {
            let address = socket.local_addr().map_err(failed)?;
            let name = emulated::host_name(index);
            hosts.push(HostSpec::made(name, Some(address), Some(any_port())));
        }
        let topology = emulated::topology(plan, hosts);
        let proxy = Proxy::bind(&topology, None).map_err(failed)?;
        let fronts = proxy.fronts().map_err(failed)?;
        let ends = sockets.into_iter().zip(fronts);
        let ends: Vec<_> = ends
            .map(|(socket, reached_at)| End { socket, reached_at })
            .collect();

        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let busyness = Busyness::start();
        let start = clock::now();
        let (exchanged, report) = thread::scope(|scope| {
            let proxy = scope.spawn(move || proxy.run(stopped.as_fd()));
            let exchanged = exchange(plan, &ends, start);
            // The other end is readable from now on.
            drop(stop);
            (exchanged, proxy.join())
        });
        let report = report.map_err(|_| emulated::panicked())?.map_err(failed)?;
        let others = busyness.and_then(|busyness| busyness.of_others());
        Ok(emulated::run(
            plan,
            exchanged.map_err(failed)?,
            &report,
            others,
        ))
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
