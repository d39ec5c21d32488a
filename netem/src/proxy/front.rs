//! One UDP socket of the hub: many packets for one call of the system, both ways.

use std::{
    fs,
    io::{self, ErrorKind, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// A socket that reads with `recvmmsg` and GRO and writes with GSO, where that can be had.
#[derive(Debug)]
pub(super) struct Front {
    socket: Socket,
    state: UdpSocketState,
    inode: u64,
}

impl Front {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // What the kernel does not grant shows as packets that were dropped unread.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        socket.bind(&address.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        if address.is_ipv4() {
            // A socket made for QUIC forbids fragments; programs may send larger packets.
            let want = rustix::net::sockopt::Ipv4PathMtuDiscovery::WANT;
            rustix::net::sockopt::set_ip_mtu_discover(&socket, want)?;
        }
        let inode = rustix::fs::fstat(&socket)?.st_ino;
        Ok(Self {
            socket,
            state,
            inode,
        })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address.ok_or_else(|| ErrorKind::Unsupported.into())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what one call gives into `batch`, which may be nothing.
    pub(super) fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.received = 0;
        let mut slots: [_; SLOTS] = {
            let mut memory = batch.memory.chunks_exact_mut(SLOT_BYTES);
            std::array::from_fn(|_| IoSliceMut::new(memory.next().expect("memory for all slots")))
        };
        let received = self
            .state
            .recv((&self.socket).into(), &mut slots, &mut batch.metas);
        match received {
            Ok(received) => batch.received = received,
            // Nothing there, or what an ICMP packet says about one that we sent.
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Sends packets of one size to one address, in order; how many were taken.
    pub(super) fn send<'a>(
        &self,
        payloads: impl ExactSizeIterator<Item = &'a [u8]>,
        to: SocketAddr,
        memory: &mut Vec<u8>,
    ) -> usize {
        let mut payloads = payloads.peekable();
        let mut sent = 0;
        while let Some(first) = payloads.next() {
            let size = first.len();
            let most = if (1..=MAX_SEGMENT_BYTES).contains(&size) {
                let segments = self.state.max_gso_segments().min(MAX_SEGMENTS);
                segments.min(MAX_RUN_BYTES / size)
            } else {
                1
            };
            memory.clear();
            memory.extend_from_slice(first);
            let mut packets = 1;
            while packets < most
                && let Some(payload) = payloads.next_if(|payload| payload.len() == size)
            {
                memory.extend_from_slice(payload);
                packets += 1;
            }
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: memory,
                segment_size: (packets > 1).then_some(size),
                src_ip: None,
            };
            match self.state.try_send((&self.socket).into(), &transmit) {
                Ok(()) => sent += packets,
                // Not on this way: one by one, now and from now on.
                Err(_) if packets > 1 => sent += self.send_each(memory, size, to),
                Err(_) => {}
            }
        }
        sent
    }

    fn send_each(&self, packets: &[u8], size: usize, to: SocketAddr) -> usize {
        packets
            .chunks_exact(size)
            .filter(|packet| self.socket.send_to(packet, &to.into()).is_ok())
            .count()
    }
}

/// What one call read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    memory: Vec<u8>,
    metas: [RecvMeta; SLOTS],
    received: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            memory: vec![0; SLOTS * SLOT_BYTES],
            ..Self::default()
        }
    }

    /// Each packet with its sender; what the kernel put together is taken apart again.
    pub(super) fn packets(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let slots = self.memory.chunks_exact(SLOT_BYTES);
        slots
            .zip(&self.metas[..self.received])
            .flat_map(|(slot, meta)| {
                let whole = &slot[..meta.len];
                let empty = whole.is_empty().then_some(whole);
                let packets = whole.chunks(meta.stride.max(1)).chain(empty);
                packets.map(|packet| (meta.addr, packet))
            })
    }
}

/// How many packets the kernel dropped for want of room in the sockets.
pub(super) fn unread(fronts: &[Front]) -> u64 {
    let inodes: Vec<u64> = fronts.iter().map(|front| front.inode).collect();
    ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .map(|table| unread_in(&table, &inodes))
        .sum()
}

/// The drops of the sockets with these inodes, from a table as in `/proc/net/udp`.
fn unread_in(table: &str, inodes: &[u64]) -> u64 {
    let drops = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let inode: u64 = columns.get(INODE_COLUMN)?.parse().ok()?;
        if !inodes.contains(&inode) {
            return None;
        }
        columns.last()?.parse::<u64>().ok()
    });
    drops.sum()
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// What nodes ask their own sockets for.
const BUFFER_BYTES: usize = 4 << 20;
/// Packets, or runs of them that GRO put together, that are read by one call.
const SLOTS: usize = 16;
/// The most that a UDP packet, or a run of them, can be.
const SLOT_BYTES: usize = 65_536;
/// What the kernel takes in one call (`UDP_MAX_SEGMENTS` before Linux 6.9).
const MAX_SEGMENTS: usize = 64;
/// A call must stay below what one IPv4 packet could hold.
const MAX_RUN_BYTES: usize = 65_000;
/// Segments must fit the network's packets: beyond those of Ethernet nothing is said.
const MAX_SEGMENT_BYTES: usize = 1_472;
const INODE_COLUMN: usize = 9;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn bind() -> (Front, SocketAddr) {
        let front = Front::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = front.local_addr().unwrap();
        (front, address)
    }

    fn receive(front: &Front) -> Vec<Vec<u8>> {
        let mut batch = Batch::new();
        front.receive(&mut batch).unwrap();
        batch.packets().map(|(_, packet)| packet.to_vec()).collect()
    }

    #[test]
    fn runs_arrive_as_the_packets_they_were_made_of() {
        let ((near, _), (far, to)) = (bind(), bind());
        for (packets, size) in [(150, 1_100), (1, 1), (3, 0), (70, 16), (3, 20_000)] {
            let sent: Vec<Vec<u8>> = (0..packets).map(|nth| vec![nth; size]).collect();
            let payloads = sent.iter().map(Vec::as_slice);
            let taken = near.send(payloads, to, &mut Vec::new());
            assert_eq!(taken, sent.len());
            let mut received = Vec::new();
            // Loopback hands over before the call returns.
            while received.len() < sent.len() {
                let more = receive(&far);
                assert!(!more.is_empty(), "{} of {packets}", received.len());
                received.extend(more);
            }
            assert_eq!(received, sent);
        }
        assert!(receive(&far).is_empty());
    }

    #[test]
    fn what_finds_no_room_is_counted_by_the_kernel() {
        let ((near, _), (far, to)) = (bind(), bind());
        let payload = vec![0; 20_000];
        let packets = 2_000;
        let payloads: Vec<&[u8]> = vec![&payload; packets];
        near.send(payloads.into_iter(), to, &mut Vec::new());
        let mut received = 0;
        loop {
            let more = receive(&far).len();
            received += more;
            if more == 0 {
                break;
            }
        }
        let unread = unread(&[far]);
        assert!(unread > 0);
        assert_eq!(received as u64 + unread, packets as u64);
    }

    #[test]
    fn drops_are_those_of_our_own_sockets() {
        let table = "\
            sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode ref pointer drops\n\
            1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 11 2 0000000000000000 5\n\
            2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 12 2 0000000000000000 7\n";
        assert_eq!(unread_in(table, &[11]), 5);
        assert_eq!(unread_in(table, &[11, 12]), 12);
        assert_eq!(unread_in(table, &[13]), 0);
        assert_eq!(unread_in("", &[11]), 0);
    }
}
