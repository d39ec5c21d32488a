//! How every node comes to know what each says of itself.

mod book;
mod budget;
mod digest;
mod fetch;
mod message;
mod neighbour;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use self::{book::Book, fetch::Fetches, neighbour::Neighbour};
pub use self::{
    book::{CONTESTED_FOR, EXPIRY, GRAVES_FOR, MAX_GRAVES, MAX_NODES},
    budget::{BURST_ITEMS, ITEMS_PER_SECOND},
    digest::{BUCKETS, Digest},
    fetch::{
        DEADLINE, MAX_OUTSTANDING, MAX_STANDING, MISTRUSTED_AFTER, SHARED_STANDING, SURE_STANDING,
    },
    message::{Absence, Counts, Farewell, Message, Output},
};
use crate::{
    advert::{Advert, MAX_GENERATION, State, Version},
    graph::NodeKey,
    verified::Verified,
};

/// Holds the newest advert of every node, and exchanges them with the neighbours.
///
/// ```text
///    has news      Offer: versions        wants one
///       │ ──────────────────────────────────▶ │
///       │ ◀────────────────────────────────── │ Request: from one offerer at a time
///       │ ──────────────────────────────────▶ │ Advert, with its age; offered on
///       │                                     │
///       │ ◀───────── Digest, 10 s ──────────▶ │ what differs is offered
/// ```
///
/// - An advert is fetched once: from the first that offers it, and after [`DEADLINE`] from another.
/// - The last word of a neighbour about itself, that it leaves, comes without being asked for: there
///   is no time to ask. It is taken once on each link, so that it costs one check of a signature.
/// - Of a node, only a greater version replaces what is held. Older generations and replays are
///   refused and counted; whoever offers an older generation is offered the newer one, so that a
///   node whose clock was set back learns that it has to move above its former self.
/// - News that got lost is found by digest: a bucket that differs twice in a row is offered whole,
///   and all that differ are when a link begins. Once would be too eager: in a large mesh there is
///   always something on its way.
/// - A node of which nothing new is heard is forgotten [`EXPIRY`] after it spoke. Adverts carry their
///   age, so that this is the same moment everywhere and they cannot keep each other alive. A node
///   that said it left is gone at once. Who was forgotten is remembered for [`GRAVES_FOR`], to be
///   dialed now and then, and so that replays do not bring it back.
/// - Nothing is forgotten while absence is not news: during the own warm-up, while one doubts
///   oneself (see [`isolation`](crate::isolation)), and while there is no neighbour.
///
/// # What a liar can do
///
/// - Offer what does not exist: it is asked, does not deliver, and after [`MISTRUSTED_AFTER`] times
///   has one request outstanding and its other offers are dropped. A real advert that it offered
///   first is late by [`DEADLINE`] as long as it is trusted.
/// - Say that an advert is newer than it is: a node that is gone stays known for up to [`EXPIRY`]
///   more wherever it tells of it first, without links that work.
/// - Say that an advert is older than it is. It is not taken to be older than the one before it. But
///   where nothing was known of its node, the node is forgotten early, until it speaks again; and
///   anywhere, if the liar is the first to tell what it says for all of [`EXPIRY`].
/// - Let an older life of a node with a later generation expire here: until it is not remembered any
///   more, [`GRAVES_FOR`], the node is refused and nobody tells it why. So is, without any liar, one
///   whose clock was ahead and that comes back, with it set right, after it was forgotten.
/// - Be silent, or keep news back: the other neighbours have it.
/// - Flood: what is above [`ITEMS_PER_SECOND`] is dropped and counted. Honest nodes say less than
///   that: answers go out at once, and offers and requests wait for what answers left over. An offer
///   that waits is of the newest version when it goes out.
///
/// # Memory
///
/// [`MAX_NODES`] adverts and [`MAX_GRAVES`] of the forgotten. For each of at most [`MAX_NEIGHBOURS`]
/// neighbours the keys of what it is to be offered, and [`SURE_STANDING`] of its own offers; beyond
/// that [`SHARED_STANDING`] offers of all together, and no more than [`MAX_STANDING`] of one.
///
/// # Scale
///
/// Simulated with up to 1,000 nodes, also ones that start all at once with two seeds: 2 s after the
/// last, each knows all, and nothing was dropped or missed on the way. What a node sends to all
/// neighbours, where an advert is 700 B and 40 B for each link:
///
/// | nodes | links | a second, when nothing changes | in all, to start | in the busiest second of that |
/// | --- | --- | --- | --- | --- |
/// | 10 | 7 | 0.5 kB | 47 kB | 16 kB |
/// | 100 | 28 | 3.7 kB | 1.2 MB | 0.2 MB |
/// | 300 | 42 | 11 kB | 4.4 MB | 1.1 MB |
/// | 1,000 | 43 | 32 kB | 17 MB | 4.3 MB |
///
/// Those started 10, 20 and 100 a second and all at once. The 32 kB are reckoned from the row above,
/// in proportion to the number of nodes but for the digests. To start is dear, because every node
/// says several times which links it has by now, and each of these statements goes to all.
///
/// Call a `handle_*` on every input, then drain [`Gossip::poll_output`], then arm
/// [`Gossip::poll_timeout`]. `now` must never go backwards.
#[derive(Debug)]
pub struct Gossip {
    own: NodeKey,
    book: Book,
    neighbours: BTreeMap<NodeKey, Neighbour>,
    fetches: Fetches,
    next_digest: Instant,
    next_sweep: Instant,
    /// When what waits is said to the neighbours, if anything does.
    next_round: Option<Instant>,
    counts: Counts,
    outputs: VecDeque<Output>,
}

impl Gossip {
    /// Knows nothing yet.
    pub fn new(own: NodeKey, now: Instant) -> Self {
        Self {
            own,
            book: Book::default(),
            neighbours: BTreeMap::new(),
            fetches: Fetches::default(),
            next_digest: now + DIGEST_EVERY,
            next_sweep: now + SWEEP_EVERY,
            next_round: None,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The newest advert of a node that is in the mesh.
    pub fn advert(&self, node: NodeKey) -> Option<&Verified<Advert>> {
        self.book.present(node)
    }

    /// The newest advert of every node that is in the mesh, by key; ourselves among them.
    pub fn adverts(&self) -> impl Iterator<Item = &Verified<Advert>> {
        self.book.all_present()
    }

    /// Nodes that were forgotten and did not say that they left, with what they said last. Whoever
    /// has no other way back into a mesh that was cut in two, finds it by dialing these.
    pub fn lost(&self) -> impl Iterator<Item = &Verified<Advert>> {
        self.book.lost()
    }

    /// Nodes in whose name two processes seem to speak, as of the last [`CONTESTED_FOR`].
    pub fn contested(&self, now: Instant) -> impl Iterator<Item = NodeKey> {
        self.book.contested(now)
    }

    /// How many neighbours there are.
    pub fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    /// What happened that should be rare.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether an advert that this neighbour sent was asked for, or is the neighbour's own last
    /// word, which is asked for by nobody and looked at once for each link. If not, its signature is
    /// not worth checking.
    ///
    /// - `state`: what the advert says, as far as that can be believed before it is checked.
    pub fn expects(&mut self, from: NodeKey, node: NodeKey, state: State) -> bool {
        if self.fetches.is_asked(from, node) {
            return true;
        }
        let is_farewell = from == node && state == State::Left;
        let neighbour = self.neighbours.get_mut(&from).filter(|_| is_farewell);
        neighbour.is_some_and(|neighbour| !std::mem::replace(&mut neighbour.has_left, true))
    }

    /// Whether the last thing that this node said is that it leaves.
    pub fn has_left(&self, node: NodeKey) -> bool {
        self.book.known(node).is_some() && self.book.present(node).is_none()
    }

    /// This node says something of itself. Ignored unless it is newer than what it said before.
    pub fn handle_own(&mut self, now: Instant, advert: Verified<Advert>) {
        let version = advert.value().version();
        if version.node != self.own || Some(version) <= self.book.known(self.own) {
            return;
        }
        let is_farewell = advert.value().content().state == State::Left;
        self.book.put(now, advert.clone(), Duration::ZERO);
        if !is_farewell {
            return self.tell(now, self.own, None);
        }
        // Offered, it would be asked for when nobody is here any more.
        for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
            let (advert, age) = (advert.clone(), Duration::ZERO);
            self.say(now, peer, Message::Advert { advert, age });
        }
    }

    /// A link to this node is current, perhaps another than before.
    pub fn handle_link(&mut self, now: Instant, peer: NodeKey) {
        self.handle_unlinked(now, peer);
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            self.counts.strangers += 1;
            return;
        }
        self.neighbours.insert(peer, Neighbour::new(now));
        self.say_digest(now, peer);
    }

    /// There is no link to this node any more.
    pub fn handle_unlinked(&mut self, now: Instant, peer: NodeKey) {
        if self.neighbours.remove(&peer).is_some() {
            for node in self.fetches.drop_offerer(peer) {
                self.ask_another(now, node);
            }
        }
    }

    /// A neighbour said something.
    pub fn handle_message(&mut self, now: Instant, from: NodeKey, message: Message) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            self.counts.strangers += 1;
            return;
        };
        if !neighbour.budget.take(now, message.items()) {
            self.counts.limited += 1;
            return;
        }
        match message {
            Message::Advert { advert, age } => self.on_advert(now, from, advert, age),
            Message::Digest(digest) => {
                let is_first = !neighbour.has_compared();
                let differing = neighbour.compare(&self.book.digest(), &digest);
                if differing == 0 && neighbour.sync_done() {
                    self.outputs.push_back(Output::Synced(from));
                }
                neighbour.pending.extend(self.book.in_buckets(differing));
                if !neighbour.pending.is_empty() {
                    self.speak_soon(now);
                }
                if is_first {
                    // Ours may have been there before it knew of the link.
                    self.say_digest(now, from);
                }
            }
            Message::Offer(versions) => {
                for version in versions {
                    self.on_offer(now, from, version);
                }
                self.settle(now, from, true);
            }
            Message::Request(versions) => {
                for version in versions {
                    if let Some((advert, age)) = self.book.to_send(now, version.node) {
                        self.say(now, from, Message::Advert { advert, age });
                    }
                }
            }
        }
    }

    /// Time passed. Calling it early does nothing.
    ///
    /// - `absence`: as [`WarmUp::is_warm`](crate::warmup::WarmUp::is_warm) and
    ///   [`IsolationGuard::is_doubting`](crate::isolation::IsolationGuard::is_doubting) say.
    pub fn handle_timeout(&mut self, now: Instant, absence: Absence) {
        for (peer, node) in self.fetches.overdue(now) {
            self.on_miss(now, peer, node);
        }
        if self.next_round.take_if(|at| *at <= now).is_some() {
            let peers: Vec<_> = self.neighbours.keys().copied().collect();
            for peer in peers {
                self.speak(now, peer);
            }
        }
        if self.next_digest <= now {
            self.next_digest = now + DIGEST_EVERY;
            let peers: Vec<_> = self.neighbours.keys().copied().collect();
            for peer in peers {
                self.say_digest(now, peer);
            }
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_EVERY;
            // With no neighbour there is nobody from whom news could have come.
            if absence == Absence::IsNews && !self.neighbours.is_empty() {
                for node in self.book.expire(now, self.own) {
                    let gone = Output::Gone(node, Farewell::Expired);
                    self.outputs.push_back(gone);
                }
            }
        }
    }

    /// When to call [`Gossip::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        let timers = [self.next_round, self.fetches.poll_timeout()];
        let regular = self.next_digest.min(self.next_sweep);
        timers.into_iter().flatten().fold(regular, Instant::min)
    }

    /// The next thing to do or to know, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_offer(&mut self, now: Instant, from: NodeKey, version: Version) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        let node = version.node;
        if let Some(known) = self.book.known(node) {
            if version >= known {
                // It has what we have: no need to tell.
                neighbour.pending.remove(&node);
            }
            if version <= known {
                if version.generation < known.generation {
                    self.counts.stale_generation += 1;
                    // It has yet to learn that it, or whom it speaks of, started again since.
                    neighbour.pending.insert(node);
                    self.speak_soon(now);
                } else if version < known {
                    self.counts.replayed += 1;
                }
                return;
            }
        } else if self.book.is_full() {
            self.counts.full += 1;
            return;
        }
        if version.generation > MAX_GENERATION {
            self.counts.absurd += 1;
        } else if self.book.is_buried(version) {
            self.counts.replayed += 1;
        } else if self.fetches.offer(from, version) {
            self.ask(now, from, node);
        } else {
            self.counts.overflowed += 1;
        }
    }

    fn on_advert(&mut self, now: Instant, from: NodeKey, advert: Verified<Advert>, age: Duration) {
        let version = advert.value().version();
        let node = version.node;
        match self.fetches.delivered(from, version) {
            Some(asked) if version < asked => self.on_failure(from),
            Some(_) => self.fetches.trust(from),
            None if node == from && advert.value().content().state == State::Left => {}
            None => {
                self.counts.unasked += 1;
                return;
            }
        }
        let offerers = self.fetches.offerers(node);
        let known = self.book.known(node);
        let is_known = known.is_some();
        if known.is_some_and(|known| version.generation < known.generation) {
            self.counts.stale_generation += 1;
        } else if known.is_some_and(|known| version <= known) || self.book.is_buried(version) {
            self.counts.replayed += 1;
        } else if age >= EXPIRY {
            self.counts.aged += 1;
        } else if node == self.own {
            self.outputs.push_back(Output::Outbid(version));
        } else if !is_known && self.book.is_full() {
            self.counts.full += 1;
        } else {
            self.accept(now, from, advert, age);
        }
        self.ask_another(now, node);
        self.settle(now, from, false);
        for offerer in offerers {
            self.note_synced(offerer, false);
        }
    }

    fn accept(&mut self, now: Instant, from: NodeKey, advert: Verified<Advert>, age: Duration) {
        let node = advert.value().node();
        let was_present = self.book.present(node).is_some();
        let is_contested = self.book.put(now, advert, age);
        if self.book.present(node).is_some() {
            self.outputs.push_back(Output::Changed(node));
        } else if was_present {
            self.outputs.push_back(Output::Gone(node, Farewell::Left));
        }
        if is_contested {
            self.outputs.push_back(Output::Contested(node));
        }
        self.tell(now, node, Some(from));
    }

    /// Offers a node's advert to all neighbours but one, soon.
    fn tell(&mut self, now: Instant, node: NodeKey, except: Option<NodeKey>) {
        let known = self.book.known(node);
        let holders = self.fetches.holders(node, known);
        for (peer, neighbour) in &mut self.neighbours {
            if Some(*peer) != except && !holders.contains(peer) {
                neighbour.pending.insert(node);
            }
        }
        self.fetches.known(node, known);
        self.speak_soon(now);
    }

    fn speak_soon(&mut self, now: Instant) {
        self.next_round.get_or_insert(now + OFFER_AFTER);
    }

    /// Asks a neighbour and offers to it what waits for that. What we may not say yet goes on
    /// waiting, and is by then perhaps something newer.
    fn speak(&mut self, now: Instant, peer: NodeKey) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        if std::mem::take(&mut neighbour.has_unasked) {
            self.ask_all(now, peer);
        }
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let versions = self.book.versions(&neighbour.take_pending(now));
        if !neighbour.pending.is_empty() {
            self.speak_soon(now);
        }
        if !versions.is_empty() {
            self.say(now, peer, Message::Offer(versions));
        }
    }

    fn say_digest(&mut self, now: Instant, peer: NodeKey) {
        let digest = Box::new(self.book.digest());
        self.say(now, peer, Message::Digest(digest));
    }

    /// Says something to a neighbour at once. What can wait does so before it gets here.
    fn say(&mut self, now: Instant, peer: NodeKey, message: Message) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.own_budget.charge(now, message.items());
            self.outputs.push_back(Output::Send(peer, message));
        }
    }

    fn ask(&mut self, now: Instant, peer: NodeKey, node: NodeKey) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        if neighbour.own_budget.left(now) == 0 {
            neighbour.has_unasked = true;
            self.speak_soon(now);
        } else if let Some(version) = self.fetches.ask(now, peer, node) {
            self.say(now, peer, Message::Request(vec![version]));
        }
    }

    /// Asks a neighbour for all that it offers and nobody is asked for, as far as there is room.
    fn ask_all(&mut self, now: Instant, peer: NodeKey) {
        for node in self.fetches.unasked(peer) {
            self.ask(now, peer, node);
        }
    }

    fn ask_another(&mut self, now: Instant, node: NodeKey) {
        for peer in self.fetches.offerers(node) {
            self.ask(now, peer, node);
        }
    }

    /// One request to a neighbour has ended, or it offered something: there may be more to ask of it.
    fn settle(&mut self, now: Instant, peer: NodeKey, offered: bool) {
        self.ask_all(now, peer);
        self.note_synced(peer, offered);
    }

    /// Whether all that a neighbour listed is here. It lists when it has compared.
    fn note_synced(&mut self, peer: NodeKey, offered: bool) {
        let is_done = !self.fetches.has_standing(peer);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.has_listed |= offered && neighbour.has_compared();
            if is_done && neighbour.has_listed && neighbour.sync_done() {
                self.outputs.push_back(Output::Synced(peer));
            }
        }
    }

    fn on_miss(&mut self, now: Instant, peer: NodeKey, node: NodeKey) {
        self.on_failure(peer);
        self.ask_another(now, node);
        self.settle(now, peer, false);
    }

    fn on_failure(&mut self, peer: NodeKey) {
        self.counts.missed += 1;
        self.fetches.mistrust(peer);
    }
}

/// As often as declarations on a link are compared.
const DIGEST_EVERY: Duration = Duration::from_secs(10);
/// How far past its time an advert may stay.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// What changes within this is offered together. Three hops are 0.3 s, a third of what it takes to
/// notice a silent peer.
const OFFER_AFTER: Duration = Duration::from_millis(100);
/// All of the largest mesh. A node has some 60 links, see [`wanted`](crate::wanted), but a seed gets
/// one from everybody who starts, until they know each other; whoever is refused there is known to
/// nobody.
pub const MAX_NEIGHBOURS: usize = MAX_NODES;
