//! TCP between the processes of one simulated machine.
//!
//! It connects local programs with what they use, so it is neither impaired nor timed.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

use self::pipe::End;
use super::{Host, Shared, network::SocketId, task::Life};
use crate::engine::HostId;

mod pipe;
#[cfg(test)]
mod tests;

/// How a caller reaches a listener: its end of the connection, and the caller's address.
///
/// Holds [`BACKLOG`] connections; when it is full, callers wait.
pub(super) type Dialer = mpsc::Sender<(End, SocketAddr)>;

/// Accepts TCP connections from the same machine; dropping it resets those not yet accepted.
pub struct TcpListener {
    shared: Arc<Shared>,
    machine: HostId,
    id: SocketId,
    local: SocketAddr,
    life: Life,
    backlog: mpsc::Receiver<(End, SocketAddr)>,
}

impl TcpListener {
    pub(super) fn bind(host: &Host, address: SocketAddr) -> io::Result<Self> {
        let (dialer, backlog) = mpsc::channel(BACKLOG);
        let life = host.life();
        let mut network = host.shared.network.lock();
        let (id, local) = network.listen_tcp(host.machine, host.process.id, address, dialer)?;
        Ok(Self {
            shared: host.shared.clone(),
            machine: host.machine,
            id,
            local,
            life,
            backlog,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection: the stream and the caller's address.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] if the host was killed since the listener was bound.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped future has taken no connection.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (end, from) = self
            .backlog
            .recv()
            .await
            .ok_or(io::ErrorKind::NotConnected)?;
        Ok((TcpStream::new(end, self.life.clone()), from))
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpListener({})", self.local)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let removed = self.shared.network.lock().close_tcp(self.machine, self.id);
        removed.wake();
        self.backlog.close();
        while let Ok((mut end, _)) = self.backlog.try_recv() {
            end.reset();
        }
    }
}

/// Connects to a listener of the same machine.
pub(super) async fn connect(host: &Host, to: SocketAddr) -> io::Result<TcpStream> {
    let life = host.life();
    let (dialer, from) = host.shared.network.lock().dial_tcp(host.machine, to)?;
    let place = dialer
        .reserve()
        .await
        .map_err(|_| io::ErrorKind::ConnectionRefused)?;
    let (near, far) = pipe::connect();
    place.send((far, from));
    Ok(TcpStream::new(near, life))
}

/// One end of a TCP connection, with 64 KiB of buffer in each direction.
///
/// Shutting it down ends its direction only. Dropping it ends both in order, and what was written
/// is still read; but if something that it received was not read, or [`Self::reset`] was called,
/// or its host was killed, the drop is a reset: the other end's reads and writes fail with
/// [`io::ErrorKind::ConnectionReset`], and what it had not read is gone.
pub struct TcpStream {
    end: End,
    life: Life,
}

impl TcpStream {
    fn new(end: End, life: Life) -> Self {
        Self { end, life }
    }

    /// Makes the coming drop a reset rather than an orderly end.
    pub fn reset(&mut self) {
        self.end.reset();
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.end.poll_read(context, buffer)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.end.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.finish();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream").finish_non_exhaustive()
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if self.life.is_over() {
            self.end.reset();
        }
    }
}

/// Connections that wait to be accepted, as Linux has it by default for small servers.
const BACKLOG: usize = 128;
