//! Fleets of Causeway nodes as a runnable program.
//!
//! [`figures`] measures what is claimed. [`demo`] is for looking at: [`fleet`] starts real node
//! processes on this machine, as far apart as their regions, [`traffic`] sends packets and a stream
//! across, [`failover`] keeps account of a link that is cut meanwhile, [`view`] and [`screen`] show
//! it, [`report`] judges it. The nodes are this program started
//! again, see [`node_process`].

pub mod demo;
pub mod failover;
pub mod figures;
pub mod fleet;
pub mod node_process;
pub mod report;
pub mod screen;
pub mod signals;
pub mod sim;
pub mod traffic;
pub mod view;
