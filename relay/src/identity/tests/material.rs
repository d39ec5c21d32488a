//! Loading: what each mistake is called.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::*;
use crate::identity::{FileCertificates, PeerError, Usage};

/// `node.pem`, `node.key` and `bundle.pem` in a directory of their own.
struct Dir {
    dir: tempfile::TempDir,
    files: Files,
}

impl Dir {
    fn new(pem: &Pem) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let files = Files {
            certificate: path("node.pem"),
            key: path("node.key"),
            bundle: path("bundle.pem"),
        };
        fs::write(&files.certificate, &pem.certificate).unwrap();
        fs::write(&files.key, &pem.key).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&files.bundle, &pem.bundle).unwrap();
        Self { dir, files }
    }

    fn certificates(&self) -> FileCertificates {
        FileCertificates::new(self.files.clone(), RequiredName::default())
    }

    fn error(&self) -> String {
        self.certificates().load(now()).unwrap_err().to_string()
    }

    fn each(&self) -> [&PathBuf; 3] {
        [&self.files.certificate, &self.files.key, &self.files.bundle]
    }
}

fn good() -> Pem {
    pem(&authority(1), &leaf("a"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn good_files_load_with_name_and_end() {
    let dir = Dir::new(&good());
    let loaded = dir.certificates().load(now()).unwrap();
    assert_eq!(*loaded.id(), node("a"));
    assert_eq!(loaded.not_after(), validity().not_after);
    assert_eq!(loaded.chain().len(), 1);
    assert_eq!(loaded.warning(), None);
}

#[test]
fn a_missing_file_is_named() {
    for which in 0..3 {
        let dir = Dir::new(&good());
        fs::remove_file(dir.each()[which]).unwrap();
        assert_eq!(
            dir.error(),
            format!("{}: no such file", shown(dir.each()[which]))
        );
    }
}

#[test]
fn a_directory_in_place_of_a_file_is_named() {
    let dir = Dir::new(&good());
    let mut files = dir.files.clone();
    files.key = dir.dir.path().to_owned();
    let error = FileCertificates::new(files, RequiredName::default())
        .load(now())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: is not a regular file", shown(dir.dir.path()))
    );
}

#[test]
fn a_file_above_the_size_limit_is_named_and_one_at_it_is_read() {
    let dir = Dir::new(&good());
    let mut padded = good().certificate;
    padded.push(b'\n');
    padded.resize(512 * 1024, b'#');
    fs::write(&dir.files.certificate, &padded).unwrap();
    dir.certificates().load(now()).unwrap();
    padded.push(b'#');
    fs::write(&dir.files.certificate, &padded).unwrap();
    let expected = format!(
        "{}: is larger than 524288 bytes",
        shown(&dir.files.certificate)
    );
    assert_eq!(dir.error(), expected);
}

#[test]
fn files_without_the_right_pem_block_or_with_a_damaged_one_are_named() {
    let none = b"nothing here\n".to_vec();
    let cases = [
        (
            Pem {
                certificate: none.clone(),
                ..good()
            },
            "node.pem: has no PEM block \"CERTIFICATE\"",
        ),
        (
            Pem {
                key: none.clone(),
                ..good()
            },
            "node.key: has no PEM block \"PRIVATE KEY\"",
        ),
        (
            Pem {
                key: good().certificate,
                ..good()
            },
            "node.key: has no PEM block \"PRIVATE KEY\"",
        ),
        (
            Pem {
                bundle: none,
                ..good()
            },
            "bundle.pem: has no PEM block \"CERTIFICATE\"",
        ),
    ];
    for (pem, expected) in cases {
        assert_eq!(error_of(&pem, now()), expected);
    }
    let cut = |mut text: Vec<u8>| {
        text.truncate(text.len() / 2);
        text
    };
    let (good, damaged) = (good(), "a PEM block is damaged");
    let key = cut(good.key.clone());
    let pem = Pem {
        key,
        ..good.clone()
    };
    assert_eq!(error_of(&pem, now()), format!("node.key: {damaged}"));
    let certificate = cut(good.certificate.clone());
    let pem = Pem {
        certificate,
        ..good
    };
    assert_eq!(error_of(&pem, now()), format!("node.pem: {damaged}"));
}

#[test]
fn several_keys_encrypted_keys_and_unusable_keys_are_told_apart() {
    let mut two = good();
    two.key.extend(good().key);
    assert_eq!(
        error_of(&two, now()),
        "node.key: has 2 private keys, expected exactly one"
    );
    let block = |kind: &str| {
        format!("-----BEGIN {kind}-----\nMAAAAAAA\n-----END {kind}-----\n").into_bytes()
    };
    let with_key = |key| Pem { key, ..good() };
    let encrypted = error_of(&with_key(block("ENCRYPTED PRIVATE KEY")), now());
    assert!(encrypted.contains("encrypted"), "{encrypted}");
    let unusable = error_of(&with_key(block("PRIVATE KEY")), now());
    assert!(unusable.starts_with("node.key: the private key is of no kind"));
}

#[test]
fn a_key_of_another_certificate_names_both_files() {
    let other = pem(&authority(1), &leaf("b"));
    let mixed = Pem {
        key: other.key,
        ..good()
    };
    assert_eq!(
        error_of(&mixed, now()),
        "node.key: is not the key of the certificate in node.pem"
    );
}

#[test]
fn dates_are_checked_on_both_sides_and_said() {
    let Validity {
        not_before,
        not_after,
    } = validity();
    load(&good(), not_before).unwrap();
    load(&good(), not_after).unwrap();
    assert_eq!(
        error_of(&good(), not_after + SECOND),
        "node.pem: certificate expired at 2030-01-02 00:00:00 UTC"
    );
    assert_eq!(
        error_of(&good(), not_before - SECOND),
        "node.pem: certificate is not valid before 2029-12-31 23:55:00 UTC"
    );
}

#[test]
fn a_name_that_the_configuration_does_not_ask_for_is_refused_part_by_part() {
    let some = |text: &str| Some(text.to_owned());
    let required = |trust_domain, region, name| RequiredName {
        trust_domain,
        region,
        name,
    };
    let try_with = |required| {
        Material::try_new(&good(), &files(), &required, now())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        try_with(required(some(DOMAIN), some("eu-west"), some("a"))),
        Ok(())
    );
    let said = |part: &str, got: &str, expected: &str| {
        Err(format!(
            "node.pem: {part} of the certificate is {got}, the configuration says {expected}"
        ))
    };
    assert_eq!(
        try_with(required(some("other.org"), None, None)),
        said("trust domain", DOMAIN, "other.org")
    );
    assert_eq!(
        try_with(required(None, some("us-east"), None)),
        said("region", "eu-west", "us-east")
    );
    assert_eq!(
        try_with(required(None, None, some("b"))),
        said("node name", "a", "b")
    );
}

#[test]
fn a_bundle_of_another_trust_domain_is_refused_also_beside_the_right_one() {
    let other = Authority::generate("other.org", Randomness::Seed(3), now()).unwrap();
    let mut both = good();
    both.bundle.extend(other.certificate_pem().as_bytes());
    assert_eq!(
        error_of(&both, now()),
        "bundle.pem: certificate 2 of the bundle is of trust domain \"other.org\", expected example.org"
    );
}

#[test]
fn a_bundle_may_hold_the_old_ca_beside_the_new_one() {
    let (old, new) = (authority(1), authority(2));
    let with_both = |mut pem: Pem| {
        pem.bundle = [old.certificate_pem(), new.certificate_pem()]
            .concat()
            .into_bytes();
        load(&pem, now()).unwrap()
    };
    let a = with_both(pem(&old, &leaf("a")));
    let b = with_both(pem(&new, &leaf("b")));
    assert_eq!(a.check_peer(b.chain(), now()).unwrap().id, node("b"));
    assert_eq!(b.check_peer(a.chain(), now()).unwrap().id, node("a"));
}

#[test]
fn wrong_usage_and_ca_flags_are_said() {
    let usage = |usage| Leaf { usage, ..leaf("a") };
    let said = |usage_of| error_of(&pem(&authority(1), &usage(usage_of)), now());
    let no_client = said(Usage {
        client_auth: false,
        ..Usage::NODE
    });
    assert!(no_client.contains("lacks clientAuth"), "{no_client}");
    let no_server = said(Usage {
        server_auth: false,
        ..Usage::NODE
    });
    assert!(no_server.contains("lacks serverAuth"), "{no_server}");
    let ca = said(Usage {
        ca: true,
        ..Usage::NODE
    });
    assert!(ca.starts_with("node.pem: ") && ca.ends_with("it is a CA"));
}

#[test]
fn a_chain_that_does_not_lead_to_the_bundle_names_both_files() {
    let mut lost = good();
    lost.bundle = authority(2).certificate_pem().as_bytes().to_vec();
    assert_eq!(
        error_of(&lost, now()),
        "node.pem: is not signed by a CA of the bundle in bundle.pem, or certificates between them are missing"
    );
}

#[test]
fn a_bundle_with_something_that_is_no_ca_is_refused() {
    let mut pem = good();
    pem.bundle.extend(good().certificate);
    assert_eq!(
        error_of(&pem, now()),
        "bundle.pem: certificate 2 of the bundle is not a CA"
    );
}

#[test]
fn certificates_are_counted_on_both_sides_of_the_limits() {
    let ca = authority(1).certificate_pem().to_owned().into_bytes();
    let mut many = good();
    many.bundle = ca.repeat(64);
    many.certificate.extend(ca.repeat(4));
    load(&many, now()).unwrap();
    let mut roots = many.clone();
    roots.bundle.extend(&ca);
    assert_eq!(
        error_of(&roots, now()),
        "bundle.pem: has 65 certificates, the limit is 64"
    );
    many.certificate.extend(&ca);
    assert_eq!(
        error_of(&many, now()),
        "node.pem: has 6 certificates, the limit is 5"
    );
}

#[test]
fn a_key_that_others_can_read_is_a_warning_that_names_file_and_mode() {
    let dir = Dir::new(&good());
    for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&dir.files.key, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = dir.certificates().load(now()).unwrap();
        assert_eq!(loaded.warning().is_some(), warned, "{mode:o}");
        if let Some(warning) = loaded.warning() {
            assert_eq!((&warning.path, warning.mode), (&dir.files.key, mode));
        }
    }
}

#[test]
fn fingerprint_changes_with_each_file_and_only_then() {
    for which in 0..3 {
        let dir = Dir::new(&good());
        let certificates = dir.certificates();
        let before = certificates.fingerprint();
        certificates.load(now()).unwrap();
        assert_eq!(certificates.fingerprint(), before);
        // As a deployment does it: a new file of the same length takes the old one's place.
        let path = dir.each()[which];
        let new = dir.dir.path().join("new");
        fs::copy(path, &new).unwrap();
        fs::rename(&new, path).unwrap();
        let replaced = certificates.fingerprint();
        assert_ne!(replaced, before);
        fs::remove_file(path).unwrap();
        assert_ne!(certificates.fingerprint(), replaced);
    }
}

#[test]
fn derived_bytes_depend_on_key_and_context_and_survive_a_reload() {
    let pem = good();
    let first = load(&pem, now()).unwrap();
    let again = load(&pem, now()).unwrap();
    let other = material(&authority(1), "b");
    assert_eq!(first.derive(b"reset"), again.derive(b"reset"));
    assert_ne!(first.derive(b"reset"), first.derive(b"token"));
    assert_ne!(first.derive(b"reset"), other.derive(b"reset"));
}

#[test]
fn a_linked_peer_is_checked_again_against_a_new_bundle_and_a_later_clock() {
    let ours = authority(1);
    let (a, b) = (material(&ours, "a"), material(&ours, "b"));
    let checked = a.check_peer(b.chain(), now()).unwrap();
    assert_eq!((checked.id, checked.not_after), (node("b"), b.not_after()));
    a.check_peer(b.chain(), b.not_after()).unwrap();
    assert_eq!(
        a.check_peer(b.chain(), b.not_after() + SECOND),
        Err(PeerError::Expired {
            since: b.not_after()
        })
    );
    let reloaded = material(&authority(2), "a");
    assert_eq!(
        reloaded.check_peer(b.chain(), now()),
        Err(PeerError::UnknownIssuer)
    );
    assert_eq!(a.check_peer(&[], now()), Err(PeerError::NoCertificate));
    let leaf = b.chain()[0].clone();
    assert!(a.check_peer(&vec![leaf.clone(); 5], now()).is_ok());
    assert_eq!(
        a.check_peer(&vec![leaf; 6], now()),
        Err(PeerError::ChainTooLong { got: 6 })
    );
}

#[test]
fn fixed_certificates_load_what_was_put_last() {
    let certificates = FixedCertificates::new(good());
    assert_eq!(*certificates.load(now()).unwrap().id(), node("a"));
    certificates.replace(pem(&authority(1), &leaf("b")));
    assert_eq!(*certificates.load(now()).unwrap().id(), node("b"));
}

#[test]
fn debug_output_holds_no_part_of_the_key() {
    let pem = good();
    let key = String::from_utf8(pem.key.clone()).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    let loaded = load(&pem, now()).unwrap();
    let issued = authority(1).issue(&leaf("a")).unwrap();
    let fixed = FixedCertificates::new(pem.clone());
    let shown = format!("{pem:?} {loaded:?} {issued:?} {fixed:?} {:?}", authority(1));
    assert!(!shown.contains(&line) && !shown.contains("PRIVATE"));
    // Vec<u8> would show as numbers.
    assert!(!shown.contains("45, 45, 45"), "{shown}");
}
