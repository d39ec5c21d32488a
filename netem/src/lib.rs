//! A seeded network impairment model, and emulators that stand on it.
//!
//! Read in this order:
//!
//! - [`model`]: what one directed pair of hosts does to packets. Plain values.
//! - [`words`]: a model as one line in the grammar of `tc netem`, or as a table; links by name.
//! - [`topology`]: the file that describes a network: hosts, paths, and how these change.
//! - [`engine`]: decides from model, seed and time whether a packet arrives and when. Sans-IO:
//!   no clock, no sockets, no tasks. Every backend stands on it.
//!   no clock, no sockets, no tasks, no floating point. Every backend stands on it.
//! - [`tc`]: the backend that is the kernel's own netem, as a script.
//! - [`counters`]: what became of the packets; adds up after every call.
//! - [`sim`]: the backend in one process. Hosts with UDP sockets, loopback TCP and tasks that can
//!   be frozen and killed, on tokio's virtual time. With the feature `quinn` its sockets are
//!   quinn's, and each host has a runtime for quinn.
//! - [`regions`]: round trips that were measured between regions, as models of their pairs.
//! - [`emulator`], [`realtime`], [`control`]: what the real-time backends have in common: an engine
//!   with names, the loop around it, and how it is told what to do. [`report`] and [`lateness`]
//!   are what it says of itself.
//! - [`proxy`]: the backend between real processes, without privileges.
//! - [`cli`]: the program `netem`.
//! - `lab` (Linux): network namespaces and TUN devices, one per region, for programs that are not
//!   ours.
//! - [`verify`]: measures whether a backend does what it was asked to.
//!
//! The crate knows nothing of what runs on it.

pub mod cli;
mod clock;
pub mod control;
pub mod counters;
pub mod emulator;
pub mod engine;
mod ip;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod lateness;
pub mod model;
mod nearest;
pub mod normal;
pub mod proxy;
pub mod realtime;
pub mod regions;
pub mod report;
pub mod sim;
pub mod tc;
pub mod topology;
pub mod verify;
pub mod words;
