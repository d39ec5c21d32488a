mod flapping;
mod table;

use super::*;
use crate::{
    cost::{Loss, Measure},
    graph::{Graph, Link, LinkHealth, Node, RegionId, Service},
    paths::RouteConfig,
};

/// Here, and there, and two nodes between which traffic can pass.
const HERE: NodeKey = NodeKey(1);
const THERE: NodeKey = NodeKey(2);
const X: NodeKey = NodeKey(3);
const Y: NodeKey = NodeKey(4);

/// Owns a choice, the mesh that it chooses from and the clock, and keeps the timers exactly.
struct Bench {
    graph: Graph,
    table: RouteTable,
    choice: Choice,
    start: Instant,
    now: Instant,
    moves: Vec<Decision>,
}

impl Bench {
    /// Without any link.
    fn new() -> Self {
        let mut graph = Graph::new();
        for key in [HERE, THERE, X, Y] {
            graph.set_node(key, Node::serving(RegionId(key.0 as u32)));
        }
        let mut table = RouteTable::new(HERE, RouteConfig::default());
        table.rebuild(&graph);
        let start = origin();
        Self {
            graph,
            table,
            choice: Choice::new(ChoiceConfig::default()),
            start,
            now: start,
            moves: Vec::new(),
        }
    }

    /// Direct in 100 ms, by way of X in 110 ms, by way of Y in 120 ms, and direct is taken.
    fn well() -> Self {
        let mut bench = Self::new();
        bench.direct(100).via(X, 110).via(Y, 120);
        assert_eq!(bench.path(), "direct");
        bench.moves.clear();
        bench
    }

    fn direct(&mut self, rtt_ms: u64) -> &mut Self {
        self.link(HERE, THERE, rtt_ms, LinkHealth::Usable)
    }

    fn direct_is(&mut self, health: LinkHealth) -> &mut Self {
        self.link(HERE, THERE, 100, health)
    }

    /// A path by way of a node takes so long in all.
    fn via(&mut self, node: NodeKey, rtt_ms: u64) -> &mut Self {
        self.graph.set_link(HERE, node, link(1, LinkHealth::Usable));
        self.graph.set_link(node, HERE, link(1, LinkHealth::Usable));
        self.table.update_links(&self.graph, HERE, &[node]);
        self.link(node, THERE, rtt_ms - 1, LinkHealth::Usable)
    }

    fn via_is(&mut self, node: NodeKey, health: LinkHealth) -> &mut Self {
        let rtt = self.graph.link(node, THERE).unwrap().measure.unwrap().rtt;
        self.link(node, THERE, rtt.as_millis() as u64, health)
    }

    fn service(&mut self, key: NodeKey, service: Service) -> &mut Self {
        let mut node = *self.graph.node(key).unwrap();
        node.service = service;
        self.graph.set_node(key, node);
        self.table.update_node(&self.graph, key);
        self.offer()
    }

    fn link(&mut self, a: NodeKey, b: NodeKey, rtt_ms: u64, health: LinkHealth) -> &mut Self {
        self.graph.set_link(a, b, link(rtt_ms, health));
        self.graph.set_link(b, a, link(rtt_ms, health));
        self.table.update_links(&self.graph, a, &[b]);
        self.offer()
    }

    fn offer(&mut self) -> &mut Self {
        let offer = Offer::new(&self.table, THERE, self.choice.path());
        self.choice.handle_offer(self.now, offer);
        self.drain()
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        let until = self.now + Duration::from_millis(ms);
        while let Some(due) = self.choice.poll_timeout().filter(|due| *due <= until) {
            assert!(due > self.now, "a timer that is due again at once");
            self.now = due;
            self.choice.handle_timeout(due);
            self.drain();
        }
        self.now = until;
        self
    }

    /// Waits until nothing is waited for.
    fn settle(&mut self) -> &mut Self {
        while let Some(due) = self.choice.poll_timeout() {
            self.wait((due - self.now).as_millis() as u64);
        }
        self
    }

    fn drain(&mut self) -> &mut Self {
        while let Some(decision) = self.choice.poll_output() {
            self.moves.push(decision);
        }
        self
    }

    fn path(&self) -> &'static str {
        name(self.choice.path())
    }

    fn last(&self) -> Option<Reason> {
        self.moves.last().map(|decision| decision.reason)
    }
}

fn name(path: Option<&Path>) -> &'static str {
    match path.map(Path::hops) {
        None => "none",
        Some([_]) => "direct",
        Some([X, _]) => "x",
        Some([Y, _]) => "y",
        Some(_) => "longer",
    }
}

fn link(rtt_ms: u64, health: LinkHealth) -> Link {
    Link {
        measure: Some(Measure {
            rtt: Duration::from_millis(rtt_ms),
            loss: Loss::NONE,
        }),
        health,
        limit_bytes: 1_200,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn origin() -> Instant {
    Instant::now()
}

#[test]
fn overlay_is_taken_at_once_when_the_direct_link_is_down_or_suspect() {
    for (health, reason) in [
        (LinkHealth::Down, Reason::Lost),
        (LinkHealth::Suspect, Reason::Suspect),
    ] {
        let mut bench = Bench::well();
        bench.direct_is(health);
        assert_eq!((bench.path(), bench.last()), ("x", Some(reason)));
        assert_eq!(bench.moves[0].at, bench.start);
    }
}

#[test]
fn better_overlay_is_taken_after_one_second_and_not_before() {
    let mut bench = Bench::well();
    bench.via(X, 90).wait(999);
    assert_eq!(bench.path(), "direct");
    bench.wait(1);
    assert_eq!((bench.path(), bench.last()), ("x", Some(Reason::Better)));
}

#[test]
fn overlay_that_is_better_by_less_than_the_margin_is_never_taken() {
    let mut bench = Bench::well();
    bench.via(X, 91).wait(3_600_000);
    assert_eq!((bench.path(), bench.moves.len()), ("direct", 0));
}

#[test]
fn second_is_counted_again_after_an_interruption() {
    let mut bench = Bench::well();
    bench.via(X, 80).wait(999).via(X, 110).via(X, 80).wait(999);
    assert_eq!(bench.path(), "direct");
    bench.wait(1);
    assert_eq!(bench.path(), "x");
}

#[test]
fn second_goes_on_when_another_overlay_becomes_the_better_one() {
    let mut bench = Bench::well();
    bench.via(X, 80).wait(600).via(Y, 70).wait(400);
    assert_eq!(bench.path(), "y");
}

#[test]
fn direct_is_taken_again_when_it_was_well_for_two_seconds_and_not_before() {
    let mut bench = Bench::well();
    bench.direct_is(LinkHealth::Down).wait(30_000);
    bench.direct(100).wait(1_999);
    assert_eq!(bench.path(), "x");
    bench.wait(1);
    assert_eq!(
        (bench.path(), bench.last()),
        ("direct", Some(Reason::DirectWell))
    );
}

#[test]
fn relapse_while_waiting_starts_the_two_seconds_again() {
    let mut bench = Bench::well();
    bench.direct_is(LinkHealth::Down).wait(30_000);
    bench.direct(100).wait(1_500);
    bench.direct_is(LinkHealth::Suspect).direct(100).wait(1_999);
    assert_eq!(bench.path(), "x");
    bench.wait(1);
    assert_eq!(bench.path(), "direct");
}

#[test]
fn overlay_is_kept_while_it_is_better_by_half_the_margin_and_left_below() {
    let mut bench = Bench::well();
    bench.via(X, 80).wait(1_000);
    bench.via(X, 95).wait(3_600_000);
    assert_eq!(bench.path(), "x");
    bench.via(X, 96).wait(2_000);
    assert_eq!(bench.path(), "direct");
}

#[test]
fn waits_double_with_every_relapse_up_to_twelve_seconds() {
    let mut bench = Bench::well();
    for wait in [2_000, 4_000, 8_000, 12_000, 12_000] {
        bench.direct_is(LinkHealth::Down).wait(1_000);
        assert_eq!(bench.path(), "x");
        bench.direct(100).wait(wait - 1);
        assert_eq!(bench.path(), "x", "before {wait} ms");
        bench.wait(1);
        assert_eq!(bench.path(), "direct", "after {wait} ms");
    }
}

#[test]
fn paths_that_fall_one_after_the_other_do_not_lengthen_the_way_back_to_the_direct_one() {
    for apart_ms in [100, 1_000, 30_000] {
        let mut bench = Bench::well();
        bench.direct_is(LinkHealth::Suspect);
        assert_eq!(bench.path(), "x");
        bench.wait(apart_ms).via_is(X, LinkHealth::Suspect);
        assert_eq!((bench.path(), bench.last()), ("y", Some(Reason::Suspect)));
        bench.direct_is(LinkHealth::Usable);
        bench.wait(1_999);
        assert_eq!(bench.path(), "y", "{apart_ms}");
        bench.wait(1);
        assert_eq!(bench.path(), "direct", "{apart_ms}");
    }
}

#[test]
fn waits_that_have_grown_are_over_when_there_was_no_path_at_all() {
    for (is_all, wait) in [(true, 2_000), (false, 4_000)] {
        let mut bench = Bench::well();
        bench.direct_is(LinkHealth::Down).direct(100).wait(2_000);
        bench.direct_is(LinkHealth::Down);
        if is_all {
            bench
                .via_is(X, LinkHealth::Down)
                .via_is(Y, LinkHealth::Down);
            assert_eq!(bench.path(), "none");
            bench.via_is(X, LinkHealth::Usable);
        }
        assert_eq!(bench.path(), "x");
        bench.direct(100).wait(wait - 1);
        assert_eq!(bench.path(), "x", "{is_all}");
        bench.wait(1);
        assert_eq!(bench.path(), "direct", "{is_all}");
    }
}

#[test]
fn two_minutes_without_a_change_are_forgiveness_and_less_are_not() {
    for (calm, wait) in [(119_999, 4_000), (120_000, 2_000)] {
        let mut bench = Bench::well();
        bench.direct_is(LinkHealth::Down).direct(100).wait(2_000);
        bench.wait(calm).direct_is(LinkHealth::Down).direct(100);
        bench.wait(wait - 1);
        assert_eq!(bench.path(), "x");
        bench.wait(1);
        assert_eq!(bench.path(), "direct");
    }
}

#[test]
fn overlay_that_fails_is_left_at_once_for_the_best_that_is_left() {
    let mut bench = Bench::well();
    bench.direct_is(LinkHealth::Suspect);
    bench.via_is(X, LinkHealth::Down);
    assert_eq!((bench.path(), bench.last()), ("y", Some(Reason::Lost)));
    bench.via_is(Y, LinkHealth::Down);
    assert_eq!((bench.path(), bench.last()), ("direct", Some(Reason::Lost)));
    bench.direct_is(LinkHealth::Down);
    assert_eq!((bench.path(), bench.last()), ("none", Some(Reason::Lost)));
    bench.direct_is(LinkHealth::Suspect);
    assert_eq!(
        (bench.path(), bench.last()),
        ("direct", Some(Reason::Found))
    );
}

#[test]
fn node_that_starts_to_drain_is_left_at_once_even_for_a_suspect_link() {
    let mut bench = Bench::well();
    bench
        .direct_is(LinkHealth::Suspect)
        .via_is(Y, LinkHealth::Suspect);
    assert_eq!(bench.path(), "x");
    bench.service(X, Service::Draining);
    assert_eq!(
        (bench.path(), bench.last()),
        ("direct", Some(Reason::Draining))
    );
}

#[test]
fn last_resort_is_left_at_once_the_first_time_and_later_after_a_wait() {
    let mut bench = Bench::new();
    bench.direct_is(LinkHealth::Suspect).wait(1_000);
    bench.via(X, 110);
    assert_eq!((bench.path(), bench.last()), ("x", Some(Reason::Sounder)));
    bench.via_is(X, LinkHealth::Down);
    assert_eq!(bench.path(), "direct");
    bench.via_is(X, LinkHealth::Usable).wait(1_999);
    assert_eq!(bench.path(), "direct");
    bench.wait(1);
    assert_eq!(bench.path(), "x");
}

#[test]
fn path_keeps_its_figures_up_to_date_without_a_decision() {
    let mut bench = Bench::well();
    bench.direct(104);
    assert_eq!(bench.choice.path().unwrap().cost().as_micros(), 104_000);
    assert_eq!(bench.moves.len(), 0);
}

#[test]
fn decision_carries_the_figures_that_drove_it() {
    let mut bench = Bench::well();
    bench.via(X, 80).wait(1_000);
    let decision = *bench.choice.decisions().last().unwrap();
    let cost = |path: Option<Path>| path.unwrap().cost().as_micros() / 1_000;
    assert_eq!(
        (name(decision.from.as_ref()), name(decision.to.as_ref())),
        ("direct", "x")
    );
    assert_eq!((cost(decision.from), cost(decision.to)), (100, 80));
    assert_eq!((cost(decision.direct), cost(decision.overlay)), (100, 80));
    assert_eq!(
        (decision.waited, decision.doublings),
        (Duration::from_secs(1), 0)
    );
}

#[test]
fn the_last_thirty_two_decisions_are_kept() {
    let mut bench = Bench::well();
    for _ in 0..20 {
        bench.direct_is(LinkHealth::Down).direct(100).wait(12_000);
    }
    // One that found the first path, and forty.
    assert_eq!(bench.moves.len(), 40);
    let kept: Vec<_> = bench.choice.decisions().copied().collect();
    assert_eq!(kept, bench.moves[8..]);
}

#[test]
fn timer_that_fires_for_nothing_changes_nothing() {
    let mut bench = Bench::well();
    bench.via(X, 80).wait(500);
    let wish = bench.choice.wish();
    bench.choice.handle_timeout(bench.now);
    assert_eq!((bench.choice.wish(), bench.path()), (wish, "direct"));
    // Not even after a change for which no newer offer has come.
    bench.direct_is(LinkHealth::Down);
    bench.choice.handle_timeout(bench.now);
    assert_eq!((bench.path(), bench.drain().moves.len()), ("x", 1));
}
