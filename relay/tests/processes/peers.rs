//! Peers that freeze, are black holes, or are killed.

use std::fs;

use tokio::net::UdpSocket;

use crate::{
    fleet::{Fleet, NodeSpec, free_both, listen, service},
    local::{Echo, PingPong, packet_crosses},
};

#[tokio::test]
async fn frozen_peer_is_seen_down_disturbs_no_other_and_is_up_again_after_it_thaws() {
    let fleet = Fleet::new().await;
    let (echo, third_echo) = (Echo::udp().await, Echo::udp().await);
    let (near, third_near) = (free_both(), free_both());
    let [mut node, frozen, third] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1")
                .with(&listen("udp", near, "echo", "node = \"us-east/iad-1\""))
                .with(&listen("udp", third_near, "echo", "region = \"ap-south\"")),
            NodeSpec::new("us-east/iad-1").with(&service("udp", echo.address, "echo")),
            NodeSpec::new("ap-south/bom-1").with(&service("udp", third_echo.address, "echo")),
        ])
        .await;
    packet_crosses(near).await;
    let undisturbed = PingPong::start(third_near).await;

    frozen.signal("STOP").await;
    let down = node
        .peer_where("us-east/iad-1", "is seen down", |peer| {
            peer.peer.state != "up"
        })
        .await;
    assert_ne!(down.peer.reason, "link established", "{down:#?}");
    undisturbed.goes_on().await;

    frozen.signal("CONT").await;
    node.peer_is("us-east/iad-1", "up").await;
    packet_crosses(near).await;
    undisturbed.stop().await;
    drop(third);
}

#[tokio::test]
async fn black_holed_address_costs_no_dial_and_black_holed_peer_backs_off_alone() {
    let fleet = Fleet::new().await;
    let black_hole = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nowhere = black_hole.local_addr().unwrap();
    let peer = fleet.start(&NodeSpec::new("us-east/iad-1")).await;
    let mut node = fleet
        .start(
            &NodeSpec::new("eu-west/fra-1")
                .peer("us-east/iad-1", &[nowhere, peer.spec.bind])
                .peer("ap-south/bom-1", &[nowhere]),
        )
        .await;

    let up = node.peer_is("us-east/iad-1", "up").await;
    let states: Vec<_> = up.transitions.iter().map(|t| t.to.as_str()).collect();
    assert_eq!(states, ["dialing", "up"], "one dial was enough");
    assert_eq!(up.links[0].address, peer.spec.bind.to_string());

    let silent = node
        .peer_where("ap-south/bom-1", "backs off", |peer| {
            peer.transitions.iter().any(|t| t.to == "backoff")
        })
        .await;
    let backoff = silent.transitions.iter().find(|t| t.to == "backoff");
    let backoff = backoff.unwrap();
    assert!(
        backoff.reason.starts_with("dial failed: deadline passed"),
        "{backoff:?}"
    );
    let up = node.peer("us-east/iad-1").await;
    assert_eq!(up.peer.state, "up");
    assert!(
        up.transitions[1].ago_ms > backoff.ago_ms,
        "the good peer had to wait for the black hole: {up:#?} {silent:#?}"
    );
}

#[tokio::test]
async fn place_of_a_peer_that_came_by_itself_and_went_is_given_to_the_next() {
    let fleet = Fleet::new().await;
    let full = NodeSpec::new("eu-west/fra-1").with("[limits]\nlinks = 1\n");
    let mut full = fleet.start(&full).await;
    for (id, other) in [
        ("us-east/iad-1", "ap-south/bom-1"),
        ("ap-south/bom-1", "us-east/iad-1"),
    ] {
        let spec = NodeSpec::new(id).peer("eu-west/fra-1", &[full.spec.bind]);
        let mut first = fleet.start(&spec).await;
        first.peer_is("eu-west/fra-1", "up").await;
        full.peer_is(id, "up").await;
        let spec = NodeSpec::new(other).peer("eu-west/fra-1", &[full.spec.bind]);
        let mut second = fleet.start(&spec).await;
        second
            .peer_where("eu-west/fra-1", "has no place", |peer| {
                let refused = |reason: &str| reason.contains("overloaded");
                peer.transitions.iter().any(|t| refused(&t.reason))
            })
            .await;
        assert_eq!(full.peer(id).await.peer.state, "up");
        first.terminate().await;
        second.peer_is("eu-west/fra-1", "up").await;
        second.terminate().await;
    }
}

#[tokio::test]
async fn killed_peer_is_linked_again_by_a_reset_with_a_higher_generation_even_without_its_state() {
    let fleet = Fleet::new().await;
    let echo = Echo::udp().await;
    let near = free_both();
    // It dials nobody, so that it is for the other node to find out.
    let spec = NodeSpec::new("us-east/iad-1").with(&service("udp", echo.address, "echo"));
    let mut peer = fleet.start(&spec).await;
    let mut node = fleet
        .start(
            &NodeSpec::new("eu-west/fra-1")
                .peer("us-east/iad-1", &[spec.bind])
                .with(&listen("udp", near, "echo", "region = \"us-east\"")),
        )
        .await;
    packet_crosses(near).await;

    for loses_its_state in [false, true] {
        let before = peer.answers().await.generation;
        let link = node.peer_is("us-east/iad-1", "up").await.links[0].clone();
        // The node sleeps meanwhile: else its probes might find out that nobody is there.
        node.signal("STOP").await;
        peer.kill().await;
        if loses_its_state {
            fs::remove_dir_all(fleet.path("iad-1.state")).unwrap();
        }
        peer = fleet.spawn(&spec);
        let after = peer.answers().await.generation;
        assert!(after > before, "{after} is not above {before}");
        node.signal("CONT").await;

        let relinked = node
            .peer_where("us-east/iad-1", "is linked anew", |peer| {
                peer.peer.state == "up" && peer.links[0].generation != link.generation
            })
            .await;
        assert!(
            relinked
                .transitions
                .iter()
                .any(|t| t.reason == "link lost: the peer no longer knows it"),
            "{relinked:#?}\n{}",
            node.log()
        );
        packet_crosses(near).await;
    }
}
