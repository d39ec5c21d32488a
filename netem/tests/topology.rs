//! The file that describes a network.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "words/models.rs"]
mod models;

use std::{fmt::Write, time::Duration};

use netem::{
    model::{PairModel, What},
    topology::{Topology, TopologyError},
};
use proptest::{collection::vec, option, prelude::*};

const EXAMPLE: &str = r#"
seed = 42
default = "delay 1ms"

[[host]]
name = "a"
region = "eu-west-1"
address = "127.0.0.1:7001"
front = "127.0.0.1:9001"

[[host]]
name = "b"
address = "[::1]:7002"

[[host]]
name = "c"

[[path]]
between = ["a", "b"]
netem = "delay 40ms loss 1%"

[[path]]
from = "b"
to = "a"
netem = { delay = "30ms", jitter = "2ms", queue = "64k", rate = "1mbit" }

[[path.change]]
at = "10s"
ramp = "delay 80ms"
over = "5s"

[[path.change]]
at = "2s"
flap = { up = "1s", down = "200ms", lasts = "10s" }
"#;

fn read(text: &str) -> Topology {
    text.parse()
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is wrong, a line each.
fn problems(text: &str) -> Vec<String> {
    let error: TopologyError = text.parse::<Topology>().unwrap_err();
    let TopologyError::Invalid { problems, .. } = error else {
        panic!("{error}");
    };
    problems.iter().map(ToString::to_string).collect()
}

fn parse(words: &str) -> PairModel {
    words.parse().unwrap()
}

#[test]
fn later_paths_replace_earlier_ones_direction_by_direction() {
    let topology = read(EXAMPLE);
    assert_eq!(topology.seed(), 42);
    let names: Vec<&str> = topology.hosts().iter().map(|host| host.name()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        topology.hosts()[0].front(),
        Some("127.0.0.1:9001".parse().unwrap())
    );
    assert_eq!(topology.model(0, 1), parse("delay 40ms loss 1%"));
    assert_eq!(
        topology.model(1, 0),
        parse("delay 30ms 2ms rate 1mbit queue 64k")
    );
    assert_eq!(topology.model(0, 2), parse("delay 1ms"));
    assert!(topology.path(0, 1).unwrap().schedule().is_none());
    let changes = topology.path(1, 0).unwrap().schedule().unwrap().changes();
    let at: Vec<_> = changes.iter().map(|change| change.at.as_secs()).collect();
    assert_eq!(at, [2, 10]);
    assert_eq!(
        changes[0].what,
        What::Flap {
            up: Duration::from_secs(1),
            down: Duration::from_millis(200),
            lasts: Duration::from_secs(10),
        }
    );
}

#[test]
fn every_fault_of_a_file_is_named_with_its_line() {
    let text = r#"
sed = 42
matrix = 5
default = "loss 120%"
[[host]]
name = "a"
front = "127.0.0.1:9001"
address = "localhost:7001"
[[host]]
name = "a"
front = "127.0.0.1:9001"
[[host]]
name = "no blanks"
[[host]]
name = "frankfurt"
regoin = "x"
[[path]]
between = ["a", "frankfrt"]
netem = "dealy 5ms"
[[path]]
between = ["a", "a"]
from = "a"
[[path]]
to = "a"
netem = { loss = "1%", delay = 5, jitter = "x",
  dupe = "1%" }
[[path]]
[[path]]
from = "a"
to = "frankfurt"
change = [
  { at = "soon", set = "" },
  { at = "1s" },
  { at = "1s", down = "0s" },
  { at = "367d", down = "1s", set = "" },
  { at = "9999999999s", ramp = "" },
  { at = "1s", flap = { up = "1s", dwn = "1s" }, over = "1s" },
]
"#;
    let expected = [
        "seed is missing, expected a whole number, from which everything random follows",
        "line 2: sed is not a known key, did you mean seed?",
        "line 3: matrix is 5, expected the name of a matrix like \"aws\"",
        "line 4: default: loss 120%: a probability is at most 100%",
        "line 8: host[0].address is \"localhost:7001\", expected an address like \"127.0.0.1:7001\"",
        "line 10: host[1].name: a is taken by host[0].name of line 6",
        "line 11: host[1].front: 127.0.0.1:9001 is taken by host[0].front of line 7",
        "line 13: host[2].name is \"no blanks\", expected a name of 1 to 63 letters, digits, -, _ \
         and ., that begins with a letter or digit",
        "line 16: host[3].regoin is not a known key, did you mean region?",
        "line 18: path[0].between[1]: no host is named frankfrt, did you mean frankfurt?",
        "line 19: path[0].netem: dealy: unknown word, did you mean delay?",
        "line 21: path[1].between[1] is \"a\", expected another host than the first",
        "line 22: path[1].from cannot stand beside between",
        "line 23: path[2].from is missing, expected the name of the host that sends",
        "line 25: path[2].netem.delay is 5, expected a string",
        "line 25: path[2].netem.jitter: jitter x: expected a time like 80ms",
        "line 26: path[2].netem.dupe is not a known key, expected one of preset, delay, jitter, \
         correlation, distribution, quantiles, unordered, loss, duplicate, corrupt, reorder, gap, \
         rate, overhead, queue, limit, max-packet",
        "line 27: path[3].between is missing, expected the names of two hosts, or from and to",
        "line 32: path[4].change[0].at: soon: expected a time like 80ms",
        "line 33: path[4].change[1].set is missing, expected set, ramp, down or flap",
        "line 34: path[4].change[2].down: 0s must be more than 0s and at most 366 days",
        "line 35: path[4].change[3].at: 367d: has an unknown unit, a time is in s, ms, us or ns",
        "line 35: path[4].change[3].down cannot stand beside set",
        "line 36: path[4].change[4].at: 9999999999s must be at most 366 days",
        "line 36: path[4].change[4].over is missing, expected a time like \"5s\"",
        "line 37: path[4].change[5].flap.down is missing, expected a time like \"5s\"",
        "line 37: path[4].change[5].flap.dwn is not a known key, did you mean down?",
        "line 37: path[4].change[5].flap.lasts is missing, expected a time like \"5s\"",
        "line 37: path[4].change[5].over cannot stand beside flap",
    ];
    let mut got = problems(text);
    let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
    // Within a line, the order says nothing.
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn problems_are_in_the_order_of_the_file() {
    let lines = [
        "seed = 'x'",
        "default = 'x'",
        "[[host]]",
        "name = 5",
        "[[path]]",
        "between = 1",
    ];
    let starts: Vec<String> = problems(&lines.join("\n"))
        .iter()
        .map(|problem| problem[..7].to_owned())
        .collect();
    assert_eq!(starts, ["line 1:", "line 2:", "line 4:", "line 6:"]);
}

#[test]
fn broken_toml_is_reported_with_its_line_and_alone() {
    let got = problems("seed = 42\nhost = [\n");
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].starts_with("line 2: not TOML:"), "{}", got[0]);
}

#[test]
fn a_thousand_hosts_fit_and_one_more_does_not() {
    let file = |count: u32| {
        let mut text = String::from("seed = 1\n");
        for host in 0..count {
            writeln!(text, "[[host]]\nname = \"h{host}\"").unwrap();
        }
        text
    };
    assert_eq!(read(&file(1_000)).hosts().len(), 1_000);
    let expected = "host is a list of 1001, expected 1 to 1000 sections [[host]]";
    assert_eq!(problems(&file(1_001)), [format!("line 2: {expected}")]);
    let got = problems("seed = 1");
    assert_eq!(got, ["host is missing, expected sections [[host]]"]);
}

#[test]
fn addresses_may_not_be_shared_unless_the_system_picks_the_port() {
    let file = |front: &str, address: &str| {
        format!(
            "seed = 1\n[[host]]\nname = 'a'\nfront = '{front}'\n[[host]]\nname = 'b'\n\
             address = '{address}'"
        )
    };
    read(&file("127.0.0.1:1", "127.0.0.1:2"));
    read(&file("127.0.0.1:0", "127.0.0.1:0"));
    let got = problems(&file("127.0.0.1:1", "127.0.0.1:1"));
    let message = "host[1].address: 127.0.0.1:1 is taken by host[0].front of line 4";
    assert_eq!(got, [format!("line 7: {message}")]);
}

#[test]
fn a_matrix_stands_behind_paths_and_before_the_default() {
    let mut topology = read(&EXAMPLE.replace("seed = 42", "seed = 42\nmatrix = \"aws\""));
    assert_eq!(topology.matrix(), Some("aws"));
    let before = topology.clone();
    let refused = topology.apply_matrix(|_, _, to| match to.name() {
        "c" => Err("no such region"),
        _ => Ok(None),
    });
    assert_eq!((refused, &topology), (Err("no such region"), &before));
    let applied = topology.apply_matrix(|matrix, from, to| {
        assert_eq!(matrix, "aws");
        let is_known = (from.name(), to.name()) == ("a", "c");
        Ok::<_, ()>(is_known.then(|| parse("delay 70ms")))
    });
    assert_eq!((applied, topology.matrix()), (Ok(()), None));
    assert_eq!(topology.model(0, 2), parse("delay 70ms"));
    assert_eq!(topology.model(2, 0), parse("delay 1ms"));
    assert_eq!(topology.model(0, 1), parse("delay 40ms loss 1%"));
    assert_eq!(topology.path(1, 0), before.path(1, 0));
    assert_eq!(topology.path(2, 0), None);
}

#[test]
fn directions_that_do_the_same_are_printed_together() {
    let text = "seed = 1\n\n[[host]]\nname = \"a\"\n\n[[host]]\nname = \"b\"\n\n[[path]]\n\
                between = [\"a\", \"b\"]\nnetem = \"delay 40ms\"\n";
    assert_eq!(read(text).to_string(), text);
}

/// The text of a file that is right.
fn any_file() -> impl Strategy<Value = String> {
    let time = || (0_u64..31_000_000_000_000_000).prop_map(Duration::from_nanos);
    let length = move || time().prop_map(|time| time + Duration::from_nanos(1));
    let change = prop_oneof![
        models::any_model().prop_map(|model| format!("set = \"{model}\"")),
        (models::any_model(), length()).prop_map(|(model, over)| format!(
            "ramp = \"{model}\"\nover = \"{}ns\"",
            over.as_nanos()
        )),
        length().prop_map(|lasts| format!("down = \"{}ns\"", lasts.as_nanos())),
        (length(), length(), length()).prop_map(|(up, down, lasts)| {
            let [up, down, lasts] = [up, down, lasts].map(|length| length.as_nanos());
            format!("flap = {{ up = \"{up}ns\", down = \"{down}ns\", lasts = \"{lasts}ns\" }}")
        }),
    ];
    let change = (time(), change)
        .prop_map(|(at, what)| format!("[[path.change]]\nat = \"{}ns\"\n{what}\n", at.as_nanos()));
    let path = (
        0_usize..3,
        1_usize..3,
        any::<bool>(),
        option::of(models::any_model()),
        vec(change, 0..3),
    );
    let path = path.prop_map(|(from, step, both, model, changes)| {
        let to = (from + step) % 3;
        let ends = if both {
            format!("between = [\"h{from}\", \"h{to}\"]")
        } else {
            format!("from = \"h{from}\"\nto = \"h{to}\"")
        };
        let model = model.map_or_else(String::new, |model| format!("netem = \"{model}\"\n"));
        format!("[[path]]\n{ends}\n{model}{}", changes.concat())
    });
    let head = (
        any::<u64>(),
        option::of(any::<String>()),
        option::of(models::any_model()),
    );
    (head, vec(path, 0..6)).prop_map(|((seed, matrix, default), paths)| {
        let mut text = format!("seed = {seed}\n");
        if let Some(matrix) = matrix.filter(|matrix| !matrix.is_empty()) {
            writeln!(text, "matrix = {}", toml::Value::from(matrix)).unwrap();
        }
        if let Some(model) = default {
            writeln!(text, "default = \"{model}\"").unwrap();
        }
        for host in 0..3 {
            writeln!(
                text,
                "[[host]]\nname = \"h{host}\"\naddress = \"[::1]:{host}\""
            )
            .unwrap();
        }
        text + &paths.concat()
    })
}

proptest! {
    #[test]
    fn a_file_that_is_printed_reads_as_the_same(text in any_file()) {
        let topology = read(&text);
        let printed = topology.to_string();
        prop_assert_eq!(read(&printed), topology, "{}", printed);
    }
}
