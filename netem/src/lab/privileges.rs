//! What a lab needs to be allowed.

use std::{
    fs::{self, OpenOptions},
    io,
};

/// What this process lacks for a lab.
#[derive(Debug, thiserror::Error)]
pub enum MissingPrivileges {
    /// It may not make namespaces or configure networks.
    #[error("a lab needs {capability} (run it as root); `netem proxy` works without privileges")]
    Capability {
        /// The capability's name.
        capability: &'static str,
    },
    /// It cannot tell what it may.
    #[error("cannot read capabilities from {STATUS}; `netem proxy` works without privileges")]
    Status {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot make TUN devices.
    #[error("a lab needs {TUN}, which cannot be opened; `netem proxy` works without privileges")]
    Tun {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Finds out whether this process may build labs. Changes nothing.
///
/// # Errors
/// [`MissingPrivileges`] names the first thing that is missing.
pub fn check_privileges() -> Result<(), MissingPrivileges> {
    let unreadable = |source| MissingPrivileges::Status { source };
    let status = fs::read_to_string(STATUS).map_err(unreadable)?;
    let effective =
        effective(&status).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))?;
    if let Some(capability) = missing(effective) {
        return Err(MissingPrivileges::Capability { capability });
    }
    // Only with an ioctl does an open file become a device.
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN)
        .map_err(|source| MissingPrivileges::Tun { source })?;
    Ok(())
}

/// The effective capabilities in `/proc/<pid>/status`.
fn effective(status: &str) -> Option<u64> {
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// The first needed capability that is not among these.
fn missing(effective: u64) -> Option<&'static str> {
    NEEDED
        .iter()
        .find(|(_, bit)| effective & 1 << bit == 0)
        .map(|(name, _)| *name)
}

/// Addresses, routes and devices; namespaces and mounts. Bits of capabilities(7).
const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];

const STATUS: &str = "/proc/thread-self/status";
const TUN: &str = "/dev/net/tun";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        let both = 1 << 12 | 1 << 21;
        assert_eq!(missing(both), None);
        assert_eq!(missing(1 << 21), Some("CAP_NET_ADMIN"));
        assert_eq!(missing(1 << 12), Some("CAP_SYS_ADMIN"));
        let error = MissingPrivileges::Capability {
            capability: "CAP_NET_ADMIN",
        };
        assert_eq!(
            error.to_string(),
            "a lab needs CAP_NET_ADMIN (run it as root); `netem proxy` works without privileges"
        );
    }

    #[test]
    fn effective_capabilities_are_not_the_permitted_ones() {
        let status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status), Some(1 << 12));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tx\n"), None);
    }
}
