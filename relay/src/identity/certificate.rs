//! What is read from a certificate. Reading believes nothing: the chain is checked elsewhere.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{MAX_CHAIN, PeerError, date::from_unix_seconds};
use crate::id::NodeId;

/// The peer at the other end of a link, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The node.
    pub id: NodeId,
    /// When the node's own certificate ends. One of its chain may end sooner, which only a check
    /// of the chain notices.
    pub not_after: SystemTime,
}

impl PeerCertificate {
    /// Reads the node's name from `chain`, leaf first, without checking the chain.
    ///
    /// For the chain of a connection whose handshake our verifier has let through. Never panics,
    /// whatever the bytes.
    ///
    /// # Errors
    /// [`PeerError::ChainTooLong`], [`PeerError::ManyNames`], [`PeerError::NoCertificate`],
    /// [`PeerError::NoName`], [`PeerError::NotANode`] and [`PeerError::Unreadable`]; none of them
    /// comes from a chain that was let through.
    pub fn read(chain: &[CertificateDer<'_>]) -> Result<Self, PeerError> {
        let (leaf, _) = split(chain)?;
        let contents = Contents::read(leaf)?;
        Ok(Self {
            id: contents.node()?,
            not_after: contents.not_after,
        })
    }
}

/// What a certificate allows its key to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Whether it is a CA: it may sign other certificates.
    pub ca: bool,
    /// Whether it may sign handshakes; certificates that say nothing about key usage may.
    pub digital_signature: bool,
    /// Whether it names `serverAuth`, for the accepting end.
    pub server_auth: bool,
    /// Whether it names `clientAuth`, for the dialing end.
    pub client_auth: bool,
}

impl Usage {
    /// What a node's certificate has to say: it accepts and dials with the same one.
    pub const NODE: Self = Self {
        ca: false,
        digital_signature: true,
        server_auth: true,
        client_auth: true,
    };

    /// What an administrator's certificate has to say: it is for neither end of a link.
    pub const ADMINISTRATOR: Self = Self {
        ca: false,
        digital_signature: true,
        server_auth: false,
        client_auth: false,
    };

    /// Whether a node may use a certificate that says so.
    ///
    /// # Errors
    /// [`PeerError::WrongUsage`] with the first thing that is wrong.
    pub(super) fn check(self) -> Result<(), PeerError> {
        let why = if self.ca {
            "it is a CA"
        } else if !self.digital_signature {
            "its key usage lacks digitalSignature"
        } else if !self.server_auth {
            "its extended key usage lacks serverAuth, and needs serverAuth and clientAuth"
        } else if !self.client_auth {
            "its extended key usage lacks clientAuth, and needs serverAuth and clientAuth"
        } else {
            return Ok(());
        };
        Err(PeerError::WrongUsage { why })
    }

    /// Whether statements may be signed with a certificate that says so.
    ///
    /// # Errors
    /// [`PeerError::WrongUsage`] with the first thing that is wrong.
    pub(super) fn check_signer(self) -> Result<(), PeerError> {
        let why = if self.ca {
            "it is a CA"
        } else if !self.digital_signature {
            "its key usage lacks digitalSignature"
        } else {
            return Ok(());
        };
        Err(PeerError::WrongUsage { why })
    }
}

/// The parts of a certificate that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// The first URI name, cut at [`MAX_URI_CHARS`].
    first_uri: Option<String>,
    /// How many URI names there are.
    uri_count: usize,
    /// What it may be used for.
    pub(super) usage: Usage,
    /// The first moment of its validity.
    pub(super) not_before: SystemTime,
    /// The last moment of its validity.
    pub(super) not_after: SystemTime,
}

impl Contents {
    /// Reads one certificate. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`PeerError::Unreadable`].
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| unreadable("not a certificate"))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow the certificate"));
        }
        let (first_uri, uri_count) = uri_names(&certificate)?;
        let validity = certificate.validity();
        Ok(Self {
            first_uri,
            uri_count,
            usage: usage(&certificate)?,
            not_before: from_unix_seconds(validity.not_before.timestamp()),
            not_after: from_unix_seconds(validity.not_after.timestamp()),
        })
    }

    /// The node that the certificate names.
    pub(super) fn node(&self) -> Result<NodeId, PeerError> {
        let uri = self.one_uri()?;
        uri.parse().map_err(|_| PeerError::NotANode {
            got: uri.chars().take(MAX_SHOWN_CHARS).collect(),
        })
    }

    /// The one URI that the certificate has.
    pub(super) fn one_uri(&self) -> Result<&str, PeerError> {
        match (self.uri_count, &self.first_uri) {
            (1, Some(uri)) => Ok(uri),
            (0, _) => Err(PeerError::NoName),
            (got, _) => Err(PeerError::ManyNames { got }),
        }
    }

    /// The trust domain that a CA certificate says it is of, if it says so.
    ///
    /// SPIFFE has CAs name their trust domain as `spiffe://<trust-domain>`, without a path; CAs
    /// that are not made for SPIFFE name none.
    pub(super) fn authority_of(&self) -> Option<&str> {
        let rest = self.first_uri.as_ref()?.strip_prefix("spiffe://")?;
        Some(rest.split('/').next().unwrap_or(rest))
    }

    /// Whether `now` lies within the validity, both ends included.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), PeerError> {
        if now < self.not_before {
            return Err(PeerError::NotYetValid {
                from: self.not_before,
            });
        }
        if now > self.not_after {
            return Err(PeerError::Expired {
                since: self.not_after,
            });
        }
        Ok(())
    }
}

/// The leaf of a chain and the rest, if its length is within [`MAX_CHAIN`].
pub(super) fn split<'a, 'd>(
    chain: &'a [CertificateDer<'d>],
) -> Result<(&'a CertificateDer<'d>, &'a [CertificateDer<'d>]), PeerError> {
    if chain.len() > MAX_CHAIN {
        return Err(PeerError::ChainTooLong { got: chain.len() });
    }
    chain.split_first().ok_or(PeerError::NoCertificate)
}

fn uri_names(certificate: &X509Certificate<'_>) -> Result<(Option<String>, usize), PeerError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| unreadable("bad subject alternative names"))?;
    let mut first = None;
    let mut count = 0;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => {
                count += 1;
                first.get_or_insert_with(|| uri.chars().take(MAX_URI_CHARS).collect());
            }
            GeneralName::Invalid(..) => return Err(unreadable("bad subject alternative names")),
            _ => {}
        }
    }
    Ok((first, count))
}

fn usage(certificate: &X509Certificate<'_>) -> Result<Usage, PeerError> {
    let basic = certificate
        .basic_constraints()
        .map_err(|_| unreadable("bad basic constraints"))?;
    let key = certificate
        .key_usage()
        .map_err(|_| unreadable("bad key usage"))?;
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| unreadable("bad extended key usage"))?;
    Ok(Usage {
        ca: basic.is_some_and(|basic| basic.value.ca),
        digital_signature: key.is_none_or(|key| key.value.digital_signature()),
        server_auth: extended
            .as_ref()
            .is_some_and(|extended| extended.value.server_auth),
        client_auth: extended.is_some_and(|extended| extended.value.client_auth),
    })
}

fn unreadable(why: &str) -> PeerError {
    PeerError::Unreadable {
        why: why.to_owned(),
    }
}

/// Above the longest name of a node, so that a longer one stays too long to be one.
const MAX_URI_CHARS: usize = 256;
/// What an error shows of a name that came from elsewhere.
const MAX_SHOWN_CHARS: usize = 80;
