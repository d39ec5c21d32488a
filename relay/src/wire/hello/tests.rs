use proptest::prelude::*;

use super::*;
use crate::{
    id::NodeKey,
    wire::{
        PROTOCOL,
        limits::{
            MAX_ADDRESS_BYTES, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_RELEASE_BYTES,
        },
    },
};

/// A Hello with something in every field.
pub(in crate::wire) fn full_hello() -> Hello {
    let link = |dial| LinkGeneration {
        dialer: NodeKey([7; 8]),
        node: NodeGeneration(1_700_000_000_000),
        dial,
    };
    Hello {
        protocol: PROTOCOL,
        features: 0,
        node: NodeId::try_new("example.org", "eu-west", "fra-1").unwrap(),
        generation: NodeGeneration(1_700_000_000_001),
        link: link(2),
        release: "0123abcd".to_owned(),
        labels: [("rack".to_owned(), "r 7".to_owned())].into(),
        addresses: vec!["fra-1.example.org:4433".to_owned()],
        current_link: Some(link(1)),
    }
}

/// Any Hello that may be sent.
pub(in crate::wire) fn any_hello() -> impl Strategy<Value = Hello> {
    let u48 = || 0..=NodeGeneration::MAX.0;
    let link = move || {
        (any::<[u8; 8]>(), u48(), any::<u32>()).prop_map(|(dialer, node, dial)| LinkGeneration {
            dialer: NodeKey(dialer),
            node: NodeGeneration(node),
            dial,
        })
    };
    let name = "[a-z0-9._-]{1,63}";
    (
        (any::<u64>(), name, name, u48(), link()),
        "[!-~]{1,128}",
        prop::collection::btree_map("[a-zA-Z0-9._-]{1,63}", "[^\\p{Cc}]{0,60}", 0..4),
        prop::collection::vec("[a-z0-9.-]{1,40}:[1-9][0-9]{0,3}", 0..=MAX_ADDRESSES),
        prop::option::of(link()),
    )
        .prop_map(|(head, release, labels, addresses, current_link)| {
            let (features, region, name, generation, link) = head;
            Hello {
                protocol: PROTOCOL,
                features,
                node: NodeId::try_new("example.org", &region, &name).unwrap(),
                generation: NodeGeneration(generation),
                link,
                release,
                labels,
                addresses,
                current_link,
            }
        })
}

fn read(message: &message::Hello) -> Result<(Hello, u32), FrameError> {
    Hello::read(PROTOCOL, &prost::Message::encode_to_vec(message))
}

fn bad(field: &'static str, why: &'static str) -> FrameError {
    let frame = FrameKind::Hello;
    FrameError::BadField { frame, field, why }
}

fn range(min: u32, max: u32) -> Minors {
    Minors { min, max }
}

#[test]
fn the_highest_common_minor_wins_and_none_names_both_ranges() {
    assert_eq!(negotiate(range(1, 1), range(1, 1)), Ok(1));
    assert_eq!(negotiate(range(1, 3), range(2, 5)), Ok(3));
    assert_eq!(negotiate(range(2, 5), range(1, 3)), Ok(3));
    assert_eq!(negotiate(range(1, 2), range(2, 3)), Ok(2));
    for (ours, theirs) in [(range(1, 2), range(3, 4)), (range(3, 4), range(1, 2))] {
        let error = NoCommonProtocol { ours, theirs };
        assert_eq!(negotiate(ours, theirs), Err(error));
        for range in [ours, theirs] {
            assert!(error.to_string().contains(&range.to_string()), "{error}");
        }
    }
}

#[test]
fn a_peer_without_a_common_minor_is_named_as_such_whatever_else_it_left_out() {
    let newer = message::Hello {
        protocol_min: Some(2),
        protocol_max: Some(3),
        ..message::Hello::default()
    };
    let error = NoCommonProtocol {
        ours: PROTOCOL,
        theirs: range(2, 3),
    };
    assert_eq!(read(&newer), Err(FrameError::NoCommonProtocol(error)));
}

#[test]
fn a_peer_of_a_later_minor_that_still_speaks_ours_is_understood() {
    let mut hello = full_hello();
    hello.protocol.max = 9;
    hello.features = u64::MAX;
    assert_eq!(read(&hello.to_message()), Ok((hello, 1)));
}

#[test]
fn a_range_upside_down_is_refused() {
    let mut message = full_hello().to_message();
    message.protocol_min = Some(2);
    let error = bad("protocol_min", "above protocol_max");
    assert_eq!(read(&message), Err(error));
}

#[test]
fn counts_and_lengths_are_held_to_their_limits_on_both_sides() {
    let label = |number: usize| (format!("l{number}"), String::new());
    let mut hello = full_hello();
    hello.release = "r".repeat(MAX_RELEASE_BYTES);
    hello.labels = (1..MAX_LABELS).map(label).collect();
    hello.labels.insert(
        "n".repeat(MAX_LABEL_NAME_BYTES),
        "v".repeat(MAX_LABEL_VALUE_BYTES),
    );
    let longest = format!("{}:65535", "a".repeat(MAX_ADDRESS_BYTES - 6));
    hello.addresses = vec![longest.clone(); MAX_ADDRESSES];
    hello.generation = NodeGeneration::MAX;
    assert_eq!(read(&hello.to_message()), Ok((hello.clone(), 1)));

    let refused = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello.clone();
        change(&mut hello);
        read(&hello.to_message()).unwrap_err()
    };
    let release = bad("release", "not 1 to 128 visible characters");
    assert_eq!(refused(&|h| h.release.push('r')), release);
    assert_eq!(refused(&|h| h.release.clear()), release);
    let one_more = refused(&|h| h.labels.extend([label(0)]));
    assert_eq!(one_more, bad("labels", "too many"));
    let name = refused(&|h| h.labels = [("a b".to_owned(), String::new())].into());
    assert_eq!(name, bad("labels", "not a name of a label"));
    let value = refused(&|h| h.labels = [("a".to_owned(), "\n".to_owned())].into());
    assert_eq!(value, bad("labels", "not a value of a label"));
    let one_more = refused(&|h| h.addresses.push("a:1".to_owned()));
    assert_eq!(one_more, bad("addresses", "too many"));
    let address = refused(&|h| h.addresses[0].insert(0, 'a'));
    assert_eq!(address, bad("addresses", "not of the form host:port"));
    let generation = refused(&|h| h.generation.0 += 1);
    assert_eq!(generation, bad("generation", "not below 2^48"));
    let link = refused(&|h| h.link.node.0 = 1 << 48);
    assert_eq!(link, bad("link_generation.node", "not below 2^48"));
}

#[test]
fn names_and_keys_of_other_forms_are_refused() {
    let mut message = full_hello().to_message();
    message.node = Some("https://example.org".to_owned());
    let error = bad("node", "not the SPIFFE URI of a node");
    assert_eq!(read(&message), Err(error));
    for len in [0, 7, 9] {
        let mut message = full_hello().to_message();
        message.link.as_mut().unwrap().dialer = Some(vec![0; len]);
        let error = bad("link_generation.dialer", "of another length");
        assert_eq!(read(&message), Err(error));
    }
}

#[test]
fn a_link_generation_with_an_absent_part_is_refused_wherever_it_stands() {
    let missing = |field| {
        let frame = FrameKind::Hello;
        Err(FrameError::MissingField { frame, field })
    };
    let mut message = full_hello().to_message();
    message.link.as_mut().unwrap().dial = None;
    assert_eq!(read(&message), missing("link_generation.dial"));
    let mut message = full_hello().to_message();
    message.current_link.as_mut().unwrap().node = None;
    assert_eq!(read(&message), missing("link_generation.node"));
}
