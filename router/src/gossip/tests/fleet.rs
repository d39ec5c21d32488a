//! A mesh of nodes that link up as they wish, on a clock of its own.

use std::collections::BTreeSet;

use super::*;
use crate::{
    advert::{Content, Publisher, PublisherConfig},
    cost::{Load, Loss, Measure},
    graph::{Link, LinkHealth},
    random::SplitMix64,
    wanted::WantedLinks,
};

pub(super) struct Fleet {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) processes: BTreeMap<u64, Process>,
    /// Between processes, by their numbers, the lesser first.
    links: BTreeSet<(u64, u64)>,
    on_the_way: BTreeMap<(Instant, u64), (u64, u64, Message)>,
    sent: u64,
    /// Which part of a cut network a process is in.
    pub(super) part: fn(u64) -> u64,
    pub(super) bytes: Bytes,
    /// Bytes of the second in which the most were sent.
    pub(super) busiest_bytes: u64,
    random: SplitMix64,
}

/// One process; as a rule its number is its node's key.
pub(super) struct Process {
    pub(super) node: NodeKey,
    region: u32,
    pub(super) gossip: Gossip,
    pub(super) publisher: Publisher,
    pub(super) wanted: WantedLinks,
    content: Content,
    pub(super) facts: Vec<(Instant, Output)>,
    pub(super) sent_bytes: u64,
}

/// Bytes that were sent, by kind of message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bytes {
    pub(super) adverts: u64,
    pub(super) digests: u64,
    pub(super) offers: u64,
    pub(super) requests: u64,
}

impl Fleet {
    pub(super) fn new() -> Self {
        let now = origin();
        Self {
            start: now,
            now,
            processes: BTreeMap::new(),
            links: BTreeSet::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            part: |_| 0,
            bytes: Bytes::default(),
            busiest_bytes: 0,
            random: SplitMix64(1),
        }
    }

    /// Starts a process, which knows the addresses of processes 0 and 1.
    pub(super) fn start(&mut self, number: u64, node: NodeKey, region: u32, generation: u64) {
        let seed = self.random.next();
        let config = PublisherConfig::default();
        let mut process = Process {
            node,
            region,
            gossip: Gossip::new(node, self.now),
            publisher: Publisher::new(config, node, generation, seed, self.now),
            wanted: WantedLinks::new(node, RegionId(region)),
            content: Content {
                region: RegionId(region),
                state: State::Present(Service::Serving),
                load: Load::IDLE,
                addresses: vec![format!("10.0.{number}.1:4433")],
                ports: vec![4433],
                release: "r".repeat(64),
                labels: BTreeMap::new(),
                links: BTreeMap::new(),
                views: BTreeMap::new(),
            },
            facts: Vec::new(),
            sent_bytes: 0,
        };
        process.publish(self.now);
        self.processes.insert(number, process);
    }

    /// Ends a process without a word.
    pub(super) fn kill(&mut self, number: u64) {
        self.processes.remove(&number);
    }

    /// The last word of a process, which it has a second to say.
    pub(super) fn leave(&mut self, number: u64) {
        let now = self.now;
        let process = self.processes.get_mut(&number).unwrap();
        process.content.state = State::Left;
        process.publish(now);
        self.run(secs(1));
        self.kill(number);
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let before = self.bytes.total();
            self.relink();
            for _ in 0..10 {
                self.now += ms(100);
                self.deliver();
                self.time_out();
            }
            let second = self.bytes.total() - before;
            self.busiest_bytes = self.busiest_bytes.max(second);
        }
    }

    /// Links come and go as both ends wish, once a second.
    fn relink(&mut self) {
        let mut by_node = BTreeMap::<_, Vec<u64>>::new();
        for (number, process) in &self.processes {
            by_node.entry(process.node).or_default().push(*number);
        }
        let mut wish = BTreeSet::new();
        for (number, process) in &self.processes {
            let lost = process.gossip.lost().map(|lost| lost.value().node());
            let peers = process.wanted.peers().chain(lost);
            let numbers = |peer| by_node.get(&peer).into_iter().flatten().copied();
            let mut peers: Vec<_> = peers.flat_map(numbers).collect();
            let linked = peers
                .iter()
                .filter(|peer| self.has_link(*number, **peer))
                .count();
            if linked < 3 {
                peers.extend([0, 1]);
            }
            for peer in peers {
                let reachable = (self.part)(*number) == (self.part)(peer)
                    && self.is_dialed(*number, peer)
                    && self.is_dialed(peer, *number);
                let is_there = self.processes.contains_key(&peer) && peer != *number;
                if reachable && is_there {
                    wish.insert((peer.min(*number), peer.max(*number)));
                }
            }
        }
        let new: Vec<_> = wish.difference(&self.links).copied().collect();
        let old: Vec<_> = self.links.difference(&wish).copied().collect();
        for (a, b) in old {
            self.on_link(a, b, false);
            self.on_link(b, a, false);
        }
        for (a, b) in new {
            self.on_link(a, b, true);
            self.on_link(b, a, true);
        }
        self.links = wish;
        let numbers: Vec<_> = self.processes.keys().copied().collect();
        for number in numbers {
            self.drain(number);
        }
    }

    /// Of two processes of one name, the even ones find one at its address, and the odd ones the
    /// other.
    fn is_dialed(&self, from: u64, to: u64) -> bool {
        let is_first = self.processes.contains_key(&(to + TWIN));
        let is_second = to >= TWIN;
        !is_first && !is_second || from.is_multiple_of(2) == is_first
    }

    fn has_link(&self, a: u64, b: u64) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    fn on_link(&mut self, of: u64, to: u64, is_up: bool) {
        let now = self.now;
        let peer = self.processes.get(&to).map(|peer| (peer.node, peer.region));
        let Some(process) = self.processes.get_mut(&of) else {
            return;
        };
        // A peer that ended is known by its number, which is its key.
        let (peer, region) = peer.unwrap_or((NodeKey(to), 0));
        if is_up {
            process.gossip.handle_link(now, peer);
            let rtt = ms(if region == process.region { 1 } else { 100 });
            let loss = Loss::NONE;
            let link = Link {
                measure: Some(Measure { rtt, loss }),
                health: LinkHealth::Usable,
                limit_bytes: 1_200,
            };
            process.content.links.insert(peer, link);
        } else {
            process.gossip.handle_unlinked(now, peer);
            process.content.links.remove(&peer);
        }
        process.publish(now);
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (at, _) = *entry.key();
            let (from, to, message) = entry.remove();
            let from_node = self.processes.get(&from).map(|process| process.node);
            if !self.has_link(from, to) {
                continue;
            }
            if let (Some(from), Some(process)) = (from_node, self.processes.get_mut(&to)) {
                process.gossip.handle_message(at, from, message);
                self.drain(to);
            }
        }
    }

    fn time_out(&mut self) {
        let now = self.now;
        let numbers: Vec<_> = self.processes.keys().copied().collect();
        for number in numbers {
            let process = self.processes.get_mut(&number).unwrap();
            if process
                .publisher
                .poll_timeout()
                .is_some_and(|due| due <= now)
            {
                process.publisher.handle_timeout(now);
                process.tell(now);
            }
            if process.gossip.poll_timeout() <= now {
                process.gossip.handle_timeout(now, Absence::IsNews);
            }
            // Not all at once, and not at every change: it is what takes the time in here.
            let turn = (now.duration_since(self.start).as_millis() / 100) as u64;
            if (turn + number).is_multiple_of(30) {
                process.wanted.handle_timeout(now);
                while process.wanted.poll_output().is_some() {}
            }
            self.drain(number);
        }
    }

    fn drain(&mut self, number: u64) {
        let now = self.now;
        let linked = |fleet: &Self, node: NodeKey| {
            let is_it = |other: &u64| fleet.processes.get(other).map(|p| p.node) == Some(node);
            let numbers = [node.0, node.0 + TWIN].into_iter().filter(is_it);
            numbers.filter(|other| fleet.has_link(number, *other)).min()
        };
        while let Some(output) = self
            .processes
            .get_mut(&number)
            .and_then(|p| p.gossip.poll_output())
        {
            let process = self.processes.get_mut(&number).unwrap();
            match output {
                Output::Send(to, message) => {
                    let bytes = encoded_bytes(&message);
                    process.sent_bytes += bytes;
                    self.bytes.count(&message, bytes);
                    let region = process.region;
                    if let Some(to) = linked(self, to) {
                        let near = self.processes[&to].region == region;
                        let at = now + ms(if near { 1 } else { 50 });
                        self.sent += 1;
                        self.on_the_way
                            .insert((at, self.sent), (number, to, message));
                    }
                }
                Output::Changed(node) => {
                    let region = process
                        .gossip
                        .advert(node)
                        .unwrap()
                        .value()
                        .content()
                        .region;
                    process.wanted.handle_member(now, node, region);
                }
                Output::Gone(node, _) => {
                    process.wanted.handle_gone(now, node);
                    process.facts.push((now, output));
                }
                fact @ (Output::Contested(_) | Output::Outbid(_) | Output::Synced(_)) => {
                    process.facts.push((now, fact));
                }
            }
        }
    }

    /// What those that run have said last.
    pub(super) fn said(&self) -> BTreeMap<NodeKey, Version> {
        let versions = self.processes.values().map(|p| p.publisher.version());
        versions.map(|version| (version.node, version)).collect()
    }

    /// Whether all know exactly those that run, by what was `said` or newer. In a large mesh there
    /// is always something newer on its way.
    pub(super) fn all_know(&self, said: &BTreeMap<NodeKey, Version>) -> bool {
        let knows = |process: &Process| {
            let held = process
                .gossip
                .adverts()
                .map(|advert| advert.value().version());
            let held: Vec<_> = held.collect();
            let is_new =
                |(held, said): (&Version, &Version)| held.node == said.node && held >= said;
            held.len() == said.len() && held.iter().zip(said.values()).all(is_new)
        };
        self.processes.values().all(knows)
    }

    /// How long it takes until all know what was said until now, at most.
    pub(super) fn converge(&mut self, most: Duration) -> Duration {
        let start = self.now;
        let said = self.said();
        while !self.all_know(&said) {
            assert!(self.now - start < most, "not converged after {most:?}");
            self.run(secs(1));
        }
        self.now - start
    }
}

impl Process {
    fn publish(&mut self, now: Instant) {
        self.publisher.handle_content(now, self.content.clone());
        self.tell(now);
    }

    pub(super) fn tell(&mut self, now: Instant) {
        if let Some(advert) = self.publisher.poll_output() {
            let bytes = ADVERT_BYTES + LINK_BYTES * advert.content().links.len() as u64;
            let advert = Verified::vouch(advert, vec![0; bytes as usize]);
            self.gossip.handle_own(now, advert);
        }
    }
}

impl Bytes {
    fn count(&mut self, message: &Message, bytes: u64) {
        *match message {
            Message::Advert { .. } => &mut self.adverts,
            Message::Digest(_) => &mut self.digests,
            Message::Offer(_) => &mut self.offers,
            Message::Request(_) => &mut self.requests,
        } += bytes;
    }

    pub(super) fn total(&self) -> u64 {
        self.adverts + self.digests + self.offers + self.requests
    }
}

/// What a message is on the wire, about.
fn encoded_bytes(message: &Message) -> u64 {
    FRAME_BYTES
        + match message {
            Message::Advert { advert, .. } => advert.signed().len() as u64 + 6,
            Message::Digest(_) => 8 * BUCKETS as u64,
            Message::Offer(versions) | Message::Request(versions) => {
                VERSION_BYTES * versions.len() as u64
            }
        }
}

/// How many links the members of a fleet wish for, for its figures.
pub(super) fn mean_links(fleet: &Fleet) -> f64 {
    let wish = |process: &Process| process.wanted.peers().count();
    let sum: usize = fleet.processes.values().map(wish).sum();
    sum as f64 / fleet.processes.len() as f64
}

/// The second process of a name has the number of the first and this.
pub(super) const TWIN: u64 = 10_000;
/// Length, type, and the message's own tag and length.
const FRAME_BYTES: u64 = 10;
/// Key 9, generation in milliseconds 7, sequence 3, tag and length 2.
const VERSION_BYTES: u64 = 21;
/// Certificate chain, signature, name, release, addresses, ports, labels and tags.
const ADVERT_BYTES: u64 = 700;
/// Key, round trip, loss, limit and health, each with a tag.
const LINK_BYTES: u64 = 40;
