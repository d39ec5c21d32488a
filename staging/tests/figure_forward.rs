//! The figure `forward` at a small size, end to end.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use staging::figures::{
    Context,
    forward::{self, Setting},
};

#[test]
fn every_way_carries_a_small_load_without_loss_and_each_hop_costs_something() {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: PathBuf::from(env!("CARGO_BIN_EXE_staging")),
        sizes: vec![200],
        rates: vec![1_000],
        ladder: vec![250, 500],
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(300),
    };
    let rows = forward::compare(&mut Context::new(2, directory.path()), &setting).unwrap();
    let cases: BTreeSet<&str> = rows.iter().map(|row| row.case.as_str()).collect();
    assert_eq!((rows.len(), cases.len()), (17, 17), "{rows:#?}");
    for row in &rows {
        assert_eq!((row.name, row.verdict), (forward::NAME, None));
        if row.case.starts_with("most lost") {
            assert_eq!((row.ours, row.theirs), (0.0, Some(0.0)), "{row:?}");
        } else if row.case.contains("without any hop") {
            assert!(row.ours > 0.0, "{row:?}");
        } else {
            assert!(row.ours > 0.0 && row.theirs > Some(0.0), "{row:?}");
        }
    }
    let cpu = |theirs: &str| {
        let case = format!("CPU per packet, 200 B at 1000/s, against {theirs}");
        rows.iter().find(|row| row.case == case).unwrap()
    };
    // Two hops with encryption cannot be had for less than two without.
    assert!(cpu("plain UDP").ratio.unwrap() > 1.0, "{rows:#?}");
    assert!(cpu("bare quinn").theirs > cpu("plain UDP").theirs);
}
