//! That `failover` measures what it says: flows go on over another path within the bounds when what
//! is between their ends fails, come back, and lose nothing that they need not lose.

use std::path::Path;

use staging::figures::{
    Context,
    failover::{self, FailoverOptions, Seeds},
    row::{Row, Verdict},
};

fn measure(scenarios: &[&str], seeds: std::ops::Range<u64>) -> Vec<Row> {
    let mut context = Context::new(1, Path::new(""));
    context.failover = FailoverOptions {
        quick: true,
        scenario: scenarios.iter().map(ToString::to_string).collect(),
        seeds: Some(Seeds(seeds)),
    };
    failover::measure(&mut context).expect("it can be measured")
}

fn assert_kept(rows: &[Row], promises: usize) {
    let verdicts = rows.iter().filter_map(|row| row.verdict);
    assert_eq!(verdicts.clone().count(), promises, "{rows:#?}");
    assert!(verdicts.eq([Verdict::Pass].repeat(promises)), "{rows:#?}");
}

fn value<'a>(rows: &'a [Row], what: &str) -> impl Iterator<Item = f64> + 'a {
    let rows = rows.iter().filter(move |row| row.case.contains(what));
    rows.map(|row| row.ours).collect::<Vec<_>>().into_iter()
}

#[test]
fn black_holed_link_is_left_in_time_for_a_path_on_which_the_flow_is_open_already() {
    let rows = measure(&["cut", "cut-fast"], 0..3);
    // The decision, the first packet after it, and that others lose nothing; for two profiles.
    assert_kept(&rows, 6);
    // Before three replies are missing, nobody may be called dead.
    assert!(value(&rows, "until a packet sent since then arrives").all(|s| s >= 0.2));
    assert!(value(&rows, "lost of a flow").all(|packets| packets >= 5.0));
}

#[test]
fn a_fifth_lost_one_way_is_left_within_three_seconds() {
    let rows = measure(&["loss-20"], 0..2);
    assert_kept(&rows, 2);
    assert!(value(&rows, "until the route is another").all(|s| s >= 0.3));
}

#[test]
fn node_on_the_way_that_dies_or_freezes_is_left_in_time_for_another() {
    assert_kept(&measure(&["transit-killed", "transit-frozen"], 0..2), 6);
}

#[test]
fn link_that_heals_is_used_again_once_and_nothing_is_lost_by_that() {
    assert_kept(&measure(&["back"], 0..2), 3);
}

#[test]
fn link_that_flaps_moves_a_flow_six_times_a_minute_at_the_most() {
    let rows = measure(&["flapping-10"], 0..1);
    assert_kept(&rows, 1);
    assert!(value(&rows, "route changes").all(|changes| changes >= 1.0));
}

#[test]
fn seeds_are_the_same_each_time() {
    assert_eq!(measure(&["cut"], 0..2), measure(&["cut"], 0..2));
}
