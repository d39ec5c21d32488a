//! UDP sockets of simulated hosts.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Host, Shared,
    network::{Received, SocketId},
};
use crate::clock;

/// A UDP socket of a simulated host; dropping it closes it.
///
/// Sending never blocks and never fails for want of room: what a pair does not take is dropped
/// there and counted. Any number of tasks may receive at once.
pub struct UdpSocket {
    shared: Arc<Shared>,
    id: SocketId,
    local: SocketAddr,
}

impl UdpSocket {
    pub(super) fn bind(host: &Host, address: SocketAddr) -> io::Result<Self> {
        let mut network = host.shared.network.lock();
        let (id, local) = network.bind_udp(host.machine, host.process.id, address)?;
        Ok(Self {
            shared: host.shared.clone(),
            id,
            local,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends one packet to `to`; returns its length, whatever becomes of it.
    ///
    /// # Errors
    /// - [`io::ErrorKind::InvalidInput`]: it is larger than 65,507 bytes, or would go from a
    ///   loopback address to another machine.
    /// - [`io::ErrorKind::NotConnected`]: the host was killed since the socket was bound.
    pub fn try_send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.send(payload, to, None, 0)?;
        Ok(payload.len())
    }

    /// As [`Self::try_send_to`]: there is nothing to wait for.
    ///
    /// # Errors
    /// As [`Self::try_send_to`].
    ///
    /// # Cancel safety
    /// It never waits, so it cannot be cancelled.
    #[expect(
        clippy::unused_async,
        reason = "so that code for real sockets compiles"
    )]
    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.try_send_to(payload, to)
    }

    /// Receives one packet into `buffer`: its length and sender. What does not fit is cut off.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] if the host was killed since the socket was bound.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has taken no packet.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = poll_fn(|context| self.poll_receive(context)).await?;
        Ok((copy(&received, buffer), received.from))
    }

    /// Receives one packet if one is there.
    ///
    /// # Errors
    /// - [`io::ErrorKind::NotConnected`]: the host was killed since the socket was bound.
    /// - [`io::ErrorKind::WouldBlock`]: none is there.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.shared.network.lock().receive(self.id, None)?;
        let received = received.ok_or(io::ErrorKind::WouldBlock)?;
        Ok((copy(&received, buffer), received.from))
    }

    pub(super) fn poll_receive(&self, context: &Context<'_>) -> Poll<io::Result<Received>> {
        let reader = Some(context.waker());
        match self.shared.network.lock().receive(self.id, reader) {
            Ok(Some(received)) => Poll::Ready(Ok(received)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(super) fn send(
        &self,
        payload: &[u8],
        to: SocketAddr,
        source: Option<IpAddr>,
        ecn: u8,
    ) -> io::Result<()> {
        let now = clock::now();
        let sent = {
            let mut network = self.shared.network.lock();
            network.send(now, self.id, to, source, ecn, payload)
        };
        let (readers, is_first) = sent?;
        for reader in readers {
            reader.wake();
        }
        if is_first {
            self.shared.earlier_deadline.notify_one();
        }
        Ok(())
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpSocket({})", self.local)
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let removed = self.shared.network.lock().close_udp(self.id);
        removed.wake();
    }
}

/// Copies what fits; returns how much that is.
pub(super) fn copy(received: &Received, buffer: &mut [u8]) -> usize {
    let bytes = received.payload.len().min(buffer.len());
    buffer[..bytes].copy_from_slice(&received.payload[..bytes]);
    bytes
}
