//! What Causeway is compared with: small, honest, same settings, built the same way.

pub mod idle_quinn;
pub mod lock_manager;
pub mod quinn_forwarder;
mod runs;
pub mod udp_forwarder;
