//! Peers on a simulated network, struck on virtual time.

use std::{fmt::Write as _, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use anyhow::Context as _;
use causeway::{clock, id::NodeKey, links::Peer};
use futures_util::future::try_join_all;
use netem::{model::PairModel, sim::Host};

use super::{
    Fault, Plan, Profile,
    responder::{self, Switch, Wedge},
    time_to_down,
};
use crate::sim::{
    fleet::{Fleet, Member, sleep},
    raw::Raw,
};

/// From each peer's fault to the verdict. Every other peer carries traffic meanwhile, but for those
/// of which one loop is wedged, which are no whole nodes.
pub(super) fn measure(
    plan: &Plan,
    profile: Profile,
    rtt: Duration,
    fault: Fault,
) -> anyhow::Result<Vec<Duration>> {
    match fault {
        Fault::Wedged(wedge) => simulate(wedged(plan, profile, rtt, wedge)),
        Fault::Frozen | Fault::BlackHole | Fault::Forward | Fault::Back => {
            let mut times = Vec::new();
            for first in (0..plan.simulated).step_by(FLEET) {
                let peers = first..plan.simulated.min(first + FLEET as u32);
                times.extend(simulate(nodes(plan, profile, rtt, fault, peers))?);
            }
            Ok(times)
        }
    }
}

/// Runs `case` on virtual time of its own.
fn simulate<T>(case: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(case)
}

/// Strikes those of the nodes that are one fleet with the observer, or what is between them and it.
async fn nodes(
    plan: &Plan,
    profile: Profile,
    rtt: Duration,
    fault: Fault,
    indexes: Range<u32>,
) -> anyhow::Result<Vec<Duration>> {
    let mut fleet = Fleet::new(SEED + u64::from(indexes.start));
    let mut tables = shared(profile);
    for index in indexes.clone().step_by(2) {
        writeln!(
            tables,
            "[[listen]]\nkind = \"udp\"\naddress = \"{}\"\nservice = \"sink\"\n\
             to = {{ node = \"far/{index}\" }}",
            listen(index),
        )?;
    }
    let observer = fleet.add("near", "observer", &tables);
    let tables = shared(profile) + SINK;
    let mut peers = Vec::new();
    for index in indexes.clone() {
        let peer = fleet.add("far", &index.to_string(), &tables);
        fleet.delay(observer, peer, rtt / 2);
        let (id, address) = (fleet.id(peer).clone(), fleet.address(peer).to_string());
        fleet.add_peer(observer, &id, &[address]);
        peers.push(peer);
    }
    fleet.start_all().await;
    let linked = || peers.iter().all(|peer| fleet.linked(observer, *peer));
    fleet.until("all are linked", LINKED_WITHIN, linked).await;
    let _traffic = send_traffic(&fleet, observer, indexes.clone())?;
    sleep(plan.settle).await;

    let now = clock::now();
    let (sim, near) = (&fleet.sim, fleet.machine(observer));
    let struck = peers.iter().zip(indexes).map(|(peer, index)| {
        let (peer, far) = (
            watched(&fleet, observer, fleet.key(*peer)),
            fleet.machine(*peer),
        );
        let strike = move || {
            match fault {
                Fault::Frozen => far.freeze(),
                Fault::BlackHole => sim.cut_both(near, far),
                Fault::Forward => sim.cut(near, far),
                Fault::Back | Fault::Wedged(_) => sim.cut(far, near),
            }
            Ok(())
        };
        let at = now + profile.moment(index, plan.simulated);
        async move { time_to_down(&*peer?, at, strike).await }
    });
    try_join_all(struck).await
}

/// Strikes one loop of peers that are links and nothing else.
async fn wedged(
    plan: &Plan,
    profile: Profile,
    rtt: Duration,
    wedge: Wedge,
) -> anyhow::Result<Vec<Duration>> {
    let mut fleet = Fleet::new(SEED);
    let observer = fleet.add("near", "observer", &shared(profile));
    fleet.start(observer).await;
    let mut peers = Vec::new();
    for index in 0..plan.simulated {
        let raw = Raw::new(&fleet, "far", &format!("peer-{index}"));
        let model = PairModel::delayed(rtt / 2);
        fleet
            .sim
            .set_pair_both(fleet.machine(observer), &raw.host, model);
        let hello = raw.hello(raw.next_link());
        let link = raw.dial_with(fleet.address(observer), hello).await?;
        let switch = Switch::default();
        let serving = responder::serve(raw.id.clone(), link, wedge, switch.clone());
        drop(raw.host.spawn(serving));
        peers.push((raw, switch));
    }
    let key = |raw: &Raw| raw.id.key();
    let links = &fleet.mesh(observer).links;
    let linked = || peers.iter().all(|(raw, _)| links.get(key(raw)).is_some());
    fleet.until("all are linked", LINKED_WITHIN, linked).await;
    sleep(plan.settle).await;

    let now = clock::now();
    let struck = peers.iter().zip(0..).map(|((raw, switch), index)| {
        let peer = watched(&fleet, observer, key(raw));
        let at = now + profile.moment(index, plan.simulated);
        let strike = || {
            switch.strike();
            Ok(())
        };
        async move { time_to_down(&*peer?, at, strike).await }
    });
    try_join_all(struck).await
}

fn watched(fleet: &Fleet, observer: Member, peer: NodeKey) -> anyhow::Result<Arc<Peer>> {
    let peers = fleet.mesh(observer).links.snapshot();
    peers.get(&peer).cloned().context("the peer is not known")
}

/// A program beside the observer that sends to every peer that has a listen.
fn send_traffic(fleet: &Fleet, observer: Member, indexes: Range<u32>) -> anyhow::Result<Host> {
    let host = fleet.program(observer);
    let socket = host.bind_udp(([127, 0, 0, 1], 0).into())?;
    drop(host.spawn(async move {
        loop {
            for index in indexes.clone().step_by(2) {
                // What the node does not take is lost, as on any socket.
                let _ = socket.try_send_to(&[0; PACKET_BYTES], listen(index));
            }
            sleep(PACKET_EVERY).await;
        }
    }));
    Ok(host)
}

fn shared(profile: Profile) -> String {
    format!("[shared]\nliveness = \"{}\"\n", profile.word())
}

/// Where the observer takes packets for a peer.
fn listen(index: u32) -> SocketAddr {
    ([127, 0, 0, 1], 6_000 + index as u16).into()
}

/// Nobody listens there, which is no matter: the link is what has traffic.
const SINK: &str = r#"
[[service]]
name = "sink"
kind = "udp"
address = "127.0.0.1:5000"
allow = ["spiffe://example.org/region/near/node/*"]
"#;
/// A voice call.
const PACKET_EVERY: Duration = Duration::from_millis(20);
const PACKET_BYTES: usize = 160;
const LINKED_WITHIN: Duration = Duration::from_secs(30);
/// How many peers are one fleet with an observer: each also has a link to every other, and what is
/// simulated grows with the square.
const FLEET: usize = 20;
const SEED: u64 = 5;
