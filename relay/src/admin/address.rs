//! Where a node's admin API listens.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use thiserror::Error;

/// The address of a node's admin API: loopback TCP, or a Unix socket.
///
/// Written `127.0.0.1:7480`, `[::1]:7480` or `unix:/run/causeway/admin.sock`. Nothing else is
/// offered, because whoever reaches the API may read everything about the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A port on a loopback address; 0 picks a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Default for AdminAddress {
    fn default() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 7480)))
    }
}

impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, AdminAddressError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return match path {
                "" => Err(AdminAddressError::Form),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| AdminAddressError::Form)?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(AdminAddressError::NotLoopback)
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Why a text is not an admin address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AdminAddressError {
    /// Neither an IP address with a port nor `unix:` and a path.
    #[error("an address like 127.0.0.1:7480 or unix:/run/causeway/admin.sock")]
    Form,
    /// An IP address that other hosts may reach.
    #[error(
        "a loopback address or unix:PATH (any other needs TLS and a token, which is not offered)"
    )]
    NotLoopback,
}

const UNIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_are_taken() {
        for good in [
            "127.0.0.1:7480",
            "[::1]:0",
            "127.8.9.1:1",
            "unix:/run/a.sock",
        ] {
            assert_eq!(good.parse::<AdminAddress>().unwrap().to_string(), good);
        }
        for bad in ["0.0.0.0:7480", "203.0.113.5:7480", "[::]:7480"] {
            let error = bad.parse::<AdminAddress>();
            assert_eq!(error, Err(AdminAddressError::NotLoopback), "{bad}");
        }
        for bad in ["", "unix:", "localhost:7480", "127.0.0.1"] {
            assert_eq!(
                bad.parse::<AdminAddress>(),
                Err(AdminAddressError::Form),
                "{bad}"
            );
        }
    }
}
