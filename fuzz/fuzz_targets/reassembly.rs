//! Splitting yields pieces within the limit that make up the packet in any order, and a reassembler
//! keeps its bounds whatever pieces come, in whatever order, at whatever times.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use causeway::{
    id::{NodeGeneration, NodeKey},
    wire::{
        Class, Direction, FlowId, Fragment, PacketHeader, Reassembler, ReassemblyLimits,
        RemainingHops, limits::MAX_PACKET_BYTES, split,
    },
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    packets: u8,
    len: u16,
    limit: u16,
    hops: u8,
    order: Vec<u8>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Arbitrary)]
struct Piece {
    wait_ms: u8,
    sequence: u8,
    index: u8,
    count: u8,
    len: u16,
}

fuzz_target!(|input: Input| {
    splits_and_joins(&input);
    keeps_its_bounds(&input);
});

fn splits_and_joins(input: &Input) {
    let payload: Vec<u8> = (0..input.len).map(|at| at.to_le_bytes()[0]).collect();
    let limit = usize::from(input.limit);
    let header = header(0, input.hops);
    let Ok(pieces) = split(header, &payload, limit) else {
        return;
    };
    let pieces: Vec<_> = pieces.collect();
    let mut reassembler = Reassembler::new(ReassemblyLimits::default());
    let now = start();
    let mut whole = Vec::new();
    let shuffled = input
        .order
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

fn keeps_its_bounds(input: &Input) {
    let limits = ReassemblyLimits {
        packets: usize::from(input.packets % 8) + 1,
        bytes: MAX_PACKET_BYTES,
        timeout: Duration::from_millis(100),
    };
    let mut reassembler = Reassembler::new(limits);
    let mut now = start();
    for piece in &input.pieces {
        now += Duration::from_millis(piece.wait_ms.into());
        let Some(fragment) = Fragment::try_new(piece.index, piece.count) else {
            continue;
        };
        let key = header(piece.sequence.into(), 0).key();
        let bytes = vec![0; usize::from(piece.len)];
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
        lifetime_ms: 0,
        fragment: None,
        hops: RemainingHops::try_new(&hops).expect("at most three"),
    }
}

/// Any point in time does: only differences count.
fn start() -> Instant {
    Instant::now()
}
