use proptest::prelude::*;

use super::*;

type Link = &'static str;

const LIMITS: FlowLimits = FlowLimits {
    flows: 4,
    idle: Duration::from_secs(30),
};

struct Fixture {
    table: FlowTable<Link>,
    now: Instant,
    next_flow: u32,
    ways: World,
}

/// What is true of the ways.
#[derive(Default)]
struct World {
    gone: Vec<Link>,
    leaving: Vec<Link>,
    course: Option<(Link, Option<Link>)>,
}

impl Ways<Link> for World {
    fn fit(&self, way: &Link) -> Fit {
        match (self.gone.contains(way), self.leaving.contains(way)) {
            (true, _) => Fit::Gone,
            (false, true) => Fit::Leaving,
            (false, false) => Fit::Good,
        }
    }

    /// A way that has another handle than before has a prime behind its name.
    fn is_same(&self, a: &Link, b: &Link) -> bool {
        a.trim_end_matches('\'') == b.trim_end_matches('\'')
    }

    fn course(&self, _: &Link) -> Option<Course<Link>> {
        self.course
            .map(|(primary, backup)| Course { primary, backup })
    }
}

impl Fixture {
    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary origin for virtual time"
    )]
    fn new() -> Self {
        Self {
            table: FlowTable::new(LIMITS),
            now: Instant::now(),
            next_flow: 0,
            ways: World::default(),
        }
    }

    fn packet(&mut self, client: u16) -> Verdict<Link> {
        let next = &mut self.next_flow;
        let client = address(client);
        self.table
            .handle_packet(self.now, client, b"payload", &self.ways, || {
                *next += 1;
                *next
            })
    }

    fn opening(&mut self, flow: u32, link: Link) {
        self.table.handle_opening(self.now, flow, link);
    }

    fn refused(&mut self, flow: u32, link: Link) -> usize {
        self.table
            .handle_refused(self.now, flow, |way| *way == link)
    }

    fn closed(&mut self, flow: u32, link: Link) {
        self.table
            .handle_closed(self.now, flow, |way| *way == link, &self.ways);
    }

    fn accepted(&mut self, flow: u32, link: Link) -> Vec<u64> {
        let Some(released) = self.table.handle_accepted(flow, |way| *way == link) else {
            return Vec::new();
        };
        assert_eq!(released.way, link);
        let packets = released.packets.into_iter();
        packets.map(|(sequence, _)| sequence).collect()
    }

    fn unreachable(&mut self, flow: u32, link: Link) {
        self.table
            .handle_unreachable(self.now, flow, |way| *way == link);
    }

    fn due(&mut self, after: Duration) -> Due<Link> {
        self.now += after;
        self.table.handle_timeout(self.now, |_| None, &self.ways)
    }

    /// The flows that end.
    fn timeout(&mut self, after: Duration) -> Vec<u32> {
        let ended = self.due(after).ended.into_iter();
        ended.map(|ended| ended.flow).collect()
    }

    /// The flows that are to be opened elsewhere at the next look.
    fn look(&mut self) -> Vec<u32> {
        let to_open = self.due(LOOK_EVERY).to_open.into_iter();
        to_open.map(|(flow, _)| flow).collect()
    }

    /// The link that a packet goes out on.
    fn sent_on(&mut self, client: u16) -> Link {
        match self.packet(client) {
            Verdict::Send { way, .. } => way,
            other => panic!("not sent but {other:?}"),
        }
    }

    fn open(client: u16) -> Self {
        let mut t = Self::new();
        assert_eq!(t.packet(client), Verdict::Open { flow: 1 });
        t.opening(1, "a");
        assert_eq!(t.accepted(1, "a"), [0]);
        t
    }
}

fn address(client: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], client))
}

#[test]
fn first_packets_are_held_for_the_opening_and_keep_their_order() {
    let mut t = Fixture::new();
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    t.opening(1, "a");
    assert_eq!(t.packet(1), Verdict::Hold);
    assert_eq!(t.accepted(1, "a"), [0, 1]);
    assert_eq!(
        t.packet(1),
        Verdict::Send {
            flow: 1,
            sequence: 2,
            way: "a"
        }
    );
    assert_eq!(t.table.held_bytes, 0);
}

#[test]
fn flow_without_a_link_asks_for_one_with_each_packet() {
    let mut t = Fixture::new();
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
}

#[test]
fn lost_link_opens_the_flow_again_elsewhere_and_sequence_goes_on() {
    let mut t = Fixture::open(1);
    t.ways.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    t.opening(1, "b");
    // A late answer of the link that was left must not send on the new one before it is open.
    assert!(t.accepted(1, "a").is_empty());
    assert_eq!(t.accepted(1, "b"), [1]);
    assert_eq!(
        t.packet(1),
        Verdict::Send {
            flow: 1,
            sequence: 2,
            way: "b"
        }
    );
}

#[test]
fn refused_flow_drops_for_a_while_and_then_tries_again() {
    let mut t = Fixture::new();
    t.packet(1);
    t.opening(1, "a");
    assert_eq!(t.refused(1, "a"), 1);
    assert_eq!(t.packet(1), Verdict::Drop(FlowDrop::Refused));
    t.now += REFUSED_FOR;
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
}

#[test]
fn idle_flow_ends_at_its_limit_and_not_before() {
    let mut t = Fixture::open(1);
    assert!(t.timeout(LIMITS.idle - Duration::from_millis(1)).is_empty());
    assert_eq!(
        t.table.poll_timeout(),
        Some(t.now + Duration::from_millis(1))
    );
    assert_eq!(t.timeout(Duration::from_millis(1)), [1]);
    // Without flows there is nothing to look at.
    t.due(LOOK_EVERY);
    assert_eq!(t.table.poll_timeout(), None);
}

#[test]
fn replies_keep_a_flow_alive_as_packets_do() {
    let mut t = Fixture::open(1);
    t.now += LIMITS.idle;
    let reply = t.now - Duration::from_secs(1);
    let due = t.table.handle_timeout(t.now, |_| Some(reply), &t.ways);
    assert!(due.ended.is_empty());
}

#[test]
fn flow_that_is_never_accepted_gives_up_with_what_it_held() {
    let mut t = Fixture::new();
    t.packet(1);
    t.opening(1, "a");
    assert!(t.timeout(OPEN_WITHIN - Duration::from_nanos(1)).is_empty());
    let due = t.due(Duration::from_nanos(1));
    let way = Some("a");
    assert_eq!(due.ended, [Ended { flow: 1, way }]);
    assert_eq!((due.dropped, t.table.held_bytes), (1, 0));
}

#[test]
fn planned_replacement_holds_no_packet() {
    let mut t = Fixture::open(1);
    t.ways.leaving.push("a");
    assert_eq!(t.sent_on(1), "a");
    assert_eq!(t.look(), [1]);
    t.opening(1, "b");
    assert_eq!(t.sent_on(1), "a");
    // Asked for already.
    assert!(t.look().is_empty());
    assert!(t.accepted(1, "b").is_empty());
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn replacement_that_is_refused_leaves_the_flow_where_it_is_and_is_tried_again_later() {
    let mut t = Fixture::open(1);
    t.ways.leaving.push("a");
    t.look();
    t.opening(1, "b");
    assert_eq!(t.refused(1, "b"), 0);
    assert_eq!(t.sent_on(1), "a");
    t.now += REFUSED_FOR - LOOK_EVERY - Duration::from_nanos(1);
    assert!(t.look().is_empty());
    assert_eq!(t.look(), [1]);
}

#[test]
fn flow_whose_link_dies_while_it_moves_waits_for_the_new_one_only() {
    let mut t = Fixture::open(1);
    t.ways.leaving.push("a");
    t.look();
    t.opening(1, "b");
    t.ways.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Hold);
    assert_eq!(t.accepted(1, "b"), [1]);
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn flow_of_a_silent_client_moves_when_its_link_dies() {
    let mut t = Fixture::open(1);
    assert!(t.look().is_empty());
    t.ways.gone.push("a");
    assert_eq!(t.look(), [1]);
    t.opening(1, "b");
    assert!(t.look().is_empty());
    assert!(t.accepted(1, "b").is_empty());
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn flow_that_was_open_waits_for_a_link_until_it_is_idle() {
    let mut t = Fixture::open(1);
    t.ways.gone.push("a");
    assert_eq!(t.look(), [1]);
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    // What is held grows too old, the flow does not.
    let mut dropped = 0;
    for _ in 0..100 {
        let due = t.due(LOOK_EVERY);
        dropped += due.dropped;
        assert_eq!((due.ended.len(), due.to_open.len()), (0, 1));
    }
    assert_eq!((dropped, t.table.held_bytes), (1, 0));
    assert_eq!(t.timeout(LIMITS.idle - 100 * LOOK_EVERY), [1]);
}

#[test]
fn flow_that_the_far_end_lost_is_opened_again_without_a_packet() {
    let mut t = Fixture::open(1);
    t.closed(1, "b");
    assert_eq!(t.sent_on(1), "a");
    t.closed(1, "a");
    let due = t.due(Duration::ZERO);
    assert_eq!(due.to_open, [(1, address(1))]);
    t.opening(1, "a");
    // The opening itself may be lost too.
    t.closed(1, "a");
    assert_eq!(t.due(MOVE_PAUSE).to_open, [(1, address(1))]);
}

/// What is said of an open flow at the next look: on which way, and whether as a spare.
fn said(t: &mut Fixture) -> Vec<(Link, bool)> {
    let to_say = t.due(LOOK_EVERY).to_say.into_iter();
    to_say.map(|say| (say.way, say.spare)).collect()
}

/// Open on `a`, with `b` accepted as its spare.
fn spared() -> Fixture {
    let mut t = Fixture::open(1);
    t.ways.course = Some(("a", Some("b")));
    assert_eq!(said(&mut t), [("b", true)]);
    assert!(t.accepted(1, "b").is_empty());
    assert_eq!(t.sent_on(1), "a");
    t
}

#[test]
fn spare_that_is_ready_takes_over_with_the_next_packet_and_the_far_end_is_told_until_it_answers() {
    let mut t = spared();
    t.now += MOVE_PAUSE;
    t.ways.gone.push("a");
    assert_eq!(t.sent_on(1), "b");
    assert_eq!(t.table.poll_timeout(), Some(t.now));
    let due = t.due(Duration::ZERO);
    let say = Say {
        flow: 1,
        client: address(1),
        way: "b",
        spare: false,
    };
    assert_eq!((due.to_say, due.to_open), (vec![say], vec![]));
    // That frame may be lost.
    assert!(said(&mut t).is_empty());
    t.now += OPEN_WITHIN - 2 * LOOK_EVERY;
    assert_eq!(said(&mut t), [("b", false)]);
    t.accepted(1, "b");
    t.now += OPEN_WITHIN;
    assert!(said(&mut t).is_empty());
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn spare_takes_over_though_the_client_is_silent() {
    let mut t = spared();
    t.ways.gone.push("a");
    assert_eq!(said(&mut t), [("b", false)]);
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn spare_that_is_not_accepted_yet_or_is_broken_takes_nothing_over() {
    let mut t = Fixture::open(1);
    t.ways.course = Some(("a", Some("b")));
    assert_eq!(said(&mut t), [("b", true)]);
    t.ways.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });

    let mut t = spared();
    t.ways.gone.extend(["a", "b"]);
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
}

#[test]
fn spare_that_breaks_is_dropped_and_the_next_one_asked_for() {
    let mut t = spared();
    t.ways.gone.push("b");
    assert!(said(&mut t).is_empty());
    t.ways.course = Some(("a", Some("c")));
    assert_eq!(said(&mut t), [("c", true)]);
    // Asked for already.
    assert!(said(&mut t).is_empty());
    t.accepted(1, "c");
    t.ways.gone.push("a");
    assert_eq!(t.sent_on(1), "c");
}

#[test]
fn spare_follows_the_routes() {
    let mut t = spared();
    t.ways.course = Some(("a", Some("c")));
    assert_eq!(said(&mut t), [("c", true)]);
    // What was the spare says nothing about what is.
    t.accepted(1, "b");
    t.ways.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
}

#[test]
fn refused_spare_is_asked_for_again_later_and_the_flow_stays() {
    let mut t = Fixture::open(1);
    t.ways.course = Some(("a", Some("b")));
    assert_eq!(said(&mut t), [("b", true)]);
    assert_eq!(t.refused(1, "b"), 0);
    t.now += REFUSED_FOR - LOOK_EVERY - Duration::from_nanos(1);
    assert!(said(&mut t).is_empty());
    assert_eq!(said(&mut t), [("b", true)]);
    assert_eq!(t.sent_on(1), "a");
}

#[test]
fn spare_that_became_the_primary_takes_over_without_being_opened_again() {
    let mut t = spared();
    t.ways.leaving.push("a");
    t.ways.course = Some(("b", Some("a")));
    assert_eq!(said(&mut t), [("b", false)]);
    assert_eq!(t.sent_on(1), "b");
}

#[test]
fn flow_returns_from_its_spare_to_the_primary_and_holds_nothing() {
    let mut t = spared();
    t.ways.gone.push("a");
    assert_eq!(said(&mut t), [("b", false)]);
    t.accepted(1, "b");
    t.ways.gone.clear();
    assert_eq!(t.look(), [1]);
    t.opening(1, "a");
    assert_eq!(t.sent_on(1), "b");
    t.accepted(1, "a");
    assert_eq!(t.sent_on(1), "a");
    // And what was in use stands by again.
    assert_eq!(said(&mut t), [("b", true)]);
}

#[test]
fn way_on_which_a_node_cannot_go_on_is_left_at_once_and_for_a_while() {
    let mut t = spared();
    t.unreachable(1, "a");
    assert!(t.table.avoids(t.now, 1, &"a", &t.ways));
    assert_eq!(t.sent_on(1), "b");
    assert_eq!(said(&mut t), [("b", false)]);
    t.accepted(1, "b");
    assert!(t.look().is_empty(), "it does not return at once");
    t.now += AVOIDED_FOR;
    assert_eq!(t.look(), [1]);
}

#[test]
fn unreachable_spare_or_opening_is_given_up() {
    let mut t = spared();
    t.unreachable(1, "b");
    assert!(said(&mut t).is_empty());
    t.ways.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    t.opening(1, "c");
    t.unreachable(1, "c");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    assert!(t.table.avoids(t.now, 1, &"c", &t.ways));
}

#[test]
fn spare_that_lost_the_flow_meanwhile_refuses_it_as_any_way_does() {
    let mut t = spared();
    t.ways.gone.push("a");
    assert_eq!(said(&mut t), [("b", false)]);
    t.refused(1, "b");
    assert_eq!(t.packet(1), Verdict::Drop(FlowDrop::Refused));
}

#[test]
fn spares_of_many_flows_are_asked_for_in_paced_lots() {
    let mut t = Fixture::new();
    t.table.limits.flows = 1_000;
    for client in 1..=200 {
        t.packet(client);
        t.opening(client.into(), "a");
        t.accepted(client.into(), "a");
    }
    t.ways.course = Some(("a", Some("b")));
    assert_eq!(said(&mut t).len(), MOVES_AT_ONCE);
    assert_eq!(t.table.poll_timeout(), Some(t.now + MOVE_PAUSE));
    assert_eq!(said(&mut t).len(), 200 - MOVES_AT_ONCE);
    for flow in 1..=200 {
        t.accepted(flow, "b");
    }
    // All of them change at once; what is said of it is paced.
    t.ways.gone.push("a");
    assert_eq!(said(&mut t).len(), MOVES_AT_ONCE);
    assert!((1..=200).all(|client| t.sent_on(client) == "b"));
}

#[test]
fn many_flows_move_in_paced_lots() {
    let mut t = Fixture::new();
    t.table.limits.flows = 1_000;
    for client in 1..=300 {
        t.packet(client);
        t.opening(client.into(), "a");
        t.accepted(client.into(), "a");
    }
    t.ways.gone.push("a");
    let mut lots = Vec::new();
    let mut after = LOOK_EVERY;
    while lots.iter().sum::<usize>() < 300 {
        let moved = t.due(after).to_open;
        for (flow, _) in &moved {
            t.opening(*flow, "b");
        }
        lots.push(moved.len());
        after = t.table.poll_timeout().unwrap() - t.now;
    }
    assert_eq!(lots, [MOVES_AT_ONCE, MOVES_AT_ONCE, 44]);
    assert_eq!(after, LOOK_EVERY);
}

#[test]
fn bounds_hold_on_flows_and_on_held_packets() {
    let mut t = Fixture::new();
    for client in 0..4 {
        assert!(matches!(t.packet(client), Verdict::Open { .. }));
    }
    assert_eq!(t.packet(4), Verdict::Drop(FlowDrop::TooManyFlows));
    t.opening(1, "a");
    for _ in 1..MAX_HELD {
        assert_eq!(t.packet(0), Verdict::Hold);
    }
    assert_eq!(t.packet(0), Verdict::Drop(FlowDrop::HeldFull));
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_maps_bytes_and_timer_true(
        events in prop::collection::vec((0_u8..13, 0_u16..6, 0_u32..8), 1..200)
    ) {
        let mut t = Fixture::new();
        for (event, client, flow) in events {
            let link = if flow % 2 == 0 { "a" } else { "b" };
            match event {
                0 | 1 => { t.packet(client); }
                2 => t.opening(flow, link),
                3 => { t.accepted(flow, link); }
                4 => { t.refused(flow, link); }
                5 => t.closed(flow, link),
                6 => t.ways.gone.push(link),
                7 => t.ways.leaving.push(link),
                8 => { t.ways.gone.clear(); t.ways.leaving.clear(); }
                10 => t.unreachable(flow, link),
                11 => {
                    let other = if link == "a" { "b" } else { "a" };
                    t.ways.course = (client > 0).then_some((link, Some(other)));
                }
                9 => { t.due(Duration::from_millis(u64::from(client) * 100)); }
                _ => { t.due(Duration::from_secs(u64::from(client) * 10)); }
            }
            let held: usize = t.table.flows.values().map(|flow| match &flow.phase {
                Phase::Opening { held, .. } => held.iter().map(Bytes::len).sum(),
                Phase::Open { .. } | Phase::Refused { .. } => 0,
            }).sum();
            // No flow stands by where it is.
            for flow in t.table.flows.values() {
                if let Phase::Open { way, spare: Some(spare), .. } = &flow.phase {
                    prop_assert_ne!(spare.way(), Some(way));
                }
            }
            prop_assert_eq!(t.table.held_bytes, held);
            prop_assert_eq!(t.table.by_client.len(), t.table.flows.len());
            prop_assert!(t.table.flows.len() <= LIMITS.flows);
            // The timer may be early, never late.
            let first_end = t.table.flows.values().map(|flow| flow.ends_at(LIMITS.idle)).min();
            if let Some(end) = first_end {
                prop_assert!(t.table.next_end.is_some_and(|at| at <= end));
                prop_assert!(t.table.next_look.is_some());
            }
        }
    }
}

#[test]
fn flow_on_a_way_that_was_left_and_is_taken_up_again_stays_and_has_a_spare() {
    let mut t = Fixture::open(1);
    // The router left `a` for a moment, and uses it again: another handle, and the old one says so
    // no more.
    t.ways.leaving = vec!["a"];
    t.ways.course = Some(("a'", Some("b")));
    let due = t.due(LOOK_EVERY);
    assert_eq!(due.to_open, []);
    let spare = |way| Say {
        flow: 1,
        client: address(1),
        way,
        spare: true,
    };
    assert_eq!(due.to_say, [spare("b")]);
    assert!(t.accepted(1, "b").is_empty());
    assert_eq!(t.sent_on(1), "a'");
    // The same befalls the spare, and then the way in use breaks.
    t.ways.gone = vec!["b", "a'"];
    t.ways.course = Some(("a'", Some("b'")));
    assert_eq!(t.sent_on(1), "b'");
}
