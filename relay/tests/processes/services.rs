//! Services that are refused, unknown or not there.

use crate::{
    fleet::{Fleet, NodeSpec, free_both, listen, service},
    local::{Echo, Talk, connection_is_reset},
};

#[tokio::test]
async fn service_that_is_not_allowed_unknown_or_down_is_a_reset_and_a_typed_count() {
    let fleet = Fleet::new().await;
    let echo = Echo::tcp().await;
    let address = echo.address;
    let listens = ["closed", "unknown", "down", "echo"].map(|name| (name, free_both()));
    let tables = listens.map(|(name, near)| listen("tcp", near, name, "node = \"us-east/iad-1\""));
    let closed = service("tcp", address, "closed")
        .lines()
        .filter(|line| !line.starts_with("allow"))
        .collect::<Vec<_>>()
        .join("\n")
        + "\n";
    let [node, far] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1").with(&tables.concat()),
            NodeSpec::new("us-east/iad-1")
                .with(&closed)
                .with(&service("tcp", free_both(), "down"))
                .with(&service("tcp", address, "echo")),
        ])
        .await;

    let refused = [
        ("closed", "not_allowed"),
        ("unknown", "unknown_service"),
        ("down", "local_refused"),
    ];
    for ((name, code), (_, near)) in refused.into_iter().zip(listens) {
        connection_is_reset(near).await;
        let label = format!("code=\"{code}\"");
        let counted = far.metric("relay_open_refused_total", &label).await;
        assert_eq!(counted, 1.0, "{name}");
    }
    assert_eq!(node.metric("relay_stream_open_failed_total", "").await, 3.0);

    let mut talk = Talk::start(listens[3].1).await;
    for node in [&node, &far] {
        assert!(node.client().health().await.unwrap().is_healthy());
        assert!(node.client().ready().await.unwrap().is_ready());
    }
    talk.goes_on().await;
}

#[tokio::test]
async fn program_whose_far_end_goes_away_reads_a_reset_and_the_next_one_is_served() {
    let fleet = Fleet::new().await;
    let echo = Echo::tcp().await;
    let near = free_both();
    let far = NodeSpec::new("us-east/iad-1").with(&service("tcp", echo.address, "echo"));
    let mut peer = fleet.start(&far).await;
    let mut node = fleet
        .start(
            &NodeSpec::new("eu-west/fra-1")
                .peer("us-east/iad-1", &[far.bind])
                .with(&listen("tcp", near, "echo", "region = \"us-east\"")),
        )
        .await;
    node.serves(near, "us-east/iad-1").await;
    let talk = Talk::start(near).await;
    peer.kill().await;
    peer = fleet.spawn(&far);
    talk.ends_with_a_reset().await;
    node.serves(near, "us-east/iad-1").await;
    Talk::start(near).await;
    drop(peer);
}
