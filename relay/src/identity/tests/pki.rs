//! The private CA, in memory and as files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::identity::{
    Administrator, FileCertificates,
    pki::{AUTHORITY_VALIDITY, BACKDATE, FileError, Issued, init, issue, issue_administrator},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn issue_a(dir: &Path, days: u32, now: SystemTime) -> Result<Issued, FileError> {
    issue(dir, "eu-west", "a", &dir.join("out"), days, now)
}

#[test]
fn issued_files_load_as_a_node_and_keys_are_the_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("made").join("ca");
    let (certificate, key) = init(&ca, DOMAIN, now()).unwrap();
    assert_eq!((mode(&certificate), mode(&key)), (0o644, 0o600));
    let issued = issue_a(&ca, 90, now()).unwrap();
    assert_eq!(issued.id, node("a"));
    assert_eq!(issued.not_after, now() + 90 * DAY);
    assert_eq!(issued.files.certificate, ca.join("out/a.pem"));
    assert_eq!(issued.files.bundle, ca.join("out/bundle.pem"));
    assert_eq!(mode(&issued.files.key), 0o600);
    assert_eq!(
        fs::read(&issued.files.bundle).unwrap(),
        fs::read(&certificate).unwrap()
    );
    let loaded = FileCertificates::new(issued.files, RequiredName::default())
        .load(now() - BACKDATE)
        .unwrap();
    assert_eq!(*loaded.id(), node("a"));
    assert_eq!(loaded.warning(), None);
    assert_eq!(loaded.not_after(), now() + 90 * DAY);
}

#[test]
fn a_node_is_reissued_but_its_files_are_not_given_to_its_namesake_in_another_region() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), DOMAIN, now()).unwrap();
    let first = issue_a(dir.path(), 90, now()).unwrap();
    let again = issue_a(dir.path(), 10, now()).unwrap();
    assert_eq!(again.files, first.files);
    let key = fs::read(&again.files.key).unwrap();
    let namesake = issue(
        dir.path(),
        "us-east",
        "a",
        &dir.path().join("out"),
        90,
        now(),
    );
    let error = namesake.unwrap_err().to_string();
    assert!(
        error.ends_with("out/a.pem: belongs to eu-west/a: name another directory with --out"),
        "{error}"
    );
    assert_eq!(fs::read(&again.files.key).unwrap(), key);
}

#[test]
fn issued_administrator_signs_and_is_no_node_and_its_key_is_the_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), DOMAIN, now()).unwrap();
    let out = dir.path().join("made/when/needed");
    let issued = issue_administrator(dir.path(), "ops", &out, 30, now()).unwrap();
    assert_eq!(issued.id.uri(), "spiffe://example.org/admin/ops");
    assert_eq!(issued.certificate, out.join("ops.pem"));
    assert_eq!(
        (mode(&issued.certificate), mode(&issued.key)),
        (0o644, 0o600)
    );
    assert_eq!(issued.not_after, now() + 30 * DAY);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    let loaded = Administrator::load(issued.certificate.clone(), issued.key.clone()).unwrap();
    assert_eq!(*loaded.id(), issued.id);
    let as_node = Files {
        certificate: issued.certificate,
        key: issued.key,
        bundle: dir.path().join("ca.pem"),
    };
    let refused = FileCertificates::new(as_node, RequiredName::default()).load(now());
    assert!(refused.is_err());
}

#[test]
fn nodes_and_administrators_of_one_name_do_not_take_each_others_files() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), DOMAIN, now()).unwrap();
    let out = dir.path().join("out");
    let admin = |name| issue_administrator(dir.path(), name, &out, 30, now());
    let of_node = issue_a(dir.path(), 90, now()).unwrap();
    let key = fs::read(&of_node.files.key).unwrap();
    let error = admin("a").unwrap_err().to_string();
    assert!(error.contains("a.pem: belongs to eu-west/a: "), "{error}");
    assert_eq!(fs::read(&of_node.files.key).unwrap(), key);
    admin("b").unwrap();
    admin("b").unwrap();
    let error = issue(dir.path(), "eu-west", "b", &out, 90, now());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("b.pem: belongs to administrator b: "),
        "{error}"
    );
    let error = admin("ca").unwrap_err();
    assert!(matches!(error, FileError::Reserved { .. }), "{error}");
}

#[test]
fn a_ca_is_never_overwritten_not_even_half_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = init(dir.path(), DOMAIN, now()).unwrap();
    let refused = || {
        let before = (fs::read(&certificate).ok(), fs::read(&key).ok());
        let error = init(dir.path(), DOMAIN, now()).unwrap_err();
        assert!(matches!(error, FileError::Exists { .. }), "{error}");
        assert_eq!((fs::read(&certificate).ok(), fs::read(&key).ok()), before);
    };
    refused();
    let kept = fs::read(&certificate).unwrap();
    fs::remove_file(&certificate).unwrap();
    refused();
    fs::write(&certificate, kept).unwrap();
    fs::remove_file(&key).unwrap();
    refused();
}

#[test]
fn no_node_can_take_the_place_of_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    let (_, key) = init(dir.path(), DOMAIN, now()).unwrap();
    let before = fs::read(&key).unwrap();
    for name in ["ca", "bundle"] {
        let error = issue(dir.path(), "r", name, dir.path(), 1, now()).unwrap_err();
        assert!(matches!(error, FileError::Reserved { .. }), "{error}");
    }
    let error = issue(dir.path(), "r", "../ca", dir.path(), 1, now()).unwrap_err();
    assert!(matches!(error, FileError::Make { .. }), "{error}");
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn renewal_replaces_key_and_certificate_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), DOMAIN, now()).unwrap();
    let first = issue_a(dir.path(), 90, now()).unwrap();
    let key = fs::read(&first.files.key).unwrap();
    // What a killed call may have left, readable by everybody.
    fs::write(dir.path().join("out/a.key.new"), "x").unwrap();
    let second = issue_a(dir.path(), 90, now() + DAY).unwrap();
    assert_eq!(second.files, first.files);
    assert_ne!(fs::read(&second.files.key).unwrap(), key);
    assert_eq!(mode(&second.files.key), 0o600);
    assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 3);
    FileCertificates::new(second.files, RequiredName::default())
        .load(now() + 91 * DAY)
        .unwrap();
}

#[test]
fn days_are_checked_on_both_sides_and_no_node_outlives_its_ca() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), DOMAIN, now()).unwrap();
    for days in [0, 3_651] {
        let error = issue_a(dir.path(), days, now()).unwrap_err();
        assert!(matches!(error, FileError::Days { .. }), "{error}");
    }
    assert!(issue_a(dir.path(), 1, now()).is_ok());
    let end = now() + AUTHORITY_VALIDITY;
    let late = issue_a(dir.path(), 3_650, now() + DAY).unwrap();
    assert_eq!(late.not_after, end);
    assert!(issue_a(dir.path(), 90, end).is_ok());
    let error = issue_a(dir.path(), 90, end + SECOND).unwrap_err();
    assert!(matches!(error, FileError::Expired { .. }), "{error}");
}

#[test]
fn errors_name_the_file_of_the_ca_that_is_missing_or_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let missing = issue_a(dir.path(), 90, now()).unwrap_err().to_string();
    assert!(missing.ends_with("ca.pem: no such file"), "{missing}");
    let (certificate, key) = init(dir.path(), DOMAIN, now()).unwrap();
    let other = authority(2);
    fs::write(&key, other.key_pem()).unwrap();
    let wrong = issue_a(dir.path(), 90, now()).unwrap_err().to_string();
    assert!(
        wrong.ends_with("ca.key: CA key is not the key of the CA's certificate"),
        "{wrong}"
    );
    fs::write(&certificate, other.issue(&leaf("a")).unwrap().certificate).unwrap();
    let leaf = issue_a(dir.path(), 90, now()).unwrap_err().to_string();
    assert!(
        leaf.ends_with("ca.pem: CA certificate is not a CA"),
        "{leaf}"
    );
}

#[test]
fn an_unwritable_place_is_named_and_bad_names_say_the_part() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = init(&file, DOMAIN, now()).unwrap_err().to_string();
    assert!(error.contains("file: cannot be written"), "{error}");
    let error = init(dir.path(), "Example.org", now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("trust domain \"Example.org\""), "{error}");
    init(dir.path(), DOMAIN, now()).unwrap();
    let error = issue(dir.path(), "eu west", "a", dir.path(), 1, now())
        .unwrap_err()
        .to_string();
    assert!(error.contains("region \"eu west\""), "{error}");
}

#[test]
fn one_seed_gives_the_same_bytes_and_another_seed_others() {
    let make = |seed| {
        let ca = authority(seed);
        (
            ca.certificate_pem().to_owned(),
            ca.key_pem(),
            pem(&ca, &leaf("a")),
        )
    };
    assert!(make(1) == make(1));
    let (one, two) = (make(1), make(2));
    assert!(one.0 != two.0 && one.1 != two.1 && one.2 != two.2);
}

#[test]
fn certificates_have_the_same_length_whatever_the_random_bytes() {
    let lengths = || {
        let ca = Authority::generate(DOMAIN, Randomness::System, now()).unwrap();
        let pem = pem(&ca, &leaf("a"));
        (pem.certificate.len(), pem.key.len(), pem.bundle.len())
    };
    let first = lengths();
    for _ in 0..64 {
        assert_eq!(lengths(), first);
    }
}

#[test]
fn an_authority_taken_up_again_signs_for_the_nodes_of_the_first() {
    let ours = authority(1);
    let again = Authority::from_pem(ours.certificate_pem(), &ours.key_pem()).unwrap();
    assert_eq!(again.trust_domain(), DOMAIN);
    let (a, b) = (material(&ours, "a"), material(&again, "b"));
    assert_eq!(a.check_peer(b.chain(), now()).unwrap().id, node("b"));
}
