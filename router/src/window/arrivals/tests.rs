use super::*;
use crate::random::SplitMix64;

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

/// Packets every 20 ms whose delays, in milliseconds, are given, from number 0 on.
fn arrivals(delays: &[u64]) -> Arrivals {
    let start = origin();
    let mut arrivals = Arrivals::new(0, start);
    for (nth, delay) in (0..).zip(delays) {
        let sent = ms(20 * nth);
        arrivals.handle_packet(start + sent + ms(*delay), nth, sent);
    }
    arrivals
}

#[test]
fn a_report_is_due_only_when_a_packet_came_and_its_counts_go_on() {
    let start = origin();
    let mut arrivals = Arrivals::new(5, start);
    assert_eq!(arrivals.take_report(), None);
    arrivals.handle_packet(start, 5, ms(0));
    arrivals.handle_packet(start, 8, ms(0));
    arrivals.handle_packet(start, 7, ms(0));
    let report = arrivals.take_report().unwrap();
    assert_eq!((report.highest, report.covered), (8, 6));
    assert_eq!((report.received, report.reordered), (3, 1));
    assert_eq!(arrivals.take_report(), None);
    arrivals.handle_packet(start, 6, ms(0));
    let report = arrivals.take_report().unwrap();
    assert_eq!((report.highest, report.covered), (8, 9));
    assert_eq!((report.received, report.reordered), (4, 2));
}

#[test]
fn duplicates_and_what_comes_too_late_are_counted_apart_and_are_no_news() {
    let start = origin();
    let mut arrivals = Arrivals::new(0, start);
    arrivals.handle_packet(start, 0, ms(0));
    arrivals.handle_packet(start, 5_000, ms(0));
    arrivals.take_report();
    arrivals.handle_packet(start, 5_000, ms(0));
    arrivals.handle_packet(start, 1, ms(0));
    assert_eq!((arrivals.duplicates(), arrivals.too_old()), (1, 1));
    assert_eq!(arrivals.take_report(), None);
}

#[test]
fn jitter_is_that_of_rfc_3550() {
    assert_eq!(arrivals(&[80; 50]).jitter(), ms(0));
    // J after one spacing of 16 ms is 1 ms, after another 1 + (16 - 1) / 16.
    assert_eq!(arrivals(&[80, 96]).jitter(), ms(1));
    let twice = arrivals(&[80, 96, 80]).jitter();
    assert!(twice.abs_diff(Duration::from_nanos(1_937_500)) < Duration::from_nanos(2));
    // Spacing that alternates by 10 ms goes to just that.
    let delays: Vec<u64> = (0..400).map(|nth| 80 + nth % 2 * 10).collect();
    assert!(arrivals(&delays).jitter().abs_diff(ms(10)) < Duration::from_micros(1));
}

#[test]
fn up_to_a_second_of_spacing_is_jitter_and_a_stepped_clock_is_none() {
    assert!(arrivals(&[0, 1_000]).jitter() > ms(60));
    assert_eq!(arrivals(&[0, 1_001]).jitter(), ms(0));
}

#[test]
fn variation_is_of_the_packets_since_the_last_report() {
    let start = origin();
    let mut arrivals = Arrivals::new(0, start);
    let send = |arrivals: &mut Arrivals, nth: u64, delay| {
        let sent = ms(20 * nth);
        arrivals.handle_packet(start + sent + ms(delay), nth, sent);
    };
    for (nth, delay) in [(0, 80), (1, 130), (2, 95)] {
        send(&mut arrivals, nth, delay);
    }
    let variation = arrivals.take_report().unwrap().variation;
    assert_eq!(variation, Some((ms(0), ms(50))));
    send(&mut arrivals, 3, 95);
    send(&mut arrivals, 4, 110);
    let variation = arrivals.take_report().unwrap().variation;
    assert_eq!(variation, Some((ms(15), ms(30))));
    send(&mut arrivals, 5, 5_000);
    let report = arrivals.take_report().unwrap();
    assert_eq!((report.received, report.variation), (6, None));
}

#[test]
fn the_same_way_is_measured_the_same_at_5_and_at_100_000_packets_a_second() {
    for (packets, gap) in [(500, ms(200)), (200_000, Duration::from_micros(10))] {
        let start = origin();
        let mut arrivals = Arrivals::new(0, start);
        let mut random = SplitMix64(7);
        for nth in 0..packets {
            // A twentieth is lost; jitter of 4 us keeps them in order.
            let jitter = Duration::from_nanos(random.below(4_000));
            let sent = gap * nth;
            if random.below(20) > 0 {
                let now = start + sent + ms(80) + jitter;
                arrivals.handle_packet(now, u64::from(nth), sent);
            }
        }
        let report = arrivals.take_report().unwrap();
        let lost = u64::from(packets) - report.received;
        let per_mille = lost * 1_000 / u64::from(packets);
        assert!((35..=65).contains(&per_mille), "{per_mille}");
        assert_eq!(report.reordered, 0);
        // The mean distance of two of them, and the least and most of all.
        assert!(report.jitter.as_nanos().abs_diff(1_333) < 700, "{report:?}");
        let (least, most) = report.variation.unwrap();
        assert_eq!(least, ms(0));
        assert!(most.as_nanos().abs_diff(4_000) < 200, "{most:?}");
    }
    assert!(size_of::<Arrivals>() <= 1_200, "{}", size_of::<Arrivals>());
}
