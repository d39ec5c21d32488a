use std::time::{Duration, Instant};

use std::collections::BTreeSet;

use super::*;
use crate::{
    cost::{Loss, Measure},
    graph::LinkHealth,
};

const ME: NodeKey = NodeKey(1);
const PEER: NodeKey = NodeKey(2);

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

fn raw() -> RawAdvert {
    RawAdvert {
        node: ME,
        generation: 7,
        sequence: 3,
        region: RegionId(1),
        state: State::Present(Service::Serving),
        load_permille: 200,
        addresses: vec!["a.example:4433".into()],
        ports: vec![4433],
        release: "1.0".into(),
        labels: BTreeMap::new(),
        links: vec![raw_link(PEER)],
        views: vec![raw_view(PEER)],
    }
}

fn raw_link(peer: NodeKey) -> RawLink {
    RawLink {
        peer,
        rtt_us: Some(80_000),
        loss_ppm: 0,
        limit_bytes: 1_200,
        health: LinkHealth::Usable,
    }
}

fn raw_view(node: NodeKey) -> RawView {
    RawView {
        node,
        delivered: 95,
        lost: 5,
    }
}

fn content() -> Content {
    Advert::try_new(raw()).unwrap().0.content
}

fn refusal(change: impl FnOnce(&mut RawAdvert)) -> Option<AdvertError> {
    let mut raw = raw();
    change(&mut raw);
    Advert::try_new(raw).err()
}

#[test]
fn lists_and_texts_may_be_as_long_as_stated_and_not_longer() {
    type Fill = fn(&mut RawAdvert, usize);
    let lists: [(Fill, usize); 8] = [
        (
            |raw, n| raw.addresses = vec![String::new(); n],
            MAX_ADDRESSES,
        ),
        (
            |raw, n| raw.addresses = vec!["x".repeat(n)],
            MAX_ADDRESS_BYTES,
        ),
        (|raw, n| raw.ports = vec![1; n], MAX_PORTS),
        (|raw, n| raw.release = "x".repeat(n), MAX_RELEASE_BYTES),
        (
            |raw, n| raw.labels = (0..n).map(|i| (i.to_string(), String::new())).collect(),
            MAX_LABELS,
        ),
        (
            |raw, n| raw.labels = BTreeMap::from([("x".repeat(n), String::new())]),
            MAX_LABEL_NAME_BYTES,
        ),
        (
            |raw, n| raw.labels = BTreeMap::from([(String::new(), "x".repeat(n))]),
            MAX_LABEL_VALUE_BYTES,
        ),
        (
            |raw, n| raw.links = (0..n).map(|i| raw_link(NodeKey(10 + i as u64))).collect(),
            MAX_LINKS,
        ),
    ];
    for (index, (fill, limit)) in lists.into_iter().enumerate() {
        assert_eq!(refusal(|raw| fill(raw, limit)), None, "list {index}");
        assert!(
            refusal(|raw| fill(raw, limit + 1)).is_some(),
            "list {index}"
        );
    }
}

#[test]
fn a_generation_that_could_not_be_outgrown_is_refused() {
    assert_eq!(refusal(|raw| raw.generation = MAX_GENERATION), None);
    let got = MAX_GENERATION + 1;
    assert_eq!(
        refusal(|raw| raw.generation = got),
        Some(AdvertError::Generation { got })
    );
}

#[test]
fn links_to_oneself_and_links_said_twice_are_refused() {
    assert_eq!(
        refusal(|raw| raw.links.push(raw_link(ME))),
        Some(AdvertError::OwnLink)
    );
    assert_eq!(
        refusal(|raw| raw.links.push(raw_link(PEER))),
        Some(AdvertError::DuplicateLink { peer: PEER })
    );
    assert_eq!(
        refusal(|raw| raw.views.push(raw_view(PEER))),
        Some(AdvertError::DuplicateView { node: PEER })
    );
}

#[test]
fn as_many_nodes_are_judged_as_stated_and_not_one_more() {
    let views = |count: usize| (0..count as u64).map(|node| raw_view(NodeKey(node)));
    assert_eq!(refusal(|raw| raw.views = views(MAX_VIEWS).collect()), None);
    let too_many = AdvertError::TooMany {
        field: "views",
        got: MAX_VIEWS + 1,
        limit: MAX_VIEWS,
    };
    let got = refusal(|raw| raw.views = views(MAX_VIEWS + 1).collect());
    assert_eq!(got, Some(too_many));
}

#[test]
fn absurd_figures_become_the_worst_sensible_ones_and_are_counted() {
    let mut raw = raw();
    raw.load_permille = u64::MAX;
    raw.links[0].rtt_us = Some(u64::MAX);
    raw.links[0].loss_ppm = 1_000_001;
    raw.links[0].limit_bytes = 70_000;
    raw.views[0].delivered = u64::MAX;
    raw.views[0].lost = u64::MAX;
    let (advert, adjusted) = Advert::try_new(raw).unwrap();
    let link = advert.content().links[&PEER];
    let measure = link.measure.unwrap();
    assert_eq!(measure.rtt, Measure::MAX_RTT);
    assert_eq!(measure.loss, Loss::from_ppm(1_000_000));
    assert_eq!(link.limit_bytes, MAX_PACKET_BYTES);
    assert_eq!(advert.content().load, Load::from_permille(u16::MAX));
    assert_eq!((adjusted.rtt, adjusted.loss), (1, 1));
    assert_eq!((adjusted.limit, adjusted.load), (1, 1));
    assert_eq!(advert.content().views[&PEER].packets(), 2 * MAX_OUTCOMES);
    assert_eq!(adjusted.outcomes, 2);
    assert_eq!(Advert::try_new(self::raw()).unwrap().1.total(), 0);
}

#[test]
fn node_enters_the_graph_as_it_says_and_not_when_it_left() {
    let (mut advert, _) = Advert::try_new(raw()).unwrap();
    let node = advert.to_node(false, 5).unwrap();
    assert_eq!(node.service, Service::Serving);
    assert_eq!((node.region, node.weight), (RegionId(1), 5));
    assert_eq!(node.load, Load::from_permille(200));
    advert.content.state = State::Left;
    assert_eq!(advert.to_node(false, 5), None);
}

/// A publisher that has told [`content`] at `now`.
struct Bench {
    publisher: Publisher,
    content: Content,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = origin();
        let mut bench = Self {
            publisher: Publisher::new(PublisherConfig::default(), ME, 7, 1, now),
            content: content(),
            now,
        };
        assert!(bench.tells());
        // Whatever the first statement cost is paid back.
        bench.now += ms(60_000);
        bench
    }

    fn tells(&mut self) -> bool {
        let content = self.content.clone();
        self.publisher.handle_content(self.now, content);
        self.publisher.poll_output().is_some()
    }

    fn measure(&mut self, rtt_us: u64, loss_ppm: u32) {
        if let Some(link) = self.content.links.get_mut(&PEER) {
            link.measure = Some(Measure {
                rtt: Duration::from_micros(rtt_us),
                loss: Loss::from_ppm(loss_ppm),
            });
        }
    }
}

#[test]
fn round_trip_is_told_when_it_differs_by_fifteen_percent_and_not_before() {
    for (rtt_us, told) in [
        (91_999, false),
        (92_000, true),
        (68_001, false),
        (68_000, true),
    ] {
        let mut bench = Bench::new();
        bench.measure(rtt_us, 0);
        assert_eq!(bench.tells(), told, "{rtt_us}");
    }
}

#[test]
fn short_round_trips_are_told_when_they_differ_by_two_milliseconds() {
    for (rtt_us, told) in [(1_999, false), (2_000, true)] {
        let mut bench = Bench::new();
        bench.measure(0, 0);
        assert!(bench.tells());
        bench.now += ms(10_000);
        bench.measure(rtt_us, 0);
        assert_eq!(bench.tells(), told, "{rtt_us}");
    }
}

#[test]
fn loss_is_told_when_it_differs_by_a_percent_and_load_by_a_tenth() {
    for (loss_ppm, told) in [(9_999, false), (10_000, true)] {
        let mut bench = Bench::new();
        bench.measure(80_000, loss_ppm);
        assert_eq!(bench.tells(), told, "{loss_ppm}");
    }
    for (permille, told) in [(299, false), (300, true)] {
        let mut bench = Bench::new();
        bench.content.load = Load::from_permille(permille);
        assert_eq!(bench.tells(), told, "{permille}");
    }
}

#[test]
fn slow_drift_is_told_because_it_is_measured_from_what_was_told() {
    let mut bench = Bench::new();
    let steps = (1..=12).filter(|step| {
        bench.measure(80_000 + step * 1_000, 0);
        bench.tells()
    });
    assert_eq!(steps.collect::<Vec<_>>(), [12]);
}

#[test]
fn measures_are_told_once_in_ten_seconds_and_health_does_not_wait_for_them() {
    let mut bench = Bench::new();
    bench.measure(200_000, 0);
    assert!(bench.tells());
    bench.measure(80_000, 0);
    bench.now += ms(9_999);
    assert!(!bench.tells());
    assert_eq!(bench.publisher.poll_timeout(), Some(bench.now + ms(1)));
    bench.content.links.get_mut(&PEER).unwrap().health = LinkHealth::Down;
    assert!(bench.tells());
    bench.measure(200_000, 0);
    bench.now += ms(10_000);
    bench.publisher.handle_timeout(bench.now);
    assert!(bench.tells());
}

#[test]
fn flapping_link_costs_five_statements_and_then_one_a_second() {
    let mut bench = Bench::new();
    let mut told = 0;
    for step in 0..1_000 {
        bench.content.links.get_mut(&PEER).unwrap().health = match step % 2 {
            0 => LinkHealth::Down,
            _ => LinkHealth::Usable,
        };
        // An odd rhythm, so that the state differs whenever there is room to tell it.
        bench.now += ms(7 + step % 3);
        told += u32::from(bench.tells());
    }
    // Eight seconds in all.
    assert!((12..=14).contains(&told), "{told}");
}

#[test]
fn node_far_below_the_others_is_told_at_once_three_times_and_then_every_ten_seconds() {
    let mut bench = Bench::new();
    let mut told = Vec::new();
    for second in 0..60 {
        bench.now += ms(1_000);
        let outliers = BTreeSet::from_iter((second % 2 == 0).then_some(PEER));
        bench.publisher.handle_outliers(outliers);
        if bench.tells() {
            told.push(second);
        }
    }
    assert_eq!(told[..3], [0, 1, 2]);
    assert!((7..=9).contains(&told.len()), "{told:?}");
}

#[test]
fn figures_of_nodes_that_do_well_are_no_statement_and_go_with_the_next() {
    let mut bench = Bench::new();
    let seen = |lost| crate::window::Loss {
        delivered: 100,
        lost,
    };
    for lost in 0..100 {
        bench.content.views.insert(PEER, seen(lost));
        assert!(!bench.tells());
    }
    bench.now += ms(60_000);
    bench.publisher.handle_timeout(bench.now);
    let advert = bench.publisher.poll_output().unwrap();
    assert_eq!(advert.content().views[&PEER], seen(99));
}

#[test]
fn ill_words_are_said_again_within_half_a_minute_as_long_as_they_hold() {
    let mut bench = Bench::new();
    bench.publisher.handle_outliers(BTreeSet::from([PEER]));
    assert!(bench.tells());
    for _ in 0..5 {
        let due = bench.publisher.poll_timeout().unwrap();
        let after = due - bench.now;
        assert!(after > ms(22_000) && after <= OUTLIERS_REFRESH, "{after:?}");
        bench.now = due;
        assert!(bench.tells());
    }
    bench.publisher.handle_outliers(BTreeSet::new());
    assert!(bench.tells());
    let due = bench.publisher.poll_timeout().unwrap();
    assert!(due - bench.now > ms(90_000));
}

#[test]
fn last_word_waits_for_nothing_and_is_said_once() {
    let mut bench = Bench::new();
    bench
        .publisher
        .handle_content(bench.now, bench.content.clone());
    for step in 0..20 {
        bench.content.ports = vec![step];
        bench.tells();
    }
    bench.content.ports = vec![99];
    assert!(!bench.tells(), "there is no room for one more");
    bench.content.state = State::Left;
    assert!(bench.tells());
    bench.now += ms(30_000);
    assert!(!bench.tells());
}

#[test]
fn what_does_not_change_is_told_again_within_two_minutes_and_not_before_one_and_a_half() {
    let mut bench = Bench::new();
    bench.now -= ms(60_000);
    for _ in 0..20 {
        let due = bench.publisher.poll_timeout().unwrap();
        let after = due - bench.now;
        assert!(after > ms(90_000) && after <= ms(120_000), "{after:?}");
        bench.now = due - ms(1);
        assert!(!bench.tells());
        bench.now = due;
        assert!(bench.tells());
    }
    assert_eq!(bench.publisher.version().sequence, 21);
}

#[test]
fn another_generation_is_told_at_once_and_counts_from_one() {
    let mut bench = Bench::new();
    bench.publisher.handle_generation(bench.now, 9);
    let advert = bench.publisher.poll_output().unwrap();
    assert_eq!(
        (advert.version().generation, advert.version().sequence),
        (9, 1)
    );
}
