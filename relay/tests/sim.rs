//! Whole nodes on a simulated network: virtual time, one seed, every fault exact.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "sim/bad_paths.rs"]
mod bad_paths;
#[path = "sim/bad_peers.rs"]
mod bad_peers;
#[path = "sim/choices.rs"]
mod choices;
#[path = "sim/conditions.rs"]
mod conditions;
#[path = "sim/dials.rs"]
mod dials;
#[path = "sim/diamond.rs"]
mod diamond;
#[path = "../../staging/src/sim/env.rs"]
#[expect(unreachable_pub, reason = "staging's library has it too")]
mod env;
#[path = "sim/failover.rs"]
mod failover;
#[path = "sim/faults.rs"]
mod faults;
#[path = "../../staging/src/sim/fleet.rs"]
#[expect(unreachable_pub, reason = "staging's library has it too")]
mod fleet;
#[path = "sim/leaving.rs"]
mod leaving;
#[path = "sim/limits.rs"]
mod limits;
#[path = "sim/links.rs"]
mod links;
#[path = "sim/load.rs"]
mod load;
#[path = "sim/mesh.rs"]
mod mesh;
#[path = "sim/misbehaviour.rs"]
mod misbehaviour;
#[path = "sim/overlay.rs"]
mod overlay;
#[path = "sim/peers.rs"]
mod peers;
#[path = "sim/policy.rs"]
mod policy;
#[path = "../../staging/src/sim/raw.rs"]
#[expect(unreachable_pub, reason = "staging's library has it too")]
mod raw;
#[path = "sim/replay.rs"]
mod replay;
#[path = "sim/services.rs"]
mod services;
#[path = "sim/soak.rs"]
mod soak;
#[path = "sim/strangers.rs"]
mod strangers;
#[path = "sim/traffic.rs"]
mod traffic;
#[path = "sim/transit.rs"]
mod transit;
