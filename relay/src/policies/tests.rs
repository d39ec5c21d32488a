use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::{
    env::Certificates,
    id::NodeId,
    identity::{
        FixedCertificates, Pem,
        pki::{Authority, Leaf, NodePem, Randomness, Validity},
    },
};

const DOMAIN: &str = "example.org";
const DAY: Duration = Duration::from_secs(86_400);

/// 2030-01-01 00:00:00 UTC.
fn now() -> SystemTime {
    UNIX_EPOCH + today()
}

fn today() -> Duration {
    Duration::from_secs(1_893_456_000)
}

fn authority(seed: u64) -> Authority {
    Authority::generate(DOMAIN, Randomness::Seed(seed), now()).unwrap()
}

fn node_leaf() -> Leaf {
    let id = NodeId::try_new(DOMAIN, "eu-west", "a").unwrap();
    Leaf::node(&id, Validity::starting(now(), DAY * 90))
}

fn admin_leaf() -> Leaf {
    let id = AdministratorId::try_new(DOMAIN, "ops").unwrap();
    Leaf::administrator(&id, Validity::starting(now(), DAY * 30))
}

fn pem(authority: &Authority, leaf: &Leaf) -> Pem {
    let NodePem {
        certificate, key, ..
    } = authority.issue(leaf).unwrap();
    Pem {
        certificate: certificate.into_bytes(),
        key: key.into_bytes(),
        bundle: authority.certificate_pem().as_bytes().to_vec(),
    }
}

/// A node of the trust domain.
fn node(authority: &Authority) -> Material {
    FixedCertificates::new(pem(authority, &node_leaf()))
        .load(now())
        .unwrap()
}

/// Whoever has a certificate that says `leaf`, and signs with it.
fn signer(authority: &Authority, leaf: &Leaf) -> Administrator {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("a.pem"),
        directory.path().join("a.key"),
    );
    let pem = pem(authority, leaf);
    std::fs::write(&certificate, pem.certificate).unwrap();
    std::fs::write(&key, pem.key).unwrap();
    Administrator::load(certificate, key).unwrap()
}

fn policy(epoch: u64) -> FleetPolicy {
    FleetPolicy {
        epoch,
        expires: today() + DAY,
        weights: BTreeMap::from([("canary".into(), 5)]),
        condemned: BTreeSet::from(["bad".into()]),
    }
}

fn hear(signed: &[u8], at: &Material) -> Result<FleetPolicy, PolicyRefusedReason> {
    let heard = HeardPolicy::decode(signed).map_err(|refused| refused.reason())?;
    let believed = heard
        .verify(at, now())
        .map_err(|refused| refused.reason())?;
    Ok(believed.1.value().clone())
}

#[test]
fn administrators_policy_is_believed_and_names_who_signed() {
    let ours = authority(1);
    let signed = sign_policy(&signer(&ours, &admin_leaf()), policy(7)).unwrap();
    let heard = HeardPolicy::decode(&signed).unwrap();
    assert_eq!(heard.epoch(), 7);
    let (by, believed) = heard.verify(&node(&ours), now()).unwrap();
    assert_eq!(by.name(), "ops");
    assert_eq!(believed.value(), &policy(7));
    assert_eq!(&believed.signed()[..], &signed[..]);
}

#[test]
fn policy_ends_with_the_certificate_that_signed_it() {
    let ours = authority(1);
    let late = FleetPolicy {
        expires: today() + DAY * 365,
        ..policy(1)
    };
    let signed = sign_policy(&signer(&ours, &admin_leaf()), late).unwrap();
    assert_eq!(
        hear(&signed, &node(&ours)).unwrap().expires,
        today() + DAY * 30
    );
}

#[test]
fn what_a_node_or_another_trust_domain_or_nobody_signed_is_refused_by_its_reason() {
    let ours = authority(1);
    let at = node(&ours);
    let admin = signer(&ours, &admin_leaf());
    // A node's own signature, in the right context.
    let statement = PolicyStatement(policy(1)).encode().unwrap();
    let by_node = at.sign(Context::POLICY, statement.clone().into()).unwrap();
    let by_node = by_node.encode().unwrap();
    assert_eq!(
        hear(&by_node, &at),
        Err(PolicyRefusedReason::NotAnAdministrator)
    );
    // Another CA, and a name of another trust domain signed by ours.
    let theirs = sign_policy(&signer(&authority(2), &admin_leaf()), policy(1)).unwrap();
    assert_eq!(hear(&theirs, &at), Err(PolicyRefusedReason::Untrusted));
    let stranger = AdministratorId::try_new("example.com", "ops").unwrap();
    let stranger = Leaf::administrator(&stranger, Validity::starting(now(), DAY));
    let theirs = sign_policy(&signer(&ours, &stranger), policy(1)).unwrap();
    assert_eq!(hear(&theirs, &at), Err(PolicyRefusedReason::Untrusted));
    // A certificate that has ended.
    let old = Leaf {
        validity: Validity::starting(now() - DAY * 9, DAY),
        ..admin_leaf()
    };
    let old = sign_policy(&signer(&ours, &old), policy(1)).unwrap();
    assert_eq!(hear(&old, &at), Err(PolicyRefusedReason::Untrusted));
    // What was signed for something else, and what was changed since.
    let advert = admin.sign(Context::ADVERT, statement.into()).unwrap();
    let advert = advert.encode().unwrap();
    assert_eq!(hear(&advert, &at), Err(PolicyRefusedReason::BadSignature));
    let mut changed = SignedStatement::decode(&sign_policy(&admin, policy(1)).unwrap()).unwrap();
    changed.statement = PolicyStatement(policy(2)).encode().unwrap().into();
    let changed = changed.encode().unwrap();
    assert_eq!(hear(&changed, &at), Err(PolicyRefusedReason::BadSignature));
    assert_eq!(hear(b"nonsense", &at), Err(PolicyRefusedReason::Malformed));
}

#[test]
fn administrators_certificate_makes_no_node_and_a_nodes_no_administrator() {
    let ours = authority(1);
    let at = node(&ours);
    let admin = pem(&ours, &admin_leaf());
    assert!(FixedCertificates::new(admin).load(now()).is_err());
    // Not even one that is good for both ends of a link.
    let both = Leaf {
        usage: crate::identity::Usage::NODE,
        ..admin_leaf()
    };
    let both = pem(&ours, &both);
    assert!(FixedCertificates::new(both.clone()).load(now()).is_err());
    let chain = rustls_pki_types::pem::PemObject::from_pem_slice(&both.certificate).unwrap();
    assert!(at.check_peer(&[chain], now()).is_err());
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("n.pem"),
        directory.path().join("n.key"),
    );
    let node = pem(&ours, &node_leaf());
    std::fs::write(&certificate, node.certificate).unwrap();
    std::fs::write(&key, node.key).unwrap();
    let error = Administrator::load(certificate, key)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is no administrator"), "{error}");
}

#[test]
fn hash_tells_policies_of_one_epoch_apart() {
    assert_eq!(policy_hash(b"a"), policy_hash(b"a"));
    assert_ne!(policy_hash(b"a"), policy_hash(b"b"));
}
