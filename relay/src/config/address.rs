//! Where something can be reached: a host and a port.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

/// An address as an operator writes it: `host:port`, the host an IP address or a DNS name.
///
/// IPv6 addresses stand in brackets. The port is never 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPort {
    /// An IP address.
    Ip(SocketAddr),
    /// A DNS name, to be resolved.
    Name {
        /// The name: letters, digits, `-`, `_` and `.`; at most 253 bytes.
        host: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for HostPort {
    type Err = NotHostPort;

    fn from_str(text: &str) -> Result<Self, NotHostPort> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let usable = address.port() != 0 && !address.ip().is_unspecified();
            return usable.then_some(Self::Ip(address)).ok_or(NotHostPort);
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotHostPort)?;
        let port = port.parse::<u16>().map_err(|_| NotHostPort)?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // All digits and dots is a mistyped IPv4 address, not a name to ask a resolver for.
        let numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if port == 0 || numeric || host.len() > 253 || !host.split('.').all(label) {
            return Err(NotHostPort);
        }
        let host = host.to_owned();
        Ok(Self::Name { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The text is not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not of the form host:port")]
pub struct NotHostPort;

/// Whether others can dial `ip`.
pub(super) fn is_specific(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_need_a_port_and_a_form_that_can_be_dialed() {
        for good in [
            "10.0.0.1:1",
            "[::1]:7400",
            "seed.example.org:65535",
            "localhost:7",
        ] {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in [
            "seed",
            "seed:",
            ":7400",
            "seed:0",
            "10.0.0.1:0",
            "10.0.0:7400",
            "0.0.0.0:7400",
            "a..b:1",
            "a b:1",
            "seed:65536",
            "::1:7400",
        ] {
            assert_eq!(bad.parse::<HostPort>(), Err(NotHostPort), "{bad}");
        }
    }
}
