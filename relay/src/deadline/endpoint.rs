//! A UDP port from which connections are dialed and on which they are accepted.

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use tokio::time::timeout_at;

use super::{AcceptError, Connection, DialError, until};
use crate::code::CloseCode;

/// One UDP socket with all its connections. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Endpoint(quinn::Endpoint);

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
        quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime).map(Self)
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
            let connecting =
                self.0
                    .connect_with(config, address, SERVER_NAME)
                    .map_err(|error| DialError::Setup {
                        text: error.to_string(),
                    })?;
            let connection = connecting
                .await
                .map_err(|error| DialError::Closed(error.into()))?;
            Ok(Connection::new(connection))
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
        self.0.accept().await.map(Incoming)
    }

    /// Replaces certificate and settings for the connections to come.
    pub fn set_server_config(&self, server: Option<quinn::ServerConfig>) {
        self.0.set_server_config(server);
    }

    /// The bound address.
    ///
    /// # Errors
    /// As the socket says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// How many connections are open, those in handshake and those that are ending included.
    pub fn open_connections(&self) -> usize {
        self.0.open_connections()
    }

    /// Closes every connection with `code` and takes no more. Never waits; may be repeated.
    pub fn close(&self, code: CloseCode, reason: &[u8]) {
        self.0.close(code.number().into(), reason);
    }

    /// Waits until every connection has ended, so that peers hear of it; `false` if some had not at
    /// `deadline`. Does not close them.
    ///
    /// Without a peer that answers, a closed connection lingers for three probe timeouts.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_idle(&self, deadline: Instant) -> bool {
        timeout_at(deadline.into(), self.0.wait_idle())
            .await
            .is_ok()
    }
}

/// A peer that dials. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming(quinn::Incoming);

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
                .0
                .await
                .map_err(|error| AcceptError::Closed(error.into()))?;
            Ok(Connection::new(connection))
        })
        .await
    }

    /// Tells the peer that it is refused.
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Tells the peer nothing. The cheapest way out.
    pub fn ignore(self) {
        self.0.ignore();
    }

    /// Asks the peer to prove its address first; if it has, which [`Incoming::may_retry`] tells
    /// before, it is refused.
    pub fn retry(self) {
        if let Err(again) = self.0.retry() {
            again.into_incoming().refuse();
        }
    }

    /// Whether the peer can be asked to prove its address.
    pub fn may_retry(&self) -> bool {
        self.0.may_retry()
    }

    /// Whether the peer has proven that it receives at its address.
    pub fn address_is_proven(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Where the dial came from.
    pub fn remote_address(&self) -> SocketAddr {
        self.0.remote_address()
    }
}

/// The name in the TLS handshake. Nodes are named by their certificates' SPIFFE URIs, never by DNS
/// names; `.invalid` is reserved (RFC 6761), so it can belong to nobody.
pub const SERVER_NAME: &str = "node.causeway.invalid";
