//! The transport profile: every quinn setting that we set, with its reason.

use std::{sync::Arc, time::Duration};

use quinn::{
    ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    VarInt,
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig},
};
use quinn_proto::HashedConnectionIdGenerator;

use crate::congestion::CongestionControl;

/// Memory that all links of a node may hold in QUIC's buffers, and how many links share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Bytes for all links together.
    pub bytes: u64,
    /// Links that the bytes are shared by.
    pub links: u32,
}

impl MemoryBudget {
    /// The connection-level window, each way, that keeps the worst case inside the budget.
    ///
    /// A link can hold one window of received bytes, one of sent ones, and both datagram buffers.
    fn window(self) -> u64 {
        let datagrams = (DATAGRAM_RECEIVE_BYTES + DATAGRAM_SEND_BYTES) as u64;
        let for_each_link = self.bytes / u64::from(self.links.max(1));
        (for_each_link.saturating_sub(datagrams) / 2).clamp(MIN_WINDOW, MAX_WINDOW)
    }
}

/// The settings of every link. ARCHITECTURE.md, "Transport profile", is this table in words.
pub fn transport_config(budget: MemoryBudget) -> Arc<TransportConfig> {
    let window = budget.window();
    let mut config = TransportConfig::default();
    config
        // The control stream and one for each TCP connection that crosses the link.
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        // Nothing uses them.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(varint(window.min(STREAM_WINDOW)))
        .receive_window(varint(window))
        .send_window(window)
        // A backstop: probes notice silence long before, and close the link at 5 s.
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // Probes keep the link alive, and unlike a keep-alive they need a reply that proves work.
        .keep_alive_interval(None)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        .congestion_controller_factory(Arc::new(CongestionControl::new()))
        .mtu_discovery_config(Some(mtu_discovery()));
    Arc::new(config)
}

/// The settings of every endpoint.
///
/// - `reset_key`: derived from the node's private key, so that a node that was killed and started
///   again resets the links of its former self instead of leaving its peers to notice silence.
/// - `seed`: makes connection ids and the like repeatable under simulation; `None` on real hosts.
pub fn endpoint_config(reset_key: &[u8; 32], seed: Option<[u8; 32]>) -> EndpointConfig {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, reset_key);
    let mut own_ids = [0; 8];
    own_ids.copy_from_slice(&ring::hmac::sign(&key, b"connection ids").as_ref()[..8]);
    let own_ids = u64::from_be_bytes(own_ids);
    let mut config = EndpointConfig::new(Arc::new(key));
    config
        // By default the key is random, and ids of the process before are dropped as not ours,
        // unanswered: there would be no reset.
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(own_ids)))
        .rng_seed(seed);
    config
}

/// The settings of the dialing side.
///
/// # Errors
/// [`TlsError`]: the TLS configuration cannot protect QUIC's first packets.
pub fn client_config(
    tls: rustls::ClientConfig,
    transport: Arc<TransportConfig>,
) -> Result<ClientConfig, TlsError> {
    let tls = QuicClientConfig::try_from(tls).map_err(TlsError)?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(transport);
    Ok(config)
}

/// The settings of the accepting side.
///
/// # Errors
/// [`TlsError`]: the TLS configuration cannot protect QUIC's first packets.
pub fn server_config(
    tls: rustls::ServerConfig,
    transport: Arc<TransportConfig>,
) -> Result<ServerConfig, TlsError> {
    let tls = QuicServerConfig::try_from(tls).map_err(TlsError)?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(transport)
        // A node has fixed addresses; a link that moves would go around admission and accounting.
        .migration(false)
        // One turn of the acceptor takes one: what waits longer than this many turns is late anyway.
        .max_incoming(MAX_INCOMING)
        // A first flight is one packet or two; nobody unauthenticated may buffer more than that.
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_BYTES * MAX_INCOMING as u64);
    Ok(config)
}

/// A TLS configuration lacks the cipher suite that QUIC begins with.
#[derive(Debug, thiserror::Error)]
#[error("TLS configuration for QUIC: {0}")]
pub struct TlsError(#[source] NoInitialCipherSuite);

fn mtu_discovery() -> MtuDiscoveryConfig {
    let mut config = MtuDiscoveryConfig::default();
    // 1,500 of Ethernet less IPv6 and UDP headers; larger ones measure no better.
    config.upper_bound(1_452);
    // A path that shrinks is found by loss; a minute later discovery may try again.
    config.black_hole_cooldown(Duration::from_secs(60));
    config
}

fn varint(bytes: u64) -> VarInt {
    VarInt::from_u64(bytes).expect("windows are clamped far below 2^62")
}

/// One link carries at most this many streams at a time.
pub const MAX_STREAMS: u32 = 1_024;
/// 100 Mbit/s for one stream over 300 ms is 3.75 MB.
const STREAM_WINDOW: u64 = 4 << 20;
/// 400 Mbit/s for a link over 300 ms is 15 MB.
const MAX_WINDOW: u64 = 16 << 20;
/// 25 Mbit/s for a link over 300 ms: below this a link is not worth having.
const MIN_WINDOW: u64 = 1 << 20;
/// The packet loop drains it at every wake-up; 1 MiB is 40 ms of 200 Mbit/s.
const DATAGRAM_RECEIVE_BYTES: usize = 1 << 20;
/// One burst; the queue that decides what is dropped is ours and stands before it.
pub const DATAGRAM_SEND_BYTES: usize = 64 << 10;
const IDLE_TIMEOUT_MS: u32 = 10_000;
const MAX_INCOMING: usize = 256;
const INCOMING_BUFFER_BYTES: u64 = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_all_links_stay_inside_the_budget() {
        for links in [1, 10, 64, 300] {
            let budget = MemoryBudget {
                bytes: 2 << 30,
                links,
            };
            let buffers = (DATAGRAM_RECEIVE_BYTES + DATAGRAM_SEND_BYTES) as u64;
            let worst = u64::from(links) * (2 * budget.window() + buffers);
            assert!(
                worst <= budget.bytes,
                "{links} links may hold {worst} bytes"
            );
        }
    }

    #[test]
    fn window_is_clamped_on_both_sides() {
        assert_eq!(
            MemoryBudget {
                bytes: u64::MAX,
                links: 1
            }
            .window(),
            MAX_WINDOW
        );
        assert_eq!(
            MemoryBudget {
                bytes: 0,
                links: 1_000
            }
            .window(),
            MIN_WINDOW
        );
    }
}
