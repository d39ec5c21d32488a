//! Reading certificates that somebody has tampered with.

use proptest::prelude::*;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::identity::{PeerCertificate, PeerError, certificate::Contents};

fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

/// A node's certificate and a CA's.
fn real() -> [Vec<u8>; 2] {
    let ours = authority(1);
    let node = pem(&ours, &leaf("a"));
    [der(&node.certificate), der(&node.bundle)]
}

#[derive(Debug, Clone)]
enum Edit {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Copy(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), any::<u8>()).prop_map(|(at, to)| Edit::Set(at, to)),
        1 => at().prop_map(Edit::Cut),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: Edit) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match edit {
        Edit::Set(at, to) => bytes[at.index(len)] = to,
        Edit::Cut(at) => bytes.truncate(at.index(len)),
        Edit::Insert(at, new) => {
            let at = at.index(len);
            bytes.splice(at..at, new);
        }
        Edit::Copy(from, to) => bytes[to.index(len)] = bytes[from.index(len)],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn tampered_certificates_never_panic_and_never_pass(
        which in 0_usize..2,
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let ours = material(&authority(1), "a");
        let original = real()[which].clone();
        let mut bytes = original.clone();
        for edit in edits {
            apply(&mut bytes, edit);
        }
        let tampered = [CertificateDer::from(bytes.clone())];
        let _ = PeerCertificate::read(&tampered);
        if let Ok(contents) = Contents::read(&tampered[0]) {
            let _ = (contents.node(), contents.check_time(now()), contents.authority_of());
        }
        if bytes != original {
            prop_assert!(ours.check_peer(&tampered, now()).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(PeerCertificate::read(&[CertificateDer::from(bytes)]).is_err());
    }
}

#[test]
fn bytes_after_a_certificate_make_it_unreadable() {
    let [mut node, _] = real();
    PeerCertificate::read(&[CertificateDer::from(node.clone())]).unwrap();
    node.push(0);
    let read = PeerCertificate::read(&[CertificateDer::from(node)]);
    assert!(
        matches!(read, Err(PeerError::Unreadable { .. })),
        "{read:?}"
    );
}

#[test]
fn every_word_is_listed_once() {
    let mut words = PeerError::WORDS.to_vec();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words, PeerError::WORDS);
    for error in [
        PeerError::ChainTooLong { got: 6 },
        PeerError::Expired { since: now() },
        PeerError::ManyNames { got: 2 },
        PeerError::NoCertificate,
        PeerError::NoName,
        PeerError::NotANode { got: String::new() },
        PeerError::NotYetValid { from: now() },
        PeerError::Rejected { why: String::new() },
        PeerError::UnknownIssuer,
        PeerError::Unreadable { why: String::new() },
        PeerError::WrongName {
            expected: node("a"),
            got: node("b"),
        },
        PeerError::WrongTrustDomain {
            expected: String::new(),
            got: String::new(),
        },
        PeerError::WrongUsage { why: "" },
    ] {
        assert!(PeerError::WORDS.contains(&error.word()), "{error:?}");
    }
}
