//! Peers whose address or name is not known beforehand.

use crate::{
    fleet::{Fleet, NodeSpec, free_both, listen, service},
    local::{Echo, packet_crosses},
};

#[tokio::test]
async fn peer_by_dns_name_links_up() {
    let fleet = Fleet::new().await;
    let peer = fleet.start(&NodeSpec::new("us-east/iad-1")).await;
    let at = format!("localhost:{}", peer.spec.bind.port());
    let spec = NodeSpec::new("eu-west/fra-1").peer_at("us-east/iad-1", &at);
    let mut node = fleet.start(&spec).await;
    let up = node.peer_is("us-east/iad-1", "up").await;
    assert_eq!(up.addresses, [at]);
}

#[tokio::test]
async fn seeker_is_listed_with_its_failure_until_it_finds_a_node_which_then_has_its_name() {
    let fleet = Fleet::new().await;
    let echo = Echo::udp().await;
    let near = free_both();
    let found = NodeSpec::new("us-east/iad-1").with(&service("udp", echo.address, "echo"));
    let seed = found.bind.to_string();
    let mut node = fleet
        .start(&NodeSpec::new("eu-west/fra-1").seed(&seed).with(&listen(
            "udp",
            near,
            "echo",
            "region = \"us-east\"",
        )))
        .await;
    let seeking = node
        .peer_where(&seed, "has failed", |peer| peer.peer.reason != "configured")
        .await;
    assert_eq!(seeking.peer.state, "seeking");
    assert_eq!(seeking.addresses, std::slice::from_ref(&seed));
    assert!(
        seeking.peer.reason.starts_with("dial failed: "),
        "{seeking:#?}"
    );

    let mut peer = fleet.start(&found).await;
    let up = node.peer_is("us-east/iad-1", "up").await;
    packet_crosses(near).await;
    let names: Vec<_> = node.client().peers().await.unwrap();
    let names: Vec<_> = names.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["us-east/iad-1"]);

    // What a seeker has found stays through a reload, and is dialed again like any peer.
    node.reloads().await;
    let same = node.peer("us-east/iad-1").await;
    assert_eq!(same.links[0].generation, up.links[0].generation);
    peer.kill().await;
    peer = fleet.start(&found).await;
    node.peer_where("us-east/iad-1", "is linked anew", |peer| {
        peer.peer.state == "up" && peer.links[0].generation != up.links[0].generation
    })
    .await;
    packet_crosses(near).await;
    assert_eq!(node.log().matches("a seeker has found a peer").count(), 1);
    drop(peer);
}

#[tokio::test]
async fn seeker_for_the_nodes_own_address_ends_quietly() {
    let fleet = Fleet::new().await;
    let mut spec = NodeSpec::new("eu-west/fra-1");
    spec = spec.clone().seed(&spec.bind.to_string());
    let mut node = fleet.start(&spec).await;
    node.logs("a seeker has found this node itself").await;
    let client = node.client();
    node.eventually("nobody is listed or sought", async || {
        let (peers, tasks) = (client.peers().await.unwrap(), client.tasks().await.unwrap());
        let seekers = tasks.iter().filter(|task| task.name == "seeker").count();
        match (peers.len(), seekers) {
            (0, 0) => Ok(()),
            _ => Err(format!("{peers:?}, {seekers} seekers")),
        }
    })
    .await;
    node.reloads().await;
    assert!(client.peers().await.unwrap().is_empty());
    assert!(!node.log().contains("WARN"), "{}", node.log());
    assert!(client.ready().await.unwrap().is_ready());
}
