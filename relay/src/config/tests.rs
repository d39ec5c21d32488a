use std::path::Path;

use super::{document::Shape, *};

/// The smallest useful file; replaced line by line in the tests.
const SMALL: &str = r#"[node]
name = "fra-1"
region = "eu-west"
trust_domain = "example.org"
bind = "10.0.0.1:7400"
state_dir = "state"
[identity]
certificate = "a.crt"
key = "/keys/a.key"
bundle = "b.crt"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/causeway"))
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Invalid { problems, .. }) => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

fn small_with(more: &str) -> Config {
    parse(&format!("{SMALL}{more}")).unwrap()
}

#[test]
fn smallest_file_takes_defaults_and_resolves_paths_from_its_directory() {
    let config = small_with("");
    assert_eq!(config.id().to_string(), "eu-west/fra-1");
    assert_eq!(config.state_dir(), Path::new("/etc/causeway/state"));
    assert_eq!(config.identity().key, Path::new("/keys/a.key"));
    assert_eq!(*config.advertise(), Advertise::Bound);
    assert_eq!(config.admin().to_string(), "127.0.0.1:7480");
    assert_eq!(*config.shared(), Shared::default());
    assert_eq!(*config.limits(), Limits::default());
    assert!(config.limits().retry_above <= config.limits().unauthenticated_handshakes);
}

#[test]
fn each_worker_has_the_next_port_and_port_0_stays_0() {
    let config = parse(&SMALL.replace("state_dir", "workers = 3\nstate_dir")).unwrap();
    assert_eq!(config.bind(2).to_string(), "10.0.0.1:7402");
    let config = parse(&SMALL.replace(":7400", ":0")).unwrap();
    assert_eq!(config.bind(2).to_string(), "10.0.0.1:0");
}

#[test]
fn typical_mistakes_name_line_key_value_and_what_was_expected() {
    // What is replaced in the small file, with what, and what is said about it.
    let table = [
        (
            "name = \"fra-1\"\n",
            "",
            "line 1: node.name is missing, expected the node's name, as in its certificate",
        ),
        (
            "name = \"fra-1\"",
            "nmae = \"fra-1\"\nname = \"fra-1\"",
            "line 2: node.nmae is not a known key, did you mean name?",
        ),
        (
            "name = \"fra-1\"",
            "colour = 1\nname = \"fra-1\"",
            "line 2: node.colour is not a known key, expected one of name, region, trust_domain, bind, advertise, workers, state_dir",
        ),
        (
            "\"fra-1\"",
            "\"fra 1\"",
            "line 2: node.name = \"fra 1\", expected 1 to 63 letters, digits, '.', '-' and '_' (no capitals in a trust domain)",
        ),
        (
            "\"example.org\"",
            "\"Example.org\"",
            "line 4: node.trust_domain = \"Example.org\", expected 1 to 63 letters, digits, '.', '-' and '_' (no capitals in a trust domain)",
        ),
        (
            "\"10.0.0.1:7400\"",
            "7400",
            "line 5: node.bind = 7400, expected an IP address and port, such as \"0.0.0.0:7400\"",
        ),
        (
            "10.0.0.1",
            "0.0.0.0",
            "line 1: node.advertise is missing, expected the addresses that other nodes dial, since bind names all interfaces",
        ),
        (
            "state_dir",
            "advertise = [\"10.0.0.1:1\", \"0.0.0.0:7400\"]\nstate_dir",
            "line 6: node.advertise[1] = \"0.0.0.0:7400\", expected an IP address and port that other nodes can dial, such as \"203.0.113.5:7400\"",
        ),
        (
            "state_dir",
            "workers = 0\nstate_dir",
            "line 6: node.workers = 0, expected a whole number from 1 to 64",
        ),
        (
            "state_dir",
            "workers = \"four\"\nstate_dir",
            "line 6: node.workers = \"four\", expected a whole number from 1 to 64",
        ),
        (
            "10.0.0.1:7400\"",
            "10.0.0.1:65535\"\nworkers = 2",
            "line 5: node.bind = \"10.0.0.1:65535\", expected a port that leaves room for 2 workers",
        ),
        (
            "[identity]",
            "[identiy]",
            "line 7: identiy is not a known key, did you mean identity?",
        ),
        (
            "key = \"/keys/a.key\"\n",
            "",
            "line 7: identity.key is missing, expected the file of the private key",
        ),
        (
            "[node]",
            "node = 1\n[x]",
            "line 1: node = 1, expected a section [node]",
        ),
    ];
    for (from, to, said) in table {
        let found = problems(&SMALL.replacen(from, to, 1));
        assert!(
            found.contains(&said.to_owned()),
            "{from} -> {to}: {found:#?}"
        );
    }
}

#[test]
fn mistakes_in_what_follows_the_node_are_named_too() {
    // What is appended after line 10 of the small file, and all that is said about it.
    let table: &[(&str, &[&str])] = &[
        (
            "[admin]\nlisten = \"0.0.0.0:7480\"",
            &[
                "line 12: admin.listen = \"0.0.0.0:7480\", expected a loopback address or unix:PATH (any other needs TLS and a token, which is not offered)",
            ],
        ),
        (
            "[log]\nlevel = \"loud\"",
            &[
                "line 12: log.level = \"loud\", expected \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
            ],
        ),
        (
            "[labels]\nrack = 7",
            &[
                "line 12: labels.rack = 7, expected a text of 1 to 63 bytes, under a key of at most 63",
            ],
        ),
        (
            "[shared]\nliveness = \"slow\"",
            &["line 12: shared.liveness = \"slow\", expected \"default\" or \"fast\""],
        ),
        (
            "[shared]\ndial_timeout = 3",
            &["line 12: shared.dial_timeout is not a known key, did you mean dial_timeout_ms?"],
        ),
        (
            "[limits]\nretry_above = 20\nunauthenticated_handshakes = 10",
            &[
                "line 12: limits.retry_above = 20, expected at most unauthenticated_handshakes, which is 10",
            ],
        ),
        (
            "[limits]\nunauthenticated_handshakes = 10",
            &[
                "line 12: limits.unauthenticated_handshakes = 10, expected at least retry_above, which is 64",
            ],
        ),
        (
            "[peer]\naddresses = [\"a:1\"]",
            &["line 11: peer = [peer], expected a list of 1 to 4096 sections [[peer]]"],
        ),
        (
            "[[peer]]\naddresses = [\"a:1\"]\n[[peer]]\naddresses = [\"iad\"]",
            &[
                "line 14: peer[1].addresses[0] = \"iad\", expected host:port, such as \"iad-1.example.org:7400\"",
            ],
        ),
        (
            "[[peer]]\nregion = \"r\"\naddresses = [\"a:1\"]",
            &["line 11: peer[0].name is missing, expected the name too, where a peer has a region"],
        ),
        (
            "[[peer]]\nname = \"fra-1\"\nregion = \"eu-west\"\naddresses = [\"a:1\"]",
            &["line 12: peer[0].name = \"fra-1\", expected another node: this is the node itself"],
        ),
        (
            "[[peer]]\naddresses = [\"a:1\"]\n[[peer]]\naddresses = [\"a:1\"]",
            &[
                "line 14: peer[1].addresses[0] = \"a:1\", expected an address not yet listed, line 12 has it too",
            ],
        ),
        (
            "[[service]]\nname = \"x\"\nkind = \"sctp\"\naddress = \"127.0.0.1:1\"",
            &["line 13: service[0].kind = \"sctp\", expected \"udp\" or \"tcp\""],
        ),
        (
            "[[service]]\nname = \"x\"\nkind = \"udp\"\naddress = \"127.0.0.1:1\"\nallow = [\"*\"]",
            &[
                "line 15: service[0].allow[0] = \"*\", expected a pattern like \"spiffe://example.org/region/*/node/*\"",
            ],
        ),
        (
            "[[service]]\nname = \"x\"\nkind = \"udp\"\naddress = \"127.0.0.1:1\"\nallow = [\"spiffe://d/region/e*u/node/*\"]",
            &[
                "line 15: service[0].allow[0] = \"spiffe://d/region/e*u/node/*\", expected a pattern like \"spiffe://example.org/region/*/node/*\" (region \"e*u\" may hold only letters, digits, '.', '-' and '_', and a trust domain no capitals)",
            ],
        ),
        (
            "[limits]\nlink_memory_mb = 63",
            &["line 12: limits.link_memory_mb = 63, expected a whole number from 64 to 1048576"],
        ),
        (
            "[[listen]]\nkind = \"tcp\"\naddress = \"localhost:1\"\nservice = \"x\"\nto = { region = \"r\", node = \"r/n\" }",
            &[
                "line 13: listen[0].address = \"localhost:1\", expected a local IP address and port, such as \"127.0.0.1:6004\"",
                "line 15: listen[0].to = { region = \"r\", node = \"r/n\" }, expected { region = \"eu-west\" } or { node = \"eu-west/fra-1\" }",
            ],
        ),
        (
            "[[listen]]\nkind = \"tcp\"\naddress = \"127.0.0.1:1\"\nservice = \"x\"\nto = { regoin = \"r\" }\nidle_timeout_s = 3",
            &[
                "line 15: listen[0].to = { regoin = \"r\" }, expected { region = \"eu-west\" } or { node = \"eu-west/fra-1\" }",
                "line 15: listen[0].to.regoin is not a known key, did you mean region?",
                "line 16: listen[0].idle_timeout_s = 3, expected no such key without kind = \"udp\"",
            ],
        ),
    ];
    for (more, said) in table {
        let mut found = problems(&format!("{SMALL}{more}"));
        found.sort();
        assert_eq!(found, *said, "{more}");
    }
}

#[test]
fn a_text_that_is_not_toml_is_reported_with_its_line_and_nothing_else() {
    let found = problems("[node]\nname = fra-1\nregion = \"eu-west\"\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("line 2: not TOML: "), "{found:?}");
}

#[test]
fn an_empty_file_names_every_key_that_is_needed() {
    let keys: Vec<String> = problems("")
        .iter()
        .map(|problem| problem.split(' ').next().unwrap().to_owned())
        .collect();
    let needed = [
        "node.bind",
        "node.name",
        "node.region",
        "node.trust_domain",
        "node.state_dir",
        "identity.certificate",
        "identity.key",
        "identity.bundle",
    ];
    assert_eq!(keys, needed);
}

#[test]
fn a_fault_in_one_section_hides_none_in_another() {
    let text = "[node]\nname = \"x\"\n[shared]\ndial_timeout_ms = 1\n[limits]\nlinks = -1\n";
    let found = problems(text).join("\n");
    for part in [
        "node.region is missing",
        "shared.dial_timeout_ms = 1",
        "limits.links = -1",
    ] {
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn range_of_a_number_is_checked_on_both_sides() {
    let with = |number: u64| format!("{SMALL}[shared]\ndial_timeout_ms = {number}\n");
    assert!(parse(&with(200)).is_ok() && parse(&with(60_000)).is_ok());
    assert!(parse(&with(199)).is_err() && parse(&with(60_001)).is_err());
}

#[test]
fn example_parses_as_it_is_and_explains_every_key() {
    let config = parse(&example()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.peers().len(), 2);
    assert_eq!((config.services().len(), config.listens().len()), (1, 1));
    for section in SECTIONS {
        assert!(!section.doc.is_empty(), "{}", section.name);
        for key in section.keys {
            assert!(!key.doc.is_empty(), "{}.{}", section.name, key.name);
        }
    }
    for line in example().lines() {
        assert!(line.chars().count() <= 96, "{line}");
    }
}

#[test]
fn every_optional_key_of_the_example_may_be_uncommented() {
    for section in SECTIONS {
        for key in section.keys {
            if matches!(key.value, Shape::Shown(_)) {
                continue;
            }
            let commented = format!("\n# {} = ", key.name);
            let open = format!("\n{} = ", key.name);
            let mut text = example();
            assert!(text.contains(&commented), "{}", key.name);
            text = text.replace(&commented, &open);
            if key.name == "stall_timeout_s" {
                text = text.replace("kind = \"udp\"", "kind = \"tcp\"");
            }
            let config = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            // What the example shows for a number is what an absent key means.
            assert_eq!(*config.shared(), Shared::default());
            assert_eq!(*config.limits(), Limits::default());
        }
    }
}

#[test]
fn reload_tells_peers_apart_from_what_needs_a_restart() {
    let peer = |name: &str, port: u16| {
        format!("[[peer]]\nregion = \"r\"\nname = \"{name}\"\naddresses = [\"a:{port}\"]\n")
    };
    let old = small_with(&(peer("stays", 1) + &peer("goes", 2) + &peer("moves", 3)));
    let new = small_with(&(peer("moves", 4) + &peer("stays", 1) + &peer("comes", 5)));
    assert!(old.changes_to(&old).is_empty());
    let changes = old.changes_to(&new);
    let names = |peers: &[Peer]| -> Vec<String> {
        let name = |peer: &Peer| peer.id.as_ref().unwrap().name().to_owned();
        peers.iter().map(name).collect()
    };
    assert_eq!(names(&changes.peers_added), ["comes"]);
    assert_eq!(names(&changes.peers_removed), ["goes"]);
    assert_eq!(names(&changes.peers_moved), ["moves"]);
    assert_eq!(changes.peers_moved[0].addresses[0].to_string(), "a:4");
    assert_eq!(changes.needs_restart, [""; 0]);

    let bound = parse(&SMALL.replace(":7400", ":7500")).unwrap();
    let changes = small_with("").changes_to(&bound);
    assert_eq!(changes.needs_restart, ["node.bind"]);
    let limited = small_with("[limits]\nlinks = 7\n[labels]\na = \"b\"\n");
    let changes = small_with("").changes_to(&limited);
    assert_eq!(changes.needs_restart, ["labels", "limits"]);
}

#[test]
fn seeker_with_other_addresses_is_another_seeker() {
    let old = small_with("[[peer]]\naddresses = [\"a:1\"]\n");
    let new = small_with("[[peer]]\naddresses = [\"a:2\"]\n");
    let changes = old.changes_to(&new);
    assert_eq!(
        (changes.peers_added.len(), changes.peers_removed.len()),
        (1, 1)
    );
    assert!(changes.peers_moved.is_empty());
}

#[test]
fn release_depends_on_shared_keys_and_protocol_and_nothing_else_of_the_file() {
    let release = small_with("").release(1..=1);
    assert_eq!(release.len(), 12);
    assert_eq!(small_with("[limits]\nlinks = 7\n").release(1..=1), release);
    assert_ne!(small_with("").release(1..=2), release);
    assert_ne!(
        small_with("[shared]\nliveness = \"fast\"\n").release(1..=1),
        release
    );
}
