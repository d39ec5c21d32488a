//! A packet that looks like RTP, with a full number and a full time stamp in its payload.

use std::time::Duration;

/// Bytes of every packet, about what a video packet of a conference has.
pub const PACKET_BYTES: usize = 1_000;

/// What a packet says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The flow that it belongs to: RTP's SSRC.
    pub flow: u32,
    /// Its place in the flow, from 0. RTP's sequence number is the low half of it.
    pub number: u64,
    /// When it was sent, counted from the start of the run.
    pub sent: Duration,
}

impl Packet {
    /// The packet as bytes; what follows header and fields is zero.
    pub fn encode(&self) -> [u8; PACKET_BYTES] {
        let mut bytes = [0; PACKET_BYTES];
        let nanos = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        let ticks = self.sent.as_micros() * VIDEO_CLOCK_HZ / 1_000_000;
        bytes[..2].copy_from_slice(&[RTP_VERSION_2, PAYLOAD_TYPE]);
        // RTP's own fields hold the low bits.
        bytes[2..4].copy_from_slice(&(self.number as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&(ticks as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&self.flow.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_be_bytes());
        bytes[20..28].copy_from_slice(&nanos.to_be_bytes());
        bytes
    }

    /// Reads a packet back; none if `bytes` are not one of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_BYTES] = bytes.try_into().ok()?;
        if bytes[..2] != [RTP_VERSION_2, PAYLOAD_TYPE] {
            return None;
        }
        let (flow, rest) = bytes[8..].split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        Some(Self {
            flow: u32::from_be_bytes(*flow),
            number: u64::from_be_bytes(*number),
            sent: Duration::from_nanos(u64::from_be_bytes(*nanos)),
        })
    }
}

/// Version 2, no padding, no extension, no contributing sources (RFC 3550 section 5.1).
const RTP_VERSION_2: u8 = 0x80;
/// The first of the dynamic payload types (RFC 3551 section 3).
const PAYLOAD_TYPE: u8 = 96;
/// The clock that RTP counts video in (RFC 3551 section 5).
const VIDEO_CLOCK_HZ: u128 = 90_000;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Packet = Packet {
        flow: 7,
        number: 0x1_0002,
        sent: Duration::from_millis(1_500),
    };

    #[test]
    fn a_packet_is_read_back_and_its_header_is_rtp() {
        let bytes = PACKET.encode();
        assert_eq!(Packet::decode(&bytes), Some(PACKET));
        // 1.5 s are 135,000 ticks, which is 0x20f58.
        let header = [0x80, 96, 0, 2, 0, 2, 0x0f, 0x58, 0, 0, 0, 7];
        assert_eq!(bytes[..12], header);
    }

    #[test]
    fn other_lengths_and_other_headers_are_not_ours() {
        let mut bytes = PACKET.encode();
        assert_eq!(Packet::decode(&bytes[..PACKET_BYTES - 1]), None);
        bytes[1] += 1;
        assert_eq!(Packet::decode(&bytes), None);
    }
}
