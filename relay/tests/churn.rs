//! Ten thousand links that come and go leave nothing behind: no task, no stream, no byte.
//!
//! A program of its own, because it counts every byte of its heap.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

#[path = "churn/called.rs"]
mod called;
#[path = "churn/caller.rs"]
mod caller;
#[path = "../../staging/src/sim/env.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the other simulations, which need more"
)]
mod env;
#[path = "../../staging/src/sim/fleet.rs"]
#[allow(dead_code, unreachable_pub, reason = "as env")]
mod fleet;
#[path = "churn/heap.rs"]
mod heap;
#[path = "../../staging/src/sim/raw.rs"]
#[allow(dead_code, unreachable_pub, reason = "as env")]
mod raw;
#[path = "sim/traffic.rs"]
#[allow(dead_code, reason = "as env")]
mod traffic;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use causeway::counts::InboundEnd;
use futures_util::future::join_all;
use netem::{model::PairModel, sim::Host};

use self::{
    called::Called,
    caller::{Caller, ONE_WAY, PACKETS},
    fleet::{Fleet, Member, ms, sleep},
    traffic::{TCP_SERVICE, UDP_SERVICE, local, start_tcp_echo, udp_listen},
};

/// Of equal shape. The first two fill what keeps its size: tables, rings, buffers.
const ROUNDS: usize = 4;
const CALLERS: u16 = 25;
const CALLED: u16 = 12;
/// Set-ups of each caller in each round: 10,000 in all, besides what the node dials itself.
const CALLS: usize = 100;
/// What a round may leave, in bytes: a leak of one byte for each of its set-ups is above it.
const SLACK_BYTES: usize = 2_000;
/// A peer that went is forgotten after 60 s, an idle flow sooner; the node's timers turn meanwhile.
const SETTLE: Duration = Duration::from_secs(130);

#[tokio::test(start_paused = true)]
async fn ten_thousand_links_to_good_silent_and_dying_peers_leave_nothing_behind() {
    let mut fleet = Fleet::new(80);
    let listens: Vec<String> = (0..CALLERS).map(Caller::listen).collect();
    let steady = udp_listen(6_000, "{ node = \"eu/b\" }");
    let tables = [UDP_SERVICE, TCP_SERVICE, &listens.concat(), &steady].concat();
    let node = fleet.add("eu", "a", &tables);
    let neighbour = fleet.add("eu", "b", UDP_SERVICE);
    fleet.pair(node, neighbour);
    fleet.start_all().await;
    fleet.until_linked(&[node, neighbour], ms(2_000)).await;
    // Both ends have said so, and the loser of two dials is gone.
    sleep(ms(200)).await;
    let tcp = start_tcp_echo(&fleet, node);
    let (udp, neighbours_udp) = (Echo::start(&fleet, node), Echo::start(&fleet, neighbour));
    let steady = Steady::start(&fleet, node, 6_000);

    let mut callers: Vec<Caller> = (0..CALLERS).map(|n| Caller::new(&fleet, n)).collect();
    let mut called: Vec<Called> = (0..CALLED).map(|n| Called::new(&fleet, n)).collect();
    let hosts = callers.iter().map(Caller::host);
    for host in hosts.chain(called.iter().map(Called::host)) {
        let model = PairModel::delayed(ONE_WAY);
        fleet.sim.set_pair_both(fleet.machine(node), host, model);
    }

    let link = fleet.link(node, neighbour).unwrap().generation;
    let mut last: Option<Held> = None;
    let mut rounds = [None; ROUNDS];
    for (round, notes) in rounds.iter_mut().enumerate() {
        let before = Counted::of(&fleet, node);
        let (echoed, began) = (udp.packets(), fleet.elapsed());
        called
            .iter()
            .for_each(|peer| peer.configure(&mut fleet, node));
        fleet.reload(node).await;
        let calls = async {
            let dials = callers
                .iter_mut()
                .map(|caller| caller.dial(&fleet, node, CALLS));
            join_all(dials).await.into_iter().sum::<u64>()
        };
        let well = tokio::select! {
            biased;
            well = calls => well,
            _ = join_all(called.iter_mut().map(|peer| peer.serve(&fleet))) => unreachable!(),
        };
        let took = fleet.elapsed() - began;
        called.iter().for_each(Called::kill);
        fleet.clear_peers(node);
        let (id, address) = (fleet.id(neighbour).clone(), fleet.address(neighbour));
        fleet.add_peer(node, &id, &[address.to_string()]);
        fleet.reload(node).await;
        sleep(SETTLE).await;

        // Nothing of the test's own comes on top: what it remembers has the same size every time.
        let heap_bytes = heap::live_bytes();
        let now = Held::of(&fleet, node);
        let counted = Counted::of(&fleet, node).since(&before);
        let calls = CALLS as u64 * u64::from(CALLERS);
        assert!(counted.inbound >= calls, "{counted:?}");
        assert!(counted.dials >= calls / 10, "{counted:?}");
        assert!(counted.links >= calls / 2, "{counted:?}");
        assert_eq!(udp.packets() - echoed, well * PACKETS);
        steady.assert_nothing_lost();
        if round > 1 {
            assert_eq!(Some(&now), last.as_ref(), "after round {round}");
        }
        last = Some(now);
        *notes = Some((took, counted, heap_bytes));
    }
    // Only now: what is captured of the output would count as well.
    for notes in rounds {
        println!("{notes:?}");
    }
    println!("{last:#?}");
    let bytes = rounds.map(|notes| notes.unwrap().2);
    for pair in bytes[1..].windows(2) {
        let grown = pair[1].saturating_sub(pair[0]);
        assert!(grown < SLACK_BYTES, "a round left {grown} bytes: {bytes:?}");
    }
    let counts = fleet.node(node).tasks().counts();
    assert_eq!(
        (counts.panicked, counts.overdue, counts.refused_full),
        (0, 0, 0)
    );
    assert_eq!(fleet.link(node, neighbour).unwrap().generation, link);
    drop((tcp, neighbours_udp, steady));
}

/// What a node and its process hold at one moment.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    tasks: Vec<String>,
    counts: HeldCounts,
}

#[derive(Debug, PartialEq, Eq)]
struct HeldCounts {
    roster: usize,
    slots_with_link: usize,
    links: usize,
    waiters: usize,
    connections: u64,
    streams: u64,
    flows: u64,
    closing: usize,
}

impl Held {
    fn of(fleet: &Fleet, member: Member) -> Self {
        let (node, mesh) = (fleet.node(member), fleet.mesh(member));
        let peers = mesh.links.peers();
        let links = peers.iter().map(|peer| peer.report.load().links.len());
        let metrics = node.metrics().render();
        let gauge = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.rsplit_once(' '));
            value.unwrap().1.parse::<f64>().unwrap() as u64
        };
        let counts = HeldCounts {
            roster: peers.len(),
            slots_with_link: peers
                .iter()
                .filter(|peer| peer.slot.load().link.is_some())
                .count(),
            links: links.sum(),
            waiters: peers.iter().map(|peer| peer.slot.waiters()).sum(),
            connections: gauge("relay_connection_open"),
            streams: gauge("relay_stream_open"),
            flows: gauge("relay_flow_open"),
            closing: mesh.reaper.counts().current,
        };
        let rows = node.tasks().list(causeway::clock::now());
        let tasks = rows
            .iter()
            .map(|row| format!("{}: {}", row.owner, row.name));
        let mut tasks: Vec<String> = tasks.collect();
        tasks.sort();
        Self { tasks, counts }
    }
}

/// What happened to a node's links, as it counts them.
#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Inbound connections, whatever became of them.
    inbound: u64,
    /// Of these, those that became a link.
    accepted: u64,
    dials: u64,
    /// Links that ended.
    links: u64,
}

impl Counted {
    fn of(fleet: &Fleet, member: Member) -> Self {
        let counts = &fleet.mesh(member).counts;
        Self {
            inbound: counts.inbound.total(),
            accepted: counts.inbound.value(InboundEnd::Established),
            dials: counts.dials.value(),
            links: counts.links_closed.total(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            inbound: self.inbound - before.inbound,
            accepted: self.accepted - before.accepted,
            dials: self.dials - before.dials,
            links: self.links - before.links,
        }
    }
}

/// Sends every packet at 127.0.0.1:5000 back, and remembers nothing but how many there were.
struct Echo {
    packets: Arc<AtomicU64>,
    _host: Host,
}

impl Echo {
    fn start(fleet: &Fleet, member: Member) -> Self {
        let host = fleet.program(member);
        let socket = host.bind_udp(local(5_000)).unwrap();
        let packets = Arc::<AtomicU64>::default();
        let count = packets.clone();
        drop(host.spawn(async move {
            let mut buffer = vec![0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                socket.try_send_to(&buffer[..length], from).unwrap();
            }
        }));
        Self {
            packets,
            _host: host,
        }
    }

    fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

/// A flow between two good nodes, which nothing may disturb; it remembers nothing but counts.
struct Steady {
    counts: [Arc<AtomicU64>; 2],
    _host: Host,
}

impl Steady {
    fn start(fleet: &Fleet, member: Member, port: u16) -> Self {
        let host = fleet.program(member);
        let socket = Arc::new(host.bind_udp(local(0)).unwrap());
        let counts: [Arc<AtomicU64>; 2] = Default::default();
        let ([sent, back], replies) = (counts.clone(), socket.clone());
        drop(host.spawn(async move {
            let mut buffer = vec![0; 2_048];
            while replies.recv_from(&mut buffer).await.is_ok() {
                back.fetch_add(1, Ordering::Relaxed);
            }
        }));
        drop(host.spawn(async move {
            loop {
                socket.try_send_to(&[0; 200], local(port)).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
                sleep(ms(100)).await;
            }
        }));
        Self {
            counts,
            _host: host,
        }
    }

    /// Asserts that of what was sent all is back but for what is on its way, which is one packet.
    fn assert_nothing_lost(&self) {
        let [sent, back] = self
            .counts
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        assert!(
            back == sent || back + 1 == sent,
            "{back} of {sent} packets came back"
        );
    }
}
