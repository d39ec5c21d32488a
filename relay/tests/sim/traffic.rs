//! Local programs beside nodes: echoes, and clients that count.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use causeway::{clock, id::LinkGeneration};
use netem::sim::{Host, TcpStream};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fleet::{Fleet, Member, ms, sleep};

pub(crate) const UDP_SERVICE: &str = r#"
[[service]]
name = "echo"
kind = "udp"
address = "127.0.0.1:5000"
allow = ["spiffe://example.org/region/*/node/*"]
"#;

pub(crate) const TCP_SERVICE: &str = r#"
[[service]]
name = "tcp"
kind = "tcp"
address = "127.0.0.1:5001"
stall_timeout_s = 5
allow = ["spiffe://example.org/region/*/node/*"]
"#;

pub(crate) fn udp_listen(port: u16, to: &str) -> String {
    format!(
        "[[listen]]\nkind = \"udp\"\naddress = \"127.0.0.1:{port}\"\nservice = \"echo\"\nto = {to}\n"
    )
}

pub(crate) fn tcp_listen(port: u16, to: &str) -> String {
    format!(
        "[[listen]]\nkind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\nservice = \"tcp\"\nstall_timeout_s = 5\nto = {to}\n"
    )
}

pub(crate) fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Sends every packet at 127.0.0.1:5000 back, and counts who sent them.
pub(crate) struct UdpEcho {
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    _host: Host,
}

impl UdpEcho {
    pub(crate) fn start(fleet: &Fleet, member: Member) -> Self {
        let host = fleet.program(member);
        let socket = host.bind_udp(local(5000)).unwrap();
        let seen = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let clients = seen.clone();
        drop(host.spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                if !clients.lock().contains(&from) {
                    clients.lock().push(from);
                }
                socket.try_send_to(&buffer[..length], from).unwrap();
            }
        }));
        Self { seen, _host: host }
    }

    /// How many clients it has seen.
    pub(crate) fn clients(&self) -> usize {
        self.seen.lock().len()
    }
}

/// A client that sends a numbered packet every `interval`, and notes when each came back.
pub(crate) struct UdpFlow {
    host: Host,
    sent: Arc<AtomicU64>,
    /// Number and time since the simulation's start, in the order of their return.
    back: Arc<Mutex<Vec<(u64, Duration)>>>,
    stop: Arc<AtomicU64>,
}

impl UdpFlow {
    /// Sends to the listen at `port` of the node of `member`.
    pub(crate) fn start(fleet: &Fleet, member: Member, port: u16, interval: Duration) -> Self {
        Self::sized(fleet, member, port, interval, 200)
    }

    /// - `bytes`: of each packet, at least 8.
    pub(crate) fn sized(
        fleet: &Fleet,
        member: Member,
        port: u16,
        interval: Duration,
        bytes: usize,
    ) -> Self {
        let host = fleet.program(member);
        let socket = Arc::new(host.bind_udp(local(0)).unwrap());
        let sent = Arc::<AtomicU64>::default();
        let stop = Arc::<AtomicU64>::default();
        let back = Arc::<Mutex<Vec<_>>>::default();
        let (start, notes, replies) = (fleet.start, back.clone(), socket.clone());
        drop(host.spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, _)) = replies.recv_from(&mut buffer).await {
                assert_eq!(length, bytes);
                let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
                notes.lock().push((number, clock::now() - start));
            }
        }));
        let (count, stopped) = (sent.clone(), stop.clone());
        drop(host.spawn(async move {
            let mut payload = vec![0; bytes];
            while stopped.load(Ordering::Relaxed) == 0 {
                let number = count.fetch_add(1, Ordering::Relaxed);
                payload[..8].copy_from_slice(&number.to_be_bytes());
                socket.try_send_to(&payload, local(port)).unwrap();
                sleep(interval).await;
            }
        }));
        Self {
            host,
            sent,
            back,
            stop,
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.back.lock().len() as u64
    }

    /// The longest time without a packet, between the first one and the last.
    pub(crate) fn longest_gap(&self) -> Duration {
        let back = self.back.lock();
        let gaps = back.windows(2).map(|pair| pair[1].1 - pair[0].1);
        gaps.max().unwrap_or_default()
    }

    /// When the first packet came back that did so after `after`, since the simulation's start.
    pub(crate) fn first_after(&self, after: Duration) -> Option<Duration> {
        let back = self.back.lock();
        back.iter().map(|(_, at)| *at).find(|at| *at > after)
    }

    /// Stops sending, waits for what is on its way, and returns how many were sent and came back.
    pub(crate) async fn finish(self) -> (u64, u64) {
        self.stop.store(1, Ordering::Relaxed);
        sleep(ms(1_500)).await;
        let counts = (self.sent(), self.received());
        self.host.kill();
        counts
    }

    /// Stops sending, and asserts that every packet came back, once.
    pub(crate) async fn finish_without_loss(self) {
        let back = self.back.clone();
        let (sent, received) = self.finish().await;
        assert!(sent > 0);
        assert_eq!(received, sent, "packets that came back");
        let mut numbers: Vec<u64> = back.lock().iter().map(|(number, _)| *number).collect();
        numbers.dedup();
        assert_eq!(numbers.len() as u64, sent, "each once, in order");
    }
}

/// Sends everything that it reads back on 127.0.0.1:5001, and ends its half when the client has.
pub(crate) fn start_tcp_echo(fleet: &Fleet, member: Member) -> Host {
    start_tcp(fleet, member, |mut stream| async move {
        let mut buffer = vec![0; 16_384];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return stream.shutdown().await.unwrap_or_default(),
                Ok(read) => stream.write_all(&buffer[..read]).await.unwrap_or_default(),
                Err(_) => return,
            }
        }
    })
}

/// Serves each connection to 127.0.0.1:5001 with `serve`.
pub(crate) fn start_tcp<F>(
    fleet: &Fleet,
    member: Member,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Host
where
    F: Future<Output = ()> + Send + 'static,
{
    let host = fleet.program(member);
    let mut listener = host.listen_tcp(local(5001)).unwrap();
    let tasks = host.clone();
    drop(host.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tasks.spawn(serve(stream)));
        }
    }));
    host
}

/// Sends `bytes` bytes to the listen at `port`, ends its half, and reads to the end.
///
/// Returns how many bytes came back as they were sent.
pub(crate) async fn tcp_round_trip(host: &Host, port: u16, bytes: usize) -> io::Result<usize> {
    let stream = host.connect_tcp(local(port)).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let write = async {
        writer.write_all(&sent).await?;
        writer.shutdown().await
    };
    let read = async {
        let mut back = Vec::new();
        reader.read_to_end(&mut back).await.map(|_| back)
    };
    let ((), back) = tokio::try_join!(write, read)?;
    assert!(expected.starts_with(&back), "bytes came back as others");
    Ok(back.len())
}

/// Two linked nodes, `a` and `b`, with a UDP flow from one to the other that nothing may disturb.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    pub(crate) a: Member,
    pub(crate) b: Member,
    link: LinkGeneration,
    flow: UdpFlow,
    echo: UdpEcho,
}

impl Scene {
    /// - `extend`: adds what else the simulation needs, before anything is started.
    pub(crate) async fn new(seed: u64, extend: impl FnOnce(&mut Fleet, Member, Member)) -> Self {
        Self::with_tables(seed, "", extend).await
    }

    /// - `tables`: more of the configuration of `a`.
    pub(crate) async fn with_tables(
        seed: u64,
        tables: &str,
        extend: impl FnOnce(&mut Fleet, Member, Member),
    ) -> Self {
        let mut fleet = Fleet::new(seed);
        let listen = udp_listen(6000, "{ node = \"eu/b\" }");
        let a = fleet.add("eu", "a", &format!("{tables}\n{listen}"));
        let b = fleet.add("eu", "b", UDP_SERVICE);
        fleet.delay(a, b, ms(5));
        fleet.pair(a, b);
        extend(&mut fleet, a, b);
        fleet.start(b).await;
        fleet.start(a).await;
        fleet.until_linked(&[a, b], ms(2_000)).await;
        // Both ends have said so, and the loser of two dials is gone.
        sleep(ms(200)).await;
        let link = fleet.link(a, b).unwrap().generation;
        let echo = UdpEcho::start(&fleet, b);
        let flow = UdpFlow::start(&fleet, a, 6000, ms(20));
        Self {
            fleet,
            a,
            b,
            link,
            flow,
            echo,
        }
    }

    /// Asserts that the flow lost nothing, that its link is the same, and that nothing panicked.
    pub(crate) async fn finish(self) {
        let link = self.fleet.link(self.a, self.b).unwrap();
        assert_eq!(link.generation, self.link, "the bystanders' link");
        let gap = self.flow.longest_gap();
        assert!(gap <= ms(40), "the bystanders' flow had a gap of {gap:?}");
        self.flow.finish_without_loss().await;
        assert_eq!(self.echo.clients(), 1);
        for member in [self.a, self.b] {
            let counts = self.fleet.node(member).tasks().counts();
            assert_eq!((counts.panicked, counts.overdue), (0, 0));
        }
    }
}
