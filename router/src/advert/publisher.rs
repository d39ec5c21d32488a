//! When a node's own changes are worth telling.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Advert, Content, State, Version};
use crate::{
    cost::Measure,
    graph::{Link, NodeKey},
    random::SplitMix64,
};

/// Decides when a node says something new of itself, and numbers it.
///
/// Every statement is signed, travels to every node and makes each compute routes, so it has to be
/// worth that:
///
/// | what changed | is told |
/// | --- | --- |
/// | that the node left | at once |
/// | state, addresses, ports, release, labels; a link that came, went or changed its health or size | at once, five in a row, then one a second |
/// | a round trip by [`PublisherConfig::rtt_percent`] and 2 ms, a loss by [`PublisherConfig::loss_ppm`], the load by [`PublisherConfig::load_permille`] | once in [`PublisherConfig::gap`] |
/// | which nodes this one sees far below the others of their regions | at once, three in a row, then one in ten seconds |
/// | nothing, while there are such nodes | every [`OUTLIERS_REFRESH`] |
/// | nothing, or less | every [`PublisherConfig::refresh`], so that one is not forgotten |
///
/// Changes are measured from what was last told, not from what was last measured, so that a slow
/// drift is told too.
///
/// What this node saw of its own requests goes with every statement and is none by itself: figures
/// of nodes that do well move all the time, and mean the same to all who hear them. A node that falls
/// behind is news, and so is one that is back.
///
/// Give the current state to [`Publisher::handle_content`], then drain [`Publisher::poll_output`],
/// then arm [`Publisher::poll_timeout`]. `now` must never go backwards.
#[derive(Debug)]
pub struct Publisher {
    config: PublisherConfig,
    version: Version,
    random: SplitMix64,
    told: Option<Content>,
    told_at: Instant,
    content: Option<Content>,
    /// How much the content differs from what was told: compared once, asked for at every timer.
    difference: Significance,
    urgent: Pace,
    /// Whom this node sees far below the others now, and as of what was told.
    outliers: BTreeSet<NodeKey>,
    told_outliers: BTreeSet<NodeKey>,
    outliers_pace: Pace,
    refresh_at: Instant,
    output: Option<Advert>,
}

/// What is worth a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherConfig {
    /// By how much of what was told a round trip must differ, and by 2 ms. Default 15: more
    /// than the noise of a smoothed round trip, and 10 ms, which is what moves a flow, at 67 ms.
    pub rtt_percent: u32,
    /// By how much a loss must differ. Default 10,000, which is 1 %: half of what an interactive
    /// flow takes no notice of.
    pub loss_ppm: u32,
    /// By how much the load must differ. Default 100: that is 0.6 ms of cost at half load.
    pub load_permille: u16,
    /// The least time between two statements about measures alone. Default 10 s.
    pub gap: Duration,
    /// The longest time without a statement. Default 2 min; each is drawn from its last quarter, so
    /// that nodes that started together do not speak together for ever.
    pub refresh: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Significance {
    Nothing,
    Measure,
    Outlier,
    Event,
    Farewell,
}

/// How often something may be said: a burst, and then at a rate.
#[derive(Debug)]
struct Pace {
    every: Duration,
    burst: u32,
    /// Until when what was said is paid for at its rate; ahead of now by at most a burst.
    paid_until: Instant,
}

impl Publisher {
    /// Has nothing to say yet.
    ///
    /// - `seed`: should differ between nodes.
    pub fn new(
        config: PublisherConfig,
        node: NodeKey,
        generation: u64,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            config,
            version: Version {
                node,
                generation,
                sequence: 0,
            },
            random: SplitMix64(seed),
            told: None,
            told_at: now,
            content: None,
            difference: Significance::Event,
            urgent: Pace::new(URGENT_EVERY, URGENT_BURST, now),
            outliers: BTreeSet::new(),
            told_outliers: BTreeSet::new(),
            outliers_pace: Pace::new(OUTLIERS_EVERY, OUTLIERS_BURST, now),
            refresh_at: now,
            output: None,
        }
    }

    /// What this node is now; the same as before is fine.
    ///
    /// Its lists must be within the bounds of an advert; [`Advert::try_new`] at the receivers
    /// refuses it otherwise.
    pub fn handle_content(&mut self, now: Instant, content: Content) {
        self.difference = self.significance(&content);
        self.content = Some(content);
        self.judge(now);
    }

    /// Whom this node sees far below the others of their regions, by the views of the next content.
    pub fn handle_outliers(&mut self, outliers: BTreeSet<NodeKey>) {
        self.outliers = outliers;
    }

    /// The node's generation is another: it is to speak as that from now on, and at once.
    pub fn handle_generation(&mut self, now: Instant, generation: u64) {
        self.version.generation = generation;
        self.version.sequence = 0;
        self.told = None;
        self.difference = Significance::Event;
        self.judge(now);
    }

    /// Time passed. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.judge(now);
    }

    /// When to call [`Publisher::handle_timeout`]; `None` before there is anything to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.content.as_ref()?;
        let change = match self.difference {
            Significance::Nothing => self.refresh_at,
            Significance::Measure => self.told_at + self.config.gap,
            Significance::Outlier => self.outliers_pace.at(self.told_at),
            Significance::Event => self.urgent.at(self.told_at),
            // There is no later for it.
            Significance::Farewell => self.told_at,
        };
        Some(change.min(self.refresh_at))
    }

    /// What is to be signed and told, if anything.
    pub fn poll_output(&mut self) -> Option<Advert> {
        self.output.take()
    }

    /// As what this node speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    fn judge(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now)
            && let Some(content) = self.content.clone()
        {
            self.tell(now, content);
        }
    }

    fn tell(&mut self, now: Instant, content: Content) {
        match self.difference {
            Significance::Event => self.urgent.pay(now),
            Significance::Outlier => self.outliers_pace.pay(now),
            Significance::Nothing | Significance::Measure | Significance::Farewell => {}
        }
        self.told_outliers.clone_from(&self.outliers);
        self.version.sequence += 1;
        self.told = Some(content.clone());
        self.difference = Significance::Nothing;
        self.told_at = now;
        let refresh = match self.outliers.is_empty() {
            true => self.config.refresh,
            false => self.config.refresh.min(OUTLIERS_REFRESH),
        };
        let quarter = refresh.as_micros() as u64 / 4;
        let early = Duration::from_micros(self.random.below(quarter.max(1)));
        self.refresh_at = now + refresh - early;
        self.output = Some(Advert {
            version: self.version,
            content,
        });
    }

    fn significance(&self, content: &Content) -> Significance {
        let told = self.told.as_ref();
        if content.state == State::Left && told.is_none_or(|told| told.state != State::Left) {
            return Significance::Farewell;
        }
        let Some(told) = told else {
            return Significance::Event;
        };
        let same = told.region == content.region
            && told.state == content.state
            && told.addresses == content.addresses
            && told.ports == content.ports
            && told.release == content.release
            && told.labels == content.labels
            && told.links.len() == content.links.len();
        if !same {
            return Significance::Event;
        }
        let load = told.load.as_permille().abs_diff(content.load.as_permille());
        let most = match load >= self.config.load_permille {
            _ if self.outliers != self.told_outliers => Significance::Outlier,
            true => Significance::Measure,
            false => Significance::Nothing,
        };
        let link = |(peer, link): (&NodeKey, &Link)| match told.links.get(peer) {
            Some(told) => self.significance_of_link(told, link),
            None => Significance::Event,
        };
        content.links.iter().map(link).fold(most, Ord::max)
    }

    fn significance_of_link(&self, told: &Link, link: &Link) -> Significance {
        if told.health != link.health || told.limit_bytes != link.limit_bytes {
            return Significance::Event;
        }
        match (told.measure, link.measure) {
            (None, None) => Significance::Nothing,
            // A link that is not measured yet is hardly used, so its first figure is news.
            (None, Some(_)) | (Some(_), None) => Significance::Measure,
            (Some(told), Some(link)) if self.differs(told, link) => Significance::Measure,
            (Some(_), Some(_)) => Significance::Nothing,
        }
    }

    fn differs(&self, told: Measure, now: Measure) -> bool {
        let rtt = told.rtt.abs_diff(now.rtt);
        let loss = told.loss.as_ppm().abs_diff(now.loss.as_ppm());
        (rtt >= LEAST_RTT && rtt * 100 >= told.rtt * self.config.rtt_percent)
            || loss >= self.config.loss_ppm
    }
}

impl Pace {
    fn new(every: Duration, burst: u32, now: Instant) -> Self {
        Self {
            every,
            burst,
            paid_until: now,
        }
    }

    /// From when on there is room for another one; not before `least`.
    fn at(&self, least: Instant) -> Instant {
        let burst = self.every * (self.burst - 1);
        let at = self.paid_until.checked_sub(burst);
        at.map_or(least, |at| at.max(least))
    }

    fn pay(&mut self, now: Instant) {
        self.paid_until = self.paid_until.max(now) + self.every;
    }
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            rtt_percent: 15,
            loss_ppm: 10_000,
            load_permille: 100,
            gap: Duration::from_secs(10),
            refresh: Duration::from_secs(120),
        }
    }
}

/// A link between neighbours varies by more than its round trip, and nobody cares.
const LEAST_RTT: Duration = Duration::from_millis(2);
/// What a flapping link costs the mesh, at most.
const URGENT_EVERY: Duration = Duration::from_secs(1);
/// A drain, a lost link and its return are told without waiting for each other.
const URGENT_BURST: u32 = 5;
/// A node that fails, its return, and another one that fails, are told as they are seen; what goes
/// up and down costs six statements a minute.
const OUTLIERS_EVERY: Duration = Duration::from_secs(10);
const OUTLIERS_BURST: u32 = 3;
/// How long a statement that speaks ill of somebody is the last one, at most. What it describes is
/// half a minute; and whoever could not take it, because the node had just returned, hears it again
/// when it can.
pub const OUTLIERS_REFRESH: Duration = Duration::from_secs(30);
