//! The other nodes that a node dials.

use std::collections::BTreeMap;

use super::{
    address::HostPort,
    document::{Key, Root, Section, SectionKeys, Shape, Value},
    node::NAME_RULE,
};
use crate::id::NodeId;

/// A node to dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Who must answer; any node of the trust domain if it is not known.
    pub id: Option<NodeId>,
    /// Where, in the order to try them; 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<HostPort>,
}

/// Reads all `[[peer]]`s; `own` is the node itself, if that is known.
pub(super) fn read(root: &Root<'_>, own: Option<&NodeId>) -> Vec<Peer> {
    let mut seen = BTreeMap::new();
    root.sections(&PEER, MAX_PEERS)
        .iter()
        .filter_map(|section| read_peer(section, own, &mut seen))
        .collect()
}

/// `seen` holds where each peer or address stood first.
fn read_peer(
    section: &Section<'_>,
    own: Option<&NodeId>,
    seen: &mut BTreeMap<String, usize>,
) -> Option<Peer> {
    let addresses = read_addresses(section);
    let region = section.optional("region");
    let name = section.optional("name");
    let (region, name) = match (region, name) {
        (None, None) => {
            for (address, value) in &addresses {
                let line = value.line();
                if let Some(first) = seen.insert(address.to_string(), line) {
                    value.refuse(format!(
                        "an address not yet listed, line {first} has it too"
                    ));
                }
            }
            let addresses: Vec<_> = addresses.into_iter().map(|(address, _)| address).collect();
            return (!addresses.is_empty()).then_some(Peer {
                id: None,
                addresses,
            });
        }
        (None, Some(_)) => {
            section.missing("region", "the region too, where a peer has a name");
            return None;
        }
        (Some(_), None) => {
            section.missing("name", "the name too, where a peer has a region");
            return None;
        }
        (Some(region), Some(name)) => (region, name),
    };
    let region_text = region.text(NAME_RULE);
    let name_text = name.text(NAME_RULE);
    let domain = own.map_or("unknown", NodeId::trust_domain);
    let checked = |part: Option<&str>, value: &Value<'_>| {
        part.filter(|part| {
            let fits = NodeId::try_new(domain, part, part).is_ok();
            if !fits {
                value.refuse(NAME_RULE);
            }
            fits
        })
        .map(str::to_owned)
    };
    let region_text = checked(region_text, &region);
    let name_text = checked(name_text, &name);
    let id = NodeId::try_new(domain, &region_text?, &name_text?).ok()?;
    if own == Some(&id) {
        name.refuse("another node: this is the node itself");
        return None;
    }
    if let Some(first) = seen.insert(id.to_string(), name.line()) {
        name.refuse(format!("a peer not yet listed, line {first} has it too"));
        return None;
    }
    let addresses: Vec<_> = addresses.into_iter().map(|(address, _)| address).collect();
    (!addresses.is_empty()).then_some(Peer {
        id: Some(id),
        addresses,
    })
}

fn read_addresses<'d>(section: &Section<'d>) -> Vec<(HostPort, Value<'d>)> {
    const EXPECTED: &str = "host:port, such as \"iad-1.example.org:7400\"";
    let Some(value) = section.required("addresses", "a list of where to dial the peer") else {
        return Vec::new();
    };
    value
        .list(MAX_ADDRESSES, "addresses")
        .into_iter()
        .filter_map(|item| Some((item.parse(EXPECTED)?, item)))
        .collect()
}

/// A dial races them all within its deadline; more would leave none enough time.
pub const MAX_ADDRESSES: usize = 8;
/// One keeper each; larger fleets are found through a few seeds.
const MAX_PEERS: usize = 4_096;

pub(super) static PEER: SectionKeys = SectionKeys {
    name: "peer",
    repeats: true,
    doc: "A node to keep a link to. Peers are added and removed on SIGHUP without a restart.",
    keys: &[
        Key {
            name: "region",
            doc: "Who must answer there.",
            value: Shape::Shown(r#""us-east""#),
        },
        Key {
            name: "name",
            doc: "With region: a node of another name is refused. Leave out both to accept any node\n\
                  of the trust domain.",
            value: Shape::Shown(r#""iad-1""#),
        },
        Key {
            name: "addresses",
            doc: "Where to dial, 1 to 8; DNS names are resolved again before each dial.",
            value: Shape::Shown(r#"["iad-1.example.org:7400", "198.51.100.7:7400"]"#),
        },
    ],
    more: "\n[[peer]]\naddresses = [\"seed.example.org:7400\"]\n",
};
