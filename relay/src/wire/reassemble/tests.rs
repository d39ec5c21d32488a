use proptest::prelude::*;

use super::*;
use crate::wire::{packet::tests::plain_header, split};

/// A reassembler, its clock, and packets told apart by their sequence.
struct Fixture {
    reassembler: Reassembler,
    now: Instant,
}

const LIMITS: ReassemblyLimits = ReassemblyLimits {
    packets: 3,
    bytes: MAX_PACKET_BYTES,
    timeout: Duration::from_millis(100),
};

impl Fixture {
    fn new() -> Self {
        Self {
            reassembler: Reassembler::new(LIMITS),
            now: crate::clock::now(),
        }
    }

    fn piece(
        &mut self,
        sequence: u64,
        index: u8,
        count: u8,
        piece: &[u8],
    ) -> Result<Option<Vec<u8>>, PieceError> {
        let fragment = Fragment::try_new(index, count).unwrap();
        self.reassembler
            .handle_piece(self.now, key(sequence), fragment, piece)
    }

    fn after(&mut self, wait: Duration) -> &mut Self {
        self.now += wait;
        self
    }

    fn held(&self) -> (usize, usize) {
        (self.reassembler.packets(), self.reassembler.bytes())
    }
}

fn key(sequence: u64) -> PacketKey {
    let mut header = plain_header();
    header.sequence = sequence;
    header.key()
}

#[test]
fn a_packet_is_whole_with_its_last_piece_in_any_order() {
    let mut t = Fixture::new();
    assert_eq!(t.piece(1, 2, 3, b"c"), Ok(None));
    assert_eq!(t.piece(1, 0, 3, b"aaa"), Ok(None));
    assert_eq!(t.held(), (1, 4));
    assert_eq!(t.piece(1, 1, 3, b"bb"), Ok(Some(b"aaabbc".to_vec())));
    assert_eq!(t.held(), (0, 0));
    assert_eq!(t.reassembler.poll_timeout(), None);
    assert_eq!(t.reassembler.counts().completed, 1);
}

#[test]
fn flows_directions_and_sequences_are_told_apart() {
    use crate::wire::Direction;
    let mut t = Fixture::new();
    let fragment = Fragment::try_new(0, 2).unwrap();
    let base = key(1);
    let mut other_direction = base;
    other_direction.direction = Direction::Forward;
    let mut other_flow = base;
    other_flow.flow.number += 1;
    for packet in [base, other_direction, other_flow] {
        let got = t.reassembler.handle_piece(t.now, packet, fragment, b"a");
        assert_eq!(got, Ok(None));
    }
    assert_eq!(t.held(), (3, 3));
}

#[test]
fn repeated_empty_and_contradicting_pieces_are_refused_and_the_packet_still_completes() {
    let mut t = Fixture::new();
    assert_eq!(t.piece(1, 0, 2, b"a"), Ok(None));
    assert_eq!(
        t.piece(1, 0, 2, b"x"),
        Err(PieceError::Duplicate { index: 0 })
    );
    let mismatch = PieceError::CountMismatch {
        got: 3,
        expected: 2,
    };
    assert_eq!(t.piece(1, 1, 3, b"x"), Err(mismatch));
    assert_eq!(t.piece(1, 1, 2, b""), Err(PieceError::Empty));
    assert_eq!(t.piece(1, 1, 2, b"b"), Ok(Some(b"ab".to_vec())));
}

#[test]
fn an_empty_first_piece_reserves_nothing() {
    let mut t = Fixture::new();
    assert_eq!(t.piece(1, 0, 2, b""), Err(PieceError::Empty));
    assert_eq!(t.held(), (0, 0));
}

#[test]
fn pieces_of_a_packet_that_ended_are_late() {
    let mut t = Fixture::new();
    t.piece(1, 0, 2, b"a").unwrap();
    t.piece(1, 1, 2, b"b").unwrap();
    assert_eq!(t.piece(1, 0, 2, b"a"), Err(PieceError::Late));
    t.piece(2, 0, 2, b"a").unwrap();
    t.after(LIMITS.timeout);
    assert_eq!(t.piece(2, 1, 2, b"b"), Err(PieceError::Late));
    assert_eq!(t.held(), (0, 0));
}

#[test]
fn a_packet_is_given_up_at_its_timeout_and_not_before() {
    let mut t = Fixture::new();
    t.piece(1, 0, 2, b"a").unwrap();
    let begun = t.now;
    // A later piece does not postpone it.
    t.after(Duration::from_millis(60))
        .piece(2, 0, 2, b"a")
        .unwrap();
    assert_eq!(t.reassembler.poll_timeout(), Some(begun + LIMITS.timeout));
    t.reassembler
        .handle_timeout(begun + LIMITS.timeout - Duration::from_nanos(1));
    assert_eq!(t.held(), (2, 2));
    t.reassembler.handle_timeout(begun + LIMITS.timeout);
    assert_eq!(t.held(), (1, 1));
    assert_eq!(t.reassembler.counts().expired, 1);
    let next = begun + Duration::from_millis(60) + LIMITS.timeout;
    assert_eq!(t.reassembler.poll_timeout(), Some(next));
}

#[test]
fn one_packet_over_the_bound_pushes_out_the_oldest() {
    let mut t = Fixture::new();
    for sequence in 1..=3 {
        t.piece(sequence, 0, 2, b"a").unwrap();
    }
    assert_eq!(t.reassembler.counts().evicted, 0);
    t.piece(4, 0, 2, b"a").unwrap();
    assert_eq!(t.reassembler.counts().evicted, 1);
    assert_eq!(t.held(), (3, 3));
    assert_eq!(t.piece(1, 1, 2, b"b"), Err(PieceError::Late));
    assert_eq!(t.piece(2, 1, 2, b"b"), Ok(Some(b"ab".to_vec())));
}

#[test]
fn one_byte_over_the_bound_pushes_out_the_oldest() {
    let mut t = Fixture::new();
    let half = vec![0; MAX_PACKET_BYTES / 2];
    t.piece(1, 0, 2, &half).unwrap();
    t.piece(2, 0, 2, &half).unwrap();
    assert_eq!(t.held(), (2, MAX_PACKET_BYTES));
    t.piece(3, 0, 2, b"a").unwrap();
    assert_eq!(t.held(), (2, MAX_PACKET_BYTES / 2 + 1));
    assert_eq!(t.reassembler.counts().evicted, 1);
}

#[test]
fn the_largest_packet_completes_at_the_smallest_bounds_and_one_byte_more_ends_it() {
    let smallest = ReassemblyLimits {
        packets: 0,
        bytes: 0,
        timeout: LIMITS.timeout,
    };
    let half = vec![7; MAX_PACKET_BYTES / 2];
    let mut t = Fixture::new();
    t.reassembler = Reassembler::new(smallest);
    t.piece(1, 0, 2, &half).unwrap();
    let whole = t.piece(1, 1, 2, &half).unwrap().unwrap();
    assert_eq!(whole.len(), MAX_PACKET_BYTES);

    t.piece(2, 0, 3, &half).unwrap();
    t.piece(2, 1, 3, &half).unwrap();
    let got_bytes = MAX_PACKET_BYTES + 1;
    let error = PieceError::TooLarge { got_bytes };
    assert_eq!(t.piece(2, 2, 3, b"x"), Err(error));
    assert_eq!(t.held(), (0, 0));
    assert_eq!(t.reassembler.counts().oversized, 1);
}

#[test]
fn every_piece_error_has_a_reason_of_its_own() {
    let errors = [
        PieceError::CountMismatch {
            got: 0,
            expected: 0,
        },
        PieceError::Duplicate { index: 0 },
        PieceError::Empty,
        PieceError::Late,
        PieceError::TooLarge { got_bytes: 0 },
    ];
    assert_eq!(errors.map(|error| error.reason()), PieceErrorReason::ALL);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_split_comes_back_whole_exactly_once_however_it_is_shuffled_and_repeated(
        len in 1_100..=MAX_PACKET_BYTES,
        limit in prop::sample::select(vec![1_162_usize, 1_414]),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let payload: Vec<u8> = (0..len).map(|byte| (byte % 251) as u8).collect();
        let pieces: Vec<_> = split(plain_header(), &payload, limit).unwrap().collect();
        if pieces.len() == 1 {
            return Ok(());
        }
        let mut t = Fixture::new();
        let mut whole = Vec::new();
        let shuffled = order.iter().map(|index| index.get(&pieces));
        for (header, piece) in shuffled.chain(&pieces) {
            let fragment = header.fragment.unwrap();
            let got = t.reassembler.handle_piece(t.now, header.key(), fragment, piece);
            whole.extend(got.ok().flatten());
        }
        prop_assert_eq!(whole, vec![payload]);
        prop_assert_eq!(t.held(), (0, 0));
    }

    #[test]
    fn bounds_hold_and_every_packet_is_accounted_for_after_any_pieces(
        pieces in prop::collection::vec((0..8_u64, 0..4_u8, 2..5_u8, 0..9_000_usize, 0..40_u64), 0..60),
    ) {
        let mut t = Fixture::new();
        for (sequence, index, count, len, wait) in pieces {
            t.after(Duration::from_millis(wait));
            if index < count {
                // Errors are part of what may come.
                let _ = t.piece(sequence, index, count, &vec![0; len]);
            }
            let (packets, bytes) = t.held();
            prop_assert!(packets <= LIMITS.packets && bytes <= LIMITS.bytes);
            let held: usize = t.reassembler.partial.iter().map(|p| p.bytes).sum();
            prop_assert_eq!(held, bytes);
            prop_assert!(t.reassembler.ended.len() <= LIMITS.packets);
        }
        t.after(LIMITS.timeout);
        t.reassembler.handle_timeout(t.now);
        prop_assert_eq!(t.held(), (0, 0));
    }
}
