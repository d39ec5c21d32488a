//! Local UDP sockets of the host: many packets for one call of the system, both ways.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{Interest, ReadBuf},
    net::UdpSocket,
};

use crate::env::{LocalUdp, PacketRun, UdpBatch};

/// A socket that reads with `recvmmsg` and GRO and writes with GSO, where that can be had.
#[derive(Debug)]
pub(super) struct HostUdp {
    socket: UdpSocket,
    /// `None` where packets are read and written one by one.
    batches: Option<UdpSocketState>,
}

impl HostUdp {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        socket.set_nonblocking(true)?;
        // Whatever the kernel grants is enough: a local burst is short.
        let _ = socket.set_recv_buffer_size(LOCAL_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(LOCAL_BUFFER_BYTES);
        socket.bind(&address.into())?;
        // A socket made for QUIC forbids the network to fragment its packets, but local programs
        // may send larger ones than a network takes whole. For IPv6 that cannot be undone.
        let batches = if address.is_ipv4() {
            let state = UdpSocketState::new((&socket).into())?;
            rustix::net::sockopt::set_ip_mtu_discover(
                &socket,
                rustix::net::sockopt::Ipv4PathMtuDiscovery::WANT,
            )?;
            Some(state)
        } else if address.ip().is_loopback() {
            Some(UdpSocketState::new((&socket).into())?)
        } else {
            None
        };
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            batches,
        })
    }

    fn recv_batch(&self, state: &UdpSocketState, batch: &mut UdpBatch) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); UdpBatch::SLOTS];
        let mut received = 0;
        let tried = self.socket.try_io(Interest::READABLE, || {
            let mut vacant = batch.vacant();
            let mut slots: [_; UdpBatch::SLOTS] = std::array::from_fn(|_| {
                IoSliceMut::new(vacant.next().expect("a cleared batch has all its slots"))
            });
            received = state.recv((&self.socket).into(), &mut slots, &mut metas)?;
            // Fewer than there is room for: the kernel has no more. Saying so here saves the call
            // that would find that out, and loses no wake-up: what comes from now on is told to
            // the runtime again.
            if received < UdpBatch::SLOTS {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match tried {
            Err(error) if received == 0 => return Err(error),
            Ok(()) | Err(_) => {}
        }
        for meta in &metas[..received] {
            batch.add(meta.addr, meta.len, meta.stride);
        }
        Ok(())
    }

    /// Sends a run as one; `None` if it has to go packet by packet.
    fn send_together(&self, run: PacketRun<'_>, to: SocketAddr) -> Option<io::Result<usize>> {
        let state = self.batches.as_ref()?;
        let segments = state.max_gso_segments().min(MAX_SEGMENTS);
        if run.len() == 1 || segments == 1 || run.stride() > MAX_SEGMENT_BYTES {
            return None;
        }
        let packets = segments.min(MAX_RUN_BYTES / run.stride()).min(run.len());
        let bytes = run.bytes().len().min(packets * run.stride());
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &run.bytes()[..bytes],
            segment_size: Some(run.stride()),
            src_ip: None,
        };
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            state.try_send((&self.socket).into(), &transmit)
        });
        match sent {
            Ok(()) => Some(Ok(packets)),
            // Not on this way: from now on it is one by one.
            Err(_) if state.max_gso_segments() == 1 => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl LocalUdp for HostUdp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_recv_batch(&self, cx: &mut Context<'_>, batch: &mut UdpBatch) -> Poll<io::Result<()>> {
        batch.clear();
        let Some(state) = &self.batches else {
            let slot = batch.vacant().next().expect("a cleared batch has slots");
            let mut slot = ReadBuf::new(slot);
            let from = ready!(self.socket.poll_recv_from(cx, &mut slot))?;
            let bytes = slot.filled().len();
            batch.add(from, bytes, bytes);
            return Poll::Ready(Ok(()));
        };
        loop {
            ready!(self.socket.poll_recv_ready(cx))?;
            match self.recv_batch(state, batch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    fn try_send_run(&self, run: PacketRun<'_>, to: SocketAddr) -> io::Result<usize> {
        if let Some(sent) = self.send_together(run, to) {
            return sent;
        }
        let mut sent = 0;
        while let Some(packet) = run.packet(sent) {
            match self.socket.try_send_to(packet, to) {
                Ok(_) => sent += 1,
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }
}

/// A video key frame is a burst of some hundred packets.
const LOCAL_BUFFER_BYTES: usize = 1 << 20;
/// What the kernel takes in one call (`UDP_MAX_SEGMENTS` before Linux 6.9).
const MAX_SEGMENTS: usize = 64;
/// A call must stay below what one IPv4 packet could hold.
const MAX_RUN_BYTES: usize = 65_000;
/// Segments must fit the network's packets: beyond those of Ethernet nothing is said.
const MAX_SEGMENT_BYTES: usize = 1_472;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn bind() -> (HostUdp, SocketAddr) {
        let socket = HostUdp::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    async fn receive(socket: &HostUdp) -> Vec<Vec<u8>> {
        let mut batch = UdpBatch::new();
        let received = std::future::poll_fn(|cx| socket.poll_recv_batch(cx, &mut batch));
        received.await.unwrap();
        let mut packets = Vec::new();
        while let Some((_, packet)) = batch.next_packet() {
            packets.push(packet.to_vec());
        }
        packets
    }

    #[tokio::test]
    async fn run_goes_out_in_one_call_and_comes_in_as_the_packets_it_was_made_of() {
        let ((near, _), (far, to)) = (bind(), bind());
        near.socket.writable().await.unwrap();
        for (bytes, stride) in [(40 * 1_100 + 7, 1_100), (1, 1), (0, 0), (60 * 16, 16)] {
            let bytes: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            let run = PacketRun::new(&bytes, stride);
            assert_eq!(near.try_send_run(run, to).unwrap(), run.len());
            let mut received = Vec::new();
            while received.len() < run.len() {
                received.extend(receive(&far).await);
            }
            let expected = (0..run.len()).map(|index| run.packet(index).unwrap());
            assert!(received.iter().map(Vec::as_slice).eq(expected));
        }
    }

    #[tokio::test]
    async fn packets_that_wait_are_read_together_and_none_is_left_behind() {
        let ((near, _), (far, to)) = (bind(), bind());
        near.socket.writable().await.unwrap();
        for count in [1, UdpBatch::SLOTS, UdpBatch::SLOTS + 1, 3 * UdpBatch::SLOTS] {
            for _ in 0..count {
                near.socket.try_send_to(b"one", to).unwrap();
            }
            let mut batches = Vec::new();
            while batches.iter().sum::<usize>() < count {
                batches.push(receive(&far).await.len());
            }
            assert_eq!(
                batches.len(),
                count.div_ceil(UdpBatch::SLOTS),
                "{batches:?}"
            );
        }
    }

    #[tokio::test]
    async fn packets_larger_than_a_network_takes_whole_may_still_be_sent() {
        for address in ["0.0.0.0:0", "[::]:0", "[::1]:0"] {
            let socket = HostUdp::bind(address.parse().unwrap()).unwrap();
            let to = SocketAddr::new(socket.local_addr().unwrap().ip(), 9);
            socket.socket.writable().await.unwrap();
            let large = [0; 30_000];
            let to = match to.ip().is_unspecified() {
                true if to.is_ipv4() => SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
                true => "[::1]:9".parse().unwrap(),
                false => to,
            };
            let sent = socket.try_send_run(PacketRun::new(&large, 10_000), to);
            assert_eq!(sent.unwrap(), 3);
            if address.starts_with('0') {
                let discovery = rustix::net::sockopt::ip_mtu_discover(&socket.socket);
                let want = rustix::net::sockopt::Ipv4PathMtuDiscovery::WANT;
                assert_eq!(discovery.unwrap(), want);
            }
        }
    }
}
