//! Loss over a stretch that is as short as the number of packets allows.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// What was delivered and what was lost in the last 30 s, in slots of a quarter of a second.
///
/// One window serves a link that carries five probes a second and one that carries 100,000 packets:
/// a judgement names the [`Stretch`] that it needs, and gets the shortest that has it.
/// About a kilobyte, within the value.
#[derive(Debug, Clone)]
pub struct LossWindow {
    start: Instant,
    /// The slot that counts belong to now, counted from the start.
    newest: u64,
    slots: [Slot; SLOTS],
    /// All slots together.
    total: Loss,
}

/// How much of the past a judgement needs.
///
/// Time alone would judge ten probes by one that was lost; a number of packets alone would judge
/// the millisecond in which a queue overflowed at 100,000 packets/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// At least this long.
    pub least: Duration,
    /// And at least so many packets, if [`Stretch::most`] has them.
    pub packets: u64,
    /// But never longer; up to 30 s.
    pub most: Duration,
}

/// What became of the packets of some stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Known to have arrived.
    pub delivered: u64,
    /// Taken for lost.
    pub lost: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    delivered: u32,
    lost: u32,
}

impl LossWindow {
    /// Knows nothing yet.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            newest: 0,
            slots: [Slot::default(); SLOTS],
            total: Loss::default(),
        }
    }

    /// This became of packets since the last call. Meant for a report's worth, not for a packet.
    pub fn handle_loss(&mut self, now: Instant, loss: Loss) {
        self.advance(now);
        let slot = &mut self.slots[place(self.newest)];
        let fits = |sum: u32, more: u64| more.min(u64::from(u32::MAX - sum)) as u32;
        let more = Slot {
            delivered: fits(slot.delivered, loss.delivered),
            lost: fits(slot.lost, loss.lost),
        };
        slot.delivered += more.delivered;
        slot.lost += more.lost;
        self.total.delivered += u64::from(more.delivered);
        self.total.lost += u64::from(more.lost);
    }

    /// Whether anything was lost in the last 30 s: the question that a link at rest is asked, without
    /// a look at every slot.
    pub fn has_lost(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.total.lost > 0
    }

    /// The loss of the shortest stretch up to now that is long enough and has packets enough.
    ///
    /// A slot counts as a whole, so it may be a quarter of a second longer than asked for.
    pub fn trailing(&mut self, now: Instant, stretch: Stretch) -> Loss {
        self.advance(now);
        let slots = |time: Duration| time.as_nanos().div_ceil(SLOT.as_nanos()) as usize + 1;
        let mut sum = Loss::default();
        if self.total == sum {
            return sum;
        }
        let (least, most) = (slots(stretch.least), slots(stretch.most).min(SLOTS));
        for back in 0..most {
            let enough = back >= least && sum.packets() >= stretch.packets;
            let Some(index) = self.newest.checked_sub(back as u64).filter(|_| !enough) else {
                break;
            };
            let slot = self.slots[place(index)];
            sum.delivered += u64::from(slot.delivered);
            sum.lost += u64::from(slot.lost);
        }
        sum
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots = [Slot::default(); SLOTS];
        self.total = Loss::default();
    }

    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.start);
        let newest = (since.as_nanos() / SLOT.as_nanos()) as u64;
        let passed = newest.saturating_sub(self.newest).min(SLOTS as u64);
        for begun in 0..passed {
            let ended = std::mem::take(&mut self.slots[place(newest - begun)]);
            self.total.delivered -= u64::from(ended.delivered);
            self.total.lost -= u64::from(ended.lost);
        }
        self.newest = self.newest.max(newest);
    }
}

impl Loss {
    /// Delivered and lost together.
    pub fn packets(self) -> u64 {
        self.delivered + self.lost
    }

    /// Whether at least `per_mille` of the packets were lost.
    ///
    /// Where there are fewer than `believed` packets, as many as are missing count as delivered:
    /// of 150, for 8 %, twelve must be lost, and the twelfth decides, whenever it comes.
    pub fn reaches(self, per_mille: u64, believed: u64) -> bool {
        self.lost > 0 && self.lost * 1_000 >= self.packets().max(believed) * per_mille
    }

    /// Whether more than `per_mille` of the packets were lost, however few there are.
    pub fn exceeds(self, per_mille: u64) -> bool {
        self.lost * 1_000 > self.packets() * per_mille
    }
}

fn place(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

/// Two reports fit, and the slots of a window are few enough to be summed at each report.
const SLOT: Duration = Duration::from_millis(250);
/// 30 s, and the slot that has begun.
const SLOTS: usize = 121;
