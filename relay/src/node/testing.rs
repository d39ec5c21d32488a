//! Whole nodes on an in-memory network and tokio's paused clock, for tests.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    path::Path as FilePath,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::Node;
use crate::{
    config::Config,
    deadline::testnet::{Path, TestNet, after},
    env::{
        BoxFuture, Env, LinkSockets, LocalListener, LocalNet, LocalTcp, LocalUdp, PacketRun,
        Resolver, StateStore, UdpBatch, WallClock,
    },
    id::NodeId,
    identity::{
        FixedCertificates,
        pki::{Authority, Randomness, Validity},
    },
    telemetry::Metrics,
};

/// A trust domain and its network: the node of port `n` is named `n<n>`, in region `r`.
pub(super) struct Fleet {
    pub(super) net: TestNet,
    authority: Authority,
    hosts: Mutex<BTreeMap<u16, Arc<Local>>>,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self {
            net: TestNet::new(Path::with_delay(10)),
            authority: Authority::generate("example.org", Randomness::Seed(1), date()).unwrap(),
            hosts: Mutex::default(),
        }
    }

    /// The programs beside the node of `port`.
    pub(super) fn host(&self, port: u16) -> Arc<Local> {
        self.hosts.lock().entry(port).or_default().clone()
    }

    /// Starts the node of `port` with more configuration than its own section.
    pub(super) async fn start(&self, port: u16, more: &str) -> Node {
        let validity = Validity::starting(date(), Duration::from_secs(86_400));
        let pem = self.authority.node(&id(port), validity).unwrap();
        let env = Env {
            runtimes: vec![Arc::new(quinn::TokioRuntime)],
            sockets: Arc::new(Sockets(self.net.clone())),
            local: self.host(port),
            resolver: Arc::new(NoNames),
            wall: Arc::new(Date),
            certificates: Arc::new(FixedCertificates::new(pem)),
            state: Arc::<State>::default(),
            seed: port.into(),
            repeatable: true,
        };
        Node::start(config(port, more), env, Metrics::new())
            .await
            .unwrap()
    }
}

pub(super) fn id(port: u16) -> NodeId {
    NodeId::try_new("example.org", "r", &format!("n{port}")).unwrap()
}

pub(super) fn config(port: u16, more: &str) -> Config {
    let text = format!(
        "[node]\nname = \"n{port}\"\nregion = \"r\"\ntrust_domain = \"example.org\"\n\
         bind = \"192.0.2.1:{port}\"\nstate_dir = \"s\"\n\
         [identity]\ncertificate = \"c\"\nkey = \"k\"\nbundle = \"b\"\n{more}"
    );
    Config::parse(&text, FilePath::new("/")).unwrap()
}

/// Configures the node of `port` as a peer.
pub(super) fn peer(port: u16) -> String {
    format!("[[peer]]\nregion = \"r\"\nname = \"n{port}\"\naddresses = [\"192.0.2.1:{port}\"]\n")
}

/// Configures the address of `port`, without the name of its node.
pub(super) fn seed(port: u16) -> String {
    format!("[[peer]]\naddresses = [\"192.0.2.1:{port}\"]\n")
}

/// Waits until `holds`, which must be within ten seconds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let by = after(10_000);
    while !holds() {
        assert!(crate::clock::now() < by, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// 2030-01-01 00:00:00 UTC.
fn date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

#[derive(Debug)]
struct Sockets(TestNet);

impl LinkSockets for Sockets {
    fn bind(
        &self,
        address: SocketAddr,
        _: &dyn quinn::Runtime,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(self.0.socket(address.port()))
    }
}

/// The programs of one host: UDP in memory, and no TCP.
#[derive(Debug, Default)]
pub(super) struct Local(Arc<Mutex<Host>>);

impl Local {
    /// Calls that sent packets to `port`.
    pub(super) fn sends_to(&self, port: u16) -> usize {
        self.0.lock().inboxes[&port].sends
    }
}

#[derive(Debug, Default)]
struct Host {
    free_port: u16,
    inboxes: BTreeMap<u16, Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<(Vec<u8>, u16)>,
    /// Calls that sent some of them.
    sends: usize,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Udp {
    host: Arc<Mutex<Host>>,
    port: u16,
}

impl LocalUdp for Udp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(local(self.port))
    }

    fn poll_recv_batch(&self, cx: &mut Context<'_>, batch: &mut UdpBatch) -> Poll<io::Result<()>> {
        batch.clear();
        let mut host = self.host.lock();
        let inbox = host.inboxes.get_mut(&self.port).unwrap();
        if inbox.packets.is_empty() {
            inbox.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while let Some(slot) = batch.vacant().next()
            && let Some((packet, from)) = inbox.packets.pop_front()
        {
            slot[..packet.len()].copy_from_slice(&packet);
            batch.add(local(from), packet.len(), packet.len());
        }
        Poll::Ready(Ok(()))
    }

    fn try_send_run(&self, run: PacketRun<'_>, to: SocketAddr) -> io::Result<usize> {
        let mut host = self.host.lock();
        if let Some(inbox) = host.inboxes.get_mut(&to.port()) {
            let packets = (0..run.len()).filter_map(|index| run.packet(index));
            let packets = packets.map(|packet| (packet.to_vec(), self.port));
            inbox.packets.extend(packets);
            inbox.sends += 1;
            if let Some(waker) = inbox.waker.take() {
                waker.wake();
            }
        }
        Ok(run.len())
    }
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.host.lock().inboxes.remove(&self.port);
    }
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl LocalNet for Local {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn LocalUdp>> {
        let mut host = self.0.lock();
        let port = match address.port() {
            0 => {
                host.free_port += 1;
                50_000 + host.free_port
            }
            port => port,
        };
        host.inboxes.insert(port, Inbox::default());
        let host = self.0.clone();
        Ok(Arc::new(Udp { host, port }))
    }

    fn listen_tcp(&self, _: SocketAddr) -> io::Result<Box<dyn LocalListener>> {
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    fn connect_tcp(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn LocalTcp>>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// A name server that does not answer.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[derive(Debug)]
struct Date;

impl WallClock for Date {
    fn now(&self) -> SystemTime {
        date()
    }
}

#[derive(Debug, Default)]
struct State(AtomicU64);

impl StateStore for State {
    fn load_generation(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.0.load(Ordering::Relaxed)).filter(|stored| *stored > 0))
    }

    fn store_generation(&self, generation: u64) -> io::Result<()> {
        self.0.store(generation, Ordering::Relaxed);
        Ok(())
    }

    fn load_policy(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn store_policy(&self, _signed: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
