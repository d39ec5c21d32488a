//! `netem regions` as people and programs use it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
fn netem(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_netem"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn shown(arguments: &[&str]) -> String {
    let (code, out, error) = netem(arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    out
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&shown(arguments)).unwrap()
}

/// The one line that says what is wrong.
fn refused(arguments: &[&str]) -> String {
    let (code, out, error) = netem(arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {error}");
    let line = error
        .strip_prefix("netem: ")
        .unwrap()
        .strip_suffix('\n')
        .unwrap();
    assert!(!line.contains('\n'), "{error}");
    line.to_owned()
}

#[test]
fn a_table_shows_p50_and_p90_of_every_pair() {
    assert_eq!(
        shown(&["regions", "aws", "us-east-1", "eu-west-1", "ap-south-1"]),
        "\
aws: round trips in ms, p50/p90

              us-east-1    eu-west-1   ap-south-1
us-east-1       5.5/9.3    69.7/73.7  191.1/202.3
eu-west-1     69.7/73.7      3.2/5.8  125.6/133.1
ap-south-1  191.1/202.3  125.6/133.1      3.2/5.4
"
    );
}

#[test]
fn a_table_without_p90_says_that_there_is_no_jitter_and_what_is_assumed() {
    assert_eq!(
        shown(&["regions", "azure", "East US", "West Europe"]),
        "\
azure: round trips in ms, p50 (no p90, hence no jitter)

             East US  West Europe
East US         1.0*         84.0
West Europe     84.0         1.0*

* not in the table, 1ms assumed
"
    );
}

#[test]
fn five_of_the_longest_names_have_wrapped_headings() {
    let aws = [
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
    ];
    let arguments = [&["regions", "aws"], &aws[..]].concat();
    assert_eq!(
        shown(&arguments),
        "\
aws: round trips in ms, p50/p90

                        ap-          ap-          ap-          ap-  ca-central-
                northeast-1  northeast-2  southeast-1  southeast-2            1
ap-northeast-1      2.8/5.9    36.4/38.9    70.8/73.6  106.4/115.5  147.2/158.3
ap-northeast-2    36.4/38.9      4.0/5.8    74.1/80.5  145.7/149.9  176.3/182.2
ap-southeast-1    70.8/73.6    74.1/80.5      3.7/5.7    94.8/97.7  215.0/223.9
ap-southeast-2  106.4/115.5  145.7/149.9    94.8/97.7      4.1/5.8  198.2/202.1
ca-central-1    147.2/158.3  176.3/182.2  215.0/223.9  198.2/202.1      4.0/7.3
"
    );
}

#[test]
fn a_table_as_json_has_every_direction() {
    let table = json(&["regions", "aws", "ca-central-1", "us-east-1", "--json"]);
    assert_eq!(table["matrix"], "aws");
    let pairs = table["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 4);
    let expected = serde_json::json!({
        "from": "us-east-1",
        "to": "ca-central-1",
        "one_way_ms": 8.352,
        "rtt_p50_ms": 16.508,
        "rtt_p90_ms": 21.044,
        "assumed": false,
    });
    assert_eq!(pairs[2], expected);
    let azure = json(&["regions", "azure", "East US", "--json"]);
    assert_eq!(azure["pairs"][0]["rtt_p90_ms"], Value::Null);
    assert_eq!(azure["pairs"][0]["assumed"], true);
}

#[test]
fn a_matrix_lists_its_regions_where_they_come_from_and_whether_it_has_jitter() {
    let azure = shown(&["regions", "azure"]);
    for said in [
        "azure: 54 regions\n",
        "p50 alone, hence no jitter",
        "not in the table, 1ms assumed",
        "Azure network round-trip latency statistics",
        "Microsoft, CC BY 4.0, extracted from Markdown",
        "Germany West Central",
    ] {
        assert!(azure.contains(said), "{said}: {azure}");
    }
    assert!(azure.lines().all(|line| line.len() <= 80), "{azure}");
    let aws = json(&["regions", "aws", "--json"]);
    assert_eq!(aws["regions"].as_array().unwrap().len(), 33);
    assert_eq!(aws["jitter"], true);
    assert_eq!(aws["same_region"], "measured");
}

#[test]
fn without_a_name_all_matrices_are_listed() {
    assert_eq!(
        shown(&["regions"]),
        "\
aws: 33 regions
  round trips  p50 and p90, hence jitter
  same region  in the table
  source       cloudping.co,
               by way of commonwarexyz/monorepo, MIT
azure: 54 regions
  round trips  p50 alone, hence no jitter
  same region  not in the table, 1ms assumed
  source       Azure network round-trip latency statistics,
               Microsoft, CC BY 4.0, extracted from Markdown
"
    );
    let all = json(&["regions", "--json"]);
    let names: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["matrix"])
        .collect();
    assert_eq!(names, ["aws", "azure"]);
}

#[test]
fn unknown_names_are_refused_with_the_nearest_ones() {
    for (arguments, wrong) in [
        (
            &["regions", "aws", "us-east1", "eu-west-1"][..],
            "aws has no region \"us-east1\"; nearest: us-east-1, us-east-2, us-west-1",
        ),
        (
            &["regions", "aws", "frankfurt"],
            "aws has no region \"frankfurt\"; `netem regions aws` lists them",
        ),
        (
            &["regions", "azur"],
            "no matrix is called \"azur\"; there is azure, or a file that ends in .csv or .json",
        ),
        (
            &["regoins"],
            "unrecognized subcommand 'regoins'; a similar subcommand exists: 'regions'",
        ),
        (
            &["regions", "--jsno"],
            "unexpected argument '--jsno' found; a similar argument exists: '--json'",
        ),
    ] {
        assert_eq!(refused(arguments), wrong);
    }
}

#[test]
fn a_file_of_ones_own_works_in_both_shapes_with_and_without_p90() {
    let files = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let p50 = write("p50.csv", "from,here,there\nhere,,20\nthere,30,\n");
    let p90 = write(
        "p90.JSON",
        r#"{"data": {"here": {"there": 22}, "there": {"here": 34}}}"#,
    );
    let alone = json(&["regions", &p50, "here", "there", "--json"]);
    assert_eq!(alone["pairs"][1]["rtt_p50_ms"], 25.0);
    assert_eq!(alone["pairs"][1]["rtt_p90_ms"], Value::Null);
    let both = json(&[
        "regions",
        &format!("{p50},{p90}"),
        "here",
        "there",
        "--json",
    ]);
    assert_eq!(both["pairs"][1]["rtt_p90_ms"], 28.0);

    let holes = write("holes.csv", "from,a,b,c\na,,1,\nb,1,,1\n");
    assert_eq!(
        refused(&["regions", &holes]),
        format!("{holes}: 3 pairs of different regions have no number: a to c, c to a, c to b")
    );
    let absurd = write("absurd.json", r#"{"data": {"a": {"b": -1}}}"#);
    assert_eq!(
        refused(&["regions", &format!("{p50},{absurd}")]),
        format!("{absurd}: a to b is -1 ms, must be 0 ms to an hour")
    );
    let missing = files
        .path()
        .join("missing.csv")
        .to_str()
        .unwrap()
        .to_owned();
    let error = refused(&["regions", &missing]);
    assert!(
        error.starts_with(&format!("{missing} could not be read: ")),
        "{error}"
    );
}
