//! Splitting yields pieces within the limit that make up the packet in any order, and a reassembler
//! keeps its bounds whatever pieces come, in whatever order, at whatever times.

use std::time::Duration;

use causeway::{
    clock,
    id::{NodeGeneration, NodeKey},
    wire::{
        Class, Direction, FlowId, Fragment, PacketHeader, Reassembler, ReassemblyLimits,
        RemainingHops, limits::MAX_PACKET_BYTES, split,
    },
};

/// - `input`: the packet's length and the limit (two bytes each), its hops, how many packets may be
///   in progress, the length of the order of its pieces, that order, and for each foreign piece a
///   wait in ms, its packet, its index, the number of pieces, and its length (two bytes).
pub(crate) fn check(input: &[u8]) {
    let [a, b, c, d, hops, packets, order, rest @ ..] = input else {
        return;
    };
    let (len, limit) = (
        u16::from_be_bytes([*a, *b]),
        usize::from(u16::from_be_bytes([*c, *d])),
    );
    let (order, pieces) = rest.split_at(usize::from(*order).min(rest.len()));
    splits_and_joins(len, limit, *hops, order);
    keeps_its_bounds(usize::from(*packets % 8) + 1, pieces);
}

fn splits_and_joins(len: u16, limit: usize, hops: u8, order: &[u8]) {
    let payload: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0]).collect();
    let Ok(pieces) = split(header(0, hops), &payload, limit) else {
        return;
    };
    let pieces: Vec<_> = pieces.collect();
    let mut reassembler = Reassembler::new(ReassemblyLimits::default());
    let now = clock::now();
    let mut whole = Vec::new();
    let shuffled = order
        .iter()
        .map(|at| &pieces[usize::from(*at) % pieces.len()]);
    for (header, piece) in shuffled.chain(&pieces) {
        assert!(header.encoded_len() + piece.len() <= limit);
        match header.fragment {
            None => whole = vec![piece.to_vec()],
            Some(fragment) => whole.extend(
                reassembler
                    .handle_piece(now, header.key(), fragment, piece)
                    .ok()
                    .flatten(),
            ),
        }
    }
    assert_eq!(whole, [payload]);
    assert_eq!(reassembler.bytes(), 0);
}

fn keeps_its_bounds(packets: usize, pieces: &[u8]) {
    let limits = ReassemblyLimits {
        packets,
        bytes: MAX_PACKET_BYTES,
        timeout: Duration::from_millis(100),
    };
    let mut reassembler = Reassembler::new(limits);
    let mut now = clock::now();
    for piece in pieces.chunks_exact(6) {
        now += Duration::from_millis(u64::from(piece[0]));
        let Some(fragment) = Fragment::try_new(piece[2], piece[3]) else {
            continue;
        };
        let key = header(u64::from(piece[1]), 0).key();
        let bytes = vec![0; usize::from(u16::from_be_bytes([piece[4], piece[5]]))];
        // Errors are part of what may come.
        let _ = reassembler.handle_piece(now, key, fragment, &bytes);
        assert!(reassembler.packets() <= limits.packets);
        assert!(reassembler.bytes() <= limits.bytes);
    }
    reassembler.handle_timeout(now + limits.timeout);
    assert_eq!((reassembler.packets(), reassembler.bytes()), (0, 0));
}

fn header(sequence: u64, hops: u8) -> PacketHeader {
    let hops = [NodeKey([9; 8]); 3][..usize::from(hops % 4)].to_vec();
    PacketHeader {
        direction: Direction::Forward,
        class: Class::Video,
        flow: FlowId {
            ingress: NodeKey([1; 8]),
            generation: NodeGeneration(1),
            number: 1,
        },
        sequence,
        sent_us: 0,
        link_sequence: 0,
        lifetime_ms: 0,
        fragment: None,
        hops: RemainingHops::try_new(&hops).expect("at most three"),
    }
}
