//! Who decides for the whole fleet.

use std::{fmt, str::FromStr, sync::Arc};

use super::{NodeIdError, SCHEME, check_part, clip};

/// An administrator's identity: written `spiffe://<trust-domain>/admin/<name>`, shown to people as
/// the name.
///
/// No node has such a name and no administrator a node's, so that a certificate is good for one of
/// the two. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdministratorId {
    uri: Arc<str>,
    trust_domain_end: usize,
}

impl AdministratorId {
    /// Builds an identity from its parts.
    ///
    /// # Errors
    /// [`NodeIdError`] names the part, as for a [`NodeId`](super::NodeId).
    pub fn try_new(trust_domain: &str, name: &str) -> Result<Self, NodeIdError> {
        check_part("trust domain", trust_domain, false)?;
        check_part("administrator's name", name, true)?;
        Ok(Self {
            uri: format!("{SCHEME}{trust_domain}{ADMIN}{name}").into(),
            trust_domain_end: SCHEME.len() + trust_domain.len(),
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

    /// The administrator's name.
    pub fn name(&self) -> &str {
        &self.uri[self.trust_domain_end + ADMIN.len()..]
    }
}

impl FromStr for AdministratorId {
    type Err = NodeIdError;

    fn from_str(uri: &str) -> Result<Self, NodeIdError> {
        let form = || NodeIdError::Form { got: clip(uri) };
        let rest = uri.strip_prefix(SCHEME).ok_or_else(form)?;
        let (trust_domain, name) = rest.split_once(ADMIN).ok_or_else(form)?;
        Self::try_new(trust_domain, name)
    }
}

impl fmt::Display for AdministratorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for AdministratorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

const ADMIN: &str = "/admin/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    #[test]
    fn name_is_written_and_read_and_is_no_nodes() {
        let id = AdministratorId::try_new("example.org", "ops").unwrap();
        assert_eq!(id.uri(), "spiffe://example.org/admin/ops");
        assert_eq!((id.trust_domain(), id.name()), ("example.org", "ops"));
        assert_eq!(id.uri().parse(), Ok(id.clone()));
        assert!(id.uri().parse::<NodeId>().is_err());
        for bad in [
            "spiffe://example.org/region/eu/node/a",
            "spiffe://example.org/admin/",
            "spiffe://example.org/admin/a/b",
            "spiffe:///admin/a",
            "example.org/admin/a",
        ] {
            assert!(bad.parse::<AdministratorId>().is_err(), "{bad}");
        }
    }
}
