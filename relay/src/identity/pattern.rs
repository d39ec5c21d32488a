//! Which nodes may do something: patterns over SPIFFE names.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::id::{NodeId, NodeIdError};

/// Nodes of one trust domain, by region and name.
///
/// Written as a node's name in which region and name may end in `*`:
/// `spiffe://example.org/region/*/node/*` is every node, `.../region/eu-west/node/*` those of a
/// region, `.../region/*/node/edge-*` those whose name begins with `edge-`. The star stands for any
/// text, none included, within its segment only, and is allowed only as a segment's last
/// character; never in the trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    trust_domain: String,
    region: Segment,
    name: Segment,
}

impl Pattern {
    /// Whether `node` is one of them.
    pub fn matches(&self, node: &NodeId) -> bool {
        self.trust_domain == node.trust_domain()
            && self.region.matches(node.region())
            && self.name.matches(node.name())
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        let shown = || pattern.chars().take(MAX_SHOWN_CHARS).collect::<String>();
        let form = || PatternError::Form { pattern: shown() };
        let rest = pattern.strip_prefix("spiffe://").ok_or_else(form)?;
        let (trust_domain, rest) = rest.split_once("/region/").ok_or_else(form)?;
        let (region, name) = rest.split_once("/node/").ok_or_else(form)?;
        let (region, name) = (Segment::new(region), Segment::new(name));
        // Stars aside, a pattern holds what a name holds, so a name's own rules judge it.
        NodeId::try_new(trust_domain, region.sample(), name.sample()).map_err(|why| {
            PatternError::Part {
                pattern: shown(),
                why,
            }
        })?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            region,
            name,
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/region/{}/node/{}",
            self.trust_domain, self.region, self.name
        )
    }
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It has not the form of a node's name.
    #[error(
        "pattern {pattern:?} is not of the form spiffe://<trust-domain>/region/<region>/node/<name>, where region and name may end in '*'"
    )]
    Form {
        /// The pattern, shortened.
        pattern: String,
    },
    /// One of its parts is not what a node's name may hold; a star anywhere but at the end of
    /// region or name is among this.
    #[error("pattern {pattern:?}: {why}, and region and name may end in '*'")]
    Part {
        /// The pattern, shortened.
        pattern: String,
        /// Which part, and what is wrong with it.
        why: NodeIdError,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    /// A star after this text.
    Prefix(String),
}

impl Segment {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, part: &str) -> bool {
        match self {
            Self::Exact(text) => part == text,
            Self::Prefix(prefix) => part.starts_with(prefix.as_str()),
        }
    }

    /// The shortest text that matches.
    fn sample(&self) -> &str {
        match self {
            Self::Prefix(prefix) if prefix.is_empty() => "x",
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// What an error shows of a pattern.
const MAX_SHOWN_CHARS: usize = 120;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: &str = "spiffe://example.org";

    fn matches(pattern: &str, node: &str) -> bool {
        let node = format!("{DOMAIN}{node}").parse().unwrap();
        pattern.parse::<Pattern>().unwrap().matches(&node)
    }

    #[test]
    fn star_stands_for_any_text_within_its_segment_only() {
        for (pattern, node, expected) in [
            ("/region/*/node/*", "/region/eu-west/node/fra-1", true),
            ("/region/eu-west/node/*", "/region/eu-west/node/a", true),
            ("/region/eu-west/node/*", "/region/eu-west2/node/a", false),
            ("/region/*/node/fra-*", "/region/r/node/fra-1", true),
            ("/region/*/node/fra-*", "/region/r/node/fra-", true),
            ("/region/*/node/fra-*", "/region/r/node/fra", false),
            ("/region/*/node/fra-*", "/region/fra-1/node/x", false),
            ("/region/eu-*/node/a", "/region/eu-west/node/a", true),
            ("/region/eu-*/node/a", "/region/eu-west/node/ab", false),
            ("/region/r/node/n", "/region/r/node/n", true),
            ("/region/r/node/n", "/region/r/node/N", false),
        ] {
            let pattern = format!("{DOMAIN}{pattern}");
            assert_eq!(matches(&pattern, node), expected, "{pattern} {node}");
        }
    }

    #[test]
    fn another_trust_domain_never_matches() {
        let every = "spiffe://other.org/region/*/node/*";
        assert!(!matches(every, "/region/r/node/n"));
        let longer = "spiffe://example.org.evil/region/*/node/*";
        assert!(!matches(longer, "/region/r/node/n"));
    }

    #[test]
    fn stars_elsewhere_and_other_forms_are_refused_with_the_pattern_named() {
        for pattern in [
            "*",
            "",
            "spiffe://*/region/r/node/n",
            "spiffe://example.*/region/r/node/n",
            "spiffe://example.org/region/*/node/*/more",
            "spiffe://example.org/region/**/node/n",
            "spiffe://example.org/region/*-west/node/n",
            "spiffe://example.org/region/r/node/a*b",
            "spiffe://example.org/region/r/node/",
            "spiffe://example.org/region//node/n",
            "spiffe://example.org/region/r/*",
            "https://example.org/region/r/node/n",
        ] {
            let error = pattern.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(&format!("{pattern:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_node_matches_its_own_name_and_every_prefix_of_it(
            region in "[a-zA-Z0-9._-]{1,20}",
            name in "[a-zA-Z0-9._-]{1,20}",
            cut in 0_usize..20,
        ) {
            let node = NodeId::try_new("example.org", &region, &name).unwrap();
            let exact: Pattern = node.uri().parse().unwrap();
            prop_assert!(exact.matches(&node));
            prop_assert_eq!(exact.to_string(), node.uri());
            let head = &name[..cut.min(name.len())];
            let text = format!("{DOMAIN}/region/*/node/{head}*");
            let prefix: Pattern = text.parse().unwrap();
            prop_assert!(prefix.matches(&node));
            prop_assert_eq!(prefix.to_string(), text);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Pattern>();
            let _ = format!("spiffe://{text}").parse::<Pattern>();
        }
    }
}
