use super::*;

/// Three nodes, four seconds into a run of ten.
pub(crate) fn crossing() -> Snapshot {
    const NODES: [(&str, &str); 3] = [
        ("eu-1", "eu-west"),
        ("us-1", "us-east"),
        ("ap-1", "ap-southeast"),
    ];
    let mut snapshot = Snapshot {
        phase: Phase::Crossing,
        elapsed: Duration::from_millis(4_060),
        total: Duration::from_secs(10),
        nodes: Vec::new(),
        flows: Vec::new(),
        stream: StreamRow {
            from: "eu-west",
            to: "ap-southeast",
            totals: StreamTotals {
                bytes_sent: 8_120_000,
                bytes_received: 8_080_000,
                sha256_match: None,
            },
        },
    };
    for (name, region) in NODES {
        snapshot.nodes.push(NodeRow {
            name,
            region,
            pid: 4_194_304,
            peers_up: 2,
        });
        for (_, to) in NODES.into_iter().filter(|(_, to)| *to != region) {
            snapshot.flows.push(FlowRow {
                from: region,
                to,
                totals: FlowTotals {
                    sent: 200,
                    delivered: 200,
                    lost: 0,
                    duplicates: 0,
                    delay_now: Some(Duration::from_micros(412)),
                    delay_p50: Some(Duration::from_micros(399)),
                    delay_p99: Some(Duration::from_micros(1_203)),
                    delay_max: Some(Duration::from_micros(1_970)),
                },
            });
        }
    }
    snapshot.flows[2].totals.sent = 203;
    snapshot.flows[2].totals.lost = 1;
    snapshot.flows[2].totals.delay_max = Some(Duration::from_millis(1_204));
    snapshot
}

fn starting() -> Snapshot {
    let mut snapshot = crossing();
    snapshot.phase = Phase::Starting;
    snapshot.elapsed = Duration::ZERO;
    snapshot.nodes[0].peers_up = 0;
    snapshot.nodes[1].peers_up = 1;
    snapshot.nodes[2].peers_up = 1;
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

#[test]
fn the_longest_run_and_the_worst_figures_fit_80_columns_and_23_lines() {
    let mut snapshot = crossing();
    snapshot.total = Duration::from_secs(3_600);
    snapshot.elapsed = Duration::from_secs(3_600);
    snapshot.stream.totals.bytes_sent = 7_200_000_000;
    snapshot.stream.totals.bytes_received = 7_200_000_000;
    snapshot.stream.totals.sha256_match = Some(true);
    for flow in &mut snapshot.flows {
        (flow.from, flow.to) = ("ap-southeast", "ap-southeast");
        flow.totals.sent = 180_000;
        flow.totals.lost = 180_000;
        flow.totals.delay_now = Some(Duration::from_secs(60));
        flow.totals.delay_max = Some(Duration::from_secs(60));
    }
    // One line of the 24 is the cursor's.
    let text = table(&snapshot);
    assert!(text.lines().count() <= 23, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
    let separated = text.contains(" 180000 ") && text.contains("   60.0 s    60.0 s");
    assert!(separated, "columns run into each other:\n{text}");
}

#[test]
fn a_line_says_what_the_table_says() {
    assert_eq!(
        line(&crossing()),
        "   4 s  crossing  peers up 6/6  \
         packets 1203 sent 1200 delivered 1 lost  stream 8.0 MB"
    );
}
