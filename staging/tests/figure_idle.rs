//! The figure `idle` at a small size, with a comparator that is known to be worse.

use std::{path::PathBuf, time::Duration};

use staging::figures::{
    Context,
    idle::{self, Setting},
    row::{Row, Verdict},
};

const LINKS: u32 = 120;
const BALLAST_BYTES: u32 = 400_000;

fn measure(theirs: &[&str], most_cores: f64) -> anyhow::Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let setting = Setting {
        program: PathBuf::from(env!("CARGO_BIN_EXE_staging")),
        few: 20,
        counts: vec![LINKS],
        most_cores,
        settle: Duration::from_millis(300),
        window: Duration::from_millis(1_000),
        theirs: theirs.iter().map(|&argument| argument.to_owned()).collect(),
    };
    idle::compare(&mut Context::new(1, directory.path()), &setting)
}

#[test]
fn what_a_link_holds_shows_in_its_memory_and_one_round_judges_nothing() {
    let ballast = BALLAST_BYTES.to_string();
    let rows = measure(&["--ballast-bytes", &ballast], 1.0).unwrap();
    let [memory, cpu] = &rows[..] else {
        panic!("{rows:?}");
    };
    let theirs = memory.theirs.unwrap();
    let ballast = f64::from(BALLAST_BYTES) / 1e3;
    assert!((ballast..ballast * 1.8).contains(&theirs), "{memory:?}");
    assert!((10.0..ballast * 0.8).contains(&memory.ours), "{memory:?}");
    assert_eq!(memory.verdict, Some(Verdict::Inconclusive));
    assert!(cpu.ours > 0.0 && cpu.theirs > Some(0.0), "{cpu:?}");
}

#[test]
fn five_times_the_probes_cost_several_times_the_cpu() {
    let rows = measure(&["--interval-ms", "40"], 1.0).unwrap();
    let [_, cpu] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert!(cpu.ratio.unwrap() < 0.7, "{cpu:?}");
}

#[test]
fn where_quinn_alone_has_no_room_on_its_core_nothing_is_compared_and_nothing_judged() {
    let rows = measure(&[], 0.0).unwrap();
    let [busy] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert!(busy.ours > 0.0, "{busy:?}");
    assert_eq!(busy.theirs, None);
    assert_eq!(busy.verdict, Some(Verdict::Inconclusive));
}
