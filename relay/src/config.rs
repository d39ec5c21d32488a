//! What a node is told: a TOML file, read into values that need no further checks.
//!
//! Everything that is wrong with a file is reported at once, each fault with its line, the full
//! path of its key, its value and what was expected. [`example()`] prints a file that explains every
//! key.

mod address;
mod cap;
mod changes;
mod document;
mod error;
mod example;
mod node;
mod peer;
mod release;
mod tables;
mod traffic;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

pub use self::{
    address::{HostPort, NotHostPort},
    cap::Cap,
    changes::Changes,
    error::{ConfigError, Fault, Problem},
    example::example,
    node::{Advertise, IdentityFiles, Log},
    peer::{MAX_ADDRESSES, Peer},
    tables::{Limits, Liveness, Shared},
    traffic::{Class, Listen, Service, Target, Transport},
};
use self::{
    document::{Notes, Root, SectionKeys},
    node::Node,
};
use crate::{admin::AdminAddress, id::NodeId};

/// A node's configuration: complete and consistent.
///
/// Whether its files exist, its addresses can be bound and its certificate bears its name is found
/// out by whoever uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    path: Option<PathBuf>,
    id: NodeId,
    bind: SocketAddr,
    workers: u16,
    advertise: Advertise,
    state_dir: PathBuf,
    identity: IdentityFiles,
    admin: AdminAddress,
    log: Log,
    labels: BTreeMap<String, String>,
    shared: Shared,
    limits: Limits,
    peers: Vec<Peer>,
    services: Vec<Service>,
    listens: Vec<Listen>,
    caps: Vec<Cap>,
}

impl Config {
    /// Reads a file. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// - [`ConfigError::Read`]: there is no file, or it is not UTF-8 text.
    /// - [`ConfigError::Invalid`]: it lists everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let dir = path.parent().unwrap_or_else(|| Path::new(""));
        let config = read(&text, dir).map_err(|problems| ConfigError::Invalid {
            path: Some(path.to_owned()),
            problems,
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            ..config
        })
    }

    /// Reads a text. Relative paths in it start at `dir`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] lists everything that is wrong.
    pub fn parse(text: &str, dir: &Path) -> Result<Self, ConfigError> {
        read(text, dir).map_err(|problems| ConfigError::Invalid {
            path: None,
            problems,
        })
    }

    /// The file that it was loaded from, to be loaded again; none if it was parsed from a text.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What it may send to regions.
    pub fn caps(&self) -> &[Cap] {
        &self.caps
    }

    /// Who the node is.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The UDP address of a worker; with port 0 the system picks one.
    pub fn bind(&self, worker: u16) -> SocketAddr {
        let mut bind = self.bind;
        if bind.port() != 0 {
            bind.set_port(bind.port() + worker);
        }
        bind
    }

    /// How many workers there are: 1..=64.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// What others dial.
    pub fn advertise(&self) -> &Advertise {
        &self.advertise
    }

    /// Where the node keeps what outlives it.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The files that prove who the node is.
    pub fn identity(&self) -> &IdentityFiles {
        &self.identity
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> &AdminAddress {
        &self.admin
    }

    /// How the node logs.
    pub fn log(&self) -> Log {
        self.log
    }

    /// What the operator calls the node besides its name.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// What is equal on all nodes of the fleet.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What the node admits and keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The nodes to dial; no two with one name, none of them the node itself.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// What the node exposes; no two with one name.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// What the node carries elsewhere; no two with one address.
    pub fn listens(&self) -> &[Listen] {
        &self.listens
    }
}

fn read(text: &str, dir: &Path) -> Result<Config, Vec<Problem>> {
    let notes = Notes::new(text);
    let (table, faults) = DeTable::parse_recoverable(text);
    for fault in &faults {
        notes.syntax(fault);
    }
    // What a parser made of a broken text would only produce faults that are none.
    if !faults.is_empty() {
        return Err(notes.into_problems());
    }
    let config = assemble(table.get_ref(), dir, &notes);
    match config {
        Some(config) if notes.is_clean() => Ok(config),
        _ => Err(notes.into_problems()),
    }
}

/// Reads every section before any of them is found lacking, so that all faults are noted.
fn assemble(table: &DeTable<'_>, dir: &Path, notes: &Notes<'_>) -> Option<Config> {
    let root = Root::new(table, SECTIONS, notes);
    let node = Node::read(&root, dir);
    let identity = node::read_identity(&root, dir);
    let admin = node::read_admin(&root, dir);
    let log = node::read_log(&root);
    let labels = node::read_labels(&root);
    let shared = Shared::read(&root);
    let limits = Limits::read(&root);
    let peers = peer::read(&root, node.id.as_ref());
    let services = traffic::read_services(&root);
    let listens = traffic::read_listens(&root, node.id.as_ref());
    let caps = cap::read(&root);
    Some(Config {
        path: None,
        id: node.id?,
        bind: node.bind?,
        workers: node.workers,
        advertise: node.advertise?,
        state_dir: node.state_dir?,
        identity: identity?,
        admin,
        log,
        labels,
        shared,
        limits,
        peers,
        services,
        listens,
        caps,
    })
}

/// All sections of the file, in the order of the example.
static SECTIONS: &[&SectionKeys] = &[
    &node::NODE,
    &node::IDENTITY,
    &node::ADMIN,
    &node::LOG,
    &node::LABELS,
    &tables::SHARED,
    &tables::LIMITS,
    &peer::PEER,
    &traffic::SERVICE,
    &traffic::LISTEN,
    &cap::CAP,
];

#[cfg(test)]
mod tests;
