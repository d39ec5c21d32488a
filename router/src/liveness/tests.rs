mod bounds;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::bounds::{Cut, cut_link};
use super::*;

const LOOPS: [Loop; 2] = [Loop::Packet, Loop::Request];

/// Answers a probe after this time, or never. Asked with the time since the start.
type Peer = Box<dyn FnMut(Duration, Loop) -> Option<Duration>>;

/// Owns the machine, the clock and a peer, and keeps the timers exactly.
struct Bench {
    live: Liveness,
    start: Instant,
    now: Instant,
    peer: Peer,
    replies: BTreeMap<(Instant, u64), Loop>,
    probes: Vec<(Duration, Loop)>,
    changes: Vec<(Duration, Health, Reason)>,
    silent: Vec<Duration>,
    last_reply: Duration,
    probed: Vec<(Duration, Loop, Loss)>,
    round_trips: Vec<(Loop, Duration)>,
}

impl Bench {
    fn new(
        config: LivenessConfig,
        seed: u64,
        peer: impl FnMut(Duration, Loop) -> Option<Duration> + 'static,
    ) -> Self {
        let start = origin();
        Self {
            live: Liveness::new(config, seed, None, start),
            start,
            now: start,
            peer: Box::new(peer),
            replies: BTreeMap::new(),
            probes: Vec::new(),
            changes: Vec::new(),
            silent: Vec::new(),
            last_reply: Duration::ZERO,
            probed: Vec::new(),
            round_trips: Vec::new(),
        }
    }

    fn since(&self) -> Duration {
        self.now - self.start
    }

    fn run_until(&mut self, until: Duration) {
        let until = self.start + until;
        loop {
            let timer = self.live.poll_timeout().unwrap();
            let reply = self.replies.first_key_value().map(|(key, _)| key.0);
            let next = reply.map_or(timer, |reply| reply.min(timer));
            if next > until {
                break;
            }
            self.now = next;
            if reply == Some(next) {
                let ((_, id), r#loop) = self.replies.pop_first().unwrap();
                self.last_reply = self.since();
                self.live.handle_reply(next, r#loop, id);
            } else {
                self.live.handle_timeout(next);
            }
            self.drain();
        }
        self.now = until;
    }

    /// The process stands still: neither timers nor replies are handled.
    fn stall(&mut self, time: Duration) {
        self.now += time;
    }

    fn drain(&mut self) {
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::SendProbe { r#loop, id } => {
                    self.probes.push((self.since(), r#loop));
                    if let Some(delay) = (self.peer)(self.now - self.start, r#loop) {
                        self.replies.insert((self.now + delay, id), r#loop);
                    }
                }
                Output::StateChanged { from, to, reason } => {
                    assert_ne!(from, to);
                    self.changes.push((self.since(), to, reason));
                }
                Output::Silent => self.silent.push(self.since()),
                Output::Probed(r#loop, loss) => {
                    self.probed.push((self.since(), r#loop, loss));
                }
                Output::RoundTrip(r#loop, round_trip) => {
                    self.round_trips.push((r#loop, round_trip));
                }
            }
        }
    }

    /// What was said of probes from `from` on.
    fn probed(&self, from: Duration) -> Loss {
        let of = self.probed.iter().filter(|said| said.0 >= from);
        of.fold(Loss::default(), |sum, said| Loss {
            delivered: sum.delivered + said.2.delivered,
            lost: sum.lost + said.2.lost,
        })
    }

    /// When the state became `health`, or worse, for the first time after `from`.
    fn first(&self, health: Health, from: Duration) -> Option<Duration> {
        let mut changes = self.changes.iter();
        let change = changes.find(|change| change.0 >= from && change.1 >= health);
        change.map(|change| change.0)
    }
}

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

const WARM: Duration = Duration::from_secs(16);

#[test]
fn a_link_that_answers_stays_up_and_both_loops_are_probed_in_turn() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |_, _| Some(ms(70)));
    bench.run_until(ms(60_000));
    assert_eq!(bench.changes, []);
    assert_eq!(bench.live.state(), Health::Up);
    assert_eq!(bench.live.srtt().as_millis(), 70);
    assert!(bench.live.rttvar() < ms(1));
    for pair in bench.probes.windows(2) {
        assert_ne!(pair[0].1, pair[1].1);
        let gap = pair[1].0 - pair[0].0;
        assert!(gap >= ms(160) && gap <= ms(200), "{gap:?}");
    }
}

#[test]
fn one_lost_probe_is_a_suspicion_that_its_confirming_probes_clear() {
    for lost in LOOPS {
        let mut missing = true;
        let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
            let lose = missing && sent > WARM && r#loop == lost;
            missing &= !lose;
            (!lose).then_some(ms(70))
        });
        bench.run_until(WARM * 2);
        let seen: Vec<_> = bench
            .changes
            .iter()
            .map(|change| (change.1, change.2))
            .collect();
        assert_eq!(
            seen,
            [
                (Health::Suspect, Reason::Late(lost)),
                (Health::Up, Reason::Answered(lost))
            ]
        );
        assert!(bench.changes[1].0 - bench.changes[0].0 <= ms(90));
        assert_eq!(bench.live.misses(lost), 0);
    }
}

#[test]
fn while_the_request_loop_is_held_up_the_packet_loop_is_probed_beside_it() {
    // One loss on the control stream: for half a second, replies come when it is repaired.
    let repaired = WARM + ms(500);
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        let held_up = r#loop == Loop::Request && sent > WARM && sent < repaired;
        Some(if held_up { repaired - sent } else { ms(70) })
    });
    bench.run_until(WARM * 2);
    let of = |health| bench.first(health, WARM).unwrap();
    let (late, confirmed) = (of(Health::Suspect), of(Health::Confirmed));
    let answered = bench.changes.last().unwrap();
    assert_eq!(
        (answered.1, answered.2),
        (Health::Up, Reason::Answered(Loop::Request))
    );
    let sent = |r#loop, from, until| {
        let probes = bench
            .probes
            .iter()
            .filter(move |probe| probe.1 == r#loop && probe.0 >= from && probe.0 < until);
        probes.map(|probe| probe.0).collect::<Vec<_>>()
    };
    let (packet, request) = (
        sent(Loop::Packet, late, answered.0),
        sent(Loop::Request, late, answered.0),
    );
    assert!(request.len() >= 3, "{request:?}");
    assert!(
        request.iter().all(|at| packet.contains(at)),
        "{request:?}, {packet:?}"
    );
    // Two at the least were answered by the time that the request loop is taken to be silent.
    assert!(sent(Loop::Packet, late, confirmed - ms(70)).len() >= 2);
    assert_eq!(bench.live.misses(Loop::Packet), 0);
    // And none goes out beside the other loop's once that is over.
    for pair in bench
        .probes
        .iter()
        .filter(|probe| probe.0 > answered.0)
        .collect::<Vec<_>>()
        .windows(2)
    {
        assert_ne!(pair[0].1, pair[1].1);
    }
}

#[test]
fn a_reply_to_a_later_probe_forgives_the_lost_ones_before_it() {
    // The probe and the first of the two that confirm.
    let mut lost = 2;
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        let lose = sent > WARM && r#loop == Loop::Packet && lost > 0;
        lost -= i32::from(lose);
        (!lose).then_some(ms(70))
    });
    bench.run_until(WARM * 2);
    let seen: Vec<_> = bench.changes.iter().map(|change| change.1).collect();
    assert_eq!(seen, [Health::Suspect, Health::Up]);
}

#[test]
fn two_confirming_probes_go_out_20_ms_apart_and_confirm_when_the_second_is_late() {
    let bench = cut_link(
        LivenessConfig::default(),
        7,
        ms(70),
        Cut::BothWaysHere,
        WARM,
    );
    let suspect = bench.first(Health::Suspect, ms(0)).unwrap();
    let Reason::Late(r#loop) = bench.changes[0].2 else {
        panic!("{:?}", bench.changes);
    };
    let of_loop: Vec<_> = bench
        .probes
        .iter()
        .filter(|probe| probe.1 == r#loop && probe.0 >= suspect)
        .map(|probe| probe.0)
        .collect();
    assert!(
        of_loop.starts_with(&[suspect, suspect + ms(20)]),
        "{of_loop:?}"
    );
    let confirmed = bench.first(Health::Confirmed, ms(0)).unwrap();
    assert!(confirmed >= suspect + ms(20 + 70 + 100 + 1));
    assert_eq!(bench.changes[1].2, Reason::ConfirmLate(r#loop));
}

#[test]
fn two_misses_never_take_a_silent_link_down_and_the_third_does() {
    // So long a round trip that the first miss finds the loop silent for long enough already.
    let mut bench = Bench::new(LivenessConfig::default(), 7, |sent, _| {
        (sent < WARM).then_some(ms(690))
    });
    bench.run_until(WARM + ms(690));
    while bench.live.state() != Health::Down {
        let misses = LOOPS.map(|r#loop| bench.live.misses(r#loop));
        assert!(misses.iter().all(|misses| *misses < 3), "{misses:?}");
        let due = bench.live.poll_timeout().unwrap() - bench.start;
        bench.run_until(due);
    }
    let misses = LOOPS.map(|r#loop| bench.live.misses(r#loop));
    assert_eq!(misses.iter().max(), Some(&3));
}

#[test]
fn replies_in_one_loop_do_not_end_a_down_of_the_other() {
    let back = WARM + ms(8_000);
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        (sent < WARM || (r#loop == Loop::Packet && sent > back)).then_some(ms(70))
    });
    bench.run_until(WARM + ms(60_000));
    assert_eq!(bench.live.state(), Health::Down);
}

#[test]
fn down_ends_with_the_third_timely_reply_in_a_row_in_each_loop() {
    let back = WARM + ms(3_000);
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, _| {
        (sent < WARM || sent > back).then_some(ms(70))
    });
    bench.run_until(WARM + ms(10_000));
    let up = bench.changes.last().unwrap();
    assert_eq!((up.1, up.2), (Health::Up, Reason::Recovered));
    let answered = |r#loop| {
        let probes = bench.probes.iter();
        probes
            .filter(|probe| probe.1 == r#loop && probe.0 > back && probe.0 + ms(70) <= up.0)
            .count()
    };
    let counts = LOOPS.map(answered);
    assert_eq!(*counts.iter().min().unwrap(), 3, "{counts:?}");
    assert!(up.0 <= back + ms(6 * 200 + 70), "{:?}", up.0 - back);
    assert_eq!(bench.silent, []);
}

#[test]
fn a_link_that_loses_every_third_reply_of_a_loop_does_not_leave_down() {
    let mut nth = 0;
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        nth += u32::from(r#loop == Loop::Packet);
        let lost = r#loop == Loop::Packet && nth % 3 == 0;
        let out = sent > WARM && sent < WARM + ms(2_000);
        (!out && (sent < WARM || !lost)).then_some(ms(70))
    });
    bench.run_until(WARM + ms(60_000));
    assert_eq!(bench.live.state(), Health::Down);
}

#[test]
fn silent_is_said_once_five_seconds_after_the_last_reply() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |sent, _| {
        (sent < WARM).then_some(ms(70))
    });
    bench.run_until(WARM + ms(120_000));
    assert_eq!(bench.silent, [bench.last_reply + ms(5_000)]);
    let remembered = LOOPS.map(|r#loop| bench.live.track(r#loop).remembered());
    assert_eq!(remembered, [64, 64], "and forgets all but the last probes");
}

#[test]
fn a_peer_that_answers_in_one_loop_is_down_but_never_silent() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |sent, r#loop| {
        (sent < WARM || r#loop == Loop::Packet).then_some(ms(70))
    });
    bench.run_until(WARM + ms(60_000));
    assert_eq!(bench.live.state(), Health::Down);
    assert_eq!(bench.silent, []);
}

#[test]
fn ones_own_stall_beyond_half_an_interval_is_no_miss_and_up_to_it_is_judged() {
    for config in [LivenessConfig::default(), LivenessConfig::fast()] {
        for (over, voided) in [(Duration::ZERO, 0), (Duration::from_nanos(1), 1)] {
            let mut bench = Bench::new(config, 7, |sent, _| (sent < WARM).then_some(ms(1)));
            bench.run_until(WARM + ms(1));
            // Up to the timer that judges the first unanswered probe, and then later than that.
            let judges = |live: &Liveness| {
                let due = live.poll_timeout();
                live.packet.next_timeout() == due || live.request.next_timeout() == due
            };
            while !judges(&bench.live) {
                let due = bench.live.poll_timeout().unwrap() - bench.start;
                bench.run_until(due);
            }
            bench.now = bench.live.poll_timeout().unwrap();
            bench.stall(config.interval() / 2 + over);
            bench.live.handle_timeout(bench.now);
            bench.drain();
            assert_eq!(bench.live.voided(), voided);
            let misses: u32 = LOOPS.iter().map(|r#loop| bench.live.misses(*r#loop)).sum();
            assert_eq!(misses == 0, voided == 1);
        }
    }
}

#[test]
fn a_minute_of_our_own_stall_moves_nothing_and_probing_starts_again_at_once() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |_, _| Some(ms(70)));
    bench.run_until(WARM);
    bench.stall(ms(60_000));
    let before = bench.probes.len();
    bench.live.handle_timeout(bench.now);
    bench.drain();
    assert_eq!(bench.probes.len(), before + 1);
    assert_eq!(bench.live.voided(), 1);
    // Replies to what was voided arrive after that, and are harmless.
    let srtt = bench.live.srtt();
    while bench
        .replies
        .first_key_value()
        .is_some_and(|reply| reply.0.0 < bench.now)
    {
        let ((_, id), r#loop) = bench.replies.pop_first().unwrap();
        bench.live.handle_reply(bench.now, r#loop, id);
    }
    assert_eq!(bench.live.srtt(), srtt);
    bench.run_until(WARM + ms(80_000));
    assert_eq!(bench.changes, []);
}

#[test]
fn a_stall_while_down_does_not_count_as_silence_of_the_peer() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |sent, _| {
        (sent < WARM).then_some(ms(70))
    });
    bench.run_until(WARM + ms(2_000));
    assert_eq!(bench.live.state(), Health::Down);
    bench.stall(ms(60_000));
    bench.live.handle_timeout(bench.now);
    bench.drain();
    let woke = bench.since();
    bench.run_until(woke + ms(4_999));
    assert_eq!(bench.silent, []);
    bench.run_until(woke + ms(5_000));
    assert_eq!(bench.silent, [woke + ms(5_000)]);
}

#[test]
fn a_peer_still_dead_after_our_stall_is_found_out_all_the_same() {
    for stall in [ms(150), ms(1_000)] {
        let config = LivenessConfig::default();
        let mut bench = Bench::new(config, 7, |sent, _| (sent < WARM).then_some(ms(70)));
        // In the middle of a suspicion, whose confirming probes are then forgotten.
        while bench.live.state() == Health::Up {
            let due = bench.live.poll_timeout().unwrap() - bench.start;
            bench.run_until(due);
        }
        let due = bench.live.poll_timeout().unwrap();
        bench.now = due + stall;
        bench.live.handle_timeout(bench.now);
        bench.drain();
        let woke = bench.since();
        bench.run_until(woke + config.down_after - ms(1));
        assert_ne!(bench.live.state(), Health::Down);
        bench.run_until(woke + config.down_after);
        assert_eq!(bench.live.state(), Health::Down);
    }
}

#[test]
fn a_tenth_of_lost_probes_takes_a_link_down_less_than_once_in_twenty_minutes() {
    for rtt in [ms(1), ms(70), ms(150), ms(220)] {
        let mut downs = 0;
        for seed in 0..40 {
            let mut losses = SplitMix64(seed);
            let mut bench = Bench::new(LivenessConfig::default(), seed, move |_, _| {
                (losses.below(10) > 0).then_some(rtt)
            });
            bench.run_until(ms(600_000));
            let down = |change: &&(Duration, Health, Reason)| change.1 == Health::Down;
            downs += bench.changes.iter().filter(down).count();
        }
        // In 400 minutes.
        assert!(downs < 20, "{rtt:?}: {downs}");
    }
}

#[test]
fn a_longer_round_trip_is_learned_from_late_replies() {
    for rtt in [ms(320), ms(650), ms(1_200)] {
        let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, _| {
            Some(if sent < WARM { ms(20) } else { rtt })
        });
        bench.run_until(WARM + ms(20_000));
        assert_eq!(
            bench.live.state(),
            Health::Up,
            "{rtt:?}: {:?}",
            bench.changes
        );
        let last = bench.changes.last().unwrap().0;
        assert!(last <= WARM + ms(6_000), "{rtt:?}: {last:?}");
    }
}

#[test]
fn a_peer_back_from_a_freeze_is_watched_as_closely_as_before() {
    let back = WARM + ms(4_000);
    // Asleep, the peer answers all it was asked at the moment it wakes.
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, _| {
        let asleep = sent > WARM && sent < back;
        Some(if asleep { back - sent + ms(10) } else { ms(20) })
    });
    bench.run_until(back + ms(100));
    assert_eq!(
        bench.live.state(),
        Health::Down,
        "a burst of late replies is no streak"
    );
    bench.run_until(back + ms(1_300));
    assert_eq!(bench.live.state(), Health::Up);
    assert!(bench.live.packet.rtt.timeout() <= ms(60));
}

#[test]
fn a_confirmed_suspicion_ends_with_the_second_timely_reply_and_not_with_late_ones() {
    // One probe and the two that confirm, all answered late, and before the next one is sent.
    let mut late = vec![ms(150), ms(150), ms(300)];
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        let slow = r#loop == Loop::Packet && sent > WARM;
        let late = slow.then(|| late.pop()).flatten();
        late.or_else(|| Some(ms(20)))
    });
    bench.run_until(WARM * 2);
    let seen: Vec<_> = bench
        .changes
        .iter()
        .map(|change| (change.1, change.2))
        .collect();
    assert_eq!(
        seen,
        [
            (Health::Suspect, Reason::Late(Loop::Packet)),
            (Health::Confirmed, Reason::ConfirmLate(Loop::Packet)),
            (Health::Up, Reason::Answered(Loop::Packet)),
        ]
    );
    let up = bench.changes[2].0;
    let timely = bench
        .probes
        .iter()
        .filter(|probe| probe.1 == Loop::Packet && probe.0 > WARM && probe.0 + ms(20) <= up)
        .skip(3);
    assert_eq!(timely.count(), 2);
}

#[test]
fn each_probe_is_told_of_once_answered_or_lost_and_forgiven_ones_are_lost() {
    // The probe and the first of the two that confirm: the second one's reply forgives both.
    let mut lost = 2;
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        let lose = sent > WARM && r#loop == Loop::Packet && lost > 0;
        lost -= i32::from(lose);
        (!lose).then_some(ms(70))
    });
    bench.run_until(WARM * 2);
    let told = bench.probed(ms(0));
    assert_eq!(told.lost, 2);
    let out = bench.replies.len() as u64;
    assert_eq!(told.packets() + out, bench.probes.len() as u64);
    let wrong = |said: &&(Duration, Loop, Loss)| said.1 == Loop::Request && said.2.lost > 0;
    assert_eq!(bench.probed.iter().filter(wrong).count(), 0);
    assert_eq!(bench.round_trips.len() as u64, told.delivered);
    assert!(bench.round_trips.iter().all(|trip| trip.1 == ms(70)));
}

#[test]
fn late_reply_is_a_round_trip_and_its_probe_stays_lost() {
    let mut late = true;
    let mut bench = Bench::new(LivenessConfig::default(), 7, move |sent, r#loop| {
        let slow = r#loop == Loop::Packet && sent > WARM && std::mem::take(&mut late);
        Some(if slow { ms(400) } else { ms(70) })
    });
    bench.run_until(WARM * 2);
    assert_eq!(bench.probed(ms(0)).lost, 1);
    let trips = bench.round_trips.iter();
    let slow = trips.filter(|trip| trip.1 == ms(400)).count();
    assert_eq!(slow, 1);
    assert_eq!(
        bench.round_trips.len() as u64,
        bench.probed(ms(0)).delivered + 1
    );
}

#[test]
fn of_probes_that_our_own_stall_voided_nothing_is_said() {
    let mut bench = Bench::new(LivenessConfig::default(), 7, |_, _| Some(ms(70)));
    bench.run_until(WARM);
    // Until some are out.
    while bench.replies.is_empty() {
        let due = bench.live.poll_timeout().unwrap() - bench.start;
        bench.run_until(due);
    }
    let (before, out) = (bench.probed.len(), bench.replies.len());
    bench.stall(ms(1_000));
    bench.live.handle_timeout(bench.now);
    bench.drain();
    assert_eq!(bench.probed.len(), before);
    for _ in 0..out {
        let ((_, id), r#loop) = bench.replies.pop_first().unwrap();
        bench.live.handle_reply(bench.now, r#loop, id);
        bench.drain();
    }
    assert_eq!(bench.probed.len(), before);
    bench.run_until(WARM * 2);
    assert_eq!(bench.probed(ms(0)).lost, 0);
}

#[test]
fn before_a_sample_the_guess_decides_and_without_one_333_ms() {
    for (guess, timeout) in [(None, ms(333 * 3)), (Some(ms(50)), ms(150))] {
        let mut live = Liveness::new(LivenessConfig::default(), 7, guess, origin());
        let start = live.poll_timeout().unwrap();
        live.handle_timeout(start);
        let late = live.packet.next_timeout().unwrap() - start;
        assert!(late.abs_diff(timeout + ms(100)) <= ms(1), "{late:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is lost, late, stalled or made up: the machine keeps a timer, probes, stays within
    /// its bounds of memory, and says only changes that follow each other.
    #[test]
    fn any_mix_of_replies_and_stalls_keeps_the_machine_whole(
        seed: u64,
        fast: bool,
        steps in proptest::collection::vec((0_u64..400, 0_u8..10, 0_u64..3_000), 1..400),
    ) {
        let config = if fast { LivenessConfig::fast() } else { LivenessConfig::default() };
        let mut now = origin();
        let mut live = Liveness::new(config, seed, None, now);
        let mut state = Health::Up;
        let mut sent = Vec::new();
        let (mut probes, mut told, mut replies) = (0_u64, 0, 0);
        for (pass, action, pick) in steps {
            let due = live.poll_timeout().unwrap();
            match action {
                0..=5 => {
                    now = now.max(due);
                    live.handle_timeout(now);
                    prop_assert!(live.poll_timeout().unwrap() > now);
                }
                6 => {
                    now += ms(pass * 10);
                    live.handle_timeout(now);
                }
                7 => live.handle_reply(now, LOOPS[pick as usize % 2], pick),
                _ => {
                    if let Some((r#loop, id)) = sent.pop() {
                        now += ms(pass);
                        live.handle_reply(now, r#loop, id);
                    }
                }
            }
            while let Some(output) = live.poll_output() {
                match output {
                    Output::SendProbe { r#loop, id } => {
                        probes += 1;
                        sent.push((r#loop, id));
                    }
                    Output::StateChanged { from, to, .. } => {
                        prop_assert_eq!(from, state);
                        prop_assert_ne!(to, from);
                        state = to;
                    }
                    Output::Silent => prop_assert_eq!(state, Health::Down),
                    Output::Probed(_, loss) => told += loss.packets(),
                    Output::RoundTrip(..) => replies += 1,
                }
            }
            prop_assert_eq!(live.state(), state);
            prop_assert!(told <= probes && replies <= probes, "each is told of once at most");
            prop_assert!(live.packet.remembered() <= 64 && live.request.remembered() <= 64);
        }
    }
}
