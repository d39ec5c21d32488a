//! What fuzzing starts from and what it has found, through the checks that it runs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "../../fuzz/checks/netem_topology.rs"]
mod netem_topology;
#[path = "../../fuzz/checks/netem_words.rs"]
mod netem_words;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Panics if something is wrong with what it makes of an input.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 2] = [
    ("netem_topology", netem_topology::check),
    ("netem_words", netem_words::check),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The files of a folder, none if it is not there.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_seed_and_every_find_passes_the_check_of_its_target() {
    for (name, check) in TARGETS {
        let seeds = inputs(&fuzz().join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has nothing to start from");
        let finds = inputs(&fuzz().join("finds").join(name));
        for path in seeds.into_iter().chain(finds) {
            // Shown if the check fails.
            eprintln!("{}", path.display());
            check(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_fuzz_target_of_this_crate_is_replayed() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let declared = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| name.starts_with("netem_"));
    let replayed = TARGETS.map(|(name, _)| name);
    assert_eq!(declared.collect::<Vec<_>>(), replayed);
}
