//! From figures as they were decoded to ones that can be relied on.

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use super::{Advert, Content, State, Version};
use crate::{
    cost::{Load, Loss, Measure},
    graph::{Link, LinkHealth, NodeKey, RegionId},
    window,
};

/// An advert as it was decoded: nothing is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawAdvert {
    /// Who speaks.
    pub node: NodeKey,
    /// Of which start of the node.
    pub generation: u64,
    /// Of which number in it.
    pub sequence: u64,
    /// Where the node is.
    pub region: RegionId,
    /// What it does.
    pub state: State,
    /// In thousandths of what it can do.
    pub load_permille: u64,
    /// Where it can be dialed.
    pub addresses: Vec<String>,
    /// The ports of its workers.
    pub ports: Vec<u16>,
    /// What it runs.
    pub release: String,
    /// What operators wrote on it.
    pub labels: BTreeMap<String, String>,
    /// Its links, in any order.
    pub links: Vec<RawLink>,
    /// What it saw of its own requests, in any order.
    pub views: Vec<RawView>,
}

/// What the node of a [`RawAdvert`] saw of its own requests to one other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawView {
    /// Whom it asked.
    pub node: NodeKey,
    /// How many requests succeeded.
    pub delivered: u64,
    /// How many failed for a reason that is that node's.
    pub lost: u64,
}

/// One link of a [`RawAdvert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLink {
    /// The other end.
    pub peer: NodeKey,
    /// Round trip; `None` until it is measured.
    pub rtt_us: Option<u64>,
    /// Lost packets in a million.
    pub loss_ppm: u64,
    /// The largest packet that fits.
    pub limit_bytes: u64,
    /// What this end thinks of it.
    pub health: LinkHealth,
}

/// Figures that were moved to the nearest one that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjustments {
    /// Round trips above [`Measure::MAX_RTT`].
    pub rtt: u32,
    /// Losses of more than everything.
    pub loss: u32,
    /// Packet sizes above [`MAX_PACKET_BYTES`].
    pub limit: u32,
    /// Loads above what fits.
    pub load: u32,
    /// Requests above [`MAX_OUTCOMES`].
    pub outcomes: u32,
}

/// Why an advert is refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvertError {
    /// The same peer is listed twice.
    DuplicateLink {
        /// Which.
        peer: NodeKey,
    },
    /// The same node is judged twice.
    DuplicateView {
        /// Which.
        node: NodeKey,
    },
    /// The generation leaves no room above it, so that no later start could outgrow it.
    Generation {
        /// What was got.
        got: u64,
    },
    /// The node lists a link to itself.
    OwnLink,
    /// A text is too long.
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        got_bytes: usize,
        /// How long it may be.
        limit_bytes: usize,
    },
    /// A list is too long.
    TooMany {
        /// Which.
        field: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl Advert {
    /// Checks an advert's bounds, and moves absurd figures to the nearest sensible one.
    ///
    /// A figure that is moved makes a bad link or a busy node, which is harm to its author only; the
    /// adverts of releases that measure something in a new way stay readable. What would cost memory,
    /// or has no sensible reading, is refused instead.
    ///
    /// # Errors
    /// [`AdvertError`] names the first bound that is broken.
    pub fn try_new(raw: RawAdvert) -> Result<(Self, Adjustments), AdvertError> {
        check(&raw)?;
        let mut adjusted = Adjustments::default();
        let mut links = BTreeMap::new();
        for link in &raw.links {
            if link.peer == raw.node {
                return Err(AdvertError::OwnLink);
            }
            if links
                .insert(link.peer, link.adjusted(&mut adjusted))
                .is_some()
            {
                return Err(AdvertError::DuplicateLink { peer: link.peer });
            }
        }
        let mut views = BTreeMap::new();
        for view in &raw.views {
            if views
                .insert(view.node, view.adjusted(&mut adjusted))
                .is_some()
            {
                return Err(AdvertError::DuplicateView { node: view.node });
            }
        }
        let load = clamp(raw.load_permille, u64::from(u16::MAX), &mut adjusted.load);
        let advert = Self {
            version: Version {
                node: raw.node,
                generation: raw.generation,
                sequence: raw.sequence,
            },
            content: Content {
                region: raw.region,
                state: raw.state,
                load: Load::from_permille(load as u16),
                addresses: raw.addresses,
                ports: raw.ports,
                release: raw.release,
                labels: raw.labels,
                links,
                views,
            },
        };
        Ok((advert, adjusted))
    }
}

impl RawLink {
    fn adjusted(&self, adjusted: &mut Adjustments) -> Link {
        let loss = clamp(self.loss_ppm, MILLION, &mut adjusted.loss);
        let max_rtt = Measure::MAX_RTT.as_micros() as u64;
        let measure = self.rtt_us.map(|rtt_us| Measure {
            rtt: Duration::from_micros(clamp(rtt_us, max_rtt, &mut adjusted.rtt)),
            loss: Loss::from_ppm(loss as u32),
        });
        let limit = u64::from(MAX_PACKET_BYTES);
        Link {
            measure,
            health: self.health,
            limit_bytes: clamp(self.limit_bytes, limit, &mut adjusted.limit) as u16,
        }
    }
}

impl RawView {
    fn adjusted(&self, adjusted: &mut Adjustments) -> window::Loss {
        window::Loss {
            delivered: clamp(self.delivered, MAX_OUTCOMES, &mut adjusted.outcomes),
            lost: clamp(self.lost, MAX_OUTCOMES, &mut adjusted.outcomes),
        }
    }
}

impl Adjustments {
    /// How many there were.
    pub fn total(&self) -> u32 {
        self.rtt + self.loss + self.limit + self.load + self.outcomes
    }
}

fn check(raw: &RawAdvert) -> Result<(), AdvertError> {
    if raw.generation > MAX_GENERATION {
        return Err(AdvertError::Generation {
            got: raw.generation,
        });
    }
    let count = |field, got, limit| match got > limit {
        true => Err(AdvertError::TooMany { field, got, limit }),
        false => Ok(()),
    };
    count("addresses", raw.addresses.len(), MAX_ADDRESSES)?;
    count("ports", raw.ports.len(), MAX_PORTS)?;
    count("labels", raw.labels.len(), MAX_LABELS)?;
    count("links", raw.links.len(), MAX_LINKS)?;
    count("views", raw.views.len(), MAX_VIEWS)?;
    let length = |field, text: &str, limit_bytes| match text.len() > limit_bytes {
        true => Err(AdvertError::TooLong {
            field,
            got_bytes: text.len(),
            limit_bytes,
        }),
        false => Ok(()),
    };
    length("release", &raw.release, MAX_RELEASE_BYTES)?;
    for address in &raw.addresses {
        length("addresses", address, MAX_ADDRESS_BYTES)?;
    }
    for (name, value) in &raw.labels {
        length("labels", name, MAX_LABEL_NAME_BYTES)?;
        length("labels", value, MAX_LABEL_VALUE_BYTES)?;
    }
    Ok(())
}

/// At most `limit`, and counted if that is less than `value`.
fn clamp(value: u64, limit: u64, adjusted: &mut u32) -> u64 {
    *adjusted += u32::from(value > limit);
    value.min(limit)
}

impl fmt::Display for AdvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateLink { peer } => {
                write!(f, "the link to {:016x} is listed twice", peer.0)
            }
            Self::DuplicateView { node } => {
                write!(f, "the node {:016x} is judged twice", node.0)
            }
            Self::Generation { got } => {
                write!(f, "generation is {got}, limit is {MAX_GENERATION}")
            }
            Self::OwnLink => write!(f, "the node lists a link to itself"),
            Self::TooLong {
                field,
                got_bytes,
                limit_bytes,
            } => write!(f, "{field}: {got_bytes} bytes, limit is {limit_bytes}"),
            Self::TooMany { field, got, limit } => write!(f, "{got} {field}, limit is {limit}"),
        }
    }
}

impl Error for AdvertError {}

const MILLION: u64 = 1_000_000;
/// Five times what 300 nodes in ten regions have at most, and more than twice what they have in 33,
/// see [`wish`](crate::wanted::wish); links on demand are few beside.
pub const MAX_LINKS: usize = 256;
/// Whom one node asks twenty times in half a minute; 1.3 KB.
pub const MAX_VIEWS: usize = 64;
/// A hundred million a second for half a minute. Only shares are compared.
pub const MAX_OUTCOMES: u64 = u32::MAX as u64;
/// As in a Hello. A dial races them, so that each more costs every dialer a handshake.
pub const MAX_ADDRESSES: usize = 16;
/// A DNS name of 253 bytes, a colon and a port.
pub const MAX_ADDRESS_BYTES: usize = 259;
/// More workers than any machine has use for.
pub const MAX_PORTS: usize = 256;
/// As in a Hello.
pub const MAX_LABELS: usize = 32;
/// As in a Hello.
pub const MAX_LABEL_NAME_BYTES: usize = 63;
/// As in a Hello.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;
/// As in a Hello.
pub const MAX_RELEASE_BYTES: usize = 128;
/// What IP can carry in one packet, less its header and UDP's.
pub const MAX_PACKET_BYTES: u16 = 65_507;
/// Half of what a packet's header carries; in milliseconds it lies in the year 6429. A clock that is
/// years ahead is within it, and leaves room to go above when it was put right.
pub const MAX_GENERATION: u64 = 1 << 47;
