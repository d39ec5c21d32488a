//! What fuzzing starts from and what it has found, through the checks that it runs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "../../fuzz/checks/certificate.rs"]
mod certificate;
#[path = "../../fuzz/checks/config.rs"]
mod config;
#[path = "../../fuzz/checks/control_frame.rs"]
mod control_frame;
#[path = "../../fuzz/checks/hello.rs"]
mod hello;
#[path = "../../fuzz/checks/name.rs"]
mod name;
#[path = "../../fuzz/checks/packet_header.rs"]
mod packet_header;
#[path = "../../fuzz/checks/reassembly.rs"]
mod reassembly;
#[path = "../../fuzz/checks/signed_advert.rs"]
mod signed_advert;
#[path = "../../fuzz/checks/signed_policy.rs"]
mod signed_policy;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Panics if something is wrong with what it makes of an input.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 9] = [
    ("certificate", certificate::check),
    ("config", config::check),
    ("control_frame", control_frame::check),
    ("hello", hello::check),
    ("name", name::check),
    ("packet_header", packet_header::check),
    ("reassembly", reassembly::check),
    ("signed_advert", signed_advert::check),
    ("signed_policy", signed_policy::check),
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
        for path in seeds
            .into_iter()
            .chain(inputs(&fuzz().join("finds").join(name)))
        {
            // Shown if the check fails.
            eprintln!("{}", path.display());
            check(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_fuzz_target_is_replayed_and_every_find_has_a_target() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let (_, bins) = manifest.split_once("[[bin]]").unwrap();
    let declared = bins.lines().filter_map(|line| {
        let quoted = line.strip_prefix("name = \"")?;
        quoted.strip_suffix('"')
    });
    // Those of netem are replayed by its own tests.
    let declared = declared.filter(|name| !name.starts_with("netem_"));
    let replayed = TARGETS.map(|(name, _)| name);
    assert_eq!(declared.collect::<Vec<_>>(), replayed);
    for folder in ["seeds", "finds"] {
        for path in inputs(&fuzz().join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_replayed = replayed.contains(&name) || name.starts_with("netem_");
            assert!(is_replayed, "{}", path.display());
        }
    }
}
