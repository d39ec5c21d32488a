//! The real host: sockets, names, the date and files as [`Env`] wants them.

use std::{
    fs,
    future::Future,
    io,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tracing::warn;

use self::udp::HostUdp;
use crate::env::{
    BoxFuture, Certificates, Env, LinkSockets, LocalListener, LocalNet, LocalTcp, LocalUdp,
    Resolver, StateStore, WallClock,
};

mod udp;

/// The environment of a process on a real host.
///
/// - `runtimes`: one for each worker, such as [`WorkerRuntime`].
/// - `certificates`: where certificate, key and bundle are loaded from.
/// - `state_dir`: made if it does not exist, when something is first stored.
///
/// # Errors
/// The operating system gave no random seed.
pub fn env(
    runtimes: Vec<Arc<dyn quinn::Runtime>>,
    certificates: Arc<dyn Certificates>,
    state_dir: &Path,
) -> io::Result<Env> {
    let mut seed = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| io::Error::other("the operating system gave no random bytes"))?;
    Ok(Env {
        runtimes,
        sockets: Arc::new(HostSockets),
        local: local_net(),
        resolver: Arc::new(HostResolver),
        wall: Arc::new(HostClock),
        certificates,
        state: Arc::new(StateDir {
            directory: state_dir.to_owned(),
        }),
        seed: u64::from_ne_bytes(seed),
        repeatable: false,
    })
}

/// A single-threaded runtime of tokio, used from outside its thread too.
#[derive(Debug)]
pub struct WorkerRuntime(tokio::runtime::Handle);

impl WorkerRuntime {
    /// The runtime behind `handle`.
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        Self(handle)
    }
}

impl quinn::Runtime for WorkerRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        let _inside = self.0.enter();
        quinn::TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(
        &self,
        socket: std::net::UdpSocket,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        let _inside = self.0.enter();
        quinn::TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        crate::clock::now()
    }
}

#[derive(Debug)]
struct HostSockets;

impl LinkSockets for HostSockets {
    fn bind(
        &self,
        address: SocketAddr,
        runtime: &dyn quinn::Runtime,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        enlarge_buffers(&socket)?;
        runtime.wrap_udp_socket(socket.into())
    }
}

/// Asks for the socket buffers that a fan-out needs, and says which sysctl stands in the way.
fn enlarge_buffers(socket: &Socket) -> io::Result<()> {
    // A kernel that grants less is a reason for a warning, not for refusing to start.
    let _ = socket.set_recv_buffer_size(LINK_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(LINK_BUFFER_BYTES);
    // Linux reports twice of what it grants: it counts its own bookkeeping.
    let granted = [
        (
            "receive",
            socket.recv_buffer_size()? / 2,
            "net.core.rmem_max",
        ),
        ("send", socket.send_buffer_size()? / 2, "net.core.wmem_max"),
    ];
    for (direction, bytes, sysctl) in granted {
        if bytes < LINK_BUFFER_BYTES {
            warn!(
                direction,
                granted_bytes = bytes,
                wanted_bytes = LINK_BUFFER_BYTES,
                "the kernel grants a small socket buffer, bursts may be lost: raise {sysctl}"
            );
        }
    }
    Ok(())
}

/// The network of this host's own programs, for whoever needs no more than that.
pub fn local_net() -> Arc<dyn LocalNet> {
    Arc::new(HostNet)
}

#[derive(Debug)]
struct HostNet;

impl LocalNet for HostNet {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn LocalUdp>> {
        Ok(Arc::new(HostUdp::bind(address)?))
    }

    fn listen_tcp(&self, address: SocketAddr) -> io::Result<Box<dyn LocalListener>> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(Box::new(HostListener(TcpListener::from_std(
            socket.into(),
        )?)))
    }

    fn connect_tcp(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn LocalTcp>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(HostTcp(stream)) as Box<dyn LocalTcp>)
        })
    }
}

#[derive(Debug)]
struct HostListener(TcpListener);

impl LocalListener for HostListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn LocalTcp>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(HostTcp(stream)) as Box<dyn LocalTcp>, from))
        })
    }
}

#[derive(Debug)]
struct HostTcp(TcpStream);

impl LocalTcp for HostTcp {
    fn reset(&mut self) {
        // A failure leaves an orderly end, which is all that can still be had.
        let _ = SockRef::from(&self.0).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl AsyncRead for HostTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HostTcp {
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

/// The operating system's resolver, so that `/etc/hosts` and search domains work as elsewhere.
#[derive(Debug)]
struct HostResolver;

impl Resolver for HostResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The date of the host.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the date comes from"
)]
pub(crate) fn date() -> SystemTime {
    SystemTime::now()
}

#[derive(Debug)]
struct HostClock;

impl WallClock for HostClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the date comes from"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Keeps state as small files in one directory.
#[derive(Debug)]
struct StateDir {
    directory: PathBuf,
}

impl StateStore for StateDir {
    fn load_generation(&self) -> io::Result<Option<u64>> {
        let path = self.directory.join(GENERATION_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(in_file(&path, &error)),
        };
        match text.trim().parse() {
            Ok(generation) => Ok(Some(generation)),
            Err(_) => Err(in_file(
                &path,
                &io::Error::other("expected a decimal number"),
            )),
        }
    }

    fn store_generation(&self, generation: u64) -> io::Result<()> {
        self.store(GENERATION_FILE, format!("{generation}\n").as_bytes())
    }

    fn load_policy(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.directory.join(POLICY_FILE);
        match fs::read(&path) {
            Ok(signed) => Ok(Some(signed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(in_file(&path, &error)),
        }
    }

    fn store_policy(&self, signed: &[u8]) -> io::Result<()> {
        self.store(POLICY_FILE, signed)
    }
}

impl StateDir {
    /// Written beside and renamed, so that a crash leaves the old contents or the new ones.
    fn store(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            fs::create_dir_all(&self.directory)?;
            let mut file = fs::OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(contents)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            fs::File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| in_file(&path, &error))
    }
}

fn in_file(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The default of 208 KiB loses more than a quarter of a fan-out to 300.
const LINK_BUFFER_BYTES: usize = 4 << 20;
const LISTEN_BACKLOG: i32 = 1_024;
const GENERATION_FILE: &str = "generation";
const POLICY_FILE: &str = "policy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_survives_in_the_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir {
            directory: directory.path().join("made/when/needed"),
        };
        assert_eq!(state.load_generation().unwrap(), None);
        state.store_generation(7).unwrap();
        state.store_generation(8).unwrap();
        assert_eq!(state.load_generation().unwrap(), Some(8));
    }

    #[test]
    fn unreadable_generation_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(GENERATION_FILE), "seven").unwrap();
        let state = StateDir {
            directory: directory.path().to_owned(),
        };
        let error = state.load_generation().unwrap_err().to_string();
        assert!(
            error.ends_with("generation: expected a decimal number"),
            "{error}"
        );
    }
}
