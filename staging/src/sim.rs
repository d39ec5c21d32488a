//! Whole fleets in one process, on virtual time, with nothing real underneath.
//!
//! [`fleet::Fleet`] runs nodes on a simulated network, [`env`](mod@env) is what such a node is built
//! from, [`raw`] is a peer that says and leaves out what its user wants. The node's own simulated
//! tests are made of the same parts.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a simulation that cannot go on is a bug, and says so by panicking"
)]

pub mod env;
pub mod fleet;
pub mod raw;
