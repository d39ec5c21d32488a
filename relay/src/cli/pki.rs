//! The command line of `causeway pki`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Makes a private authority and the certificates of nodes and administrators.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PkiCommand {
    /// Makes the authority of a new trust domain.
    ///
    /// Writes its certificate, which every node needs as its bundle, and its private key, which
    /// only `pki issue` and `pki admin` need. Nothing that is there already is replaced.
    Init {
        /// The trust domain, such as example.org.
        #[arg(long, value_name = "DOMAIN")]
        trust_domain: String,
        /// The directory to write to; made if it is not there.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Issues a certificate for one node.
    Issue(Issue),
    /// Issues a certificate for one administrator, whose policies every node obeys.
    ///
    /// It makes no node. Keep its key where policies are signed, and on no node.
    Admin(IssueAdmin),
}

/// A certificate to be issued.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Issue {
    /// The directory that `pki init` wrote to.
    #[arg(long)]
    pub dir: PathBuf,
    /// The node's region.
    #[arg(long)]
    pub region: String,
    /// The node's name, unique in its region.
    #[arg(long)]
    pub name: String,
    /// Where the node's certificate and key go [default: the directory itself].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Days until the certificate ends.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// An administrator's certificate to be issued.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct IssueAdmin {
    /// The directory that `pki init` wrote to.
    #[arg(long)]
    pub dir: PathBuf,
    /// The administrator's name.
    #[arg(long)]
    pub name: String,
    /// Where certificate and key go [default: the directory itself].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Days until the certificate ends, and with it every policy that it signs.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}
