use super::*;
use crate::{failover, fleet::paths::PathInUse};

/// Four nodes, four seconds into a run of ten.
pub(crate) fn crossing() -> Snapshot {
    const NODES: [(&str, &str); 4] = [
        ("eu-1", "eu-west-1"),
        ("us-1", "us-east-1"),
        ("ap-1", "ap-southeast-1"),
        ("ca-1", "ca-central-1"),
    ];
    let mut snapshot = Snapshot {
        phase: Phase::Crossing,
        elapsed: Duration::from_millis(4_060),
        total: Duration::from_secs(10),
        nodes: Vec::new(),
        flows: Vec::new(),
        stream: StreamRow {
            from: "eu-west-1",
            to: "ap-southeast-1",
            totals: StreamTotals {
                bytes_sent: 8_120_000,
                bytes_received: 8_080_000,
                sha256_match: None,
            },
        },
        failover: None,
    };
    for (name, region) in NODES {
        snapshot.nodes.push(NodeRow {
            name,
            region,
            pid: 4_194_304,
            peers_up: 3,
        });
        for (_, to) in NODES.into_iter().filter(|(_, to)| *to != region) {
            snapshot.flows.push(FlowRow {
                from: region,
                to,
                distance: Duration::from_micros(34_868),
                totals: FlowTotals {
                    sent: 200,
                    delivered: 200,
                    lost: 0,
                    duplicates: 0,
                    delay_now: Some(Duration::from_micros(35_412)),
                    delay_p50: Some(Duration::from_micros(35_399)),
                    delay_p99: Some(Duration::from_micros(41_970)),
                    delay_max: Some(Duration::from_micros(52_003)),
                },
            });
        }
    }
    // From us-east-1 to eu-west-1.
    snapshot.flows[3].totals.sent = 203;
    snapshot.flows[3].totals.lost = 1;
    snapshot.flows[3].totals.delay_now = Some(Duration::from_millis(1_204));
    snapshot
}

fn starting() -> Snapshot {
    let mut snapshot = crossing();
    snapshot.phase = Phase::Starting;
    snapshot.elapsed = Duration::ZERO;
    snapshot.nodes[0].peers_up = 0;
    snapshot.nodes[1].peers_up = 1;
    snapshot.nodes[2].peers_up = 1;
    snapshot.nodes[3].peers_up = 0;
    for flow in &mut snapshot.flows {
        flow.totals = FlowTotals::default();
    }
    snapshot.stream.totals = StreamTotals::default();
    snapshot
}

#[test]
fn a_run_under_way_looks_like_its_picture() {
    assert_eq!(table(&crossing()), include_str!("crossing.txt"));
}

#[test]
fn a_mesh_that_starts_looks_like_its_picture() {
    assert_eq!(table(&starting()), include_str!("starting.txt"));
}

/// A second and a bit after a link was cut.
fn cut() -> Snapshot {
    let mut snapshot = crossing();
    snapshot.elapsed = Duration::from_millis(6_230);
    snapshot.total = Duration::from_secs(20);
    snapshot.failover = Some(failover::tests::cut());
    snapshot
}

#[test]
fn a_cut_link_looks_like_its_picture() {
    assert_eq!(table(&cut()), include_str!("cut.txt"));
}

#[test]
fn a_link_that_is_in_use_again_says_since_when_it_is_healed_and_how_long_that_took() {
    let mut snapshot = cut();
    snapshot.elapsed = Duration::from_millis(16_400);
    snapshot.failover = Some(failover::tests::healed());
    let text = table(&snapshot);
    let lines: Vec<_> = text.lines().collect();
    let [.., there, back] = &lines[..] else {
        panic!("{text}");
    };
    assert!(there.starts_with("us-east-1 > eu-west-1  "), "{text}");
    assert!(there.ends_with("  healed for 7.4 s"), "{text}");
    assert!(back.ends_with("  in use after 6.2 s"), "{text}");
}

#[test]
fn the_longest_run_and_the_worst_figures_fit_80_columns_and_23_lines() {
    let mut snapshot = cut();
    for way in &mut snapshot.failover.as_mut().unwrap().ways {
        way.path = PathInUse::new(["ap-southeast-1"; 9]);
    }
    snapshot.total = Duration::from_secs(3_600);
    snapshot.elapsed = Duration::from_secs(3_600);
    snapshot.stream.totals.bytes_sent = 7_200_000_000;
    snapshot.stream.totals.bytes_received = 7_200_000_000;
    snapshot.stream.totals.sha256_match = Some(true);
    for flow in &mut snapshot.flows {
        flow.distance = Duration::from_micros(499_949);
        flow.totals.sent = 180_000;
        flow.totals.lost = 180_000;
        flow.totals.delivered = 180_000;
        flow.totals.delay_now = Some(Duration::from_micros(499_949));
    }
    // One line of the 24 is the cursor's.
    let text = table(&snapshot);
    assert!(text.lines().count() <= 23, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
    let separated = text.contains(" 360000    360000  360000    999.9 ms   999.9 ms\n");
    assert!(separated, "columns run into each other:\n{text}");
}

#[test]
fn a_line_says_what_the_table_says() {
    assert_eq!(
        line(&crossing()),
        "   4 s  crossing  peers up 12/12  \
         packets 2403 sent 2400 delivered 1 lost  stream 8.0 MB"
    );
    assert_eq!(
        line(&cut()),
        "   6 s  crossing  peers up 12/12  \
         packets 2403 sent 2400 delivered 1 lost  stream 8.0 MB  \
         direct link CUT for 1.2 s, us-east-1 > ca-central-1 > eu-west-1"
    );
    let mut unknown = cut();
    unknown.failover = Some(Failover::new("us-east-1", "eu-west-1"));
    let text = line(&unknown);
    let end = "  direct link up, us-east-1 > eu-west-1: path unknown";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn distances_are_told_of_the_pairs_that_have_been_measured_both_ways() {
    let mut snapshot = starting();
    assert_eq!(distances(&snapshot), "");
    snapshot.flows[0].totals.delay_now = Some(Duration::from_micros(35_000));
    assert_eq!(distances(&snapshot), "");
    snapshot.flows[3].totals.delay_now = Some(Duration::from_micros(35_100));
    assert_eq!(
        distances(&snapshot),
        "eu-west-1 <> us-east-1: round trip 70.1 ms, on AWS 69.7 ms\n"
    );
}
