//! Addresses of regions, and those that a raw packet carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The two addresses of one region: `10.77.0.<index>` and `fd77::<index>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Host address, without neighbours on its link.
    pub v4: Ipv4Addr,
    /// Host address, without neighbours on its link.
    pub v6: Ipv6Addr,
}

/// An index beyond [`MAX_REGIONS`], or zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("region number {index} is not in 1..={MAX_REGIONS}")]
pub struct TooManyRegions {
    /// The index.
    pub index: usize,
}

impl Addresses {
    /// The addresses of the region with this `index`, 1..=[`MAX_REGIONS`].
    ///
    /// # Errors
    /// [`TooManyRegions`] if there is no such region.
    pub fn try_new(index: usize) -> Result<Self, TooManyRegions> {
        let last = u8::try_from(index)
            .ok()
            .filter(|last| (1..=MAX_REGIONS).contains(&usize::from(*last)))
            .ok_or(TooManyRegions { index })?;
        Ok(Self {
            v4: Ipv4Addr::new(10, 77, 0, last),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(last)),
        })
    }
}

/// Source and destination of a raw IPv4 or IPv6 packet; nothing if it is too short to be one.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let header: &[u8; V4_HEADER_BYTES] = packet.first_chunk()?;
            let [.., a, b, c, d, w, x, y, z] = *header;
            Some((
                Ipv4Addr::new(a, b, c, d).into(),
                Ipv4Addr::new(w, x, y, z).into(),
            ))
        }
        6 => {
            let header: &[u8; V6_HEADER_BYTES] = packet.first_chunk()?;
            let (source, destination) = header[8..].split_at(16);
            Some((v6(source)?.into(), v6(destination)?.into()))
        }
        _ => None,
    }
}

/// Where the payload of a raw packet begins: past the IPv4 header with its options, past the
/// fixed header of IPv6. The packet's length if it is no IP packet, or not all of its header.
pub fn payload_offset(packet: &[u8]) -> usize {
    let header = match packet.first().map(|first| (first >> 4, first & 0x0f)) {
        // A header below its least length is broken; its fixed part is left alone all the same.
        Some((4, words)) => (usize::from(words) * 4).max(V4_HEADER_BYTES),
        Some((6, _)) => V6_HEADER_BYTES,
        _ => packet.len(),
    };
    header.min(packet.len())
}

fn v6(octets: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*octets.first_chunk::<16>()?))
}

/// Most regions in one lab. Each pair of them is two directed links: 4,032 in a full lab.
pub const MAX_REGIONS: usize = 64;

/// Without options: RFC 791 section 3.1, at most 60 with them.
const V4_HEADER_BYTES: usize = 20;

/// RFC 8200 section 3.
const V6_HEADER_BYTES: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4_packet(source: Ipv4Addr, destination: Ipv4Addr, options: usize) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45 + u8::try_from(options / 4).unwrap();
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&destination.octets());
        packet.resize(20 + options + 8, 0xaa);
        packet
    }

    fn v6_packet(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[8..24].copy_from_slice(&source.octets());
        packet[24..40].copy_from_slice(&destination.octets());
        packet.resize(48, 0xaa);
        packet
    }

    #[test]
    fn regions_one_to_64_have_addresses_and_no_other() {
        let first = Addresses::try_new(1).unwrap();
        assert_eq!(first.v4.to_string(), "10.77.0.1");
        assert_eq!(first.v6.to_string(), "fd77::1");
        let last = Addresses::try_new(64).unwrap();
        assert_eq!(last.v4.to_string(), "10.77.0.64");
        assert_eq!(last.v6.to_string(), "fd77::40");
        for index in [0, 65, 256, 257] {
            assert_eq!(Addresses::try_new(index), Err(TooManyRegions { index }));
        }
    }

    #[test]
    fn a_packet_one_byte_short_of_its_header_has_no_addresses() {
        let (one, two) = (
            Addresses::try_new(1).unwrap(),
            Addresses::try_new(2).unwrap(),
        );
        let v4 = v4_packet(one.v4, two.v4, 0);
        assert_eq!(addresses(&v4[..20]), Some((one.v4.into(), two.v4.into())));
        assert_eq!(addresses(&v4[..19]), None);
        let v6 = v6_packet(one.v6, two.v6);
        assert_eq!(addresses(&v6[..40]), Some((one.v6.into(), two.v6.into())));
        assert_eq!(addresses(&v6[..39]), None);
        assert_eq!(addresses(&[]), None);
    }

    #[test]
    fn the_payload_begins_past_options() {
        let (one, two) = (
            Addresses::try_new(1).unwrap(),
            Addresses::try_new(2).unwrap(),
        );
        assert_eq!(payload_offset(&v4_packet(one.v4, two.v4, 0)), 20);
        assert_eq!(payload_offset(&v4_packet(one.v4, two.v4, 40)), 60);
        assert_eq!(payload_offset(&v6_packet(one.v6, two.v6)), 40);
        assert_eq!(payload_offset(&[0x45; 7]), 7);
        assert_eq!(payload_offset(&[0x41; 30]), 20);
        assert_eq!(payload_offset(&[0x00; 30]), 30);
        assert_eq!(payload_offset(&[]), 0);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            source: u128, destination: u128, options in 0_usize..=10, narrow: bool,
        ) {
            let (packet, expected): (_, (IpAddr, IpAddr)) = if narrow {
                #[expect(clippy::cast_possible_truncation, reason = "any 32 bits do")]
                let (source, destination) =
                    (Ipv4Addr::from(source as u32), Ipv4Addr::from(destination as u32));
                let packet = v4_packet(source, destination, options * 4);
                (packet, (source.into(), destination.into()))
            } else {
                let (source, destination) = (Ipv6Addr::from(source), Ipv6Addr::from(destination));
                (v6_packet(source, destination), (source.into(), destination.into()))
            };
            prop_assert_eq!(addresses(&packet), Some(expected));
            prop_assert_eq!(payload_offset(&packet), packet.len() - 8);
        }

        #[test]
        fn garbage_never_panics_and_its_payload_is_within_it(
            packet in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = addresses(&packet);
            prop_assert!(payload_offset(&packet) <= packet.len());
        }
    }
}
