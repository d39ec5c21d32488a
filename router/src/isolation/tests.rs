use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A node with links, and what it told.
struct Node {
    guard: IsolationGuard<u32>,
    start: Instant,
    now: Instant,
    told: Vec<(Duration, Output<u32>)>,
}

impl Node {
    fn linked(links: u32) -> Self {
        let now = origin();
        let mut node = Self {
            guard: IsolationGuard::new(),
            start: now,
            now,
            told: Vec::new(),
        };
        for peer in 0..links {
            node.alive(peer);
        }
        assert_eq!(node.told, []);
        node
    }

    fn alive(&mut self, peer: u32) {
        self.guard.handle_alive(self.now, peer);
        self.drain();
    }

    fn lost(&mut self, peers: std::ops::Range<u32>) {
        for peer in peers {
            self.guard.handle_lost(self.now, peer);
        }
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.guard.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.guard.handle_timeout(self.now);
            self.drain();
            assert_ne!(self.guard.poll_timeout(), Some(due), "it would spin");
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(output) = self.guard.poll_output() {
            self.told.push((self.now - self.start, output));
        }
    }

    fn told(&self) -> Vec<Output<u32>> {
        self.told.iter().map(|(_, output)| *output).collect()
    }
}

#[test]
fn a_single_loss_is_told_after_it_settled_and_not_before() {
    let mut node = Node::linked(10);
    node.lost(0..1);
    node.wait(ms(499));
    assert_eq!(node.told(), []);
    node.wait(ms(1));
    assert_eq!(node.told(), [Output::TellLost(0)]);
    node.wait(ms(5_000));
    node.alive(0);
    assert_eq!(node.told()[1..], [Output::TellAlive(0)]);
}

#[test]
fn a_link_back_before_its_loss_settled_was_never_lost() {
    let mut node = Node::linked(10);
    node.lost(0..1);
    node.wait(ms(499));
    node.alive(0);
    node.wait(ms(60_000));
    assert_eq!(node.told(), []);
}

#[test]
fn three_links_and_half_of_all_make_a_doubt_and_less_does_not() {
    for (links, lost, doubt) in [(3, 2, false), (3, 3, true), (6, 3, true), (7, 3, false)] {
        let mut node = Node::linked(links);
        node.lost(0..lost);
        assert_eq!(node.guard.is_doubting(), doubt, "{lost} of {links}");
    }
}

#[test]
fn losses_five_seconds_apart_have_nothing_to_do_with_each_other() {
    for (apart, doubt) in [(4_999, true), (5_000, false)] {
        let mut node = Node::linked(4);
        node.lost(0..2);
        node.wait(ms(apart));
        node.lost(2..3);
        assert_eq!(node.guard.is_doubting(), doubt);
    }
}

#[test]
fn a_region_cut_off_for_seconds_tells_nothing_and_is_as_it_was() {
    // F15: seconds without connectivity, and a region took itself for isolated.
    let mut node = Node::linked(20);
    // Found out within half a second, the first ones before there is any doubt.
    for peer in 0..20 {
        node.lost(peer..peer + 1);
        node.wait(ms(20));
    }
    node.wait(ms(4_000));
    assert_eq!(node.told(), [Output::Doubting]);
    for peer in 0..20 {
        node.alive(peer);
        node.wait(ms(20));
    }
    node.wait(ms(60_000));
    assert_eq!(
        node.told(),
        [Output::Doubting, Output::Resolved(Resolution::Alive)]
    );
}

#[test]
fn half_a_mesh_that_is_really_gone_is_told_when_another_link_proves_alive() {
    let mut node = Node::linked(6);
    node.lost(0..3);
    node.wait(ms(200));
    node.alive(5);
    node.wait(ms(499));
    assert_eq!(node.told().len(), 2);
    node.wait(ms(1));
    let lost = [0, 1, 2].map(Output::TellLost);
    assert_eq!(node.told()[2..], lost);
}

#[test]
fn a_node_that_is_alone_holds_for_fifteen_seconds_and_then_believes_it() {
    let mut node = Node::linked(4);
    node.lost(0..4);
    node.wait(ms(14_999));
    assert_eq!(node.told(), [Output::Doubting]);
    assert!(node.guard.is_doubting());
    node.wait(ms(1));
    assert!(!node.guard.is_doubting());
    assert_eq!(node.told()[1], Output::Resolved(Resolution::Alone));
    assert_eq!(node.told()[2..], [0, 1, 2, 3].map(Output::TellLost));
    // And comes back by itself.
    node.wait(ms(600_000));
    node.alive(2);
    assert_eq!(node.told().last(), Some(&Output::TellAlive(2)));
}

#[test]
fn links_that_flap_together_do_not_keep_the_loss_of_others_from_being_told() {
    let mut node = Node::linked(6);
    node.lost(0..3);
    let mut told = None;
    while told.is_none() && node.now - node.start < ms(60_000) {
        // Three of three: a doubt, which the first of them resolves.
        node.lost(3..6);
        assert!(node.guard.is_doubting());
        node.wait(ms(200));
        for peer in 3..6 {
            node.alive(peer);
        }
        node.wait(ms(200));
        told = node
            .told
            .iter()
            .find(|(_, output)| *output == Output::TellLost(0))
            .map(|(at, _)| *at);
    }
    let told = told.expect("told in a minute");
    assert!(told >= HOLD && told <= HOLD * 2, "{told:?}");
}

#[test]
fn a_timer_late_by_more_than_a_quarter_of_a_second_lets_losses_settle_again() {
    for (late, told) in [(250, 1), (251, 0)] {
        let mut node = Node::linked(4);
        node.lost(0..1);
        node.now += ms(500 + late);
        node.guard.handle_timeout(node.now);
        node.drain();
        assert_eq!(node.told.len(), told);
        node.wait(ms(500));
        assert_eq!(node.told(), [Output::TellLost(0)]);
    }
}

#[test]
fn what_was_forgotten_is_neither_told_nor_counted() {
    let mut node = Node::linked(4);
    node.lost(0..1);
    node.guard.handle_forgotten(0);
    node.wait(ms(1_000));
    node.lost(1..3);
    assert_eq!((node.told(), node.guard.is_doubting()), (vec![], false));
    node.guard.handle_forgotten(3);
    assert_eq!(node.guard.links.len(), 2);
}

proptest! {
    /// Whatever happens: nothing is told while in doubt; a loss is told once, only of what is
    /// lost, and within half a minute; and what was told lost and came back is told alive.
    #[test]
    fn any_order_of_losses_and_returns_is_told_truly_and_in_time(
        links in 1_u32..12,
        steps in proptest::collection::vec((0_u32..12, any::<bool>(), 0_u64..2_000), 1..200),
    ) {
        let mut node = Node::linked(links);
        let mut lost = BTreeMap::new();
        let mut believed = BTreeSet::new();
        let mut doubting = false;
        for (peer, alive, pass) in steps {
            let peer = peer % links;
            if alive {
                lost.remove(&peer);
                node.alive(peer);
            } else {
                lost.entry(peer).or_insert(node.now);
                node.lost(peer..peer + 1);
            }
            node.wait(ms(pass));
            for (_, told) in node.told.drain(..) {
                match told {
                    Output::TellLost(peer) => {
                        prop_assert!(!doubting && lost.contains_key(&peer));
                        prop_assert!(believed.insert(peer));
                    }
                    Output::TellAlive(peer) => prop_assert!(believed.remove(&peer)),
                    Output::Doubting => prop_assert!(!std::mem::replace(&mut doubting, true)),
                    Output::Resolved(_) => prop_assert!(std::mem::replace(&mut doubting, false)),
                }
            }
            prop_assert_eq!(doubting, node.guard.is_doubting());
            for (peer, at) in &lost {
                let due = node.now.duration_since(*at) >= HOLD * 2;
                prop_assert!(!due || believed.contains(peer));
            }
            prop_assert!(believed.iter().all(|peer| lost.contains_key(peer)));
        }
    }
}
