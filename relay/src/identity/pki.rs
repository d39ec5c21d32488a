//! A private CA for one trust domain, and certificates of nodes and administrators signed by it.
//!
//! [`init`], [`issue`] and [`issue_administrator`] work on files; [`Authority`] is the same in
//! memory. For production, bring certificates of an own PKI instead: SPIRE, cert-manager and step-ca
//! make what nodes need.
//!
//! All keys are Ed25519: small, quick to check, and with signatures of one length, which keeps the
//! sizes of a simulated handshake the same from run to run.

mod files;

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use thiserror::Error;
use time::OffsetDateTime;

pub use self::files::{FileError, Issued, IssuedAdministrator, init, issue, issue_administrator};
use super::{
    PeerError, Pem, Usage,
    certificate::Contents,
    date::{Date, unix_seconds},
};
use crate::id::{AdministratorId, NodeId, NodeIdError};

/// How long a CA that [`init`] makes is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3_650 * DAY_SECONDS);
/// How long a node's certificate is valid unless told otherwise.
pub const NODE_VALIDITY: Duration = Duration::from_secs(90 * DAY_SECONDS);
/// How far certificates begin before they are made.
///
/// A node whose clock is behind that of the machine that made its certificate would otherwise
/// find it not yet valid. Minutes are what a host without time synchronisation is off by.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// A CA with its key, in memory.
///
/// `Debug` shows neither key nor certificate.
pub struct Authority {
    trust_domain: String,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    not_after: SystemTime,
    key: KeyPair,
    randomness: Randomness,
}

impl Authority {
    /// Makes the CA of a new trust domain, valid from shortly before `now` for
    /// [`AUTHORITY_VALIDITY`].
    ///
    /// # Errors
    /// [`PkiError::Name`] for a bad trust domain; [`PkiError::Date`] and [`PkiError::Generate`].
    pub fn generate(
        trust_domain: &str,
        randomness: Randomness,
        now: SystemTime,
    ) -> Result<Self, PkiError> {
        check_trust_domain(trust_domain)?;
        let name = format!("spiffe://{trust_domain}");
        let validity = Validity::starting(now, AUTHORITY_VALIDITY);
        let mut params = params(&name, validity)?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("causeway CA {trust_domain}"));
        params.serial_number = Some(randomness.serial("authority", &name)?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = randomness.key("authority", &name)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            not_after: validity.not_after,
            key,
            randomness,
        })
    }

    /// Takes up a CA from its PEM texts, such as those that [`Authority::generate`] made.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] if there is no CA certificate in it; [`PkiError::Key`] if the key
    /// cannot be read or is another's; [`PkiError::NoTrustDomain`].
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| bad_certificate("has no PEM block \"CERTIFICATE\""))?;
        let contents =
            Contents::read(&certificate).map_err(|why: PeerError| PkiError::Certificate {
                why: why.to_string(),
            })?;
        if !contents.usage.ca {
            return Err(bad_certificate("is not a CA"));
        }
        let trust_domain = contents.authority_of().ok_or(PkiError::NoTrustDomain)?;
        check_trust_domain(trust_domain)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| PkiError::Key {
            why: "has no private key that can be used",
        })?;
        if !certifies(&certificate, &key) {
            return Err(PkiError::Key {
                why: "is not the key of the CA's certificate",
            });
        }
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            certificate_pem: certificate_pem.to_owned(),
            not_after: contents.not_after,
            certificate,
            key,
            randomness: Randomness::System,
        })
    }

    /// Issues a certificate with a new key.
    ///
    /// It never outlives the CA: a later end becomes the CA's.
    ///
    /// # Errors
    /// [`PkiError::Date`] if nothing is left of its validity; [`PkiError::Generate`].
    pub fn issue(&self, leaf: &Leaf) -> Result<NodePem, PkiError> {
        let mut validity = leaf.validity;
        validity.not_after = validity.not_after.min(self.not_after);
        let first = leaf.uris.first().map_or("", String::as_str);
        let mut params = params("", validity)?;
        params.subject_alt_names = leaf
            .uris
            .iter()
            .map(|uri| san(uri))
            .collect::<Result<_, _>>()?;
        params
            .distinguished_name
            .push(DnType::CommonName, leaf.common_name.as_str());
        params.serial_number = Some(self.randomness.serial("node", first)?);
        params.use_authority_key_identifier_extension = true;
        params.is_ca = if leaf.usage.ca {
            IsCa::Ca(BasicConstraints::Constrained(0))
        } else {
            IsCa::ExplicitNoCa
        };
        params.key_usages = key_usages(leaf.usage);
        params.extended_key_usages = extended_key_usages(leaf.usage);
        let key = self.randomness.key("node", first)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(NodePem {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            not_after: validity.not_after,
        })
    }

    /// Issues what a node loads: certificate, key, and this CA as its bundle.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn node(&self, id: &NodeId, validity: Validity) -> Result<Pem, PkiError> {
        let issued = self.issue(&Leaf::node(id, validity))?;
        Ok(Pem {
            certificate: issued.certificate.into_bytes(),
            key: issued.key.into_bytes(),
            bundle: self.certificate_pem.clone().into_bytes(),
        })
    }

    /// The trust domain whose nodes it signs.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// When its own certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Its certificate, which is what nodes have as their bundle.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its private key. Whoever has it can be any node.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// What a certificate is to say. [`Leaf::node`] is what nodes need; tests bend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The subject, which nobody checks; it shows in tools.
    pub common_name: String,
    /// The URI names.
    pub uris: Vec<String>,
    /// From when to when.
    pub validity: Validity,
    /// What for.
    pub usage: Usage,
}

impl Leaf {
    /// The certificate of node `id`.
    pub fn node(id: &NodeId, validity: Validity) -> Self {
        Self {
            common_name: id.name().to_owned(),
            uris: vec![id.uri().to_owned()],
            validity,
            usage: Usage::NODE,
        }
    }

    /// The certificate of administrator `id`.
    pub fn administrator(id: &AdministratorId, validity: Validity) -> Self {
        Self {
            common_name: id.name().to_owned(),
            uris: vec![id.uri().to_owned()],
            validity,
            usage: Usage::ADMINISTRATOR,
        }
    }
}

/// From when to when a certificate is valid, both ends included, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// From [`BACKDATE`] before `now` to `duration` after it.
    pub fn starting(now: SystemTime, duration: Duration) -> Self {
        Self {
            not_before: now.checked_sub(BACKDATE).unwrap_or(now),
            not_after: now.checked_add(duration).unwrap_or(now),
        }
    }
}

/// A certificate with its key, as PEM. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct NodePem {
    /// The certificate; there is nothing between it and the CA.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
    /// When the certificate ends.
    pub not_after: SystemTime,
}

impl std::fmt::Debug for NodePem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodePem")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Where keys and serial numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Randomness {
    /// For simulation only: all follows from the seed and the names, so that the same calls give
    /// the same bytes, and two issues for one name have one key. Whoever knows the seed has every
    /// key.
    Seed(u64),
    /// The operating system's. Certificates differ from call to call, but not in length.
    System,
}

impl Randomness {
    fn bytes(self, purpose: &str, name: &str) -> Result<[u8; 32], PkiError> {
        let mut bytes = [0; 32];
        match self {
            Self::Seed(seed) => {
                let text = format!("causeway pki\n{seed}\n{purpose}\n{name}");
                bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
            }
            Self::System => SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_| PkiError::Randomness)?,
        }
        Ok(bytes)
    }

    fn key(self, owner: &str, name: &str) -> Result<KeyPair, PkiError> {
        let seed = self.bytes(&format!("{owner} key"), name)?;
        let der = [ED25519_PKCS8_HEAD.as_slice(), &seed].concat();
        let der = PrivatePkcs8KeyDer::from(der);
        Ok(KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?)
    }

    fn serial(self, owner: &str, name: &str) -> Result<SerialNumber, PkiError> {
        let bytes = self.bytes(&format!("{owner} serial"), name)?;
        let mut serial = bytes[..SERIAL_BYTES].to_vec();
        // DER drops leading zeros and adds one before a set bit: this keeps the length the same.
        serial[0] = (serial[0] & 0x3f) | 0x40;
        Ok(SerialNumber::from(serial))
    }
}

/// Why a certificate could not be made.
#[derive(Debug, Error)]
pub enum PkiError {
    /// The CA's certificate cannot be used.
    #[error("CA certificate {why}")]
    Certificate {
        /// What is wrong.
        why: String,
    },
    /// The validity is empty or lies where certificates cannot say it.
    #[error("cannot be valid from {} to {}", Date(*.not_before), Date(*.not_after))]
    Date {
        /// From when.
        not_before: SystemTime,
        /// To when, at most the CA's end.
        not_after: SystemTime,
    },
    /// The certificate could not be built or signed.
    #[error("cannot make the certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The CA's private key cannot be used.
    #[error("CA key {why}")]
    Key {
        /// What is wrong.
        why: &'static str,
    },
    /// Trust domain, region or node name are not what they may be.
    #[error(transparent)]
    Name(#[from] NodeIdError),
    /// The CA's certificate has no URI name that says for which trust domain it signs.
    #[error("CA certificate names no trust domain: it needs the URI name spiffe://<trust-domain>")]
    NoTrustDomain,
    /// The operating system gave no randomness.
    #[error("the operating system gives no random bytes")]
    Randomness,
}

fn check_trust_domain(trust_domain: &str) -> Result<(), NodeIdError> {
    NodeId::try_new(trust_domain, "r", "n").map(drop)
}

fn bad_certificate(why: &str) -> PkiError {
    PkiError::Certificate {
        why: why.to_owned(),
    }
}

/// Whether `key` is the key in `certificate`.
fn certifies(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    use rcgen::PublicKeyData;
    rustls::server::ParsedCertificate::try_from(certificate).is_ok_and(|parsed| {
        parsed.subject_public_key_info().as_ref() == key.subject_public_key_info()
    })
}

fn params(uri: &str, validity: Validity) -> Result<CertificateParams, PkiError> {
    let date = |date| OffsetDateTime::from_unix_timestamp(unix_seconds(date)).ok();
    let bad_date = PkiError::Date {
        not_before: validity.not_before,
        not_after: validity.not_after,
    };
    let (Some(not_before), Some(not_after)) = (date(validity.not_before), date(validity.not_after))
    else {
        return Err(bad_date);
    };
    if not_after < not_before {
        return Err(bad_date);
    }
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    params.distinguished_name = DistinguishedName::new();
    if !uri.is_empty() {
        params.subject_alt_names = vec![san(uri)?];
    }
    Ok(params)
}

fn san(uri: &str) -> Result<SanType, PkiError> {
    Ok(SanType::URI(uri.try_into()?))
}

fn key_usages(usage: Usage) -> Vec<KeyUsagePurpose> {
    let mut usages = Vec::new();
    if usage.digital_signature {
        usages.push(KeyUsagePurpose::DigitalSignature);
    } else {
        // Without any, the extension is left out, which allows everything.
        usages.push(KeyUsagePurpose::KeyAgreement);
    }
    if usage.ca {
        usages.push(KeyUsagePurpose::KeyCertSign);
    }
    usages
}

fn extended_key_usages(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    let mut usages = Vec::new();
    if usage.server_auth {
        usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if usage.client_auth {
        usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    usages
}

/// RFC 8410 section 7: PKCS#8, version 0, Ed25519, before the 32 bytes of the private key.
const ED25519_PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// RFC 5280 section 4.1.2.2 allows up to 20; 16 random ones never meet twice.
const SERIAL_BYTES: usize = 16;
const DAY_SECONDS: u64 = 86_400;
