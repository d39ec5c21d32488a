//! Ways onto links for a task that sends packets in turns.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::Link;
use crate::{
    accounts::Passage,
    counts::PacketDrop,
    id::LinkGeneration,
    outbox::{Class, PushError},
    wire::{Datagram, PacketHeader, split},
};

/// Sends packets on links. What costs a lock or an allocation is done for each link and turn, not
/// for each packet: the path's limit is asked for once, and packets are written one behind the other
/// into a buffer that they share. It is used again as soon as the last of them has left.
///
/// Each link has a buffer of its own, so that a slow one pins no other's.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Bytes that the turn will still write, as far as known.
    expected_bytes: usize,
    /// When the turn began.
    now: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    /// Which link it is, without holding it.
    link: LinkGeneration,
    /// The largest datagram, once the turn has asked; `None` inside if the peer takes none.
    limit: Option<Option<usize>>,
    buffer: BytesMut,
    in_use: bool,
}

impl Lanes {
    /// Begins a turn. Links that the last one did not use are forgotten.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.now = Some(now);
        self.lanes
            .retain_mut(|lane| std::mem::take(&mut lane.in_use));
        self.lanes.iter_mut().for_each(|lane| lane.limit = None);
        self.expected_bytes = 0;
    }

    /// Says that the turn has so many packets to send, with `bytes` bytes in all.
    pub(crate) fn expect(&mut self, (packets, bytes): (usize, usize)) {
        self.expected_bytes = packets * PacketHeader::BASE_LEN + bytes;
    }

    /// Sends a packet of a flow on `link`, in pieces if it is larger than the path carries.
    ///
    /// - `header`: its link sequence is written here; its send time has to be this node's.
    ///
    /// # Errors
    /// Why it was dropped, already counted.
    pub(crate) fn send(
        &mut self,
        link: &Arc<Link>,
        header: PacketHeader,
        payload: &[u8],
    ) -> Result<(), PacketDrop> {
        let mut sent = self.try_send(link, header, payload);
        if sent == Err(PacketDrop::TooLarge) {
            // The path may have shrunk since the turn asked for its limit: it is asked for again.
            // Pieces that went out already are dropped at the far end.
            self.lane(link).limit = None;
            sent = self.try_send(link, header, payload);
        }
        if let Err(dropped) = sent {
            link.counts.drop_packet(dropped);
        }
        sent
    }

    fn try_send(
        &mut self,
        link: &Arc<Link>,
        header: PacketHeader,
        payload: &[u8],
    ) -> Result<(), PacketDrop> {
        let expected_bytes = self.expected_bytes;
        let lane = self.lane(link);
        let limit = *lane
            .limit
            .get_or_insert_with(|| link.connection.max_datagram_size());
        let limit = limit.ok_or(PacketDrop::LinkClosed)?;
        let limit = match header.hops.as_slice() {
            [] => limit,
            _ => limit.min(ONWARD_BYTES),
        };
        let pieces = split(header, payload, limit).map_err(|_| PacketDrop::TooLarge)?;
        let passage = Passage::of(header.hops.as_slice().is_empty());
        let bytes = header.encoded_len() + payload.len();
        if !admits(link, self.now, bytes) {
            return Err(PacketDrop::Capped);
        }
        let mut written = 0;
        let lane = self.lane(link);
        let pushed = pieces.into_iter().try_for_each(|(mut header, piece)| {
            header.link_sequence = link.next_sequence();
            let datagram = write(&mut lane.buffer, expected_bytes - written, header, piece);
            written = expected_bytes.min(written + datagram.len());
            link.account.sent(passage).count_packet(datagram.len());
            link.outbox.push(Class::Data, datagram)
        });
        self.expected_bytes -= written;
        pushed.map_err(why_dropped)
    }

    /// Sends a datagram of another node's packet on `link`, as it came but for what belongs to the
    /// link.
    ///
    /// # Errors
    /// Why it cannot go on, already counted; nobody here puts packets together or splits them.
    pub(super) fn forward(
        &mut self,
        link: &Arc<Link>,
        mut header: PacketHeader,
        payload: &[u8],
    ) -> Result<(), NotForwarded> {
        let expected_bytes = self.expected_bytes;
        let lane = self.lane(link);
        let limit = *lane
            .limit
            .get_or_insert_with(|| link.connection.max_datagram_size());
        let bytes = header.encoded_len() + payload.len();
        let sent = match limit {
            None => Err(PacketDrop::LinkClosed),
            Some(limit) if bytes > limit => Err(PacketDrop::TooLarge),
            Some(_) if !admits(link, self.now, bytes) => Err(PacketDrop::Capped),
            Some(_) => {
                let lane = self.lane(link);
                link.account.sent(Passage::Overlay).count_packet(bytes);
                header.link_sequence = link.next_sequence();
                let datagram = write(&mut lane.buffer, expected_bytes, header, payload);
                let pushed = link.outbox.push(Class::Data, datagram);
                pushed.map_err(why_dropped)
            }
        };
        self.expected_bytes = expected_bytes.saturating_sub(bytes);
        sent.map_err(|dropped| {
            link.counts.drop_packet(dropped);
            match (dropped, limit) {
                (PacketDrop::TooLarge, Some(limit)) => NotForwarded::TooLarge { limit },
                _ => NotForwarded::Dropped,
            }
        })
    }

    fn lane(&mut self, link: &Link) -> &mut Lane {
        let known = self.lanes.iter();
        let mut known = known.map(|lane| lane.link);
        let at = known.position(|known| known == link.generation);
        let at = at.unwrap_or_else(|| {
            self.lanes.push(Lane {
                link: link.generation,
                limit: None,
                buffer: BytesMut::new(),
                in_use: true,
            });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[at];
        lane.in_use = true;
        lane
    }
}

/// Why a datagram of another node's packet did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotForwarded {
    /// The link takes no datagram of that size.
    TooLarge {
        /// What it takes.
        limit: usize,
    },
    /// The link has ended, or has no room.
    Dropped,
}

/// Whether the cap of the peer's region has room.
fn admits(link: &Link, now: Option<Instant>, bytes: usize) -> bool {
    link.account.admits(now.unwrap_or(link.since), bytes)
}

fn why_dropped(error: PushError) -> PacketDrop {
    match error {
        PushError::Closed(_) | PushError::Unsupported => PacketDrop::LinkClosed,
        PushError::Full => PacketDrop::QueueFull,
        PushError::TooLarge { .. } => PacketDrop::TooLarge,
    }
}

/// Writes a datagram into `buffer` and takes it out; makes room for `expected_bytes` if there is
/// none.
fn write(
    buffer: &mut BytesMut,
    expected_bytes: usize,
    header: PacketHeader,
    payload: &[u8],
) -> Bytes {
    let bytes = header.encoded_len() + payload.len();
    if buffer.capacity() < bytes {
        buffer.reserve(expected_bytes.min(CHUNK_BYTES).max(bytes));
    }
    Datagram::Packet { header, payload }.encode(buffer);
    buffer.split().freeze()
}

/// Largest datagram of a packet with hops to go. What the links behind the first one take is not
/// known here; every link takes this much, QUIC's smallest being 1,162, and hops only grow fewer.
const ONWARD_BYTES: usize = 1_150;
/// What one allocation serves: a dozen large packets or seventy small ones. A flow keeps one, and a
/// packet that waits may pin one.
const CHUNK_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::{NodeGeneration, NodeKey},
        wire::{Class, Direction, FlowId, RemainingHops},
    };

    const HEADER: PacketHeader = PacketHeader {
        direction: Direction::Forward,
        class: Class::Video,
        flow: FlowId {
            ingress: NodeKey([0; NodeKey::LEN]),
            generation: NodeGeneration(1),
            number: 1,
        },
        sequence: 0,
        sent_us: 0,
        link_sequence: 0,
        lifetime_ms: 0,
        fragment: None,
        hops: RemainingHops::NONE,
    };

    #[test]
    fn packets_of_a_turn_stand_in_one_buffer_which_the_next_turn_uses_again() {
        let mut buffer = BytesMut::new();
        let bytes = PacketHeader::BASE_LEN + 200;
        let mut addresses = Vec::new();
        for _ in 0..3 {
            let turn: Vec<Bytes> = (0..20)
                .map(|sent| write(&mut buffer, (20 - sent) * bytes, HEADER, &[7; 200]))
                .collect();
            addresses.push(turn[0].as_ptr());
            let starts = turn.iter().map(|packet| packet.as_ptr() as usize);
            let expected = (0..20).map(|index| turn[0].as_ptr() as usize + index * bytes);
            assert!(starts.eq(expected));
        }
        assert!(addresses.iter().all(|address| *address == addresses[0]));
    }

    #[test]
    fn buffer_with_a_packet_that_has_not_left_is_not_written_to_again() {
        let mut buffer = BytesMut::new();
        let waits = write(&mut buffer, 0, HEADER, b"waits");
        let kept = waits.clone();
        for _ in 0..100 {
            drop(write(&mut buffer, 0, HEADER, b"other"));
        }
        assert_eq!(kept, waits);
        assert!(waits.ends_with(b"waits"));
    }

    #[test]
    fn buffer_is_no_larger_than_one_chunk_whatever_is_expected() {
        let mut buffer = BytesMut::new();
        let _packet = write(&mut buffer, 1 << 20, HEADER, b"small");
        assert!(buffer.capacity() <= CHUNK_BYTES);
        let large = write(&mut buffer, 0, HEADER, &[7; 2 * CHUNK_BYTES]);
        assert_eq!(large.len(), HEADER.encoded_len() + 2 * CHUNK_BYTES);
    }
}
