//! How a pair is judged.

use std::time::Duration;

use crate::window::Stretch;

/// How a pair is judged: one of two profiles, to be used with liveness's of the same name.
///
/// Both keep the bounds of [`PairHealth`](super::PairHealth#bounds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// What a judgement that ends Up looks at.
    pub(super) fall: Stretch,
    /// What a judgement that leads back to Up looks at.
    pub(super) rise: Stretch,
    /// How long a queue must stand.
    pub(super) queue: Duration,
    /// How long the link must answer, and Degraded last, before Up.
    pub(super) stay: Duration,
    /// How long Down lasts at least.
    pub(super) stay_down: Duration,
    /// How long reports of what arrived outweigh unanswered probes.
    pub(super) evidence: Duration,
    /// How long an answer of the packet loop does.
    pub(super) answer: Duration,
    /// The penalty for falls halves in this time.
    pub(super) half_life: Duration,
    /// How often a Degraded pair is looked at when nothing comes in.
    pub(super) tick: Duration,
    /// For how long after our own stall loss and delay mean nothing.
    pub(super) blind: Duration,
}

impl Default for HealthConfig {
    /// The profile for probes every 200 ms.
    fn default() -> Self {
        Self {
            // A busy link is judged by two seconds: 20 % reach 8 % of them after 0.8 s, and a
            // queue that overflowed for 100 ms does not. At 50 packets/s the twelfth loss of 150
            // decides: 1.2 s as a rule, and after 2.8 s less than twelve of 140 are lost in one
            // case of 17,000. 1 % at its most dangerous rate, 75 packets/s, reaches twelve of 150
            // in one of several thousand times ten minutes.
            fall: Stretch {
                least: Duration::from_secs(2),
                packets: BELIEVED,
                most: Duration::from_secs(30),
            },
            // Traffic has left, so eight seconds of probes are 40. With 20 % still lost, at most
            // two of them are missing in one case of 125.
            rise: Stretch {
                least: Duration::from_secs(2),
                packets: BELIEVED,
                most: Duration::from_secs(8),
            },
            queue: Duration::from_secs(1),
            // More than twice the 1.2 s in which liveness finds out that a link works. After an
            // outage it is 1.2 + 3 s to Up.
            stay: Duration::from_secs(3),
            // Down and back is two changes. A network that fails and heals as fast as liveness can
            // tell makes no more than 60 / (3 + 0.9) * 2 = 31 of them a minute.
            stay_down: Duration::from_secs(3),
            // Two reports, and one of them lost. The last report of what arrived before a cut
            // comes RTT + 0.1 s after it, so this adds up to RTT + 0.35 s, and liveness itself
            // needs 0.5 s + 2 RTT.
            evidence: Duration::from_millis(250),
            // The packet loop is probed every 400 ms. The last answer comes RTT after a cut, so this
            // adds up to RTT + 0.45 s, within 0.5 s + 2 RTT.
            answer: Duration::from_millis(450),
            // Two of them from the ceiling to release: 10 s after the last fall, which comes 0.9 s
            // + RTT after the network cleared at the latest, a tick makes it 11.2 s + RTT. In a
            // minute: falls at 0, 3 and 11.7 s, then every log2(1500 / 500) * 5 = 7.9 s: nine.
            half_life: Duration::from_secs(5),
            tick: Duration::from_millis(250),
            // The first report after a stall covers what it cost.
            blind: Duration::from_millis(250),
        }
    }
}

impl HealthConfig {
    /// The profile for probes every 48 ms.
    pub fn fast() -> Self {
        Self {
            fall: Stretch {
                least: Duration::from_secs(1),
                packets: BELIEVED,
                most: Duration::from_secs(30),
            },
            // 83 probes, or more.
            rise: Stretch {
                least: Duration::from_secs(1),
                packets: BELIEVED,
                most: Duration::from_secs(4),
            },
            queue: Duration::from_millis(500),
            // Five times the 0.3 s in which liveness finds out that a link works.
            stay: Duration::from_millis(1_500),
            stay_down: Duration::from_secs(1),
            // One report and a half: RTT + 0.25 s after a cut. That is later than liveness's own
            // 0.2 s + 2 RTT where the RTT is below 50 ms.
            evidence: Duration::from_millis(150),
            // Probed every 96 ms: RTT + 0.15 s, within 0.2 s + 2 RTT.
            answer: Duration::from_millis(150),
            // 5 s from the ceiling to release, so 5.5 s + RTT after the network cleared. In a
            // minute: falls at 0, 1.5 and 5.8 s, then every 4 s: sixteen.
            half_life: Duration::from_millis(2_500),
            tick: Duration::from_millis(100),
            blind: Duration::from_millis(250),
        }
    }

    /// Above this lateness of a timer, the stall was our own and judges nobody.
    pub(super) fn tolerance(&self) -> Duration {
        self.tick / 2
    }
}

/// Fewer packets count as if the missing ones had arrived.
///
/// With twelve lost of 150, 8 %, both errors are rare: `P(X >= 12 | n = 150, p = 1 %)` is 5e-8 for
/// one window, and `P(X < 12 | n = 140, p = 20 %)` 6e-5.
pub(super) const BELIEVED: u64 = 150;

/// Losses in a thousand that end Up, on the way out or in. An interactive flow is in pieces long
/// before, but one that has no better path had better stay.
pub(super) const LOSS_FALL: u64 = 80;
/// Of probes there and back: both ways lose, so 1 % each way is 2 %, of which 150 probes exceed
/// 12 % in one case of a hundred million. More than 8 %, so that twice 1 % stays as far away.
pub(super) const LOSS_FALL_ROUND: u64 = 120;
/// Losses in a thousand up to which a pair may come back: three times the 1 % that moves nothing.
pub(super) const LOSS_RISE: u64 = 30;
/// Of probes: two of 40, which 1 % each way keeps to nineteen times in twenty.
pub(super) const LOSS_RISE_ROUND: u64 = 50;

/// A standing queue that ends Up. A drift of two clocks adds up to 6 ms, a longer path tens of
/// them; and with 100 ms on top, most pairs exceed the 150 ms one way that ITU-T G.114 wants.
pub(super) const QUEUE_FALL: Duration = Duration::from_millis(100);
/// A standing queue with which a pair may come back.
pub(super) const QUEUE_RISE: Duration = Duration::from_millis(40);

/// How long a pair waits for a link with a whole congestion window: a dial, both Hellos and the
/// promotion take four round trips. A peer that cannot be dialed from here has traffic all the same.
pub(super) const RENEW_WITHIN: Duration = Duration::from_secs(2);
