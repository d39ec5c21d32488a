//! A peer that is no node: it says and leaves out what a test wants.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use causeway::{
    clock,
    deadline::{Closed, Connection, DialError, Endpoint, Receiver, Sender},
    env::WallClock as _,
    id::{LinkGeneration, NodeGeneration, NodeId},
    identity::{Expect, Files, Material, Refusal, RequiredName, pki::NodePem},
    keeper::Role,
    link::setup::{self, Established, SetupError, Times},
    transport::{self, MemoryBudget},
    wire::{Datagram, Frame, FrameDecoder, Hello, PROTOCOL, Probe, TooLarge},
};
use netem::sim::Host;
use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use tokio::sync::mpsc;

use super::{
    env::{Wall, epoch},
    fleet::{Fleet, PORT, ms, node_id, sleep},
};

/// An endpoint of a test's own, with a node's certificate.
#[derive(Debug)]
pub struct Raw {
    /// Its machine.
    pub host: Host,
    /// Its name.
    pub id: NodeId,
    /// What it dials from and accepts on.
    pub endpoint: Endpoint,
    /// How it sends and receives, of which it can grant less than a node would.
    pub profile: Arc<quinn::TransportConfig>,
    /// What proves its name.
    pub material: Material,
    wall: Wall,
    life: u32,
    dials: AtomicU32,
}

impl Raw {
    /// A peer on a machine of its own, with a certificate of the fleet's authority.
    pub fn new(fleet: &Fleet, region: &str, name: &str) -> Self {
        Self::on(fleet, fleet.host(name), node_id(region, name), 0)
    }

    /// The same on a machine that it is given.
    ///
    /// - `life`: how many processes of this name `host` has had before.
    pub fn on(fleet: &Fleet, host: Host, id: NodeId, life: u32) -> Self {
        let wall = Wall::starting(fleet.start);
        let files = Files {
            certificate: "certificate".into(),
            key: "key".into(),
            bundle: "bundle".into(),
        };
        let required = RequiredName::default();
        let material = Material::try_new(&fleet.pem(&id), &files, &required, epoch()).unwrap();
        let tls = material.server_config(Arc::new(wall.clone()), Refusal::default().observer());
        let server = transport::server_config(tls, profile()).unwrap();
        let socket = host.bind_udp(SocketAddr::new(host.ip(), PORT)).unwrap();
        let mut seed = [7; 32];
        seed[0] ^= life as u8;
        seed[1] ^= (life >> 8) as u8;
        let config = transport::endpoint_config(&[7; 32], Some(seed));
        let endpoint = Endpoint::new(config, Some(server), Arc::new(socket), host.runtime());
        Self {
            endpoint: endpoint.unwrap(),
            host,
            id,
            profile: profile(),
            material,
            wall,
            life,
            dials: AtomicU32::new(0),
        }
    }

    /// Where it accepts.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.ip(), PORT)
    }

    /// Its generation, which is that of a process started with the simulation, or a later one.
    pub fn generation(&self) -> NodeGeneration {
        let since = epoch().duration_since(std::time::UNIX_EPOCH).unwrap();
        NodeGeneration(u64::try_from(since.as_millis()).unwrap() + u64::from(self.life))
    }

    /// A link generation that it has not used.
    pub fn next_link(&self) -> LinkGeneration {
        LinkGeneration {
            dialer: self.id.key(),
            node: self.generation(),
            dial: self.dials.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// A Hello in which nothing is wrong.
    pub fn hello(&self, link: LinkGeneration) -> Hello {
        Hello {
            protocol: PROTOCOL,
            features: 0,
            node: self.id.clone(),
            generation: self.generation(),
            link,
            release: "raw".into(),
            labels: Default::default(),
            addresses: Vec::new(),
            current_link: None,
        }
    }

    /// TLS, and nothing else yet.
    pub async fn connect(&self, to: SocketAddr) -> Connection {
        self.try_connect(to).await.unwrap()
    }

    /// TLS, if it succeeds.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub async fn try_connect(&self, to: SocketAddr) -> Result<Connection, DialError> {
        let observer = Refusal::default().observer();
        let wall = Arc::new(self.wall.clone());
        let tls = self
            .material
            .client_config(Expect::AnyOfTrustDomain, wall, observer);
        let config = transport::client_config(tls, self.profile.clone()).unwrap();
        self.endpoint.connect(config, to, soon()).await
    }

    /// TLS, and `first` on the control stream.
    pub async fn connect_and_say(&self, to: SocketAddr, first: Bytes) -> Said {
        let connection = self.connect(to).await;
        let (mut control, frames) = connection.open(soon()).await.unwrap();
        control.write(first, soon()).await.unwrap();
        Said {
            connection,
            control,
            frames,
        }
    }

    /// TLS and both Hellos, with ours as the test wants it.
    ///
    /// # Errors
    /// As [`setup::dialed`].
    pub async fn dial_with(&self, to: SocketAddr, hello: Hello) -> Result<Established, SetupError> {
        let connection = self.connect(to).await;
        setup::dialed(connection, |_| hello, &self.material, self.times()).await
    }

    /// A link on which everything is right.
    pub async fn link(&self, to: SocketAddr, answers: Answers) -> RawLink {
        let hello = self.hello(self.next_link());
        let established = self.dial_with(to, hello).await.unwrap();
        RawLink::start(self, established, answers).await
    }

    /// Waits for a node that dials, as far as TLS.
    pub async fn accept(&self) -> Connection {
        let incoming = self.endpoint.accept().await.unwrap();
        incoming.accept(soon()).await.unwrap()
    }

    /// Waits for a node that dials, as far as both Hellos.
    pub async fn accept_link(&self, answers: Answers) -> RawLink {
        let connection = self.accept().await;
        let answer = |_: &NodeId, link| self.hello(link);
        let made = setup::accepted(connection, answer, &self.material, self.times()).await;
        RawLink::start(self, made.unwrap(), answers).await
    }

    /// The times of a set-up that begins now.
    pub fn times(&self) -> Times {
        let now = clock::now();
        Times {
            began: now,
            deadline: now + ms(10_000),
            date: self.wall.now(),
        }
    }
}

/// A connection whose control stream has begun.
#[derive(Debug)]
pub struct Said {
    /// The connection.
    pub connection: Connection,
    /// Its end of the control stream.
    pub control: Sender,
    /// The other end of it.
    pub frames: Receiver,
}

/// Which probes a raw peer answers, and whether it takes part in promotions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Those of the packet loop.
    pub packets: bool,
    /// Those of the request loop.
    pub requests: bool,
    /// Whether it promotes and confirms.
    pub promotions: bool,
}

impl Answers {
    /// As a node does.
    pub const ALL: Self = Self {
        packets: true,
        requests: true,
        promotions: true,
    };

    /// The same, but for promotions.
    pub fn without_promotion(self) -> Self {
        Self {
            promotions: false,
            ..self
        }
    }
}

/// A link of a raw peer, which promotes and answers probes as a node would, unless told otherwise.
#[derive(Debug)]
pub struct RawLink {
    /// The connection.
    pub connection: Connection,
    /// The link's.
    pub generation: LinkGeneration,
    /// What the node said its generation was.
    pub peer_generation: NodeGeneration,
    /// Every frame that came, but for probes.
    pub heard: Arc<Mutex<Vec<Frame>>>,
    /// Every answer that a packet was too large for the next link.
    pub too_large: Arc<Mutex<Vec<TooLarge>>>,
    say: mpsc::Sender<Bytes>,
}

impl RawLink {
    async fn start(raw: &Raw, established: Established, answers: Answers) -> Self {
        let Established {
            connection,
            mut control,
            mut frames,
            hello,
            generation,
            peer,
            ..
        } = established;
        let (say, mut said) = mpsc::channel::<Bytes>(64);
        let heard = Arc::<Mutex<Vec<Frame>>>::default();
        drop(raw.host.spawn(async move {
            while let Some(bytes) = said.recv().await {
                if bytes.is_empty() {
                    // Ends the stream in order.
                    let _ = control.finish(soon()).await;
                    return;
                }
                if control.write(bytes, soon()).await.is_err() {
                    return;
                }
            }
        }));
        let (replies, notes) = (say.clone(), heard.clone());
        drop(raw.host.spawn(async move {
            while let Ok(Some(frame)) = frames.next().await {
                let answer = match &frame {
                    Frame::Probe { id } if answers.requests => Some(Frame::ProbeReply { id: *id }),
                    Frame::Probe { .. } => None,
                    Frame::Promote { epoch } if answers.promotions => {
                        Some(Frame::Promoted { epoch: *epoch })
                    }
                    _ => None,
                };
                if !matches!(frame, Frame::Probe { .. }) {
                    notes.lock().push(frame);
                }
                if let Some(answer) = answer {
                    let _ = replies.try_send(encoded(&answer));
                }
            }
        }));
        let datagrams = connection.clone();
        let too_large = Arc::<Mutex<Vec<TooLarge>>>::default();
        let notes = too_large.clone();
        drop(raw.host.spawn(async move {
            while let Ok(bytes) = datagrams.read_datagram().await {
                match Datagram::decode(&bytes) {
                    Ok(Datagram::Probe(probe)) if answers.packets => {
                        let reply = datagram(&Datagram::ProbeReply(probe));
                        let _ = datagrams.try_send_datagram(reply);
                    }
                    Ok(Datagram::TooLarge(answer)) => notes.lock().push(answer),
                    _ => {}
                }
            }
        }));
        let link = Self {
            connection,
            generation,
            peer_generation: hello.generation,
            heard,
            too_large,
            say,
        };
        if answers.promotions && Role::of(raw.id.key(), peer.key()) == Role::Arbiter {
            link.say(&Frame::Promote { epoch: 1 });
        }
        // The promotion, and its confirmation.
        sleep(ms(300)).await;
        link
    }

    /// Says a frame on the control stream.
    pub fn say(&self, frame: &Frame) {
        self.say_bytes(encoded(frame));
    }

    /// - `bytes`: of the control stream; none ends it.
    pub fn say_bytes(&self, bytes: impl Into<Bytes>) {
        self.say.try_send(bytes.into()).unwrap();
    }

    /// Sends a datagram.
    pub fn send(&self, packet: &Datagram<'_>) {
        self.connection.try_send_datagram(datagram(packet)).unwrap();
    }

    /// Waits until the link is closed, and returns how.
    pub async fn closed(&self) -> Closed {
        tokio::time::timeout(ms(30_000), self.connection.closed())
            .await
            .unwrap()
    }

    /// Whether it is not closed.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Opens a stream, says `first` on it, and returns the answer.
    pub async fn ask(&self, first: &Frame) -> (Sender, Receiver, Frame) {
        let (mut sender, mut receiver) = self.connection.open(soon()).await.unwrap();
        sender.write(encoded(first), soon()).await.unwrap();
        let answer = read_frame(&mut receiver).await;
        (sender, receiver, answer)
    }
}

/// The first frame of a stream that is no control stream.
pub async fn read_frame(receiver: &mut Receiver) -> Frame {
    let mut decoder = FrameDecoder::for_stream(PROTOCOL.max);
    loop {
        let mut bytes = receiver.read(4_096, soon()).await.unwrap().unwrap();
        if let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            return frame;
        }
    }
}

/// A frame as it goes over the wire.
pub fn encoded(frame: &Frame) -> Bytes {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// A frame of whatever bytes.
pub fn frame_bytes(type_number: u16, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    let head = [&length.to_be_bytes()[..], &type_number.to_be_bytes()[..]];
    [&head.concat(), message].concat().into()
}

/// A datagram as it goes over the wire.
pub fn datagram(packet: &Datagram<'_>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(Probe::LEN);
    packet.encode(&mut bytes);
    bytes.freeze()
}

/// A deadline that nothing of a test should need.
pub fn soon() -> Instant {
    clock::now() + ms(10_000)
}

fn profile() -> Arc<quinn::TransportConfig> {
    transport::transport_config(MemoryBudget {
        bytes: 1 << 30,
        links: 8,
    })
}

/// Dials with whatever certificate, or none, and believes whoever answers.
pub async fn intrude(raw: &Raw, to: SocketAddr, certificate: Option<&NodePem>) -> Connection {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAnyone));
    let mut tls = match certificate {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = vec![CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    tls.alpn_protocols = vec![causeway::identity::ALPN.to_vec()];
    let config = transport::client_config(tls, profile()).unwrap();
    raw.endpoint.connect(config, to, soon()).await.unwrap()
}

#[derive(Debug)]
struct BelievesAnyone;

impl ServerCertVerifier for BelievesAnyone {
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
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
