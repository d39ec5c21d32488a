//! What a node tells about itself while it runs, and what it keeps to itself.

use std::fs;

use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::{
    fleet::{Fleet, NodeSpec, causeway, free_both, listen, service, succeed},
    local::{Echo, Talk},
};

#[tokio::test]
async fn metrics_say_how_loaded_a_node_is_and_what_it_carries_to_which_region() {
    let fleet = Fleet::new().await;
    let (echo, near) = (Echo::tcp().await, free_both());
    let [node, mut far] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1").with(&listen(
                "tcp",
                near,
                "echo",
                "region = \"us-east\"",
            )),
            NodeSpec::new("us-east/iad-1")
                .with("[limits]\ntcp_streams = 2\n")
                .with(&service("tcp", echo.address, "echo")),
        ])
        .await;
    let _talk = Talk::start(near).await;
    // One stream of two, which the load nears slowly; what this machine is busy with may be more.
    far.metric_above(0.05, "relay_node_load_ratio", "").await;
    assert!(far.metric("relay_node_load_ratio", "").await < 10.0);
    for (node, region) in [(&node, "us-east"), (&far, "eu-west")] {
        let bytes = async |direction, path| {
            let labels = format!("direction=\"{direction}\",path=\"{path}\",region=\"{region}\"");
            node.metric("relay_region_traffic_bytes_total", &labels)
                .await
        };
        assert_eq!(bytes("sent", "direct").await, 5.0);
        assert_eq!(bytes("sent", "overlay").await, 0.0);
        assert_eq!(bytes("received", "any").await, 5.0);
    }
}

#[tokio::test]
async fn everything_that_is_told_can_be_read_by_programs() {
    let fleet = Fleet::new().await;
    let (near, near_tcp) = (free_both(), free_both());
    let [node, _peer] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1")
                .seed("127.0.0.1:9")
                .with(&listen("udp", near, "echo", "region = \"us-east\""))
                .with(&listen("tcp", near_tcp, "echo-tcp", "region = \"us-east\"")),
            NodeSpec::new("us-east/iad-1").with(&service("udp", free_both(), "echo")),
        ])
        .await;

    let (status, health) = node.http("/healthz").await;
    assert_eq!(status, 200, "{health}");
    assert_eq!(node.http("/readyz").await.0, 200);
    assert_eq!(node.http("/nothing").await.0, 404);
    let (status, metrics) = node.http("/metrics").await;
    assert_eq!(status, 200);
    assert_prometheus(&metrics);
    assert_eq!(
        node.metric("relay_peer_up", "peer=\"us-east/iad-1\"").await,
        1.0
    );

    let cli = async |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let json = [&words[..], &["--json", "--admin", &node.admin]].concat();
        let text = [&words[..], &["--admin", &node.admin]].concat();
        let text = succeed(&mut causeway(text)).await;
        let wide = text.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{words:?} does not fit a terminal");
        let said = succeed(&mut causeway(json)).await;
        serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    assert_eq!(cli("status").await["node"], "eu-west/fra-1");
    let peers = cli("peers").await;
    assert_eq!(
        (&peers[0]["name"], &peers[0]["state"]),
        (&json!("127.0.0.1:9"), &json!("seeking"))
    );
    assert_eq!(
        (&peers[1]["name"], &peers[1]["state"]),
        (&json!("us-east/iad-1"), &json!("up"))
    );
    assert_eq!(
        cli("explain peer iad-1").await["peer"]["name"],
        "us-east/iad-1"
    );
    let tasks = cli("tasks").await;
    let tasks = tasks.as_array().unwrap();
    for (name, owner) in [
        ("roster", "node"),
        ("acceptor", "worker 0"),
        ("keeper", "peer us-east/iad-1"),
        ("seeker", "seek 127.0.0.1:9"),
        ("udp listen", "worker 0"),
        ("tcp listen", "worker 0"),
    ] {
        let is =
            |task: &&Value| task["name"] == name && task["owner"].as_str().unwrap().contains(owner);
        assert!(
            tasks.iter().find(is).is_some(),
            "no {name} of {owner}: {tasks:#?}"
        );
    }
    assert!(tasks.iter().all(|task| task["overdue"] == false));
}

#[tokio::test]
async fn garbage_to_the_port_is_counted_and_the_node_works_on() {
    let fleet = Fleet::new().await;
    let mut node = fleet.start(&NodeSpec::new("eu-west/fra-1")).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(node.spec.bind).await.unwrap();
    let mut state = 1_u64;
    let mut random = || {
        // A linear congruential generator: the same garbage every time.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 32) as u8
    };
    for length in (0..1_400).step_by(7) {
        let garbage: Vec<u8> = (0..length).map(|_| random()).collect();
        socket.send(&garbage).await.unwrap();
    }
    // The form of a first packet of QUIC version 1, with nothing in it that can be decrypted.
    for _ in 0..20 {
        let mut first: Vec<u8> = (0..1_200).map(|_| random()).collect();
        first[0] = 0b1100_0000;
        first[1..5].copy_from_slice(&1_u32.to_be_bytes());
        // Ids of 8 bytes and none, no token, and the rest of the datagram as its length.
        first[5] = 8;
        first[14..16].copy_from_slice(&[0, 0]);
        first[16..18].copy_from_slice(&(0x4000_u16 | (1_200 - 18)).to_be_bytes());
        socket.send(&first).await.unwrap();
    }
    node.metric_above(0.0, "relay_inbound_ended_total", "outcome=\"handshake\"")
        .await;

    let peer = NodeSpec::new("us-east/iad-1").peer("eu-west/fra-1", &[node.spec.bind]);
    let mut peer = fleet.start(&peer).await;
    peer.peer_is("eu-west/fra-1", "up").await;
    assert!(node.client().health().await.unwrap().is_healthy());
    assert!(node.client().ready().await.unwrap().is_ready());
}

#[tokio::test]
async fn json_log_is_one_object_a_line_and_no_log_has_anything_of_a_key() {
    let fleet = Fleet::new().await;
    for (format, name) in [("json", "eu-west/fra-1"), ("text", "us-east/iad-1")] {
        let spec = NodeSpec::new(name).seed("127.0.0.1:9").with(&format!(
            "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n"
        ));
        let mut node = fleet.start(&spec).await;
        fs::write(fleet.configure(&spec), "[node]\nname = 1\nregion = 2\n").unwrap();
        node.signal("HUP").await;
        node.logs("configuration not reloaded").await;
        node.signal("TERM").await;
        assert!(node.ended().await.success());
        let log = fs::read_to_string(fleet.path(&format!("{}.log", spec.files))).unwrap();
        assert!(log.contains("ended"), "{log}");
        if format == "json" {
            for line in log.lines() {
                let event: Value = serde_json::from_str(line).expect(line);
                assert!(event.is_object(), "{line}");
            }
        }
        let key = fleet.path(spec.files).join(format!("{}.key", spec.files));
        let key = fs::read_to_string(key).unwrap();
        let secret: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(!secret.is_empty());
        for line in secret {
            assert!(!log.contains(line), "a part of the private key was logged");
        }
    }
}

/// Every line is a comment or a series with a number, and every series was declared.
fn assert_prometheus(text: &str) {
    let mut declared = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            declared.push(name);
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect(line);
            value.parse::<f64>().expect(line);
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(declared.contains(&name), "{line} was not declared");
            assert!(labels.ends_with('}'), "{line}");
        }
    }
    assert!(declared.len() > 10, "{text}");
}
