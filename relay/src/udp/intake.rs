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
}

impl Intake {
    pub(crate) fn new(socket: Arc<dyn LocalUdp>) -> Self {
        Self { socket, rest: None }
    }

    /// Waits for packets; those that were kept come first, after everybody else had a turn.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<Received> {
        if self.rest.is_some() {
            tokio::task::yield_now().await;
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

    /// Keeps what there was no time for.
    pub(crate) fn keep(&mut self, rest: Received) {
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

    fn take(received: &mut Received, packets: usize) {
        for _ in 0..packets {
            received.next_packet().unwrap();
        }
    }

    #[tokio::test]
    async fn rest_of_a_batch_waits_for_the_others_to_have_a_turn_and_is_not_lost() {
        let mut intake = Intake::new(Arc::new(Socket(AtomicUsize::new(BURST + 1))));
        let mut received = intake.next().await.unwrap();
        take(&mut received, BURST);
        intake.keep(received);
        assert!(intake.next().now_or_never().is_none());
        let mut rest = intake.next().await.unwrap();
        assert_eq!(rest.left(), (1, 1));
        take(&mut rest, 1);
        intake.keep(rest);
        assert!(intake.rest.is_none());
        assert!(intake.now().is_none());
    }
}
