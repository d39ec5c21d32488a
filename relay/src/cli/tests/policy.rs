use std::fs;

use super::{ask, causeway};

#[test]
fn policy_in_force_is_shown() {
    let shown = ask(&["policy", "show"]).unwrap();
    let expected = "\
epoch 7 is in force, signed by ops
  until        2027-01-31 00:00:00 UTC
  condemned    bad0bad0bad0

RELEASE       WEIGHT
0b7c1d9e22aa       1
77aa01c4b3d2       9
";
    assert_eq!(shown, expected);
}

#[test]
fn policy_in_force_is_shown_to_programs() {
    let shown = ask(&["policy", "show", "--json"]).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["epoch"], 7);
    assert_eq!(shown["weights"]["77aa01c4b3d2"], 9);
}

#[test]
fn policy_that_is_brought_is_shown_or_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.signed");
    let path = file.to_str().unwrap();
    fs::write(&file, "epoch 8").unwrap();
    let applied = ask(&["policy", "apply", path]).unwrap();
    assert!(applied.starts_with("epoch 8 is in force"), "{applied}");
    fs::write(&file, "epoch 6").unwrap();
    let (refused, code) = ask(&["policy", "apply", path]).unwrap_err();
    assert_eq!(code, 1);
    let expected =
        "a policy of epoch 7 is held, and this one is of epoch 6: sign it again with a higher one";
    assert_eq!(refused, expected);
    fs::write(&file, vec![0; 50_000]).unwrap();
    let (refused, _) = ask(&["policy", "apply", path]).unwrap_err();
    assert!(
        refused.ends_with("is too large for a signed policy"),
        "{refused}"
    );
    let (refused, _) = causeway(&["policy", "apply", "/nonexistent"]).unwrap_err();
    assert!(
        refused.starts_with("/nonexistent: No such file"),
        "{refused}"
    );
}

#[test]
fn policy_to_be_signed_is_read_from_the_command_line_and_faults_are_named() {
    let sign = |more: &str| {
        let words = "policy sign --certificate c --key k --out o";
        let words: Vec<&str> = words.split(' ').chain(more.split(' ')).collect();
        causeway(&words)
    };
    let said = sign("--epoch 8 --weight a=9 --weight b=0 --condemn c").unwrap();
    let expected = "SignPolicy { certificate: \"c\", key: \"k\", epoch: 8, days: 30, \
        weights: [(\"a\", 9), (\"b\", 0)], condemned: [\"c\"], out: \"o\" }\n";
    assert_eq!(said, expected);
    for (more, named) in [
        ("--epoch 0", "0 is not in 1.."),
        ("--epoch 1 --days 0", "0 is not in 1..=3650"),
        ("--epoch 1 --weight a", "expected RELEASE=N"),
        ("--epoch 1 --weight a=-1", "expected RELEASE=N"),
        (
            "--epoch 1 --weight =1",
            "expected 1 to 128 visible characters",
        ),
        ("--days 1", "--epoch <N>"),
    ] {
        let (said, code) = sign(more).unwrap_err();
        assert!(said.contains(named), "{more}: {said}");
        assert_eq!(code, 2);
    }
}
