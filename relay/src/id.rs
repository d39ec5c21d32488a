//! Who is who: node names, keys and generations.

mod administrator;

use std::{fmt, str::FromStr, sync::Arc};

use thiserror::Error;

pub use self::administrator::AdministratorId;

/// A node's identity: its SPIFFE name and the key derived from it.
///
/// Written `spiffe://<trust-domain>/region/<region>/node/<name>`; shown to people as
/// `<region>/<name>`. Cloning is cheap. Ordered and hashed by the URI.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    uri: Arc<str>,
    trust_domain_end: usize,
    region_end: usize,
}

impl NodeId {
    /// Builds an identity from its parts.
    ///
    /// # Errors
    /// [`NodeIdError`] names the part that is empty, too long or holds a character outside its
    /// alphabet: lower-case letters, digits, `.`, `-` and `_` for the trust domain; the same and
    /// upper-case letters for region and name.
    pub fn try_new(trust_domain: &str, region: &str, name: &str) -> Result<Self, NodeIdError> {
        check_part("trust domain", trust_domain, false)?;
        check_part("region", region, true)?;
        check_part("node name", name, true)?;
        let uri = format!("{SCHEME}{trust_domain}{REGION}{region}{NODE}{name}");
        Ok(Self {
            uri: uri.into(),
            trust_domain_end: SCHEME.len() + trust_domain.len(),
            region_end: SCHEME.len() + trust_domain.len() + REGION.len() + region.len(),
        })
    }

    /// The whole SPIFFE URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The trust domain, as in `spiffe://<trust-domain>/`.
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..self.trust_domain_end]
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.uri[self.trust_domain_end + REGION.len()..self.region_end]
    }

    /// The node's name within its region.
    pub fn name(&self) -> &str {
        &self.uri[self.region_end + NODE.len()..]
    }

    /// The key that stands for this node in packet headers: see [`NodeKey`].
    pub fn key(&self) -> NodeKey {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.uri.as_bytes());
        let mut key = [0; NodeKey::LEN];
        key.copy_from_slice(&digest.as_ref()[..NodeKey::LEN]);
        NodeKey(key)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(uri: &str) -> Result<Self, NodeIdError> {
        let form = || NodeIdError::Form { got: clip(uri) };
        let rest = uri.strip_prefix(SCHEME).ok_or_else(form)?;
        let (trust_domain, rest) = rest.split_once(REGION).ok_or_else(form)?;
        let (region, name) = rest.split_once(NODE).ok_or_else(form)?;
        Self::try_new(trust_domain, region, name)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region(), self.name())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a node's identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeIdError {
    /// A part holds a character that is not allowed there.
    #[error(
        "{part} {got:?} may hold only letters, digits, '.', '-' and '_', and a trust domain no capitals"
    )]
    Alphabet {
        /// Which part.
        part: &'static str,
        /// The part, shortened.
        got: String,
    },
    /// The text is not of the form of a node's SPIFFE URI.
    #[error("{got:?} is not of the form spiffe://<trust-domain>/region/<region>/node/<name>")]
    Form {
        /// The text, shortened.
        got: String,
    },
    /// A part is empty or too long.
    #[error("{part} is {got_bytes} bytes long, expected 1 to {MAX_PART_BYTES}")]
    Length {
        /// Which part.
        part: &'static str,
        /// Its length.
        got_bytes: usize,
    },
}

/// The first 8 bytes of SHA-256 of a node's SPIFFE URI.
///
/// Names a node where its URI would be too long: in packet headers and link generations. Two
/// nodes whose keys collide refuse each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; Self::LEN]);

impl NodeKey {
    /// Bytes of a key on the wire.
    pub const LEN: usize = 8;
}

impl From<router::graph::NodeKey> for NodeKey {
    fn from(key: router::graph::NodeKey) -> Self {
        Self(key.0.to_be_bytes())
    }
}

impl From<NodeKey> for router::graph::NodeKey {
    fn from(key: NodeKey) -> Self {
        Self(u64::from_be_bytes(key.0))
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tells a node's runs apart; grows at each start.
///
/// The larger of the wall clock at the start, in milliseconds since 1970, and one more than the
/// last that was persisted. Below 2^48, so that it fits a packet header.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeGeneration(pub u64);

impl NodeGeneration {
    /// The largest that a packet header carries; in milliseconds it lies in the year 10889.
    pub const MAX: Self = Self((1 << 48) - 1);
}

impl fmt::Display for NodeGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Tells the links of a pair apart: minted by the dialer, for each dial anew.
///
/// Ordered within one dialer: a later dial compares greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkGeneration {
    /// Who dialed.
    pub dialer: NodeKey,
    /// The dialer's own generation at the time.
    pub node: NodeGeneration,
    /// Counts the dialer's dials within its generation.
    pub dial: u32,
}

impl fmt::Display for LinkGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.dialer, self.node, self.dial)
    }
}

fn check_part(part: &'static str, got: &str, capitals: bool) -> Result<(), NodeIdError> {
    if got.is_empty() || got.len() > MAX_PART_BYTES {
        return Err(NodeIdError::Length {
            part,
            got_bytes: got.len(),
        });
    }
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'-' | b'_')
            || (capitals && byte.is_ascii_uppercase())
    };
    if !got.bytes().all(allowed) {
        return Err(NodeIdError::Alphabet {
            part,
            got: clip(got),
        });
    }
    Ok(())
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

const SCHEME: &str = "spiffe://";
const REGION: &str = "/region/";
const NODE: &str = "/node/";
/// Long enough for a DNS label; three parts stay far below a certificate's and a frame's limits.
const MAX_PART_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_from_the_uri() {
        let id = NodeId::try_new("example.org", "eu-west", "fra-1").unwrap();
        assert_eq!(id.uri(), "spiffe://example.org/region/eu-west/node/fra-1");
        assert_eq!(
            (id.trust_domain(), id.region(), id.name()),
            ("example.org", "eu-west", "fra-1")
        );
        assert_eq!(id.uri().parse::<NodeId>().unwrap(), id);
        assert_eq!(id.to_string(), "eu-west/fra-1");
    }

    #[test]
    fn key_is_the_head_of_sha_256_of_the_uri() {
        // printf 'spiffe://example.org/region/eu-west/node/fra-1' | sha256sum | cut -c1-16
        let id = NodeId::try_new("example.org", "eu-west", "fra-1").unwrap();
        assert_eq!(id.key().to_string(), "fa713e8e6d124339");
    }

    #[test]
    fn part_length_is_checked_on_both_sides_of_its_limit() {
        let longest = "a".repeat(MAX_PART_BYTES);
        assert!(NodeId::try_new("d", "r", &longest).is_ok());
        assert_eq!(
            NodeId::try_new("d", "r", &format!("{longest}a")),
            Err(NodeIdError::Length {
                part: "node name",
                got_bytes: MAX_PART_BYTES + 1
            })
        );
        assert_eq!(
            NodeId::try_new("d", "", "n"),
            Err(NodeIdError::Length {
                part: "region",
                got_bytes: 0
            })
        );
    }

    #[test]
    fn uris_of_other_forms_are_refused() {
        for uri in [
            "https://d/region/r/node/n",
            "spiffe://d/node/n",
            "spiffe://d/region/r/node/",
            "spiffe://d/region/r/node/n/extra",
            "spiffe://D/region/r/node/n",
            "spiffe://d/region/r r/node/n",
        ] {
            assert!(uri.parse::<NodeId>().is_err(), "{uri}");
        }
    }
}
