//! A simulated host as the environment of a node.

use std::{
    collections::BTreeMap,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime},
};

use causeway::{
    clock,
    env::{
        BoxFuture, LinkSockets, LocalListener, LocalNet, LocalTcp, LocalUdp, PacketRun, Resolver,
        StateStore, UdpBatch, WallClock,
    },
};
use netem::sim::{Host, TcpListener, TcpStream, UdpSocket};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The network of one host: links and local programs alike.
#[derive(Debug, Clone)]
pub struct Net(pub Host);

impl LinkSockets for Net {
    fn bind(
        &self,
        address: SocketAddr,
        _: &dyn quinn::Runtime,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(Arc::new(self.0.bind_udp(address)?))
    }
}

impl LocalNet for Net {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn LocalUdp>> {
        Ok(Arc::new(Udp(self.0.bind_udp(address)?)))
    }

    fn listen_tcp(&self, address: SocketAddr) -> io::Result<Box<dyn LocalListener>> {
        Ok(Box::new(Listener(self.0.listen_tcp(address)?)))
    }

    fn connect_tcp(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn LocalTcp>>> {
        Box::pin(async move {
            let stream = self.0.connect_tcp(address).await?;
            Ok(Box::new(Tcp(stream)) as Box<dyn LocalTcp>)
        })
    }
}

#[derive(Debug)]
struct Udp(UdpSocket);

impl LocalUdp for Udp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }

    fn poll_recv_batch(&self, cx: &mut Context<'_>, batch: &mut UdpBatch) -> Poll<io::Result<()>> {
        batch.clear();
        let mut is_first = true;
        while let Some(slot) = batch.vacant().next() {
            // The first is waited for; the others come along if they are there.
            let received = if is_first {
                // It holds nothing, so that a new one each time is as good as one that is kept.
                ready!(pin!(self.0.recv_from(slot)).poll(cx))?
            } else {
                match self.0.try_recv_from(slot) {
                    Ok(received) => received,
                    // An error comes back at the next call.
                    Err(_) => break,
                }
            };
            let (bytes, from) = received;
            batch.add(from, bytes, bytes);
            is_first = false;
        }
        Poll::Ready(Ok(()))
    }

    fn try_send_run(&self, run: PacketRun<'_>, to: SocketAddr) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(packet) = run.packet(sent) {
            match self.0.try_send_to(packet, to) {
                Ok(_) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }
}

#[derive(Debug)]
struct Listener(TcpListener);

impl LocalListener for Listener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn LocalTcp>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(Tcp(stream)) as Box<dyn LocalTcp>, from))
        })
    }
}

#[derive(Debug)]
struct Tcp(TcpStream);

impl LocalTcp for Tcp {
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Names that the whole fleet resolves alike. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<BTreeMap<String, Option<Vec<SocketAddr>>>>>);

impl Names {
    /// Says where `host` is from now on.
    pub fn set(&self, host: &str, addresses: &[SocketAddr]) {
        let addresses = Some(addresses.to_vec());
        self.0.lock().insert(host.to_owned(), addresses);
    }

    /// Nobody answers when asked for `host`.
    pub fn hang(&self, host: &str) {
        self.0.lock().insert(host.to_owned(), None);
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let found = self.0.lock().get(host).cloned();
        Box::pin(async move {
            match found {
                Some(Some(addresses)) => Ok(addresses),
                Some(None) => std::future::pending().await,
                None => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }
}

/// The date of one host: it goes with virtual time, and can be set. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Wall {
    origin: Instant,
    offset_ms: Arc<AtomicI64>,
}

impl Wall {
    /// A clock that shows [`epoch`] at `origin`.
    pub fn starting(origin: Instant) -> Self {
        Self {
            origin,
            offset_ms: Arc::default(),
        }
    }

    /// Sets the date this much off the true one.
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

impl WallClock for Wall {
    fn now(&self) -> SystemTime {
        let offset_ms = self.offset_ms.load(Ordering::Relaxed);
        let offset = Duration::from_millis(offset_ms.unsigned_abs());
        let date = epoch() + (clock::now() - self.origin);
        if offset_ms < 0 {
            date - offset
        } else {
            date + offset
        }
    }
}

/// The date on which every simulation begins.
pub fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The state of one node, which outlives its process. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    generation: Option<u64>,
    policy: Option<Vec<u8>>,
}

impl Disk {
    /// As if the state directory were lost.
    pub fn erase(&self) {
        *self.0.lock() = Stored::default();
    }

    /// The signed policy of the fleet that was stored.
    pub fn policy(&self) -> Option<Vec<u8>> {
        self.0.lock().policy.clone()
    }
}

impl StateStore for Disk {
    fn load_generation(&self) -> io::Result<Option<u64>> {
        Ok(self.0.lock().generation)
    }

    fn store_generation(&self, generation: u64) -> io::Result<()> {
        self.0.lock().generation = Some(generation);
        Ok(())
    }

    fn load_policy(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.policy())
    }

    fn store_policy(&self, signed: &[u8]) -> io::Result<()> {
        self.0.lock().policy = Some(signed.to_vec());
        Ok(())
    }
}
