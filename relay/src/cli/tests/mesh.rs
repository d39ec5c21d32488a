//! What the commands about the mesh print of the fake node's: see `admin/fake/mesh.rs`.

use serde_json::Value;

use super::ask;

fn lines_fit(text: &str) {
    let wide = text.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "{text}");
}

#[test]
fn routes_for_people() {
    let shown = ask(&["routes"]).unwrap();
    lines_fit(&shown);
    assert_eq!(
        shown,
        "\
TO                  PATH                 COST    FOR  WHY
ap-east/hkg-1       direct             97.0ms  1h00m  first path found
                    else via
                    ap-south/bom-1
ap-northeast/osa-1  none                    -      -  no path was ever found
ap-south/bom-1      via ap-east/hkg-1   137ms  1h00m  83.2 ms better than
                    else direct                       direct
eu-west/lon-1       direct             12.1ms  1h00m  first path found
                    else via
                    us-east/iad-1
us-east/iad-1       via eu-west/lon-1  94.2ms  3m10s  direct link suspect
                    else direct                       with load 2.00ms

Bulk traffic goes the same ways, but for
TO              PATH                     COST    FOR  WHY
ap-south/bom-1  direct                  220ms  1h00m  first path found
                else via ap-east/hkg-1
"
    );
}

#[test]
fn explained_route_of_a_failover_and_the_way_back_for_people() {
    let shown = ask(&["explain", "route", "us-east/iad-1"]).unwrap();
    lines_fit(&shown);
    assert_eq!(
        shown,
        "\
us-east/iad-1: via eu-west/lon-1 for 3m10s (direct link suspect)
  path         eu-west/fra-1 > eu-west/lon-1 > us-east/iad-1
  cost         94.2ms: delay 92.2ms + loss 0.00ms + load 2.00ms
  backup       direct, 88.4ms
  next         in 3s back to direct, if that stays as good as any
  bulk         goes the same way

Decisions, the newest last
 1h00m ago  none -> direct: the first path that was found
            direct 88.4ms, overlay 94.2ms; at once
 5m10s ago  direct -> via eu-west/lon-1: the direct link became suspect
            direct 88.4ms (1 suspect link), overlay 94.2ms; at once
 3m38s ago  via eu-west/lon-1 -> direct: direct is as good as any again
            direct 88.4ms, overlay 94.2ms; after that had held for 2s
 3m10s ago  direct -> via eu-west/lon-1: the direct link became suspect
            direct 88.4ms (1 suspect link), overlay 94.2ms; at once; waits were
            doubled once
"
    );
}

#[test]
fn explained_route_that_differs_for_bulk_shows_both() {
    let shown = ask(&["explain", "route", "bom-1"]).unwrap();
    lines_fit(&shown);
    assert_eq!(
        shown,
        "\
ap-south/bom-1: via ap-east/hkg-1 for 1h00m (83.2 ms better than direct)
  path         eu-west/fra-1 > ap-east/hkg-1 > ap-south/bom-1
  cost         137ms: delay 137ms + loss 0.00ms + load 0.00ms
  backup       direct, 220ms

Decisions, the newest last
 1h00m ago  none -> via ap-east/hkg-1: the first path that was found; 83.2 ms
            better than direct
            direct 220ms, overlay 137ms; at once

Another way for bulk traffic
ap-south/bom-1: direct for 1h00m (first path found)
  path         eu-west/fra-1 > ap-south/bom-1
  cost         220ms: delay 220ms + loss 0.00ms + load 0.00ms
  backup       via ap-east/hkg-1, 3490ms

Decisions, the newest last
 1h00m ago  none -> direct: the first path that was found
            direct 220ms, overlay 3490ms; at once
"
    );
}

#[test]
fn node_without_a_path_is_told_from_one_that_is_not_known_and_from_the_node_itself() {
    assert_eq!(
        ask(&["explain", "route", "osa-1"]).unwrap(),
        "\
ap-northeast/osa-1: no path (no path was ever found)
  backup       none
  bulk         goes the same way
"
    );
    for (dest, says) in [
        (
            "ap-northeast/oas-1",
            "no node ap-northeast/oas-1 is known; did you mean ap-northeast/osa-1",
        ),
        ("eu-west/fra-1", "eu-west/fra-1 is this node"),
    ] {
        for words in [
            &["explain", "route", dest][..],
            &["ping", dest],
            &["trace", dest],
        ] {
            let (error, code) = ask(words).unwrap_err();
            assert!(error.starts_with(says), "{error}");
            assert_eq!(code, 1);
        }
    }
}

#[test]
fn mesh_for_people_names_the_node_that_two_processes_claim() {
    let shown = ask(&["mesh"]).unwrap();
    lines_fit(&shown);
    assert_eq!(
        shown,
        "\
eu-west/fra-1 knows 6 nodes in 5 regions, and 6 links
Two processes seem to speak in the name of ap-northeast/osa-1.

NODE                STATE    RELEASE       LOAD  LINKS  NOTE
ap-east/hkg-1       warming  -               0%      2
ap-northeast/osa-1  serving  -               0%      0  contested
ap-south/bom-1      serving  -               0%      2
eu-west/fra-1       serving  0b7c1d9e22aa    0%      4
eu-west/lon-1       serving  0b7c1d9e22aa   50%      2
us-east/iad-1       serving  0b7c1d9e22aa    0%      2

Shortest round trip, largest loss, worst link
REGION               1  2       3       4       5
1 ap-east            -  -  40.1ms  97.0ms       -
                            1.50%   0.00%
                               ok      ok
2 ap-northeast       -  -       -       -       -
3 ap-south      40.1ms  -       -   220ms       -
                 1.50%              0.00%
                    ok                 ok
4 eu-west       97.0ms  -   220ms  12.1ms  80.0ms
                 0.00%      0.00%   0.00%   0.12%
                    ok         ok      ok      ok
5 us-east            -  -       -  80.0ms       -
                                    0.12%
                                       ok
"
    );
}

#[test]
fn ping_shows_each_echo_and_what_came_of_them() {
    let words = ["ping", "iad-1", "--count", "5", "--interval", "10"];
    assert_eq!(
        ask(&words).unwrap(),
        "  1  92.2ms    via eu-west/lon-1
  2  92.5ms    via eu-west/lon-1
  3  92.8ms    via eu-west/lon-1
  4  -         via eu-west/lon-1: no reply in time
  5  92.2ms    via eu-west/lon-1

5 sent, 4 came back, 20.00% lost; min 92.2ms, avg 92.4ms, max 92.8ms
"
    );
    let report = ask(&[&words[..], &["--json"]].concat()).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["sent"], &report["received"]),
        (&5.into(), &4.into())
    );
    assert_eq!(report["echoes"][3]["error"], "no reply in time");
    let (error, code) = ask(&["ping", "osa-1", "--count", "2", "--interval", "10"]).unwrap_err();
    assert_eq!(code, 1);
    assert_eq!(error, "nothing came back from ap-northeast/osa-1");
}

#[test]
fn trace_shows_what_each_hop_adds() {
    let shown = ask(&["trace", "iad-1", "--count", "4", "--interval", "10"]).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[0],
        "eu-west/fra-1 to us-east/iad-1, via eu-west/lon-1"
    );
    let cells = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(cells(lines[2])[..3], ["eu-west/lon-1", "4", "0.00%"]);
    assert_eq!(cells(lines[3])[..2], ["us-east/iad-1", "4"]);
    assert_eq!(lines.len(), 4, "{shown}");
    let (error, code) = ask(&["trace", "osa-1", "--count", "1"]).unwrap_err();
    assert_eq!((error.as_str(), code), ("no path to ap-northeast/osa-1", 1));
}
