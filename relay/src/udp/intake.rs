//! Reads a local socket in batches, and hands them to its task a burst at a time.

use std::{cell::Cell, io, net::SocketAddr, sync::Arc};

use futures_util::FutureExt as _;

use crate::env::{LocalUdp, UdpBatch};

/// Packets that were received together. Its memory goes back to be used again.
#[derive(Debug)]
pub(crate) struct Received(Option<Box<UdpBatch>>);

thread_local! {
    /// Memory for the next batch. A task has a batch only while it works on it, so that sockets
    /// which wait, thousands of them, have none; and one for each thread is nearly always enough.
    static SPARE: Cell<Option<Box<UdpBatch>>> = const { Cell::new(None) };
}

impl Received {
    fn empty() -> Self {
        Self(Some(SPARE.take().unwrap_or_default()))
    }

    fn batch(&mut self) -> &mut UdpBatch {
        self.0.as_mut().expect("it is there until the drop")
    }

    /// Takes the next packet, with its sender.
    pub(crate) fn next_packet(&mut self) -> Option<(SocketAddr, &[u8])> {
        self.batch().next_packet()
    }

    /// How many packets are left, and their bytes.
    pub(crate) fn left(&self) -> (usize, usize) {
        self.0.as_ref().map_or((0, 0), |batch| batch.left())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        SPARE.set(self.0.take());
    }
}

/// The packets that one local socket receives.
#[derive(Debug)]
pub(crate) struct Intake {
    socket: Arc<dyn LocalUdp>,
    /// What a turn did not get to.
    rest: Option<Received>,
    /// The last turn took all that it may: others come first now.
    gives_way: bool,
}

impl Intake {
    pub(crate) fn new(socket: Arc<dyn LocalUdp>) -> Self {
        Self {
            socket,
            rest: None,
            gives_way: false,
        }
    }

    /// Waits for packets; after a whole burst, everybody else has a turn first.
    ///
    /// A socket that always has packets would not let go of the thread by itself for a dozen
    /// bursts, and what carries them on has room for a few.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<Received> {
        if self.gives_way {
            tokio::task::yield_now().await;
            self.gives_way = false;
        }
        match self.rest.take() {
            Some(rest) => Ok(rest),
            None => receive(&*self.socket).await,
        }
    }

    /// The packets that have come meanwhile, if there are any.
    pub(crate) fn now(&mut self) -> Option<io::Result<Received>> {
        receive(&*self.socket).now_or_never()
    }

    /// Ends a turn that took a whole burst; keeps what there was no time for.
    pub(crate) fn give_way(&mut self, rest: Received) {
        self.gives_way = true;
        self.rest = Some(rest).filter(|rest| rest.left().0 > 0);
    }
}

/// Waits for packets of local programs. Cancel safe.
async fn receive(socket: &dyn LocalUdp) -> io::Result<Received> {
    std::future::poll_fn(|cx| {
        let mut received = Received::empty();
        let ready = socket.poll_recv_batch(cx, received.batch());
        ready.map_ok(|()| received)
    })
    .await
}

/// Packets that a task takes from its socket in one turn; then its other inputs, and the tasks that
/// carry the packets on, get theirs. A fifth of what a link's outbox takes at once.
pub(crate) const BURST: usize = 64;

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll},
    };

    use super::*;
    use crate::env::PacketRun;

    /// Has so many packets of one byte, which come as one.
    #[derive(Debug)]
    struct Socket(AtomicUsize);

    impl LocalUdp for Socket {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 7)))
        }

        fn poll_recv_batch(
            &self,
            _: &mut Context<'_>,
            batch: &mut UdpBatch,
        ) -> Poll<io::Result<()>> {
            batch.clear();
            match self.0.swap(0, Ordering::Relaxed) {
                0 => Poll::Pending,
                packets => {
                    batch.add(self.local_addr()?, packets, 1);
                    Poll::Ready(Ok(()))
                }
            }
        }

        fn try_send_run(&self, _: PacketRun<'_>, _: SocketAddr) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    fn take_packets(received: &mut Received, packets: usize) {
        for _ in 0..packets {
            received.next_packet().unwrap();
        }
    }

    #[tokio::test]
    async fn others_have_a_turn_after_a_whole_burst_and_its_rest_is_not_lost() {
        let socket = Arc::new(Socket(AtomicUsize::new(BURST + 1)));
        let mut intake = Intake::new(socket.clone());
        let mut received = intake.next().await.unwrap();
        take_packets(&mut received, BURST);
        intake.give_way(received);
        assert!(intake.next().now_or_never().is_none());
        let mut rest = intake.next().await.unwrap();
        assert_eq!(rest.left(), (1, 1));
        take_packets(&mut rest, 1);
        intake.give_way(rest);
        assert!(intake.rest.is_none());
        assert!(intake.now().is_none());
        // What came meanwhile waits, too.
        socket.0.store(1, Ordering::Relaxed);
        assert!(intake.next().now_or_never().is_none());
        assert_eq!(intake.next().await.unwrap().left(), (1, 1));
        // Now that the others had it, there is no more need to wait.
        socket.0.store(1, Ordering::Relaxed);
        assert!(intake.next().now_or_never().is_some());
    }
}
