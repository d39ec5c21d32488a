//! Every event in every state, with what is expected of it: `table.txt`.

use std::fmt::Write;

use super::{bench::ms, *};

/// The states, told apart further where their data decides.
#[derive(Debug, Clone, Copy)]
enum Setup {
    Unlinked,
    Up,
    /// A reply is late.
    Suspect,
    /// Liveness says Confirmed, and packets still arrive.
    Disbelieving,
    Confirmed,
    /// Twelve packets were lost, three seconds ago; it answers.
    Lossy,
    /// A queue stood for a second, until three seconds ago.
    Delayed,
    /// It has been answering again for a moment.
    Staying,
    /// The same, and a reply is late.
    StayingLate,
    /// The same, and unanswered again.
    StayingUnanswered,
    /// It fell three times, the last time three seconds ago.
    Damped,
    /// A tick before it is Up.
    Ready,
    /// No answer, for a while.
    Silent,
    NoLink,
    /// It answers again, and Down has not lasted for long enough.
    DownAnswering,
}

const SETUPS: [Setup; 15] = [
    Setup::Unlinked,
    Setup::Up,
    Setup::Suspect,
    Setup::Disbelieving,
    Setup::Confirmed,
    Setup::Lossy,
    Setup::Delayed,
    Setup::Staying,
    Setup::StayingLate,
    Setup::StayingUnanswered,
    Setup::Damped,
    Setup::Ready,
    Setup::Silent,
    Setup::NoLink,
    Setup::DownAnswering,
];

#[derive(Debug, Clone, Copy)]
enum Event {
    LinkUp,
    LinkSuspect,
    LinkConfirmed,
    LinkDown,
    LinkGone,
    Arrived,
    LostOut,
    LostProbes,
    QueueIn,
    Stall,
    Timer,
    LateTimer,
    Minute,
}

const EVENTS: [Event; 13] = [
    Event::LinkUp,
    Event::LinkSuspect,
    Event::LinkConfirmed,
    Event::LinkDown,
    Event::LinkGone,
    Event::Arrived,
    Event::LostOut,
    Event::LostProbes,
    Event::QueueIn,
    Event::Stall,
    Event::Timer,
    Event::LateTimer,
    Event::Minute,
];

fn set_up(setup: Setup) -> Pair {
    let mut pair = Pair::up();
    match setup {
        Setup::Unlinked => {
            pair.health = PairHealth::new(HealthConfig::default(), pair.now);
        }
        Setup::Up => {}
        Setup::Suspect => pair.liveness(Health::Suspect),
        Setup::Disbelieving => {
            pair.health.handle_loss(pair.now, Way::Out, loss(5, 0));
            pair.liveness(Health::Confirmed);
        }
        Setup::Confirmed => pair.liveness(Health::Confirmed),
        Setup::Lossy => {
            pair.health.handle_loss(pair.now, Way::Out, loss(0, 12));
            pair.wait(ms(3_100));
        }
        Setup::Delayed => {
            pair.health.handle_delay(pair.now, Way::In, ms(100));
            pair.wait(ms(1_000));
            pair.health.handle_delay(pair.now, Way::In, ms(100));
            pair.wait(ms(2_900));
        }
        Setup::Staying | Setup::StayingLate | Setup::StayingUnanswered | Setup::Ready => {
            pair.liveness(Health::Confirmed);
            pair.liveness(Health::Up);
            pair.wait(ms(1_000));
            match setup {
                Setup::StayingLate => pair.liveness(Health::Suspect),
                Setup::StayingUnanswered => pair.liveness(Health::Confirmed),
                Setup::Ready => pair.wait(ms(1_999)),
                _ => {}
            }
        }
        Setup::Damped => {
            for _ in 0..3 {
                pair.liveness(Health::Confirmed);
                pair.liveness(Health::Up);
                pair.wait(ms(3_100));
            }
        }
        Setup::Silent => {
            pair.liveness(Health::Down);
            pair.wait(ms(10_000));
        }
        Setup::NoLink => {
            pair.health.handle_liveness(pair.now, None);
            pair.wait(ms(10_000));
        }
        Setup::DownAnswering => {
            pair.liveness(Health::Down);
            pair.wait(ms(1_000));
            pair.liveness(Health::Up);
        }
    }
    pair.reasons();
    pair
}

fn apply(pair: &mut Pair, event: Event) {
    let now = pair.now;
    match event {
        Event::LinkUp => pair.liveness(Health::Up),
        Event::LinkSuspect => pair.liveness(Health::Suspect),
        Event::LinkConfirmed => pair.liveness(Health::Confirmed),
        Event::LinkDown => pair.liveness(Health::Down),
        Event::LinkGone => pair.health.handle_liveness(now, None),
        Event::Arrived => pair.health.handle_loss(now, Way::Out, loss(5, 0)),
        Event::LostOut => pair.health.handle_loss(now, Way::Out, loss(0, 12)),
        Event::LostProbes => pair.health.handle_loss(now, Way::Round, loss(0, 18)),
        Event::QueueIn => {
            for tenth in 0..=10 {
                let at = now + ms(100 * tenth);
                pair.health.handle_delay(at, Way::In, ms(100));
                pair.now = at;
            }
        }
        Event::Stall => {
            pair.now += ms(2_000);
            pair.health.handle_stall(pair.now, ms(2_000));
        }
        Event::Timer => {
            pair.now = pair.health.poll_timeout().unwrap_or(now);
            pair.health.handle_timeout(pair.now);
        }
        Event::LateTimer => {
            pair.now = pair.health.poll_timeout().unwrap_or(now) + ms(200);
            pair.health.handle_timeout(pair.now);
        }
        Event::Minute => pair.wait(ms(60_000)),
    }
}

/// One line for each event: the condition after it with what holds it there, and the changes that
/// were told; or a dash if condition, hold and timer are as they were.
fn table() -> String {
    let mut table = String::new();
    for setup in SETUPS {
        let mut before = set_up(setup);
        let hold = before.health.hold(before.now);
        let _ = writeln!(table, "\n{setup:?}: {:?}, {hold:?}", before.condition());
        for event in EVENTS {
            let mut pair = set_up(setup);
            let timer = pair.health.poll_timeout().map(|due| due - pair.now);
            apply(&mut pair, event);
            let hold_after = pair.health.hold(pair.now);
            let timer_after = pair.health.poll_timeout().map(|due| due - pair.now);
            let changes: Vec<_> = std::iter::from_fn(|| pair.health.poll_output()).collect();
            let same = changes.is_empty() && hold == hold_after && timer == timer_after;
            let line = if same {
                "-".to_owned()
            } else {
                let held = hold_after.map_or(String::new(), |hold| format!(" ({hold:?})"));
                let timer = timer_after.map_or(String::new(), |time| format!(" timer {time:?}"));
                let told: String = changes
                    .iter()
                    .map(|change| {
                        format!(" {:?}->{:?}:{:?}", change.from, change.to, change.reason)
                    })
                    .collect();
                format!("{:?}{held}{timer}{told}", pair.condition())
            };
            let _ = writeln!(table, "  {:<15}{line}", format!("{event:?}"));
        }
    }
    table
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let table = table();
    if table.trim() != include_str!("table.txt").trim() {
        panic!("the machine does this:\n{table}");
    }
}
