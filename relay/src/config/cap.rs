//! What a node may send to a region.

use std::collections::BTreeMap;

use super::{
    document::{Key, Root, Section, SectionKeys, Shape},
    node::NAME_RULE,
};
use crate::id::NodeId;

/// A rate that is not exceeded towards the nodes of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// The region at the other end of the link.
    pub region: String,
    /// Bits a second, of packets with their header and of streams.
    pub bits_per_s: u64,
}

/// Reads all `[[cap]]`s.
pub(super) fn read(root: &Root<'_>) -> Vec<Cap> {
    let mut seen = BTreeMap::new();
    root.sections(&CAP, MAX_CAPS)
        .iter()
        .filter_map(|section| read_cap(section, &mut seen))
        .collect()
}

fn read_cap(section: &Section<'_>, seen: &mut BTreeMap<String, usize>) -> Option<Cap> {
    let region = section.required("region", "the region that the cap is for");
    let rate = section.required("rate_mbps", "megabits a second");
    let region = region.and_then(|value| {
        let region = value.text(NAME_RULE)?;
        if NodeId::try_new("d", region, "n").is_err() {
            value.refuse(NAME_RULE);
            return None;
        }
        match seen.insert(region.to_owned(), value.line()) {
            None => Some(region.to_owned()),
            Some(first) => {
                value.refuse(format!("a region without a cap, line {first} has one"));
                None
            }
        }
    });
    let rate = rate.and_then(|value| value.number(1, MAX_RATE_MBPS));
    Some(Cap {
        region: region?,
        bits_per_s: rate? * 1_000_000,
    })
}

/// As many regions as anybody rents.
const MAX_CAPS: usize = 1_024;
/// A terabit.
const MAX_RATE_MBPS: u64 = 1_000_000;

pub(super) static CAP: SectionKeys = SectionKeys {
    name: "cap",
    repeats: true,
    doc: "The most that this node sends to a region, whose traffic is paid for: its own and what it\n\
          carries for others. Packets above it are dropped and counted, streams wait.",
    keys: &[
        Key {
            name: "region",
            doc: "The region at the other end of the link.",
            value: Shape::Shown(r#""ap-south""#),
        },
        Key {
            name: "rate_mbps",
            doc: "Megabits a second, on average over 200 ms.",
            value: Shape::Shown("50"),
        },
    ],
    more: "",
};
