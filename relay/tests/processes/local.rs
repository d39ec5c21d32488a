//! The local programs of these tests.

#![expect(
    clippy::disallowed_methods,
    reason = "each runtime is one test's, and its tasks end with it"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{AbortHandle, JoinHandle},
    time::{sleep, timeout},
};

use crate::fleet::WITHIN;

/// A program that sends back what it gets, until it is dropped.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Echo {
    /// Over UDP.
    pub(crate) async fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2_048];
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..read], from).await;
            }
        });
        let task = task.abort_handle();
        Self { address, task }
    }

    /// Over TCP.
    pub(crate) async fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        let task = task.abort_handle();
        Self { address, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until a packet to `near` comes back. Packets may be lost until then.
pub(crate) async fn packet_crosses(near: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0; 64];
    let crossed = async {
        loop {
            // Nobody listens there: that is waited out too.
            let _ = socket.send_to(b"there and back", near).await;
            let came = timeout(Duration::from_millis(100), socket.recv(&mut buffer)).await;
            if matches!(came, Ok(Ok(14))) {
                return;
            }
        }
    };
    let crossed = timeout(WITHIN, crossed).await;
    crossed.unwrap_or_else(|_| panic!("no packet to {near} came back"));
}

/// A flow of packets, of which each is sent when the one before has come back: none may be lost.
#[derive(Debug)]
pub(crate) struct PingPong {
    rounds: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl PingPong {
    /// Starts a flow that crosses already.
    pub(crate) async fn start(near: SocketAddr) -> Self {
        packet_crosses(near).await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let rounds = Arc::new(AtomicU64::new(0));
        let counted = rounds.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 8];
            loop {
                let number = counted.load(Ordering::Relaxed);
                socket.send_to(&number.to_be_bytes(), near).await.unwrap();
                let came = timeout(WITHIN / 2, socket.recv(&mut buffer)).await;
                came.unwrap_or_else(|_| panic!("packet {number} was lost"))
                    .unwrap();
                assert_eq!(u64::from_be_bytes(buffer), number, "came twice, or late");
                counted.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(5)).await;
            }
        });
        Self { rounds, task }
    }

    /// Waits until some more packets have crossed.
    pub(crate) async fn goes_on(&self) {
        let enough = self.rounds.load(Ordering::Relaxed) + 20;
        let going = async {
            while self.rounds.load(Ordering::Relaxed) < enough && !self.task.is_finished() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WITHIN, going).await.expect("the flow goes on");
    }

    /// Ends the flow; panics if a packet of it was lost.
    pub(crate) async fn stop(mut self) {
        self.goes_on().await;
        // It ends by itself only where it has panicked.
        if self.task.is_finished() {
            (&mut self.task).await.unwrap();
        }
    }
}

impl Drop for PingPong {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TCP connection through the mesh.
#[derive(Debug)]
pub(crate) struct Talk(TcpStream);

impl Talk {
    /// Connects, and says something that has to come back.
    pub(crate) async fn start(near: SocketAddr) -> Self {
        let mut talk = Self(TcpStream::connect(near).await.unwrap());
        talk.goes_on().await;
        talk
    }

    /// Says something that has to come back.
    pub(crate) async fn goes_on(&mut self) {
        let mut answer = [0; 5];
        let talk = async {
            self.0.write_all(b"hello").await?;
            self.0.read_exact(&mut answer).await
        };
        let talked = timeout(WITHIN, talk).await.expect("the answer comes");
        talked.expect("the connection is up");
        assert_eq!(&answer, b"hello");
    }

    /// Waits for the connection's end, which must be a reset.
    pub(crate) async fn ends_with_a_reset(mut self) {
        let read = timeout(WITHIN, self.0.read(&mut [0; 64])).await;
        let error = read
            .expect("the end comes")
            .expect_err("it is no orderly end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// Connects to `near`, and expects a reset before anything comes.
pub(crate) async fn connection_is_reset(near: SocketAddr) {
    Talk(TcpStream::connect(near).await.unwrap())
        .ends_with_a_reset()
        .await;
}
