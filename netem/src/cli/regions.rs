//! `netem regions`: what the matrices hold.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{Stop, write_json};
use crate::regions::{Matrix, MatrixError, RoundTrip, Summary, listing};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A matrix; without it, all of them are listed.
    ///
    /// A file of your own works too: FILE.json, FILE.csv, or two of them with a comma between them,
    /// the p50 and the p90. JSON is {"data": {FROM: {TO: MILLISECONDS}}}; CSV has the regions in its
    /// first line and in the first cell of every other line.
    matrix: Option<String>,
    /// Regions; without them, those of the matrix are listed.
    #[arg(value_name = "REGION")]
    regions: Vec<String>,
    /// Prints JSON, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Stop> {
    let Arguments {
        matrix,
        regions,
        json,
    } = arguments;
    let Some(name) = matrix else {
        let known: Result<Vec<Summary>, MatrixError> = Matrix::NAMES
            .iter()
            .map(|name| Matrix::named(name).map(|matrix| matrix.summary()))
            .collect();
        let known = known.map_err(Stop::usage)?;
        return if *json {
            write_json(&known, out)
        } else {
            Ok(out.write_all(listing(&known).as_bytes())?)
        };
    };
    let matrix = Matrix::load(name).map_err(Stop::usage)?;
    match (regions.is_empty(), json) {
        (true, true) => write_json(&matrix.summary(), out),
        (true, false) => Ok(write!(out, "{}", matrix.summary())?),
        (false, true) => {
            let pairs = matrix.round_trips(regions).map_err(Stop::usage)?;
            let matrix = matrix.name();
            write_json(&Pairs { matrix, pairs }, out)
        }
        (false, false) => {
            let table = matrix.table(regions).map_err(Stop::usage)?;
            Ok(out.write_all(table.as_bytes())?)
        }
    }
}

#[derive(Serialize)]
struct Pairs<'a> {
    matrix: &'a str,
    pairs: Vec<RoundTrip>,
}
