//! Peers that dial the node, one way after another.

use std::time::Duration;

use bytes::Bytes;
use causeway::{
    code::{CloseCode, StreamCode},
    deadline::{Connection, ReadError},
    id::{NodeId, NodeKey},
    wire::{
        Class, Datagram, Direction, FlowId, Frame, Open, OpenFlow, PacketHeader, RemainingHops,
    },
};
use netem::sim::{Host, TcpStream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    fleet::{Fleet, Member, ms, node_id, sleep},
    raw::{Answers, Raw, RawLink, encoded, read_frame, soon},
    traffic::{local, tcp_listen},
};

/// How one set-up goes, and how its link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A link, a request, some packets, and a close in order.
    InOrder,
    /// TLS, and then silence.
    SilentAfterTls,
    /// Both Hellos, and then silence.
    SilentAfterHello,
    /// A link, and a stream on which nothing readable comes.
    SilentOnItsStream,
    /// A link, and no answer to the node's request.
    SilentOnOurStream,
    /// Killed before its handshake is done.
    DiesInHandshake,
    /// Killed when it is linked.
    DiesAfterHello,
    /// Killed in the middle of a stream that it opened.
    DiesInItsStream,
    /// Killed in the middle of a stream that a program at the node opened, and away for long.
    DiesInOurStream,
}

/// Half of a good mesh's links end well; here it is a fifth.
const WAYS: [Way; 10] = [
    Way::InOrder,
    Way::SilentAfterTls,
    Way::DiesInHandshake,
    Way::SilentAfterHello,
    Way::DiesAfterHello,
    Way::InOrder,
    Way::SilentOnItsStream,
    Way::DiesInItsStream,
    Way::SilentOnOurStream,
    Way::DiesInOurStream,
];

/// Packets that the node gets from a link that ends well.
pub(crate) const PACKETS: u64 = 5;
/// Half of a round trip to the node.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(5);

/// A machine whose process dials the node, and dies and comes back as a way of it says.
pub(crate) struct Caller {
    host: Host,
    id: NodeId,
    number: u16,
    lives: u32,
}

impl Caller {
    pub(crate) fn new(fleet: &Fleet, number: u16) -> Self {
        let name = format!("caller-{number}");
        Self {
            host: fleet.host(&name),
            id: node_id("us", &name),
            number,
            lives: 0,
        }
    }

    /// What the node's configuration needs for the ways in which it sends requests itself.
    pub(crate) fn listen(number: u16) -> String {
        let to = format!("{{ node = \"us/caller-{number}\" }}");
        tcp_listen(LISTENS + number, &to)
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Sets up `count` links, each to its end, and leaves no process behind.
    ///
    /// Returns how many of them ended well.
    pub(crate) async fn dial(&mut self, fleet: &Fleet, node: Member, count: usize) -> u64 {
        // One after the other dials, as far as the node's rate for a handshake goes.
        sleep(ms(10) * self.number.into()).await;
        let mut raw = self.revive(fleet);
        let mut well = 0;
        for at in 0..count {
            let way = WAYS[at % WAYS.len()];
            let call = Call {
                fleet,
                node,
                raw: &raw,
                number: self.number,
                at,
            };
            call.run(way).await;
            well += u64::from(way == Way::InOrder);
            if way.kills() {
                self.host.kill();
                if way == Way::DiesInOurStream {
                    // The node finds out by itself.
                    sleep(ms(7_000)).await;
                }
                raw = self.revive(fleet);
            }
        }
        // What was closed last is said before the process ends.
        sleep(ms(500)).await;
        self.host.kill();
        well
    }

    fn revive(&mut self, fleet: &Fleet) -> Raw {
        self.lives += 1;
        Raw::on(fleet, self.host.clone(), self.id.clone(), self.lives)
    }
}

impl Way {
    fn kills(self) -> bool {
        matches!(
            self,
            Self::DiesInHandshake
                | Self::DiesAfterHello
                | Self::DiesInItsStream
                | Self::DiesInOurStream
        )
    }
}

/// One set-up.
struct Call<'a> {
    fleet: &'a Fleet,
    node: Member,
    raw: &'a Raw,
    number: u16,
    at: usize,
}

impl Call<'_> {
    async fn run(&self, way: Way) {
        let to = self.fleet.address(self.node);
        match way {
            Way::InOrder => {
                let link = self.link().await;
                self.crosses(&link).await;
                link.connection.close(CloseCode::Shutdown, b"");
                sleep(3 * ONE_WAY).await;
            }
            Way::SilentAfterTls => closed(&self.raw.connect(to).await).await,
            Way::SilentAfterHello => {
                let hello = self.raw.hello(self.raw.next_link());
                let held = self.raw.dial_with(to, hello).await.unwrap();
                closed(&held.connection).await;
            }
            Way::SilentOnItsStream => {
                let link = self.link().await;
                let (mut sender, mut receiver) = link.connection.open(soon()).await.unwrap();
                let open = encoded(&self.open(self.fleet.key(self.node)));
                sender.write(open.slice(..1), soon()).await.unwrap();
                let ended = receiver.read(1, soon()).await;
                assert_eq!(ended, Err(ReadError::Reset(StreamCode::Deadline)));
                // The link stays, for the next one to replace.
            }
            Way::SilentOnOurStream => {
                let link = self.link().await;
                let mut program = self.ask(&link, false).await;
                program.read_u8().await.unwrap_err();
                link.connection.close(CloseCode::Shutdown, b"");
                sleep(3 * ONE_WAY).await;
            }
            Way::DiesInHandshake => {
                // From before its first packet arrives to after its last.
                let moment = ms(1 + (3 * self.at as u64 + u64::from(self.number)) % 20);
                let dialing = async {
                    let connection = self.raw.connect(to).await;
                    closed(&connection).await;
                };
                timeout(moment, dialing).await.unwrap_err();
            }
            Way::DiesAfterHello => drop(self.link().await),
            Way::DiesInItsStream => {
                let link = self.link().await;
                let (mut sender, _receiver, _) =
                    link.ask(&self.open(self.fleet.key(self.node))).await;
                let part = Bytes::from_static(&[7; 16_384]);
                let write = async { while sender.write(part.clone(), soon()).await.is_ok() {} };
                timeout(ms(50), write).await.unwrap_err();
            }
            Way::DiesInOurStream => {
                let link = self.link().await;
                let mut stream = self.ask(&link, true).await;
                let write = async { while stream.write_all(&[7; 16_384]).await.is_ok() {} };
                timeout(ms(50), write).await.unwrap_err();
            }
        }
    }

    async fn link(&self) -> RawLink {
        let to = self.fleet.address(self.node);
        let link = self.raw.link(to, Answers::ALL).await;
        let links = &self.fleet.mesh(self.node).links;
        let current = links.get(self.raw.id.key()).unwrap();
        assert_eq!(current.generation, link.generation);
        link
    }

    fn open(&self, destination: NodeKey) -> Frame {
        Frame::Open(Open {
            session: [1; 16],
            destination,
            service: "tcp".into(),
            budget: ms(1_000),
            resume_offset: 0,
            trace: None,
            hops: RemainingHops::NONE,
            via: Vec::new(),
        })
    }

    /// A request to a service of the node, and packets to another.
    async fn crosses(&self, link: &RawLink) {
        let destination = self.fleet.key(self.node);
        let (mut sender, mut receiver, answer) = link.ask(&self.open(destination)).await;
        assert!(matches!(answer, Frame::Accept { .. }), "{answer:?}");
        let said = Bytes::from_static(b"there and back");
        sender.write(said.clone(), soon()).await.unwrap();
        assert_eq!(receiver.read(100, soon()).await.unwrap(), Some(said));
        sender.finish(soon()).await.unwrap();
        assert_eq!(receiver.read(100, soon()).await.unwrap(), None);
        let flow = self.at as u32;
        link.say(&Frame::OpenFlow(OpenFlow {
            flow,
            service: "echo".into(),
            destination,
            class: Class::Video,
            idle_timeout: ms(5_000),
            spare: false,
        }));
        sleep(4 * ONE_WAY).await;
        let accepted =
            |frame: &Frame| matches!(frame, Frame::FlowAccepted { flow: of } if *of == flow);
        assert!(link.heard.lock().iter().any(accepted));
        for sequence in 0..PACKETS {
            link.send(&Datagram::Packet {
                header: PacketHeader {
                    direction: Direction::Forward,
                    class: Class::Video,
                    flow: FlowId {
                        ingress: self.raw.id.key(),
                        generation: self.raw.generation(),
                        number: flow,
                    },
                    sequence,
                    sent_us: 0,
                    link_sequence: 0,
                    lifetime_ms: 0,
                    fragment: None,
                    hops: RemainingHops::NONE,
                },
                payload: b"packet",
            });
        }
        sleep(4 * ONE_WAY).await;
    }

    /// A program at the node asks for a service of this peer, which hears it and reads no more.
    ///
    /// - `answers`: whether it accepts.
    async fn ask(&self, link: &RawLink, answers: bool) -> TcpStream {
        let program = self.fleet.program(self.node);
        let connect = program.connect_tcp(local(LISTENS + self.number));
        let stream = connect.await.unwrap();
        let (mut sender, mut receiver) = link.connection.accept_stream().await.unwrap();
        assert!(matches!(read_frame(&mut receiver).await, Frame::Open(_)));
        if answers {
            let accept = encoded(&Frame::Accept { resume_offset: 0 });
            sender.write(accept, soon()).await.unwrap();
        }
        // Neither half is dropped while the peer lives: that would be an answer.
        drop(self.raw.host.spawn(async move {
            let _halves = (sender, receiver);
            std::future::pending::<()>().await;
        }));
        stream
    }
}

/// The node gives up on a connection that says nothing.
async fn closed(connection: &Connection) {
    timeout(ms(10_000), connection.closed()).await.unwrap();
}

const LISTENS: u16 = 7_000;
