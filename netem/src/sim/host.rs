//! A simulated host, and the process on it that a handle stands for.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::{
    Shared,
    task::{Life, Process},
    tcp::{self, TcpListener, TcpStream},
    udp::UdpSocket,
};
use crate::engine::HostId;

/// A machine with one address, as one process on it sees it. Cloning shares the process.
///
/// The addresses `127.0.0.0/8` and `::1` belong to each machine by itself. What is sent between
/// addresses of one machine is not impaired.
#[derive(Clone)]
pub struct Host {
    pub(super) shared: Arc<Shared>,
    pub(super) machine: HostId,
    pub(super) process: Arc<Process>,
    name: Arc<str>,
    ip: IpAddr,
}

impl Host {
    pub(super) fn new(shared: Arc<Shared>, name: &str, ip: IpAddr) -> Self {
        let (machine, process) = {
            let mut network = shared.network.lock();
            (network.add_machine(ip), network.add_process())
        };
        Self {
            process: Arc::new(Process::new(process, shared.runtime.clone())),
            shared,
            machine,
            name: name.into(),
            ip,
        }
    }

    /// Another process on the same machine: it shares addresses and ports, and is frozen and killed
    /// apart. For programs beside a node that outlive it.
    pub fn process(&self) -> Self {
        let process = self.shared.network.lock().add_process();
        Self {
            process: Arc::new(Process::new(process, self.shared.runtime.clone())),
            ..self.clone()
        }
    }

    /// What the host was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that other hosts reach it at.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The machine's number in the engine.
    pub fn id(&self) -> HostId {
        self.machine
    }

    /// Binds a UDP socket to an address of the machine or a wildcard; port 0 takes the next free
    /// one, in order from 49,152.
    ///
    /// # Errors
    /// - [`io::ErrorKind::AddrInUse`]: somebody on the machine has it, or no port is free.
    /// - [`io::ErrorKind::AddrNotAvailable`]: it is not an address of this machine.
    pub fn bind_udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(self, address)
    }

    /// Listens for TCP connections from the same machine; port 0 takes the next free one.
    ///
    /// # Errors
    /// As [`Self::bind_udp`].
    pub fn listen_tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(self, address)
    }

    /// Connects to a TCP listener of the same machine; waits while its backlog is full.
    ///
    /// # Errors
    /// - [`io::ErrorKind::ConnectionRefused`]: nobody listens there.
    /// - [`io::ErrorKind::NetworkUnreachable`]: the address belongs to another machine; there is
    ///   no TCP between machines.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has connected nothing.
    pub async fn connect_tcp(&self, address: SocketAddr) -> io::Result<TcpStream> {
        tcp::connect(self, address).await
    }

    /// Spawns a task of this process, which [`Self::freeze`] and [`Self::kill`] reach.
    ///
    /// The receiver gets the result, or an error if the task is killed or panics first. Dropping
    /// it does not end the task.
    pub fn spawn<F>(&self, future: F) -> oneshot::Receiver<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (result, receiver) = oneshot::channel();
        self.life().spawn(Box::pin(async move {
            // Nobody has to wait for the result.
            let _ = result.send(future.await);
        }));
        receiver
    }

    /// Stops polling every task of this process until [`Self::thaw`], as SIGSTOP does.
    ///
    /// Its sockets stay: packets wait in their receive buffers, and what goes over is dropped.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Ends a freeze: each task that would have been polled is polled, and sees its timers late.
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Ends this process without a goodbye, as SIGKILL does, and leaves the host ready to be used
    /// again: what it binds and spawns from now on belongs to its next run.
    ///
    /// First its sockets vanish, so that nothing can be sent any more; then the futures of all its
    /// tasks are dropped before this returns (of the calling task, if it is one of them, at its
    /// next await). The other ends of its TCP streams read a reset. A handle to a vanished socket
    /// that somebody else holds gives [`io::ErrorKind::NotConnected`].
    pub fn kill(&self) {
        let removed = self.shared.network.lock().remove_process(self.process.id);
        self.process.kill();
        removed.wake();
    }

    pub(super) fn life(&self) -> Life {
        self.process.life()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} {})", self.name, self.ip)
    }
}
