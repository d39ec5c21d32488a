//! What is measured of a link, over windows of time.
//!
//! - [`Arrivals`] counts, at the receiver, what a link brings, and makes the report of it that goes
//!   back every 100 ms; [`Ledger`] turns such reports, at the sender, into what was delivered and
//!   lost since the last one.
//! - [`LossWindow`] holds such counts for half a minute, and answers for a stretch that is as short
//!   as the number of packets allows.
//! - [`RoundTrips`] keeps the distribution of a minute's round trips.
//!
//! Each is of one direction of one link. None of them costs more at 100,000 packets/s than at 5.

mod arrivals;
mod ledger;
mod loss;
mod round_trips;
mod seen;

pub use self::{
    arrivals::{ArrivalReport, Arrivals},
    ledger::Ledger,
    loss::{Loss, LossWindow, Stretch},
    round_trips::{Quantiles, RoundTrips},
    seen::REORDER_WINDOW,
};
