//! A node's certificate, key and bundle, checked against each other.

mod error;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use ring::hkdf;
use rustls::{
    ConfigBuilder, ConfigSide, RootCertStore, WantsVerifier, WantsVersions,
    client::Resumption,
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

pub use self::error::MaterialError;
use super::{
    ALPN, Expect, KeyExposed, MAX_CHAIN, PeerCertificate, PeerError, Refused,
    certificate::Contents,
    verifier::{Bundle, Verifier, WallTime, provider},
};
use crate::{env::WallClock, id::NodeId};

/// A node's certificate and key, and the CAs it trusts: loaded, and fit to be used together.
///
/// Immutable; a reload makes a new one. Cloning is cheap. `Debug` shows the name only.
#[derive(Clone)]
pub struct Material {
    id: NodeId,
    not_after: SystemTime,
    pub(super) certified: Arc<CertifiedKey>,
    resolver: Arc<SingleCertAndKey>,
    pub(super) bundle: Arc<Bundle>,
    /// Stands for the private key where bytes are derived from it.
    root_of_keys: hkdf::Prk,
    pub(super) warning: Option<KeyExposed>,
}

impl Material {
    /// Checks the texts against each other and against `now`.
    ///
    /// - `pem`: one key; a chain of 1..=[`MAX_CHAIN`] certificates, the node's own first; a bundle
    ///   of 1..=64 CAs. A bundle that names its trust domain, as SPIFFE asks, must name ours.
    /// - `files`: where they come from, for errors.
    /// - `required`: what the configuration says about the name.
    ///
    /// The dates of the bundle's own CAs are not looked at: listing a CA there is what trusts it.
    ///
    /// # Errors
    /// Every [`MaterialError`] but those of reading files. The first that is found.
    pub fn try_new(
        pem: &Pem,
        files: &Files,
        required: &RequiredName,
        now: SystemTime,
    ) -> Result<Self, MaterialError> {
        let chain = certificates(&pem.certificate, &files.certificate, MAX_CHAIN)?;
        let roots = certificates(&pem.bundle, &files.bundle, MAX_ROOTS)?;
        let key = private_key(&pem.key, &files.key)?;
        let root_of_keys =
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"causeway key material").extract(key.secret_der());

        let bad_certificate = |why| MaterialError::BadCertificate {
            path: files.certificate.clone(),
            why,
        };
        let certified = certify(chain, key, files)?;
        let id = PeerCertificate::read(&certified.cert)
            .map_err(bad_certificate)?
            .id;
        required.check(&id, &files.certificate)?;

        let bundle = bundle(&roots, id.trust_domain(), &files.bundle)?;
        let not_in_bundle = |why| match why {
            PeerError::UnknownIssuer => MaterialError::NotInBundle {
                path: files.certificate.clone(),
                bundle: files.bundle.clone(),
            },
            why => bad_certificate(why),
        };
        let checked = bundle.check(&certified.cert, now).map_err(not_in_bundle)?;
        let certified = Arc::new(certified);
        Ok(Self {
            id,
            not_after: checked.not_after,
            resolver: Arc::new(SingleCertAndKey::from(Arc::clone(&certified))),
            certified,
            bundle: Arc::new(bundle),
            root_of_keys,
            warning: None,
        })
    }

    /// The node that this material makes of the process.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// When our own certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Our own chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// What an operator should be told about the files this was loaded from.
    pub fn warning(&self) -> Option<&KeyExposed> {
        self.warning.as_ref()
    }

    /// 32 secret bytes that depend on the private key and `context` only.
    ///
    /// The same after a restart, and other bytes for every context: keys for stateless resets made
    /// of them still reset the connections of the process before. A new private key changes them.
    pub fn derive(&self, context: &[u8]) -> [u8; 32] {
        expand(&self.root_of_keys, context)
    }

    /// How to accept links: TLS 1.3 with [`ALPN`], a client certificate required, no resumption
    /// and no early data.
    ///
    /// `refused` is called with each client certificate that does not pass.
    pub fn server_config(
        &self,
        wall: Arc<dyn WallClock>,
        refused: Refused,
    ) -> rustls::ServerConfig {
        let verifier = self.verifier(Expect::AnyOfTrustDomain, refused);
        let builder =
            rustls::ServerConfig::builder_with_details(provider(), Arc::new(WallTime(wall)));
        let mut config = tls13(builder)
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config
    }

    /// How to dial: as [`Material::server_config`], with our certificate, for a peer that must be
    /// as `expect` says. Give [`SERVER_NAME`](super::SERVER_NAME) as the name to connect to.
    ///
    /// `refused` is called if the peer's certificate does not pass; see
    /// [`Refusal`](super::Refusal).
    pub fn client_config(
        &self,
        expect: Expect,
        wall: Arc<dyn WallClock>,
        refused: Refused,
    ) -> rustls::ClientConfig {
        let verifier = self.verifier(expect, refused);
        let builder =
            rustls::ClientConfig::builder_with_details(provider(), Arc::new(WallTime(wall)));
        let mut config = tls13(builder)
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        config
    }

    /// Checks the chain of a peer that is already linked, leaf first, as if it came now.
    ///
    /// To be asked about every link after a reload, and from time to time, for a certificate of the
    /// chain may end before [`PeerCertificate::not_after`].
    ///
    /// # Errors
    /// Why the peer would be refused now. Never [`PeerError::WrongName`]: compare the name.
    pub fn check_peer(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<PeerCertificate, PeerError> {
        self.bundle.check(chain, now)
    }

    fn verifier(&self, expect: Expect, refused: Refused) -> Verifier {
        Verifier {
            bundle: Arc::clone(&self.bundle),
            expect,
            refused,
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("id", &self.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Where certificate, key and bundle are. In memory: what to call them in errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The node's certificate and whatever lies between it and the CA, in this order, as PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, unencrypted, as PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// The CAs to trust, as PEM.
    pub bundle: PathBuf,
}

/// The contents of [`Files`]. `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// As [`Files::certificate`].
    pub certificate: Vec<u8>,
    /// As [`Files::key`].
    pub key: Vec<u8>,
    /// As [`Files::bundle`].
    pub bundle: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// What the configuration says about the name in our own certificate; `None` takes any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredName {
    /// The trust domain.
    pub trust_domain: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The node's name.
    pub name: Option<String>,
}

impl RequiredName {
    fn check(&self, id: &NodeId, path: &Path) -> Result<(), MaterialError> {
        for (part, expected, got) in [
            ("trust domain", &self.trust_domain, id.trust_domain()),
            ("region", &self.region, id.region()),
            ("node name", &self.name, id.name()),
        ] {
            if let Some(expected) = expected
                && expected != got
            {
                return Err(MaterialError::WrongName {
                    path: path.to_owned(),
                    part,
                    expected: expected.clone(),
                    got: got.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn expand(key: &hkdf::Prk, context: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    key.expand(&[context], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut bytes))
        .expect("one digest's length is within what HKDF gives");
    bytes
}

fn tls13<S: ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
) -> ConfigBuilder<S, WantsVerifier> {
    builder
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
}

pub(super) fn certificates(
    pem: &[u8],
    path: &Path,
    limit: usize,
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| MaterialError::BadPem {
            path: path.to_owned(),
        })?;
    match found.len() {
        0 => Err(MaterialError::NoPem {
            path: path.to_owned(),
            expected: "CERTIFICATE",
        }),
        got if got > limit => Err(MaterialError::TooManyCertificates {
            path: path.to_owned(),
            got,
            limit,
        }),
        _ => Ok(found),
    }
}

pub(super) fn private_key(
    pem: &[u8],
    path: &Path,
) -> Result<PrivateKeyDer<'static>, MaterialError> {
    let path = path.to_owned();
    // The parser's own error may quote a line of the file, so it goes no further.
    let Ok(mut found) = PrivateKeyDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() else {
        return Err(MaterialError::BadPem { path });
    };
    match (found.len(), found.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) if contains(pem, b"ENCRYPTED PRIVATE KEY") => Err(MaterialError::BadKey {
            path,
            why: "the private key is encrypted, and nobody is there to give a password",
        }),
        (0, _) => Err(MaterialError::NoPem {
            path,
            expected: "PRIVATE KEY",
        }),
        (got, _) => Err(MaterialError::ManyKeys { path, got }),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

pub(super) fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: &Files,
) -> Result<CertifiedKey, MaterialError> {
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| MaterialError::BadKey {
            path: files.key.clone(),
            why: "the private key is of no kind that can be used: Ed25519, ECDSA on P-256 or P-384, or RSA from 2048 bits",
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(MaterialError::KeyMismatch {
            key: files.key.clone(),
            certificate: files.certificate.clone(),
        }),
        Err(error) => Err(MaterialError::BadCertificate {
            path: files.certificate.clone(),
            why: PeerError::from_tls(&error),
        }),
    }
}

fn bundle(
    roots: &[CertificateDer<'static>],
    trust_domain: &str,
    path: &Path,
) -> Result<Bundle, MaterialError> {
    let mut store = RootCertStore::empty();
    for (position, root) in (1..).zip(roots) {
        let bad_root = |why: String| MaterialError::BadRoot {
            path: path.to_owned(),
            position,
            why,
        };
        let contents = Contents::read(root).map_err(|why| bad_root(format!("is none: {why}")))?;
        if !contents.usage.ca {
            return Err(bad_root("is not a CA".to_owned()));
        }
        if let Some(got) = contents.authority_of()
            && got != trust_domain
        {
            return Err(MaterialError::WrongBundle {
                path: path.to_owned(),
                position,
                expected: trust_domain.to_owned(),
                got: got.chars().take(MAX_SHOWN_CHARS).collect(),
            });
        }
        store
            .add(root.clone())
            .map_err(|error| bad_root(format!("cannot be trusted: {error}")))?;
    }
    Ok(Bundle::try_new(store, trust_domain).expect("there is at least one root"))
}

/// A bundle holds one CA, two while it is replaced; more only in odd private PKIs.
const MAX_ROOTS: usize = 64;
/// What an error shows of a name that came from elsewhere.
const MAX_SHOWN_CHARS: usize = 80;
