//! How a node ends.

use crate::fleet::{Fleet, NodeSpec};

#[tokio::test]
async fn sigterm_ends_with_code_0_and_the_peer_says_shutdown() {
    let fleet = Fleet::new().await;
    let [node, mut peer] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1"),
            NodeSpec::new("us-east/iad-1"),
        ])
        .await;
    node.terminate().await;
    peer.peer_where("eu-west/fra-1", "is said to have shut down", |peer| {
        let told = |reason: &str| reason == "link closed by the peer: shutdown";
        peer.peer.state != "up" && peer.transitions.iter().any(|t| told(&t.reason))
    })
    .await;
    assert!(peer.log().contains("shutdown"), "{}", peer.log());
    assert!(peer.client().ready().await.unwrap().is_ready());
    assert!(!fleet.path("fra-1.sock").exists(), "the socket is removed");
}

#[tokio::test]
async fn second_order_to_end_ends_at_once_with_another_code() {
    let fleet = Fleet::new().await;
    let mut node = fleet.start(&NodeSpec::new("eu-west/fra-1")).await;
    // Frozen, so that it finds both orders together: the end has not even begun.
    for signal in ["STOP", "TERM", "INT", "CONT"] {
        node.signal(signal).await;
    }
    let status = node.ended().await;
    assert_eq!(status.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("told to end twice"), "{}", node.log());
}
