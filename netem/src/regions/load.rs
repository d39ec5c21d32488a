//! Where matrices come from: with this program, or from a file.

use std::{fs::File, io, io::Read};

use super::{
    Entry, MAX_TABLE_BYTES, Matrix, MatrixError,
    parse::{self, Parse},
    square::Square,
};
use crate::nearest::nearest;

impl Matrix {
    /// The matrices that come with this program.
    pub const NAMES: [&str; 2] = ["aws", "azure"];

    /// One of [`Self::NAMES`].
    ///
    /// # Errors
    /// [`MatrixError::Unknown`] if it is none of them.
    pub fn named(name: &str) -> Result<Self, MatrixError> {
        let (parse, source, p50, p90): (Parse, _, _, _) = match name {
            "aws" => (parse::json, AWS_SOURCE, AWS_P50, Some(AWS_P90)),
            "azure" => (parse::csv, AZURE_SOURCE, AZURE_P50, None),
            _ => return Err(unknown(name)),
        };
        let mut matrix = Self::parse(parse, name, p50, p90)?;
        matrix.source = Some(source);
        Ok(matrix)
    }

    /// One of [`Self::NAMES`], or the file FILE.json or FILE.csv, or the files of p50 and p90 with
    /// a comma between them. The matrix is called as `name_or_files` says.
    ///
    /// # Errors
    /// If there is none, if a file cannot be read, or if a table cannot be used.
    pub fn load(name_or_files: &str) -> Result<Self, MatrixError> {
        if Self::NAMES.contains(&name_or_files) {
            return Self::named(name_or_files);
        }
        let square = |path: &str| -> Result<Square, MatrixError> {
            let parse = parser(path).ok_or_else(|| unknown(path))?;
            let text = read(path).map_err(|source| MatrixError::Read {
                path: path.to_owned(),
                source,
            })?;
            checked(parse, path.to_owned(), &text)
        };
        let (p50, p90) = match name_or_files.split_once(',') {
            None => (square(name_or_files)?, None),
            Some((p50, p90)) => (square(p50)?, Some(square(p90)?)),
        };
        Self::assemble(name_or_files, p50, p90)
    }

    /// From text: the regions in the first line and in the first cell of every other line,
    /// milliseconds in the cells, commas between them. The row is where a round trip begins.
    ///
    /// # Errors
    /// If a table cannot be used, or if the two are of different regions.
    pub fn parse_csv(name: &str, p50: &str, p90: Option<&str>) -> Result<Self, MatrixError> {
        Self::parse(parse::csv, name, p50, p90)
    }

    /// From text: `{"data": {FROM: {TO: MILLISECONDS}}}`.
    ///
    /// # Errors
    /// As [`Self::parse_csv`].
    pub fn parse_json(name: &str, p50: &str, p90: Option<&str>) -> Result<Self, MatrixError> {
        Self::parse(parse::json, name, p50, p90)
    }

    fn parse(parse: Parse, name: &str, p50: &str, p90: Option<&str>) -> Result<Self, MatrixError> {
        let p50 = checked(parse, format!("{name}, p50"), p50)?;
        let p90 = p90
            .map(|text| checked(parse, format!("{name}, p90"), text))
            .transpose()?;
        Self::assemble(name, p50, p90)
    }

    fn assemble(name: &str, p50: Square, p90: Option<Square>) -> Result<Self, MatrixError> {
        if let Some(p90) = &p90 {
            same_regions(name, &p50.regions, &p90.regions)?;
        }
        let entry = |(index, p50): (usize, &Option<u64>)| {
            let p90 = p90.as_ref().and_then(|square| square.cells[index]);
            Entry::new(*p50, p90)
        };
        Ok(Self {
            name: name.to_owned(),
            source: None,
            entries: p50.cells.iter().enumerate().map(entry).collect(),
            regions: p50.regions,
            has_p90: p90.is_some(),
        })
    }
}

fn checked(parse: Parse, table: String, text: &str) -> Result<Square, MatrixError> {
    parse(text).map_err(|source| MatrixError::Table { table, source })
}

fn same_regions(matrix: &str, p50: &[String], p90: &[String]) -> Result<(), MatrixError> {
    let missing = |of: &[String], other: &[String]| -> Vec<String> {
        let missing = of.iter().filter(|name| other.binary_search(name).is_err());
        missing.cloned().collect()
    };
    let mut regions = missing(p50, p90);
    regions.extend(missing(p90, p50));
    if regions.is_empty() {
        return Ok(());
    }
    regions.truncate(REGIONS_SHOWN);
    Err(MatrixError::OtherRegions {
        matrix: matrix.to_owned(),
        regions,
    })
}

/// How the file is read, which its ending says.
fn parser(path: &str) -> Option<Parse> {
    let (_, ending) = path.rsplit_once('.')?;
    match ending.to_ascii_lowercase().as_str() {
        "csv" => Some(parse::csv),
        "json" => Some(parse::json),
        _ => None,
    }
}

/// One byte more than is taken, at the most: so the parser sees that it is too much.
fn read(path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_TABLE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn unknown(name: &str) -> MatrixError {
    let mut nearest = nearest(name, Matrix::NAMES);
    if nearest.is_empty() {
        nearest = Matrix::NAMES.map(str::to_owned).into();
    }
    MatrixError::Unknown {
        name: name.to_owned(),
        nearest,
    }
}

/// Enough to see which, few enough for a line.
const REGIONS_SHOWN: usize = 5;

const AWS_P50: &str = include_str!("../../data/aws-rtt-p50.json");
const AWS_P90: &str = include_str!("../../data/aws-rtt-p90.json");
const AWS_SOURCE: &str = "cloudping.co, by way of commonwarexyz/monorepo, MIT";
const AZURE_P50: &str = include_str!("../../data/azure-rtt-p50.csv");
/// Has to go where the table goes.
const AZURE_SOURCE: &str =
    "Azure network round-trip latency statistics, Microsoft, CC BY 4.0, extracted from Markdown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_different_regions_are_refused_by_name() {
        let (two, other) = (",a,b\na,,1\nb,1,\n", ",a,c\na,,1\nc,1,\n");
        let error = Matrix::parse_csv("mine", two, Some(other)).unwrap_err();
        assert_eq!(error.to_string(), "mine: only one of p50 and p90 has b, c");
    }

    #[test]
    fn a_wrong_table_is_named() {
        let error = Matrix::parse_json("mine", r#"{"data": {"a": {}}}"#, Some("{")).unwrap_err();
        assert!(
            error.to_string().starts_with("mine, p90: must be "),
            "{error}"
        );
    }

    #[test]
    fn unknown_matrices_are_refused_with_what_is_like_them() {
        let error = Matrix::named("azur").unwrap_err().to_string();
        assert!(error.contains("there is azure, or a file"), "{error}");
        let error = Matrix::load("gcp").unwrap_err().to_string();
        assert!(error.contains("there is aws, azure, or a file"), "{error}");
    }

    #[test]
    fn a_file_is_read_to_one_byte_above_the_limit_and_no_further() {
        let error = Matrix::load("/nowhere/zero.csv").unwrap_err();
        assert!(matches!(error, MatrixError::Read { .. }), "{error}");
        // It has no end.
        assert!(read("/dev/zero").is_ok_and(|text| text.len() == MAX_TABLE_BYTES + 1));
    }
}
