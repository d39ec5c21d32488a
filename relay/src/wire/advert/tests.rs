use std::collections::BTreeMap;

use proptest::prelude::*;
use router::{
    advert::{
        MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_GENERATION, MAX_LABEL_NAME_BYTES,
        MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LINKS, MAX_OUTCOMES, MAX_PACKET_BYTES, MAX_PORTS,
        MAX_RELEASE_BYTES, MAX_VIEWS,
    },
    cost::Measure,
};

use super::*;
use crate::wire::limits::MAX_STATEMENT_BYTES;

const REGION: RegionId = RegionId(7);

fn small() -> RawAdvert {
    let link = RawLink {
        peer: NodeKey(2),
        rtt_us: Some(83_000),
        loss_ppm: 100,
        limit_bytes: 1_382,
        health: LinkHealth::Suspect,
    };
    RawAdvert {
        node: NodeKey(1),
        generation: 77,
        sequence: 3,
        region: REGION,
        state: State::Present(Service::Serving),
        load_permille: 250,
        addresses: vec!["fra-1.example.org:4433".to_owned()],
        ports: vec![4_433],
        release: "0123abcd".to_owned(),
        labels: BTreeMap::from([("canary".to_owned(), "no".to_owned())]),
        links: vec![link],
        views: vec![RawView {
            node: NodeKey(3),
            delivered: 40,
            lost: 60,
        }],
    }
}

fn advert(raw: RawAdvert) -> Advert {
    Advert::try_new(raw).unwrap().0
}

fn decode(bytes: &[u8]) -> Result<Advert, StatementError> {
    let statement = AdvertStatement::decode(bytes)?;
    assert_eq!(statement.region, "eu-west");
    Ok(advert(statement.into_raw(REGION)))
}

/// What its receiver makes of a small advert, changed on the way.
fn received(
    change: impl FnOnce(&mut message::AdvertStatement),
) -> Result<AdvertStatement, StatementError> {
    let bytes = AdvertStatement::encode(&advert(small()), "eu-west");
    let mut m = message::AdvertStatement::decode(bytes.as_slice()).unwrap();
    change(&mut m);
    AdvertStatement::decode(&m.encode_to_vec())
}

#[test]
fn the_longest_advert_comes_back_and_fits_a_statement() {
    let name = |number: usize| format!("{number:0MAX_LABEL_NAME_BYTES$}");
    let links = (0..MAX_LINKS as u64).map(|number| RawLink {
        peer: NodeKey(u64::MAX - number),
        rtt_us: Some(u64::try_from(Measure::MAX_RTT.as_micros()).unwrap()),
        loss_ppm: 1_000_000,
        limit_bytes: MAX_PACKET_BYTES.into(),
        health: LinkHealth::Down,
    });
    let views = (0..MAX_VIEWS as u64).map(|number| RawView {
        node: NodeKey(u64::MAX - number),
        delivered: MAX_OUTCOMES,
        lost: MAX_OUTCOMES,
    });
    let address = format!("{}:65535", "a".repeat(MAX_ADDRESS_BYTES - 6));
    let longest = advert(RawAdvert {
        generation: MAX_GENERATION,
        sequence: u64::MAX,
        load_permille: u16::MAX.into(),
        addresses: vec![address; MAX_ADDRESSES],
        ports: vec![u16::MAX; MAX_PORTS],
        release: "x".repeat(MAX_RELEASE_BYTES),
        labels: (0..MAX_LABELS)
            .map(|number| (name(number), "x".repeat(MAX_LABEL_VALUE_BYTES)))
            .collect(),
        links: links.collect(),
        views: views.collect(),
        ..small()
    });
    let bytes = AdvertStatement::encode(&longest, "eu-west");
    assert!(bytes.len() <= MAX_STATEMENT_BYTES, "{}", bytes.len());
    assert_eq!(decode(&bytes), Ok(longest));
}

#[test]
fn every_state_and_health_comes_back_as_it_was() {
    for state in [
        State::Present(Service::Warming),
        State::Present(Service::Serving),
        State::Present(Service::Draining),
        State::Left,
    ] {
        for health in [LinkHealth::Usable, LinkHealth::Suspect, LinkHealth::Down] {
            let mut raw = small();
            raw.state = state;
            raw.links[0].health = health;
            let advert = advert(raw);
            let bytes = AdvertStatement::encode(&advert, "eu-west");
            assert_eq!(decode(&bytes), Ok(advert));
        }
    }
}

#[test]
fn an_unknown_state_is_refused_and_an_unknown_health_is_taken_for_down() {
    for number in [0, 5] {
        let got = received(|m| m.state = Some(number));
        assert_eq!(got, Err(bad("state", "not 1 to 4")));
        let got = received(|m| m.links[0].health = Some(number));
        assert_eq!(got.unwrap().raw.links[0].health, LinkHealth::Down);
    }
}

#[test]
fn absurd_figures_are_decoded_for_the_router_to_adjust() {
    let got = received(|m| {
        m.load_permille = Some(u64::MAX);
        m.links[0].rtt_us = Some(u64::MAX);
        m.links[0].loss_ppm = Some(u64::MAX);
        m.links[0].limit_bytes = Some(u64::MAX);
        m.views[0].lost = Some(u64::MAX);
    });
    let (advert, adjusted) = Advert::try_new(got.unwrap().into_raw(REGION)).unwrap();
    assert_eq!(adjusted.total(), 5);
    let link = advert.content().links[&NodeKey(2)];
    assert_eq!(link.measure.unwrap().rtt, Measure::MAX_RTT);
}

#[test]
fn each_field_that_must_be_there_is_named_where_it_is_absent() {
    let missing = |change: &dyn Fn(&mut message::AdvertStatement)| match received(change) {
        Err(StatementError::MissingField { field }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&|m| m.node = None), "node");
    assert_eq!(missing(&|m| m.generation = None), "generation");
    assert_eq!(missing(&|m| m.sequence = None), "sequence");
    assert_eq!(missing(&|m| m.region = None), "region");
    assert_eq!(missing(&|m| m.state = None), "state");
    assert_eq!(missing(&|m| m.load_permille = None), "load_permille");
    assert_eq!(missing(&|m| m.release = None), "release");
    assert_eq!(missing(&|m| m.links[0].peer = None), "link.peer");
    assert_eq!(missing(&|m| m.links[0].loss_ppm = None), "link.loss_ppm");
    assert_eq!(
        missing(&|m| m.links[0].limit_bytes = None),
        "link.limit_bytes"
    );
    assert_eq!(missing(&|m| m.links[0].health = None), "link.health");
    let got = received(|m| m.links[0].rtt_us = None);
    assert_eq!(got.unwrap().raw.links[0].rtt_us, None);
}

#[test]
fn texts_are_held_to_the_limits_of_a_hello() {
    let refused = |change: &dyn Fn(&mut message::AdvertStatement)| match received(change) {
        Err(StatementError::BadField { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&|m| m.release = Some(String::new())), "release");
    assert_eq!(
        refused(&|m| m.addresses[0] = "host".to_owned()),
        "addresses"
    );
    assert_eq!(refused(&|m| m.ports[0] = 65_536), "ports");
    for (name, value) in [("a b", ""), ("a", "two\nlines")] {
        let with_label = |m: &mut message::AdvertStatement| {
            m.labels.insert(name.to_owned(), value.to_owned());
        };
        assert_eq!(refused(&with_label), "labels");
    }
}

proptest! {
    #[test]
    fn a_statement_with_bytes_changed_is_an_advert_or_a_typed_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = AdvertStatement::encode(&advert(small()), "eu-west");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(statement) = AdvertStatement::decode(&bytes) {
            let region = statement.region.clone();
            if let Ok((advert, _)) = Advert::try_new(statement.into_raw(REGION)) {
                let again = AdvertStatement::encode(&advert, &region);
                let again = AdvertStatement::decode(&again).unwrap().into_raw(REGION);
                prop_assert_eq!(Advert::try_new(again).unwrap(), (advert, Default::default()));
            }
        }
    }

    #[test]
    fn any_figures_within_bounds_come_back(
        version in (any::<u64>(), 0..=MAX_GENERATION, any::<u64>()),
        load: u16, loss in 0..=1_000_000_u64, limit in 0..=MAX_PACKET_BYTES,
        rtt in prop::option::of(0..=Measure::MAX_RTT.as_micros() as u64),
    ) {
        let (node, generation, sequence) = version;
        prop_assume!(node != 2);
        let mut raw = RawAdvert { node: NodeKey(node), generation, sequence, ..small() };
        raw.load_permille = load.into();
        raw.links[0].rtt_us = rtt;
        raw.links[0].loss_ppm = loss;
        raw.links[0].limit_bytes = limit.into();
        let advert = advert(raw);
        let bytes = AdvertStatement::encode(&advert, "eu-west");
        prop_assert_eq!(decode(&bytes), Ok(advert));
    }
}
