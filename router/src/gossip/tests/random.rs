//! Any order of events, with a neighbour that lies.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{tables::Tables, *};
use crate::random::SplitMix64;

const NODES: u64 = 5;
/// More than there are processes in a test. A generation is a time in units of this, and who it
/// is: no two processes speak with the same one, as with times in milliseconds.
const LIVES: u64 = 1_000;
/// A neighbour that speaks only to lie, and answers nothing.
const LIAR: NodeKey = NodeKey(NODES);

/// What happens next; numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
enum Event {
    Publish(u64),
    Restart(u64),
    /// With a generation from a clock that is off.
    RestartAt(u64, u64),
    Link(u64, u64),
    Unlink(u64, u64),
    /// One of the messages on the way arrives, is lost, or arrives twice.
    Deliver(u64),
    Lose(u64),
    Repeat(u64),
    Wait(u64),
    /// A node gets a link to the liar, or loses it.
    Befriend(u64),
    Desert(u64),
    Lie(u64, Lie),
}

#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Offers some nodes that do not exist.
    Invent(u64),
    /// Offers a version of a node that it never said, and does not deliver it.
    Inflate(u64, u64),
    /// Tells something that was said once, with an age in seconds or the right one. No age is such
    /// that it expires here: who remembers a later life of a node refuses the node for an hour.
    Replay(u64, Option<u64>),
    /// Offers something that was never said, and delivers what was said once.
    Swap(u64),
    /// Says more than it may.
    Flood(u64),
    /// Pretends to hold something.
    Compare(u64),
    /// Asks for everything.
    Ask,
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES;
    prop_oneof![
        2 => node().prop_map(Event::Publish),
        1 => node().prop_map(Event::Restart),
        1 => (node(), 0..100_u64).prop_map(|(node, at)| Event::RestartAt(node, at)),
        3 => (node(), node()).prop_map(|(a, b)| Event::Link(a, b)),
        1 => (node(), node()).prop_map(|(a, b)| Event::Unlink(a, b)),
        8 => any::<u64>().prop_map(Event::Deliver),
        2 => any::<u64>().prop_map(Event::Lose),
        1 => any::<u64>().prop_map(Event::Repeat),
        4 => (0..3_000_u64).prop_map(Event::Wait),
        1 => node().prop_map(Event::Befriend),
        1 => node().prop_map(Event::Desert),
        6 => (node(), lie()).prop_map(|(node, lie)| Event::Lie(node, lie)),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    let any = any::<u64>;
    prop_oneof![
        any().prop_map(Lie::Invent),
        (any(), any()).prop_map(|(node, more)| Lie::Inflate(node, more)),
        (any(), proptest::option::of(0..100_u64)).prop_map(|(which, age)| Lie::Replay(which, age)),
        any().prop_map(Lie::Swap),
        any().prop_map(Lie::Flood),
        any().prop_map(Lie::Compare),
        Just(Lie::Ask),
    ]
}

/// A lie about anything but an age: of those, a node that is there may have to speak once more.
fn random_lie(random: &mut SplitMix64) -> Lie {
    match random.below(7) {
        0 => Lie::Invent(random.next()),
        1 => Lie::Inflate(random.next(), random.next()),
        2 => Lie::Replay(random.next(), None),
        3 => Lie::Swap(random.next()),
        4 => Lie::Flood(random.next()),
        5 => Lie::Compare(random.next()),
        _ => Lie::Ask,
    }
}

fn picked(any: u64, of: usize) -> usize {
    (any % (of as u64).max(1)) as usize
}

struct World {
    now: Instant,
    gossips: Vec<Gossip>,
    /// What each makes of what it heard.
    tables: Vec<Tables>,
    own: Vec<Version>,
    links: Vec<(u64, u64)>,
    on_the_way: Vec<(u64, u64, Message)>,
    /// Who has a link to the liar.
    befriended: BTreeSet<u64>,
    /// How many processes there were.
    lives: u64,
    /// All that was ever said, and when: the liar knows it.
    said: Vec<(Verified<Advert>, Instant)>,
    /// The highest version that each has held of each; of a process, since it started.
    highest: BTreeMap<(u64, NodeKey), Version>,
}

impl World {
    fn new() -> Self {
        let now = origin();
        let mut world = Self {
            now,
            gossips: (0..NODES)
                .map(|node| Gossip::new(NodeKey(node), now))
                .collect(),
            tables: (0..NODES).map(|node| Tables::new(NodeKey(node))).collect(),
            own: (0..NODES)
                .map(|node| version(NodeKey(node), 1, 0))
                .collect(),
            links: Vec::new(),
            on_the_way: Vec::new(),
            befriended: BTreeSet::new(),
            lives: 0,
            said: Vec::new(),
            highest: BTreeMap::new(),
        };
        (0..NODES).for_each(|node| world.publish(node));
        world
    }

    fn publish(&mut self, node: u64) {
        let version = &mut self.own[node as usize];
        version.sequence += 1;
        let mut raw = raw(*version);
        raw.region = RegionId(node as u32 % 2);
        let links = self
            .links
            .iter()
            .filter(|link| link.0 == node || link.1 == node);
        raw.links = links
            .map(|link| link_between(link.0, link.1, node))
            .collect();
        let advert = vouched(raw);
        self.said.push((advert.clone(), self.now));
        self.gossips[node as usize].handle_own(self.now, advert);
        self.tables[node as usize].take(&self.gossips[node as usize], NodeKey(node));
        self.drain(node);
    }

    fn restart(&mut self, node: u64, at: u64) {
        self.links.retain(|link| {
            let ours = link.0 == node || link.1 == node;
            let other = if link.0 == node { link.1 } else { link.0 };
            if ours {
                self.gossips[other as usize].handle_unlinked(self.now, NodeKey(node));
            }
            !ours
        });
        (0..NODES).for_each(|node| self.drain(node));
        self.on_the_way
            .retain(|(from, to, _)| *from != node && *to != node);
        self.befriended.remove(&node);
        self.highest.retain(|(of, _), _| *of != node);
        self.gossips[node as usize] = Gossip::new(NodeKey(node), self.now);
        self.tables[node as usize] = Tables::new(NodeKey(node));
        self.lives += 1;
        self.own[node as usize] = version(NodeKey(node), at * LIVES + self.lives, 0);
        self.publish(node);
    }

    fn set_link(&mut self, a: u64, b: u64, is_up: bool) {
        if a == b {
            return;
        }
        self.links.retain(|link| *link != (a.min(b), a.max(b)));
        for (of, to) in [(a, b), (b, a)] {
            let gossip = &mut self.gossips[of as usize];
            match is_up {
                true => gossip.handle_link(self.now, NodeKey(to)),
                false => gossip.handle_unlinked(self.now, NodeKey(to)),
            }
            self.drain(of);
        }
        if is_up {
            self.links.push((a.min(b), a.max(b)));
        }
    }

    fn drain(&mut self, node: u64) {
        while let Some(output) = self.gossips[node as usize].poll_output() {
            match output {
                Output::Send(LIAR, _) => {}
                Output::Send(to, message) => self.on_the_way.push((node, to.0, message)),
                // As the node would: it moves above whoever had its name before it.
                Output::Outbid(version) => {
                    let own = &mut self.own[node as usize];
                    if version > *own {
                        let life = own.generation % LIVES;
                        own.generation = (version.generation / LIVES + 1) * LIVES + life;
                        own.sequence = 0;
                        self.publish(node);
                    }
                }
                Output::Changed(of) | Output::Gone(of, _) => {
                    self.tables[node as usize].take(&self.gossips[node as usize], of);
                }
                Output::Contested(_) | Output::Synced(_) => {}
            }
        }
    }

    fn deliver(&mut self, (from, to, message): (u64, u64, Message)) {
        self.gossips[to as usize].handle_message(self.now, NodeKey(from), message);
        self.drain(to);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for node in 0..NODES {
            self.gossips[node as usize].handle_timeout(self.now, Absence::IsNews);
            self.drain(node);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Publish(node) => self.publish(node),
            Event::Restart(node) => {
                let at = self.own[node as usize].generation / LIVES + 1;
                self.restart(node, at);
            }
            Event::RestartAt(node, at) => self.restart(node, at),
            Event::Link(a, b) => self.set_link(a, b, true),
            Event::Unlink(a, b) => self.set_link(a, b, false),
            Event::Deliver(any) if !self.on_the_way.is_empty() => {
                let message = self.on_the_way.remove(picked(any, self.on_the_way.len()));
                self.deliver(message);
            }
            Event::Lose(any) if !self.on_the_way.is_empty() => {
                self.on_the_way.remove(picked(any, self.on_the_way.len()));
            }
            Event::Repeat(any) if !self.on_the_way.is_empty() => {
                let message = self.on_the_way[picked(any, self.on_the_way.len())].clone();
                self.deliver(message);
            }
            Event::Deliver(_) | Event::Lose(_) | Event::Repeat(_) => {}
            Event::Wait(time) => self.wait(ms(time)),
            Event::Befriend(node) => self.befriend(node),
            Event::Desert(node) => {
                self.befriended.remove(&node);
                self.gossips[node as usize].handle_unlinked(self.now, LIAR);
                self.drain(node);
            }
            Event::Lie(node, lie) => self.lie(node, lie),
        }
    }

    fn befriend(&mut self, node: u64) {
        self.befriended.insert(node);
        self.gossips[node as usize].handle_link(self.now, LIAR);
        self.drain(node);
    }

    fn lie(&mut self, to: u64, lie: Lie) {
        if !self.befriended.contains(&to) {
            return;
        }
        let some = |any: u64, said: &[(Verified<Advert>, Instant)]| {
            let (advert, at) = &said[picked(any, said.len())];
            (advert.clone(), *at)
        };
        let messages = match lie {
            Lie::Invent(any) => {
                let names = (0..any % 100).map(|name| NodeKey(1_000 + any % 1_000 + name));
                vec![Message::Offer(
                    names.map(|node| version(node, 1, 1)).collect(),
                )]
            }
            Lie::Inflate(node, more) => {
                let mut version = self.own[picked(node, self.own.len())];
                version.generation += more % 3;
                version.sequence = version.sequence.saturating_add(more / 3);
                vec![Message::Offer(vec![version])]
            }
            Lie::Replay(which, age) => {
                let (advert, at) = some(which, &self.said);
                let age = age.map_or(self.now - at, secs);
                let offer = Message::Offer(vec![advert.value().version()]);
                vec![offer, Message::Advert { advert, age }]
            }
            Lie::Swap(which) => {
                let (advert, at) = some(which, &self.said);
                let mut version = advert.value().version();
                version.sequence += 1_000;
                let age = self.now - at;
                vec![
                    Message::Offer(vec![version]),
                    Message::Advert { advert, age },
                ]
            }
            Lie::Flood(any) => {
                let nodes = (0..BURST_ITEMS as usize)
                    .map(|more| self.own[picked(any.wrapping_add(more as u64), self.own.len())]);
                let versions: Vec<_> = nodes.collect();
                vec![Message::Request(versions.clone()), Message::Offer(versions)]
            }
            Lie::Compare(any) => {
                let mut digest = Digest::new();
                digest.toggle(version(NodeKey(any % NODES), any % 9, any % 7));
                vec![Message::Digest(Box::new(digest))]
            }
            Lie::Ask => vec![Message::Request(self.own.clone())],
        };
        for message in messages {
            self.gossips[to as usize].handle_message(self.now, LIAR, message);
            self.drain(to);
        }
    }

    /// No node holds less than it held before, and none more than there is.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for (of, gossip) in (0_u64..).zip(&self.gossips) {
            for advert in gossip.adverts() {
                let version = advert.value().version();
                let highest = self.highest.entry((of, version.node)).or_insert(version);
                prop_assert!(version >= *highest, "{version:?} after {highest:?}");
                *highest = version;
            }
            prop_assert!(gossip.book.len().0 <= NODES as usize);
            prop_assert!(gossip.fetches.len() <= MAX_STANDING + (NODES * NODES) as usize);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn stores_converge_once_messages_arrive_and_never_go_back(
        events in proptest::collection::vec(event(), 0..200),
        seed in any::<u64>(),
    ) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
            world.check()?;
        }
        // Every node can be reached by honest ones, in three links at most, and hears the liar too.
        // After a wrong age, what a node says next makes up for it.
        for node in 0..NODES {
            let next = (node + 1) % NODES;
            if !world.links.contains(&(node.min(next), node.max(next))) {
                world.set_link(node, next, true);
            }
        }
        (0..NODES).for_each(|node| world.befriend(node));
        (0..NODES).for_each(|node| world.publish(node));
        let mut random = SplitMix64(seed);
        for round in 0..400 {
            world.wait(ms(100));
            // What the liar brings back of former lives, nodes move above.
            if round < 200 {
                let lie = random_lie(&mut random);
                world.lie(random.below(NODES), lie);
                if random.below(8) == 0 {
                    world.publish(random.below(NODES));
                }
            }
            while !world.on_the_way.is_empty() {
                let index = random.below(world.on_the_way.len() as u64) as usize;
                let message = world.on_the_way.swap_remove(index);
                world.deliver(message);
                world.check()?;
            }
        }
        for gossip in &world.gossips {
            let held: Vec<_> = gossip.adverts().map(|advert| advert.value().version()).collect();
            prop_assert_eq!(&held, &world.own);
        }
        tables::agree(&world.tables)?;
    }
}

/// How a node describes one of its links. Its other end describes it the same.
fn link_between(a: u64, b: u64, node: u64) -> RawLink {
    RawLink {
        peer: NodeKey(a + b - node),
        rtt_us: Some(10_000 * (1 + (a * 3 + b) % 4)),
        loss_ppm: (a + b) % 2 * 1_000,
        limit_bytes: 1_200,
        health: LinkHealth::Usable,
    }
}
