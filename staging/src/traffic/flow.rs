//! The task that sends one flow of packets into a node and takes it out of another.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context;
use causeway::clock;
use tokio::{
    net::UdpSocket,
    sync::{oneshot, watch},
};

use super::{
    ledger::{FlowTotals, GRACE, Ledger},
    packet::{PACKET_BYTES, Packet},
    trace::Trace,
};

/// Between two packets of one flow: 50 a second.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// As often as anybody looks.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// One flow, both ends of it in this process.
#[derive(Debug)]
pub struct Flow {
    /// Tells its packets from those of other flows.
    pub id: u32,
    /// Connected to the listen of the near node.
    pub near: UdpSocket,
    /// Bound where the far node has its service.
    pub far: UdpSocket,
    /// The start of the run, from which packets are stamped.
    pub origin: Instant,
    /// When to send the first packet.
    pub start_at: Instant,
    /// When to send no more.
    pub stop_at: Instant,
    /// Who is told of every single packet once all have crossed.
    pub traced: Option<oneshot::Sender<Trace>>,
}

impl Flow {
    /// Sends and counts until `stop_at`, then waits for what is under way, at most [`GRACE`].
    ///
    /// The account is published ten times a second, and once more at the end.
    ///
    /// # Errors
    /// One of the two sockets failed. That nobody listens is no error: those packets are lost.
    ///
    /// # Cancel safety
    /// Cancel safe: what was published stands.
    pub async fn run(self, published: watch::Sender<FlowTotals>) -> anyhow::Result<()> {
        let (mut ledger, mut trace) = (Ledger::default(), Trace::default());
        let mut next_send = self.start_at;
        let mut next_publish = self.start_at;
        let mut buffer = [0; PACKET_BYTES + 1];
        loop {
            let sending = next_send < self.stop_at;
            let timer = if sending {
                next_send
            } else {
                self.stop_at + GRACE
            };
            let wake = tokio::select! {
                biased;
                () = clock::sleep_until(Some(timer)) => Wake::Timer,
                received = self.far.recv(&mut buffer) => Wake::Received(received),
            };
            let now = clock::now();
            match wake {
                Wake::Timer if sending => {
                    let number = ledger.handle_sent(now);
                    trace.handle_sent(self.age(now));
                    self.send(now, number).await?;
                    // After a stall the missed ones are not made up for: that would be a burst.
                    next_send = (next_send + INTERVAL).max(now);
                }
                Wake::Timer => {
                    // A stall of this process is not a loss: what waits in the socket has arrived.
                    while let Ok(length) = self.far.try_recv(&mut buffer) {
                        self.handle_packet(now, &buffer[..length], &mut ledger, &mut trace);
                    }
                    break;
                }
                Wake::Received(received) => {
                    let length = received.context("the socket of a service failed")?;
                    self.handle_packet(now, &buffer[..length], &mut ledger, &mut trace);
                }
            }
            ledger.handle_timeout(now);
            if now >= next_publish {
                published.send_replace(ledger.totals());
                next_publish = now + PUBLISH_INTERVAL;
            }
            if next_send >= self.stop_at && ledger.is_settled() {
                break;
            }
        }
        ledger.close();
        published.send_replace(ledger.totals());
        if let Some(traced) = self.traced {
            // Who asked may have gone.
            let _ = traced.send(trace);
        }
        Ok(())
    }

    async fn send(&self, now: Instant, number: u64) -> anyhow::Result<()> {
        let packet = Packet {
            flow: self.id,
            number,
            sent: self.age(now),
        };
        match self.near.send(&packet.encode()).await {
            // It answers an earlier packet: nothing is bound there. That shows as loss.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            sent => sent
                .map(drop)
                .context("a packet could not be sent to a listen"),
        }
    }

    fn handle_packet(&self, now: Instant, bytes: &[u8], ledger: &mut Ledger, trace: &mut Trace) {
        let Some(packet) = Packet::decode(bytes).filter(|packet| packet.flow == self.id) else {
            return;
        };
        let age = self.age(now);
        ledger.handle_arrival(packet.number, age.saturating_sub(packet.sent));
        trace.handle_arrival(packet.number, age);
    }

    /// How old the run is.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

enum Wake {
    Timer,
    Received(io::Result<usize>),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow of five packets whose near end talks to whoever is bound at the returned address.
    async fn five_packets() -> (Flow, UdpSocket) {
        let bind = || UdpSocket::bind("127.0.0.1:0");
        let (near, far, node) = (bind().await, bind().await, bind().await);
        let (near, far, node) = (near.unwrap(), far.unwrap(), node.unwrap());
        near.connect(node.local_addr().unwrap()).await.unwrap();
        let origin = clock::now();
        let flow = Flow {
            id: 3,
            near,
            far,
            origin,
            start_at: origin,
            stop_at: origin + 5 * INTERVAL - Duration::from_millis(1),
            traced: None,
        };
        (flow, node)
    }

    #[tokio::test]
    async fn all_that_is_passed_on_is_delivered_and_nothing_else() {
        let (flow, node) = five_packets().await;
        let far = flow.far.local_addr().unwrap();
        let (published, totals) = watch::channel(FlowTotals::default());
        let pass_on = async {
            let mut buffer = [0; 2 * PACKET_BYTES];
            loop {
                let length = node.recv(&mut buffer).await.unwrap();
                node.send_to(&buffer[..length], far).await.unwrap();
                node.send_to(b"from somebody else", far).await.unwrap();
            }
        };
        tokio::select! {
            ended = flow.run(published) => ended.unwrap(),
            () = pass_on => {}
        }
        let totals = *totals.borrow();
        assert!((1..=5).contains(&totals.sent), "{totals:?}");
        assert_eq!((totals.delivered, totals.lost), (totals.sent, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_passes_on_is_lost_and_waited_for_as_long_as_the_grace() {
        let (flow, _node) = five_packets().await;
        let (stop_at, (published, totals)) = (flow.stop_at, watch::channel(FlowTotals::default()));
        flow.run(published).await.unwrap();
        let totals = *totals.borrow();
        assert_eq!((totals.sent, totals.delivered, totals.lost), (5, 0, 5));
        assert_eq!(clock::now().duration_since(stop_at), GRACE);
    }
}
