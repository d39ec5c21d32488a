//! How many TCP streams a node carries at once, and how many of them one party may hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for the TCP streams of all listens and of all peers.
///
/// A party (one listen, or one link whose peer asks for services) may hold at most as many streams
/// as are free besides. So one whose far end never answers, or that never ends what it began, takes
/// half of the room, the next such one half of what is left, and there is always some for another.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    streams: usize,
}

/// What one party holds.
#[derive(Debug, Default)]
pub(crate) struct Share(Arc<AtomicUsize>);

/// One stream's place. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    held: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    /// - `streams`: of all parties together.
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(streams)),
            streams,
        }
    }

    /// Places that are taken.
    pub(crate) fn held(&self) -> usize {
        self.streams - self.free.available_permits()
    }

    /// A place for one more stream of the party of `share`; `None` if it has its part.
    pub(crate) fn take(&self, share: &Share) -> Option<Place> {
        // Parties of other workers may take at the same time: the part is then off by a few places.
        if share.0.load(Ordering::Relaxed) >= self.free.available_permits() {
            return None;
        }
        let permit = self.free.clone().try_acquire_owned().ok()?;
        share.0.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            held: share.0.clone(),
            _permit: permit,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &Room, share: &Share) -> Vec<Place> {
        std::iter::from_fn(|| room.take(share)).collect()
    }

    #[test]
    fn greedy_parties_leave_as_much_as_each_of_them_holds() {
        let room = Room::new(1_024);
        let shares: [Share; 3] = Default::default();
        let first = fill(&room, &shares[0]);
        assert_eq!(first.len(), 512);
        let second = fill(&room, &shares[1]);
        assert_eq!(second.len(), 256);
        assert!(room.take(&shares[0]).is_none());
        assert_eq!(fill(&room, &shares[2]).len(), 128);
        drop((first, second));
        assert_eq!(fill(&room, &shares[2]).len(), 512);
    }

    #[test]
    fn room_for_one_stream_is_room_for_one() {
        let room = Room::new(1);
        let (one, other) = (Share::default(), Share::default());
        let place = room.take(&one);
        assert!(place.is_some());
        assert!(room.take(&other).is_none());
        drop(place);
        assert!(room.take(&other).is_some());
    }
}
