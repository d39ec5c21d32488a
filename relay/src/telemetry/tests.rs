use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reason {
    NoPath,
    Stale,
}

impl Label for Reason {
    const ALL: &'static [Self] = &[Self::NoPath, Self::Stale];

    fn word(self) -> &'static str {
        match self {
            Self::NoPath => "no_path",
            Self::Stale => "stale",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[test]
fn renders_names_units_types_and_all_words_of_a_list_from_the_start() {
    let metrics = Metrics::new();
    let sent = metrics.counter("relay.packet.sent", "{packet}", "Packets sent.");
    let dropped =
        metrics.counter_by::<Reason>("relay.packet.dropped", "{packet}", "reason", "Drops.");
    let links = metrics.gauge("relay.links", "{link}", "Links that are up.");
    metrics.gauges("relay.link.rtt", "s", "Round-trip time.", |series| {
        series.report(0.0125, &[("peer", "us-east/iad-1")]);
    });
    metrics.counters("relay.link.sent", "By", "Bytes sent.", |series| {
        series.report(7, &[("peer", "odd \"name\"\\")]);
    });
    sent.add(3);
    dropped.incr(Reason::Stale);
    links.add(2);
    links.add(-1);
    let text = "\
# HELP relay_link_rtt_seconds Round-trip time.
# TYPE relay_link_rtt_seconds gauge
relay_link_rtt_seconds{peer=\"us-east/iad-1\"} 0.0125
# HELP relay_link_sent_bytes_total Bytes sent.
# TYPE relay_link_sent_bytes_total counter
relay_link_sent_bytes_total{peer=\"odd \\\"name\\\"\\\\\"} 7
# HELP relay_links Links that are up.
# TYPE relay_links gauge
relay_links 1
# HELP relay_packet_dropped_total Drops.
# TYPE relay_packet_dropped_total counter
relay_packet_dropped_total{reason=\"no_path\"} 0
relay_packet_dropped_total{reason=\"stale\"} 1
# HELP relay_packet_sent_total Packets sent.
# TYPE relay_packet_sent_total counter
relay_packet_sent_total 3
";
    assert_eq!(metrics.render(), text);
    // Reading does not reset.
    assert_eq!(metrics.render(), text);
}

#[test]
fn members_that_are_gone_are_no_longer_exported() {
    let metrics = Metrics::new();
    let peers = Arc::new(Mutex::new(vec!["a", "b"]));
    let listed = peers.clone();
    metrics.gauges("relay.link.rtt", "s", "Round-trip time.", move |series| {
        for peer in listed.lock().iter() {
            series.report(1.0, &[("peer", peer)]);
        }
    });
    let listed = peers.clone();
    metrics.counters("relay.link.sent", "By", "Bytes sent.", move |series| {
        for peer in listed.lock().iter() {
            series.report(1, &[("peer", peer)]);
        }
    });
    assert_eq!(metrics.render().matches("peer=\"a\"").count(), 2);
    peers.lock().remove(0);
    let text = metrics.render();
    assert_eq!(text.matches("peer=\"a\"").count(), 0, "{text}");
    assert_eq!(text.matches("peer=\"b\"").count(), 2, "{text}");
}

#[test]
fn members_are_all_exported_up_to_the_limit_and_one_stands_for_the_rest() {
    let metrics = Metrics::new();
    let members = Arc::new(AtomicU64::new(MAX_MEMBERS as u64));
    let listed = members.clone();
    metrics.gauges("relay.link.rtt", "s", "Round-trip time.", move |series| {
        for peer in 0..listed.load(Ordering::Relaxed) {
            series.report(1.0, &[("peer", &peer.to_string())]);
        }
    });
    let text = metrics.render();
    assert_eq!(text.matches("peer=").count(), MAX_MEMBERS);
    assert!(!text.contains("overflow"));
    members.fetch_add(1, Ordering::Relaxed);
    assert!(metrics.render().contains("otel_metric_overflow=\"true\""));
}

#[test]
#[should_panic(expected = "relay.links is registered twice")]
fn a_name_is_registered_once() {
    let metrics = Metrics::new();
    metrics.gauge("relay.links", "{link}", "Links.");
    metrics.counter("relay.links", "{link}", "Links.");
}

#[test]
fn nodes_of_one_process_do_not_share_instruments() {
    let (one, other) = (Metrics::new(), Metrics::new());
    one.counter("relay.packet.sent", "{packet}", "Sent.").incr();
    let sent = other.counter("relay.packet.sent", "{packet}", "Sent.");
    assert_eq!(sent.value(), 0);
    assert!(other.render().contains("relay_packet_sent_total 0"));
}

#[test]
#[should_panic(expected = "index of \"first\"")]
fn a_list_whose_indices_are_out_of_order_is_refused() {
    #[derive(Clone, Copy)]
    enum Odd {
        First,
        Second,
    }
    impl Label for Odd {
        const ALL: &'static [Self] = &[Self::First, Self::Second];

        fn word(self) -> &'static str {
            match self {
                Self::First => "first",
                Self::Second => "second",
            }
        }

        fn index(self) -> usize {
            1
        }
    }
    CounterBy::<Odd>::new();
}
