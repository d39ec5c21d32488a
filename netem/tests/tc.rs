//! The backend that is a script for the kernel's own netem.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "tc/alone.rs"]
mod alone;

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use netem::{
    tc::{NoScript, script},
    topology::Topology,
};

const NETWORK: &str = r#"
seed = 42
default = "delay 1ms"

[[host]]
name = "a"

[[host]]
name = "frankfurt"

[[host]]
name = "c"

[[path]]
between = ["a", "frankfurt"]
netem = "delay 40ms loss burst 1% 5"

[[path]]
from = "frankfurt"
to = "a"
netem = "delay 40ms 5ms rate 50mbit limit 1000"

[[path]]
between = ["a", "c"]
netem = ""
"#;

fn network(text: &str) -> Topology {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_script_of_three_hosts_is_the_one_that_was_reviewed() {
    let expected = include_str!("tc/three-hosts.sh");
    let got = script(&network(NETWORK)).unwrap();
    assert_eq!(got, expected, "--- got:\n{got}");
}

#[test]
fn what_the_kernel_cannot_do_is_refused_path_by_path() {
    let text = r#"
        seed = 1
        default = "delay 9ms 1ms"
        [[host]]
        name = "a"
        [[host]]
        name = "b"
        [[path]]
        from = "a"
        to = "b"
        [[path.change]]
        at = "1s"
        down = "1s"
    "#;
    let error = script(&network(text)).unwrap_err();
    let expected = "\
        a to b: tc holds one state and no schedule of changes: leave them out, or use another backend\n\
        b to a: the kernel lets jitter reorder packets unless there is a rate: say unordered, or a rate";
    assert_eq!(error.to_string(), expected);
    let text = text.replace("seed = 1", "seed = 1\nmatrix = \"aws\"");
    let matrix = NoScript::Matrix {
        name: "aws".to_owned(),
    };
    assert_eq!(script(&network(&text)), Err(matrix));
}

#[test]
#[ignore = "needs root and iproute2"]
fn the_script_makes_a_network_refuses_to_make_it_twice_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let lab = path("lab.sh");
    fs::write(&lab, script(&network(NETWORK)).unwrap()).unwrap();
    // This kernel may have no netem: all else is to be seen without it.
    let log = path("log");
    let stub = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {log}\n[ ! -e {} ]\n",
        path("fail")
    );
    fs::write(path("tc"), stub).unwrap();
    fs::set_permissions(path("tc"), fs::Permissions::from_mode(0o755)).unwrap();
    let (done, said) = alone::run(&format!(
        r#"
        set -e
        PATH={}:$PATH
        sh {lab} down
        sh {lab} up
        ip netns list | wc -l
        # A refusal comes from the other host.
        ip netns exec netem-tc-a bash -c ': > /dev/tcp/10.77.0.2/9' 2>&1 | grep -q refused
        ip netns exec netem-tc-c bash -c ': > /dev/tcp/fd77::2/9' 2>&1 | grep -q refused
        ip -n netem-tc-a -d link show to2 | grep -c "gso_max_segs 1 "
        ! sh {lab} up
        sh {lab} down
        ip netns list | wc -l
        touch {}
        ! sh {lab} up
        ip netns list | wc -l
        ip netns add netem-tc-c
        ! sh {lab} up
        ip netns list | wc -l
        ! sh {lab}
        "#,
        folder.path().display(),
        path("fail"),
    ));
    assert!(done, "{said}");
    let is_there = |name: &str| {
        format!("the namespace netem-tc-{name} is there already: sh {lab} down removes it")
    };
    let usage = format!("usage: sh {lab} up|show|down");
    let expected = [
        "3",
        "1",
        &is_there("a"),
        "0",
        "0",
        &is_there("c"),
        "1",
        &usage,
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let log = fs::read_to_string(log).unwrap();
    let impaired: Vec<&str> = log.lines().collect();
    assert_eq!(
        impaired[..2],
        [
            "-n netem-tc-a qdisc add dev to2 root netem delay 40ms loss gemodel 0.2020202% 20% \
             limit 4294967295",
            "-n netem-tc-frankfurt qdisc add dev to1 root netem delay 40ms 5ms rate 50mbit -14 \
             limit 1000",
        ]
    );
    // The default, both ways; nothing between a and c; and the one that failed.
    assert_eq!(impaired.len(), 5, "{log}");
}

#[test]
fn network_of_a_matrix_is_refused_by_path_and_printed_if_it_may_be_approximated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aws.toml");
    let hosts = "[[host]]\nname = \"eu-west-1\"\n[[host]]\nname = \"us-east-1\"\n";
    fs::write(&file, format!("seed = 1\nmatrix = \"aws\"\n{hosts}")).unwrap();
    let tc = |arguments: &[&str]| {
        let mut netem = Command::new(env!("CARGO_BIN_EXE_netem"));
        netem.arg("tc").arg(&file).args(arguments).output().unwrap()
    };
    let refused = tc(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let reasons = String::from_utf8(refused.stderr).unwrap();
    assert!(reasons.contains("eu-west-1 to us-east-1: "), "{reasons}");
    let printed = tc(&["--approximate"]);
    assert!(printed.status.success());
    let script = String::from_utf8(printed.stdout).unwrap();
    assert!(
        script.contains("impair us-east-1 eu-west-1 1 delay 34811us "),
        "{script}"
    );
}
