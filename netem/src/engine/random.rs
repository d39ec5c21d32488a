//! Random numbers that mean the same everywhere: PCG XSL RR 128/64, and integer arithmetic only.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::HostId;
use crate::model::Probability;

/// Everything random about one packet, drawn before anything is decided: so the n-th packet of a
/// pair has the same luck whatever the model was for it and for those before it.
#[derive(Debug)]
pub(super) struct Luck {
    pub(super) loss: u64,
    pub(super) loss_state: u64,
    pub(super) jitter: u64,
    pub(super) reorder: u64,
    pub(super) duplicate: u64,
    pub(super) corrupt: u64,
    pub(super) corrupted_bit: u64,
}

impl Luck {
    pub(super) fn draw(random: &mut Pcg64) -> Self {
        // In the order in which they are written here, which seeds depend on.
        Self {
            loss: random.next_u64(),
            loss_state: random.next_u64(),
            jitter: random.next_u64(),
            reorder: random.next_u64(),
            duplicate: random.next_u64(),
            corrupt: random.next_u64(),
            corrupted_bit: random.next_u64(),
        }
    }
}

/// The random stream of one directed pair.
///
/// State and increment both come out of a mixing function: PCG streams that differ in their
/// increment alone can be correlated.
pub(super) fn stream(seed: u64, from: HostId, to: HostId) -> Pcg64 {
    let pair = u64::from(from.0) << 32 | u64::from(to.0);
    let mut state = mix(seed ^ mix(pair));
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(GOLDEN_GAMMA);
        chunk.copy_from_slice(&mix(state).to_le_bytes());
    }
    Pcg64::from_seed(bytes)
}

/// Whether something of this probability happens with this luck.
pub(super) fn happens(luck: u64, probability: Probability) -> bool {
    up_to(luck, u64::from(Probability::ONE_PPB) - 1) < u64::from(probability.ppb())
}

/// A number from `0..=max`, all alike but for a bias below `max / 2^64`.
pub(super) fn up_to(luck: u64, max: u64) -> u64 {
    let product = u128::from(luck) * (u128::from(max) + 1);
    u64::try_from(product >> 64).expect("the high half of a product of 64-bit numbers")
}

/// A number between 0 and 1, never one of them: 52 bits and a half fit a float exactly, 53 do not.
#[expect(clippy::cast_precision_loss, reason = "52 bits are exact")]
pub(super) fn fraction(luck: u64) -> f64 {
    ((luck >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The finalizer of SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The increment of SplitMix64: 2^64 over the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
