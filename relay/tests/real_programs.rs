//! Ordinary programs in one region talk to ordinary programs in another, through real processes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "fleet/harness.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of processes, which need more"
)]
mod fleet;
#[path = "real_programs/rtp.rs"]
mod rtp;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use fleet::{Fleet, NodeSpec, free_both, listen, service};
use ring::digest::{Context, SHA256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

/// One test, as the programs share one mesh: RTP from ffmpeg, 100 MB with a checksum, and iperf3 in
/// TCP and UDP mode in both directions; then every node ends on SIGTERM.
#[tokio::test]
#[ignore = "needs ffmpeg and iperf3"]
async fn ordinary_programs_cross_three_regions() {
    let (rtp_in, rtp_out) = (free_both(), free_both());
    let (bulk_in, bulk_out) = (free_both(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let bulk_address = bulk_out.local_addr().unwrap();
    let (iperf_in, iperf_out) = (free_both(), free_both());
    let fleet = Fleet::new().await;
    let nodes = fleet
        .start_mesh([
            NodeSpec::new("eu-west/fra-1").with(
                &[
                    listen("udp", rtp_in, "rtp", "region = \"us-east\""),
                    listen("tcp", bulk_in, "bulk", "node = \"us-east/iad-1\""),
                    listen("tcp", iperf_in, "iperf-tcp", "region = \"ap-south\""),
                    listen("udp", iperf_in, "iperf-udp", "region = \"ap-south\""),
                ]
                .concat(),
            ),
            NodeSpec::new("us-east/iad-1").with(
                &[
                    service("udp", rtp_out, "rtp"),
                    service("tcp", bulk_address, "bulk"),
                ]
                .concat(),
            ),
            NodeSpec::new("ap-south/bom-1").with(
                &[
                    service("tcp", iperf_out, "iperf-tcp"),
                    service("udp", iperf_out, "iperf-udp"),
                ]
                .concat(),
            ),
        ])
        .await;

    let stream = rtp::cross(rtp_in, rtp_out).await;
    println!("rtp: {stream:?}");
    assert_eq!(stream.lost(), 0, "RTP packets were lost: {stream:?}");
    assert!(stream.sent > 100, "ffmpeg sent next to nothing: {stream:?}");
    assert!(
        stream.frames_decoded >= rtp::FRAMES,
        "not all frames were decoded: {stream:?}"
    );

    bulk_arrives_whole(bulk_in, bulk_out).await;

    let server = Command::new("iperf3")
        .args(["--server", "--port", &iperf_out.port().to_string()])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("iperf3 is installed");
    let port = iperf_in.port().to_string();
    for direction in [None, Some("--reverse")] {
        let tcp = iperf3(&port, &[], direction).await;
        let received = tcp["end"]["sum_received"]["bytes"]
            .as_f64()
            .unwrap_or_default();
        println!("iperf3 tcp {direction:?}: {received} bytes received");
        assert!(received > 1e6, "next to nothing arrived: {tcp}");

        let udp = iperf3(
            &port,
            &["--udp", "--length", "1200", "--bitrate", "10M"],
            direction,
        )
        .await;
        let sum = &udp["end"]["sum"];
        let (packets, lost) = (sum["packets"].as_f64(), sum["lost_packets"].as_f64());
        println!("iperf3 udp {direction:?}: {packets:?} packets, {lost:?} lost");
        let (packets, lost) = (packets.unwrap_or_default(), lost.unwrap_or(f64::MAX));
        assert!(packets > 1_000.0, "next to nothing was sent: {udp}");
        // A noisy machine may make iperf3 itself too late for its socket; the mesh loses none.
        assert!(
            lost < packets / 10.0,
            "{lost} of {packets} packets lost: {udp}"
        );
    }
    drop(server);

    for node in nodes {
        node.terminate().await;
    }
}

/// Sends 100 MB, half-closes, and reads back the checksum that the far end has computed.
async fn bulk_arrives_whole(near: SocketAddr, far: TcpListener) {
    let server = async move {
        let (mut stream, _) = far.accept().await.unwrap();
        let mut digest = Context::new(&SHA256);
        let mut buffer = vec![0; 1 << 16];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                read => digest.update(&buffer[..read]),
            }
        }
        stream.write_all(digest.finish().as_ref()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let client = async move {
        let mut stream = TcpStream::connect(near).await.unwrap();
        let mut digest = Context::new(&SHA256);
        let mut state = 1_u64;
        for _ in 0..100 {
            let block: Vec<u8> = (0..1_000_000 / 8)
                .flat_map(|_| {
                    // A linear congruential generator: not compressible, and the same every time.
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    state.to_be_bytes()
                })
                .collect();
            digest.update(&block);
            stream.write_all(&block).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            answer,
            digest.finish().as_ref(),
            "100 MB arrived with another SHA-256"
        );
    };
    tokio::join!(server, client);
}

async fn iperf3(port: &str, mode: &[&str], direction: Option<&str>) -> serde_json::Value {
    let output = Command::new("iperf3")
        .args([
            "--client",
            "127.0.0.1",
            "--port",
            port,
            "--time",
            "3",
            "--json",
        ])
        .args(mode)
        .args(direction)
        .output();
    let output = timeout(Duration::from_secs(60), output)
        .await
        .expect("iperf3 ends by itself");
    let output = output.expect("iperf3 is installed");
    let json = serde_json::from_slice(&output.stdout).expect("iperf3 was asked for JSON");
    assert!(
        output.status.success(),
        "iperf3 {mode:?} {direction:?} failed: {json}"
    );
    json
}
