use std::time::Duration;

use super::{
    testing::{Fleet, Local, config, id, local, peer, seed, until},
    *,
};
use crate::{
    code::FlowCode,
    counts::PacketDrop,
    deadline::testnet::{after, sleep},
    env::{LocalUdp, PacketRun},
    link::Link,
    udp::intake::Intake,
    wire::{Direction, Frame},
};

const SERVICE: &str = "[[service]]\nname = \"game\"\nkind = \"udp\"\naddress = \"127.0.0.1:7\"\n\
    allow = [\"spiffe://example.org/region/*/node/*\"]\n";
const LISTEN: &str = "[[listen]]\nkind = \"udp\"\naddress = \"127.0.0.1:6\"\nservice = \"game\"\n\
    to = { node = \"r/n2\" }\n";

/// A client of node 1 that has a flow to a service of node 2.
struct Flow {
    near: Node,
    far: Node,
    client: Arc<dyn LocalUdp>,
    service: Arc<dyn LocalUdp>,
    /// Where the service sees the client.
    seen_at: SocketAddr,
    /// Where the service runs.
    far_host: Arc<Local>,
}

impl Flow {
    async fn open() -> Self {
        let fleet = Fleet::new();
        let far = fleet.start(2, SERVICE).await;
        let near = fleet.start(1, &format!("{}{LISTEN}", peer(2))).await;
        let service = far.mesh.env.local.bind_udp(local(7)).unwrap();
        let client = near.mesh.env.local.bind_udp(local(0)).unwrap();
        until("a link", || near.mesh.links.get(id(2).key()).is_some()).await;
        send(&client, &[0], local(6));
        let (_, seen_at) = take(&service).await.unwrap();
        Self {
            near,
            far,
            client,
            service,
            seen_at,
            far_host: fleet.host(2),
        }
    }

    fn link(&self) -> Arc<Link> {
        self.near.mesh.links.get(id(2).key()).unwrap()
    }

    async fn end(self) {
        for node in [self.near, self.far] {
            let overdue = node.shutdown(after(2_000)).await;
            assert!(overdue.is_empty(), "{overdue:?}");
        }
    }
}

/// The first byte of the next packet and its sender; `None` if there is none within 100 ms.
async fn take(socket: &Arc<dyn LocalUdp>) -> Option<(u8, SocketAddr)> {
    take_within(100, socket).await
}

async fn take_within(millis: u64, socket: &Arc<dyn LocalUdp>) -> Option<(u8, SocketAddr)> {
    let mut intake = Intake::new(socket.clone());
    let received = tokio::time::timeout_at(after(millis).into(), intake.next());
    let mut received = received.await.ok()?.unwrap();
    let (from, packet) = received.next_packet().unwrap();
    let first = packet[0];
    assert_eq!(received.left().0, 0, "more than one packet");
    Some((first, from))
}

fn send(socket: &Arc<dyn LocalUdp>, packet: &[u8], to: SocketAddr) {
    socket.try_send_run(PacketRun::one(packet), to).unwrap();
}

#[tokio::test(start_paused = true)]
async fn flow_whose_client_is_silent_moves_to_the_next_link_and_stays_the_same_client() {
    let flow = Flow::open().await;
    send(&flow.service, &[1], flow.seen_at);
    assert_eq!(take(&flow.client).await, Some((1, local(6))));
    flow.link().close(CloseCode::Silent, "");
    let mut lost = 0;
    while {
        send(&flow.service, &[2], flow.seen_at);
        take(&flow.client).await.is_none()
    } {
        lost += 1;
        assert!(lost < 20, "the flow did not move");
    }
    // What the client sends comes from the same socket as before.
    send(&flow.client, &[3], local(6));
    assert_eq!(take(&flow.service).await, Some((3, flow.seen_at)));
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn planned_replacement_of_a_link_loses_and_delays_no_packet() {
    let flow = Flow::open().await;
    let before = flow.link();
    // The seeker brings a second link, which takes over.
    let configured = format!("{}{}{LISTEN}", seed(2), peer(2).replace(":2\"", ":3\""));
    flow.near.reload(&config(1, &configured)).await;
    for number in 0..200 {
        let there = [number, 1];
        send(&flow.client, &there, local(6));
        send(&flow.service, &there, flow.seen_at);
        // One way is 10 ms; held for an opening, it would be 30.
        sleep(13).await;
        let (there, back) = (take_within(2, &flow.service), take_within(2, &flow.client));
        assert_eq!(there.await.map(|(n, _)| n), Some(number));
        assert_eq!(back.await.map(|(n, _)| n), Some(number));
    }
    assert_ne!(flow.link().generation, before.generation);
    let deadline = clock::now() + Duration::from_secs(5);
    while !before.has_ended() {
        assert!(clock::now() < deadline, "the old link is still there");
        sleep(10).await;
    }
    send(&flow.client, &[201], local(6));
    assert_eq!(take(&flow.service).await, Some((201, flow.seen_at)));
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn flow_that_the_egress_has_lost_is_opened_again_by_its_next_packet() {
    let flow = Flow::open().await;
    flow.link().send_frame(Frame::CloseFlow {
        flow: 0,
        direction: Direction::Forward,
        code: FlowCode::Idle,
    });
    sleep(100).await;
    send(&flow.client, &[1], local(6));
    assert_eq!(take(&flow.service).await, None);
    let unknown = |node: &Node| {
        node.mesh
            .counts
            .packets_dropped
            .value(PacketDrop::UnknownFlow)
    };
    assert_eq!(unknown(&flow.far), 1);
    send(&flow.client, &[2], local(6));
    assert_eq!(take(&flow.service).await.map(|(n, _)| n), Some(2));
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn flow_whose_ingress_has_died_ends_though_its_service_goes_on_sending() {
    let flow = Flow::open().await;
    let opened = || flow.far.tasks().list(clock::now()).into_iter();
    assert_eq!(
        opened().filter(|task| task.name == "udp service").count(),
        1
    );
    // No drain, no close of the flow: the node is gone.
    for node in [flow.near] {
        node.shutdown(after(2_000)).await;
    }
    for _ in 0..130 {
        send(&flow.service, &[1], flow.seen_at);
        sleep(1_000).await;
    }
    assert_eq!(
        opened().filter(|task| task.name == "udp service").count(),
        0
    );
    flow.far.shutdown(after(2_000)).await;
}

#[tokio::test(start_paused = true)]
async fn packets_that_come_together_leave_together_at_the_far_end_too() {
    let flow = Flow::open().await;
    for count in [1, 30, 60] {
        let before = flow.far_host.sends_to(7);
        flow.client
            .try_send_run(PacketRun::new(&vec![1; 100 * count], 100), local(6))
            .unwrap();
        sleep(500).await;
        let mut intake = Intake::new(flow.service.clone());
        let mut received = 0;
        while let Some(batch) = intake.now() {
            received += batch.unwrap().left().0;
        }
        assert_eq!(received, count);
        assert_eq!(flow.far_host.sends_to(7) - before, 1);
    }
    flow.end().await;
}
