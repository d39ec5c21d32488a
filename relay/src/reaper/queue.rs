//! A bounded queue of things that all have the same time left.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Things in the order of their arrival, which is that of their deadlines. Pure.
///
/// `now` must never go backwards between calls.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: BTreeMap<u64, (Instant, T)>,
    next_id: u64,
    grace: Duration,
    limit: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(grace: Duration, limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            next_id: 0,
            grace,
            limit,
        }
    }

    /// Adds `entry`; returns the oldest if it had to make room.
    pub(super) fn push(&mut self, now: Instant, entry: T) -> Option<T> {
        let oldest = if self.entries.len() >= self.limit {
            self.entries.pop_first().map(|(_, (_, entry))| entry)
        } else {
            None
        };
        let id = self.next_id;
        self.next_id += 1;
        self.entries.insert(id, (now + self.grace, entry));
        oldest
    }

    /// The id that the next entry will have; ids grow by one.
    pub(super) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// The entries from `id` on, in the order of their arrival.
    pub(super) fn since(&mut self, id: u64) -> impl Iterator<Item = (u64, &mut T)> {
        self.entries
            .range_mut(id..)
            .map(|(id, (_, entry))| (*id, entry))
    }

    /// `None` if it is no longer there.
    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        self.entries.remove(&id).map(|(_, entry)| entry)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().next().map(|(deadline, _)| *deadline)
    }

    /// Takes out what has no time left, oldest first.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            expired.extend(self.entries.pop_first().map(|(_, (_, entry))| entry));
        }
        expired
    }

    /// Takes out everything, oldest first.
    pub(super) fn drain(&mut self) -> Vec<T> {
        std::mem::take(&mut self.entries)
            .into_values()
            .map(|(_, entry)| entry)
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn the_limit_is_held_and_one_more_pushes_out_the_oldest() {
        let now = clock::now();
        let mut queue = Queue::new(GRACE, 2);
        assert_eq!(queue.push(now, 'a'), None);
        assert_eq!(queue.push(now, 'b'), None);
        assert_eq!(queue.push(now, 'c'), Some('a'));
        assert_eq!(queue.drain(), ['b', 'c']);
    }

    #[test]
    fn entries_expire_at_the_end_of_their_grace_and_not_before() {
        let now = clock::now();
        let later = now + Duration::from_secs(1);
        let mut queue = Queue::new(GRACE, 9);
        let first = queue.next_id();
        queue.push(now, 'a');
        queue.push(now, 'b');
        queue.push(later, 'c');
        assert_eq!(queue.since(first + 1).count(), 2);
        assert_eq!(queue.expire(now + GRACE - Duration::from_nanos(1)), []);
        assert_eq!(queue.remove(first), Some('a'));
        assert_eq!(queue.expire(now + GRACE), ['b']);
        assert_eq!(queue.next_deadline(), Some(later + GRACE));
        assert_eq!(queue.remove(first), None);
        assert_eq!(queue.len(), 1);
    }
}
