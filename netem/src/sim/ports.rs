//! Who is bound to which address and port of one machine.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

#[derive(Debug)]
pub(super) struct Ports<T> {
    bound: BTreeMap<SocketAddr, T>,
    next: u16,
}

impl<T> Ports<T> {
    pub(super) fn new() -> Self {
        Self {
            bound: BTreeMap::new(),
            next: FIRST_FREE,
        }
    }

    /// Binds `address`, with a free port where it has none; returns what was bound.
    pub(super) fn bind(&mut self, address: SocketAddr, value: T) -> io::Result<SocketAddr> {
        let mut local = address;
        if local.port() == 0 {
            local.set_port(self.next_free(address.ip())?);
        } else if self.is_taken(local) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("{local} is in use"),
            ));
        }
        self.bound.insert(local, value);
        Ok(local)
    }

    /// The next port that is free on `ip`: in order, so that runs repeat.
    pub(super) fn next_free(&mut self, ip: IpAddr) -> io::Result<u16> {
        for _ in FIRST_FREE..=u16::MAX {
            let port = self.next;
            self.next = port.checked_add(1).unwrap_or(FIRST_FREE);
            if !self.is_taken(SocketAddr::new(ip, port)) {
                return Ok(port);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("no port is free on {ip}"),
        ))
    }

    pub(super) fn remove(&mut self, local: SocketAddr) {
        self.bound.remove(&local);
    }

    /// Removes and returns those that match.
    pub(super) fn extract(&mut self, mut matches: impl FnMut(&T) -> bool) -> Vec<T> {
        self.bound
            .extract_if(.., |_, value| matches(value))
            .map(|(_, value)| value)
            .collect()
    }

    /// Who gets what is sent to `to`: whoever is bound there, else to the wildcard of its family.
    pub(super) fn reach(&self, to: SocketAddr) -> Option<&T> {
        let wildcard = SocketAddr::new(wildcard(to.ip()), to.port());
        self.bound.get(&to).or_else(|| self.bound.get(&wildcard))
    }

    /// Whether binding `local` would meet somebody: on the same address, or where one of the two
    /// is the wildcard.
    fn is_taken(&self, local: SocketAddr) -> bool {
        if !local.ip().is_unspecified() {
            return self.reach(local).is_some();
        }
        self.bound
            .keys()
            .any(|other| other.port() == local.port() && other.is_ipv4() == local.is_ipv4())
    }
}

fn wildcard(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The first of the ports that are given out, as IANA has it.
const FIRST_FREE: u16 = 49_152;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wildcard_and_an_address_of_its_family_exclude_each_other_on_one_port() {
        let mut ports = Ports::new();
        ports.bind(address("0.0.0.0:5"), "any").unwrap();
        for taken in ["0.0.0.0:5", "127.0.0.1:5"] {
            let error = ports.bind(address(taken), "other").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{taken}");
        }
        ports.bind(address("127.0.0.1:6"), "one").unwrap();
        assert!(ports.bind(address("0.0.0.0:6"), "any").is_err());
        ports.bind(address("127.0.0.2:6"), "two").unwrap();
        ports.bind(address("[::]:5"), "six").unwrap();
        assert_eq!(ports.reach(address("127.0.0.9:5")), Some(&"any"));
        assert_eq!(ports.reach(address("127.0.0.2:6")), Some(&"two"));
        assert_eq!(ports.reach(address("127.0.0.3:6")), None);
    }

    #[test]
    fn port_zero_takes_the_next_free_one_until_none_is_left() {
        let mut ports = Ports::new();
        ports.bind(address("127.0.0.1:49153"), 0).unwrap();
        let any = address("127.0.0.1:0");
        assert_eq!(ports.bind(any, 1).unwrap().port(), 49_152);
        assert_eq!(ports.bind(any, 2).unwrap().port(), 49_154);
        for port in 49_155..=u16::MAX {
            assert_eq!(ports.bind(any, 3).unwrap().port(), port);
        }
        assert_eq!(
            ports.bind(any, 4).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        ports.remove(address("127.0.0.1:50000"));
        assert_eq!(ports.bind(any, 5).unwrap().port(), 50_000);
    }
}
