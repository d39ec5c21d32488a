//! What the packets of a run carry: which one it is, three times, and bytes that follow from that.
//!
//! So a packet is known even if one bit of it was flipped, wherever that is, and every flipped bit
//! is counted.

/// The payload of one packet: `bytes` long, at least [`MIN_BYTES`].
///
/// # Panics
/// If it is shorter.
pub fn write(pair: u32, sequence: u32, bytes: usize) -> Vec<u8> {
    assert!(
        bytes >= MIN_BYTES,
        "a payload is at least {MIN_BYTES} bytes, got {bytes}"
    );
    let id = u64::from(pair) << 32 | u64::from(sequence);
    let mut payload = Vec::with_capacity(bytes.next_multiple_of(ID_BYTES));
    for _ in 0..COPIES {
        payload.extend_from_slice(&id.to_be_bytes());
    }
    let mut state = id;
    while payload.len() < bytes {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(STEP);
        payload.extend_from_slice(&state.to_be_bytes());
    }
    payload.truncate(bytes);
    payload
}

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Whose packet it is: the place in [`super::Plan::pairs`].
    pub pair: u32,
    /// Which of that pair's.
    pub sequence: u32,
    /// Bits that are not as they were written.
    pub flipped_bits: u32,
}

/// Reads a payload; `None` if it is none of these, or more of it was damaged than
/// [`MAX_FLIPPED_BITS`].
pub fn read(payload: &[u8]) -> Option<Read> {
    let (ids, _) = payload.split_first_chunk::<MIN_BYTES>()?;
    let mut copies = [0; COPIES];
    for (copy, bytes) in copies.iter_mut().zip(ids.as_chunks().0) {
        *copy = u64::from_be_bytes(*bytes);
    }
    let [a, b, c] = copies;
    // Of each bit, what two of three say.
    let id = (a & b) | (a & c) | (b & c);
    let (pair, sequence) = ((id >> 32) as u32, (id & u64::from(u32::MAX)) as u32);
    let written = write(pair, sequence, payload.len());
    let differing = payload
        .iter()
        .zip(&written)
        .map(|(a, b)| (a ^ b).count_ones());
    let flipped_bits = differing.sum();
    (flipped_bits <= MAX_FLIPPED_BITS).then_some(Read {
        pair,
        sequence,
        flipped_bits,
    })
}

/// The least that holds what a packet is known by.
pub const MIN_BYTES: usize = COPIES * ID_BYTES;

/// Far more than any model flips, and far less than what strange bytes differ in.
pub const MAX_FLIPPED_BITS: u32 = 16;

const COPIES: usize = 3;
const ID_BYTES: usize = size_of::<u64>();
/// Of Knuth's MMIX: a full period, so that no two words of a payload are alike.
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const STEP: u64 = 1_442_695_040_888_963_407;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_known_with_any_one_bit_flipped() {
        let written = write(7, 70_000, 40);
        let expected = |flipped_bits| Read {
            pair: 7,
            sequence: 70_000,
            flipped_bits,
        };
        assert_eq!(read(&written), Some(expected(0)));
        for bit in 0..40 * 8 {
            let mut damaged = written.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged), Some(expected(1)), "bit {bit}");
        }
    }

    #[test]
    fn two_bits_count_as_two_and_strangers_are_none() {
        let mut damaged = write(7, 8, 100);
        damaged[50] ^= 0b11;
        assert_eq!(read(&damaged).map(|read| read.flipped_bits), Some(2));
        assert_eq!(read(&[0xaa; 100]), None);
        assert_eq!(read(&damaged[..MIN_BYTES - 1]), None);
        assert_eq!(write(1, 2, MIN_BYTES).len(), MIN_BYTES);
    }
}
