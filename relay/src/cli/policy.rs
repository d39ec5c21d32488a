//! The command line of `causeway policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::Ask;
use crate::wire::limits::is_release;

/// Shows the policy of the fleet, signs one, or brings it to a node.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Shows the policy that a running node goes by.
    Show(Ask),
    /// Signs a policy for the whole fleet, as an administrator. Asks no node.
    #[command(override_usage = SIGN_USAGE)]
    Sign(SignPolicy),
    /// Brings a signed policy to a running node, which passes it on to all others.
    Apply {
        /// The policy, as `causeway policy sign` wrote it.
        file: PathBuf,
        #[command(flatten)]
        ask: Ask,
    },
}

/// A policy to be signed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SignPolicy {
    /// The administrator's certificate; `causeway pki admin` makes one.
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// The administrator's private key.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Above that of the policy in force, which it replaces: `causeway policy show`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub epoch: u64,
    /// Days until it says nothing, or until the certificate ends if that is sooner.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// The share of a region's flows for a release; those that are not listed have 1.
    #[arg(long = "weight", value_name = "RELEASE=N", value_parser = weight)]
    pub weights: Vec<(String, u32)>,
    /// A release that nobody is to run.
    #[arg(long = "condemn", value_name = "RELEASE", value_parser = release)]
    pub condemned: Vec<String>,
    /// Where the signed policy goes; what is there is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

const SIGN_USAGE: &str = "\
causeway policy sign --certificate <FILE> --key <FILE> --epoch <N>
                            --out <FILE> [OPTIONS]";

fn weight(text: &str) -> Result<(String, u32), String> {
    let form = || "expected RELEASE=N, such as 0b7c1d9e22aa=9".to_owned();
    let (name, weight) = text.rsplit_once('=').ok_or_else(form)?;
    Ok((release(name)?, weight.parse().map_err(|_| form())?))
}

fn release(text: &str) -> Result<String, String> {
    match is_release(text) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 128 visible characters, as `causeway mesh` shows them".into()),
    }
}
