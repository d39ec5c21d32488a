use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::{
    PROTOCOL,
    frame::tests::{any_frame, decoder_for, encoded, one_of_each},
    hello::tests::full_hello,
};

fn hello() -> Frame {
    Frame::Hello(Box::new(full_hello()))
}

/// All frames in `bytes`, which come in pieces of `step` bytes.
fn decode_all(
    decoder: &mut FrameDecoder,
    bytes: &[u8],
    step: usize,
) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(step) {
        while let Some(frame) = decoder.decode(&mut piece)? {
            frames.push(frame);
        }
        assert!(piece.is_empty());
    }
    Ok(frames)
}

#[test]
fn frames_are_found_in_whatever_pieces_their_bytes_come() {
    let frames = one_of_each();
    assert!(matches!(frames[0], Frame::Hello(_)));
    let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
    for step in [1, 2, 5, 6, 7, 100, bytes.len()] {
        let mut decoder = FrameDecoder::for_control(PROTOCOL);
        assert_eq!(decode_all(&mut decoder, &bytes, step), Ok(frames.clone()));
        assert_eq!(decoder.check_end(), Ok(()));
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_no_frame_and_truncated_at_the_end_of_the_stream() {
    for frame in one_of_each() {
        let bytes = encoded(&frame);
        for got_bytes in 1..bytes.len() {
            let mut decoder = decoder_for(&frame);
            assert_eq!(decoder.decode(&mut &bytes[..got_bytes]), Ok(None));
            let error = FrameError::Truncated { got_bytes };
            assert_eq!(decoder.check_end(), Err(error));
        }
    }
}

#[test]
fn what_follows_a_frame_stays_in_the_input() {
    let open = encoded(&Frame::Accept { resume_offset: 0 });
    let bytes = [&open, b"payload".as_slice()].concat();
    let mut input = bytes.as_slice();
    let mut decoder = FrameDecoder::for_stream(1);
    assert!(decoder.decode(&mut input).unwrap().is_some());
    assert_eq!(input, b"payload");
    assert_eq!(decoder.check_end(), Ok(()));
}

#[test]
fn the_longest_message_is_taken_and_one_byte_more_is_refused_before_any_of_it() {
    let with_length = |length: usize| {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend([0xff, 0xff]);
        bytes.resize(FRAME_HEAD_BYTES + length, 0);
        bytes
    };
    let bytes = with_length(MAX_MESSAGE_BYTES);
    let mut decoder = FrameDecoder::for_stream(1);
    let unknown = Frame::Unknown {
        type_number: 0xffff,
    };
    assert_eq!(decoder.decode(&mut bytes.as_slice()), Ok(Some(unknown)));
    assert_eq!(decoder.buffer.capacity(), 0);

    for frame in one_of_each() {
        let mut bytes = with_length(MAX_MESSAGE_BYTES + 1);
        bytes[4..FRAME_HEAD_BYTES].copy_from_slice(&frame.type_number().to_be_bytes());
        let got_bytes = 0x1_0001;
        let mut decoder = decoder_for(&frame);
        let mut input = bytes.as_slice();
        let error = FrameError::Oversized { got_bytes };
        assert_eq!(decoder.decode(&mut input), Err(error.clone()));
        assert_eq!(input.len(), bytes.len() - FRAME_HEAD_BYTES);
        assert_eq!(decoder.buffer.len(), FRAME_HEAD_BYTES);
        assert_eq!(decoder.decode(&mut input), Err(error));
    }
    let error = FrameError::Oversized {
        got_bytes: u32::MAX,
    };
    let mut decoder = FrameDecoder::for_stream(1);
    assert_eq!(decoder.decode(&mut [0xff; 6].as_slice()), Err(error));
}

#[test]
fn a_length_that_is_announced_reserves_nothing() {
    let mut decoder = FrameDecoder::for_stream(1);
    assert_eq!(
        decoder.decode(&mut b"\0\x01\0\0\0\x01x".as_slice()),
        Ok(None)
    );
    assert!(decoder.buffer.capacity() < 64);
}

#[test]
fn nothing_comes_before_hello_and_no_second_one_after_it() {
    for frame in one_of_each() {
        let type_number = frame.type_number();
        let out_of_place = Err(FrameError::OutOfPlace { type_number });
        let mut decoder = FrameDecoder::for_control(PROTOCOL);
        assert_eq!(decoder.minor(), None);
        let got = decoder.decode(&mut encoded(&frame).as_slice());
        if frame == hello() {
            assert_eq!(decoder.minor(), Some(1));
            let again = decoder.decode(&mut encoded(&frame).as_slice());
            assert_eq!(again, out_of_place);
            let mut decoder = FrameDecoder::for_stream(1);
            let on_a_stream = decoder.decode(&mut encoded(&frame).as_slice());
            assert_eq!(on_a_stream, out_of_place);
        } else {
            assert_eq!(got, out_of_place);
        }
    }
    let unknown = encoded(&Frame::Unknown { type_number: 999 });
    let mut decoder = FrameDecoder::for_control(PROTOCOL);
    let error = FrameError::OutOfPlace { type_number: 999 };
    assert_eq!(decoder.decode(&mut unknown.as_slice()), Err(error));
}

#[test]
fn a_newer_peer_is_understood_and_its_new_frames_are_named_unknown() {
    let mut newer = full_hello();
    newer.protocol.max = 2;
    let newer = Frame::Hello(Box::new(newer));
    let mut bytes = encoded(&newer);
    // A field that minor 2 added to Hello: 4 bytes more.
    bytes.extend(b"\xc2\x3e\x01x");
    bytes[3] += 4;
    // A frame that minor 2 added.
    bytes.extend(b"\0\0\0\x03\x01\x00new");
    bytes.extend(encoded(&Frame::Probe { id: 5 }));
    let mut decoder = FrameDecoder::for_control(PROTOCOL);
    let unknown = Frame::Unknown { type_number: 256 };
    let expected = vec![newer, unknown, Frame::Probe { id: 5 }];
    assert_eq!(decode_all(&mut decoder, &bytes, 9), Ok(expected));
    assert_eq!(decoder.minor(), Some(1));
}

#[test]
fn a_peer_without_a_common_minor_gets_its_own_code_and_all_else_is_malformed() {
    let mut newer = full_hello();
    newer.protocol = Minors { min: 2, max: 3 };
    let bytes = encoded(&Frame::Hello(Box::new(newer)));
    let mut decoder = FrameDecoder::for_control(PROTOCOL);
    let error = decoder.decode(&mut bytes.as_slice()).unwrap_err();
    assert_eq!(error.close_code(), CloseCode::NoCommonProtocol);
    let error = FrameError::Truncated { got_bytes: 1 };
    assert_eq!(error.close_code(), CloseCode::Malformed);
}

#[test]
fn every_frame_error_has_a_reason_of_its_own() {
    let frame = FrameKind::Hello;
    let field = "node";
    let range = PROTOCOL;
    let errors = [
        FrameError::BadField {
            frame,
            field,
            why: "empty",
        },
        FrameError::Empty { frame },
        FrameError::Loop { frame },
        FrameError::Malformed { frame },
        FrameError::MissingField { frame, field },
        FrameError::NoCommonProtocol(NoCommonProtocol {
            ours: range,
            theirs: range,
        }),
        FrameError::OutOfPlace { type_number: 0 },
        FrameError::Oversized { got_bytes: 0 },
        FrameError::Truncated { got_bytes: 0 },
    ];
    let reasons = errors.map(|error| error.reason());
    assert_eq!(reasons, FrameErrorReason::ALL);
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_a_typed_error_and_what_is_held_stays_bounded(
        frames in prop::collection::vec(any_frame(), 0..3),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        step in 1..50_usize,
    ) {
        let mut bytes = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut bytes).unwrap();
        }
        bytes.extend_from_slice(&noise);
        for mut decoder in [FrameDecoder::for_stream(1), FrameDecoder::for_control(PROTOCOL)] {
            'pieces: for mut piece in bytes.chunks(step) {
                while !piece.is_empty() {
                    if decoder.decode(&mut piece).is_err() {
                        break 'pieces;
                    }
                    prop_assert!(decoder.buffer.len() <= FRAME_HEAD_BYTES + MAX_MESSAGE_BYTES);
                }
            }
        }
    }
}
