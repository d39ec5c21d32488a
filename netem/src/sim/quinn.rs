//! The simulated network as quinn's socket and runtime.
//!
//! Segmentation offload is not offered: one transmit is one packet. A send never blocks, as the
//! network takes every packet and drops what does not fit, so the socket is always writable.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket as StdUdpSocket},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use ::quinn::{
    AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};

use super::{
    Host, UdpSocket,
    task::{BoxFuture, Life},
    udp::copy,
};
use crate::clock;

#[cfg(test)]
mod tests;

impl Host {
    /// quinn's runtime for the current run of this process: its tasks are this host's, so
    /// [`Host::freeze`] and [`Host::kill`] reach them, and its time is tokio's. After a kill it
    /// drops what it is asked to spawn; ask for another one.
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(HostRuntime { life: self.life() })
    }
}

#[derive(Debug)]
struct HostRuntime {
    life: Life,
}

impl Runtime for HostRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(tokio::time::sleep_until(at.into()))
    }

    fn spawn(&self, future: BoxFuture) {
        self.life.spawn(future);
    }

    fn wrap_udp_socket(&self, _: StdUdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a simulated host has no real sockets: bind one of its own",
        ))
    }

    fn now(&self) -> Instant {
        clock::now()
    }
}

impl AsyncUdpSocket for UdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let ecn = transmit.ecn.map_or(0, |ecn| ecn as u8);
        self.send(
            transmit.contents,
            transmit.destination,
            transmit.src_ip,
            ecn,
        )
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let received = match self.poll_receive(context) {
                Poll::Ready(Ok(received)) => received,
                // The next call says so again.
                Poll::Ready(Err(_)) | Poll::Pending if count > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let len = copy(&received, buffer);
            *meta = RecvMeta {
                addr: received.from,
                len,
                stride: len,
                ecn: EcnCodepoint::from_bits(received.ecn),
                dst_ip: Some(received.to),
            };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(Self::local_addr(self))
    }

    /// Nothing is fragmented: a pair's `max_bytes` is the truth that MTU discovery looks for.
    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
