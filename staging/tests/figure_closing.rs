//! That `closing` measures what it says: a close that is awaited holds the pool, one that is handed
//! over does not, and every stream is accounted for.

use std::{path::PathBuf, time::Duration};

use staging::figures::{
    Context,
    closing::{self, Plan},
    row::{Row, Verdict},
};

fn measure(tasks: [usize; 2], patience: Duration) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let plan = Plan {
        program: PathBuf::from(env!("CARGO_BIN_EXE_staging")),
        tasks,
        repeats: 2,
        patience,
    };
    let mut context = Context::new(1, directory.path());
    closing::measure_plan(&mut context, &plan).expect("it can be measured")
}

fn row<'a>(rows: &'a [Row], case: &str) -> &'a Row {
    let mut found = rows.iter().filter(|row| row.case.contains(case));
    let row = found.next().unwrap_or_else(|| panic!("{case}: {rows:#?}"));
    assert_eq!(found.next(), None, "{case}");
    row
}

#[test]
fn awaited_closes_hold_the_pool_and_those_handed_over_do_not() {
    let patience = Duration::from_secs(2);
    let rows = measure([200, 1_000], patience);
    assert_eq!(rows.len(), 9);

    // 20 of the 200 are silent, which 12 workers wait for in two turns; the last healthy task comes
    // after the first.
    let beside = row(&rows, "beside a pool that awaits");
    let awaiting = beside.theirs.unwrap();
    // Twice that rate, for time that the machine gave to others while they waited is left out too.
    assert!(
        awaiting <= 2.0 * 180.0 / patience.as_secs_f64(),
        "{beside:?}"
    );
    assert!(beside.ours > awaiting * 2.0, "{beside:?}");

    // 100 are silent: each is held until its grace is over, or as many come as have room.
    let most = row(&rows, "most in the reaper at once");
    assert_eq!(most.verdict, Some(Verdict::Pass), "{most:?}");
    assert!(most.ours >= 12.0, "{most:?}");
    let by_bound = row(&rows, "reset by the bound").ours;
    let by_deadline = row(&rows, "reset by the deadline").ours;
    assert!(by_bound + by_deadline >= 100.0, "{rows:#?}");
    for case in ["silent and not reset", "tasks and streams left"] {
        assert_eq!(row(&rows, case).verdict, Some(Verdict::Pass), "{rows:#?}");
    }
    // With one round there is no interval.
    let ratios = rows
        .iter()
        .filter(|row| row.budget.is_some() && row.ratio.is_some());
    assert_eq!(
        ratios.map(|row| row.verdict).collect::<Vec<_>>(),
        [Some(Verdict::Inconclusive); 2]
    );
}
