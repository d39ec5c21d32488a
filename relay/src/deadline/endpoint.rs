//! A UDP port from which connections are dialed and on which they are accepted.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::time::timeout_at;

use super::{AcceptError, Connection, DialError, until};
use crate::code::CloseCode;

/// One UDP socket with all its connections. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    streams: Arc<AtomicUsize>,
}

impl Endpoint {
    /// Runs QUIC on `socket`. Without `server` it refuses inbound connections.
    ///
    /// # Errors
    /// The socket does not know its address.
    pub fn new(
        config: quinn::EndpointConfig,
        server: Option<quinn::ServerConfig>,
        socket: Arc<dyn quinn::AsyncUdpSocket>,
        runtime: Arc<dyn quinn::Runtime>,
    ) -> io::Result<Self> {
        let quinn = quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime)?;
        let streams = Arc::default();
        Ok(Self { quinn, streams })
    }

    /// Dials `address` and waits until the handshake is done.
    ///
    /// Names nobody in the handshake but [`SERVER_NAME`]: who the peer must be is for the verifier
    /// in `config` to say. A success proves nothing yet about this side's own certificate, which
    /// the peer checks later: it then closes with [`super::Closed::TlsByPeer`].
    ///
    /// # Errors
    /// [`DialError`]; nothing of the attempt is left.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future ends the attempt.
    pub async fn connect(
        &self,
        config: quinn::ClientConfig,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<Connection, DialError> {
        until(deadline, DialError::TimedOut, async {
            let connecting = self
                .quinn
                .connect_with(config, address, SERVER_NAME)
                .map_err(|error| DialError::Setup {
                    text: error.to_string(),
                })?;
            let connection = connecting
                .await
                .map_err(|error| DialError::Closed(error.into()))?;
            Ok(Connection::new(connection, self.streams.clone()))
        })
        .await
    }

    /// Waits for the next peer that dials; `None` once the endpoint is closed.
    ///
    /// Has no deadline: nobody has to dial.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn accept(&self) -> Option<Incoming> {
        let quinn = self.quinn.accept().await?;
        let streams = self.streams.clone();
        Some(Incoming { quinn, streams })
    }

    /// Replaces certificate and settings for the connections to come.
    pub fn set_server_config(&self, server: Option<quinn::ServerConfig>) {
        self.quinn.set_server_config(server);
    }

    /// The bound address.
    ///
    /// # Errors
    /// As the socket says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// How many connections are open, those in handshake and those that are ending included.
    pub fn open_connections(&self) -> usize {
        self.quinn.open_connections()
    }

    /// How many streams are open on all connections together, as [`Connection::open_streams`]
    /// counts them; those of connections that have ended count for as long as they are held.
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Closes every connection with `code` and takes no more. Never waits; may be repeated.
    pub fn close(&self, code: CloseCode, reason: &[u8]) {
        self.quinn.close(code.number().into(), reason);
    }

    /// Waits until every connection has ended, so that peers hear of it; `false` if some had not at
    /// `deadline`. Does not close them.
    ///
    /// Without a peer that answers, a closed connection lingers for three probe timeouts.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_idle(&self, deadline: Instant) -> bool {
        timeout_at(deadline.into(), self.quinn.wait_idle())
            .await
            .is_ok()
    }
}

/// A peer that dials. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming {
    quinn: quinn::Incoming,
    streams: Arc<AtomicUsize>,
}

impl Incoming {
    /// Waits until the handshake is done, the peer's certificate checked.
    ///
    /// # Errors
    /// [`AcceptError`]; nothing of the connection is left.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future ends the connection.
    pub async fn accept(self, deadline: Instant) -> Result<Connection, AcceptError> {
        until(deadline, AcceptError::TimedOut, async {
            let connection = self
                .quinn
                .await
                .map_err(|error| AcceptError::Closed(error.into()))?;
            Ok(Connection::new(connection, self.streams))
        })
        .await
    }

    /// Tells the peer that it is refused.
    pub fn refuse(self) {
        self.quinn.refuse();
    }

    /// Tells the peer nothing. The cheapest way out.
    pub fn ignore(self) {
        self.quinn.ignore();
    }

    /// Asks the peer to prove its address first; if it has, which [`Incoming::may_retry`] tells
    /// before, it is refused.
    pub fn retry(self) {
        if let Err(again) = self.quinn.retry() {
            again.into_incoming().refuse();
        }
    }

    /// Whether the peer can be asked to prove its address.
    pub fn may_retry(&self) -> bool {
        self.quinn.may_retry()
    }

    /// Whether the peer has proven that it receives at its address.
    pub fn address_is_proven(&self) -> bool {
        self.quinn.remote_address_validated()
    }

    /// Where the dial came from.
    pub fn remote_address(&self) -> SocketAddr {
        self.quinn.remote_address()
    }
}

/// The name in the TLS handshake. Nodes are named by their certificates' SPIFFE URIs, never by DNS
/// names; `.invalid` is reserved (RFC 6761), so it can belong to nobody.
pub const SERVER_NAME: &str = "node.causeway.invalid";
