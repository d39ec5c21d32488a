//! Any bytes in the place of a certificate are a node's or a typed error.

use causeway::identity::PeerCertificate;
use rustls_pki_types::CertificateDer;

pub(crate) fn check(bytes: &[u8]) {
    let leaf = CertificateDer::from(bytes);
    if let Ok(peer) = PeerCertificate::read(std::slice::from_ref(&leaf)) {
        assert_eq!(peer.id.uri().parse().as_ref(), Ok(&peer.id));
    }
}
