use proptest::prelude::*;

use super::*;

/// Any header that can be sent.
pub(in crate::wire) fn any_header() -> impl Strategy<Value = PacketHeader> {
    (
        any_key(),
        prop::sample::select(Class::ALL),
        any::<(u32, u32, u16)>(),
        prop::option::of(any_fragment()),
        prop::collection::vec(any_node_key(), 0..=MAX_HOPS),
    )
        .prop_map(
            |(key, class, (sent_us, link_sequence, lifetime_ms), fragment, hops)| PacketHeader {
                direction: key.direction,
                class,
                flow: key.flow,
                sequence: key.sequence,
                sent_us,
                link_sequence,
                lifetime_ms,
                fragment,
                hops: RemainingHops::try_new(&hops).unwrap(),
            },
        )
}

/// A header of a packet in one piece, on the direct path.
pub(in crate::wire) fn plain_header() -> PacketHeader {
    PacketHeader {
        direction: Direction::Back,
        class: Class::Video,
        flow: FlowId {
            ingress: NodeKey(*b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7"),
            generation: NodeGeneration(0xb0b1_b2b3_b4b5),
            number: 0xc0c1_c2c3,
        },
        sequence: 0xd0d1_d2d3_d4d5,
        sent_us: 0xe0e1_e2e3,
        link_sequence: 0xe4e5_e6e7,
        lifetime_ms: 0xf0f1,
        fragment: None,
        hops: RemainingHops::NONE,
    }
}

fn any_node_key() -> impl Strategy<Value = NodeKey> {
    any::<[u8; 8]>().prop_map(NodeKey)
}

fn any_fragment() -> impl Strategy<Value = Fragment> {
    (2..=MAX_PIECES)
        .prop_flat_map(|count| (0..count, Just(count)))
        .prop_map(|(index, count)| Fragment::try_new(index, count).unwrap())
}

fn any_key() -> impl Strategy<Value = PacketKey> {
    let u48 = || 0..=NodeGeneration::MAX.0;
    let direction = prop::sample::select(Direction::ALL);
    (any_node_key(), u48(), any::<u32>(), direction, u48()).prop_map(
        |(ingress, generation, number, direction, sequence)| PacketKey {
            flow: FlowId {
                ingress,
                generation: NodeGeneration(generation),
                number,
            },
            direction,
            sequence,
        },
    )
}

fn encoded(datagram: Datagram<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    datagram.encode(&mut out);
    out
}

#[test]
fn header_is_laid_out_byte_for_byte_as_documented() {
    let mut header = plain_header();
    let mut golden = vec![
        0x21,        // version 1, kind 1
        0b1010_0000, // video, back, whole, no hops
        0xa0,
        0xa1,
        0xa2,
        0xa3,
        0xa4,
        0xa5,
        0xa6,
        0xa7, // ingress
        0xb0,
        0xb1,
        0xb2,
        0xb3,
        0xb4,
        0xb5, // generation
        0xc0,
        0xc1,
        0xc2,
        0xc3, // number
        0xd0,
        0xd1,
        0xd2,
        0xd3,
        0xd4,
        0xd5, // sequence
        0xe0,
        0xe1,
        0xe2,
        0xe3, // sent_us
        0xe4,
        0xe5,
        0xe6,
        0xe7, // link_sequence
        0xf0,
        0xf1, // lifetime_ms
    ];
    let payload = b"payload".as_slice();
    let packet = |header| encoded(Datagram::Packet { header, payload });
    assert_eq!(packet(header), [&golden, payload].concat());

    header.fragment = Fragment::try_new(30, 31);
    header.hops = RemainingHops::try_new(&[NodeKey([1; 8]), NodeKey([2; 8])]).unwrap();
    golden[1] = 0b1011_1000; // video, back, a piece, two hops
    golden.extend([30, 31]);
    golden.extend([1; 8]);
    golden.extend([2; 8]);
    assert_eq!(packet(header), [&golden, payload].concat());
}

#[test]
fn header_sizes_are_the_documented_figures() {
    assert_eq!((PacketHeader::BASE_LEN, PacketHeader::MAX_LEN), (36, 62));
    let mut header = plain_header();
    assert_eq!(header.encoded_len(), PacketHeader::BASE_LEN);
    header.fragment = Fragment::try_new(0, 2);
    assert_eq!(header.encoded_len(), 38);
    header.hops = RemainingHops::try_new(&[NodeKey([1; 8]); MAX_HOPS]).unwrap();
    assert_eq!(header.encoded_len(), PacketHeader::MAX_LEN);
}

#[test]
fn probes_and_too_large_are_laid_out_byte_for_byte_as_documented() {
    let probe = Probe {
        id: 0x0102_0304_0506_0708,
        sent_us: 0x090a_0b0c,
    };
    let tail = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let golden = [[0x22].as_slice(), &tail].concat();
    assert_eq!(encoded(Datagram::Probe(probe)), golden);
    assert_eq!(golden.len(), Probe::LEN);
    let golden = [[0x23].as_slice(), &tail].concat();
    assert_eq!(encoded(Datagram::ProbeReply(probe)), golden);

    let header = plain_header();
    let mut packet = Vec::new();
    header.encode(&mut packet);
    let too_large = TooLarge {
        packet: header.key(),
        limit: 1_162,
    };
    let golden = [&[0x24, 0b0010_0000], &packet[2..26], &[0x04, 0x8a]].concat();
    assert_eq!(encoded(Datagram::TooLarge(too_large)), golden);
    assert_eq!(golden.len(), TooLarge::LEN);
}

#[test]
fn reserved_bits_and_bytes_behind_a_probe_are_ignored() {
    let header = plain_header();
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    bytes[1] |= 0b11;
    let payload = &[][..];
    assert_eq!(
        Datagram::decode(&bytes),
        Ok(Datagram::Packet { header, payload })
    );

    let probe = Datagram::Probe(Probe { id: 7, sent_us: 8 });
    let mut bytes = encoded(probe);
    bytes[1] = 0xff;
    bytes.push(9);
    assert_eq!(Datagram::decode(&bytes), Ok(probe));
}

#[test]
fn unknown_versions_kinds_and_impossible_pieces_are_typed_errors() {
    let mut header = plain_header();
    header.fragment = Fragment::try_new(0, 2);
    let mut good = Vec::new();
    header.encode(&mut good);
    let with = |index: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[index] = byte;
        Datagram::decode(&bytes).map(|_| ())
    };
    for version in [0, 2, 7] {
        let error = HeaderError::UnknownVersion { got: version };
        assert_eq!(with(0, version << 5 | KIND_PACKET), Err(error));
    }
    for kind in [0, 5, 31] {
        let error = HeaderError::UnknownKind { got: kind };
        assert_eq!(with(0, VERSION << 5 | kind), Err(error));
    }
    let bad = |index, count| Err(HeaderError::BadFragment { index, count });
    assert_eq!(with(36, 1), Ok(()));
    assert_eq!(with(36, 2), bad(2, 2));
    assert_eq!(with(37, 0), bad(0, 0));
    assert_eq!(with(37, 1), bad(0, 1));
    assert_eq!(with(37, MAX_PIECES), Ok(()));
    assert_eq!(with(37, MAX_PIECES + 1), bad(0, MAX_PIECES + 1));
}

#[test]
fn hops_are_taken_off_one_by_one_and_are_never_more_than_fit() {
    let [one, two] = [1, 2].map(|number| NodeKey([number; 8]));
    let hops = RemainingHops::try_new(&[one, two]).unwrap();
    let (next, rest) = hops.split_first().unwrap();
    assert_eq!((next, rest.as_slice()), (one, &[two][..]));
    assert_eq!(rest.split_first(), Some((two, RemainingHops::NONE)));
    assert_eq!(RemainingHops::NONE.split_first(), None);
    assert_eq!(
        RemainingHops::try_new(&[NodeKey([1; 8]); MAX_HOPS + 1]),
        None
    );
}

#[test]
fn every_header_error_has_a_reason_of_its_own() {
    let errors = [
        HeaderError::BadFragment { index: 0, count: 0 },
        HeaderError::TooShort { got_bytes: 0 },
        HeaderError::UnknownKind { got: 0 },
        HeaderError::UnknownVersion { got: 0 },
    ];
    let reasons = errors.map(|error| error.reason());
    assert_eq!(reasons, HeaderErrorReason::ALL);
}

proptest! {
    #[test]
    fn packets_come_back_as_they_were(
        header in any_header(),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let datagram = Datagram::Packet { header, payload: &payload };
        let bytes = encoded(datagram);
        prop_assert_eq!(bytes.len(), header.encoded_len() + payload.len());
        prop_assert_eq!(Datagram::decode(&bytes), Ok(datagram));
    }

    #[test]
    fn probes_and_too_large_come_back_as_they_were(
        id: u64, sent_us: u32, packet in any_key(), limit: u16,
    ) {
        let probe = Probe { id, sent_us };
        for datagram in [
            Datagram::Probe(probe),
            Datagram::ProbeReply(probe),
            Datagram::TooLarge(TooLarge { packet, limit }),
        ] {
            let again = encoded(datagram);
            prop_assert_eq!(Datagram::decode(&again), Ok(datagram));
        }
    }

    #[test]
    fn a_header_cut_anywhere_is_too_short(header in any_header(), id: u64) {
        let probe = Probe { id, sent_us: 0 };
        for datagram in [
            Datagram::Packet { header, payload: &[] },
            Datagram::Probe(probe),
            Datagram::TooLarge(TooLarge { packet: header.key(), limit: 0 }),
        ] {
            let bytes = encoded(datagram);
            for got_bytes in 0..bytes.len() {
                let error = HeaderError::TooShort { got_bytes };
                prop_assert_eq!(Datagram::decode(&bytes[..got_bytes]), Err(error));
            }
        }
    }

    #[test]
    fn what_decodes_from_arbitrary_bytes_encodes_to_the_same_value(
        first in prop::sample::select(vec![0x21_u8, 0x22, 0x23, 0x24, 0x00, 0xff]),
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let bytes = [&[first], &rest[..]].concat();
        if let Ok(datagram) = Datagram::decode(&bytes) {
            let again = encoded(datagram);
            prop_assert_eq!(Datagram::decode(&again), Ok(datagram));
        }
    }
}
