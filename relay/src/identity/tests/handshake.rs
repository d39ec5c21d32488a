//! Both ends of a handshake as QUIC drives them, pumped by hand.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::{
    AlertDescription, ClientConfig, ServerConfig,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    quic::{ClientConnection, Connection, ServerConnection, Version},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::identity::{
    ALPN, Expect, PeerCertificate, PeerError, Refusal, Refused, SERVER_NAME, Usage, alert_word,
};

/// What became of a handshake.
#[derive(Debug)]
struct Outcome {
    /// As each end sees the other, if both are through.
    peers: Option<(NodeId, NodeId)>,
    /// What the dialer's verifier, and the acceptor's, have refused.
    dialer_refused: Option<PeerError>,
    acceptor_refused: Option<PeerError>,
    /// The alert that ended it, and the text.
    failure: Option<(AlertDescription, String)>,
    /// Bytes each way, dialer first.
    bytes: (usize, usize),
}

struct Pair {
    client: ClientConfig,
    server: ServerConfig,
    dialer_refused: Refusal,
    acceptor_refused: Arc<Mutex<Vec<PeerError>>>,
}

impl Pair {
    fn new(dialer: &Material, acceptor: &Material, expect: Expect) -> Self {
        Self::at(now(), dialer, acceptor, expect)
    }

    fn at(now: SystemTime, dialer: &Material, acceptor: &Material, expect: Expect) -> Self {
        let dialer_refused = Refusal::default();
        let acceptor_refused = Arc::new(Mutex::new(Vec::new()));
        let refused = Arc::clone(&acceptor_refused);
        let count: Refused = Arc::new(move |error| refused.lock().push(error.clone()));
        Self {
            client: dialer.client_config(expect, at(now), dialer_refused.observer()),
            server: acceptor.server_config(at(now), count),
            dialer_refused,
            acceptor_refused,
        }
    }

    fn run(self) -> Outcome {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let params = b"transport parameters".to_vec();
        let mut client = Connection::Client(
            ClientConnection::new(Arc::new(self.client), Version::V1, name, params.clone())
                .unwrap(),
        );
        let mut server = Connection::Server(
            ServerConnection::new(Arc::new(self.server), Version::V1, params).unwrap(),
        );
        let mut bytes = (0, 0);
        let mut failure = None;
        // Four flights are more than a handshake has.
        for _ in 0..4 {
            let result = pump(&mut client, &mut server, &mut bytes.0)
                .and_then(|()| pump(&mut server, &mut client, &mut bytes.1));
            if result.is_err() {
                failure = result.err();
                break;
            }
        }
        let through = failure.is_none() && !client.is_handshaking() && !server.is_handshaking();
        Outcome {
            peers: through.then(|| (peer(&client), peer(&server))),
            dialer_refused: self.dialer_refused.take().map(Arc::unwrap_or_clone),
            acceptor_refused: self.acceptor_refused.lock().pop(),
            failure,
            bytes,
        }
    }
}

/// Hands what `from` has to say to `to`, each encryption level by itself as QUIC does.
fn pump(
    from: &mut Connection,
    to: &mut Connection,
    bytes: &mut usize,
) -> Result<(), (AlertDescription, String)> {
    loop {
        let mut flight = Vec::new();
        let next_level = from.write_hs(&mut flight).is_some();
        if flight.is_empty() && !next_level {
            return Ok(());
        }
        *bytes += flight.len();
        to.read_hs(&flight)
            .map_err(|error| (to.alert().expect("QUIC needs an alert"), error.to_string()))?;
    }
}

fn peer(connection: &Connection) -> NodeId {
    PeerCertificate::read(connection.peer_certificates().unwrap())
        .unwrap()
        .id
}

/// What the acceptor says to a dialer whose certificate says `leaf`.
fn dial_with(leaf: &Leaf) -> Outcome {
    let ours = authority(1);
    Pair {
        client: forged(&pem(&ours, leaf)),
        ..Pair::new(
            &material(&ours, "dialer"),
            &material(&ours, "acceptor"),
            Expect::AnyOfTrustDomain,
        )
    }
    .run()
}

/// What the dialer of `acceptor` says to a node whose certificate says `leaf`.
fn answer_with(leaf: &Leaf) -> Outcome {
    let ours = authority(1);
    Pair {
        server: forged_server(&pem(&ours, leaf)),
        ..Pair::new(
            &material(&ours, "dialer"),
            &material(&ours, "acceptor"),
            Expect::Node(node("acceptor")),
        )
    }
    .run()
}

/// A dialer that sends `pem` without looking at it, and believes everybody.
fn forged(pem: &Pem) -> ClientConfig {
    let (chain, key) = parts(pem);
    let mut config = believing().with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// An acceptor that sends `pem` without looking at it, and asks for nothing.
fn forged_server(pem: &Pem) -> ServerConfig {
    let (chain, key) = parts(pem);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

fn believing() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
}

fn parts(
    pem: &Pem,
) -> (
    Vec<CertificateDer<'static>>,
    rustls_pki_types::PrivateKeyDer<'static>,
) {
    use rustls_pki_types::pem::PemObject;
    let chain = CertificateDer::pem_slice_iter(&pem.certificate);
    (
        chain.map(Result::unwrap).collect(),
        rustls_pki_types::PrivateKeyDer::from_pem_slice(&pem.key).unwrap(),
    )
}

#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[test]
fn nodes_of_one_trust_domain_learn_each_others_names() {
    let ours = authority(1);
    for expect in [Expect::AnyOfTrustDomain, Expect::Node(node("b"))] {
        let outcome = Pair::new(&material(&ours, "a"), &material(&ours, "b"), expect).run();
        assert_eq!(outcome.peers, Some((node("b"), node("a"))), "{outcome:?}");
        assert_eq!(outcome.dialer_refused, None);
        assert_eq!(outcome.acceptor_refused, None);
    }
}

#[test]
fn dialer_refuses_a_node_of_another_name_and_says_both() {
    let ours = authority(1);
    let expect = Expect::Node(node("b"));
    let outcome = Pair::new(&material(&ours, "a"), &material(&ours, "c"), expect).run();
    let refused = outcome.dialer_refused.unwrap();
    assert_eq!(
        refused,
        PeerError::WrongName {
            expected: node("b"),
            got: node("c")
        }
    );
    let text = "wrong name: expected eu-west/b, got eu-west/c";
    assert_eq!(refused.to_string(), text);
    let (alert, reason) = outcome.failure.unwrap();
    assert_eq!(alert, AlertDescription::CertificateUnknown);
    assert!(reason.contains(text), "{reason}");
}

#[test]
fn a_dialer_without_a_certificate_is_refused_by_the_alert_for_it() {
    let ours = authority(1);
    let mut client = believing().with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let a = material(&ours, "a");
    let outcome = Pair {
        client,
        ..Pair::new(&a, &a, Expect::AnyOfTrustDomain)
    }
    .run();
    let (alert, _) = outcome.failure.unwrap();
    assert_eq!(alert, AlertDescription::CertificateRequired);
    assert_eq!(outcome.acceptor_refused, None, "no verifier was asked");
    assert_eq!(word(alert), Some("certificate_required"));
}

#[test]
fn the_same_name_from_another_ca_is_refused_at_both_ends() {
    let (ours, other) = (authority(1), authority(2));
    let (a, stranger) = (material(&ours, "a"), material(&other, "b"));
    let outcome = Pair::new(&a, &stranger, Expect::Node(node("b"))).run();
    assert_eq!(outcome.dialer_refused, Some(PeerError::UnknownIssuer));
    assert_eq!(
        outcome.failure.unwrap().0,
        AlertDescription::UnknownCA,
        "the peer should see why"
    );

    let outcome = Pair {
        client: forged(&pem(&other, &leaf("b"))),
        ..Pair::new(&a, &a, Expect::AnyOfTrustDomain)
    }
    .run();
    assert_eq!(outcome.acceptor_refused, Some(PeerError::UnknownIssuer));
    assert!(outcome.peers.is_none());
}

#[test]
fn another_trust_domain_is_refused_at_both_ends_even_from_our_ca() {
    let id = NodeId::try_new("example.com", "eu-west", "b").unwrap();
    let expected = PeerError::WrongTrustDomain {
        expected: DOMAIN.to_owned(),
        got: "example.com".to_owned(),
    };
    let leaf = Leaf::node(&id, validity());
    assert_eq!(dial_with(&leaf).acceptor_refused, Some(expected.clone()));
    assert_eq!(answer_with(&leaf).dialer_refused, Some(expected));
}

#[test]
fn certificates_pass_from_their_first_second_to_their_last_on_the_given_clock() {
    let ours = authority(1);
    let (a, b) = (material(&ours, "a"), material(&ours, "b"));
    let run = |now| Pair::at(now, &a, &b, Expect::AnyOfTrustDomain).run();
    let Validity {
        not_before,
        not_after,
    } = validity();
    assert!(run(not_before).peers.is_some());
    assert!(run(not_after).peers.is_some());

    let early = run(not_before - SECOND);
    assert_eq!(
        early.dialer_refused,
        Some(PeerError::NotYetValid { from: not_before })
    );
    let late = run(not_after + SECOND);
    assert_eq!(
        late.dialer_refused,
        Some(PeerError::Expired { since: not_after })
    );
    assert_eq!(
        late.failure.unwrap().0,
        AlertDescription::CertificateExpired
    );
}

#[test]
fn acceptor_refuses_dialers_that_are_expired_or_early() {
    let mut expired = leaf("b");
    expired.validity.not_after = now() - SECOND;
    assert_eq!(
        dial_with(&expired).acceptor_refused,
        Some(PeerError::Expired {
            since: now() - SECOND
        })
    );
    let mut early = leaf("b");
    early.validity.not_before = now() + SECOND;
    assert_eq!(
        dial_with(&early).acceptor_refused,
        Some(PeerError::NotYetValid {
            from: now() + SECOND
        })
    );
}

#[test]
fn certificates_for_less_or_more_than_a_node_does_are_refused_at_both_ends() {
    for usage in [
        Usage {
            server_auth: false,
            ..Usage::NODE
        },
        Usage {
            client_auth: false,
            ..Usage::NODE
        },
        Usage {
            server_auth: false,
            client_auth: false,
            ..Usage::NODE
        },
        Usage {
            digital_signature: false,
            ..Usage::NODE
        },
        Usage {
            ca: true,
            ..Usage::NODE
        },
    ] {
        let leaf = Leaf {
            usage,
            ..leaf("acceptor")
        };
        let word = |refused: Option<PeerError>| refused.map(|error| error.word());
        let wrong = Some("wrong_usage");
        assert_eq!(word(dial_with(&leaf).acceptor_refused), wrong, "{usage:?}");
        assert_eq!(word(answer_with(&leaf).dialer_refused), wrong, "{usage:?}");
    }
}

#[test]
fn exactly_one_uri_name_of_a_nodes_form_is_needed() {
    let names = |uris: &[&str]| {
        let uris = uris.iter().map(|&uri| uri.to_owned()).collect();
        dial_with(&Leaf { uris, ..leaf("b") }).acceptor_refused
    };
    let (b, c) = (node("b"), node("c"));
    assert_eq!(names(&[b.uri()]), None);
    assert_eq!(names(&[]), Some(PeerError::NoName));
    assert_eq!(
        names(&[b.uri(), c.uri()]),
        Some(PeerError::ManyNames { got: 2 })
    );
    // A second name is refused whatever it is, and the same one twice too.
    assert_eq!(
        names(&[b.uri(), "https://example.org/"]),
        Some(PeerError::ManyNames { got: 2 })
    );
    let workload = "spiffe://example.org/ns/default/sa/x";
    assert_eq!(
        names(&[workload]),
        Some(PeerError::NotANode {
            got: workload.to_owned()
        })
    );
}

#[test]
fn a_chain_through_an_intermediate_passes_at_both_ends_unless_it_is_for_one_end_only() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let run = |usages: Vec<rcgen::ExtendedKeyUsagePurpose>| {
        let pem = through_intermediate(usages);
        let a = load(&pem, now()).map_err(|error| error.to_string())?;
        Ok::<_, String>(Pair::new(&a, &a, Expect::Node(node("a"))).run().peers)
    };
    assert_eq!(run(vec![]), Ok(Some((node("a"), node("a")))));
    let both = run(vec![ServerAuth, ClientAuth]);
    assert_eq!(both, Ok(Some((node("a"), node("a")))));
    for one in [ServerAuth, ClientAuth] {
        let error = run(vec![one.clone()]).unwrap_err();
        assert!(error.contains("chain does not allow both"), "{error}");
        assert_eq!(
            refused_by_bundle_of(through_intermediate(vec![one])),
            "wrong_usage"
        );
    }
}

/// What an acceptor that trusts the bundle of `dialer` calls its refusal of it.
fn refused_by_bundle_of(dialer: Pem) -> &'static str {
    let mut ours = through_intermediate(vec![]);
    ours.bundle.extend(&dialer.bundle);
    let ours = load(&ours, now()).unwrap();
    let pair = Pair {
        client: forged(&dialer),
        ..Pair::new(&ours, &ours, Expect::AnyOfTrustDomain)
    };
    pair.run()
        .acceptor_refused
        .map_or("nothing", |error| error.word())
}

/// Node `a`, signed by an intermediate CA that is for `usages`, signed by the bundle's.
fn through_intermediate(usages: Vec<rcgen::ExtendedKeyUsagePurpose>) -> Pem {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let key = || KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
    };
    let mut root = params("root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, key()).unwrap();
    let mut between = params("between");
    between.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    between.extended_key_usages = usages;
    let between = CertifiedIssuer::signed_by(between, key(), &root).unwrap();
    let mut leaf = params("leaf");
    let uri = rcgen::SanType::URI(node("a").uri().try_into().unwrap());
    leaf.subject_alt_names = vec![uri];
    leaf.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let leaf_key = key();
    let leaf = leaf.signed_by(&leaf_key, &between).unwrap();
    Pem {
        certificate: [leaf.pem(), between.pem()].concat().into_bytes(),
        key: leaf_key.serialize_pem().into_bytes(),
        bundle: root.pem().into_bytes(),
    }
}

#[test]
fn chains_are_cut_off_above_the_limit_before_any_signature_is_checked() {
    let ours = authority(1);
    let a = material(&ours, "a");
    let mut long = pem(&ours, &leaf("b"));
    for _ in 1..crate::identity::MAX_CHAIN {
        long.certificate.extend(ours.certificate_pem().as_bytes());
    }
    let run = |pem: &Pem| {
        Pair {
            client: forged(pem),
            ..Pair::new(&a, &a, Expect::AnyOfTrustDomain)
        }
        .run()
    };
    assert_eq!(run(&long).acceptor_refused, None);
    assert!(run(&long).peers.is_some());
    long.certificate.extend(ours.certificate_pem().as_bytes());
    assert_eq!(
        run(&long).acceptor_refused,
        Some(PeerError::ChainTooLong { got: 6 })
    );
}

#[test]
fn another_application_protocol_or_none_is_refused() {
    let ours = authority(1);
    let a = material(&ours, "a");
    for protocols in [vec![b"causeway/2".to_vec()], vec![]] {
        let mut pair = Pair::new(&a, &a, Expect::AnyOfTrustDomain);
        pair.client.alpn_protocols = protocols;
        let (alert, _) = pair.run().failure.unwrap();
        assert_eq!(alert, AlertDescription::NoApplicationProtocol);
        assert_eq!(word(alert), Some("no_application_protocol"));
    }
}

#[test]
fn nothing_is_left_to_resume_or_to_send_early() {
    let ours = authority(1);
    let a = material(&ours, "a");
    let pair = Pair::new(&a, &a, Expect::AnyOfTrustDomain);
    assert_eq!(pair.server.send_tls13_tickets, 0);
    assert_eq!(pair.server.max_early_data_size, 0);
    assert!(!pair.server.session_storage.can_cache());
    assert!(!pair.server.ticketer.enabled());
    assert!(!pair.client.enable_early_data);
    assert!(!pair.client.enable_sni);
    assert_eq!(pair.client.alpn_protocols, [ALPN.to_vec()]);
}

#[test]
fn handshakes_have_the_same_length_whatever_the_keys() {
    let lengths = |randomness| {
        let ours = Authority::generate(DOMAIN, randomness, now()).unwrap();
        let (a, b) = (material(&ours, "a"), material(&ours, "b"));
        Pair::new(&a, &b, Expect::Node(node("b"))).run().bytes
    };
    let first = lengths(Randomness::System);
    for _ in 0..8 {
        assert_eq!(lengths(Randomness::System), first);
    }
    assert_eq!(lengths(Randomness::Seed(7)), first);
}

#[test]
fn alerts_have_words_and_other_codes_have_none() {
    assert_eq!(alert_word(0x100 + 48), Some("unknown_ca"));
    assert_eq!(alert_word(0x100), Some("other_alert"));
    assert_eq!(alert_word(0x1ff), Some("other_alert"));
    assert_eq!(alert_word(0x200), None);
    assert_eq!(alert_word(0xff), None);
    assert_eq!(alert_word(u64::MAX), None);
}

/// As QUIC carries the alert.
fn word(alert: AlertDescription) -> Option<&'static str> {
    alert_word(0x100 + u64::from(u8::from(alert)))
}
