mod mesh;
mod policy;

use std::{fs, path::Path, sync::Arc};

use clap::CommandFactory;

use super::*;
use crate::admin::{AdminAddress, fake::FakeNode};

/// Parts that say what they were given.
const TEST: Program = Program {
    node: |config| Err(format!("ran {}", config.id()).into()),
    pki: |command| Ok(format!("{command:?}")),
    sign: |policy| Ok(format!("{policy:?}")),
};

/// What a command line prints, or the message and the code it fails with.
fn causeway(words: &[&str]) -> Result<String, (String, u8)> {
    let words = ["causeway"].iter().chain(words);
    let arguments = Arguments::try_parse_from(words)
        .map_err(|error| (error.to_string(), u8::try_from(error.exit_code()).unwrap()))?;
    let mut out = Vec::new();
    run(arguments.command, TEST, &mut out).map_err(|stop| (stop.to_string(), stop.code()))?;
    Ok(String::from_utf8(out).unwrap())
}

/// What a command line prints about the fake node.
fn ask(words: &[&str]) -> Result<String, (String, u8)> {
    let dir = tempfile::tempdir().unwrap();
    let address = AdminAddress::Unix(dir.path().join("admin.sock"));
    let (ready, bound) = std::sync::mpsc::sync_channel(1);
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let served = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (address, stop, served) = Arc::new(FakeNode::default()).serve(&address);
            ready.send(address.to_string()).unwrap();
            finished.await.ok();
            stop.cancel();
            served.await.unwrap();
        });
    });
    let address = bound.recv().unwrap();
    let words: Vec<&str> = words.iter().copied().chain(["--admin", &address]).collect();
    let said = causeway(&words);
    drop(finish);
    served.join().unwrap();
    said
}

fn write_example(dir: &Path) -> String {
    let path = dir.join("node.toml");
    fs::write(&path, example()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_command_is_well_formed_and_has_a_help() {
    Arguments::command().debug_assert();
    for words in [
        "--help",
        "node --help",
        "config --help",
        "config check --help",
        "config example --help",
        "pki --help",
        "pki init --help",
        "pki issue --help",
        "pki admin --help",
        "status --help",
        "peers --help",
        "tasks --help",
        "policy --help",
        "policy show --help",
        "policy apply --help",
        "policy sign --help",
        "explain --help",
        "explain peer --help",
        "explain route --help",
        "routes --help",
        "mesh --help",
        "ping --help",
        "trace --help",
        "--version",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let (help, code) = causeway(&words).unwrap_err();
        assert_eq!(code, 0, "{words:?}");
        assert!(!help.is_empty());
        let wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{words:?} is wider than a terminal");
    }
}

#[test]
fn odd_command_lines_end_with_code_2_before_anything_is_done() {
    for words in [
        "",
        "nod",
        "node",
        "config",
        "config check",
        "explain peer",
        "explain route",
        "ping",
        "ping us-east/iad-1 --count 0",
        "ping us-east/iad-1 --count 101",
        "trace us-east/iad-1 --interval 9",
        "status --admin 10.0.0.1:1",
        "node --config x --log-format yaml",
        "pki issue --dir d --region r --name n --days 0",
        "pki admin --dir d --name n --days 0",
    ] {
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let (_, code) = causeway(&words).unwrap_err();
        assert_eq!(code, 2, "{words:?}");
    }
}

#[test]
fn config_that_cannot_be_used_ends_with_code_2_and_a_node_that_fails_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let good = write_example(dir.path());
    let bad = dir.path().join("bad.toml");
    fs::write(&bad, "[node]\nname = 1\n").unwrap();
    let bad = bad.to_str().unwrap();
    for words in [["config", "check", bad], ["node", "--config", bad]] {
        let (error, code) = causeway(&words).unwrap_err();
        assert_eq!(code, 2);
        assert!(error.contains("line 2: node.name = 1, expected"), "{error}");
    }
    let absent = dir.path().join("absent.toml");
    let (error, code) = causeway(&["config", "check", absent.to_str().unwrap()]).unwrap_err();
    assert_eq!(code, 2);
    assert!(error.contains("absent.toml could not be read"), "{error}");
    let (error, code) = causeway(&["node", "--config", &good, "--log-format", "json"]).unwrap_err();
    assert_eq!((error.as_str(), code), ("ran eu-west/fra-1", 1));
}

#[test]
fn config_check_says_what_the_node_of_the_example_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_example(dir.path());
    let said = causeway(&["config", "check", &file]).unwrap();
    let dir = dir.path().to_str().unwrap();
    let expected = format!(
        "\
{dir}/node.toml can be used. The node
  is           eu-west/fra-1 of trust domain example.org
  binds        UDP 0.0.0.0:7400
  is dialed at 203.0.113.5:7400
  answers at   127.0.0.1:7480 (admin API)
  keeps state  in /var/lib/causeway

It dials
PEER           AT
us-east/iad-1  iad-1.example.org:7400, 198.51.100.7:7400
any node       seed.example.org:7400

It exposes
SERVICE  KIND  AT              TO
rtp      udp   127.0.0.1:5004  spiffe://example.org/region/*/node/*

It carries
FROM            KIND  CLASS  TO SERVICE  ON
127.0.0.1:6004  udp   video  game        the nearest of us-east

Note: identity.certificate is {dir}/fra-1.pem, which is not on this machine.
Note: identity.key is {dir}/fra-1.key, which is not on this machine.
Note: identity.bundle is {dir}/bundle.pem, which is not on this machine.
"
    );
    assert_eq!(said, expected);
}

#[test]
fn pki_gets_its_arguments() {
    let said = causeway(&["pki", "issue", "--dir", "d", "--region", "r", "--name", "n"]).unwrap();
    assert_eq!(
        said,
        "Issue(Issue { dir: \"d\", region: \"r\", name: \"n\", out: None, days: 90 })\n"
    );
    let said = causeway(&["pki", "admin", "--dir", "d", "--name", "n"]).unwrap();
    assert_eq!(
        said,
        "Admin(IssueAdmin { dir: \"d\", name: \"n\", out: None, days: 90 })\n"
    );
}

#[test]
fn nobody_at_the_address_says_so_and_ends_with_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.sock");
    let address = format!("unix:{}", path.display());
    let (error, code) = causeway(&["status", "--admin", &address]).unwrap_err();
    assert_eq!(code, 1);
    assert_eq!(
        error,
        format!(
            "no node answers at {address}: is it running? (--admin or CAUSEWAY_ADMIN names another)"
        )
    );
    let (error, code) = ask(&["explain", "peer", "nobody"]).unwrap_err();
    assert_eq!(code, 1);
    assert!(error.starts_with("no peer nobody; there is "), "{error}");
}

#[test]
fn json_of_every_listing_is_what_the_node_said() {
    use crate::admin::NodeView;
    let node = FakeNode::default();
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let status = parse(ask(&["status", "--json"]).unwrap());
    assert_eq!(status, serde_json::to_value(node.status()).unwrap());
    let peers = parse(ask(&["peers", "--json"]).unwrap());
    assert_eq!(peers, serde_json::to_value(node.peers()).unwrap());
    let peer = parse(ask(&["explain", "peer", "iad-1", "--json"]).unwrap());
    assert_eq!(
        peer,
        serde_json::to_value(node.peer("us-east/iad-1")).unwrap()
    );
    let tasks = parse(ask(&["tasks", "--json"]).unwrap());
    assert_eq!(tasks.as_array().unwrap().len(), node.tasks().len());
    let routes = parse(ask(&["routes", "--json"]).unwrap());
    assert_eq!(routes.as_array().unwrap().len(), 2 * 5);
    for key in [
        "to",
        "kind",
        "path",
        "why",
        "since_ms",
        "cost_ms",
        "delay_ms",
        "loss_ms",
        "load_ms",
        "suspect_links",
        "draining_nodes",
        "unmeasured_links",
        "backup",
        "backup_cost_ms",
    ] {
        assert!(routes[0].get(key).is_some(), "{key}");
    }
    let route = parse(ask(&["explain", "route", "iad-1", "--json"]).unwrap());
    assert_eq!(route["kinds"][0]["now"]["path"][1], "eu-west/lon-1");
    let mesh = parse(ask(&["mesh", "--json"]).unwrap());
    assert_eq!(mesh["nodes"].as_array().unwrap().len(), 6);
}

#[test]
fn status_for_people() {
    assert_eq!(
        ask(&["status"]).unwrap(),
        "\
eu-west/fra-1 is ready
  release      0b7c1d9e22aa (version 0.1.0, protocol 1)
  up for       3d04h
  identity     spiffe://example.org/region/eu-west/node/fra-1
  key          fa713e8e6d124339, generation 1795212660123
  certificate  until 2027-02-18T22:11:00Z
  bound        0.0.0.0:7400
  advertised   203.0.113.5:7400
  peers        1 of 3 up
  labels       rack=b7

SERVICE  KIND  AT
rtp      udp   127.0.0.1:5004

LISTEN          KIND  TO SERVICE  IN OR ON        VIA
127.0.0.1:6004  udp   game        us-east         us-east/iad-1
127.0.0.1:6005  tcp   files       ap-south/bom-1  nobody
"
    );
}

#[test]
fn peers_for_people() {
    assert_eq!(
        ask(&["peers"]).unwrap(),
        "\
PEER                   STATE      FOR     RTT   LOSS  SERVES  WHY
ap-south/bom-1         backoff  3m12s       -      -       0  dial timed out
                                                              after 4 s
seed.example.org:7400  seeking  3m12s       -      -       0  the name does
                                                              not resolve
us-east/iad-1          up       3m12s  88.4ms  0.12%       2  dialed
"
    );
}

#[test]
fn tasks_for_people_name_the_overdue_first() {
    assert_eq!(
        ask(&["tasks"]).unwrap(),
        "\
TASK        OWNER                    AGE  STATE    WAITS FOR
tcp listen  listen 127.0.0.1:6005  1m01s  OVERDUE  local_write
keeper      us-east/iad-1          1m01s  -        message
reaper      node                   1m01s  -        timer

3 tasks, 1 past their deadline
"
    );
}

#[test]
fn explained_peer_for_people() {
    assert_eq!(
        ask(&["explain", "peer", "us-east/iad-1"]).unwrap(),
        "\
us-east/iad-1: up for 3m12s (dialed)
  key          13c0ffee13c0ffee
  release      0b7c1d9e22aa
  dialed at    198.51.100.7:7400, [2001:db8::7]:7400
  services     game, files
  judged       up, fell once; 0.09% lost on the way out, jitter 0.31ms
  round trips  p50 88.1ms, p90 90.2ms, p99 99.0ms, max 120ms

current link fa713e8e6d124339-1795212660123-4
  to           198.51.100.7:7400, dialed 3m12s ago
  measured     rtt 88.4ms, loss 0.12%
  carried      48.3 MB sent, 1.0 kB received

  AGO  JUDGED    NOW       WHY
1m02s  up        degraded  too much is lost on the way out
  55s  degraded  up        recovered

  AGO  FROM     TO       WHY
1h03m  idle     dialing  configured
1h03m  dialing  backoff  dial timed out after 4 s
3m12s  dialing  up       dialed
"
    );
}

#[test]
fn explained_peer_that_backs_off_for_people() {
    assert_eq!(
        ask(&["explain", "peer", "bom-1"]).unwrap(),
        "\
ap-south/bom-1: backoff for 3m12s (dial timed out after 4 s)
  next dial    in 2s
  key          13c0ffee13c0ffee
  dialed at    198.51.100.7:7400, [2001:db8::7]:7400

  AGO  FROM     TO       WHY
1h03m  idle     dialing  configured
1h03m  dialing  backoff  dial timed out after 4 s
3m12s  dialing  backoff  dial timed out after 4 s
"
    );
}
