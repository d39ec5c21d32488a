//! What a node sends to and receives from each region, and what it may send there.
//!
//! Traffic between regions is what a mesh pays for, and a packet that takes an overlay path is paid
//! for on each of its links; so every node counts what it sends itself, by the region at the other
//! end of the link and by whether that link is the whole path. What it receives another node has
//! sent, and counted so; here it is one number for each region. Counted are the bytes of packets
//! with their header and those of streams, without what QUIC adds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{clock, config::Cap, telemetry::Counter, wire::words::words};

/// The accounts of a node, by region.
#[derive(Debug)]
pub struct Accounts {
    started: Instant,
    caps: BTreeMap<String, u64>,
    regions: Mutex<BTreeMap<String, Arc<RegionAccount>>>,
}

/// What goes between this node and the nodes of one region.
#[derive(Debug)]
pub struct RegionAccount {
    sent: [Cell; Passage::ALL.len()],
    received: Cell,
    cap: Option<Bucket>,
    started: Instant,
}

/// A number of packets and bytes.
#[derive(Debug, Default)]
pub struct Cell {
    /// Packets; pieces of a packet count each. Of streams, none.
    pub packets: Counter,
    /// Bytes of packets and of streams.
    pub bytes: Counter,
}

words! {
    /// What kind of path traffic is on.
    Passage {
        /// The link is its whole path.
        Direct(0) = "direct";
        /// The link is one of several on its path.
        Overlay(1) = "overlay";
    }
}

/// One end of a stream, and the account that its bytes go to.
#[derive(Debug, Clone)]
pub(crate) struct Toll {
    account: Arc<RegionAccount>,
    passage: Passage,
}

/// A rate that is kept on average over [`BURST`].
///
/// It holds one number, the time until which what was sent has paid: the generic cell rate
/// algorithm of ITU-T I.371.
#[derive(Debug)]
struct Bucket {
    nanos_per_byte_x1024: u64,
    /// Nanoseconds since the node's start.
    paid_until: AtomicU64,
}

impl Accounts {
    /// Nothing has gone anywhere yet.
    ///
    /// - `started`: some moment before anything is sent.
    pub fn new(caps: &[Cap], started: Instant) -> Self {
        let caps = caps.iter();
        Self {
            started,
            caps: caps
                .map(|cap| (cap.region.clone(), cap.bits_per_s))
                .collect(),
            regions: Mutex::default(),
        }
    }

    /// The account of a region. Takes a lock: asked for when a link begins.
    pub fn of(&self, region: &str) -> Arc<RegionAccount> {
        let mut regions = self.regions.lock();
        if let Some(account) = regions.get(region) {
            return account.clone();
        }
        let account = Arc::new(RegionAccount {
            sent: Default::default(),
            received: Cell::default(),
            cap: self.caps.get(region).map(|bits| Bucket::new(*bits)),
            started: self.started,
        });
        regions.insert(region.to_owned(), account.clone());
        account
    }

    /// Every account, by region.
    pub fn all(&self) -> Vec<(String, Arc<RegionAccount>)> {
        let regions = self.regions.lock();
        let all = regions.iter();
        all.map(|(region, account)| (region.clone(), account.clone()))
            .collect()
    }

    /// Bytes sent to all regions.
    pub fn sent_bytes(&self) -> u64 {
        let sent = |(_, account): (String, Arc<RegionAccount>)| -> u64 {
            let passages = Passage::ALL.iter();
            passages
                .map(|passage| account.sent(*passage).bytes.value())
                .sum()
        };
        self.all().into_iter().map(sent).sum()
    }

    /// What the bytes of a stream on a link to `region` are counted by.
    pub(crate) fn toll(&self, region: &str, passage: Passage) -> Toll {
        Toll {
            account: self.of(region),
            passage,
        }
    }
}

impl Toll {
    /// Counts bytes that were sent, and waits until more may be.
    ///
    /// # Cancel safety
    /// Cancel safe: what is counted stays so.
    pub(crate) async fn sent(&self, bytes: usize) {
        self.account.sent(self.passage).bytes.add(bytes as u64);
        let now = clock::now();
        if let Some(pause) = self.account.pace(now, bytes) {
            clock::sleep_until(Some(now + pause)).await;
        }
    }

    /// Counts bytes that were received.
    pub(crate) fn received(&self, bytes: usize) {
        self.account.received().bytes.add(bytes as u64);
    }
}

impl Passage {
    /// Of a way that has nodes between its ends, or has none.
    pub(crate) fn of(is_direct: bool) -> Self {
        match is_direct {
            true => Self::Direct,
            false => Self::Overlay,
        }
    }
}

impl RegionAccount {
    /// What was sent on one kind of path.
    pub fn sent(&self, passage: Passage) -> &Cell {
        &self.sent[passage as usize]
    }

    /// What was received.
    pub fn received(&self) -> &Cell {
        &self.received
    }

    /// Whether a packet may be sent to the region now; it is charged if so.
    pub(crate) fn admits(&self, now: Instant, bytes: usize) -> bool {
        // Most regions have no cap, and this is asked for every packet.
        let cap = self.cap.as_ref();
        cap.is_none_or(|cap| cap.admits(self.nanos(now), bytes))
    }

    /// Charges bytes of a stream that were sent, and says how long to wait before the next.
    pub(crate) fn pace(&self, now: Instant, bytes: usize) -> Option<Duration> {
        self.cap.as_ref()?.charge(self.nanos(now), bytes)
    }

    /// Nanoseconds since the node's start, as caps count them.
    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Cell {
    /// Counts a packet.
    pub(crate) fn count_packet(&self, bytes: usize) {
        self.packets.incr();
        self.bytes.add(bytes as u64);
    }
}

impl Bucket {
    fn new(bits_per_s: u64) -> Self {
        // A byte takes 8 s / rate.
        let nanos_per_byte_x1024 = 8 * 1_000_000_000 * 1_024 / bits_per_s.max(1);
        Self {
            nanos_per_byte_x1024,
            paid_until: AtomicU64::new(0),
        }
    }

    fn price(&self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(self.nanos_per_byte_x1024) >> 10
    }

    fn admits(&self, nanos: u64, bytes: usize) -> bool {
        let price = self.price(bytes);
        let pay = |until: u64| {
            let until = until.max(nanos) + price;
            (until <= nanos + BURST.as_nanos() as u64).then_some(until)
        };
        // Nothing else is published with it.
        let paid = self
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        paid.is_ok()
    }

    fn charge(&self, nanos: u64, bytes: usize) -> Option<Duration> {
        let price = self.price(bytes);
        let pay = |until: u64| Some(until.max(nanos).saturating_add(price));
        let before = self
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
        let until = before.unwrap_or_default().max(nanos) + price;
        let ahead = until.saturating_sub(nanos + BURST.as_nanos() as u64);
        (ahead > 0).then(|| Duration::from_nanos(ahead))
    }
}

/// What may be sent at once after a pause: a key frame of a busy room, and two round trips of a
/// stream's window.
const BURST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    fn account(bits_per_s: u64) -> Arc<RegionAccount> {
        let cap = Cap {
            region: "ap".into(),
            bits_per_s,
        };
        Accounts::new(&[cap], clock::now()).of("ap")
    }

    #[test]
    fn what_is_sent_on_average_is_the_cap_and_a_burst_at_most() {
        for packet in [100, 1_200, 16_000] {
            let account = account(8 * MBIT);
            let mut sent = 0;
            // Ten times as much is offered, for ten seconds.
            let every = packet as u64 * 100;
            for nanos in (0..10_000_000_000).step_by(every as usize) {
                let now = account.started + Duration::from_nanos(nanos);
                sent += packet * usize::from(account.admits(now, packet));
            }
            let (least, most) = (9_800_000, 10_000_000 + 200_000);
            assert!((least..=most).contains(&sent), "{packet}: {sent}");
        }
    }

    #[test]
    fn stream_is_made_to_wait_for_what_is_beyond_the_burst() {
        let account = account(8 * MBIT);
        let now = account.started;
        assert_eq!(account.pace(now, 200_000), None);
        assert_eq!(account.pace(now, 100_000), Some(Duration::from_millis(100)));
        let later = now + Duration::from_millis(400);
        assert_eq!(account.pace(later, 1_000), None);
    }

    #[test]
    fn what_was_not_sent_in_a_pause_is_not_saved_up_beyond_a_burst() {
        let later = |account: &RegionAccount| account.started + Duration::from_secs(10);
        let packets = account(8 * MBIT);
        let sent = (0..10_000).filter(|_| packets.admits(later(&packets), 1_000));
        assert_eq!(sent.count(), 200);
        let stream = account(8 * MBIT);
        assert_eq!(stream.pace(later(&stream), 200_000), None);
        let pause = Duration::from_millis(100);
        assert_eq!(stream.pace(later(&stream), 100_000), Some(pause));
    }

    #[test]
    fn region_without_a_cap_takes_everything() {
        let accounts = Accounts::new(&[], clock::now());
        let account = accounts.of("eu");
        let now = clock::now();
        assert!((0..1_000).all(|_| account.admits(now, 1 << 20)));
        assert_eq!(account.pace(now, 1 << 30), None);
    }

    #[test]
    fn account_of_a_region_is_one_and_tells_paths_apart() {
        let accounts = Accounts::new(&[], clock::now());
        accounts.of("eu").sent(Passage::Direct).count_packet(100);
        accounts.of("eu").sent(Passage::Overlay).count_packet(10);
        accounts.of("eu").received().bytes.add(7);
        accounts.of("ap").sent(Passage::Direct).count_packet(1);
        let account = accounts.of("eu");
        let read = |cell: &Cell| (cell.packets.value(), cell.bytes.value());
        assert_eq!(read(account.sent(Passage::Direct)), (1, 100));
        assert_eq!(read(account.sent(Passage::Overlay)), (1, 10));
        assert_eq!(read(account.received()), (0, 7));
        assert_eq!(accounts.sent_bytes(), 111);
    }
}
