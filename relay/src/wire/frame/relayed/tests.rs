use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::{
    Frame, FrameDecoder, FrameErrorReason,
    frame::{
        FrameKind,
        tests::{any_open_flow, any_path},
    },
    limits::MAX_HOPS,
};

/// A relayed frame with something in every field.
pub(in crate::wire::frame) fn one_relayed() -> Relayed {
    relayed(RelayedBody::Echo { id: 0 })
}

/// Any relayed frame that may be sent.
pub(in crate::wire::frame) fn any_relayed() -> impl Strategy<Value = Relayed> {
    (any_path(1 + 2 * MAX_HOPS), any::<usize>(), any_body()).prop_map(|(path, at, body)| {
        let (origin, rest) = path.split_first().unwrap();
        let most = rest.len().min(MAX_HOPS);
        let (via, hops) = rest.split_at(at % (most + 1));
        Relayed {
            origin: *origin,
            via: via.to_vec(),
            hops: RemainingHops::try_new(&hops[..hops.len().min(MAX_HOPS)]).unwrap(),
            body,
        }
    })
}

fn any_body() -> impl Strategy<Value = RelayedBody> {
    let key = || any::<[u8; 8]>().prop_map(NodeKey);
    let generation = || (0..=NodeGeneration::MAX.0).prop_map(NodeGeneration);
    let flow = || {
        (key(), generation(), any::<u32>()).prop_map(|(ingress, generation, number)| FlowId {
            ingress,
            generation,
            number,
        })
    };
    let refuse = any::<u32>().prop_map(|number| RefuseCode::from_number(number.into()));
    let close = any::<u32>().prop_map(|number| FlowCode::from_number(number.into()));
    let message = prop::collection::vec(any::<u8>(), 1..100).prop_map(Bytes::from);
    prop_oneof![
        (generation(), any_open_flow())
            .prop_map(|(generation, open)| RelayedBody::OpenFlow { generation, open }),
        flow().prop_map(|flow| RelayedBody::FlowAccepted { flow }),
        (flow(), refuse, "[^\\p{Cc}]{0,40}")
            .prop_map(|(flow, code, reason)| RelayedBody::FlowRefused { flow, code, reason }),
        (flow(), prop::sample::select(Direction::ALL), close).prop_map(
            |(flow, direction, code)| RelayedBody::CloseFlow {
                flow,
                direction,
                code
            }
        ),
        (prop::option::of(flow()), key())
            .prop_map(|(flow, next)| RelayedBody::Unreachable { flow, next }),
        any::<u64>().prop_map(|id| RelayedBody::Echo { id }),
        any::<u64>().prop_map(|id| RelayedBody::EchoReply { id }),
        (1_000_u32.., message).prop_map(|(kind, message)| RelayedBody::Unknown { kind, message }),
    ]
}

fn relayed(body: RelayedBody) -> Relayed {
    Relayed {
        origin: NodeKey([1; 8]),
        via: vec![NodeKey([2; 8])],
        hops: RemainingHops::try_new(&[NodeKey([3; 8])]).unwrap(),
        body,
    }
}

/// What its receiver makes of a message, changed on the way.
fn received(
    relayed: &Relayed,
    change: impl FnOnce(&mut message::Relayed),
) -> Result<Relayed, FrameError> {
    let mut message = to_message(relayed);
    change(&mut message);
    read(
        Fields::new(FrameKind::Relayed, FIRST_MINOR),
        &message.encode_to_vec(),
    )
}

fn nodes(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().flat_map(|number| [*number; 8]).collect()
}

#[test]
fn a_node_named_twice_anywhere_on_the_path_is_refused_as_a_loop() {
    let frame = FrameKind::Relayed;
    let error = FrameError::Loop { frame };
    assert_eq!(error.reason(), FrameErrorReason::Loop);
    for (via, hops) in [
        (&[1][..], &[][..]),
        (&[], &[1]),
        (&[2, 2], &[]),
        (&[2], &[2]),
        (&[2, 3, 4], &[5, 6, 3]),
        (&[], &[2, 3, 2]),
    ] {
        let got = received(&one_relayed(), |m| {
            m.via = Some(nodes(via));
            m.hops = Some(nodes(hops));
        });
        assert_eq!(got, Err(error.clone()), "{via:?} {hops:?}");
    }
    let longest = received(&one_relayed(), |m| {
        m.via = Some(nodes(&[2, 3, 4]));
        m.hops = Some(nodes(&[5, 6, 7]));
    });
    assert_eq!(longest.unwrap().via.len(), MAX_HOPS);
}

#[test]
fn a_path_with_a_node_more_than_any_has_is_refused() {
    let refused = |change: &dyn Fn(&mut message::Relayed)| match received(&one_relayed(), change) {
        Err(FrameError::BadField { field, why, .. }) => (field, why),
        other => panic!("{other:?}"),
    };
    let four = || Some(nodes(&[5, 6, 7, 8]));
    assert_eq!(refused(&|m| m.via = four()), ("via", "too many"));
    assert_eq!(refused(&|m| m.hops = four()), ("hops", "too many"));
}

#[test]
fn a_body_of_another_kind_is_carried_up_to_its_longest() {
    let unknown = |len: usize| {
        relayed(RelayedBody::Unknown {
            kind: 1_000,
            message: vec![7; len].into(),
        })
    };
    let longest = unknown(MAX_RELAYED_BYTES);
    assert_eq!(received(&longest, |_| ()), Ok(longest));
    for len in [0, MAX_RELAYED_BYTES + 1] {
        let got = received(&unknown(len), |_| ());
        assert!(matches!(
            got,
            Err(FrameError::BadField { field: "body", .. })
        ));
    }
}

#[test]
fn a_body_without_a_field_that_it_must_have_is_a_typed_error() {
    for kind in RelayedKind::ALL {
        let with_body = |body: &[u8]| {
            received(&one_relayed(), |m| {
                m.kind = Some(kind.number());
                m.body = Some(body.to_vec());
            })
        };
        let frame = FrameKind::Relayed;
        assert_eq!(with_body(&[]), Err(FrameError::Empty { frame }), "{kind}");
        // Something that is unknown, and nothing else.
        let got = with_body(b"\xc2\x3e\x01x");
        assert!(
            matches!(got, Err(FrameError::MissingField { .. })),
            "{kind}"
        );
        let got = with_body(b"\xff");
        assert_eq!(got, Err(FrameError::Malformed { frame }), "{kind}");
    }
}

#[test]
fn a_flow_of_a_generation_that_no_packet_carries_is_refused() {
    let accepted = |generation| {
        let ingress = NodeKey([1; 8]);
        let number = 0;
        let flow = FlowId {
            ingress,
            generation,
            number,
        };
        received(&relayed(RelayedBody::FlowAccepted { flow }), |_| ())
    };
    assert!(accepted(NodeGeneration::MAX).is_ok());
    let got = accepted(NodeGeneration(NodeGeneration::MAX.0 + 1));
    assert!(matches!(
        got,
        Err(FrameError::BadField {
            field: "flow.generation",
            ..
        })
    ));
}

proptest! {
    #[test]
    fn bodies_with_a_byte_changed_are_a_frame_or_a_typed_error(
        relayed in any_relayed(), at: prop::sample::Index, byte: u8,
    ) {
        let got = received(&relayed, |m| {
            let body = m.body.as_mut().unwrap();
            let at = at.index(body.len());
            body[at] = byte;
        });
        if let Ok(relayed) = got {
            let frame = Frame::Relayed(Box::new(relayed));
            let mut bytes = BytesMut::new();
            frame.encode(&mut bytes).unwrap();
            let again = FrameDecoder::for_stream(FIRST_MINOR).decode(&mut bytes);
            prop_assert_eq!(again, Ok(Some(frame)));
        }
    }
}
