//! What a node is: its name, its port, its files and where it is administered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    address::is_specific,
    document::{Key, Root, Section, SectionKeys, Shape, Value},
};
use crate::{
    admin::AdminAddress,
    id::{NodeId, NodeIdError},
    telemetry::logs::{Level, LogFormat},
};

/// What others dial to reach the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertise {
    /// The address that is bound, with the port it got.
    Bound,
    /// These, for worker 0; worker i has the port i above.
    Listed(Vec<SocketAddr>),
}

/// The files that prove who the node is, as absolute or as the working directory has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The node's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The certificates of the trust domain's authorities, PEM.
    pub bundle: PathBuf,
}

impl IdentityFiles {
    /// The key under which `path` is configured.
    pub fn key_of(&self, path: &Path) -> &'static str {
        let keys = [
            ("identity.certificate", &self.certificate),
            ("identity.key", &self.key),
            ("identity.bundle", &self.bundle),
        ];
        let found = keys.into_iter().find(|(_, file)| *file == path);
        found.map_or("identity", |(key, _)| key)
    }
}

/// How the node logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least severe that is written.
    pub level: Level,
    /// For people or for programs.
    pub format: LogFormat,
}

/// The sections about the node itself, each `None` where something is wrong with it.
pub(super) struct Node {
    pub id: Option<NodeId>,
    pub bind: Option<SocketAddr>,
    pub workers: u16,
    pub advertise: Option<Advertise>,
    pub state_dir: Option<PathBuf>,
}

impl Node {
    pub(super) fn read(root: &Root<'_>, dir: &Path) -> Self {
        let node = root.section(&NODE);
        let workers = u16::try_from(node.number("workers")).expect("the range of workers is small");
        let bind = read_bind(&node, workers);
        Self {
            id: read_id(&node),
            advertise: read_advertise(&node, bind, workers),
            bind,
            workers,
            state_dir: read_path(&node, "state_dir", "a directory", dir),
        }
    }
}

fn read_id(node: &Section<'_>) -> Option<NodeId> {
    let part = |name, expected: &str| {
        let value = node.required(name, expected)?;
        Some((value.text(expected)?, value))
    };
    let name = part("name", "the node's name, as in its certificate");
    let region = part("region", "the node's region, as in its certificate");
    let domain = part("trust_domain", "the trust domain, as in the certificate");
    // Each part is checked even where another is missing.
    let checks = [
        check_part(&domain, |domain| NodeId::try_new(domain, "r", "n")),
        check_part(&region, |region| NodeId::try_new("d", region, "n")),
        check_part(&name, |name| NodeId::try_new("d", "r", name)),
    ];
    if checks.contains(&false) {
        return None;
    }
    NodeId::try_new(domain?.0, region?.0, name?.0).ok()
}

fn check_part(
    part: &Option<(&str, Value<'_>)>,
    build: impl Fn(&str) -> Result<NodeId, NodeIdError>,
) -> bool {
    part.as_ref().is_none_or(|(text, value)| match build(text) {
        Ok(_) => true,
        Err(_) => {
            value.refuse(NAME_RULE);
            false
        }
    })
}

fn read_bind(node: &Section<'_>, workers: u16) -> Option<SocketAddr> {
    const EXPECTED: &str = "an IP address and port, such as \"0.0.0.0:7400\"";
    let value = node.required("bind", EXPECTED)?;
    let bind: SocketAddr = value.parse(EXPECTED)?;
    if !ports_fit(bind.port(), workers) {
        value.refuse(format!("a port that leaves room for {workers} workers"));
        return None;
    }
    Some(bind)
}

fn read_advertise(node: &Section<'_>, bind: Option<SocketAddr>, workers: u16) -> Option<Advertise> {
    const EXPECTED: &str =
        "an IP address and port that other nodes can dial, such as \"203.0.113.5:7400\"";
    let Some(value) = node.optional("advertise") else {
        // With the bind address in doubt, it would be noise to ask for another.
        if bind.is_some_and(|bind| !is_specific(bind.ip())) {
            node.missing(
                "advertise",
                "the addresses that other nodes dial, since bind names all interfaces",
            );
            return None;
        }
        return Some(Advertise::Bound);
    };
    let items = value.list(MAX_ADVERTISED, "addresses");
    let mut addresses = Vec::with_capacity(items.len());
    for item in &items {
        let Some(address) = item.parse::<SocketAddr>(EXPECTED) else {
            continue;
        };
        if !is_specific(address.ip()) || address.port() == 0 {
            item.refuse(EXPECTED);
        } else if !ports_fit(address.port(), workers) {
            item.refuse(format!("a port that leaves room for {workers} workers"));
        } else {
            addresses.push(address);
        }
    }
    Some(Advertise::Listed(addresses))
}

fn ports_fit(port: u16, workers: u16) -> bool {
    port == 0 || port.checked_add(workers - 1).is_some()
}

pub(super) fn read_identity(root: &Root<'_>, dir: &Path) -> Option<IdentityFiles> {
    let section = root.section(&IDENTITY);
    let certificate = read_path(&section, "certificate", "the file of the certificate", dir);
    let key = read_path(&section, "key", "the file of the private key", dir);
    let bundle = read_path(&section, "bundle", "the file of the authorities", dir);
    Some(IdentityFiles {
        certificate: certificate?,
        key: key?,
        bundle: bundle?,
    })
}

pub(super) fn read_admin(root: &Root<'_>, dir: &Path) -> AdminAddress {
    let Some(value) = root.section(&ADMIN).optional("listen") else {
        return AdminAddress::default();
    };
    let parsed = value.text(ADMIN_RULE).map(str::parse::<AdminAddress>);
    match parsed {
        Some(Ok(AdminAddress::Unix(path))) => AdminAddress::Unix(dir.join(path)),
        Some(Ok(address)) => address,
        Some(Err(error)) => {
            value.refuse(error.to_string());
            AdminAddress::default()
        }
        None => AdminAddress::default(),
    }
}

pub(super) fn read_log(root: &Root<'_>) -> Log {
    let section = root.section(&LOG);
    let level = section.optional("level");
    let format = section.optional("format");
    Log {
        level: level
            .and_then(|value| value.word(&Level::WORDS))
            .unwrap_or_default(),
        format: format
            .and_then(|value| value.word(&LogFormat::WORDS))
            .unwrap_or_default(),
    }
}

pub(super) fn read_labels(root: &Root<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, value) in root.section(&LABELS).entries() {
        let Some(text) = value.text(LABEL_RULE) else {
            continue;
        };
        if key.len() > MAX_LABEL_BYTES || text.len() > MAX_LABEL_BYTES {
            value.refuse(LABEL_RULE);
        } else if labels.len() == MAX_LABELS {
            value.refuse(format!("at most {MAX_LABELS} labels"));
        } else {
            labels.insert(key.to_owned(), text.to_owned());
        }
    }
    labels
}

fn read_path(section: &Section<'_>, name: &str, expected: &str, dir: &Path) -> Option<PathBuf> {
    let value = section.required(name, expected)?;
    Some(dir.join(value.text(expected)?))
}

pub(super) const NAME_RULE: &str = "1 to 63 letters, digits, '.', '-' and '_' (no capitals in a \
    trust domain)";
const ADMIN_RULE: &str = "an address like 127.0.0.1:7480 or unix:/run/causeway/admin.sock";
const LABEL_RULE: &str = "a text of 1 to 63 bytes, under a key of at most 63";
/// Hello carries all labels and addresses; with these bounds it stays far below a frame's limit.
const MAX_LABELS: usize = 32;
const MAX_LABEL_BYTES: usize = 63;
const MAX_ADVERTISED: usize = 8;

pub(super) static NODE: SectionKeys = SectionKeys {
    name: "node",
    repeats: false,
    doc: "Who this node is and where others reach it.",
    keys: &[
        Key {
            name: "name",
            doc: "The node's name, unique in its region. Must equal the certificate's.",
            value: Shape::Shown(r#""fra-1""#),
        },
        Key {
            name: "region",
            doc: "The node's region. Must equal the certificate's.",
            value: Shape::Shown(r#""eu-west""#),
        },
        Key {
            name: "trust_domain",
            doc: "Only nodes with certificates of this trust domain are talked to.",
            value: Shape::Shown(r#""example.org""#),
        },
        Key {
            name: "bind",
            doc: "The UDP address for links. Worker i binds the port i above it;\n\
                  with port 0 each worker picks a free one.",
            value: Shape::Shown(r#""0.0.0.0:7400""#),
        },
        Key {
            name: "advertise",
            doc: "What other nodes dial. Default: bind, if that is one specific address.\n\
                  Worker i is reached at the port i above.",
            value: Shape::Shown(r#"["203.0.113.5:7400"]"#),
        },
        Key {
            name: "workers",
            doc: "Threads that carry traffic, each with a UDP port of its own. More of them use\n\
                  more cores; a pair of nodes always uses one.",
            value: Shape::Number {
                default: 1,
                range: (1, 64),
            },
        },
        Key {
            name: "state_dir",
            doc: "Kept across restarts: the node's generation. Belongs to this node alone.",
            value: Shape::Shown(r#""/var/lib/causeway""#),
        },
    ],
    more: "",
};

pub(super) static IDENTITY: SectionKeys = SectionKeys {
    name: "identity",
    repeats: false,
    doc: "PEM files that prove who the node is; read again when they change. A relative path\n\
          starts at this file's directory.",
    keys: &[
        Key {
            name: "certificate",
            doc: "The node's certificate, followed by the authorities between it and the bundle.",
            value: Shape::Shown(r#""fra-1.pem""#),
        },
        Key {
            name: "key",
            doc: "The certificate's private key. Readable by the node only.",
            value: Shape::Shown(r#""fra-1.key""#),
        },
        Key {
            name: "bundle",
            doc: "The trust domain's authorities.",
            value: Shape::Shown(r#""bundle.pem""#),
        },
    ],
    more: "",
};

pub(super) static ADMIN: SectionKeys = SectionKeys {
    name: "admin",
    repeats: false,
    doc: "The HTTP API behind `causeway status`, /healthz, /readyz and /metrics.",
    keys: &[Key {
        name: "listen",
        doc: "A loopback address, or \"unix:PATH\" for a socket that only this user may open.\n\
              Default \"127.0.0.1:7480\".",
        value: Shape::Optional(r#""127.0.0.1:7480""#),
    }],
    more: "",
};

pub(super) static LOG: SectionKeys = SectionKeys {
    name: "log",
    repeats: false,
    doc: "Logs go to standard error.",
    keys: &[
        Key {
            name: "level",
            doc: "The least severe that is written: error, warn, info, debug or trace.\n\
                  Default \"info\". The environment's CAUSEWAY_LOG takes finer filters.",
            value: Shape::Optional(r#""info""#),
        },
        Key {
            name: "format",
            doc: "\"text\" for people or \"json\" for programs; --log-format overrides it.\n\
                  Default \"text\".",
            value: Shape::Optional(r#""text""#),
        },
    ],
    more: "",
};

pub(super) static LABELS: SectionKeys = SectionKeys {
    name: "labels",
    repeats: false,
    doc: "Told to other nodes and shown in listings; keys and values are yours, up to 32.",
    keys: &[],
    more: "# rack = \"b7\"\n",
};
