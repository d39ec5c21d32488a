//! Ids of probes on their way from one task of a link to another.
//!
//! There are a few a second on every link, used or not: a channel would hold a kilobyte for them.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// A queue for at most `room` ids, between two tasks of one thread.
pub(super) fn queue(room: usize) -> (ProbesIn, ProbesOut) {
    let shared = Arc::new(Shared {
        ids: Mutex::default(),
        room,
        reader: AtomicWaker::new(),
    });
    (ProbesIn(shared.clone()), ProbesOut(shared))
}

/// Takes ids.
#[derive(Debug)]
pub(super) struct ProbesIn(Arc<Shared>);

/// Gives them in the same order.
#[derive(Debug)]
pub(super) struct ProbesOut(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ids: Mutex<VecDeque<u64>>,
    room: usize,
    reader: AtomicWaker,
}

impl ProbesIn {
    /// `false` if there is no room for it.
    pub(super) fn push(&self, id: u64) -> bool {
        let Shared { ids, room, reader } = &*self.0;
        let mut ids = ids.lock();
        let takes = ids.len() < *room;
        if takes {
            ids.push_back(id);
        }
        drop(ids);
        reader.wake();
        takes
    }
}

impl ProbesOut {
    /// The next id; waits for ever once nobody pushes any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> u64 {
        poll_fn(|cx| {
            // Before the look: an id that is pushed after it wakes this task.
            self.0.reader.register(cx.waker());
            match self.0.ids.lock().pop_front() {
                Some(id) => Poll::Ready(id),
                None => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn ids_come_in_order_and_one_over_the_room_is_refused() {
        let (probes_in, mut probes_out) = queue(2);
        assert!(probes_in.push(1) && probes_in.push(2));
        assert!(!probes_in.push(3));
        assert_eq!(probes_out.next().now_or_never(), Some(1));
        assert!(probes_in.push(4));
        assert_eq!(probes_out.next().now_or_never(), Some(2));
        assert_eq!(probes_out.next().now_or_never(), Some(4));
        assert_eq!(probes_out.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn reader_that_waits_is_woken_by_the_next_id() {
        let (probes_in, mut probes_out) = queue(1);
        let push = async {
            tokio::task::yield_now().await;
            assert!(probes_in.push(7));
        };
        assert_eq!(tokio::join!(probes_out.next(), push), (7, ()));
    }
}
