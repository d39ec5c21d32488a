//! Ordinary programs in one region talk to ordinary programs in another, through real processes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "real_programs/failover.rs"]
mod failover;
#[path = "fleet/harness.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of processes, which need more"
)]
mod fleet;
#[path = "real_programs/iperf.rs"]
mod iperf;
#[path = "real_programs/network.rs"]
mod network;
#[path = "real_programs/rtp.rs"]
mod rtp;

use std::{net::SocketAddr, time::Duration};

use causeway::admin::view::PeerDetailView;
use fleet::{Fleet, NodeProcess, NodeSpec, free_both, listen, service};
use ring::digest::{Context, SHA256};
use rtp::{OnError, Show};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

/// One test, as the programs share one mesh: RTP from ffmpeg, 100 MB with a checksum, and iperf3 in
/// TCP and UDP mode in both directions; then every node ends on SIGTERM.
#[tokio::test]
#[ignore = "needs ffmpeg and iperf3"]
async fn ordinary_programs_cross_three_regions() {
    programs_cross(Company::Good).await;
}

/// The same programs, and the same is expected of them.
#[tokio::test]
#[ignore = "needs ffmpeg and iperf3"]
async fn ordinary_programs_cross_as_well_beside_black_holes_and_a_frozen_node() {
    programs_cross(Company::ThirdDead).await;
}

/// Which peers the three nodes have besides each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    /// None.
    Good,
    /// One that is good, two that are black holes, and one that is frozen once it was linked. That
    /// one exposes the service of a region, so that it has to be told from the good one.
    ThirdDead,
}

#[expect(
    clippy::print_stdout,
    reason = "what crossed is worth knowing, pass or not"
)]
async fn programs_cross(company: Company) {
    // The programs of one test are enough for a machine.
    let _alone = ALONE.acquire().await.unwrap();
    let (rtp_in, rtp_out) = (free_both(), free_both());
    let (bulk_in, bulk_out) = (free_both(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let bulk_address = bulk_out.local_addr().unwrap();
    let (iperf_in, iperf_out) = (free_both(), free_both());
    let fleet = Fleet::new().await;
    let three = [
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
    ];
    let mut dead = Dead::default();
    let nodes: Vec<NodeProcess> = match company {
        Company::Good => fleet.start_mesh(three).await.into(),
        Company::ThirdDead => dead.start_beside(&fleet, three, rtp_out).await,
    };

    let stream = rtp::cross(rtp_in, rtp_out, FIVE_SECONDS).await;
    let (sent, lost) = (stream.sent(), stream.lost());
    println!("rtp: {lost} of {sent} packets lost");
    assert_eq!(lost, 0, "{lost} of {sent} RTP packets were lost");
    assert!(sent > 100, "ffmpeg sent next to nothing: {sent} packets");
    assert!(
        stream.frames_decoded >= FIVE_SECONDS.frames,
        "not all frames were decoded"
    );

    bulk_arrives_whole(bulk_in, bulk_out).await;

    let ports = (iperf_in.port(), iperf_out.port());
    for direction in [None, Some("--reverse")] {
        let tcp = iperf::run(ports, &[], direction).await;
        let received = tcp["end"]["sum_received"]["bytes"]
            .as_f64()
            .unwrap_or_default();
        println!("iperf3 tcp {direction:?}: {received} bytes received");
        assert!(received > 1e6, "next to nothing arrived: {tcp}");

        let udp = iperf::run(
            ports,
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

    dead.assert_still_dead(&nodes).await;
    for node in nodes {
        node.terminate().await;
    }
}

/// Peers of the three nodes that do not answer, for as long as this lives.
#[derive(Debug, Default)]
struct Dead {
    /// Nobody reads them.
    black_holes: Vec<UdpSocket>,
    frozen: Option<NodeProcess>,
}

impl Dead {
    /// Starts the three nodes and a fourth good one, two black holes, and a node that is frozen.
    ///
    /// - `rtp`: what the frozen node would send RTP to.
    async fn start_beside(
        &mut self,
        fleet: &Fleet,
        three: [NodeSpec; 3],
        rtp: SocketAddr,
    ) -> Vec<NodeProcess> {
        let mut black_holes = Vec::new();
        for id in BLACK_HOLES {
            let unread = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            black_holes.push((id, unread.local_addr().unwrap()));
            self.black_holes.push(unread);
        }
        let beside = |mut spec: NodeSpec| {
            for (id, address) in &black_holes {
                spec = spec.peer(id, &[*address]);
            }
            spec
        };
        let [one, two, three] = three.map(beside);
        let good = beside(NodeSpec::new("ap-south/bom-2"));
        let frozen = NodeSpec::new(FROZEN).with(&service("udp", rtp, "rtp"));
        let [one, two, three, good, frozen] =
            fleet.start_mesh([one, two, three, good, frozen]).await;
        frozen.signal("STOP").await;
        self.frozen = Some(frozen);
        let mut nodes = vec![one, two, three, good];
        for node in &mut nodes {
            let gone = |detail: &PeerDetailView| detail.peer.state != "up";
            node.peer_where(FROZEN, "is seen frozen", gone).await;
        }
        nodes
    }

    async fn assert_still_dead(&self, nodes: &[NodeProcess]) {
        let frozen = self.frozen.iter().map(|_| FROZEN);
        let black_holes = BLACK_HOLES.into_iter().take(self.black_holes.len());
        for id in frozen.chain(black_holes) {
            for node in nodes {
                let state = node.peer(id).await.peer.state;
                assert_ne!(state, "up", "{id} came to life");
            }
        }
    }
}

/// The sender sends two seconds more than the receiver looks at.
const FIVE_SECONDS: Show = Show {
    seconds: 5,
    frames: 90,
    on_error: OnError::Fail,
};
const BLACK_HOLES: [&str; 2] = ["us-east/iad-8", "ap-south/bom-8"];
const FROZEN: &str = "us-east/iad-2";
static ALONE: Semaphore = Semaphore::const_new(1);

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
