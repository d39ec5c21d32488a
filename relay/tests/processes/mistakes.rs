//! Mistakes of a newcomer: each is one clear line that names the file or the key, and a code.

use std::fs;

use crate::fleet::{Fleet, NodeSpec, causeway, output};

/// What `causeway node` says on standard error besides its log, and the code it ends with.
async fn fails(fleet: &Fleet, spec: &NodeSpec) -> (String, i32) {
    let path = fleet.configure(spec);
    let output = output(causeway(["node", "--config"]).arg(path)).await;
    let said = String::from_utf8(output.stderr).unwrap();
    let said: Vec<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("causeway: "))
        .collect();
    assert_eq!(said.len(), 1, "not one line: {said:?}");
    let code = output.status.code().expect("it ends by itself");
    // Where the directory is differs from run to run.
    let directory = fleet.path("").display().to_string();
    (said[0].replace(&directory, ""), code)
}

#[tokio::test]
async fn configuration_that_is_not_there_is_named() {
    let fleet = Fleet::new().await;
    let path = fleet.path("absent.toml");
    let output = output(causeway(["node", "--config"]).arg(&path)).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "causeway: {} could not be read: No such file or directory (os error 2)\n",
            path.display()
        )
    );
}

#[tokio::test]
async fn identity_that_cannot_be_used_names_its_file() {
    let fleet = Fleet::new().await;
    let (node, other) = (
        NodeSpec::new("eu-west/fra-1"),
        NodeSpec::new("us-east/iad-1"),
    );
    assert_eq!(
        fails(&fleet, &node).await,
        (
            "identity.certificate: fra-1/fra-1.pem: no such file".into(),
            1
        )
    );
    for spec in [&node, &other] {
        fleet.issue("pki", spec).await;
    }
    let swap = |from: &str, to: &str| {
        fs::copy(fleet.path(from), fleet.path(to)).unwrap();
    };
    swap("iad-1/iad-1.key", "fra-1/fra-1.key");
    assert_eq!(
        fails(&fleet, &node).await,
        (
            "identity.key: fra-1/fra-1.key: is not the key of the certificate in fra-1/fra-1.pem"
                .into(),
            1
        )
    );
    swap("iad-1/iad-1.pem", "fra-1/fra-1.pem");
    assert_eq!(
        fails(&fleet, &node).await,
        (
            "identity.certificate: fra-1/fra-1.pem: region of the certificate is us-east, the \
             configuration says eu-west"
                .into(),
            1
        )
    );
    fs::remove_file(fleet.path("fra-1/fra-1.pem")).unwrap();
    fleet.init("pki2").await;
    fleet.issue("pki2", &node).await;
    swap("iad-1/bundle.pem", "fra-1/bundle.pem");
    assert_eq!(
        fails(&fleet, &node).await,
        (
            "identity.certificate: fra-1/fra-1.pem: is not signed by a CA of the bundle in \
             fra-1/bundle.pem, or certificates between them are missing"
                .into(),
            1
        )
    );
    fs::write(fleet.path("fra-1/bundle.pem"), "").unwrap();
    assert_eq!(
        fails(&fleet, &node).await,
        (
            "identity.bundle: fra-1/bundle.pem: has no PEM block \"CERTIFICATE\"".into(),
            1
        )
    );
}

#[tokio::test]
async fn what_another_process_has_names_its_key() {
    let fleet = Fleet::new().await;
    let running = fleet.start(&NodeSpec::new("eu-west/fra-1")).await;
    let spec = NodeSpec::new("us-east/iad-1");
    fleet.issue("pki", &spec).await;

    let mut same_port = spec.clone();
    same_port.bind = running.spec.bind;
    assert_eq!(
        fails(&fleet, &same_port).await,
        (
            format!(
                "node.bind: {} cannot be bound: another process has it",
                same_port.bind
            ),
            1
        )
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let same_listen = spec.clone().with(&crate::fleet::listen(
        "tcp",
        at,
        "echo",
        "region = \"eu-west\"",
    ));
    assert_eq!(
        fails(&fleet, &same_listen).await,
        (
            format!("listen[0].address: {at} cannot be bound: another process has it"),
            1
        )
    );

    let mut same_socket = running.spec.clone();
    same_socket.bind = spec.bind;
    assert_eq!(
        fails(&fleet, &same_socket).await,
        (
            "admin.listen: unix:fra-1.sock cannot be listened at: another process does (is a node \
             running?)"
                .into(),
            1
        )
    );
    assert!(running.client().ready().await.unwrap().is_ready());
}

#[tokio::test]
async fn state_directory_that_cannot_be_used_is_named() {
    let fleet = Fleet::new().await;
    let spec = NodeSpec::new("eu-west/fra-1");
    fleet.issue("pki", &spec).await;
    fs::write(fleet.path("fra-1.state"), "a file").unwrap();
    assert_eq!(
        fails(&fleet, &spec).await,
        (
            "node.state_dir: cannot read the node's last generation: \
             fra-1.state/generation: Not a directory (os error 20)"
                .into(),
            1
        )
    );
}
