//! The patches that break invariants on purpose are what `proofs/run` takes them for. Whether they
//! are noticed is for that script to say: this is what can be checked in a second.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a patch says before its diff.
struct Proof {
    path: PathBuf,
    sentence: String,
    values: BTreeMap<String, Vec<String>>,
}

impl Proof {
    fn read(path: PathBuf) -> Self {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let (header, _) = text
            .split_once("\ndiff --git ")
            .unwrap_or_else(|| panic!("{name}: no diff"));
        let mut lines = header.lines();
        let sentence = lines.next().unwrap_or_default().to_owned();
        let mut values = BTreeMap::<String, Vec<String>>::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (key, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{name}: neither key nor value: {line}"));
            values
                .entry(key.to_owned())
                .or_default()
                .push(value.to_owned());
        }
        Self {
            path,
            sentence,
            values,
        }
    }

    fn name(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    fn all(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// The one value of a key that may not be repeated.
    fn one(&self, key: &str) -> Option<&str> {
        match self.all(key) {
            [] => None,
            [one] => Some(one),
            more => panic!("{}: {key} is there {} times", self.name(), more.len()),
        }
    }

    fn invariant(&self) -> u32 {
        let number = self.one("invariant").and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{}: no invariant", self.name()))
    }

    /// The tests and lints that must notice.
    fn checks(&self) -> impl Iterator<Item = &String> {
        self.all("test").iter().chain(self.all("lint"))
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn proofs() -> Vec<Proof> {
    let entries = fs::read_dir(root().join("staging/proofs")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(Proof::read).collect()
}

/// What the table in ARCHITECTURE.md has in backquotes, by invariant.
fn named_in_architecture() -> BTreeMap<u32, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Invariants\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| {
        let (number, row) = line.strip_prefix("| ")?.split_once(" | ")?;
        let words = row.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((number.parse().ok()?, words.collect()))
    });
    rows.collect()
}

/// The text of every Rust file of a package, tests included.
fn sources(package: &str) -> String {
    let folder = match package {
        "causeway" => "relay",
        other => other,
    };
    let mut text = String::new();
    let mut folders = vec![
        root().join(folder).join("src"),
        root().join(folder).join("tests"),
    ];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    assert!(!text.is_empty(), "there is no package {package}");
    text
}

#[test]
fn every_header_has_a_sentence_known_keys_and_something_that_must_notice() {
    let known = ["invariant", "package", "target", "features", "test", "lint"];
    for proof in proofs() {
        let name = proof.name();
        assert!(proof.sentence.ends_with('.'), "{name}: no sentence");
        let unknown = proof
            .values
            .keys()
            .find(|key| !known.contains(&key.as_str()));
        assert_eq!(unknown, None, "{name}");
        let number = format!("{:02}-", proof.invariant());
        assert!(name.starts_with(&number), "{name}: another invariant");
        assert!(proof.one("package").is_some(), "{name}: no package");
        assert!(proof.checks().next().is_some(), "{name}: nothing notices");
        let target = proof.one("target").unwrap_or_default();
        if !proof.all("test").is_empty() {
            let good = target == "--lib" || target.starts_with("--test ");
            assert!(good, "{name}: no target");
        }
        proof.one("features");
    }
}

#[test]
fn what_must_notice_is_there_and_architecture_names_it() {
    let named = named_in_architecture();
    let mut texts = BTreeMap::new();
    for proof in proofs() {
        let name = proof.name();
        let row = named.get(&proof.invariant());
        let row = row.unwrap_or_else(|| panic!("{name}: there is no such invariant"));
        for check in proof.checks() {
            assert!(row.contains(check), "{name}: {check} is not in its row");
        }
        let package = proof.one("package").unwrap_or_default();
        let text = texts
            .entry(package.to_owned())
            .or_insert_with(|| sources(package));
        for test in proof.all("test") {
            let function = format!("fn {test}(");
            assert!(text.contains(&function), "{name}: there is no {test}");
        }
    }
}

#[test]
fn every_invariant_is_broken_on_purpose() {
    let named: BTreeSet<u32> = named_in_architecture().into_keys().collect();
    assert!(named.len() >= 14, "{named:?}");
    let covered: BTreeSet<u32> = proofs().iter().map(Proof::invariant).collect();
    assert_eq!(covered, named);
}

#[test]
fn every_patch_applies() {
    // From an archive without history there is nothing to apply to, and a machine may lack git.
    let git = |arguments: &[&str]| {
        Command::new("git")
            .current_dir(root())
            .args(arguments)
            .output()
    };
    let in_repository = git(&["rev-parse", "--is-inside-work-tree"]);
    if !in_repository.is_ok_and(|asked| asked.status.success()) {
        return;
    }
    for proof in proofs() {
        let path = proof.path.canonicalize().unwrap();
        let checked = git(&["apply", "--check", path.to_str().unwrap()]).unwrap();
        let why = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {why}", proof.name());
    }
}
