//! Local UDP sockets, and packets that are read and written together.

use std::{
    fmt, io,
    iter::Skip,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    slice::ChunksExactMut,
    task::{Context, Poll},
};

/// A bound local UDP socket.
pub trait LocalUdp: Send + Sync + fmt::Debug {
    /// The bound address.
    ///
    /// # Errors
    /// As the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Receives the packets that are there, or registers the calling task to be woken when one is.
    ///
    /// What `batch` held before is gone. It then holds at least one packet, and at most what it has
    /// slots for. Only the last task that called is woken.
    fn poll_recv_batch(&self, cx: &mut Context<'_>, batch: &mut UdpBatch) -> Poll<io::Result<()>>;

    /// Sends the packets of `run` to one address, with as few calls of the system as it takes.
    ///
    /// Returns how many of them, from the first on, went out: at least one. Never waits.
    ///
    /// # Errors
    /// The first packet did not go out: [`io::ErrorKind::WouldBlock`] if the socket's buffer is
    /// full; else as the operating system says, and the others may still have better luck.
    fn try_send_run(&self, run: PacketRun<'_>, to: SocketAddr) -> io::Result<usize>;
}

/// Packets one behind the other: all of one length but the last, which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketRun<'a> {
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> PacketRun<'a> {
    /// A single packet, which may be empty.
    pub fn one(packet: &'a [u8]) -> Self {
        Self::new(packet, packet.len())
    }

    /// `bytes` as packets of `stride` bytes each; a rest is one more packet.
    pub fn new(bytes: &'a [u8], stride: usize) -> Self {
        // An empty packet is one too; there is no run of several.
        let stride = stride.max(1);
        Self { bytes, stride }
    }

    /// How many packets it is, at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len().div_ceil(self.stride).max(1)
    }

    /// All packets, one behind the other.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The length of every packet but the last.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Packet `index`, if there are so many.
    pub fn packet(&self, index: usize) -> Option<&'a [u8]> {
        let start = index * self.stride;
        let end = self.bytes.len().min(start + self.stride);
        (index < self.len()).then(|| &self.bytes[start..end])
    }

    /// What is left behind the first `count` packets, if anything is.
    pub fn skip(&self, count: usize) -> Option<Self> {
        (count < self.len()).then(|| Self::new(&self.bytes[count * self.stride..], self.stride))
    }
}

/// Packets that were received together, from any senders. Made once, and used again and again.
///
/// It has [`Self::SLOTS`] slots, each of which takes one packet of any size or, where the kernel
/// hands over several of one sender at once (GRO), these. A socket fills them with [`Self::vacant`]
/// and [`Self::add`], its user takes packets with [`Self::next_packet`].
pub struct UdpBatch {
    buffer: Box<[u8]>,
    filled: [Slot; Self::SLOTS],
    filled_count: usize,
    /// Where the next packet is: slot, and place within its run.
    next: (usize, usize),
}

#[derive(Debug, Clone)]
struct Slot {
    from: SocketAddr,
    bytes: Range<usize>,
    stride: usize,
}

impl UdpBatch {
    /// How many packets, or packets that came as one, it holds.
    ///
    /// One call of the system is then a small part of what a packet costs; more slots would save
    /// little and take memory.
    pub const SLOTS: usize = 16;

    /// The size of a slot: more than any packet, and no multiple of a large power of two, so that
    /// the slots do not share the same few lines of the processor's caches.
    pub const SLOT_BYTES: usize = (64 << 10) + 21 * 64;

    /// An empty one. Its memory is a megabyte, of which only what packets fill is ever touched.
    pub fn new() -> Self {
        let empty = Slot {
            from: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            bytes: 0..0,
            stride: 0,
        };
        Self {
            buffer: vec![0; Self::SLOTS * Self::SLOT_BYTES].into_boxed_slice(),
            filled: std::array::from_fn(|_| empty.clone()),
            filled_count: 0,
            next: (0, 0),
        }
    }

    /// Forgets its packets.
    pub fn clear(&mut self) {
        self.filled_count = 0;
        self.next = (0, 0);
    }

    /// The slots that are free, in the order in which [`Self::add`] fills them.
    pub fn vacant(&mut self) -> Skip<ChunksExactMut<'_, u8>> {
        let slots = self.buffer.chunks_exact_mut(Self::SLOT_BYTES);
        slots.skip(self.filled_count)
    }

    /// The first free slot now holds `bytes` bytes of `from`, in packets of `stride` bytes.
    ///
    /// # Panics
    /// If there is no free slot, or it is smaller.
    pub fn add(&mut self, from: SocketAddr, bytes: usize, stride: usize) {
        assert!(bytes <= Self::SLOT_BYTES, "{bytes} bytes do not fit a slot");
        let start = self.filled_count * Self::SLOT_BYTES;
        self.filled[self.filled_count] = Slot {
            from,
            bytes: start..start + bytes,
            stride,
        };
        self.filled_count += 1;
    }

    /// Takes the next packet, with its sender.
    pub fn next_packet(&mut self) -> Option<(SocketAddr, &[u8])> {
        let (at, index) = self.next;
        let slot = self.filled[..self.filled_count].get(at)?;
        let run = PacketRun::new(&self.buffer[slot.bytes.clone()], slot.stride);
        self.next = if index + 1 < run.len() {
            (at, index + 1)
        } else {
            (at + 1, 0)
        };
        Some((slot.from, run.packet(index)?))
    }

    /// How many packets are left, and their bytes.
    pub fn left(&self) -> (usize, usize) {
        let (at, index) = self.next;
        let slots = self.filled[..self.filled_count].iter().skip(at);
        let runs = slots.map(|slot| PacketRun::new(&self.buffer[slot.bytes.clone()], slot.stride));
        let (packets, bytes) = runs.fold((0, 0), |(packets, bytes), run| {
            (packets + run.len(), bytes + run.bytes().len())
        });
        let taken = self.filled.get(at).map_or(0, |slot| index * slot.stride);
        (packets - index, bytes - taken)
    }
}

impl Default for UdpBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for UdpBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpBatch({:?} left)", self.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn run_is_cut_into_packets_and_an_empty_one_counts() {
        let run = PacketRun::new(b"aabbc", 2);
        assert_eq!(run.len(), 3);
        let packets = (0..4).map(|index| run.packet(index));
        let expected = [Some(&b"aa"[..]), Some(b"bb"), Some(b"c"), None];
        assert!(packets.eq(expected));
        assert_eq!(run.skip(2), Some(PacketRun::new(b"c", 2)));
        assert_eq!(run.skip(3), None);

        let empty = PacketRun::one(b"");
        assert_eq!((empty.len(), empty.packet(0)), (1, Some(&b""[..])));
        assert_eq!(empty.skip(1), None);
    }

    #[test]
    fn batch_gives_packets_in_their_order_with_their_senders() {
        let mut batch = UdpBatch::new();
        batch.vacant().next().unwrap()[..5].copy_from_slice(b"aabbc");
        batch.add(address(1), 5, 2);
        batch.add(address(2), 0, 0);
        batch.vacant().next().unwrap()[..1].copy_from_slice(b"d");
        batch.add(address(3), 1, 1);
        assert_eq!(batch.left(), (5, 6));
        for (from, packet) in [(1, &b"aa"[..]), (1, b"bb"), (1, b"c"), (2, b""), (3, b"d")] {
            let (packets, bytes) = batch.left();
            assert_eq!(batch.next_packet(), Some((address(from), packet)));
            assert_eq!(batch.left(), (packets - 1, bytes - packet.len()));
        }
        assert_eq!(batch.next_packet(), None);
        batch.clear();
        assert_eq!(batch.vacant().count(), UdpBatch::SLOTS);
    }

    #[test]
    fn batch_takes_as_many_as_it_has_slots() {
        let mut batch = UdpBatch::new();
        while batch.vacant().next().is_some() {
            batch.add(address(1), UdpBatch::SLOT_BYTES, UdpBatch::SLOT_BYTES);
        }
        assert_eq!(batch.left().0, UdpBatch::SLOTS);
    }
}
