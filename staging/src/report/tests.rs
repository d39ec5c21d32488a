use super::*;
use crate::view::tests::crossing;

fn completed() -> Snapshot {
    let mut snapshot = crossing();
    snapshot.flows[3].totals.lost = 3;
    snapshot.stream.totals.bytes_received = snapshot.stream.totals.bytes_sent;
    snapshot.stream.totals.sha256_match = Some(true);
    snapshot
}

fn network() -> netem::report::Report {
    let micros = Duration::from_micros;
    let packets = netem::report::Packets {
        received: 30_000,
        delivered: 30_000,
        conserved: true,
        ..Default::default()
    };
    netem::report::Report {
        backend: "proxy".to_owned(),
        hosts: Vec::new(),
        elapsed_s: 11.0,
        packets,
        lateness: netem::lateness::Lateness {
            count: 30_000,
            p50: micros(30),
            p99: micros(1_000),
            p999: micros(1_500),
            max: micros(2_100),
        },
        idle_timer: netem::lateness::Lateness::default(),
        queued_bytes_max: 0,
        own_drops: BTreeMap::new(),
        paths: Vec::new(),
    }
}

fn judged(last: &Snapshot, end: &End) -> Report {
    Report::new(last, end, Vec::new(), Some(&network()))
}

#[test]
fn json_has_the_keys_that_programs_read() {
    let report = judged(&completed(), &End::Completed);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["outcome"], "passed");
    assert_eq!(json["packets"]["sent"], 2_403);
    assert_eq!(json["packets"]["delivered"], 2_400);
    assert_eq!(json["packets"]["lost"], 3);
    assert_eq!(json["stream"]["bytes_sent"], 8_120_000);
    assert_eq!(json["stream"]["bytes_received"], 8_120_000);
    assert_eq!(json["stream"]["sha256_match"], true);
    let node = &json["nodes"][2];
    assert_eq!(node["name"], "ap-1");
    assert_eq!(node["region"], "ap-southeast-1");
    assert_eq!(node["peers_up"], 3);
    let flow = &json["flows"][0];
    assert_eq!(flow["delay_p50_ms"], 35.399);
    assert_eq!(flow["delay_p99_ms"], 41.97);
    assert_eq!(flow["delay_max_ms"], 52.003);
    assert_eq!(flow["distance_ms"], 34.868);
    let emulator = &json["emulator"];
    assert_eq!(emulator["packets"], 30_000);
    assert_eq!(emulator["lateness"]["p50_us"], 30.0);
    assert_eq!(emulator["lateness"]["p99_us"], 1_000.0);
    assert_eq!(emulator["lateness"]["max_us"], 2_100.0);
    assert_eq!(emulator["own_drops"], serde_json::json!({}));
    assert_eq!(emulator["conserved"], true);
}

#[test]
fn json_has_what_a_cut_did_and_null_for_what_did_not_happen() {
    let mut snapshot = completed();
    let json = |snapshot: &Snapshot| {
        let report = judged(snapshot, &End::Completed);
        (report.outcome, serde_json::to_value(&report).unwrap())
    };
    let (_, without) = json(&snapshot);
    assert!(without["failover"].is_null() && without["return_ms"].is_null());

    snapshot.failover = Some(failover::tests::healed());
    let (outcome, all) = json(&snapshot);
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!(all["failover"]["cut_at_ms"], 5_000.0);
    assert_eq!(all["failover"]["healed_at_ms"], 9_000.0);
    assert_eq!(all["failover"]["detected_ms"], 610.0);
    assert_eq!(all["failover"]["gap_ms"], 620.0);
    assert_eq!(all["failover"]["packets_lost"], 60);
    assert_eq!(all["failover"]["return_packets_lost"], 0);
    assert_eq!(all["failover"]["ways"][1]["from"], "eu-west-1");
    assert_eq!(all["failover"]["ways"][1]["packets_lost"], 30);
    let detour = serde_json::json!(["eu-west-1", "ca-central-1", "us-east-1"]);
    assert_eq!(all["failover"]["ways"][1]["detour"], detour);
    assert_eq!(all["return_ms"], 6_200.0);

    snapshot.failover = Some(failover::tests::cut());
    let (outcome, cut) = json(&snapshot);
    assert_eq!(outcome, Outcome::Failed, "it was never healed");
    assert_eq!(cut["failover"]["detected_ms"], 610.0);
    for key in ["healed_at_ms", "gap_ms", "packets_lost"] {
        assert!(cut["failover"][key].is_null(), "{cut}");
    }
    assert!(cut["return_ms"].is_null(), "{cut}");
}

#[test]
fn a_few_lost_packets_pass_and_are_told() {
    let report = judged(&completed(), &End::Completed);
    assert_eq!(report.outcome, Outcome::Passed);
    let sentence = "2403 packets sent, 2400 delivered, 3 lost. \
                    Stream: 8.1 MB, same SHA-256.";
    assert_eq!(report.sentence(), sentence);
}

#[test]
fn each_thing_that_must_hold_fails_a_run_by_itself() {
    let problem = |spoil: fn(&mut Snapshot)| {
        let mut snapshot = completed();
        spoil(&mut snapshot);
        let report = judged(&snapshot, &End::Completed);
        assert_eq!(report.outcome, Outcome::Failed);
        report.problems.join("; ")
    };
    let peers = problem(|snapshot| snapshot.nodes[1].peers_up = 1);
    assert_eq!(peers, "us-1 had 1 of 3 peers up at the end");
    let packets = problem(|snapshot| snapshot.flows[4].totals.delivered = 0);
    assert_eq!(packets, "no packet went from us-east-1 to ap-southeast-1");
    let stream = problem(|snapshot| snapshot.stream.totals.sha256_match = Some(false));
    assert_eq!(stream, "the stream arrived with another SHA-256");
}

#[test]
fn an_emulator_that_loses_count_fails_a_run() {
    let mut network = network();
    network.packets.conserved = false;
    let report = Report::new(&completed(), &End::Completed, Vec::new(), Some(&network));
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(
        report.problems,
        ["the emulator's account of packets does not add up"]
    );
}

#[test]
fn an_emulator_that_is_late_by_more_than_a_millisecond_says_so_and_passes() {
    let mut network = network();
    let line = "Emulator: 30000 packets, late by p50 30 us, p99 1000 us, max 2100 us.";
    assert_eq!(Emulator::from(&network).sentences(), line);
    network.lateness.p99 = Duration::from_micros(1_001);
    network.own_drops.insert("unread".to_owned(), 2);
    let report = Report::new(&completed(), &End::Completed, Vec::new(), Some(&network));
    assert_eq!(report.outcome, Outcome::Passed);
    let sentences = report.emulator.unwrap().sentences();
    let lines: Vec<_> = sentences.lines().collect();
    assert_eq!(lines.len(), 3, "{sentences}");
    assert!(lines[1].starts_with("It was late"), "{sentences}");
    assert!(lines[2].starts_with("It lost 2 packets"), "{sentences}");
}

#[test]
fn a_run_that_was_interrupted_neither_passed_nor_failed() {
    let report = judged(&completed(), &End::Interrupted(2));
    assert_eq!(report.outcome, Outcome::Interrupted);
    let report = judged(&completed(), &End::Failed("a node ended".to_owned()));
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(report.problems, ["a node ended"]);
}
