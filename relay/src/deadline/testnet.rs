//! Two endpoints joined by an in-memory network on tokio's paused clock, for tests.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quinn::{
    AsyncUdpSocket, TransportConfig, UdpPoller,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
    udp::{RecvMeta, Transmit},
};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{Sleep, sleep_until};

use super::{Connection, DialError, Endpoint, SERVER_NAME};
use crate::clock;

/// What happens to packets, in both directions alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) delay: Duration,
    /// Bytes per second, with 30 kB of queue that drops at its tail; unlimited if `None`.
    pub(crate) rate: Option<u64>,
    pub(crate) blackhole: bool,
}

impl Path {
    pub(crate) fn with_delay(millis: u64) -> Self {
        Self {
            delay: Duration::from_millis(millis),
            rate: None,
            blackhole: false,
        }
    }
}

/// A network whose sockets are found by address.
#[derive(Debug, Clone)]
pub(crate) struct TestNet(Arc<Mutex<Net>>);

#[derive(Debug)]
struct Net {
    paths: BTreeMap<u16, Path>,
    default_path: Path,
    sockets: BTreeMap<u16, Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<Packet>,
    line_free_at: Option<Instant>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Packet {
    at: Instant,
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl TestNet {
    pub(crate) fn new(path: Path) -> Self {
        Self(Arc::new(Mutex::new(Net {
            paths: BTreeMap::new(),
            default_path: path,
            sockets: BTreeMap::new(),
        })))
    }

    /// Changes the path of every packet from and to `port`.
    pub(crate) fn set_path(&self, port: u16, path: Path) {
        self.0.lock().paths.insert(port, path);
    }

    pub(crate) fn socket(&self, port: u16) -> Arc<dyn AsyncUdpSocket> {
        self.0.lock().sockets.insert(port, Inbox::default());
        Arc::new(TestSocket {
            net: self.clone(),
            port,
            sleep: Mutex::new(None),
        })
    }

    pub(crate) fn endpoint(&self, port: u16, tls: &Tls, transport: TransportConfig) -> Endpoint {
        Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(tls.server(transport)),
            self.socket(port),
            Arc::new(quinn::TokioRuntime),
        )
        .unwrap()
    }
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

#[derive(Debug)]
struct TestSocket {
    net: TestNet,
    port: u16,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl AsyncUdpSocket for TestSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let now = clock::now();
        let mut net = self.net.0.lock();
        let net = &mut *net;
        let to = transmit.destination.port();
        let path = *net
            .paths
            .get(&to)
            .or_else(|| net.paths.get(&self.port))
            .unwrap_or(&net.default_path);
        let Some(inbox) = net.sockets.get_mut(&to).filter(|_| !path.blackhole) else {
            return Ok(());
        };
        let mut leaves = now;
        if let Some(rate) = path.rate {
            let line = |bytes: usize| Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate);
            let free_at = inbox.line_free_at.map_or(now, |at| at.max(now));
            if free_at - now > line(30_000) {
                return Ok(());
            }
            leaves = free_at + line(transmit.contents.len() + 28);
            inbox.line_free_at = Some(leaves);
        }
        inbox.packets.push_back(Packet {
            at: leaves + path.delay,
            from: address(self.port),
            bytes: transmit.contents.to_vec(),
        });
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let next = {
                let mut net = self.net.0.lock();
                let inbox = net.sockets.get_mut(&self.port).unwrap();
                match inbox.packets.front() {
                    Some(packet) if packet.at <= clock::now() => {
                        let packet = inbox.packets.pop_front().unwrap();
                        bufs[0][..packet.bytes.len()].copy_from_slice(&packet.bytes);
                        meta[0] = RecvMeta {
                            addr: packet.from,
                            len: packet.bytes.len(),
                            stride: packet.bytes.len(),
                            ..RecvMeta::default()
                        };
                        return Poll::Ready(Ok(1));
                    }
                    first => {
                        let at = first.map(|packet| packet.at);
                        inbox.waker = Some(cx.waker().clone());
                        at
                    }
                }
            };
            let Some(at) = next else {
                return Poll::Pending;
            };
            let mut sleep = self.sleep.lock();
            *sleep = Some(Box::pin(sleep_until(at.into())));
            ready!(sleep.as_mut().unwrap().as_mut().poll(cx));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(self.port))
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One self-signed certificate that every node of a test uses and trusts.
pub(crate) struct Tls {
    certificate: CertificateDer<'static>,
    key: rcgen::KeyPair,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    fn server(&self, transport: TransportConfig) -> quinn::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone())
            .build()
            .unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), self.key())
            .unwrap();
        let tls = QuicServerConfig::try_from(tls).unwrap();
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
        server.transport_config(Arc::new(transport));
        server
    }

    pub(crate) fn client(&self, transport: TransportConfig) -> quinn::ClientConfig {
        let tls = self
            .client_builder()
            .with_client_auth_cert(self.chain(), self.key())
            .unwrap();
        client_config(tls, transport)
    }

    pub(crate) fn client_without_certificate(&self) -> quinn::ClientConfig {
        client_config(
            self.client_builder().with_no_client_auth(),
            TransportConfig::default(),
        )
    }

    fn client_builder(
        &self,
    ) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
        rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(self.roots())
    }
}

fn client_config(tls: rustls::ClientConfig, transport: TransportConfig) -> quinn::ClientConfig {
    let tls = QuicClientConfig::try_from(tls).unwrap();
    let mut client = quinn::ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport));
    client
}

/// Two endpoints, ports 1 and 2, and a connection from the first to the second.
pub(crate) struct Pair {
    pub(crate) net: TestNet,
    pub(crate) tls: Tls,
    pub(crate) near_endpoint: Endpoint,
    pub(crate) far_endpoint: Endpoint,
    pub(crate) near: Connection,
    pub(crate) far: Connection,
}

impl Pair {
    pub(crate) async fn new(path: Path) -> Self {
        Self::with_transport(path, TransportConfig::default).await
    }

    pub(crate) async fn with_transport(path: Path, transport: fn() -> TransportConfig) -> Self {
        let net = TestNet::new(path);
        let tls = Tls::new();
        let near_endpoint = net.endpoint(1, &tls, transport());
        let far_endpoint = net.endpoint(2, &tls, transport());
        let (near, far) = join(&near_endpoint, &far_endpoint, tls.client(transport()), 2).await;
        Self {
            net,
            tls,
            near_endpoint,
            far_endpoint,
            near: near.unwrap(),
            far,
        }
    }
}

/// Dials from one endpoint to the other, which listens on `port`.
pub(crate) async fn join(
    from: &Endpoint,
    to: &Endpoint,
    client: quinn::ClientConfig,
    port: u16,
) -> (Result<Connection, DialError>, Connection) {
    let accept = async {
        to.accept()
            .await
            .unwrap()
            .accept(after(5_000))
            .await
            .unwrap()
    };
    tokio::join!(from.connect(client, address(port), after(5_000)), accept)
}

pub(crate) fn after(millis: u64) -> Instant {
    clock::now() + Duration::from_millis(millis)
}

pub(crate) async fn sleep(millis: u64) {
    clock::sleep_until(Some(after(millis))).await;
}
