//! A seeded network impairment model, and an in-memory network on virtual time.
//!
//! Read in this order:
//!
//! - [`model`]: what one directed pair of hosts does to packets. Plain values.
//! - [`words`]: a model as one line in the grammar of `tc netem`, or as a table; links by name.
//! - [`topology`]: the file that describes a network: hosts, paths, and how these change.
//! - [`engine`]: decides from model, seed and time whether a packet arrives and when. Sans-IO:
//!   no clock, no sockets, no tasks, no floating point. Every backend stands on it.
//! - [`counters`]: what became of the packets; adds up after every call.
//! - [`sim`]: the backend in one process. Hosts with UDP sockets, loopback TCP and tasks that can
//!   be frozen and killed, on tokio's virtual time. With the feature `quinn` its sockets are
//!   quinn's, and each host has a runtime for quinn.
//! - [`regions`]: round trips that were measured between regions, as models of their pairs.
//! - [`cli`]: the program `netem`.
//! - `lab` (Linux): network namespaces and TUN devices, one per region, for programs that are not
//!   ours.
//! - [`verify`]: measures whether a backend does what it was asked to.
//!
//! The crate knows nothing of what runs on it.

pub mod cli;
mod clock;
pub mod counters;
pub mod engine;
mod ip;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod model;
mod nearest;
pub mod normal;
pub mod regions;
pub mod sim;
pub mod topology;
pub mod verify;
pub mod words;
