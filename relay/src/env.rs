//! Everything a node touches outside itself, as values that it is built from.
//!
//! A node on a real host gets an [`Env`] of sockets, clocks and files; under simulation, sockets,
//! time, names and certificates are in-memory, so that a whole fleet runs in one process on virtual
//! time.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::udp::{LocalUdp, PacketRun, UdpBatch};
use crate::identity::{Material, MaterialError};

mod udp;

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a node is built from besides its configuration. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct Env {
    /// One for each worker: spawns its tasks and makes QUIC's timers. Nothing of a node runs
    /// outside them.
    pub runtimes: Vec<Arc<dyn quinn::Runtime>>,
    /// Makes the UDP sockets that carry links.
    pub sockets: Arc<dyn LinkSockets>,
    /// The local network, on which services live and listens are bound.
    pub local: Arc<dyn LocalNet>,
    /// Looks up names of peers and services.
    pub resolver: Arc<dyn Resolver>,
    /// The date, for certificates and generations; never for durations.
    pub wall: Arc<dyn WallClock>,
    /// Where certificate, key and bundle come from, now and at each reload.
    pub certificates: Arc<dyn Certificates>,
    /// What outlives the process.
    pub state: Arc<dyn StateStore>,
    /// Seeds every random choice of the node's own, such as jitter.
    pub seed: u64,
    /// Whether QUIC's random choices come from the seed too. For simulation only: connection ids
    /// must not be guessed.
    pub repeatable: bool,
}

/// Makes the UDP sockets that carry links.
pub trait LinkSockets: Send + Sync + fmt::Debug {
    /// Binds a socket to `address`, for a worker's `runtime`; port 0 picks a free one.
    ///
    /// # Errors
    /// As the operating system says, above all for an address in use.
    fn bind(
        &self,
        address: SocketAddr,
        runtime: &dyn quinn::Runtime,
    ) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
}

/// The network of local programs.
pub trait LocalNet: Send + Sync + fmt::Debug {
    /// Binds a UDP socket; port 0 picks a free one.
    ///
    /// # Errors
    /// As the operating system says.
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn LocalUdp>>;

    /// Listens for TCP connections; port 0 picks a free one.
    ///
    /// # Errors
    /// As the operating system says.
    fn listen_tcp(&self, address: SocketAddr) -> io::Result<Box<dyn LocalListener>>;

    /// Connects to a local TCP endpoint. Has no deadline of its own: the caller arms one first.
    fn connect_tcp(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn LocalTcp>>>;
}

/// Accepts local TCP connections.
pub trait LocalListener: Send + fmt::Debug {
    /// The bound address.
    ///
    /// # Errors
    /// As the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Waits for the next connection. Cancel safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn LocalTcp>, SocketAddr)>>;
}

/// A local TCP connection. Dropping it closes it; [`LocalTcp::reset`] makes that a reset.
pub trait LocalTcp: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {
    /// Makes the coming drop a reset (RST) rather than an orderly end.
    fn reset(&mut self);
}

/// Looks up names.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The addresses of `host`, in the order to try them. The caller arms a deadline first.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// Tells the date.
pub trait WallClock: Send + Sync + fmt::Debug {
    /// The current date.
    fn now(&self) -> SystemTime;
}

/// Loads a node's certificate material.
pub trait Certificates: Send + Sync + fmt::Debug {
    /// Loads and checks certificate, key and bundle as they are at `now`.
    ///
    /// # Errors
    /// [`MaterialError`] names the file and what is wrong with it.
    fn load(&self, now: SystemTime) -> Result<Material, MaterialError>;

    /// Differs from an earlier answer if [`Certificates::load`] might now give something else.
    fn fingerprint(&self) -> u64;
}

/// Keeps small values across restarts.
pub trait StateStore: Send + Sync + fmt::Debug {
    /// The node generation that was last stored, if any.
    ///
    /// # Errors
    /// The state is there but cannot be read.
    fn load_generation(&self) -> io::Result<Option<u64>>;

    /// Stores the node generation, durably, before it returns.
    ///
    /// # Errors
    /// It could not be made durable.
    fn store_generation(&self, generation: u64) -> io::Result<()>;

    /// The signed policy of the fleet that was last stored, if any.
    ///
    /// # Errors
    /// The state is there but cannot be read.
    fn load_policy(&self) -> io::Result<Option<Vec<u8>>>;

    /// Stores the signed policy of the fleet, durably, before it returns.
    ///
    /// # Errors
    /// It could not be made durable.
    fn store_policy(&self, signed: &[u8]) -> io::Result<()>;
}
