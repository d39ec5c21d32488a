//! A quinn client and server on a long path that loses packets, for a simulated minute.
#![expect(
    clippy::disallowed_types,
    reason = "this is a test of the network under bare quinn connections"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use netem::{
    model::{Loss, PairModel},
    sim::{Event, Host, Sim, SimConfig, SimReport},
};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::time::sleep;

/// What came of a minute.
struct Minute {
    events: Vec<Event>,
    report: SimReport,
    datagrams_echoed: u64,
}

/// Streams and datagrams that the server sends back, for [`LASTS`] and until all has arrived.
async fn minute(seed: u64) -> Minute {
    let sim = Sim::new(SimConfig {
        default_pair: PairModel {
            loss: Loss::from_ppm(20_000),
            ..PairModel::delayed(Duration::from_millis(75))
        },
        events_kept: 1_000_000,
        ..SimConfig::new(seed)
    });
    let client = sim.host("client", [10, 0, 0, 1]);
    let server = sim.host("server", [10, 0, 0, 2]);
    let (client_config, server_config) = configs();
    start_echo(&server, server_config);
    let endpoint = endpoint(&client, 1, None);
    let connecting = endpoint.connect_with(client_config, server_address(), "server");
    let connection = connecting.unwrap().await.unwrap();

    let streams: Vec<_> = (0..STREAMS)
        .map(|nth| client.spawn(round_trip(connection.clone(), nth)))
        .collect();
    let sender = client.spawn(send_datagrams(connection.clone()));
    let counter = client.spawn(count_datagrams(connection.clone()));
    for stream in streams {
        stream.await.expect("the stream came back whole");
    }
    sender.await.expect("the connection took every datagram");
    sleep(Duration::from_secs(2)).await;
    connection.close(0_u32.into(), b"");
    let datagrams_echoed = counter.await.unwrap();
    Minute {
        events: sim.events(),
        report: sim.report(),
        datagrams_echoed,
    }
}

/// Sends a stream at its time and reads it back.
async fn round_trip(connection: Connection, nth: u32) {
    sleep(LASTS / STREAMS * nth).await;
    let sent: Vec<u8> = (0..STREAM_BYTES).map(|at| (at ^ nth) as u8).collect();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&sent).await.unwrap();
    send.finish().unwrap();
    let came_back = receive.read_to_end(STREAM_BYTES as usize).await.unwrap();
    assert!(came_back == sent, "stream {nth} came back as another");
}

async fn send_datagrams(connection: Connection) {
    for nth in 0..DATAGRAMS {
        let datagram = vec![nth as u8; DATAGRAM_BYTES];
        connection.send_datagram(datagram.into()).unwrap();
        sleep(LASTS / DATAGRAMS).await;
    }
}

/// Counts them until the connection ends.
async fn count_datagrams(connection: Connection) -> u64 {
    let mut count = 0;
    while let Ok(datagram) = connection.read_datagram().await {
        assert_eq!(datagram.len(), DATAGRAM_BYTES);
        count += 1;
    }
    count
}

fn start_echo(server: &Host, config: ServerConfig) {
    let endpoint = endpoint(server, 2, Some(config));
    let host = server.clone();
    drop(server.spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        drop(host.spawn(echo_datagrams(connection.clone())));
        while let Ok((mut send, mut receive)) = connection.accept_bi().await {
            drop(host.spawn(async move {
                let bytes = receive.read_to_end(STREAM_BYTES as usize).await.unwrap();
                send.write_all(&bytes).await.unwrap();
                send.finish().unwrap();
            }));
        }
    }));
}

async fn echo_datagrams(connection: Connection) {
    while let Ok(datagram) = connection.read_datagram().await {
        if connection.send_datagram(datagram).is_err() {
            return;
        }
    }
}

fn endpoint(host: &Host, seed: u8, server_config: Option<ServerConfig>) -> Endpoint {
    let port = if server_config.is_some() { 443 } else { 0 };
    let socket = host.bind_udp((host.ip(), port).into()).unwrap();
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    let runtime = host.runtime();
    Endpoint::new_with_abstract_socket(config, server_config, Arc::new(socket), runtime).unwrap()
}

fn server_address() -> SocketAddr {
    ([10, 0, 0, 2], 443).into()
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
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let server = Arc::new(QuicServerConfig::try_from(server).unwrap());
    (client, ServerConfig::with_crypto(server))
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_quinn_over_a_long_lossy_path_repeats_packet_by_packet() {
    let first = minute(1).await;
    let pairs = &first.report.pairs;
    println!("{pairs:?}, {} datagrams came back", first.datagrams_echoed);
    assert!(pairs.is_conserved());
    assert_eq!(
        first.events.len() as u64,
        first.report.events,
        "not all are kept"
    );
    let last = first.events.last().unwrap().at;
    assert!(last >= LASTS, "{last:?}");

    // Each datagram is a packet of its own, lost with 2 % on either way: 1,152 of 1,200 come
    // back, with a deviation of 7. Five of them are exceeded by one seed in a million.
    assert!(
        first.datagrams_echoed.abs_diff(1_152) <= 34,
        "{}",
        first.datagrams_echoed
    );
    // The same for all packets: (lost - np)^2 <= 25 np(1 - p).
    let lost = pairs.dropped_total();
    let expected = pairs.received / 50;
    assert!(
        lost.abs_diff(expected).pow(2) <= 25 * expected,
        "{lost} of {pairs:?}"
    );

    let second = minute(1).await;
    assert!(first.events == second.events, "another packet log");
    assert_eq!(first.report, second.report);
    assert_eq!(first.datagrams_echoed, second.datagrams_echoed);

    let other = minute(2).await;
    assert_ne!(first.report.event_hash, other.report.event_hash);
    assert!(first.events != other.events);
}

const LASTS: Duration = Duration::from_secs(60);
/// One a second, well below what loss leaves of the path's capacity.
const STREAMS: u32 = 60;
const STREAM_BYTES: u32 = 20_000;
/// Twenty a second.
const DATAGRAMS: u32 = 1_200;
/// No two fit into a packet.
const DATAGRAM_BYTES: usize = 720;
