//! Whole nodes as real processes on loopback, and what must hold when one of them misbehaves.
//!
//! Nothing here is asserted by the clock: each wait looks until something is so, and its deadline is
//! far above what it takes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "processes/admin.rs"]
mod admin;
#[cfg(target_os = "linux")]
#[path = "processes/churn.rs"]
mod churn;
#[path = "processes/ending.rs"]
mod ending;
#[path = "fleet/harness.rs"]
mod fleet;
#[path = "processes/local.rs"]
mod local;
#[path = "processes/mesh.rs"]
mod mesh;
#[path = "processes/mistakes.rs"]
mod mistakes;
#[path = "processes/names.rs"]
mod names;
#[path = "processes/peers.rs"]
mod peers;
#[path = "processes/reload.rs"]
mod reload;
#[path = "processes/seekers.rs"]
mod seekers;
#[path = "processes/services.rs"]
mod services;
