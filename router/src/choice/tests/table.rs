//! Every event in every state, with what is expected of it: `table.txt`.

use std::fmt::Write;

use super::*;

/// The states, told apart further where their data decides.
#[derive(Debug, Clone, Copy)]
enum Setup {
    /// No link at all.
    Nothing,
    Direct,
    /// Direct, and X has been better for half a second.
    DirectXBetter,
    /// Direct is suspect, and there is nothing else.
    DirectLastResort,
    /// X, and direct is suspect.
    X,
    /// X, and direct has been well for half a second.
    XDirectWell,
    /// X, and Y has been better for half a second; direct is suspect.
    XYBetter,
    /// X drains, and there is nothing else.
    XLastResort,
    /// X, and direct has been well for half a second, after many relapses.
    XFlapping,
}

const SETUPS: [Setup; 9] = [
    Setup::Nothing,
    Setup::Direct,
    Setup::DirectXBetter,
    Setup::DirectLastResort,
    Setup::X,
    Setup::XDirectWell,
    Setup::XYBetter,
    Setup::XLastResort,
    Setup::XFlapping,
];

#[derive(Debug, Clone, Copy)]
enum Event {
    DirectDown,
    DirectSuspect,
    DirectWell,
    DirectSlow,
    XDown,
    XSuspect,
    XDrains,
    XWell,
    XFast,
    YDown,
    YWell,
    YFast,
    AllDown,
    HalfASecond,
    TwelveSeconds,
}

const EVENTS: [Event; 15] = [
    Event::DirectDown,
    Event::DirectSuspect,
    Event::DirectWell,
    Event::DirectSlow,
    Event::XDown,
    Event::XSuspect,
    Event::XDrains,
    Event::XWell,
    Event::XFast,
    Event::YDown,
    Event::YWell,
    Event::YFast,
    Event::AllDown,
    Event::HalfASecond,
    Event::TwelveSeconds,
];

fn set_up(setup: Setup) -> Bench {
    let mut bench = match setup {
        Setup::Nothing => Bench::new(),
        _ => Bench::well(),
    };
    match setup {
        Setup::Nothing | Setup::Direct => {}
        Setup::DirectXBetter => {
            bench.via(X, 80).wait(500);
        }
        Setup::DirectLastResort => {
            bench = Bench::new();
            bench.direct_is(LinkHealth::Suspect);
        }
        Setup::X => {
            bench.direct_is(LinkHealth::Suspect);
        }
        Setup::XDirectWell => {
            bench.direct_is(LinkHealth::Suspect).direct(100).wait(500);
        }
        Setup::XYBetter => {
            bench.direct_is(LinkHealth::Suspect).via(Y, 80).wait(500);
        }
        Setup::XLastResort => {
            bench = Bench::new();
            bench.service(X, Service::Draining).via(X, 110);
        }
        Setup::XFlapping => {
            for _ in 0..4 {
                bench.direct_is(LinkHealth::Down).direct(100).wait(12_000);
            }
            bench.direct_is(LinkHealth::Suspect).direct(100).wait(500);
        }
    }
    let expected = match setup {
        Setup::Nothing => "none",
        Setup::Direct | Setup::DirectXBetter | Setup::DirectLastResort => "direct",
        Setup::X | Setup::XDirectWell | Setup::XYBetter | Setup::XLastResort | Setup::XFlapping => {
            "x"
        }
    };
    assert_eq!(bench.path(), expected, "{setup:?}");
    bench.moves.clear();
    bench
}

fn apply(bench: &mut Bench, event: Event) {
    match event {
        Event::DirectDown => bench.direct_is(LinkHealth::Down),
        Event::DirectSuspect => bench.direct_is(LinkHealth::Suspect),
        Event::DirectWell => bench.direct(100),
        Event::DirectSlow => bench.direct(200),
        Event::XDown => bench.via(X, 110).via_is(X, LinkHealth::Down),
        Event::XSuspect => bench.via(X, 110).via_is(X, LinkHealth::Suspect),
        Event::XDrains => bench.service(X, Service::Draining),
        Event::XWell => bench.service(X, Service::Serving).via(X, 110),
        Event::XFast => bench.via(X, 70),
        Event::YDown => bench.via(Y, 120).via_is(Y, LinkHealth::Down),
        Event::YWell => bench.via(Y, 120),
        Event::YFast => bench.via(Y, 60),
        Event::AllDown => {
            for node in [X, Y] {
                bench.link(HERE, node, 1, LinkHealth::Down);
            }
            bench.direct_is(LinkHealth::Down)
        }
        Event::HalfASecond => bench.wait(500),
        Event::TwelveSeconds => bench.wait(12_000),
    };
}

/// What changed: each move with its reason, and what is waited for and how much longer.
fn said(bench: &Bench) -> String {
    let mut said = bench.path().to_owned();
    for decision in &bench.moves {
        let (to, reason) = (name(decision.to.as_ref()), decision.reason);
        let _ = write!(said, " {to}({reason:?})");
    }
    if let Some(wish) = bench.choice.wish() {
        let left = (wish.due - bench.now).as_millis();
        let _ = write!(said, " wait({:?},{left} ms)", wish.reason);
    }
    said
}

/// One line for each event, or a dash if it changed nothing.
fn table() -> String {
    let mut table = String::new();
    for setup in SETUPS {
        let _ = writeln!(table, "\n{setup:?}: {}", said(&set_up(setup)));
        for event in EVENTS {
            let mut bench = set_up(setup);
            let before = said(&bench);
            apply(&mut bench, event);
            let after = said(&bench);
            let line = if before == after { "-" } else { &after };
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
