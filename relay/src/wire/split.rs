//! Splits packets that are larger than a datagram.

use thiserror::Error;

use crate::wire::{
    limits::{MAX_PACKET_BYTES, MAX_PIECES},
    packet::{Fragment, PacketHeader},
};

/// Splits a packet into pieces whose datagrams are at most `limit` bytes, headers included.
///
/// Yields a header and a part of `payload` for each, in order; a packet that fits is one piece
/// without fragment, also an empty one. Pieces are as few as can be and of even length, so that a
/// path that shrinks a little still takes them.
///
/// - `header`: as for the whole packet; its `fragment` is ignored.
/// - `limit`: the smallest on the packet's path.
///
/// # Errors
/// - [`SplitError::LimitTooSmall`]: even the most pieces would not do.
/// - [`SplitError::PacketTooLarge`]: longer than [`MAX_PACKET_BYTES`].
pub fn split(
    mut header: PacketHeader,
    payload: &[u8],
    limit: usize,
) -> Result<Pieces<'_>, SplitError> {
    let got_bytes = payload.len();
    if got_bytes > MAX_PACKET_BYTES {
        return Err(SplitError::PacketTooLarge { got_bytes });
    }
    header.fragment = None;
    let whole = header.encoded_len();
    if whole + got_bytes <= limit {
        return Ok(Pieces::new(header, payload, 1));
    }
    let room = limit.saturating_sub(whole + Fragment::LEN);
    match u8::try_from(got_bytes.div_ceil(room.max(1))) {
        // Without payload or without room there is nothing that more pieces could help.
        Ok(count) if room > 0 && (2..=MAX_PIECES).contains(&count) => {
            Ok(Pieces::new(header, payload, count))
        }
        _ => Err(SplitError::LimitTooSmall { limit, got_bytes }),
    }
}

/// The pieces of a packet. See [`split()`].
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    header: PacketHeader,
    rest: &'a [u8],
    piece_bytes: usize,
    index: u8,
    count: u8,
}

impl<'a> Pieces<'a> {
    fn new(header: PacketHeader, payload: &'a [u8], count: u8) -> Self {
        Self {
            header,
            rest: payload,
            piece_bytes: payload.len().div_ceil(usize::from(count)),
            index: 0,
            count,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (PacketHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            return None;
        }
        let (piece, rest) = self.rest.split_at(self.piece_bytes.min(self.rest.len()));
        self.header.fragment = Fragment::try_new(self.index, self.count);
        self.rest = rest;
        self.index += 1;
        Some((self.header, piece))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.count - self.index);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Pieces<'_> {}

/// Why a packet cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SplitError {
    /// Datagrams of that size cannot carry the packet.
    #[error(
        "a packet of {got_bytes} bytes does not fit in {MAX_PIECES} datagrams of {limit} bytes"
    )]
    LimitTooSmall {
        /// Largest datagram in bytes.
        limit: usize,
        /// Bytes of the packet.
        got_bytes: usize,
    },
    /// No path carries such a packet.
    #[error("packet is {got_bytes} bytes, limit is {MAX_PACKET_BYTES}")]
    PacketTooLarge {
        /// Bytes of the packet.
        got_bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::NodeKey,
        wire::packet::{RemainingHops, tests::plain_header},
    };

    /// The lengths of the pieces' payloads, after a check that they make up the packet.
    fn lengths(header: PacketHeader, len: usize, limit: usize) -> Result<Vec<usize>, SplitError> {
        let payload: Vec<u8> = (0..len).map(|byte| (byte % 251) as u8).collect();
        let pieces = split(header, &payload, limit)?;
        let count = pieces.len();
        let mut joined = Vec::new();
        let mut lengths = Vec::new();
        for (index, (piece_header, piece)) in pieces.enumerate() {
            let fragment = piece_header.fragment.map(|f| (f.index(), f.count()));
            let expected = (count > 1).then_some((index as u8, count as u8));
            assert_eq!(fragment, expected);
            assert_eq!(piece_header.key(), header.key());
            assert!(piece_header.encoded_len() + piece.len() <= limit);
            joined.extend_from_slice(piece);
            lengths.push(piece.len());
        }
        assert_eq!(lengths.len(), count);
        assert_eq!(joined, payload);
        Ok(lengths)
    }

    #[test]
    fn every_length_up_to_the_largest_is_split_to_the_limit_in_the_fewest_pieces() {
        let header = plain_header();
        for limit in [1_161, 1_162, 1_163, 1_413, 1_414, 1_415] {
            let room = limit - PacketHeader::BASE_LEN - Fragment::LEN;
            for len in 0..=MAX_PACKET_BYTES {
                let lengths = lengths(header, len, limit).unwrap();
                let whole = len + PacketHeader::BASE_LEN <= limit;
                let fewest = if whole { 1 } else { len.div_ceil(room) };
                assert_eq!(lengths.len(), fewest, "{len} at {limit}");
                assert!(whole || lengths.iter().all(|piece| *piece > 0));
            }
        }
    }

    #[test]
    fn a_packet_is_split_from_one_byte_over_what_fits_whole() {
        let header = plain_header();
        assert_eq!(lengths(header, 1_126, 1_162), Ok(vec![1_126]));
        assert_eq!(lengths(header, 1_127, 1_162), Ok(vec![564, 563]));
        assert_eq!(lengths(header, 0, 36), Ok(vec![0]));
    }

    #[test]
    fn the_longest_header_still_carries_the_largest_packet_at_the_smallest_datagram() {
        let mut header = plain_header();
        header.hops = RemainingHops::try_new(&[NodeKey([1; 8]); 3]).unwrap();
        assert_eq!(lengths(header, MAX_PACKET_BYTES, 1_162).unwrap().len(), 15);
    }

    #[test]
    fn packets_over_16_kib_and_limits_that_need_over_32_pieces_are_refused() {
        let header = plain_header();
        let got_bytes = MAX_PACKET_BYTES + 1;
        let error = SplitError::PacketTooLarge { got_bytes };
        assert_eq!(lengths(header, got_bytes, 65_535), Err(error));

        let limit = 38 + MAX_PACKET_BYTES / usize::from(MAX_PIECES);
        let got_bytes = MAX_PACKET_BYTES;
        assert_eq!(lengths(header, got_bytes, limit).unwrap().len(), 32);
        let limit = limit - 1;
        let error = SplitError::LimitTooSmall { limit, got_bytes };
        assert_eq!(lengths(header, got_bytes, limit), Err(error));
        for limit in [0, 35, 36, 37, 38] {
            let error = SplitError::LimitTooSmall {
                limit,
                got_bytes: 3,
            };
            assert_eq!(lengths(header, 3, limit), Err(error));
        }
    }
}
