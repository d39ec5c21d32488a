//! The regions of AWS as an oracle: their best detours are known by trying them all.
//!
//! The matrix is read as it stands, each direction for itself. Read otherwise, as the mean or the
//! lesser of both, it does not give the figures that are known of it.

use std::collections::BTreeMap;

use super::*;

/// Round trips in microseconds, by the places of two regions in the alphabet.
struct Matrix {
    names: Vec<String>,
    rtt: Vec<Vec<u64>>,
}

impl Matrix {
    fn read() -> Self {
        let text = include_str!("../../../../netem/data/aws-rtt-p50.json");
        type Rows = BTreeMap<String, BTreeMap<String, f64>>;
        let mut file: BTreeMap<String, Rows> = serde_json::from_str(text).unwrap();
        let rows = file.remove("data").unwrap();
        let micros = |ms: &f64| (ms * 1_000.0).round() as u64;
        Self {
            names: rows.keys().cloned().collect(),
            rtt: rows
                .values()
                .map(|row| row.values().map(micros).collect())
                .collect(),
        }
    }

    fn len(&self) -> usize {
        self.names.len()
    }

    fn place(&self, name: &str) -> usize {
        self.names.iter().position(|other| other == name).unwrap()
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = (0..self.len()).flat_map(|a| (0..self.len()).map(move |b| (a, b)));
        all.filter(|(a, b)| a != b)
    }

    /// The least of all detours over `between` other regions, with the regions.
    fn best(&self, from: usize, to: usize, between: usize) -> (u64, Vec<usize>) {
        let others =
            |taken: Vec<usize>| (0..self.len()).filter(move |place| !taken.contains(place));
        let rtt = &self.rtt;
        match between {
            0 => (rtt[from][to], vec![to]),
            1 => others(vec![from, to])
                .map(|a| (rtt[from][a] + rtt[a][to], vec![a, to]))
                .min()
                .unwrap(),
            _ => others(vec![from, to])
                .flat_map(|a| others(vec![from, to, a]).map(move |b| (a, b)))
                .map(|(a, b)| (rtt[from][a] + rtt[a][b] + rtt[b][to], vec![a, b, to]))
                .min()
                .unwrap(),
        }
    }

    /// One node in each region, all of them linked; keys in the order of the names.
    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for place in 0..self.len() {
            graph.set_node(NodeKey(place as u64), Node::serving(RegionId(place as u32)));
        }
        for (a, b) in self.pairs() {
            let link = Link {
                measure: Some(Measure {
                    rtt: Duration::from_micros(self.rtt[a][b]),
                    loss: Loss::NONE,
                }),
                health: LinkHealth::Usable,
                limit_bytes: 1_200,
            };
            graph.set_link(NodeKey(a as u64), NodeKey(b as u64), link);
        }
        graph
    }

    /// Asserts that the router takes for every pair the path that `expected` says.
    fn check(
        &self,
        margin: Margin,
        max_links: u8,
        expected: impl Fn(usize, usize) -> (u64, Vec<usize>),
    ) {
        let graph = self.graph();
        let config = RouteConfig {
            policy: CostPolicy::DelayOnly,
            margin,
            max_links,
        };
        for from in 0..self.len() {
            let mut table = RouteTable::new(NodeKey(from as u64), config);
            table.rebuild(&graph);
            for to in (0..self.len()).filter(|to| *to != from) {
                let path = table.route(NodeKey(to as u64)).unwrap().primary;
                let hops = path.hops().iter().map(|key| key.0 as usize).collect();
                let (names, chosen) = (
                    (&self.names[from], &self.names[to]),
                    (path.cost().as_micros(), hops),
                );
                assert_eq!(chosen, expected(from, to), "{names:?}");
            }
        }
    }
}

#[test]
fn matrix_has_the_detours_that_are_known_of_it() {
    let matrix = Matrix::read();
    assert_eq!((matrix.len(), matrix.pairs().count()), (33, 1_056));
    let (from, to) = (matrix.place("ap-northeast-3"), matrix.place("af-south-1"));
    let (detour, via) = matrix.best(from, to, 1);
    assert_eq!(via[0], matrix.place("ap-east-2"));
    assert_eq!((matrix.rtt[from][to] - detour + 500) / 1_000, 83);
    let gain = |(a, b): (usize, usize)| matrix.rtt[a][b].saturating_sub(matrix.best(a, b, 1).0);
    let pairs_that_gain = |least: u64| matrix.pairs().filter(|pair| gain(*pair) >= least).count();
    // 27 % and 11 % of 1,056.
    assert_eq!((pairs_that_gain(1), pairs_that_gain(10_000)), (289, 113));
    let second_gains = |(a, b): &(usize, usize)| {
        matrix.best(*a, *b, 2).0 < matrix.best(*a, *b, 1).0.min(matrix.rtt[*a][*b])
    };
    assert_eq!(matrix.pairs().filter(second_gains).count(), 23);
}

#[test]
fn router_with_one_node_between_finds_the_best_detour_of_every_pair() {
    let matrix = Matrix::read();
    matrix.check(Margin::ZERO, 2, |a, b| {
        matrix.best(a, b, 0).min(matrix.best(a, b, 1))
    });
}

#[test]
fn router_with_up_to_three_links_finds_the_best_path_of_every_pair() {
    let matrix = Matrix::read();
    // Equal round trips go to fewer links, which the order of the arguments to `min` gives.
    matrix.check(Margin::ZERO, 3, |a, b| {
        let best = |between| matrix.best(a, b, between);
        [best(0), best(1), best(2)]
            .into_iter()
            .min_by_key(|path| path.0)
            .unwrap()
    });
}

#[test]
fn router_with_margins_leaves_the_direct_path_for_gains_beyond_them_and_no_others() {
    let matrix = Matrix::read();
    let expected = |a, b, max_between| {
        let direct = matrix.best(a, b, 0);
        let detours = (1..=max_between).map(|between| matrix.best(a, b, between));
        let detour = detours.min_by_key(|path| path.0).unwrap();
        let gain = direct.0.saturating_sub(detour.0);
        if gain >= 10_000 && gain * 20 >= direct.0 {
            detour
        } else {
            direct
        }
    };
    matrix.check(Margin::default(), 2, |a, b| expected(a, b, 1));
    matrix.check(Margin::default(), 3, |a, b| expected(a, b, 2));
    let moved = matrix
        .pairs()
        .filter(|&(a, b)| expected(a, b, 1).1.len() > 1)
        .count();
    assert_eq!(moved, 103);
}
