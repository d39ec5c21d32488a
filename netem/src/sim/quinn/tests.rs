#![expect(
    clippy::disallowed_types,
    reason = "these are tests of the network under bare quinn connections"
)]

use std::time::Duration;

use ::quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, ServerConfig,
    TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    model::{Jitter, Loss, PairModel},
    sim::{Sim, SimConfig, SimReport, Undelivered},
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A client and a server host, and what their endpoints are made of.
struct Fixture {
    sim: Sim,
    start: Instant,
    client: Host,
    server: Host,
    client_config: ClientConfig,
    server_config: ServerConfig,
}

impl Fixture {
    fn new(default_pair: PairModel) -> Self {
        Self::with(SimConfig {
            default_pair,
            ..SimConfig::new(1)
        })
    }

    fn with(config: SimConfig) -> Self {
        let sim = Sim::new(config);
        let (client_config, server_config) = configs();
        Self {
            start: clock::now(),
            client: sim.host("client", [10, 0, 0, 1]),
            server: sim.host("server", [10, 0, 0, 2]),
            sim,
            client_config,
            server_config,
        }
    }

    fn elapsed(&self) -> Duration {
        clock::now() - self.start
    }

    fn client_endpoint(&self) -> Endpoint {
        endpoint(&self.client, 1, None)
    }

    /// Starts a server that sends back each stream, and each datagram, until it is killed.
    fn start_echo(&self) {
        let endpoint = endpoint(&self.server, 2, Some(self.server_config.clone()));
        let host = self.server.clone();
        drop(self.server.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else {
                    continue;
                };
                drop(host.spawn(echo_streams(connection.clone())));
                drop(host.spawn(echo_datagrams(connection)));
            }
        }));
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Connection, ConnectionError> {
        let config = self.client_config.clone();
        endpoint
            .connect_with(config, server_address(), "server")
            .unwrap()
            .await
    }
}

fn server_address() -> SocketAddr {
    ([10, 0, 0, 2], 443).into()
}

fn endpoint(host: &Host, seed: u8, server_config: Option<ServerConfig>) -> Endpoint {
    let port = if server_config.is_some() { 443 } else { 0 };
    let socket = host.bind_udp((host.ip(), port).into()).unwrap();
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    let runtime = host.runtime();
    Endpoint::new_with_abstract_socket(config, server_config, Arc::new(socket), runtime).unwrap()
}

/// With an Ed25519 identity and a fixed serial number, so that every handshake has one size.
fn configs() -> (ClientConfig, ServerConfig) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(["server".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(1_u64));
    let certificate = CertificateDer::from(params.self_signed(&key).unwrap());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();

    let provider = Arc::new(ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE_TIMEOUT.try_into().unwrap()));
    let transport = Arc::new(transport);
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    client.transport_config(transport.clone());
    let server = Arc::new(QuicServerConfig::try_from(server).unwrap());
    let mut server = ServerConfig::with_crypto(server);
    server.transport_config(transport);
    (client, server)
}

async fn echo_streams(connection: Connection) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let Ok(bytes) = receive.read_to_end(1 << 20).await else {
            continue;
        };
        if send.write_all(&bytes).await.is_ok() {
            // An error is the stream's end as well.
            let _ = send.finish();
        }
    }
}

async fn echo_datagrams(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        if connection.send_datagram(datagram).is_err() {
            return;
        }
    }
}

async fn round_trip(connection: &Connection, bytes: &[u8]) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    assert!(receive.read_to_end(1 << 20).await.unwrap() == bytes);
}

/// How many packets the server has sent.
fn sent_by_server(t: &Fixture) -> u64 {
    t.sim.pair_counters(&t.server, &t.client).received
}

#[tokio::test(start_paused = true)]
async fn a_handshake_takes_one_round_trip_to_the_nanosecond() {
    let t = Fixture::new(PairModel::delayed(ms(75)));
    let server = endpoint(&t.server, 2, Some(t.server_config.clone()));
    let start = t.start;
    let accepted = t.server.spawn(async move {
        let incoming = server.accept().await.unwrap();
        let arrived = clock::now() - start;
        let connection = incoming.await.unwrap();
        (arrived, clock::now() - start, connection)
    });
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    assert_eq!(t.elapsed(), ms(150));
    let (arrived, done, _connection) = accepted.await.unwrap();
    assert_eq!((arrived, done), (ms(75), ms(225)));
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_dial_into_a_black_hole_ends_at_its_own_deadline() {
    let t = Fixture::new(PairModel::delayed(ms(75)));
    t.start_echo();
    t.sim.cut(&t.client, &t.server);
    let endpoint = t.client_endpoint();
    assert!(timeout(ms(3_000), t.dial(&endpoint)).await.is_err());
    assert_eq!(t.elapsed(), ms(3_000));
    assert_eq!(
        t.dial(&endpoint).await.unwrap_err(),
        ConnectionError::TimedOut
    );
    assert_eq!(t.elapsed(), ms(3_000) + IDLE_TIMEOUT);
    assert_eq!(sent_by_server(&t), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_silent_and_answers_when_it_is_thawed() {
    let t = Fixture::new(PairModel::delayed(ms(10)));
    t.start_echo();
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    round_trip(&connection, b"before").await;
    sleep(ms(1_000)).await;

    t.server.freeze();
    let sent_before = sent_by_server(&t);
    let asked_at = t.elapsed();
    let thaw = async {
        sleep(ms(3_000)).await;
        assert_eq!(sent_by_server(&t), sent_before);
        t.server.thaw();
    };
    tokio::join!(round_trip(&connection, b"meanwhile"), thaw);
    assert_eq!(t.elapsed() - asked_at, ms(3_010));
    assert_eq!(t.sim.report().undelivered(Undelivered::BufferFull), 0);
}

#[tokio::test(start_paused = true)]
async fn a_freeze_beyond_the_idle_timeout_ends_the_connection_on_both_sides() {
    let t = Fixture::new(PairModel::delayed(ms(10)));
    let server = endpoint(&t.server, 2, Some(t.server_config.clone()));
    let closed = t.server.spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        (connection.closed().await, clock::now())
    });
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    sleep(ms(1_000)).await;
    t.server.freeze();
    assert_eq!(connection.closed().await, ConnectionError::TimedOut);
    sleep(IDLE_TIMEOUT).await;
    let thawed_at = clock::now();
    t.server.thaw();
    assert_eq!(
        closed.await.unwrap(),
        (ConnectionError::TimedOut, thawed_at)
    );
}

#[tokio::test(start_paused = true)]
async fn a_killed_server_says_nothing_and_its_address_serves_again() {
    let t = Fixture::new(PairModel::delayed(ms(75)));
    t.start_echo();
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    round_trip(&connection, b"before").await;
    sleep(ms(500)).await;

    let old_runtime = t.server.runtime();
    let sent_before = sent_by_server(&t);
    t.server.kill();
    connection.send_datagram(Bytes::from_static(b"x")).unwrap();
    assert_eq!(connection.closed().await, ConnectionError::TimedOut);
    assert_eq!(sent_by_server(&t), sent_before);
    assert!(t.sim.report().undelivered(Undelivered::NoSocket) > 0);

    t.start_echo();
    let dialed_at = t.elapsed();
    let connection = t.dial(&endpoint).await.unwrap();
    assert_eq!(t.elapsed() - dialed_at, ms(150));
    round_trip(&connection, b"after").await;

    // What is left of the first run cannot start anything in the second.
    let (spawned, done) = tokio::sync::oneshot::channel::<()>();
    old_runtime.spawn(Box::pin(async move {
        let _ = spawned.send(());
    }));
    assert!(done.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_datagrams_and_delays_streams_until_it_is_healed() {
    let t = Fixture::new(PairModel::delayed(ms(10)));
    t.start_echo();
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    round_trip(&connection, b"before").await;

    t.sim.cut_both(&t.client, &t.server);
    connection
        .send_datagram(Bytes::from_static(b"lost"))
        .unwrap();
    assert!(
        timeout(ms(1_000), connection.read_datagram())
            .await
            .is_err()
    );
    let asked = round_trip(&connection, b"late");
    tokio::pin!(asked);
    assert!(timeout(ms(1_000), &mut asked).await.is_err());

    t.sim.heal_both(&t.client, &t.server);
    timeout(ms(5_000), asked).await.unwrap();
    connection
        .send_datagram(Bytes::from_static(b"kept"))
        .unwrap();
    assert_eq!(connection.read_datagram().await.unwrap(), &b"kept"[..]);
}

#[tokio::test(start_paused = true)]
async fn mtu_discovery_finds_what_a_pair_passes() {
    for (max_bytes, expected) in [
        (None, 1_452..=1_452),
        (Some(1_300 + HEADERS_BYTES), 1_281..=1_300),
    ] {
        let t = Fixture::new(PairModel {
            max_bytes,
            ..PairModel::delayed(ms(10))
        });
        t.start_echo();
        let endpoint = t.client_endpoint();
        let connection = t.dial(&endpoint).await.unwrap();
        round_trip(&connection, &[0; 200_000]).await;
        sleep(ms(3_000)).await;
        let mtu = connection.stats().path.current_mtu;
        assert!(expected.contains(&mtu), "{mtu} with {max_bytes:?}");
    }
}

/// Streams and datagrams for two seconds over loss and jitter.
async fn noisy_run(seed: u64) -> SimReport {
    let t = Fixture::with(SimConfig {
        default_pair: PairModel {
            jitter: Jitter::uniform(ms(5)),
            loss: Loss::from_ppm(20_000),
            ..PairModel::delayed(Duration::from_micros(40_250))
        },
        ..SimConfig::new(seed)
    });
    t.start_echo();
    let endpoint = t.client_endpoint();
    let connection = t.dial(&endpoint).await.unwrap();
    let datagrams = async {
        for count in 0..200_u32 {
            let payload = vec![0; 100 + count as usize];
            connection.send_datagram(payload.into()).unwrap();
            sleep(ms(10)).await;
        }
    };
    let streams = async {
        for _ in 0..5 {
            round_trip(&connection, &[7; 30_000]).await;
        }
    };
    tokio::join!(datagrams, streams);
    t.sim.report()
}

#[tokio::test(start_paused = true)]
async fn quinn_over_loss_gives_one_event_log_for_a_seed_and_another_for_another() {
    let first = noisy_run(11).await;
    assert!(first.pairs.dropped_total() > 0);
    assert!(first.pairs.is_conserved());
    assert_eq!(first, noisy_run(11).await);
    assert_ne!(first.event_hash, noisy_run(12).await.event_hash);
}

#[tokio::test(start_paused = true)]
async fn packets_are_received_in_batches_with_their_ecn_bits_and_destination() {
    let t = Fixture::new(PairModel::default());
    let from = t.client.bind_udp(([10, 0, 0, 1], 5).into()).unwrap();
    let to = t.server.bind_udp(([0, 0, 0, 0], 443).into()).unwrap();
    let marks = [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce)];
    for ecn in marks {
        let transmit = Transmit {
            destination: server_address(),
            ecn,
            contents: b"abc",
            segment_size: None,
            src_ip: None,
        };
        from.try_send(&transmit).unwrap();
    }
    sleep(ms(1)).await;

    let mut seen = Vec::new();
    for expected_count in [2, 1] {
        let (mut first, mut second) = ([0; 8], [0; 8]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let mut metas = [RecvMeta::default(); 2];
        let count = std::future::poll_fn(|context| to.poll_recv(context, &mut buffers, &mut metas));
        assert_eq!(count.await.unwrap(), expected_count);
        for meta in &metas[..expected_count] {
            assert_eq!((meta.len, meta.stride), (3, 3));
            assert_eq!(meta.addr, from.local_addr());
            assert_eq!(meta.dst_ip, Some(server_address().ip()));
            seen.push(meta.ecn);
        }
        assert_eq!(first[..3], *b"abc");
    }
    assert_eq!(seen, marks);
}

/// Longer than every fault here that a connection must outlive.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// IPv4 and UDP: a pair counts whole packets.
const HEADERS_BYTES: usize = 28;
