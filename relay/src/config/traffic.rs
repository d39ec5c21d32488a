//! What local programs expose to the mesh and reach through it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use super::{
    address::HostPort,
    document::{Key, Root, Section, SectionKeys, Shape, Value},
    node::NAME_RULE,
};
use crate::{
    id::NodeId,
    identity::{Pattern, PatternError},
};

/// A local endpoint that the mesh may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique on the node.
    pub name: String,
    /// What it speaks, and when silence ends it.
    pub transport: Transport,
    /// Where it is.
    pub address: HostPort,
    /// The nodes that may use it; empty means none.
    pub allow: Vec<Pattern>,
}

/// A local port whose traffic goes to a service elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The local address to bind; port 0 picks a free one.
    pub address: SocketAddr,
    /// What local programs speak there, and when silence ends it.
    pub transport: Transport,
    /// The name of the service.
    pub service: String,
    /// Where the service is.
    pub to: Target,
    /// How urgent its packets are; TCP is always bulk.
    pub class: Class,
}

/// UDP or TCP, and after how much silence it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Packets.
    Udp {
        /// A flow without packets either way for this long is forgotten.
        idle_timeout: Duration,
    },
    /// Byte streams.
    Tcp {
        /// A stream whose reader takes nothing for this long is reset.
        stall_timeout: Duration,
    },
}

impl Transport {
    /// `udp` or `tcp`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Udp { .. } => "udp",
            Self::Tcp { .. } => "tcp",
        }
    }
}

/// Where a listen's service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// On this node.
    Node(NodeId),
    /// On the nearest node of this region that has it.
    Region(String),
}

/// How urgent packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Few bytes, before everything else.
    Audio,
    /// Many bytes, before bulk.
    Video,
    /// What is left.
    Bulk,
}

impl Class {
    /// The word for it in the file and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Bulk => "bulk",
        }
    }
}

/// Reads all `[[service]]`s.
pub(super) fn read_services(root: &Root<'_>) -> Vec<Service> {
    let mut seen = BTreeMap::new();
    root.sections(&SERVICE, MAX_SERVICES)
        .iter()
        .filter_map(|section| read_service(section, &mut seen))
        .collect()
}

fn read_service(section: &Section<'_>, seen: &mut BTreeMap<String, usize>) -> Option<Service> {
    const ADDRESS: &str = "host:port of a local program, such as \"127.0.0.1:5004\"";
    let name = section
        .required("name", "the service's name")
        .and_then(|value| {
            let name = read_name(&value)?;
            match seen.insert(name.clone(), value.line()) {
                None => Some(name),
                Some(first) => {
                    value.refuse(format!("a name of its own, line {first} has it too"));
                    None
                }
            }
        });
    let transport = read_transport(section);
    let address = section
        .required("address", ADDRESS)
        .and_then(|value| value.parse(ADDRESS));
    let allow = match section.optional("allow") {
        Some(value) => value
            .list(MAX_PATTERNS, "SPIFFE patterns")
            .iter()
            .filter_map(read_pattern)
            .collect(),
        None => Vec::new(),
    };
    Some(Service {
        name: name?,
        transport: transport?,
        address: address?,
        allow,
    })
}

/// What is wrong with a pattern is said by the pattern's own rules.
fn read_pattern(value: &Value<'_>) -> Option<Pattern> {
    const EXPECTED: &str = "a pattern like \"spiffe://example.org/region/*/node/*\"";
    match value.text(EXPECTED)?.parse() {
        Ok(pattern) => Some(pattern),
        Err(PatternError::Form { .. }) => {
            value.refuse(EXPECTED);
            None
        }
        Err(PatternError::Part { why, .. }) => {
            value.refuse(format!("{EXPECTED} ({why})"));
            None
        }
    }
}

/// Reads all `[[listen]]`s; `own` is the node itself, if that is known.
pub(super) fn read_listens(root: &Root<'_>, own: Option<&NodeId>) -> Vec<Listen> {
    let mut seen = BTreeMap::new();
    root.sections(&LISTEN, MAX_LISTENS)
        .iter()
        .filter_map(|section| read_listen(section, own, &mut seen))
        .collect()
}

fn read_listen(
    section: &Section<'_>,
    own: Option<&NodeId>,
    seen: &mut BTreeMap<(SocketAddr, &'static str), usize>,
) -> Option<Listen> {
    const ADDRESS: &str = "a local IP address and port, such as \"127.0.0.1:6004\"";
    let transport = read_transport(section);
    let address = section.required("address", ADDRESS).and_then(|value| {
        let address: SocketAddr = value.parse(ADDRESS)?;
        if let Some(transport) = transport
            && address.port() != 0
            && let Some(first) = seen.insert((address, transport.word()), value.line())
        {
            value.refuse(format!("an address of its own, line {first} has it too"));
        }
        Some(address)
    });
    let service = section
        .required("service", "the name of a service")
        .and_then(|value| read_name(&value));
    let to = section
        .required("to", TO_RULE)
        .and_then(|value| read_target(&value, own));
    let class = match (section.optional("class"), transport) {
        (None, Some(Transport::Udp { .. })) => Class::Video,
        (None, _) => Class::Bulk,
        (Some(value), Some(Transport::Tcp { .. })) => {
            value.refuse("no class with kind = \"tcp\": streams are always bulk");
            Class::Bulk
        }
        (Some(value), _) => value
            .word(&[Class::Audio, Class::Video, Class::Bulk].map(|class| (class.word(), class)))
            .unwrap_or(Class::Video),
    };
    Some(Listen {
        address: address?,
        transport: transport?,
        service: service?,
        to: to?,
        class,
    })
}

fn read_transport(section: &Section<'_>) -> Option<Transport> {
    #[derive(Clone, Copy)]
    enum Kind {
        Udp,
        Tcp,
    }
    let kind = section
        .required("kind", "\"udp\" or \"tcp\"")?
        .word(&[("udp", Kind::Udp), ("tcp", Kind::Tcp)])?;
    let (other, other_kind) = match kind {
        Kind::Udp => ("stall_timeout_s", "tcp"),
        Kind::Tcp => ("idle_timeout_s", "udp"),
    };
    if let Some(value) = section.optional(other) {
        value.refuse(format!("no such key without kind = \"{other_kind}\""));
    }
    let seconds = |name| Duration::from_secs(section.number(name));
    Some(match kind {
        Kind::Udp => Transport::Udp {
            idle_timeout: seconds("idle_timeout_s"),
        },
        Kind::Tcp => Transport::Tcp {
            stall_timeout: seconds("stall_timeout_s"),
        },
    })
}

fn read_target(value: &Value<'_>, own: Option<&NodeId>) -> Option<Target> {
    let section = value.section(&TO, TO_RULE)?;
    // Any trust domain will do to check the rest with; without a node there is no configuration.
    let domain = own.map_or("unknown", NodeId::trust_domain);
    match (section.optional("region"), section.optional("node")) {
        (Some(region), None) => read_name(&region).map(Target::Region),
        (None, Some(node)) => {
            const EXPECTED: &str = "region/name, such as \"eu-west/fra-1\"";
            let (region, name) = node.text(EXPECTED)?.split_once('/').unwrap_or_default();
            match NodeId::try_new(domain, region, name) {
                Ok(id) if own == Some(&id) => {
                    node.refuse("another node: this is the node itself");
                    None
                }
                Ok(id) => Some(Target::Node(id)),
                Err(_) => {
                    node.refuse(EXPECTED);
                    None
                }
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            value.refuse(TO_RULE);
            None
        }
    }
}

/// Names of services and regions obey the rule for names of nodes.
fn read_name(value: &Value<'_>) -> Option<String> {
    let name = value.text(NAME_RULE)?;
    if NodeId::try_new("d", name, "n").is_err() {
        value.refuse(NAME_RULE);
        return None;
    }
    Some(name.to_owned())
}

const TO_RULE: &str = "{ region = \"eu-west\" } or { node = \"eu-west/fra-1\" }";
/// All services of a node are declared in one frame of at most 64 KiB.
const MAX_SERVICES: usize = 256;
const MAX_LISTENS: usize = 256;
const MAX_PATTERNS: usize = 64;

const KIND: Key = Key {
    name: "kind",
    doc: "\"udp\" or \"tcp\".",
    value: Shape::Shown(r#""udp""#),
};
const IDLE: Key = Key {
    name: "idle_timeout_s",
    doc: "With udp: seconds without a packet either way after which a flow is forgotten. Too big:\n\
          clients that are gone fill udp_flows.",
    value: Shape::Number {
        default: 60,
        range: (1, 86_400),
    },
};
const STALL: Key = Key {
    name: "stall_timeout_s",
    doc: "With tcp: seconds in which a reader takes nothing, after which its stream is reset. Too\n\
          big: readers that hang fill tcp_streams.",
    value: Shape::Number {
        default: 60,
        range: (1, 86_400),
    },
};

pub(super) static SERVICE: SectionKeys = SectionKeys {
    name: "service",
    repeats: true,
    doc: "A program on this host (or near it) that the mesh may reach.",
    keys: &[
        Key {
            name: "name",
            doc: "What listens elsewhere call it; unique on this node.",
            value: Shape::Shown(r#""rtp""#),
        },
        KIND,
        Key {
            name: "address",
            doc: "Where the program is.",
            value: Shape::Shown(r#""127.0.0.1:5004""#),
        },
        Key {
            name: "allow",
            doc: "Which nodes may use it, `*` for any region or name. Default: none.",
            value: Shape::Shown(r#"["spiffe://example.org/region/*/node/*"]"#),
        },
        IDLE,
        STALL,
    ],
    more: "",
};

pub(super) static LISTEN: SectionKeys = SectionKeys {
    name: "listen",
    repeats: true,
    doc: "A local port whose traffic is carried to a service elsewhere.",
    keys: &[
        KIND,
        Key {
            name: "address",
            doc: "The local address that programs send or connect to.",
            value: Shape::Shown(r#""127.0.0.1:6004""#),
        },
        Key {
            name: "service",
            doc: "The name of the service.",
            value: Shape::Shown(r#""game""#),
        },
        Key {
            name: "to",
            doc: "Where it is: { node = \"region/name\" }, or { region = \"...\" } for the nearest node\n\
                  there that has it.",
            value: Shape::Shown(r#"{ region = "us-east" }"#),
        },
        Key {
            name: "class",
            doc: "With udp: \"audio\", \"video\" or \"bulk\"; more urgent packets go first.\n\
                  Default \"video\".",
            value: Shape::Optional(r#""audio""#),
        },
        IDLE,
        STALL,
    ],
    more: "",
};

static TO: SectionKeys = SectionKeys {
    name: "to",
    repeats: false,
    doc: "",
    keys: &[
        Key {
            name: "region",
            doc: "",
            value: Shape::Optional(""),
        },
        Key {
            name: "node",
            doc: "",
            value: Shape::Optional(""),
        },
    ],
    more: "",
};
