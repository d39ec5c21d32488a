//! The backlog of one link: pure, owned by its pump.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Class;

/// Packets that wait, probes before data, each class in the order of its arrival.
#[derive(Debug, Default)]
pub(super) struct Queue {
    probes: VecDeque<Bytes>,
    data: VecDeque<Bytes>,
    data_bytes: usize,
}

impl Queue {
    /// Adds a packet; returns how many of its class, the oldest, were dropped to make room.
    ///
    /// - `packet`: at most [`MAX_DATA_BYTES`].
    pub(super) fn push(&mut self, class: Class, packet: Bytes) -> usize {
        match class {
            Class::Probe => {
                self.probes.push_back(packet);
                drop_while(&mut self.probes, |probes| probes.len() > MAX_PROBES)
            }
            Class::Data => {
                self.data_bytes += packet.len();
                self.data.push_back(packet);
                let mut dropped = 0;
                while self.data.len() > MAX_DATA_PACKETS || self.data_bytes > MAX_DATA_BYTES {
                    self.pop(Class::Data);
                    dropped += 1;
                }
                dropped
            }
        }
    }

    /// The packet whose turn it is, with data left out if `held`.
    pub(super) fn front(&self, held: bool) -> Option<(Class, &Bytes)> {
        let data = if held { None } else { self.data.front() };
        self.probes
            .front()
            .map(|probe| (Class::Probe, probe))
            .or_else(|| data.map(|packet| (Class::Data, packet)))
    }

    /// Takes the first packet of `class` out.
    pub(super) fn pop(&mut self, class: Class) {
        match class {
            Class::Probe => {
                self.probes.pop_front();
            }
            Class::Data => {
                self.data_bytes -= self.data.pop_front().map_or(0, |packet| packet.len());
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.probes.len() + self.data.len()
    }
}

fn drop_while(packets: &mut VecDeque<Bytes>, full: impl Fn(&VecDeque<Bytes>) -> bool) -> usize {
    let before = packets.len();
    while full(packets) {
        packets.pop_front();
    }
    before - packets.len()
}

/// With [`MAX_DATA_BYTES`], 0.4 s at 10 Mbit/s: older real-time packets are of no use to anybody.
pub const MAX_DATA_PACKETS: usize = 512;

/// Bounds the memory of a link; 512 packets that fill a path of 1,200 bytes are a little more.
pub const MAX_DATA_BYTES: usize = 512 * 1024;

/// Three seconds of probes and of replies; none that waited longer proves anything.
pub const MAX_PROBES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16, bytes: usize) -> Bytes {
        let mut packet = vec![0; bytes.max(2)];
        packet[..2].copy_from_slice(&number.to_be_bytes());
        packet.into()
    }

    fn drain(queue: &mut Queue) -> Vec<(Class, u16)> {
        let mut drained = Vec::new();
        while let Some((class, packet)) = queue.front(false) {
            drained.push((class, u16::from_be_bytes([packet[0], packet[1]])));
            queue.pop(class);
        }
        drained
    }

    #[test]
    fn probes_come_first_and_each_class_in_its_order() {
        let mut queue = Queue::default();
        let expected = [
            (Class::Probe, 0),
            (Class::Probe, 1),
            (Class::Data, 0),
            (Class::Data, 1),
        ];
        for number in 0..2 {
            queue.push(Class::Data, packet(number, 100));
            queue.push(Class::Probe, packet(number, 100));
        }
        assert_eq!(drain(&mut queue), expected);
        assert_eq!((queue.len(), queue.data_bytes), (0, 0));
    }

    #[test]
    fn data_is_held_back_and_probes_are_not() {
        let mut queue = Queue::default();
        queue.push(Class::Data, packet(0, 100));
        assert!(queue.front(true).is_none());
        queue.push(Class::Probe, packet(1, 100));
        assert_eq!(queue.front(true).unwrap().0, Class::Probe);
    }

    #[test]
    fn the_limit_of_packets_fits_and_one_more_drops_the_oldest() {
        for (class, limit) in [(Class::Data, MAX_DATA_PACKETS), (Class::Probe, MAX_PROBES)] {
            let mut queue = Queue::default();
            let limit = u16::try_from(limit).unwrap();
            for number in 0..limit {
                assert_eq!(queue.push(class, packet(number, 10)), 0);
            }
            assert_eq!(queue.push(class, packet(limit, 10)), 1);
            let left = drain(&mut queue);
            assert_eq!((left.len(), left[0]), (usize::from(limit), (class, 1)));
        }
    }

    #[test]
    fn the_limit_of_bytes_fits_and_one_more_drops_as_many_of_the_oldest_as_it_takes() {
        let mut queue = Queue::default();
        for number in 0..512 {
            assert_eq!(queue.push(Class::Data, packet(number, 1_024)), 0);
        }
        queue.pop(Class::Data);
        assert_eq!(queue.push(Class::Data, packet(512, 1_024)), 0);
        queue.pop(Class::Data);
        assert_eq!(queue.push(Class::Data, packet(513, 1_025)), 1);
        assert_eq!(queue.push(Class::Data, packet(514, 10_000)), 9);
    }
}
