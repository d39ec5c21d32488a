//! That `detection` measures what it says: each peer works until it is struck and is down some time
//! after, in simulation within the bounds.

use std::{path::PathBuf, time::Duration};

use staging::figures::{
    Context,
    detection::{self, Plan},
    row::{Row, Verdict},
};

fn measure(simulated: u32, round_trips: &[u64], real: u32) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let plan = Plan {
        program: PathBuf::from(env!("CARGO_BIN_EXE_staging")),
        simulated,
        round_trips: round_trips
            .iter()
            .copied()
            .map(Duration::from_millis)
            .collect(),
        real,
        settle: Duration::from_secs(1),
    };
    let mut context = Context::new(1, directory.path());
    detection::measure_plan(&mut context, &plan).expect("it can be measured")
}

#[test]
fn every_fault_is_noticed_neither_at_once_nor_late() {
    let rows = measure(4, &[70], 3);
    // Five cases of one profile, two of the other, three real ones: each median and worst.
    assert_eq!(rows.len(), (5 + 2 + 3) * 2);
    for pair in rows.chunks(2) {
        let [median, worst] = pair else {
            unreachable!("rows come in pairs")
        };
        assert!(median.ours <= worst.ours, "{pair:#?}");
        // Before three replies are missing, nobody may be called down.
        let least = if median.case.contains("fast") {
            0.1
        } else {
            0.3
        };
        assert!(median.ours >= least, "{pair:#?}");
        if !worst.case.contains("real") {
            assert_eq!(worst.verdict, Some(Verdict::Pass), "{pair:#?}");
        }
    }
}

#[test]
fn simulated_times_are_the_same_each_time() {
    assert_eq!(measure(4, &[1], 0), measure(4, &[1], 0));
}
