//! Two processes with one name.

use crate::{
    fleet::{Fleet, NodeSpec, free_both, listen, service},
    local::{Echo, packet_crosses},
};

#[tokio::test]
async fn of_two_processes_with_one_name_one_says_so_and_is_not_ready_and_the_other_works() {
    let fleet = Fleet::new().await;
    let echo = Echo::udp().await;
    let mut peer = fleet
        .start(&NodeSpec::new("us-east/iad-1").with(&service("udp", echo.address, "echo")))
        .await;
    let nears = [free_both(), free_both()];
    let mut twins = Vec::new();
    for (files, near) in ["first", "second"].into_iter().zip(nears) {
        let mut spec = NodeSpec::new("eu-west/fra-1")
            .peer("us-east/iad-1", &[peer.spec.bind])
            .with(&listen("udp", near, "echo", "region = \"us-east\""));
        spec.files = files;
        twins.push((fleet.start(&spec).await, near));
    }

    let [(first, _), (second, _)] = &mut twins[..] else {
        unreachable!("there are two");
    };
    let (one, other) = (first.client(), second.client());
    let loser = first
        .eventually("one of two is not ready", async || {
            let ready = (one.ready().await, other.ready().await);
            match ready {
                (Ok(one), Ok(_)) if !one.is_ready() => Ok(0),
                (Ok(_), Ok(other)) if !other.is_ready() => Ok(1),
                ready => Err(format!("{ready:?}")),
            }
        })
        .await;
    let (mut loser, _) = twins.remove(loser);
    let (winner, near) = twins.remove(0);

    let ready = loser.client().ready().await.unwrap();
    assert_eq!(ready.reasons, ["another process uses this node's name"]);
    assert_eq!(loser.http("/readyz").await.0, 503);
    let halted = loser.peer_is("us-east/iad-1", "halted").await;
    assert_eq!(halted.peer.reason, "another process uses this node's name");
    loser.logs("another process uses this node's name").await;

    peer.peer_where("eu-west/fra-1", "is said to be two", |peer| {
        let said = |reason: &str| reason.contains("another process uses the peer's name");
        peer.transitions.iter().any(|t| said(&t.reason))
    })
    .await;
    assert!(winner.client().ready().await.unwrap().is_ready());
    packet_crosses(near).await;
}
