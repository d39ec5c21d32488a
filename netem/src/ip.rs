//! What surrounds a UDP payload on the wire.

use std::net::IpAddr;

/// The size of the IP packet that carries `payload_bytes` of UDP to `to`, without IP options or
/// extension headers.
pub(crate) fn udp_packet_bytes(to: IpAddr, payload_bytes: usize) -> usize {
    payload_bytes
        + UDP_HEADER_BYTES
        + match to {
            IpAddr::V4(_) => IPV4_HEADER_BYTES,
            IpAddr::V6(_) => IPV6_HEADER_BYTES,
        }
}

pub(crate) const UDP_HEADER_BYTES: usize = 8;
pub(crate) const IPV4_HEADER_BYTES: usize = 20;
pub(crate) const IPV6_HEADER_BYTES: usize = 40;
