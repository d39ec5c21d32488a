use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{BACKLOG, TcpListener, TcpStream};
use crate::sim::{Host, Sim, SimConfig};

/// A host, another process on it that listens, and a connection between them.
struct Fixture {
    sim: Sim,
    host: Host,
    program: Host,
    listener: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

impl Fixture {
    async fn new() -> Self {
        let sim = Sim::new(SimConfig::new(1));
        let host = sim.host("a", [10, 0, 0, 1]);
        let program = host.process();
        let mut listener = program.listen_tcp(loopback(80)).unwrap();
        let near = host.connect_tcp(loopback(80)).await.unwrap();
        let (far, from) = listener.accept().await.unwrap();
        assert_eq!(from, loopback(49_152));
        Self {
            sim,
            host,
            program,
            listener,
            near,
            far,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

async fn refused(host: &Host, to: SocketAddr) -> io::ErrorKind {
    host.connect_tcp(to).await.unwrap_err().kind()
}

async fn read_error(stream: &mut TcpStream) -> io::ErrorKind {
    stream.read(&mut [0; 8]).await.unwrap_err().kind()
}

/// Writes until nothing more is taken; returns how much was.
async fn fill(stream: &mut TcpStream) -> usize {
    let mut written = 0;
    while let Ok(result) = timeout(Duration::from_secs(1), stream.write(&[1; 5_000])).await {
        written += result.unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn each_direction_ends_by_itself() {
    let mut t = Fixture::new().await;
    t.near.write_all(b"request").await.unwrap();
    t.near.shutdown().await.unwrap();
    let mut request = String::new();
    t.far.read_to_string(&mut request).await.unwrap();
    assert_eq!(request, "request");
    // The other direction still works after the first has ended.
    t.far.write_all(b"reply").await.unwrap();
    drop(t.far);
    let mut reply = String::new();
    t.near.read_to_string(&mut reply).await.unwrap();
    assert_eq!(reply, "reply");
    let error = t.near.write(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_at_64_kib_until_the_reader_reads() {
    let mut t = Fixture::new().await;
    assert_eq!(fill(&mut t.near).await, 65_536);
    t.far.read_exact(&mut [0; 1_000]).await.unwrap();
    assert_eq!(fill(&mut t.near).await, 1_000);
}

#[tokio::test(start_paused = true)]
async fn bytes_come_out_as_they_went_in_across_the_buffers_end() {
    let mut t = Fixture::new().await;
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut near, to_send) = (t.near, sent.clone());
    let writer = t.host.spawn(async move {
        near.write_all(&to_send).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    let mut received = Vec::new();
    let mut chunk = [0; 7_919];
    loop {
        let read = timeout(Duration::from_secs(60), t.far.read(&mut chunk));
        let len = read.await.expect("the writer is stuck").unwrap();
        if len == 0 {
            break;
        }
        received.extend_from_slice(&chunk[..len]);
    }
    assert!(received == sent);
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_read_as_one_and_takes_what_was_unread() {
    let mut t = Fixture::new().await;
    t.near.write_all(b"unread").await.unwrap();
    t.near.reset();
    drop(t.near);
    assert_eq!(read_error(&mut t.far).await, io::ErrorKind::ConnectionReset);
    let error = t.far.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_reset_wakes_a_blocked_reader_and_a_blocked_writer() {
    let mut t = Fixture::new().await;
    fill(&mut t.far).await;
    let (mut reader, mut writer) = tokio::io::split(t.far);
    let reader = t.program.spawn(async move {
        let error = reader.read(&mut [0; 8]).await.unwrap_err();
        (error.kind(), reader)
    });
    let writer = t.program.spawn(async move {
        let error = writer.write(&[0; 8]).await.unwrap_err();
        (error.kind(), writer)
    });
    sleep(Duration::from_millis(1)).await;
    t.near.reset();
    drop(t.near);
    let both = async { (reader.await.unwrap().0, writer.await.unwrap().0) };
    let reset = io::ErrorKind::ConnectionReset;
    let woken = timeout(Duration::from_secs(60), both).await;
    assert_eq!(woken, Ok((reset, reset)));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_with_unread_bytes_resets_and_without_ends() {
    let mut t = Fixture::new().await;
    t.near.write_all(b"unread").await.unwrap();
    drop(t.far);
    assert_eq!(
        read_error(&mut t.near).await,
        io::ErrorKind::ConnectionReset
    );

    let mut near = t.host.connect_tcp(loopback(80)).await.unwrap();
    drop(t.listener.accept().await.unwrap());
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn connecting_is_refused_where_nobody_listens_and_to_other_hosts() {
    let t = Fixture::new().await;
    assert_eq!(
        refused(&t.host, loopback(81)).await,
        io::ErrorKind::ConnectionRefused
    );
    let other = t.sim.host("b", [10, 0, 0, 2]);
    assert_eq!(
        refused(&other, loopback(80)).await,
        io::ErrorKind::ConnectionRefused
    );
    let elsewhere = ([10, 0, 0, 1], 80).into();
    assert_eq!(
        refused(&other, elsewhere).await,
        io::ErrorKind::NetworkUnreachable
    );
    drop(t.listener);
    assert_eq!(
        refused(&t.host, loopback(80)).await,
        io::ErrorKind::ConnectionRefused
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_backlog_makes_callers_wait_and_a_dropped_listener_resets_it() {
    let mut t = Fixture::new().await;
    let mut waiting = Vec::new();
    for _ in 0..BACKLOG {
        waiting.push(t.host.connect_tcp(loopback(80)).await.unwrap());
    }
    let second = Duration::from_secs(1);
    assert!(
        timeout(second, t.host.connect_tcp(loopback(80)))
            .await
            .is_err()
    );
    t.listener.accept().await.unwrap();
    let last = timeout(second, t.host.connect_tcp(loopback(80)))
        .await
        .unwrap();
    drop(t.listener);
    assert_eq!(
        read_error(&mut last.unwrap()).await,
        io::ErrorKind::ConnectionReset
    );
}

#[tokio::test(start_paused = true)]
async fn killing_one_end_resets_the_other_and_frees_its_listeners() {
    let mut t = Fixture::new().await;
    let program = t.program.clone();
    let (mut far, mut listener) = (t.far, t.listener);
    let _serving = program.spawn(async move {
        while let Ok((_stream, _)) = listener.accept().await {}
        far.write_all(b"never").await.unwrap();
    });
    sleep(Duration::from_millis(1)).await;
    program.kill();
    assert_eq!(
        read_error(&mut t.near).await,
        io::ErrorKind::ConnectionReset
    );
    assert_eq!(
        refused(&t.host, loopback(80)).await,
        io::ErrorKind::ConnectionRefused
    );

    let mut listener = program.listen_tcp(loopback(80)).unwrap();
    t.host.connect_tcp(loopback(80)).await.unwrap();
    listener.accept().await.unwrap();
    // A listener that somebody else holds learns of the kill.
    program.kill();
    let error = listener.accept().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}
