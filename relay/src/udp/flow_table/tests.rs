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
    gone: Vec<Link>,
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
            gone: Vec::new(),
        }
    }

    fn packet(&mut self, client: u16) -> Verdict<Link> {
        let (gone, next) = (&self.gone, &mut self.next_flow);
        self.table.handle_packet(
            self.now,
            SocketAddr::from(([127, 0, 0, 1], client)),
            b"payload",
            |link| !gone.contains(link),
            || {
                *next += 1;
                *next
            },
        )
    }

    fn accepted(&mut self, flow: u32, link: Link) -> Vec<u64> {
        let sent = self.table.handle_accepted(flow, &link, |a, b| a == b);
        sent.into_iter().map(|(sequence, _)| sequence).collect()
    }

    fn timeout(&mut self, after: Duration) -> Vec<u32> {
        self.now += after;
        let ended = self.table.handle_timeout(self.now, |_| None);
        ended.into_iter().map(|ended| ended.flow).collect()
    }

    fn open(client: u16) -> Self {
        let mut t = Self::new();
        assert_eq!(t.packet(client), Verdict::Open { flow: 1 });
        t.table.handle_opening(1, "a");
        assert_eq!(t.accepted(1, "a"), [0]);
        t
    }
}

#[test]
fn first_packets_are_held_for_the_opening_and_keep_their_order() {
    let mut t = Fixture::new();
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    t.table.handle_opening(1, "a");
    assert_eq!(t.packet(1), Verdict::Hold);
    assert_eq!(t.accepted(1, "a"), [0, 1]);
    assert_eq!(
        t.packet(1),
        Verdict::Send {
            flow: 1,
            sequence: 2,
            link: "a"
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
    t.gone.push("a");
    assert_eq!(t.packet(1), Verdict::Open { flow: 1 });
    t.table.handle_opening(1, "b");
    // A late answer of the link that was left must not send on the new one before it is open.
    assert!(t.accepted(1, "a").is_empty());
    assert_eq!(t.accepted(1, "b"), [1]);
    assert_eq!(
        t.packet(1),
        Verdict::Send {
            flow: 1,
            sequence: 2,
            link: "b"
        }
    );
}

#[test]
fn refused_flow_drops_for_a_while_and_then_tries_again() {
    let mut t = Fixture::new();
    t.packet(1);
    t.table.handle_opening(1, "a");
    assert_eq!(t.table.handle_refused(t.now, 1), 1);
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
    assert!(t.table.flows.is_empty());
}

#[test]
fn replies_keep_a_flow_alive_as_packets_do() {
    let mut t = Fixture::open(1);
    t.now += LIMITS.idle;
    let reply = t.now - Duration::from_secs(1);
    assert!(t.table.handle_timeout(t.now, |_| Some(reply)).is_empty());
}

#[test]
fn flow_that_is_never_accepted_gives_up_with_what_it_held() {
    let mut t = Fixture::new();
    t.packet(1);
    t.table.handle_opening(1, "a");
    t.now += OPEN_WITHIN;
    let ended = t.table.handle_timeout(t.now, |_| None);
    assert_eq!(
        ended,
        [Ended {
            flow: 1,
            link: Some("a"),
            dropped: 1
        }]
    );
    assert_eq!(t.table.held_bytes, 0);
}

#[test]
fn bounds_hold_on_flows_and_on_held_packets() {
    let mut t = Fixture::new();
    for client in 0..4 {
        assert!(matches!(t.packet(client), Verdict::Open { .. }));
    }
    assert_eq!(t.packet(4), Verdict::Drop(FlowDrop::TooManyFlows));
    t.table.handle_opening(1, "a");
    for _ in 1..MAX_HELD {
        assert_eq!(t.packet(0), Verdict::Hold);
    }
    assert_eq!(t.packet(0), Verdict::Drop(FlowDrop::HeldFull));
}

proptest! {
    #[test]
    fn any_order_of_events_keeps_both_maps_and_the_byte_count_true(
        events in prop::collection::vec((0_u8..6, 0_u16..6, 0_u32..8), 1..200)
    ) {
        let mut t = Fixture::new();
        for (event, client, flow) in events {
            let link = if flow % 2 == 0 { "a" } else { "b" };
            match event {
                0 | 1 => { t.packet(client); }
                2 => t.table.handle_opening(flow, link),
                3 => { t.accepted(flow, link); }
                4 => { t.table.handle_refused(t.now, flow); }
                _ => { t.timeout(Duration::from_secs(u64::from(client) * 10)); }
            }
            let held: usize = t.table.flows.values().map(|flow| match &flow.phase {
                Phase::Opening { held, .. } => held.iter().map(Bytes::len).sum(),
                Phase::Open { .. } | Phase::Refused { .. } => 0,
            }).sum();
            prop_assert_eq!(t.table.held_bytes, held);
            prop_assert_eq!(t.table.by_client.len(), t.table.flows.len());
            prop_assert!(t.table.flows.len() <= LIMITS.flows);
        }
    }
}
