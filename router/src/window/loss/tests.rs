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

fn loss(delivered: u64, lost: u64) -> Loss {
    Loss { delivered, lost }
}

const STRETCH: Stretch = Stretch {
    least: Duration::from_secs(2),
    packets: 150,
    most: Duration::from_secs(30),
};

/// A window fed ten times a second for 40 s, at a whole number of packets a tenth.
fn steady(per_tenth: u64) -> (LossWindow, Instant) {
    let start = origin();
    let mut window = LossWindow::new(start);
    for tenth in 0..400 {
        window.handle_loss(start + ms(100 * tenth), loss(per_tenth, 0));
    }
    (window, start + ms(39_999))
}

#[test]
fn a_busy_link_is_judged_by_its_last_two_seconds() {
    let (mut window, now) = steady(10_000);
    let packets = window.trailing(now, STRETCH).packets();
    assert!((200_000..=230_000).contains(&packets), "{packets}");
}

#[test]
fn a_quiet_link_is_judged_by_its_last_150_packets() {
    let (mut window, now) = steady(1);
    let packets = window.trailing(now, STRETCH).packets();
    assert!((150..=153).contains(&packets), "{packets}");
}

#[test]
fn however_few_there_are_no_packet_older_than_the_window_counts() {
    let start = origin();
    let mut window = LossWindow::new(start);
    window.handle_loss(start, loss(0, 1));
    window.handle_loss(start + ms(20_000), loss(1, 0));
    assert_eq!(window.trailing(start + ms(30_000), STRETCH), loss(1, 1));
    assert_eq!(window.trailing(start + ms(30_250), STRETCH), loss(1, 0));
    let most = Stretch {
        most: ms(8_000),
        ..STRETCH
    };
    assert_eq!(window.trailing(start + ms(30_250), most), loss(0, 0));
    assert_eq!(window.trailing(start + ms(300_000), STRETCH), loss(0, 0));
}

#[test]
fn of_fewer_packets_than_are_believed_the_missing_ones_count_as_delivered() {
    assert!(!loss(0, 11).reaches(80, 150));
    assert!(loss(0, 12).reaches(80, 150));
    assert!(loss(138, 12).reaches(80, 150));
    assert!(!loss(139, 12).reaches(80, 150));
    assert!(!loss(0, 0).reaches(0, 0));
}

#[test]
fn exactly_the_limit_does_not_exceed_it() {
    assert!(!loss(97, 3).exceeds(30));
    assert!(loss(96, 3).exceeds(30));
    assert!(loss(0, 1).exceeds(30));
    assert!(!loss(0, 0).exceeds(30));
}

#[test]
fn counts_beyond_a_slot_saturate() {
    let start = origin();
    let mut window = LossWindow::new(start);
    window.handle_loss(start, loss(u64::MAX, u64::MAX));
    window.handle_loss(start, loss(1, 1));
    let most = u64::from(u32::MAX);
    assert_eq!(window.trailing(start, STRETCH), loss(most, most));
    assert!(size_of::<LossWindow>() <= 1_024);
}

proptest! {
    /// A stretch is never shorter than asked for while there is more, holds enough if the longest
    /// does, and is the sum of what came in it.
    #[test]
    fn a_stretch_is_the_shortest_that_has_time_and_packets(
        counts in proptest::collection::vec((0_u64..1_500, 0_u64..40, 0_u64..10), 1..120),
        least in 0_u64..5_000,
        packets in 0_u64..400,
        more in 0_u64..25_000,
    ) {
        let start = origin();
        let mut window = LossWindow::new(start);
        let mut all = Vec::new();
        let mut at = 0;
        for (gap, delivered, lost) in counts {
            at += gap;
            all.push((at / 250, loss(delivered, lost)));
            window.handle_loss(start + ms(at), loss(delivered, lost));
        }
        let stretch = Stretch { least: ms(least), packets, most: ms(least + more) };
        // The oracle: one slot more at a time.
        let since = |back: u64| {
            let of = all.iter().filter(|(slot, _)| slot + back >= at / 250);
            of.fold(loss(0, 0), |sum, (_, loss)| Loss {
                delivered: sum.delivered + loss.delivered,
                lost: sum.lost + loss.lost,
            })
        };
        let mut back = least.div_ceil(250);
        let longest = (least + more).div_ceil(250).min(120);
        while since(back).packets() < packets && back < longest {
            back += 1;
        }
        prop_assert_eq!(window.trailing(start + ms(at), stretch), since(back));
    }
}
