use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::window::Arrivals;

fn report(highest: u64, received: u64) -> ArrivalReport {
    ArrivalReport {
        highest,
        covered: 0,
        received,
        reordered: 0,
        jitter: Duration::ZERO,
        variation: None,
    }
}

fn loss(delivered: u64, lost: u64) -> Option<Loss> {
    Some(Loss { delivered, lost })
}

#[test]
fn each_report_tells_what_became_of_packets_since_the_last_and_a_lost_one_costs_nothing() {
    let mut ledger = Ledger::new(0);
    assert_eq!(ledger.handle_report(&report(9, 8), 100), loss(8, 2));
    // Of 10 to 29, in two reports of which the first was lost.
    assert_eq!(ledger.handle_report(&report(29, 25), 100), loss(17, 3));
    assert_eq!(ledger.handle_report(&report(29, 25), 100), loss(0, 0));
}

#[test]
fn a_report_that_was_overtaken_changes_nothing() {
    let mut ledger = Ledger::new(0);
    ledger.handle_report(&report(29, 25), 100);
    assert_eq!(ledger.handle_report(&report(9, 8), 100), loss(0, 0));
    assert_eq!(ledger.handle_report(&report(39, 35), 100), loss(10, 0));
    // One that was sent while five were missing that came since.
    let mut ledger = Ledger::new(0);
    ledger.handle_report(&report(29, 29), 100);
    assert_eq!(ledger.handle_report(&report(9, 5), 100), loss(0, 0));
    assert_eq!(ledger.handle_report(&report(39, 38), 100), loss(9, 1));
}

#[test]
fn a_packet_that_comes_after_all_makes_up_for_its_loss() {
    let mut ledger = Ledger::new(0);
    assert_eq!(ledger.handle_report(&report(9, 8), 100), loss(8, 2));
    // Both came late, and one of 10 to 19 is missing.
    assert_eq!(ledger.handle_report(&report(19, 19), 100), loss(11, 0));
    assert_eq!(ledger.handle_report(&report(29, 27), 100), loss(8, 1));
}

#[test]
fn a_report_that_cannot_be_true_is_refused_and_changes_nothing() {
    let mut ledger = Ledger::new(10);
    let good = ArrivalReport {
        covered: 15,
        ..report(19, 8)
    };
    let lies = [
        (
            "not sent",
            ArrivalReport {
                highest: 20,
                ..good
            },
        ),
        (
            "overflows",
            ArrivalReport {
                highest: u64::MAX,
                ..good
            },
        ),
        ("before the first", ArrivalReport { highest: 9, ..good }),
        (
            "more than sent",
            ArrivalReport {
                received: 11,
                ..good
            },
        ),
        (
            "more reordered",
            ArrivalReport {
                reordered: 9,
                ..good
            },
        ),
        (
            "covers unsent",
            ArrivalReport {
                covered: 21,
                ..good
            },
        ),
        ("covers nothing", ArrivalReport { covered: 9, ..good }),
    ];
    for (name, lie) in lies {
        assert_eq!(ledger.handle_report(&lie, 20), None, "{name}");
        assert_eq!(ledger.covered(), 10);
    }
    assert_eq!(ledger.handle_report(&good, 20), loss(8, 2));
    assert_eq!(ledger.covered(), 15);
}

proptest! {
    /// Packets and reports lost, reordered and doubled: what was counted as delivered is what
    /// came up to the last report, nothing is counted twice, and no report is refused.
    #[test]
    fn delivered_and_lost_add_up_whatever_becomes_of_packets_and_reports(
        steps in proptest::collection::vec((0_u64..8, 0_u8..8), 1..400),
    ) {
        #[expect(clippy::disallowed_methods, reason = "tests need some instant to start from")]
        let now = Instant::now();
        let mut arrivals = Arrivals::new(0, now);
        let mut ledger = Ledger::new(0);
        let (mut next, mut sum, mut last) = (0, Loss::default(), None);
        let mut reports = Vec::new();
        for (pick, action) in steps {
            match action {
                0..=4 => {
                    if pick > 0 {
                        arrivals.handle_packet(now, next, Duration::ZERO);
                    }
                    next += 1;
                }
                // A late one, or a duplicate.
                5 => arrivals.handle_packet(now, next.saturating_sub(pick + 1), Duration::ZERO),
                6 => reports.extend(arrivals.take_report()),
                _ => {
                    let Some(report) = reports.get(pick as usize % reports.len().max(1)) else {
                        continue;
                    };
                    let next = next.max(report.highest + 1);
                    let part = ledger.handle_report(report, next).unwrap();
                    sum.delivered += part.delivered;
                    sum.lost += part.lost;
                    last = last.max(Some((report.received, report.highest)));
                }
            }
        }
        let (received, highest) = last.unwrap_or_default();
        prop_assert_eq!(sum.delivered, received);
        prop_assert!(last.is_none() || sum.packets() > highest);
        prop_assert!(ledger.covered() <= highest + 1);
    }
}
