mod fleet;
mod pace;
mod random;
mod sim;
mod tables;

use super::*;
use crate::{
    advert::{RawAdvert, RawLink, State},
    graph::{LinkHealth, RegionId, Service},
};

const ME: NodeKey = NodeKey(1);
/// Two neighbours.
const A: NodeKey = NodeKey(2);
const B: NodeKey = NodeKey(3);
/// Some other node.
const X: NodeKey = NodeKey(9);

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
pub(super) fn origin() -> Instant {
    Instant::now()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn version(node: NodeKey, generation: u64, sequence: u64) -> Version {
    Version {
        node,
        generation,
        sequence,
    }
}

fn raw(version: Version) -> RawAdvert {
    RawAdvert {
        node: version.node,
        generation: version.generation,
        sequence: version.sequence,
        region: RegionId(0),
        state: State::Present(Service::Serving),
        load_permille: 0,
        addresses: vec!["here:1".into()],
        ports: Vec::new(),
        release: String::new(),
        labels: BTreeMap::new(),
        links: Vec::new(),
        views: Vec::new(),
    }
}

fn vouched(raw: RawAdvert) -> Verified<Advert> {
    Verified::vouch(Advert::try_new(raw).unwrap().0, Vec::new())
}

fn advert(node: NodeKey, generation: u64, sequence: u64) -> Verified<Advert> {
    vouched(raw(version(node, generation, sequence)))
}

/// Owns a node with two neighbours, which are the test's to play, and the clock.
struct Bench {
    gossip: Gossip,
    now: Instant,
    sent: Vec<(NodeKey, Message)>,
    facts: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        let now = origin();
        let mut bench = Self {
            gossip: Gossip::new(ME, now),
            now,
            sent: Vec::new(),
            facts: Vec::new(),
        };
        bench.gossip.handle_own(now, advert(ME, 5, 1));
        bench.gossip.handle_link(now, A);
        bench.gossip.handle_link(now, B);
        bench.wait(ms(200));
        bench.sent.clear();
        bench
    }

    fn drain(&mut self) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                Output::Send(to, message) => self.sent.push((to, message)),
                fact => self.facts.push(fact),
            }
        }
    }

    fn hear(&mut self, from: NodeKey, message: Message) {
        self.gossip.handle_message(self.now, from, message);
        self.drain();
    }

    fn offer(&mut self, from: NodeKey, versions: &[Version]) {
        self.hear(from, Message::Offer(versions.to_vec()));
    }

    fn deliver(&mut self, from: NodeKey, advert: &Verified<Advert>, age: Duration) {
        let advert = advert.clone();
        self.hear(from, Message::Advert { advert, age });
    }

    /// Offers, and delivers if asked.
    fn tell(&mut self, from: NodeKey, advert: &Verified<Advert>) {
        self.offer(from, &[advert.value().version()]);
        let (node, state) = (advert.value().node(), advert.value().content().state);
        if self.gossip.expects(from, node, state) {
            self.deliver(from, advert, Duration::ZERO);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.wait_while(time, Absence::IsNews);
    }

    fn wait_while(&mut self, time: Duration, absence: Absence) {
        let end = self.now + time;
        while self.gossip.poll_timeout() <= end {
            self.now = self.gossip.poll_timeout().max(self.now);
            self.gossip.handle_timeout(self.now, absence);
            self.drain();
        }
        self.now = end;
    }

    fn requests(&mut self) -> Vec<(NodeKey, Version)> {
        let requests = self.sent.iter().filter_map(|(to, message)| match message {
            Message::Request(versions) => Some((*to, versions[0])),
            Message::Advert { .. } | Message::Digest(_) | Message::Offer(_) => None,
        });
        let requests = requests.collect();
        self.sent.clear();
        requests
    }

    fn offers_to(&mut self, peer: NodeKey) -> Vec<Version> {
        let offers = self.sent.iter().filter_map(|(to, message)| match message {
            Message::Offer(versions) if *to == peer => Some(versions.clone()),
            Message::Offer(_)
            | Message::Advert { .. }
            | Message::Digest(_)
            | Message::Request(_) => None,
        });
        let offers = offers.flatten().collect();
        self.sent.clear();
        offers
    }

    fn held(&self, node: NodeKey) -> Option<(u64, u64)> {
        let version = self.gossip.advert(node)?.value().version();
        Some((version.generation, version.sequence))
    }
}

#[test]
fn advert_is_asked_of_one_offerer_and_of_the_other_at_the_deadline_and_not_before() {
    let mut t = Bench::new();
    let wanted = version(X, 1, 1);
    t.offer(A, &[wanted]);
    t.offer(B, &[wanted]);
    t.offer(A, &[wanted]);
    assert_eq!(t.requests(), [(A, wanted)]);
    t.wait(DEADLINE - ms(1));
    assert_eq!(t.requests(), []);
    t.wait(ms(1));
    assert_eq!(t.requests(), [(B, wanted)]);
    assert_eq!(t.gossip.counts().missed, 1);
    t.deliver(B, &advert(X, 1, 1), Duration::ZERO);
    assert_eq!(t.facts, [Output::Changed(X)]);
    assert_eq!(t.gossip.fetches.len(), 0);
}

#[test]
fn link_that_ends_passes_its_requests_to_the_other_offerer_at_once() {
    let mut t = Bench::new();
    t.offer(A, &[version(X, 1, 1)]);
    t.offer(B, &[version(X, 1, 1)]);
    t.requests();
    t.gossip.handle_unlinked(t.now, A);
    t.drain();
    assert_eq!(t.requests(), [(B, version(X, 1, 1))]);
}

#[test]
fn news_is_offered_to_those_who_did_not_offer_it_and_once() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 1, 1));
    t.sent.clear();
    t.wait(ms(99));
    assert_eq!(t.offers_to(B), []);
    t.wait(ms(1));
    assert!(t.sent.iter().all(|(to, _)| *to == B));
    assert_eq!(t.offers_to(B), [version(X, 1, 1)]);
    t.wait(secs(5));
    assert_eq!(t.offers_to(B), []);
}

#[test]
fn older_generations_and_replays_replace_nothing_and_are_counted() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 7, 3));
    for (generation, sequence) in [(6, 99), (7, 2), (7, 3)] {
        t.tell(B, &advert(X, generation, sequence));
    }
    // Asked for something newer, it delivers something older.
    for (generation, sequence) in [(6, 99), (7, 2)] {
        t.offer(B, &[version(X, 8, 1)]);
        t.deliver(B, &advert(X, generation, sequence), Duration::ZERO);
    }
    assert_eq!(t.held(X), Some((7, 3)));
    let counts = t.gossip.counts();
    assert_eq!((counts.stale_generation, counts.replayed), (2, 2));
    assert_eq!(counts.missed, 2);
}

#[test]
fn who_offers_an_older_generation_is_offered_the_newer_one() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 7, 3));
    t.wait(ms(200));
    t.sent.clear();
    t.offer(B, &[version(X, 6, 50)]);
    t.wait(ms(100));
    assert_eq!(t.offers_to(B), [version(X, 7, 3)]);
}

#[test]
fn generation_of_a_clock_years_ahead_is_taken_and_one_that_no_clock_has_is_not() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, MAX_GENERATION, 1));
    assert_eq!(t.held(X), Some((MAX_GENERATION, 1)));
    t.offer(A, &[version(B, MAX_GENERATION + 1, 1)]);
    assert!(!t.gossip.expects(A, B, State::Present(Service::Serving)));
    assert_eq!(t.gossip.counts().absurd, 1);
}

#[test]
fn advert_in_ones_own_name_above_ones_own_is_reported_and_not_held() {
    let mut t = Bench::new();
    t.tell(A, &advert(ME, 6, 1));
    assert_eq!(t.facts, [Output::Outbid(version(ME, 6, 1))]);
    assert_eq!(t.held(ME), Some((5, 1)));
    // An offer alone proves nothing.
    t.offer(A, &[version(ME, 9, 1)]);
    assert_eq!(t.facts.len(), 1);
}

#[test]
fn adverts_that_were_not_asked_for_are_dropped_and_counted() {
    let mut t = Bench::new();
    t.deliver(A, &advert(X, 1, 1), Duration::ZERO);
    t.offer(A, &[version(X, 1, 1)]);
    t.deliver(B, &advert(X, 1, 1), Duration::ZERO);
    assert_eq!((t.held(X), t.gossip.counts().unasked), (None, 2));
}

#[test]
fn node_is_forgotten_five_minutes_after_it_spoke_wherever_its_advert_was_since() {
    for age in [0, 200] {
        let mut t = Bench::new();
        t.offer(A, &[version(X, 1, 1)]);
        t.deliver(A, &advert(X, 1, 1), secs(age));
        t.facts.clear();
        t.wait(secs(300 - age) - ms(1));
        assert_eq!(t.facts, []);
        t.wait(SWEEP_EVERY + ms(1));
        assert_eq!(t.facts, [Output::Gone(X, Farewell::Expired)]);
        let lost: Vec<_> = t.gossip.lost().map(|lost| lost.value().node()).collect();
        assert_eq!((t.held(X), lost), (None, vec![X]));
    }
}

#[test]
fn advert_is_not_older_than_the_one_before_it_whatever_a_liar_says() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 1, 1));
    t.wait(secs(100));
    t.offer(B, &[version(X, 1, 2)]);
    t.deliver(B, &advert(X, 1, 2), EXPIRY - secs(1));
    assert_eq!(t.held(X), Some((1, 2)));
    t.wait(secs(200) - ms(1));
    assert_eq!(t.held(X), Some((1, 2)));
    t.wait(SWEEP_EVERY + ms(1));
    assert_eq!(t.held(X), None);
}

#[test]
fn advert_is_passed_on_with_its_age() {
    let mut t = Bench::new();
    t.offer(A, &[version(X, 1, 1)]);
    t.deliver(A, &advert(X, 1, 1), secs(100));
    t.wait(secs(50));
    t.sent.clear();
    t.hear(B, Message::Request(vec![version(X, 1, 1)]));
    let age = secs(150);
    let advert = advert(X, 1, 1);
    assert_eq!(t.sent, [(B, Message::Advert { advert, age })]);
}

#[test]
fn expired_adverts_are_not_taken_and_those_of_the_forgotten_do_not_come_back() {
    let mut t = Bench::new();
    t.offer(A, &[version(X, 1, 1)]);
    t.deliver(A, &advert(X, 1, 1), EXPIRY);
    assert_eq!((t.held(X), t.gossip.counts().aged), (None, 1));
    t.tell(A, &advert(X, 1, 1));
    t.wait(EXPIRY + SWEEP_EVERY);
    // A replay that claims to be fresh.
    t.tell(A, &advert(X, 1, 1));
    assert_eq!((t.held(X), t.gossip.counts().replayed), (None, 1));
    t.tell(A, &advert(X, 1, 2));
    assert_eq!(t.held(X), Some((1, 2)));
    assert_eq!(t.gossip.lost().count(), 0);
}

#[test]
fn nothing_is_forgotten_while_absence_is_no_news_or_nobody_is_there_to_tell() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 1, 1));
    t.wait_while(secs(3_600), Absence::IsNoNews);
    assert!(t.held(X).is_some());
    t.gossip.handle_unlinked(t.now, A);
    t.gossip.handle_unlinked(t.now, B);
    t.wait(secs(3_600));
    assert!(t.held(X).is_some());
    t.gossip.handle_link(t.now, A);
    t.wait(SWEEP_EVERY);
    assert_eq!(t.held(X), None);
}

#[test]
fn node_that_says_that_it_left_is_gone_at_once_and_nobody_can_bring_it_back() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 1, 1));
    t.facts.clear();
    let mut left = raw(version(X, 1, 2));
    left.state = State::Left;
    t.tell(A, &vouched(left));
    assert_eq!(t.facts, [Output::Gone(X, Farewell::Left)]);
    t.tell(B, &advert(X, 1, 1));
    assert_eq!(t.held(X), None);
    t.wait(EXPIRY + SWEEP_EVERY);
    t.tell(B, &advert(X, 1, 1));
    assert_eq!((t.held(X), t.gossip.lost().count()), (None, 0));
    assert_eq!(t.facts.len(), 1);
    // It starts again.
    t.tell(B, &advert(X, 2, 1));
    assert_eq!(t.held(X), Some((2, 1)));
}

fn left(node: NodeKey, generation: u64, sequence: u64) -> Verified<Advert> {
    let mut left = raw(version(node, generation, sequence));
    left.state = State::Left;
    vouched(left)
}

#[test]
fn last_word_goes_to_all_neighbours_at_once_and_is_taken_from_its_own_node_unasked() {
    let mut t = Bench::new();
    t.gossip.handle_own(t.now, left(ME, 5, 2));
    t.drain();
    let said = |to: NodeKey| {
        let message = Message::Advert {
            advert: left(ME, 5, 2),
            age: Duration::ZERO,
        };
        (to, message)
    };
    assert_eq!(t.sent, [said(A), said(B)]);
    t.tell(A, &advert(A, 1, 1));
    t.facts.clear();
    t.deliver(A, &left(A, 1, 2), Duration::ZERO);
    assert_eq!(t.facts, [Output::Gone(A, Farewell::Left)]);
    // And the others hear of it from us.
    t.sent.clear();
    t.wait(ms(100));
    assert_eq!(t.offers_to(B), [version(A, 1, 2)]);
    assert_eq!(t.gossip.counts().unasked, 0);
}

#[test]
fn last_word_of_another_or_of_a_former_life_takes_nobody_out() {
    let mut t = Bench::new();
    t.tell(A, &advert(X, 1, 1));
    t.tell(A, &advert(A, 7, 3));
    t.deliver(A, &left(X, 1, 2), Duration::ZERO);
    assert_eq!(t.gossip.counts().unasked, 1, "only its own node may say so");
    for (from, generation, sequence) in [(A, 6, 99), (A, 7, 2), (A, 7, 3)] {
        t.deliver(from, &left(A, generation, sequence), Duration::ZERO);
        t.tell(B, &left(A, generation, sequence));
    }
    assert_eq!((t.held(X), t.held(A)), (Some((1, 1)), Some((7, 3))));
}

#[test]
fn last_word_that_nobody_asked_for_is_looked_at_once_on_each_link() {
    let mut t = Bench::new();
    let serving = State::Present(Service::Serving);
    assert!(!t.gossip.expects(A, A, serving));
    assert!(!t.gossip.expects(A, X, State::Left));
    assert!(!t.gossip.expects(X, X, State::Left), "it is no neighbour");
    assert!(t.gossip.expects(A, A, State::Left));
    assert!(!t.gossip.expects(A, A, State::Left), "nor is its forgery");
    assert!(t.gossip.expects(B, B, State::Left));
    t.gossip.handle_link(t.now, A);
    assert!(t.gossip.expects(A, A, State::Left));
}

#[test]
fn flood_about_nodes_that_do_not_exist_costs_bounded_memory_and_real_news_little_time() {
    let mut t = Bench::new();
    for round in 0..40_u64 {
        let names = (0..1_000).map(|name| NodeKey(1_000_000 + round * 1_000 + name));
        let versions: Vec<_> = names.map(|name| version(name, 1, 1)).collect();
        t.offer(A, &versions);
        assert!(t.gossip.fetches.len() <= MAX_STANDING);
        t.wait(ms(1_000));
    }
    let counts = t.gossip.counts();
    assert!(counts.overflowed > 1_000, "{counts:?}");
    assert!(counts.missed >= u64::from(MISTRUSTED_AFTER));
    assert_eq!(t.gossip.book.len(), (1, 0));
    // It has one request outstanding from now on.
    t.requests();
    t.wait(secs(20));
    assert!(t.requests().len() <= 10);
    t.tell(B, &advert(X, 1, 1));
    assert_eq!(t.held(X), Some((1, 1)));
}

#[test]
fn liar_that_offers_a_version_it_does_not_have_delays_the_real_one_by_one_deadline() {
    let mut t = Bench::new();
    t.offer(A, &[version(X, 1, u64::MAX)]);
    t.tell(B, &advert(X, 1, 1));
    assert_eq!(t.held(X), None);
    t.requests();
    t.wait(DEADLINE);
    assert_eq!(t.requests(), [(B, version(X, 1, 1))]);
}

#[test]
fn as_many_nodes_as_stated_are_held_and_not_one_more() {
    let mut t = Bench::new();
    for name in 0..MAX_NODES as u64 + 100 {
        t.tell(A, &advert(NodeKey(1_000 + name), 1, 1));
        t.wait(ms(20));
    }
    assert_eq!(t.gossip.book.len(), (MAX_NODES, 0));
    assert_eq!(t.gossip.counts().full, 101);
    // Those that are known go on.
    t.tell(A, &advert(NodeKey(1_000), 1, 2));
    assert_eq!(t.held(NodeKey(1_000)), Some((1, 2)));
    t.wait(EXPIRY + SWEEP_EVERY);
    assert_eq!(t.gossip.book.len(), (1, MAX_GRAVES));
}

#[test]
fn every_node_of_the_largest_mesh_can_be_a_neighbour_and_is_listened_to() {
    let mut t = Bench::new();
    for name in 0..MAX_NODES as u64 - 1 {
        let node = NodeKey(1_000 + name);
        t.gossip.handle_link(t.now, node);
        t.drain();
        if t.gossip.neighbours.contains_key(&node) {
            t.tell(node, &advert(node, 1, 1));
        }
    }
    // There were two already.
    assert_eq!(t.gossip.counts().strangers, 1);
    assert_eq!(t.gossip.book.len().0, MAX_NODES - 1);
}

#[test]
fn offers_of_all_neighbours_are_bounded_and_no_liars_take_the_share_of_the_last_one() {
    let mut t = Bench::new();
    let liars = (SHARED_STANDING / MAX_STANDING) as u64;
    for liar in 0..liars + 2 {
        let liar = NodeKey(1_000 + liar);
        t.gossip.handle_link(t.now, liar);
        let names = (0..MAX_STANDING as u64).map(|name| NodeKey(1_000_000 + name));
        let versions: Vec<_> = names.map(|name| version(name, 1, 1)).collect();
        t.offer(liar, &versions);
    }
    assert_eq!(t.gossip.fetches.len(), SHARED_STANDING + 2 * SURE_STANDING);
    t.tell(B, &advert(X, 1, 1));
    assert_eq!(t.held(X), Some((1, 1)));
}

#[test]
fn neighbour_that_says_too_much_is_not_listened_to_until_it_has_been_silent() {
    let mut t = Bench::new();
    let many = vec![version(X, 1, 1); BURST_ITEMS as usize];
    t.offer(A, &many);
    assert_eq!(t.gossip.counts().limited, 0);
    t.offer(A, &many[..1]);
    assert_eq!(t.gossip.counts().limited, 1);
    t.wait(ms(1_000));
    t.offer(A, &many[..ITEMS_PER_SECOND as usize]);
    assert_eq!(t.gossip.counts().limited, 1);
    // The other is not worse off.
    t.offer(B, &many);
    assert_eq!(t.gossip.counts().limited, 1);
}

#[test]
fn difference_is_offered_at_once_when_a_link_begins_and_later_when_it_is_there_twice() {
    let mut t = Bench::new();
    let theirs = || Message::Digest(Box::new(Digest::new()));
    t.hear(A, theirs());
    t.wait(ms(100));
    assert_eq!(t.offers_to(A), [version(ME, 5, 1)]);
    let ours = Message::Digest(Box::new(t.gossip.book.digest()));
    t.hear(A, ours);
    t.hear(A, theirs());
    t.wait(ms(100));
    assert_eq!(t.offers_to(A), []);
    t.hear(A, theirs());
    t.wait(ms(100));
    assert_eq!(t.offers_to(A), [version(ME, 5, 1)]);
}

#[test]
fn neighbour_is_synced_when_all_that_it_listed_is_here_and_not_before_and_once() {
    let mut t = Bench::new();
    let mut theirs = Digest::new();
    theirs.toggle(version(X, 1, 1));
    t.hear(A, Message::Digest(Box::new(theirs)));
    t.offer(A, &[version(X, 1, 1)]);
    t.offer(B, &[version(B, 1, 1)]);
    assert_eq!(t.facts, []);
    t.deliver(A, &advert(X, 1, 1), Duration::ZERO);
    assert!(t.facts.contains(&Output::Synced(A)));
    t.facts.clear();
    let ours = Message::Digest(Box::new(t.gossip.book.digest()));
    t.hear(A, ours.clone());
    assert_eq!(t.facts, []);
    t.hear(B, ours);
    assert_eq!(t.facts, [Output::Synced(B)]);
}

#[test]
fn two_processes_that_speak_in_turn_are_reported_and_one_that_restarts_or_moves_is_not() {
    let speak = |places: &[&str]| {
        let mut t = Bench::new();
        for (generation, place) in places.iter().enumerate() {
            let mut raw = raw(version(X, 1 + generation as u64, 1));
            raw.addresses = vec![(*place).into()];
            t.tell(A, &vouched(raw));
            t.wait(secs(60));
        }
        let is_contested = t.gossip.contested(t.now).count() == 1;
        assert_eq!(t.facts.contains(&Output::Contested(X)), is_contested);
        t.wait(CONTESTED_FOR);
        assert_eq!(t.gossip.contested(t.now).count(), 0);
        is_contested
    };
    assert!(speak(&["a:1", "b:1", "a:1"]));
    assert!(!speak(&["a:1", "a:1", "a:1", "a:1"]));
    assert!(!speak(&["a:1", "b:1", "c:1"]));
    assert!(!speak(&["a:1", "a:1", "b:1", "b:1"]));
}
