//! What SIGHUP takes over, and what it leaves alone.

use std::fs;

use tokio::net::UdpSocket;

use crate::{
    fleet::{Fleet, NodeProcess, NodeSpec, free_both, listen, service},
    local::{Echo, PingPong, Talk},
};

#[tokio::test]
async fn reload_adds_and_removes_peers_and_touches_no_other() {
    let fleet = Fleet::new().await;
    let echo = Echo::tcp().await;
    let near = free_both();
    // Nobody answers there, so that nothing but the configuration wants it.
    let unread = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (goes, nowhere) = ("ap-south/bom-1", unread.local_addr().unwrap());
    let stays = fleet
        .start(&NodeSpec::new("us-east/iad-1").with(&service("tcp", echo.address, "echo")))
        .await;
    let comes = fleet.start(&NodeSpec::new("sa-east/gru-1")).await;
    let common = NodeSpec::new("eu-west/fra-1")
        .peer(stays.spec.id, &[stays.spec.bind])
        .with(&listen("tcp", near, "echo", "region = \"us-east\""));
    let before = common.clone().peer(goes, &[nowhere]);
    let mut node = fleet.start(&before).await;
    node.peer_is(goes, "dialing").await;
    node.serves(near, stays.spec.id).await;
    let mut talk = Talk::start(near).await;
    let link = node.peer(stays.spec.id).await.links[0].generation.clone();

    fleet.configure(&common.clone().peer(comes.spec.id, &[comes.spec.bind]));
    node.reloads().await;
    let came = node.peer_is(comes.spec.id, "up").await;
    listed(&mut node, &[comes.spec.id, stays.spec.id]).await;
    in_the_mesh(&mut node, comes.spec.id).await;

    // Back before it has quite gone, and gone before it is quite back.
    fleet.configure(&before);
    node.reloads().await;
    fleet.configure(&common);
    node.reloads().await;
    fleet.configure(&before);
    node.reloads().await;
    node.peer_is(goes, "dialing").await;
    // One that has told of itself is in the mesh, and its link stays whoever is configured.
    listed(&mut node, &[goes, comes.spec.id, stays.spec.id]).await;

    talk.goes_on().await;
    let came = &came.links[0].generation;
    for (peer, link) in [(&stays, &link), (&comes, came)] {
        let stayed = node.peer(peer.spec.id).await;
        assert_eq!(stayed.links[0].generation, *link);
        assert_eq!(stayed.links.len(), 1);
    }
}

#[tokio::test]
async fn broken_file_changes_nothing_and_what_needs_a_restart_is_named() {
    let fleet = Fleet::new().await;
    let peer = fleet.start(&NodeSpec::new("us-east/iad-1")).await;
    let spec = NodeSpec::new("eu-west/fra-1").peer(peer.spec.id, &[peer.spec.bind]);
    let mut node = fleet.start(&spec).await;
    let up = node.peer_is(peer.spec.id, "up").await;

    let path = fleet.configure(&spec);
    let broken = spec
        .config()
        .replace("[admin]", "[admn]\nport = 1\n[admin]");
    fs::write(&path, broken).unwrap();
    node.signal("HUP").await;
    node.logs("configuration not reloaded").await;
    let log = node.log();
    let line = log.lines().find(|line| line.contains("not reloaded"));
    assert!(line.unwrap().contains("did you mean admin?"), "{log}");

    let mut moved = spec.clone().with("[labels]\nrack = \"b7\"\n");
    moved.bind = free_both();
    fleet.configure(&moved);
    node.reloads().await;
    let log = node.log();
    let line = log.lines().find(|line| line.contains("need a restart"));
    let line = line.unwrap();
    assert!(line.contains("node.bind, labels"), "{line}");

    let status = node.client().status().await.unwrap();
    assert_eq!(status.bound, [spec.bind.to_string()]);
    let same = node.peer(peer.spec.id).await;
    assert_eq!(same.links[0].generation, up.links[0].generation);
}

#[tokio::test]
async fn certificates_and_authority_are_replaced_without_a_gap() {
    let fleet = Fleet::new().await;
    let echo = Echo::udp().await;
    let near = free_both();
    let [mut node, mut peer] = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1").with(&listen(
                "udp",
                near,
                "echo",
                "node = \"us-east/iad-1\"",
            )),
            NodeSpec::new("us-east/iad-1").with(&service("udp", echo.address, "echo")),
        ])
        .await;
    let flow = PingPong::start(near).await;
    let old = node.peer_is("us-east/iad-1", "up").await;

    // A new certificate by the same authority: links stay.
    let ends = node.client().status().await.unwrap().certificate_ends;
    fleet.issue_for_days("pki", &node.spec, 10).await;
    node.reloads().await;
    assert!(
        node.client().status().await.unwrap().certificate_ends < ends,
        "{}",
        node.log()
    );
    flow.goes_on().await;
    let same = node.peer("us-east/iad-1").await;
    assert_eq!(same.links[0].generation, old.links[0].generation);

    // A new authority: trusted by all beside the old one, then used by all, then the only one.
    fleet.init("pki2").await;
    let ca = |pki: &str| fs::read_to_string(fleet.path(pki).join("ca.pem")).unwrap();
    let both = ca("pki") + &ca("pki2");
    let trust = |node: &NodeProcess, bundle: &str| {
        fs::write(fleet.path(node.spec.files).join("bundle.pem"), bundle).unwrap();
    };
    for node in [&mut node, &mut peer] {
        trust(node, &both);
        node.reloads().await;
    }
    for node in [&mut node, &mut peer] {
        fleet.issue("pki2", &node.spec).await;
        trust(node, &both);
        node.reloads().await;
    }
    flow.goes_on().await;
    for node in [&mut node, &mut peer] {
        trust(node, &ca("pki2"));
        node.reloads().await;
    }
    let replaced = node
        .peer_where(
            "us-east/iad-1",
            "has a link of the new authority only",
            |peer| {
                let one = &peer.links[..];
                one.len() == 1 && one[0].current && one[0].generation != old.links[0].generation
            },
        )
        .await;
    flow.stop().await;
    let left_up = replaced
        .transitions
        .iter()
        .find(|t| t.from == "up" && t.to != "up");
    assert_eq!(left_up, None, "there was a gap");

    // Who comes with a certificate of the old authority is refused now, and told why.
    let late = NodeSpec::new("ap-south/bom-1").peer("eu-west/fra-1", &[node.spec.bind]);
    let mut late = fleet.start(&late).await;
    let refused = late.peer_is("eu-west/fra-1", "backoff").await;
    assert!(
        refused.peer.reason.contains("handshake failed"),
        "{refused:#?}"
    );
}

/// Waits until the router wants a link to a peer, which is when it has heard of it.
async fn in_the_mesh(node: &mut NodeProcess, peer: &str) {
    let client = node.client();
    node.eventually(&format!("{peer} is known"), async || {
        let mesh = client.mesh().await.map_err(|error| error.to_string())?;
        match mesh.nodes.iter().any(|node| node.name == peer) {
            true => Ok(()),
            false => Err(format!("{mesh:#?}")),
        }
    })
    .await;
}

/// Waits until exactly these peers are listed.
async fn listed(node: &mut NodeProcess, peers: &[&str]) {
    let client = node.client();
    let mut peers = peers.to_vec();
    peers.sort_unstable();
    node.eventually("the right peers are listed", async || {
        let rows = client.peers().await.map_err(|error| error.to_string())?;
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        match names == peers {
            true => Ok(()),
            false => Err(format!("{rows:#?}")),
        }
    })
    .await;
}
