//! What healthy peers notice of those that are not: requests to them while a thousand others are
//! black holes, or heal all at once, or one misbehaves.
//!
//! Half of the requests are first connects: the peer has just become known, and the request joins
//! its first dial. On virtual time the distances are those between regions, and what shows is
//! waiting; with real processes on loopback there is no distance, and what shows is work.

pub mod load;
pub mod misbehaving;
pub mod processes;
pub mod real;
pub mod responder;
pub mod scene;
pub mod simulated;

use super::{Context, row::Row};

/// The figure's name.
pub const NAME: &str = "contention";

/// Measures the figure.
///
/// # Errors
/// A simulation or a process could not be run.
pub fn measure(context: &mut Context) -> anyhow::Result<Vec<Row>> {
    let mut rows = simulated::black_holes(context, simulated::FULL)?;
    rows.extend(simulated::misbehaving(context, simulated::FULL)?);
    rows.extend(simulated::stand_in(context, simulated::FULL)?);
    rows.extend(real::black_holes(context)?);
    Ok(rows)
}
