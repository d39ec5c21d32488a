//! What the processes of the figure have in common: names, certificates, this machine's network.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use causeway::{
    env::Env,
    host::{self, WorkerRuntime},
    id::NodeId,
    identity::{
        FixedCertificates, Pem,
        pki::{Authority, NODE_VALIDITY, Randomness, Validity},
    },
};
use tokio::runtime::{self, Handle, Runtime};

/// Makes the certificates of one process.
#[derive(Debug)]
pub struct Ground {
    authority: Authority,
    validity: Validity,
}

impl Ground {
    /// The authority has the same key in every process, so that they trust each other without a
    /// file. Anybody can make that key: nothing here may listen beyond this machine.
    ///
    /// # Errors
    /// As [`Authority::generate`].
    pub fn new() -> anyhow::Result<Self> {
        let now = date();
        Ok(Self {
            authority: Authority::generate(TRUST_DOMAIN, Randomness::Seed(AUTHORITY_SEED), now)?,
            validity: Validity::starting(now, NODE_VALIDITY),
        })
    }

    /// A certificate with its key, and the authority's.
    ///
    /// # Errors
    /// As [`Authority::node`].
    pub fn certificate(&self, id: &NodeId) -> anyhow::Result<Pem> {
        Ok(self.authority.node(id, self.validity)?)
    }

    /// This machine as the environment of node `id`, on the runtime that this is called in.
    ///
    /// # Errors
    /// No certificate, or no random bytes.
    pub fn env(&self, id: &NodeId, state_dir: &Path) -> anyhow::Result<Env> {
        let runtime = Arc::new(WorkerRuntime::new(Handle::current()));
        let certificates = Arc::new(FixedCertificates::new(self.certificate(id)?));
        Ok(host::env(vec![runtime], certificates, state_dir)?)
    }
}

/// The node that the links end at, Causeway's or the comparator's.
///
/// # Panics
/// Never: the names are good.
pub fn server_id() -> NodeId {
    named("here", "node")
}

/// One of those that dial it.
///
/// # Panics
/// Never: the names are good.
pub fn peer_id(number: u32) -> NodeId {
    named("there", &format!("peer-{number}"))
}

/// A single-threaded runtime, as a worker's.
///
/// # Errors
/// As the operating system says.
pub fn runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

fn named(region: &str, name: &str) -> NodeId {
    NodeId::try_new(TRUST_DOMAIN, region, name).expect("letters, digits and hyphens")
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates of real processes begin at the real date"
)]
fn date() -> SystemTime {
    SystemTime::now()
}

/// This machine, on a port that the operating system chooses.
pub const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The trust domain of all.
pub const TRUST_DOMAIN: &str = "idle.example";
const AUTHORITY_SEED: u64 = 1;
