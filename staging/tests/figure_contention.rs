//! The figure `contention`, small: that it measures what it says, not what it comes to.

use std::{net::UdpSocket, path::Path};

use staging::figures::{
    Context,
    contention::{
        load::WITHIN,
        misbehaving::Misbehaviour,
        processes::{self, Plan, UnderTest},
        real::Measured,
        simulated::{self, Extent},
    },
    row::{Row, Verdict},
};

const SMALL: Extent = Extent {
    holes: 40,
    turns: 8,
    dialed: 16,
    // Half of the holes are being dialed at any time.
    limits: "retry_dials = 8",
};

fn one_round() -> Context {
    Context::new(1, Path::new("/nonexistent"))
}

fn find<'a>(rows: &'a [Row], words: &str) -> &'a Row {
    let found = rows.iter().find(|row| row.case.contains(words));
    found.unwrap_or_else(|| panic!("no row says {words:?}: {rows:#?}"))
}

#[test]
fn black_holes_cost_the_healthy_nothing_and_come_back_when_they_heal() {
    let rows = simulated::black_holes(&one_round(), SMALL).unwrap();
    for rtt in [10.0, 70.0, 220.0] {
        for when in ["beside 40 black holes", "while 40 heal"] {
            let row = find(&rows, &format!("first connects, {rtt} ms, {when}"));
            // A round trip each for TLS, for Hello and for the request.
            let least = 3.0 * rtt;
            assert!((least..=least + 2.0).contains(&row.ours), "{row:?}");
            assert!(row.ratio.unwrap() <= 1.1, "{row:?}");
        }
    }
    let healed = find(&rows, "40 heal at once");
    assert_eq!(healed.verdict, Some(Verdict::Pass), "{healed:?}");
    // Not from one moment to the next: they were not linked before.
    assert!(healed.ours > 0.1, "{healed:?}");
    let unanswered = find(&rows, "without an answer");
    assert_eq!(unanswered.ours, 0.0);
}

#[test]
fn the_same_load_stops_a_manager_that_dials_under_its_lock() {
    let rows = simulated::stand_in(&one_round(), SMALL).unwrap();
    let near = find(&rows, "dialed at 10 ms");
    let far = find(&rows, "dialed at 220 ms");
    // One dial for each round trip, and no more.
    assert!((near.theirs.unwrap() - 100.0).abs() < 1.0, "{near:?}");
    assert!((far.theirs.unwrap() - 1.0 / 0.22).abs() < 0.1, "{far:?}");
    assert!(near.ratio.unwrap() > 5.0 && far.ratio.unwrap() > 5.0);
    let beside = find(&rows, "beside 40 black holes");
    let most = WITHIN.as_secs_f64() * 1e3;
    assert_eq!(beside.theirs, Some(most), "{beside:?}");
    assert!(beside.ours < most / 5.0, "{beside:?}");
}

#[test]
fn peers_misbehave_in_earnest_and_the_healthy_do_not_notice() {
    let rows = simulated::misbehaving(&one_round(), SMALL).unwrap();
    for what in Misbehaviour::ALL {
        let row = find(&rows, what.words());
        assert!(row.ratio.unwrap() <= 1.1, "{row:?}");
        let counted = find(&rows, what.counted());
        assert!(counted.ours > 500.0, "{counted:?}");
    }
}

#[test]
fn real_nodes_answer_every_request_with_black_holes_and_without() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let extent = processes::Extent {
        linked: 4,
        group: 2,
        groups: 30,
        holes: 20,
        turns: 10,
    };
    let directory = tempfile::tempdir().unwrap();
    let hole = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let plan = Plan::new(extent, hole.local_addr().unwrap()).unwrap();
    runtime.block_on(async {
        let peers = processes::start_peers(&plan, directory.path()).unwrap();
        for (name, holes) in [("without", 0), ("with", extent.holes)] {
            let node = UnderTest::start(&plan, name, &peers, holes, directory.path());
            let node = node.await.unwrap();
            let samples = node.ask(extent.turns).await;
            // As many of peers that are linked as first connects.
            assert_eq!(samples.len(), 2 * extent.turns * extent.group);
            let measured = Measured::of(&samples);
            assert_eq!(measured.unanswered, 0, "{name}: {measured:?}");
            assert!(measured.all_ms <= measured.first_ms, "{measured:?}");
            let failed = node.mesh().counts.dials_failed.value();
            assert_eq!(failed > 0, holes > 0);
        }
    });
}
