//! Random numbers that mean the same everywhere: PCG XSL RR 128/64, and integer arithmetic only.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::HostId;
use crate::model::Probability;

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

/// Draws whether something of this probability happens.
pub(super) fn happens(random: &mut Pcg64, probability: Probability) -> bool {
    up_to(random, u64::from(Probability::ONE_PPM) - 1) < u64::from(probability.ppm())
}

/// Draws a number from `0..=max`, all alike but for a bias below `max / 2^64`.
///
/// Takes exactly one number from the stream, which rejecting the biased ones would not.
pub(super) fn up_to(random: &mut Pcg64, max: u64) -> u64 {
    let product = u128::from(random.next_u64()) * (u128::from(max) + 1);
    u64::try_from(product >> 64).expect("the high half of a product of 64-bit numbers")
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The increment of SplitMix64: 2^64 over the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
