//! Links to processes that end, stop or die, again and again, and what they leave in a node.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use tokio::{net::UdpSocket, time::sleep};

use crate::{
    fleet::{Fleet, NodeProcess, NodeSpec, free_both, listen, service},
    local::{Echo, Talk},
};

/// What happens to a peer's process once it is linked and a stream crosses.
const ENDS: [(&str, End); 12] = [
    ("us-east/iad-1", End::Terminated),
    ("us-east/iad-2", End::Killed),
    ("us-east/iad-3", End::Stopped),
    ("us-east/iad-4", End::Terminated),
    ("us-east/iad-5", End::Killed),
    ("us-east/iad-6", End::Stopped),
    ("ap-south/bom-1", End::Terminated),
    ("ap-south/bom-2", End::Killed),
    ("ap-south/bom-3", End::Stopped),
    ("ap-south/bom-4", End::Terminated),
    ("ap-south/bom-5", End::Killed),
    ("ap-south/bom-6", End::Stopped),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGTERM: an orderly close.
    Terminated,
    /// SIGKILL, in the middle of a stream.
    Killed,
    /// SIGSTOP, in the middle of a stream; it is killed when the others come again.
    Stopped,
}

const ROUNDS: usize = 3;
/// Of [`ENDS`], in each round: 504 links in all.
const BATCHES: usize = 14;
/// What a round may add to the resident memory, in KiB: half of what a leak of 8 KiB for each of
/// its 168 links would.
const SLACK_KIB: u64 = 672;

#[tokio::test]
async fn five_hundred_links_to_processes_that_end_stop_or_die_leave_no_descriptor_and_no_memory() {
    let fleet = Fleet::new().await;
    let echo = Echo::tcp().await;
    let unread = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut node = fleet
        .start(
            &NodeSpec::new("eu-west/fra-1")
                .peer("ap-south/bom-9", &[unread.local_addr().unwrap()])
                .with(&service("tcp", echo.address, "echo"))
                // All peers here have one address.
                .with("[limits]\nconnections_per_source_per_s = 1000\n"),
        )
        .await;
    let peers = ENDS.map(|(id, end)| {
        let near = free_both();
        let spec = NodeSpec::new(id)
            .peer(node.spec.id, &[node.spec.bind])
            .hidden()
            .with(&listen("tcp", near, "echo", "node = \"eu-west/fra-1\""));
        (spec, near, end)
    });
    for (spec, _, _) in &peers {
        fleet.issue("pki", spec).await;
        fleet.configure(spec);
    }

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut stopped: Vec<NodeProcess> = Vec::new();
        for _ in 0..BATCHES {
            for process in &mut stopped {
                process.kill().await;
            }
            let ended = peers.iter().map(async |(spec, near, end)| {
                let mut process = fleet.spawn(spec);
                process.serves(*near, "eu-west/fra-1").await;
                let talk = Talk::start(*near).await;
                match end {
                    End::Terminated => {
                        drop(talk);
                        process.terminate().await;
                    }
                    End::Killed => process.kill().await,
                    End::Stopped => {
                        process.signal("STOP").await;
                        return Some(process);
                    }
                }
                None
            });
            stopped = join_all(ended).await.into_iter().flatten().collect();
        }
        drop(stopped);
        rounds.push(Held::settled(&mut node).await);
    }

    println!("{rounds:#?}");
    let links = node
        .metric("relay_inbound_ended_total", "established")
        .await;
    assert!(
        links >= (ROUNDS * BATCHES * ENDS.len()) as f64,
        "{links} links"
    );
    assert!(node.metric("relay_dial_failed_total", "").await >= 1.0);
    let [_, second, third] = &rounds[..] else {
        unreachable!()
    };
    assert_eq!(third.counts, second.counts);
    let grown = third.resident_kib.saturating_sub(second.resident_kib);
    assert!(grown <= SLACK_KIB, "{rounds:#?}");
    node.terminate().await;
}

/// What a process holds when its links are gone.
#[derive(Debug)]
struct Held {
    counts: Counts,
    resident_kib: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counts {
    descriptors: usize,
    peers: usize,
}

impl Held {
    /// Waits until the last links are gone: those of stopped processes end by silence.
    async fn settled(node: &mut NodeProcess) -> Self {
        let client = node.client();
        let pid = node.pid();
        let peers = node
            .eventually("all links are gone", async || {
                let metrics = client.metrics().await.map_err(|error| error.to_string())?;
                let gauge = |name: &str| {
                    let line = metrics.lines().find(|line| line.starts_with(name));
                    let value = line.and_then(|line| line.rsplit_once(' '));
                    value.unwrap().1.parse::<f64>().unwrap() as u64
                };
                let (connections, streams) =
                    (gauge("relay_connection_open"), gauge("relay_stream_open"));
                let peers = client.peers().await.map_err(|error| error.to_string())?;
                let linked = peers.iter().filter(|peer| peer.state == "up").count();
                // Each may be dialed: the one that is configured at an address that nobody reads,
                // and those that the router wants as long as it does not know that they are gone.
                // These dials come and go.
                match (linked, connections, streams) {
                    (0, dials, 0) if dials <= peers.len() as u64 => Ok(peers.len()),
                    open => Err(format!("{open:?}")),
                }
            })
            .await;
        // What was just asked has a descriptor too, for a moment.
        let mut descriptors = usize::MAX;
        for _ in 0..20 {
            sleep(Duration::from_millis(25)).await;
            let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            descriptors = descriptors.min(open.count());
        }
        let counts = Counts { descriptors, peers };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find(|line| line.starts_with("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().nth(1));
        Self {
            counts,
            resident_kib: resident.unwrap().parse().unwrap(),
        }
    }
}
