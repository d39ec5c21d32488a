//! What honest neighbours say to each other when there is more news than they may say.

use super::*;

/// Two nodes with a link, each of which hears news of nodes of its own from others.
struct Pair {
    now: Instant,
    ends: [Gossip; 2],
    /// What the way holds back, by whom it is for.
    on_the_way: [Vec<Message>; 2],
    rounds: u64,
}

const KEYS: [NodeKey; 2] = [A, B];

impl Pair {
    fn new() -> Self {
        let now = origin();
        let mut ends = KEYS.map(|key| Gossip::new(key, now));
        ends[0].handle_link(now, B);
        ends[1].handle_link(now, A);
        for end in &mut ends {
            (0..SOURCES).for_each(|source| end.handle_link(now, Self::source(source)));
        }
        Self {
            now,
            ends,
            on_the_way: Default::default(),
            rounds: 0,
        }
    }

    fn source(number: u64) -> NodeKey {
        NodeKey(100 + number)
    }

    /// Each end hears from its sources something new of every node that they know.
    fn news(&mut self) {
        self.rounds += 1;
        for end in 0..2 {
            for source in 0..SOURCES {
                let first = 10_000 * (end as u64 + 1) + NODES_OF_SOURCE * source;
                let nodes = (first..first + NODES_OF_SOURCE).map(NodeKey);
                let versions: Vec<_> = nodes.map(|node| version(node, 1, self.rounds)).collect();
                self.hear(end, Self::source(source), Message::Offer(versions));
            }
        }
    }

    fn hear(&mut self, end: usize, from: NodeKey, message: Message) {
        self.ends[end].handle_message(self.now, from, message);
        self.drain(end);
    }

    /// Sources deliver at once; what the ends say to each other is held back.
    fn drain(&mut self, end: usize) {
        while let Some(output) = self.ends[end].poll_output() {
            match output {
                Output::Send(to, message) if KEYS.contains(&to) => {
                    self.on_the_way[1 - end].push(message);
                }
                Output::Send(to, Message::Request(versions)) => {
                    for Version {
                        node,
                        generation,
                        sequence,
                    } in versions
                    {
                        let advert = advert(node, generation, sequence);
                        let age = Duration::ZERO;
                        self.ends[end].handle_message(
                            self.now,
                            to,
                            Message::Advert { advert, age },
                        );
                    }
                }
                Output::Send(..)
                | Output::Changed(_)
                | Output::Contested(_)
                | Output::Gone(..)
                | Output::Outbid(_)
                | Output::Synced(_) => {}
            }
        }
    }

    /// Time passes, in which the way delivers in heaps.
    fn wait(&mut self, time: Duration, heap: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = self.now + heap;
            while self.now < next {
                self.now += ms(20);
                for end in 0..2 {
                    self.ends[end].handle_timeout(self.now, Absence::IsNews);
                    self.drain(end);
                }
            }
            for end in 0..2 {
                for message in std::mem::take(&mut self.on_the_way[end]) {
                    self.hear(end, KEYS[1 - end], message);
                }
            }
        }
    }

    fn held(&self, end: usize) -> Vec<Version> {
        let adverts = self.ends[end].adverts();
        adverts.map(|advert| advert.value().version()).collect()
    }
}

#[test]
fn honest_neighbours_never_say_too_much_or_miss_and_hold_the_same_seconds_after_a_storm() {
    for heap in [ms(20), ms(400), ms(900)] {
        let mut pair = Pair::new();
        for _ in 0..40 {
            pair.news();
            pair.wait(secs(1), heap);
        }
        let behind = pair.held(0) != pair.held(1);
        assert!(behind, "a storm that all can be said of shows nothing");
        for end in &pair.ends {
            let counts = end.counts();
            assert_eq!((counts.limited, counts.missed), (0, 0), "{heap:?}");
            assert_eq!((counts.overflowed, counts.unasked), (0, 0), "{heap:?}");
        }
        // At a round trip of 1.8 s, 64 requests at a time are for 1,000 nodes in half a minute.
        pair.wait(secs(if heap < ms(500) { 10 } else { 40 }), heap);
        assert!(pair.held(0) == pair.held(1), "{heap:?}");
        assert_eq!(pair.held(0).len() as u64, 2 * SOURCES * NODES_OF_SOURCE);
    }
}

#[test]
fn no_node_waits_for_ever_while_there_is_more_news_than_may_be_said() {
    let mut pair = Pair::new();
    for _ in 0..40 {
        pair.news();
        pair.wait(secs(1), ms(100));
    }
    for end in 0..2 {
        let of_the_other = |version: &Version| version.node.0 / 10_000 == 2 - end as u64;
        let oldest = pair.held(end).into_iter().filter(of_the_other);
        let oldest = oldest.map(|version| version.sequence).min().unwrap();
        assert!(oldest >= pair.rounds - 10, "{oldest}");
    }
}

const SOURCES: u64 = 5;
const NODES_OF_SOURCE: u64 = 200;
