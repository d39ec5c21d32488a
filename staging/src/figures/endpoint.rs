//! QUIC endpoints on real sockets, with certificates of this run's own authority.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use causeway::{
    clock,
    deadline::{Connection, Endpoint},
    env::Env,
    host,
    id::NodeId,
    identity::{Expect, FileCertificates, Files, Material, Refusal, RequiredName, pki},
    transport::{self, MemoryBudget},
};
use tokio::runtime::Handle;

use crate::fleet::ports::ANY_PORT;

/// The trust domain of everything that a figure starts.
pub const TRUST_DOMAIN: &str = "figures.example";

/// Makes an authority in `directory`, and a certificate for each name of `region`.
///
/// # Errors
/// A file could not be written.
pub fn certify<'a>(
    directory: &Path,
    region: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<()> {
    let now = wall_clock();
    pki::init(directory, TRUST_DOMAIN, now)?;
    for name in names {
        pki::issue(directory, region, name, directory, DAYS, now)?;
    }
    Ok(())
}

/// The files of one certificate that [`certify`] made.
pub fn files(directory: &Path, name: &str) -> Files {
    let file = |name: String| -> PathBuf { directory.join(name) };
    Files {
        certificate: file(format!("{name}.pem")),
        key: file(format!("{name}.key")),
        bundle: file("bundle.pem".to_owned()),
    }
}

/// What a node of that name on this host is built from; it works on the runtime around the call.
///
/// # Errors
/// The operating system gave no random seed.
///
/// # Panics
/// Outside a tokio runtime.
pub fn env(directory: &Path, name: &str) -> anyhow::Result<Env> {
    let certificates = FileCertificates::new(files(directory, name), RequiredName::default());
    let runtime = Arc::new(host::WorkerRuntime::new(Handle::current()));
    let state = directory.join(format!("{name}.state"));
    Ok(host::env(vec![runtime], Arc::new(certificates), &state)?)
}

/// An endpoint on a port of this machine's own address, with the settings of a node's.
#[derive(Debug)]
pub struct RealEndpoint {
    /// What it dials from and accepts on.
    pub endpoint: Endpoint,
    /// Its certificate.
    pub material: Material,
    env: Env,
}

impl RealEndpoint {
    /// Binds a port that the operating system chooses.
    ///
    /// # Errors
    /// The certificate could not be loaded, or no port be bound.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let env = env(directory, name)?;
        let material = env.certificates.load(env.wall.now())?;
        let tls = material.server_config(env.wall.clone(), Refusal::default().observer());
        let server = transport::server_config(tls, profile())?;
        let runtime = env.runtimes[0].clone();
        let socket = env.sockets.bind(ANY_PORT.into(), &*runtime)?;
        let config = transport::endpoint_config(&material.derive(b"reset"), None);
        let endpoint = Endpoint::new(config, Some(server), socket, runtime)?;
        Ok(Self {
            endpoint,
            material,
            env,
        })
    }

    /// Where it accepts.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.endpoint.local_address()?)
    }

    /// Its name.
    pub fn id(&self) -> &NodeId {
        self.material.id()
    }

    /// The date, for certificates.
    pub fn date(&self) -> std::time::SystemTime {
        self.env.wall.now()
    }

    /// Dials whoever is at `address`, as far as TLS.
    ///
    /// # Errors
    /// It does not answer, or is not believed.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn connect(&self, address: SocketAddr) -> anyhow::Result<Connection> {
        let observer = Refusal::default().observer();
        let wall = self.env.wall.clone();
        let tls = self
            .material
            .client_config(Expect::AnyOfTrustDomain, wall, observer);
        let config = transport::client_config(tls, profile())?;
        let connected = self.endpoint.connect(config, address, soon()).await;
        connected.context("a peer of the figure could not be reached")
    }
}

/// A deadline that nothing of a figure should need.
pub fn soon() -> Instant {
    clock::now() + SOON
}

/// A node's, with its default budget for few links.
fn profile() -> Arc<quinn::TransportConfig> {
    transport::transport_config(MemoryBudget {
        bytes: 2 << 30,
        links: 64,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates of real processes begin at the real date"
)]
fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

const DAYS: u32 = 1;
const SOON: Duration = Duration::from_secs(30);
