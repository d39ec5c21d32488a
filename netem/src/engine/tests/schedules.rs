use super::*;
use crate::model::{Change, What};

fn schedule(changes: &[(u64, What)]) -> Schedule {
    let changes = changes.iter().map(|(at, what)| Change {
        at: ms(*at),
        what: what.clone(),
    });
    Schedule::try_new(changes.collect()).unwrap()
}

/// Whether the pair is up, each millisecond from 0 to before `until`, as runs of `.` and `x`.
fn ups(changes: &[(u64, What)], until: u64) -> String {
    let mut t = Fixture::new(1, PairModel::default());
    t.engine.set_schedule(t.now, A, B, schedule(changes));
    let start = t.now;
    let up = |at| {
        t.now = start + ms(at);
        if t.delay(1).is_some() { '.' } else { 'x' }
    };
    (0..until).map(up).collect()
}

#[test]
fn down_lasts_from_its_time_until_its_end_and_not_longer() {
    let down = What::Down { lasts: ms(3) };
    assert_eq!(ups(&[(2, down)], 8), "..xxx...");
}

#[test]
fn flap_begins_down_and_ends_with_its_last_period_cut_off() {
    let flap = What::Flap {
        up: ms(2),
        down: ms(1),
        lasts: ms(7),
    };
    assert_eq!(ups(&[(1, flap)], 11), ".x..x..x...");
}

#[test]
fn outages_that_overlap_are_down_while_any_is() {
    let (long, short) = (What::Down { lasts: ms(4) }, What::Down { lasts: ms(1) });
    assert_eq!(ups(&[(1, long.clone()), (2, short)], 7), ".xxxx..");
    assert_eq!(ups(&[(1, long.clone()), (3, long)], 9), ".xxxxxx..");
}

#[test]
fn step_is_another_model_from_its_time_on_and_not_a_nanosecond_before() {
    let mut t = Fixture::new(1, PairModel::delayed(ms(10)));
    let step = What::Set(PairModel::delayed(ms(20)));
    t.engine.set_schedule(t.now, A, B, schedule(&[(100, step)]));
    t.now += ms(100) - Duration::from_nanos(1);
    assert_eq!(t.delay(1), Some(ms(10)));
    t.now += Duration::from_nanos(1);
    assert_eq!(t.delay(1), Some(ms(20)));
}

#[test]
fn ramp_moves_delay_loss_and_rate_in_a_straight_line_and_the_rest_at_once() {
    let from = PairModel {
        rate: rate(8_000_000, 10_000),
        ..PairModel::delayed(ms(10))
    };
    let to = PairModel {
        delay: ms(30),
        rate: rate(4_000_000, 20_000),
        max_bytes: Some(500),
        ..lossy(1_000_000)
    };
    let mut t = Fixture::new(1, from);
    let ramp = What::Ramp {
        to: to.clone(),
        over: ms(100),
    };
    t.engine.set_schedule(t.now, A, B, schedule(&[(10, ramp)]));
    t.now += ms(35);
    let state = t.engine.pair_state(t.now, A, B);
    let expected = PairModel {
        delay: ms(15),
        loss: Loss::from_ppm(250_000),
        rate: rate(7_000_000, 20_000),
        ..to.clone()
    };
    assert_eq!(state.model, &expected);
    assert!(!state.is_cut && !state.is_down);
    t.now += ms(75);
    assert_eq!(t.engine.pair_state(t.now, A, B).model, &to);
}

#[test]
fn ramp_that_another_follows_goes_on_from_where_it_is() {
    let ramp = |millis| What::Ramp {
        to: PairModel::delayed(ms(millis)),
        over: ms(100),
    };
    let mut t = Fixture::new(1, PairModel::delayed(ms(0)));
    let changes = [(0, ramp(100)), (50, ramp(150))];
    t.engine.set_schedule(t.now, A, B, schedule(&changes));
    let start = t.now;
    // Asked for only now, as where no packet went meanwhile.
    t.now = start + ms(75);
    assert_eq!(t.delay(1), Some(ms(75)));
    t.now = start + ms(100);
    assert_eq!(t.delay(1), Some(ms(100)));
    t.now = start + ms(150);
    assert_eq!(t.delay(1), Some(ms(150)));
}

#[test]
fn model_that_is_set_ends_the_schedule_and_a_cut_goes_on() {
    let mut t = Fixture::new(1, PairModel::default());
    let down = What::Down { lasts: ms(100) };
    t.engine.set_schedule(t.now, A, B, schedule(&[(0, down)]));
    assert!(t.engine.pair_state(t.now, A, B).is_down);
    t.engine.cut(A, B);
    t.engine.set_pair(A, B, PairModel::delayed(ms(1)));
    let state = t.engine.pair_state(t.now, A, B);
    assert!(state.is_cut && !state.is_down);
    assert_eq!(t.send(A, B, 1), Verdict::Dropped(DropCause::Cut));
    t.engine.heal(A, B);
    assert_eq!(t.delay(1), Some(ms(1)));
}
