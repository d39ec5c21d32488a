//! The ways from the client through two processes and back to it.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use causeway::identity::pki;

use super::client::{Client, Heard, Load};
use crate::{
    figures::{process::OwnProcess, role},
    fleet::{TRUST_DOMAIN, ports::Ports},
    node_process,
};

/// One way, ready to carry.
#[derive(Debug)]
pub(super) struct Way {
    client: Client,
    hops: Vec<OwnProcess>,
}

impl Way {
    /// From one socket to the other.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn direct() -> anyhow::Result<Self> {
        let client = Client::new()?;
        let first = client.destination()?;
        Self::open(client, Vec::new(), first)
    }

    /// Through two nodes, with a listen on one and a service on the other.
    ///
    /// # Errors
    /// A file could not be written, or a process not started, or no packet arrives.
    pub(super) fn ours(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let client = Client::new()?;
        let mut ports = Ports::default();
        let [listen, near, far] = [ports.udp()?, ports.udp()?, ports.udp()?];
        let near = node(
            NEAR,
            near,
            (FAR, far),
            &format!(
                "[[listen]]\nkind = \"udp\"\naddress = \"{listen}\"\nservice = \"figure\"\n\
                 to = {{ node = \"{REGION}/{FAR}\" }}\n"
            ),
        );
        let far = node(
            FAR,
            far,
            near.1,
            &format!(
                "[[service]]\nkind = \"udp\"\nname = \"figure\"\naddress = \"{}\"\n\
                 allow = [\"spiffe://{TRUST_DOMAIN}/region/{REGION}/node/{NEAR}\"]\n",
                client.destination()?
            ),
        );
        drop(ports);
        let mut hops = Vec::new();
        for (name, text) in [(NEAR, near.0), (FAR, far.0)] {
            let path = directory.join(format!("{name}.toml"));
            fs::write(&path, text)
                .with_context(|| format!("{} could not be written", path.display()))?;
            let path = path.as_os_str();
            let command = [node_process::COMMAND, "node", "--config"].map(AsRef::as_ref);
            let arguments = command.into_iter().chain([path]);
            hops.push(OwnProcess::start_program(program, arguments)?);
        }
        Self::open(client, hops, listen)
    }

    /// Through two processes with bare quinn between them.
    ///
    /// # Errors
    /// As [`Way::ours`].
    pub(super) fn quinn(program: &Path, directory: &Path) -> anyhow::Result<Self> {
        let client = Client::new()?;
        let hop = |role, name, to: SocketAddr| {
            let pki = directory.join(PKI);
            let to = to.to_string();
            let words = [role::COMMAND, role, "--name", name, "--to", &to, "--pki"];
            let words = words.map(AsRef::as_ref);
            start(program, words.into_iter().chain([pki.as_os_str()]))
        };
        let (egress, dialed) = hop("quinn-egress", FAR, client.destination()?)?;
        let (ingress, first) = hop("quinn-ingress", NEAR, dialed)?;
        Self::open(client, vec![ingress, egress], first)
    }

    /// Through two processes that forward what they receive.
    ///
    /// # Errors
    /// As [`Way::ours`].
    pub(super) fn udp(program: &Path) -> anyhow::Result<Self> {
        let client = Client::new()?;
        let hop = |to: SocketAddr| {
            let to = to.to_string();
            let words = [role::COMMAND, "udp-forwarder", "--to", &to];
            start(program, words.map(AsRef::as_ref))
        };
        let (second, between) = hop(client.destination()?)?;
        let (near, first) = hop(between)?;
        Self::open(client, vec![near, second], first)
    }

    fn open(mut client: Client, hops: Vec<OwnProcess>, first: SocketAddr) -> anyhow::Result<Self> {
        client.connect(first)?;
        Ok(Self { client, hops })
    }

    /// Carries a load; what is used is the time on a processor of the two processes.
    ///
    /// # Errors
    /// A process has ended, or a socket failed, or nothing arrived.
    pub(super) fn carry(&mut self, load: Load) -> anyhow::Result<Heard> {
        let Self { client, hops } = self;
        let heard = client.carry(load, || cpu(hops))?;
        ensure!(heard.received > 0, "of {} packets none arrived", heard.sent);
        Ok(heard)
    }
}

fn cpu(hops: &[OwnProcess]) -> io::Result<Duration> {
    hops.iter().map(|hop| Ok(hop.usage()?.cpu)).sum()
}

/// Makes the certificates of both ends.
///
/// # Errors
/// A file could not be written.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates of real processes begin at the real date"
)]
pub(super) fn make_certificates(directory: &Path) -> anyhow::Result<()> {
    let authority = directory.join(PKI);
    let now = SystemTime::now();
    pki::init(&authority, TRUST_DOMAIN, now)?;
    for name in [NEAR, FAR] {
        pki::issue(&authority, REGION, name, &authority, 1, now)?;
    }
    Ok(())
}

/// A node's configuration, and what its peer needs of it.
fn node(
    name: &'static str,
    bind: SocketAddr,
    (peer, address): (&'static str, SocketAddr),
    tables: &str,
) -> (String, (&'static str, SocketAddr)) {
    let text = format!(
        "[node]\nname = \"{name}\"\nregion = \"{REGION}\"\ntrust_domain = \"{TRUST_DOMAIN}\"\n\
         bind = \"{bind}\"\nstate_dir = \"{name}.state\"\n\n\
         [identity]\ncertificate = \"{PKI}/{name}.pem\"\nkey = \"{PKI}/{name}.key\"\n\
         bundle = \"{PKI}/bundle.pem\"\n\n\
         [admin]\nlisten = \"unix:{name}.sock\"\n\n[log]\nlevel = \"error\"\n\n\
         [[peer]]\nregion = \"{REGION}\"\nname = \"{peer}\"\naddresses = [\"{address}\"]\n\n{tables}"
    );
    (text, (name, bind))
}

/// Starts a comparator; where it takes what is to be forwarded.
fn start<'a>(
    program: &Path,
    arguments: impl IntoIterator<Item = &'a std::ffi::OsStr>,
) -> anyhow::Result<(OwnProcess, SocketAddr)> {
    let mut process = OwnProcess::start_program(program, arguments)?;
    let line = process.line()?;
    let address = line.parse();
    let address = address.with_context(|| format!("no address but {line:?}"))?;
    Ok((process, address))
}

const REGION: &str = "here";
const NEAR: &str = "near";
const FAR: &str = "far";
const PKI: &str = "pki";
