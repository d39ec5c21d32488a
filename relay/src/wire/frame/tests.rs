use proptest::prelude::*;
use router::gossip::BUCKETS;

use super::*;
use crate::wire::{
    PROTOCOL,
    frame::relayed::tests::{any_relayed, one_relayed},
    hello::tests::{any_hello, full_hello},
    limits::{FRAME_HEAD_BYTES, MAX_HOPS, MAX_SERVICES, MAX_SIGNED_BYTES, MAX_TEXT_BYTES},
    services::{ServiceDecl, ServiceKind, tests::any_services},
};

/// One frame of each known type, with something in every field.
pub(super) fn one_of_each() -> Vec<Frame> {
    let service = ServiceDecl {
        name: "rtp".to_owned(),
        kind: ServiceKind::Udp,
    };
    let services = ServicesDecl {
        version: 3,
        services: vec![service],
    };
    vec![
        Frame::Hello(Box::new(full_hello())),
        Frame::Promote { epoch: 0 },
        Frame::Promoted { epoch: 0 },
        Frame::Probe { id: 0 },
        Frame::ProbeReply { id: 0 },
        Frame::ServicesDigest(services.digest()),
        Frame::Services(services),
        Frame::ServicesWanted { have_version: 0 },
        Frame::OpenFlow(OpenFlow {
            flow: 0,
            service: "rtp".to_owned(),
            destination: NodeKey([1; 8]),
            class: Class::Control,
            idle_timeout: Duration::from_secs(60),
            spare: false,
        }),
        Frame::FlowAccepted { flow: 0 },
        Frame::FlowRefused {
            flow: 0,
            code: RefuseCode::NotAllowed,
            reason: String::new(),
        },
        Frame::CloseFlow {
            flow: 0,
            direction: Direction::Forward,
            code: FlowCode::Idle,
        },
        Frame::Open(Open {
            session: [2; 16],
            destination: NodeKey([1; 8]),
            service: "web".to_owned(),
            budget: Duration::ZERO,
            resume_offset: 0,
            trace: Some(TraceContext {
                trace_id: [3; 16],
                span_id: [4; 8],
                flags: 1,
            }),
            hops: RemainingHops::try_new(&[NodeKey([1; 8])]).unwrap(),
            via: vec![NodeKey([5; 8])],
        }),
        Frame::Accept { resume_offset: 0 },
        Frame::Refuse {
            code: RefuseCode::Unknown(77),
            reason: String::new(),
        },
        Frame::Advert {
            signed: Bytes::from_static(b"signed"),
            age: Duration::ZERO,
        },
        Frame::AdvertOffer(vec![version(0), version(1)]),
        Frame::AdvertRequest(vec![version(0)]),
        Frame::AdvertDigest(Box::new(Digest([0; BUCKETS]))),
        Frame::Policy {
            signed: Bytes::from_static(b"signed"),
        },
        Frame::PolicyDigest { epoch: 0, hash: 0 },
        Frame::LinkReport(ArrivalReport {
            highest: 0,
            covered: 0,
            received: 0,
            reordered: 0,
            jitter: Duration::ZERO,
            variation: Some((Duration::ZERO, Duration::ZERO)),
        }),
        Frame::Relayed(Box::new(one_relayed())),
    ]
}

fn version(node: u64) -> Version {
    Version {
        node: router::graph::NodeKey(node),
        generation: 0,
        sequence: 0,
    }
}

/// Any report whose durations are whole microseconds.
fn any_report() -> impl Strategy<Value = ArrivalReport> {
    let micros = |micros: u32| Duration::from_micros(micros.into());
    let variation = prop::option::of(any::<(u32, u32)>());
    let variation = variation.prop_map(move |pair| {
        pair.map(|(one, other)| (micros(one.min(other)), micros(one.max(other))))
    });
    (any::<([u64; 4], u32)>(), variation).prop_map(
        move |(([highest, covered, received, reordered], jitter), variation)| ArrivalReport {
            highest,
            covered,
            received,
            reordered,
            jitter: micros(jitter),
            variation,
        },
    )
}

fn any_versions() -> impl Strategy<Value = Vec<Version>> {
    let version = any::<(u64, u64, u64)>().prop_map(|(node, generation, sequence)| Version {
        node: router::graph::NodeKey(node),
        generation,
        sequence,
    });
    prop::collection::vec(version, 1..20)
}

/// Any flow that may be asked for.
pub(super) fn any_open_flow() -> impl Strategy<Value = OpenFlow> {
    let millis = any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
    let class = prop::sample::select(Class::ALL);
    let key = any::<[u8; 8]>().prop_map(NodeKey);
    (
        any::<(u32, bool)>(),
        "[a-zA-Z0-9._-]{1,63}",
        key,
        class,
        millis,
    )
        .prop_map(
            |((flow, spare), service, destination, class, idle_timeout)| OpenFlow {
                flow,
                service,
                destination,
                class,
                idle_timeout,
                spare,
            },
        )
}

/// Node keys of which no two are the same.
pub(super) fn any_path(most: usize) -> impl Strategy<Value = Vec<NodeKey>> {
    prop::collection::btree_set(any::<[u8; 8]>(), 1..=most)
        .prop_map(|keys| keys.into_iter().map(NodeKey).collect())
}

/// Any frame that may be sent.
pub(super) fn any_frame() -> impl Strategy<Value = Frame> {
    let code = || any::<u32>().prop_map(|number| RefuseCode::from_number(number.into()));
    let text = "[^\\p{Cc}]{0,40}";
    let name = "[a-zA-Z0-9._-]{1,63}";
    let millis = || any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
    let trace =
        any::<([u8; 16], [u8; 8], u8)>().prop_map(|(trace_id, span_id, flags)| TraceContext {
            trace_id,
            span_id,
            flags,
        });
    let open = (
        any::<([u8; 16], u64, bool)>(),
        any_path(MAX_HOPS),
        name,
        millis(),
        prop::option::of(trace),
    )
        .prop_map(
            |((session, resume_offset, is_far), path, service, budget, trace)| Open {
                session,
                destination: *path.last().unwrap(),
                service,
                budget,
                resume_offset,
                trace,
                hops: match is_far {
                    true => RemainingHops::try_new(&path).unwrap(),
                    false => RemainingHops::NONE,
                },
                via: match is_far {
                    true => Vec::new(),
                    false => path,
                },
            },
        );
    let signed = prop::collection::vec(any::<u8>(), 1..100).prop_map(Bytes::from);
    let digest = prop::collection::vec(any::<u32>(), BUCKETS)
        .prop_map(|buckets| Box::new(Digest(buckets.try_into().unwrap())));
    let direction = prop::sample::select(Direction::ALL);
    prop_oneof![
        any_hello().prop_map(|hello| Frame::Hello(Box::new(hello))),
        any::<u64>().prop_map(|epoch| Frame::Promote { epoch }),
        any::<u64>().prop_map(|epoch| Frame::Promoted { epoch }),
        any::<u64>().prop_map(|id| Frame::Probe { id }),
        any::<u64>().prop_map(|id| Frame::ProbeReply { id }),
        any_services().prop_map(Frame::Services),
        any_services().prop_map(|services| Frame::ServicesDigest(services.digest())),
        any::<u64>().prop_map(|have_version| Frame::ServicesWanted { have_version }),
        any_open_flow().prop_map(Frame::OpenFlow),
        any::<u32>().prop_map(|flow| Frame::FlowAccepted { flow }),
        (any::<u32>(), code(), text).prop_map(|(flow, code, reason)| Frame::FlowRefused {
            flow,
            code,
            reason
        }),
        (any::<u32>(), direction, any::<u32>()).prop_map(|(flow, direction, code)| {
            Frame::CloseFlow {
                flow,
                direction,
                code: FlowCode::from_number(code.into()),
            }
        }),
        open.prop_map(Frame::Open),
        any::<u64>().prop_map(|resume_offset| Frame::Accept { resume_offset }),
        (code(), text).prop_map(|(code, reason)| Frame::Refuse { code, reason }),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, hash)| Frame::PolicyDigest { epoch, hash }),
        (signed, millis()).prop_map(|(signed, age)| Frame::Advert { signed, age }),
        any_versions().prop_map(Frame::AdvertOffer),
        any_versions().prop_map(Frame::AdvertRequest),
        digest.prop_map(Frame::AdvertDigest),
        any_report().prop_map(Frame::LinkReport),
        any_relayed().prop_map(|relayed| Frame::Relayed(Box::new(relayed))),
        (1_000..u16::MAX).prop_map(|type_number| Frame::Unknown { type_number }),
    ]
}

/// The whole frame as bytes.
pub(super) fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame.encode(&mut out).unwrap();
    out.to_vec()
}

/// A decoder that takes `frame` at once.
pub(super) fn decoder_for(frame: &Frame) -> FrameDecoder {
    match frame {
        Frame::Hello(_) => FrameDecoder::for_control(PROTOCOL),
        _ => FrameDecoder::for_stream(FIRST_MINOR),
    }
}

/// What the message `body` of the type of `like` is read as.
fn read(like: &Frame, body: &[u8]) -> Result<Frame, FrameError> {
    let mut bytes = BytesMut::new();
    put_head(like.type_number(), body.len(), &mut bytes).unwrap();
    bytes.put_slice(body);
    let frame = decoder_for(like).decode(&mut bytes)?;
    Ok(frame.expect("the frame is whole"))
}

/// Splits a message into its fields: their numbers, and each with its tag as it stands.
fn fields_of(mut body: &[u8]) -> Vec<(u32, Vec<u8>)> {
    use prost::encoding::{DecodeContext, decode_key, skip_field};
    let mut fields = Vec::new();
    while !body.is_empty() {
        let before = body;
        let (number, wire_type) = decode_key(&mut body).unwrap();
        skip_field(wire_type, number, &mut body, DecodeContext::default()).unwrap();
        let len = before.len() - body.len();
        fields.push((number, before[..len].to_vec()));
    }
    fields
}

#[test]
fn there_is_a_sample_of_each_type_and_it_comes_back_as_it_was() {
    let mut numbers = Vec::new();
    for frame in one_of_each() {
        let body = &encoded(&frame)[FRAME_HEAD_BYTES..];
        assert_eq!(read(&frame, body), Ok(frame.clone()));
        numbers.push(frame.type_number());
    }
    numbers.sort_unstable();
    let known: Vec<u16> = FrameKind::ALL.iter().map(|kind| kind.number()).collect();
    assert_eq!(numbers, known);
}

#[test]
fn a_frame_is_length_type_and_message() {
    let golden = b"\0\0\0\x02\0\x04\x08\x07";
    assert_eq!(encoded(&Frame::Probe { id: 7 }), golden);
}

#[test]
fn an_empty_message_of_each_type_is_a_typed_error() {
    for frame in one_of_each() {
        let kind = FrameKind::from_number(frame.type_number()).unwrap();
        let error = FrameError::Empty { frame: kind };
        assert_eq!(read(&frame, &[]), Err(error));
    }
}

#[test]
fn an_absent_field_of_each_type_is_a_typed_error_unless_it_may_be_absent() {
    for frame in one_of_each() {
        let kind = FrameKind::from_number(frame.type_number()).unwrap();
        let may_be_absent: &[u32] = match kind {
            FrameKind::Hello => &[8, 9, 10],
            FrameKind::Services => &[2],
            FrameKind::Open => &[6],
            _ => &[],
        };
        let fields = fields_of(&encoded(&frame)[FRAME_HEAD_BYTES..]);
        for absent in 0..fields.len() {
            let mut rest = fields.clone();
            let (number, _) = rest.remove(absent);
            // Something that is unknown, so that the message is not empty as a whole.
            let mut body = b"\xc2\x3e\x01x".to_vec();
            rest.iter().for_each(|(_, field)| body.extend(field));
            match read(&frame, &body) {
                Ok(_) => assert!(may_be_absent.contains(&number), "{kind} {number}"),
                // Both ends of the variation, or neither.
                Err(FrameError::BadField { field, .. }) if kind == FrameKind::LinkReport => {
                    assert_eq!(field, "variation_least_us");
                    assert!([6, 7].contains(&number), "{number}");
                }
                Err(FrameError::MissingField { frame, .. }) => {
                    assert_eq!(frame, kind);
                    assert!(!may_be_absent.contains(&number), "{kind} {number}");
                }
                Err(other) => panic!("{kind} {number}: {other}"),
            }
        }
    }
}

#[test]
fn fields_that_a_newer_minor_added_are_skipped_in_each_type() {
    for frame in one_of_each() {
        let mut body = encoded(&frame)[FRAME_HEAD_BYTES..].to_vec();
        // Field 1000 as bytes, field 1001 as a number.
        body.extend(b"\xc2\x3e\x03new\xc8\x3e\x05");
        assert_eq!(read(&frame, &body), Ok(frame));
    }
}

#[test]
fn a_message_that_is_not_protobuf_is_malformed_in_each_type() {
    for frame in one_of_each() {
        let kind = FrameKind::from_number(frame.type_number()).unwrap();
        let error = FrameError::Malformed { frame: kind };
        for garbage in [b"\xff".as_slice(), b"\x0a\xff\xff\xff\x7f", b"\x0c"] {
            assert_eq!(read(&frame, garbage), Err(error.clone()));
        }
    }
}

#[test]
fn numbers_and_lengths_outside_their_range_are_typed_errors() {
    let refused = |frame: &Frame, number: u32, field: &[u8]| {
        let mut body = encoded(frame)[FRAME_HEAD_BYTES..].to_vec();
        // Of a field that comes twice, the last one counts.
        body.push(u8::try_from(number << 3).unwrap() | if field[0] < 0x80 { 2 } else { 0 });
        body.extend(field);
        match read(frame, &body) {
            Err(FrameError::BadField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    for frame in one_of_each() {
        match frame {
            Frame::OpenFlow(_) => {
                assert_eq!(refused(&frame, 2, b"\x01 "), "service");
                assert_eq!(refused(&frame, 3, b"\x01 "), "destination");
                assert_eq!(refused(&frame, 4, b"\x84\0"), "class");
            }
            Frame::CloseFlow { .. } => assert_eq!(refused(&frame, 2, b"\x82\0"), "direction"),
            Frame::Open(_) => {
                assert_eq!(refused(&frame, 1, b"\x01 "), "session");
                assert_eq!(refused(&frame, 2, b"\0"), "destination");
                assert_eq!(refused(&frame, 3, b"\0"), "service");
                assert_eq!(refused(&frame, 6, b"\x03\x0a\x01 "), "trace.trace_id");
                assert_eq!(refused(&frame, 6, b"\x03\x18\x80\x02"), "trace.flags");
                assert_eq!(refused(&frame, 7, b"\x01 "), "hops");
                assert_eq!(refused(&frame, 7, b"\x08        "), "hops");
                assert_eq!(refused(&frame, 8, b"\x01 "), "via");
            }
            Frame::Services(_) => {
                assert_eq!(refused(&frame, 2, b"\x07\x0a\x03rtp\x10\x01"), "services");
            }
            Frame::Advert { .. } => assert_eq!(refused(&frame, 1, b"\0"), "signed"),
            Frame::AdvertOffer(_) => {
                assert_eq!(refused(&frame, 1, b"\x08        "), "generation");
                assert_eq!(refused(&frame, 2, b"\x01\x01"), "generation");
                assert_eq!(refused(&frame, 3, b"\x01\x01"), "sequence");
            }
            Frame::Policy { .. } => assert_eq!(refused(&frame, 1, b"\0"), "signed"),
            Frame::AdvertDigest(_) => assert_eq!(refused(&frame, 1, b"\x04    "), "buckets"),
            Frame::LinkReport(_) => {
                assert_eq!(refused(&frame, 6, b"\x81\0"), "variation_least_us");
            }
            Frame::Relayed(_) => {
                assert_eq!(refused(&frame, 1, b"\x01 "), "origin");
                assert_eq!(refused(&frame, 2, b"\x01 "), "via");
                assert_eq!(refused(&frame, 3, b"\x01 "), "hops");
            }
            _ => {}
        }
    }
}

#[test]
fn texts_for_people_are_cut_when_sent_and_cleaned_when_they_come() {
    let code = RefuseCode::NotAllowed;
    let reason = "x".repeat(MAX_TEXT_BYTES + 1);
    let frame = Frame::Refuse { code, reason };
    let body = &encoded(&frame)[FRAME_HEAD_BYTES..];
    let reason = "x".repeat(MAX_TEXT_BYTES);
    assert_eq!(read(&frame, body), Ok(Frame::Refuse { code, reason }));

    let reason = "a?b".to_owned();
    let got = read(&frame, b"\x08\x02\x12\x03a\nb");
    assert_eq!(got, Ok(Frame::Refuse { code, reason }));
}

#[test]
fn durations_are_rounded_down_and_bounded() {
    for (given, sent) in [
        (Duration::from_micros(1_999), Duration::from_millis(1)),
        (Duration::MAX, Duration::from_millis(u32::MAX.into())),
    ] {
        let mut frames = one_of_each();
        let frame = frames.iter_mut().find_map(|frame| match frame {
            Frame::Open(open) => Some(open),
            _ => None,
        });
        let mut open = frame.unwrap().clone();
        open.budget = given;
        let body = encoded(&Frame::Open(open.clone()))[FRAME_HEAD_BYTES..].to_vec();
        open.budget = sent;
        let open = Frame::Open(open);
        assert_eq!(read(&open, &body), Ok(open));
    }
}

#[test]
fn an_open_that_resumes_is_decoded_but_not_supported() {
    for frame in one_of_each() {
        if let Frame::Open(mut open) = frame {
            assert_eq!(open.check_supported(), Ok(()));
            open.resume_offset = 1;
            assert_eq!(open.check_supported(), Err(Unsupported::ResumeOffset));
        }
    }
}

#[test]
fn an_open_over_one_hop_more_than_a_path_has_or_over_a_node_twice_is_a_typed_error() {
    let (body, frame) = one_of_each()
        .into_iter()
        .find_map(|frame| match frame {
            Frame::Open(_) => Some((encoded(&frame)[FRAME_HEAD_BYTES..].to_vec(), frame)),
            _ => None,
        })
        .unwrap();
    let with_hops = |hops: &[u8]| {
        let mut body = body.clone();
        body.extend([7 << 3 | 2, 8 * hops.len() as u8]);
        hops.iter().for_each(|hop| body.extend([*hop; 8]));
        read(&frame, &body)
    };
    assert!(with_hops(&[3, 2, 1]).is_ok());
    let (field, why, kind) = ("hops", "too many", FrameKind::Open);
    let error = FrameError::BadField {
        frame: kind,
        field,
        why,
    };
    assert_eq!(with_hops(&[4, 3, 2, 1]), Err(error));
    let error = FrameError::Loop { frame: kind };
    assert_eq!(with_hops(&[1, 2, 1]), Err(error.clone()));
    assert_eq!(error.reason(), FrameErrorReason::Loop);
}

#[test]
fn the_most_versions_fit_a_frame_and_more_are_split_over_several() {
    let versions: Vec<Version> = (0..2 * MAX_VERSIONS as u64 + 1)
        .map(|number| Version {
            node: router::graph::NodeKey(number),
            generation: u64::MAX,
            sequence: u64::MAX,
        })
        .collect();
    let mut came = Vec::new();
    for frame in Frame::offers(&versions) {
        match read(&frame, &encoded(&frame)[FRAME_HEAD_BYTES..]) {
            Ok(Frame::AdvertOffer(part)) => came.push(part),
            other => panic!("{other:?}"),
        }
    }
    let lengths: Vec<usize> = came.iter().map(Vec::len).collect();
    assert_eq!(lengths, [MAX_VERSIONS, MAX_VERSIONS, 1]);
    assert_eq!(came.concat(), versions);
    assert_eq!(Frame::requests(&versions).count(), 3);
    assert_eq!(Frame::offers(&[]).count(), 0);

    let beyond = versions[..MAX_VERSIONS + 1].iter().map(|v| Version {
        generation: 0,
        sequence: 0,
        ..*v
    });
    let beyond = Frame::AdvertOffer(beyond.collect());
    let error = read(&beyond, &encoded(&beyond)[FRAME_HEAD_BYTES..]);
    assert!(matches!(
        error,
        Err(FrameError::BadField { field: "node", .. })
    ));
}

#[test]
fn the_longest_signed_advert_fits_a_frame_and_one_byte_more_is_refused() {
    let advert = |len: usize| Frame::Advert {
        signed: vec![1; len].into(),
        age: Duration::MAX,
    };
    let body = |len| encoded(&advert(len))[FRAME_HEAD_BYTES..].to_vec();
    let longest = advert(MAX_SIGNED_BYTES);
    assert!(read(&longest, &body(MAX_SIGNED_BYTES)).is_ok());
    let error = read(&longest, &body(MAX_SIGNED_BYTES + 1));
    assert!(matches!(
        error,
        Err(FrameError::BadField {
            field: "signed",
            ..
        })
    ));
}

#[test]
fn the_most_services_of_the_longest_names_fit_a_frame_and_far_more_append_nothing() {
    let list = |count: usize| {
        let services = (0..count).map(|number| ServiceDecl {
            name: format!("{number:063}"),
            kind: ServiceKind::Unknown(u32::MAX),
        });
        Frame::Services(ServicesDecl {
            version: u64::MAX,
            services: services.collect(),
        })
    };
    let frame = list(MAX_SERVICES);
    assert_eq!(
        read(&frame, &encoded(&frame)[FRAME_HEAD_BYTES..]),
        Ok(frame)
    );

    let mut out = BytesMut::new();
    let error = list(2 * MAX_SERVICES).encode(&mut out).unwrap_err();
    assert!(error.got_bytes > MAX_MESSAGE_BYTES);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(frame in any_frame()) {
        let bytes = encoded(&frame);
        prop_assert_eq!(read(&frame, &bytes[FRAME_HEAD_BYTES..]), Ok(frame));
    }

    #[test]
    fn a_message_with_a_byte_changed_is_a_frame_or_a_typed_error(
        frame in any_frame(), at: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = encoded(&frame);
        let body = &mut bytes[FRAME_HEAD_BYTES..];
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        // What is read is within limits, so that it can be sent on.
        if let Ok(frame) = read(&frame, body) {
            encoded(&frame);
        }
    }
}
