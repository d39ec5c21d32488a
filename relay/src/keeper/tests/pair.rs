//! Two keepers and the links between them, in every order in which things can happen.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::{id::NodeKey, keeper::*};

const ARBITER: usize = 0;
const FOLLOWER: usize = 1;
const ENDS: [usize; 2] = [ARBITER, FOLLOWER];

/// One end of the pair: a node's process.
#[derive(Clone)]
struct End {
    keeper: Keeper,
    generation: NodeGeneration,
    dials: u32,
    /// The link that the dial which is out would become.
    dial: Option<LinkGeneration>,
}

/// A connection between the two, from the first packet on.
#[derive(Clone)]
struct Wire {
    dialer: usize,
    dial: DialId,
    began: [Option<Instant>; 2],
    hello_sent: bool,
    stage: [Stage; 2],
    /// What is under way to each end, in order.
    inbox: [VecDeque<Message>; 2],
    /// Whether the end is yet to be told that the connection is gone.
    doomed: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SettingUp,
    Open,
    Ended,
}

#[derive(Debug, Clone, Copy)]
enum Message {
    Hello {
        generation: NodeGeneration,
        holds: Option<LinkGeneration>,
    },
    Promote(u64),
    Promoted(u64),
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The dialer's first packet reaches the other end.
    Arrive(LinkGeneration),
    /// The handshake is done: the dialer says Hello.
    Hello(LinkGeneration),
    Deliver(LinkGeneration, usize),
    /// An end learns that the connection is gone.
    Tell(LinkGeneration, usize),
    /// The end's backoff is over.
    Redial(usize),
    /// A retiring link has nothing in flight.
    Idle(LinkGeneration),
    /// A deadline passes; only when nothing else can happen.
    Deadline(usize),
    Lose(LinkGeneration),
    Restart(usize),
    /// The peer is removed from one end's configuration, and put back.
    Recreate(usize),
    /// The end finds its current link no longer fit.
    Replace(usize),
    /// The current link no longer answers, as one end sees it.
    Down(usize),
}

#[derive(Clone)]
struct World {
    now: Instant,
    ends: [End; 2],
    wires: BTreeMap<LinkGeneration, Wire>,
    losses: u32,
    restarts: u32,
    recreations: u32,
    replacements: u32,
    downs: u32,
    /// Whether nothing was lost, and nobody restarted or was removed.
    calm: bool,
}

/// What may go wrong, how often at most.
#[derive(Default)]
struct Budget {
    losses: u32,
    restarts: u32,
    recreations: u32,
    replacements: u32,
    downs: u32,
}

impl World {
    fn new(wanting: &[usize], budget: &Budget) -> Self {
        let now = crate::clock::now();
        let end = |role| End {
            keeper: keeper(role, 0),
            generation: NodeGeneration(1),
            dials: 0,
            dial: None,
        };
        let mut world = Self {
            now,
            ends: [end(Role::Arbiter), end(Role::Follower)],
            wires: BTreeMap::new(),
            losses: budget.losses,
            restarts: budget.restarts,
            recreations: budget.recreations,
            replacements: budget.replacements,
            downs: budget.downs,
            calm: true,
        };
        for x in wanting {
            world.ends[*x].keeper.want(now);
            world.perform(*x);
        }
        world
    }

    /// What can happen, besides mishaps.
    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, wire) in &self.wires {
            let acceptor = 1 - wire.dialer;
            if wire.began[acceptor].is_none() && wire.stage[acceptor] != Stage::Ended {
                events.push(Event::Arrive(*id));
            } else if !wire.hello_sent && wire.stage[wire.dialer] != Stage::Ended {
                events.push(Event::Hello(*id));
            }
            for x in ENDS {
                if wire.stage[x] == Stage::Ended {
                    continue;
                }
                if !wire.inbox[x].is_empty() {
                    events.push(Event::Deliver(*id, x));
                }
                if wire.doomed[x] {
                    events.push(Event::Tell(*id, x));
                }
            }
        }
        for x in ENDS {
            if self.ends[x].keeper.state() == StateName::Backoff {
                events.push(Event::Redial(x));
            }
        }
        let arbiter = &self.ends[ARBITER].keeper;
        let retiring = |link: &Link| matches!(link.phase, Phase::Retiring { .. });
        events.extend(arbiter.links.ids(retiring).into_iter().map(Event::Idle));
        if events.is_empty() {
            let armed = |x: &usize| self.ends[*x].keeper.poll_timeout().is_some();
            events.extend(ENDS.into_iter().filter(armed).map(Event::Deadline));
        }
        events
    }

    fn mishaps(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.losses > 0 {
            let whole = self
                .wires
                .iter()
                .filter(|(_, wire)| wire.doomed == [false; 2]);
            events.extend(whole.map(|(id, _)| Event::Lose(*id)));
        }
        if self.restarts > 0 {
            events.extend(ENDS.map(Event::Restart));
        }
        if self.recreations > 0 {
            events.extend(ENDS.map(Event::Recreate));
        }
        let up = |x: &usize| self.ends[*x].keeper.current().is_some();
        if self.replacements > 0 {
            events.extend(ENDS.into_iter().filter(up).map(Event::Replace));
        }
        if self.downs > 0 {
            events.extend(ENDS.into_iter().filter(up).map(Event::Down));
        }
        events
    }

    fn apply(&mut self, event: Event) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        match event {
            Event::Arrive(id) => {
                let wire = self.wire(id);
                wire.began[1 - wire.dialer] = Some(now);
            }
            Event::Hello(id) => {
                let dialer = self.wires[&id].dialer;
                let hello = self.hello(dialer);
                let wire = self.wire(id);
                wire.hello_sent = true;
                wire.inbox[1 - dialer].push_back(hello);
            }
            Event::Deliver(id, x) => self.deliver(id, x),
            Event::Tell(id, x) => {
                let wire = self.wire(id);
                let before = std::mem::replace(&mut wire.stage[x], Stage::Ended);
                let (dialer, dial) = (wire.dialer, wire.dial);
                let end = &mut self.ends[x];
                if before == Stage::Open {
                    end.keeper.handle_closed(now, id, CloseCause::Lost);
                } else if dialer == x {
                    end.dial = None;
                    end.keeper
                        .handle_dial_failed(now, dial, super::bench::refused());
                }
                self.perform(x);
            }
            Event::Redial(x) | Event::Deadline(x) => {
                // Promotion has deadlines for peers that misbehave. Between two keepers whose
                // connections end for both, none is ever needed.
                let awaiting = |link: &Link| matches!(link.phase, Phase::Awaiting { .. });
                let stuck = self.ends[x].keeper.links.ids(awaiting);
                assert!(
                    matches!(event, Event::Redial(_)) || stuck.is_empty(),
                    "{stuck:?}"
                );
                let due = self.ends[x].keeper.poll_timeout().expect("it is armed");
                self.now = now.max(due);
                self.ends[x].keeper.handle_timeout(self.now);
                self.perform(x);
            }
            Event::Idle(id) => {
                self.ends[ARBITER].keeper.handle_link_idle(now, id);
                self.perform(ARBITER);
            }
            Event::Lose(id) => {
                self.losses -= 1;
                self.calm = false;
                let wire = self.wire(id);
                wire.inbox = Default::default();
                wire.doomed = [true; 2];
            }
            Event::Restart(x) => {
                self.restarts -= 1;
                self.calm = false;
                for wire in self.wires.values_mut() {
                    wire.stage[x] = Stage::Ended;
                    wire.doomed[1 - x] = true;
                }
                let end = &mut self.ends[x];
                end.generation.0 += 1;
                end.dial = None;
                end.keeper = keeper(role(x), 0);
                end.keeper.want(now);
                self.perform(x);
            }
            Event::Recreate(x) => {
                self.recreations -= 1;
                self.calm = false;
                let keeper_before = &mut self.ends[x].keeper;
                keeper_before.forget(now, CloseCode::Removed, now);
                keeper_before.handle_timeout(now);
                self.perform(x);
                self.ends[x].keeper = keeper(role(x), RECREATED_FLOOR);
                self.ends[x].keeper.want(now);
                self.perform(x);
            }
            Event::Replace(x) => {
                self.replacements -= 1;
                let keeper = &mut self.ends[x].keeper;
                let link = keeper.current().expect("checked before");
                keeper.handle_replace(now, link, ReplaceReason::Untrusted);
                self.perform(x);
            }
            Event::Down(x) => {
                self.downs -= 1;
                let keeper = &mut self.ends[x].keeper;
                let link = keeper.current().expect("checked before");
                keeper.handle_health(now, link, Health::Down);
                self.perform(x);
            }
        }
        self.wires.retain(|_, wire| wire.stage != [Stage::Ended; 2]);
    }

    fn deliver(&mut self, id: LinkGeneration, x: usize) {
        let now = self.now;
        let message = self.wire(id).inbox[x].pop_front().expect("it is there");
        match message {
            Message::Hello { generation, holds } => {
                let answer = self.hello(x);
                let wire = self.wire(id);
                let facts = LinkFacts {
                    link: id,
                    began: wire.began[x].expect("it began before Hello"),
                    peer_generation: generation,
                    peer_holds: holds,
                };
                wire.stage[x] = Stage::Open;
                let (dialer, dial) = (wire.dialer, wire.dial);
                if dialer == x {
                    self.ends[x].dial = None;
                    self.ends[x].keeper.handle_dialed(now, dial, facts);
                } else {
                    if self.wires[&id].stage[dialer] != Stage::Ended {
                        self.wire(id).inbox[dialer].push_back(answer);
                    }
                    self.ends[x].keeper.handle_accepted(now, facts);
                }
            }
            Message::Promote(epoch) => self.ends[x].keeper.handle_promote(now, id, epoch),
            Message::Promoted(epoch) => self.ends[x].keeper.handle_promoted(now, id, epoch),
        }
        self.perform(x);
    }

    fn perform(&mut self, x: usize) {
        while let Some(output) = self.ends[x].keeper.poll_output() {
            match output {
                Output::Dial { dial, .. } => self.dial(x, dial),
                Output::CancelDial { .. } => {
                    let id = self.ends[x].dial.take().expect("a dial was out");
                    self.end(id, x);
                }
                Output::SendPromote { link, epoch } => self.send(link, x, Message::Promote(epoch)),
                Output::SendPromoted { link, epoch } => {
                    self.send(link, x, Message::Promoted(epoch));
                }
                Output::Close { link, .. } => self.end(link, x),
                Output::Retire { .. } | Output::Publish(_) => {}
                Output::StaleReported { .. } => unreachable!("nobody was told"),
            }
        }
    }

    fn dial(&mut self, x: usize, dial: DialId) {
        let end = &mut self.ends[x];
        assert_eq!(end.dial, None, "one dial at a time");
        assert!(end.dials < 16, "they dial for ever");
        let id = LinkGeneration {
            dialer: NodeKey([x as u8; NodeKey::LEN]),
            node: end.generation,
            dial: end.dials,
        };
        end.dials += 1;
        end.dial = Some(id);
        let mut began = [None; 2];
        began[x] = Some(self.now);
        let wire = Wire {
            dialer: x,
            dial,
            began,
            hello_sent: false,
            stage: [Stage::SettingUp; 2],
            inbox: Default::default(),
            doomed: [false; 2],
        };
        self.wires.insert(id, wire);
    }

    fn send(&mut self, id: LinkGeneration, from: usize, message: Message) {
        let wire = self.wire(id);
        assert_eq!(wire.stage[from], Stage::Open, "{id} is not open");
        if wire.doomed == [false; 2] && wire.stage[1 - from] != Stage::Ended {
            wire.inbox[1 - from].push_back(message);
        }
    }

    /// An end closes a connection. What it had sent may still arrive before the other end knows.
    fn end(&mut self, id: LinkGeneration, x: usize) {
        let wire = self.wire(id);
        assert_ne!(wire.stage[x], Stage::Ended, "{id} has ended");
        wire.stage[x] = Stage::Ended;
        wire.inbox[x].clear();
        wire.doomed[1 - x] = true;
    }

    fn hello(&self, x: usize) -> Message {
        Message::Hello {
            generation: self.ends[x].generation,
            holds: self.ends[x].keeper.current(),
        }
    }

    fn wire(&mut self, id: LinkGeneration) -> &mut Wire {
        self.wires.get_mut(&id).expect("the wire is there")
    }

    /// Everything that what happens next can depend on, and not the times themselves.
    fn key(&self) -> String {
        use std::fmt::Write;
        let left = (self.losses, self.restarts, self.recreations);
        let more = (self.replacements, self.downs, self.calm);
        let mut key = format!("{left:?}{more:?}");
        for end in &self.ends {
            let keeper = &end.keeper;
            let redial = match keeper.state {
                State::Up { redial, .. } => match redial {
                    Redial::Needless => 1,
                    Redial::At(_) => 2,
                    Redial::Out => 3,
                },
                _ => 0,
            };
            let flags = (keeper.wanted, keeper.halted, keeper.backoff.has_dialed());
            let known = (keeper.epoch, keeper.known, end.generation, end.dials);
            let _ = write!(
                key,
                "|{:?}{redial}{flags:?}{known:?}{:?}",
                keeper.state(),
                end.dial
            );
            for link in keeper.links.iter() {
                let phase = match link.phase {
                    Phase::Awaiting { .. } => 'a',
                    Phase::Settled => 's',
                    Phase::Retiring { .. } => 'r',
                };
                let current = keeper.current() == Some(link.id);
                let replace = link.needs_replacement();
                let _ = write!(key, "/{}{phase}{}{current}{replace}", link.id, link.epoch);
                let _ = write!(key, "{}", link.confirmed_at.is_some());
            }
        }
        for (id, wire) in &self.wires {
            let _ = write!(
                key,
                "|{id}{}{:?}{:?}{:?}",
                wire.hello_sent, wire.stage, wire.inbox, wire.doomed
            );
            for x in ENDS {
                let confirmed = |link: &Link| link.confirmed_at < wire.began[x];
                let before = self.ends[x]
                    .keeper
                    .links
                    .ids(|link| link.confirmed_at.is_some() && confirmed(link));
                let before = (wire.stage[x] == Stage::SettingUp).then_some(before);
                let _ = write!(key, "{}{before:?}", wire.began[x].is_some());
            }
        }
        key
    }

    fn check_settled(&self, trace: &dyn Fn() -> String) {
        let current = ENDS.map(|x| self.ends[x].keeper.current());
        let states = ENDS.map(|x| self.ends[x].keeper.state());
        assert_eq!(states, [StateName::Up; 2], "{}", trace());
        assert_eq!(current[ARBITER], current[FOLLOWER], "{}", trace());
        let held = ENDS.map(|x| self.ends[x].keeper.links.len());
        assert_eq!(held, [1, 1], "{}", trace());
        assert_eq!(self.wires.len(), 1, "{}", trace());
        assert_eq!(
            self.ends.each_ref().map(|end| end.dial),
            [None; 2],
            "{}",
            trace()
        );
    }
}

fn role(x: usize) -> Role {
    if x == ARBITER {
        Role::Arbiter
    } else {
        Role::Follower
    }
}

/// Above every epoch of the keeper before.
const RECREATED_FLOOR: u64 = 1_000;

fn keeper(role: Role, epoch_floor: u64) -> Keeper {
    Keeper::new(KeeperConfig {
        role,
        seed: 7,
        epoch_floor,
        backoff_max: Duration::from_secs(5),
        backoff_reset: Duration::from_secs(10),
    })
}

/// The events that led to the state `at`.
fn trace(visited: &[(usize, Option<Event>)], mut at: usize) -> String {
    let mut steps = Vec::new();
    while let (before, Some(event)) = visited[at] {
        steps.push(format!("{event:?}"));
        at = before;
    }
    steps.reverse();
    steps.join("\n")
}

/// Follows every order of events from `start`, and checks every state in which nothing more
/// happens. Returns how many states there are, and how many of these.
fn explore(start: World) -> (usize, usize) {
    let mut seen = HashSet::from([start.key()]);
    // The state, and by which event from which earlier one it came about.
    let mut visited: Vec<(usize, Option<Event>)> = vec![(0, None)];
    let mut frontier = VecDeque::from([(0, start)]);
    let mut settled = 0;
    while let Some((at, world)) = frontier.pop_front() {
        let events = world.events();
        if events.is_empty() {
            settled += 1;
            world.check_settled(&|| trace(&visited, at));
        }
        let was_up = ENDS.map(|x| world.ends[x].keeper.state() == StateName::Up);
        for event in events.into_iter().chain(world.mishaps()) {
            let mut next = world.clone();
            next.apply(event);
            for x in ENDS {
                let stays = next.ends[x].keeper.state() == StateName::Up;
                let gap = next.calm && was_up[x] && !stays;
                assert!(
                    !gap,
                    "a gap without a mishap: {}\n{event:?}",
                    trace(&visited, at)
                );
                assert!(next.ends[x].keeper.links.len() <= MAX_LINKS);
            }
            if seen.insert(next.key()) {
                visited.push((at, Some(event)));
                frontier.push_back((visited.len() - 1, next));
            }
        }
        assert!(visited.len() < 2_000_000, "too many states");
    }
    assert!(settled > 0);
    (visited.len(), settled)
}

#[test]
fn simultaneous_dials_end_with_one_link_and_no_gap_in_every_order() {
    for wanting in [&[ARBITER][..], &[FOLLOWER], &ENDS] {
        let (states, _) = explore(World::new(wanting, &Budget::default()));
        println!("{wanting:?}: {states} states");
    }
}

#[test]
fn a_link_lost_at_any_moment_leaves_both_with_the_same_one() {
    explore_mishaps(Budget {
        losses: 1,
        ..Budget::default()
    });
}

#[test]
fn a_restart_of_either_side_at_any_moment_leaves_both_with_the_same_link() {
    explore_mishaps(Budget {
        restarts: 1,
        ..Budget::default()
    });
}

#[test]
#[ignore = "takes ten seconds: for the long run"]
fn two_losses_or_a_loss_and_a_restart_leave_both_with_the_same_link() {
    for (losses, restarts) in [(2, 0), (1, 1)] {
        explore_mishaps(Budget {
            losses,
            restarts,
            ..Budget::default()
        });
    }
}

#[test]
fn a_peer_removed_and_put_back_at_any_moment_ends_with_one_link() {
    explore_mishaps(Budget {
        recreations: 1,
        ..Budget::default()
    });
}

#[test]
fn a_replacement_is_made_before_the_break_in_every_order() {
    explore_mishaps(Budget {
        replacements: 1,
        ..Budget::default()
    });
}

#[test]
fn a_link_that_either_or_both_call_down_is_replaced_without_a_gap_in_every_order() {
    explore_mishaps(Budget {
        downs: 2,
        ..Budget::default()
    });
}

fn explore_mishaps(budget: Budget) {
    let (states, settled) = explore(World::new(&ENDS, &budget));
    println!("{states} states, {settled} settled");
}
