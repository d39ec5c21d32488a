use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use router::{
    advert::{Content, Publisher, PublisherConfig, RawAdvert, RawLink, State},
    cost::{Loss, Measure},
    graph::{self, LinkHealth, Service},
};

use super::*;
use crate::{
    clock,
    env::Certificates,
    identity::{
        FixedCertificates, Pem,
        pki::{Authority, Leaf, Randomness, Validity},
    },
    wire::limits::MAX_SIGNED_BYTES,
};

const DAY: Duration = Duration::from_secs(86_400);

/// 2030-01-01 00:00:00 UTC.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

fn id(name: &str) -> NodeId {
    NodeId::try_new("example.org", "eu-west", name).unwrap()
}

fn authority(domain: &str, seed: u64) -> Authority {
    Authority::generate(domain, Randomness::Seed(seed), now()).unwrap()
}

fn material(authority: &Authority, id: &NodeId) -> Material {
    let issued = authority.issue(&Leaf::node(id, Validity::starting(now(), DAY)));
    let issued = issued.unwrap();
    let pem = Pem {
        certificate: issued.certificate.into_bytes(),
        key: issued.key.into_bytes(),
        bundle: authority.certificate_pem().as_bytes().to_vec(),
    };
    FixedCertificates::new(pem).load(now()).unwrap()
}

fn raw(id: &NodeId, region: RegionId) -> RawAdvert {
    RawAdvert {
        node: id.key().into(),
        generation: 77,
        sequence: 3,
        region,
        state: State::Present(Service::Serving),
        load_permille: 250,
        addresses: vec!["fra-1.example.org:4433".to_owned()],
        ports: vec![4_433],
        release: "0123abcd".to_owned(),
        labels: BTreeMap::from([("canary".to_owned(), "no".to_owned())]),
        links: vec![RawLink {
            peer: graph::NodeKey(2),
            rtt_us: Some(83_000),
            loss_ppm: 100,
            limit_bytes: 1_382,
            health: LinkHealth::Usable,
        }],
        views: Vec::new(),
    }
}

/// A node that hears the adverts of others.
struct Receiver {
    material: Material,
    chains: Chains,
    regions: Regions,
    now: SystemTime,
}

impl Receiver {
    fn new(authority: &Authority) -> Self {
        Self {
            material: material(authority, &id("receiver")),
            chains: Chains::default(),
            regions: Regions::default(),
            now: now(),
        }
    }

    fn hear(&mut self, signed: &[u8]) -> Result<Advert, AdvertRefused> {
        self.hear_all(signed)
            .map(|(_, advert, _)| advert.value().clone())
    }

    fn hear_all(
        &mut self,
        signed: &[u8],
    ) -> Result<(NodeId, Verified<Advert>, Adjustments), AdvertRefused> {
        let (chains, regions) = (&mut self.chains, &mut self.regions);
        HeardAdvert::decode(signed)?.verify(&self.material, chains, regions, self.now)
    }

    fn refuses(&mut self, signed: &[u8]) -> AdvertRefusedReason {
        self.hear(signed).unwrap_err().reason()
    }
}

/// The advert of node `a`, signed.
fn signed(material: &Material) -> Verified<Advert> {
    let mut regions = Regions::default();
    let region = regions.intern(material.id().region()).unwrap();
    let (advert, _) = Advert::try_new(raw(material.id(), region)).unwrap();
    sign_advert(material, &regions, &advert).unwrap()
}

/// Signs what `sign_advert` would not.
fn forged(material: &Material, context: Context, advert: &Advert, region: &str) -> Vec<u8> {
    let statement = AdvertStatement::encode(advert, region);
    let signed = material.sign(context, statement.into()).unwrap();
    signed.encode().unwrap()
}

fn advert_of(id: &NodeId) -> Advert {
    Advert::try_new(raw(id, RegionId(0))).unwrap().0
}

#[test]
fn what_a_node_signs_is_believed_by_another_and_goes_on_as_it_came() {
    let authority = authority("example.org", 1);
    let said = signed(&material(&authority, &id("a")));
    let mut receiver = Receiver::new(&authority);
    let (signer, heard, adjusted) = receiver.hear_all(said.signed()).unwrap();
    assert_eq!(signer, id("a"));
    assert_eq!(heard, said);
    assert_eq!(adjusted, Adjustments::default());
    assert_eq!(receiver.regions.id("eu-west"), Some(RegionId(0)));
}

#[test]
fn no_flipped_bit_makes_another_advert() {
    let authority = authority("example.org", 1);
    let said = signed(&material(&authority, &id("a")));
    let mut receiver = Receiver::new(&authority);
    let mut bytes = said.signed().to_vec();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            bytes[at] ^= flip;
            match receiver.hear(&bytes) {
                Ok(heard) => assert_eq!(heard, *said.value(), "byte {at}"),
                Err(_) => refused += 1,
            }
            bytes[at] ^= flip;
        }
    }
    // All but some in what protobuf takes either way.
    assert!(refused >= bytes.len() * 9 - 9, "{refused}");
}

#[test]
fn a_statement_or_a_signature_of_another_node_is_refused() {
    let authority = authority("example.org", 1);
    let (a, b) = (
        material(&authority, &id("a")),
        material(&authority, &id("b")),
    );
    let mut receiver = Receiver::new(&authority);
    // With its own chain, it speaks in the name of another.
    let bytes = forged(&b, Context::ADVERT, &advert_of(&id("a")), "eu-west");
    assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::NotItsOwn);
    // With the chain of another, the signature is not that one's.
    let mut envelope = SignedStatement::decode(&bytes).unwrap();
    envelope.chain = a.chain().to_vec();
    let bytes = envelope.encode().unwrap();
    assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::BadSignature);
}

#[test]
fn a_signature_for_something_else_is_refused() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let mut receiver = Receiver::new(&authority);
    for (text, passes) in [
        ("causeway advert v1", true),
        ("causeway advert v2", false),
        ("causeway advert v", false),
        ("", false),
    ] {
        let bytes = forged(&a, Context::new(text), &advert_of(&id("a")), "eu-west");
        match receiver.hear(&bytes) {
            Ok(_) => assert!(passes, "{text}"),
            Err(refused) => {
                assert!(!passes, "{text}");
                assert_eq!(refused.reason(), AdvertRefusedReason::BadSignature);
            }
        }
    }
}

#[test]
fn a_scheme_that_is_not_the_keys_is_refused() {
    let authority = authority("example.org", 1);
    let said = signed(&material(&authority, &id("a")));
    let mut receiver = Receiver::new(&authority);
    let mut envelope = SignedStatement::decode(said.signed()).unwrap();
    // ECDSA on P-256, RSA as in TLS 1.2, and nothing.
    for scheme in [0x0403, 0x0401, 0] {
        envelope.scheme = scheme;
        let bytes = envelope.encode().unwrap();
        assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::BadSignature);
    }
}

#[test]
fn keys_of_every_kind_that_a_node_may_have_sign_what_others_believe() {
    let authority = authority("example.org", 1);
    let mut receiver = Receiver::new(&authority);
    for kind in [
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ] {
        let ca = KeyPair::from_pem(&authority.key_pem()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(authority.certificate_pem(), &ca).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = now().into();
        params.not_after = (now() + DAY).into();
        params.subject_alt_names = vec![SanType::URI(id("a").uri().try_into().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let pem = Pem {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            bundle: authority.certificate_pem().as_bytes().to_vec(),
        };
        let said = signed(&FixedCertificates::new(pem).load(now()).unwrap());
        assert_eq!(receiver.hear(said.signed()), Ok(said.value().clone()));
        let mut envelope = SignedStatement::decode(said.signed()).unwrap();
        let mut signature = envelope.signature.to_vec();
        signature[20] ^= 1;
        envelope.signature = signature.into();
        let bytes = envelope.encode().unwrap();
        assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::BadSignature);
    }
}

#[test]
fn a_chain_is_believed_until_it_ends_also_where_it_is_remembered() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let said = signed(&a);
    let mut receiver = Receiver::new(&authority);
    receiver.now = a.not_after();
    assert!(receiver.hear(said.signed()).is_ok());
    assert_eq!(receiver.chains.len(), 1);
    receiver.now += Duration::from_secs(1);
    let refused = receiver.hear(said.signed()).unwrap_err();
    assert!(matches!(
        refused,
        AdvertRefused::Untrusted(PeerError::Expired { .. })
    ));
    assert_eq!(receiver.chains.len(), 0);
    // And where it is not.
    assert_eq!(
        receiver.refuses(said.signed()),
        AdvertRefusedReason::Untrusted
    );
    receiver.now = now() - DAY;
    assert_eq!(
        receiver.refuses(said.signed()),
        AdvertRefusedReason::Untrusted
    );
}

#[test]
fn a_ca_or_a_trust_domain_that_is_not_ours_is_refused() {
    let ours = authority("example.org", 1);
    let mut receiver = Receiver::new(&ours);
    let said = signed(&material(&authority("example.org", 2), &id("a")));
    assert_eq!(
        receiver.refuses(said.signed()),
        AdvertRefusedReason::Untrusted
    );
    let stranger = NodeId::try_new("other.org", "eu-west", "a").unwrap();
    let said = signed(&material(&authority("other.org", 1), &stranger));
    assert_eq!(
        receiver.refuses(said.signed()),
        AdvertRefusedReason::Untrusted
    );
    assert!(receiver.chains.is_empty());
}

#[test]
fn a_region_that_is_not_the_certificates_is_refused() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let mut receiver = Receiver::new(&authority);
    let bytes = forged(&a, Context::ADVERT, &advert_of(&id("a")), "us-east");
    assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::WrongRegion);
    assert_eq!(receiver.regions.id("us-east"), None);
}

#[test]
fn a_node_signs_for_itself_and_its_region_only() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let mut regions = Regions::default();
    let there = regions.intern("us-east").unwrap();
    let here = regions.intern("eu-west").unwrap();
    for (node, region, is_ours) in [
        ("a", here, true),
        ("b", here, false),
        ("a", there, false),
        ("a", RegionId(9), false),
    ] {
        let (advert, _) = Advert::try_new(raw(&id(node), region)).unwrap();
        let signed = sign_advert(&a, &regions, &advert);
        assert_eq!(signed.is_ok(), is_ours);
        assert!(is_ours || signed == Err(SignAdvertError::NotOurs));
    }
}

#[test]
fn what_others_would_refuse_is_not_signed_and_what_they_adjust_is_adjusted() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let mut regions = Regions::default();
    let region = regions.intern("eu-west").unwrap();
    let sign = |change: &dyn Fn(&mut Content)| {
        // A publisher does not check what it is told.
        let start = clock::now();
        let node = id("a").key().into();
        let mut publisher = Publisher::new(PublisherConfig::default(), node, 1, 0, start);
        let mut content = Advert::try_new(raw(&id("a"), region))
            .unwrap()
            .0
            .content()
            .clone();
        change(&mut content);
        publisher.handle_content(start, content);
        sign_advert(&a, &regions, &publisher.poll_output().unwrap())
    };
    let refused = sign(&|content| content.ports = vec![1; 257]);
    assert!(matches!(refused, Err(SignAdvertError::OutOfBounds(_))));
    let refused = sign(&|content| content.addresses = vec!["nowhere".to_owned()]);
    assert!(matches!(refused, Err(SignAdvertError::Statement(_))));
    let refused =
        sign(&|content| content.labels = BTreeMap::from([("x".repeat(40_000), String::new())]));
    assert!(refused.is_err());

    let rtt = Duration::from_nanos(83_000_999);
    let said = sign(&|content| {
        let link = graph::Link {
            measure: Some(Measure {
                rtt,
                loss: Loss::NONE,
            }),
            health: LinkHealth::Usable,
            limit_bytes: u16::MAX,
        };
        content.links = BTreeMap::from([(graph::NodeKey(2), link)]);
    });
    let said = said.unwrap();
    let link = said.value().content().links[&graph::NodeKey(2)];
    assert_eq!(link.measure.unwrap().rtt, Duration::from_micros(83_000));
    assert_eq!(link.limit_bytes, router::advert::MAX_PACKET_BYTES);
    assert_eq!(
        Receiver::new(&authority).hear(said.signed()),
        Ok(said.value().clone())
    );
}

#[test]
fn an_advert_that_is_too_long_or_cannot_be_read_is_malformed() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let mut receiver = Receiver::new(&authority);
    for bytes in [vec![], vec![0xff; 10], vec![0; MAX_SIGNED_BYTES + 1]] {
        assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::Malformed);
    }
    let unread = a.sign(Context::ADVERT, vec![0xff].into()).unwrap();
    let unread = unread.encode().unwrap();
    assert_eq!(receiver.refuses(&unread), AdvertRefusedReason::Malformed);
    // Nothing was checked for these.
    assert_eq!(receiver.chains.checks(), 0);
}

#[test]
fn a_signed_advert_beyond_bounds_is_refused() {
    let authority = authority("example.org", 1);
    let a = material(&authority, &id("a"));
    let start = clock::now();
    let node = id("a").key().into();
    let mut publisher = Publisher::new(PublisherConfig::default(), node, 1, 0, start);
    let mut content = advert_of(&id("a")).content().clone();
    content.ports = vec![1; 257];
    publisher.handle_content(start, content);
    let advert = publisher.poll_output().unwrap();
    let bytes = forged(&a, Context::ADVERT, &advert, "eu-west");
    let mut receiver = Receiver::new(&authority);
    assert_eq!(receiver.refuses(&bytes), AdvertRefusedReason::OutOfBounds);
}

#[test]
fn a_known_chain_is_not_checked_again_until_the_bundle_is_loaded_anew() {
    let (ours, other) = (authority("example.org", 1), authority("example.org", 2));
    let (a, b) = (material(&ours, &id("a")), material(&ours, &id("b")));
    let mut receiver = Receiver::new(&ours);
    for _ in 0..3 {
        receiver.hear(signed(&a).signed()).unwrap();
        receiver.hear(signed(&b).signed()).unwrap();
    }
    assert_eq!((receiver.chains.checks(), receiver.chains.len()), (2, 2));
    receiver.material = material(&ours, &id("receiver"));
    receiver.hear(signed(&a).signed()).unwrap();
    assert_eq!((receiver.chains.checks(), receiver.chains.len()), (3, 1));
    // A bundle without their CA.
    receiver.material = Receiver::new(&other).material;
    assert_eq!(
        receiver.refuses(signed(&a).signed()),
        AdvertRefusedReason::Untrusted
    );
    assert!(receiver.chains.is_empty());
}

#[test]
fn chains_are_bounded_and_the_one_that_was_not_used_for_longest_is_forgotten() {
    let authority = authority("example.org", 1);
    let mut receiver = Receiver::new(&authority);
    let said = |number: usize| signed(&material(&authority, &id(&format!("n{number}"))));
    let (first, second) = (said(0), said(1));
    receiver.hear(first.signed()).unwrap();
    receiver.hear(second.signed()).unwrap();
    for number in 2..Chains::MAX {
        receiver.hear(said(number).signed()).unwrap();
    }
    receiver.hear(first.signed()).unwrap();
    let checks = receiver.chains.checks();
    assert_eq!((checks, receiver.chains.len()), (1_024, Chains::MAX));
    receiver.hear(said(Chains::MAX).signed()).unwrap();
    assert_eq!(receiver.chains.len(), Chains::MAX);
    receiver.hear(first.signed()).unwrap();
    assert_eq!(receiver.chains.checks(), checks + 1);
    receiver.hear(second.signed()).unwrap();
    assert_eq!(receiver.chains.checks(), checks + 2);
}

#[test]
fn regions_keep_their_numbers_and_are_bounded() {
    let mut regions = Regions::default();
    for number in 0..Regions::MAX as u32 {
        assert_eq!(regions.intern(&format!("r{number}")), Ok(RegionId(number)));
    }
    assert_eq!(regions.intern("one more"), Err(TooManyRegions));
    assert_eq!(regions.intern("r7"), Ok(RegionId(7)));
    assert_eq!(regions.name(RegionId(7)), Some("r7"));
    assert_eq!(regions.name(RegionId(u32::MAX)), None);
    assert_eq!(regions.id("one more"), None);
}

#[test]
fn every_refusal_has_a_reason_of_its_own() {
    let signer = id("a");
    let refusals = [
        AdvertRefused::BadSignature,
        AdvertRefused::Malformed(StatementError::NotProtobuf),
        AdvertRefused::NotItsOwn {
            signer: signer.clone(),
            got: NodeKey([0; 8]),
        },
        AdvertRefused::OutOfBounds(AdvertError::OwnLink),
        AdvertRefused::TooManyRegions(TooManyRegions),
        AdvertRefused::Untrusted(PeerError::UnknownIssuer),
        AdvertRefused::WrongRegion { signer },
    ];
    let reasons = refusals.map(|refusal| refusal.reason());
    assert_eq!(reasons, AdvertRefusedReason::ALL);
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut receiver = Receiver::new(&authority("example.org", 1));
        prop_assert!(receiver.hear(&bytes).is_err());
    }
}
