use std::{
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
};

use parking_lot::Mutex;

use super::*;
use crate::{
    clock,
    env::{LocalUdp, UdpBatch},
    id::{NodeGeneration, NodeKey},
    telemetry::Metrics,
    udp::Activity,
};

/// Notes each call and the packets that it sends; takes `room` packets and no more.
#[derive(Debug)]
struct Socket {
    calls: Mutex<Vec<Vec<Vec<u8>>>>,
    room: Mutex<usize>,
    /// The call that fails as if a packet before it had not found its port.
    refuse: Option<usize>,
}

impl LocalUdp for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address())
    }

    fn poll_recv_batch(&self, _: &mut Context<'_>, _: &mut UdpBatch) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn try_send_run(&self, run: PacketRun<'_>, _: SocketAddr) -> io::Result<usize> {
        let mut calls = self.calls.lock();
        if self.refuse == Some(calls.len()) {
            calls.push(Vec::new());
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = run.len().min(*room);
        *room -= sent;
        let packets = (0..sent).map(|index| run.packet(index).unwrap().to_vec());
        calls.push(packets.collect());
        Ok(sent)
    }
}

fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7))
}

struct Fixture {
    counts: Counts,
    deliveries: Deliveries,
    sockets: Vec<Arc<Socket>>,
    sinks: Vec<Arc<FlowSink>>,
}

impl Fixture {
    fn new(flows: usize) -> Self {
        Self::with_sockets(flows, usize::MAX, None)
    }

    fn with_sockets(flows: usize, room: usize, refuse: Option<usize>) -> Self {
        let socket = || {
            Arc::new(Socket {
                calls: Mutex::default(),
                room: Mutex::new(room),
                refuse,
            })
        };
        let sockets: Vec<Arc<Socket>> = (0..flows).map(|_| socket()).collect();
        let sink = |socket: &Arc<Socket>| {
            Arc::new(FlowSink {
                socket: socket.clone(),
                to: address(),
                activity: Arc::new(Activity::new(clock::now())),
            })
        };
        Self {
            counts: Counts::new(&Metrics::new()),
            deliveries: Deliveries::default(),
            sinks: sockets.iter().map(sink).collect(),
            sockets,
        }
    }

    fn push(&mut self, flow: usize, payload: &[u8]) {
        let id = FlowId {
            ingress: NodeKey([0; NodeKey::LEN]),
            generation: NodeGeneration(1),
            number: flow as u32,
        };
        let found = self.deliveries.find(Direction::Forward, id);
        let place = found.unwrap_or_else(|| {
            let sink = self.sinks[flow].clone();
            self.deliveries.add(Direction::Forward, id, sink)
        });
        self.deliveries.push(place, Bytes::copy_from_slice(payload));
    }

    fn flush(&mut self) {
        self.deliveries.flush(clock::now(), &self.counts);
    }

    /// The lengths of the packets of each call.
    fn calls(&self, flow: usize) -> Vec<Vec<usize>> {
        let calls = self.sockets[flow].calls.lock();
        let lengths = |call: &Vec<Vec<u8>>| call.iter().map(Vec::len).collect();
        calls.iter().map(lengths).collect()
    }

    fn counted(&self) -> (u64, [u64; 2]) {
        let reasons = [PacketDrop::LocalFull, PacketDrop::LocalRefused];
        (
            self.counts.packets_delivered.value(),
            reasons.map(|why| self.counts.packets_dropped.value(why)),
        )
    }
}

#[test]
fn packets_of_one_turn_leave_in_one_call_for_each_destination() {
    let mut t = Fixture::new(3);
    for number in 0..20u8 {
        for flow in 0..3 {
            t.push(flow, &[number, flow as u8]);
        }
    }
    t.flush();
    for flow in 0..3 {
        let calls = t.sockets[flow].calls.lock();
        let expected: Vec<Vec<u8>> = (0..20).map(|number| vec![number, flow as u8]).collect();
        assert_eq!(*calls, [expected]);
    }
    assert_eq!(t.counted(), (60, [0, 0]));
    // Nothing is sent twice.
    t.flush();
    assert_eq!(t.counted(), (60, [0, 0]));
}

#[test]
fn run_ends_with_a_shorter_packet_and_before_a_longer_or_an_empty_one() {
    let mut t = Fixture::new(1);
    for length in [4, 4, 3, 4, 5, 5, 0, 0, 5] {
        t.push(0, &vec![1; length]);
    }
    t.flush();
    let expected: [&[usize]; 6] = [&[4, 4, 3], &[4], &[5, 5], &[0], &[0], &[5]];
    assert_eq!(t.calls(0), expected);
}

#[test]
fn run_is_at_most_what_one_call_takes() {
    let mut t = Fixture::new(1);
    for _ in 0..7 {
        t.push(0, &[1; MAX_RUN_BYTES / 3]);
    }
    t.flush();
    let lengths: Vec<usize> = t.calls(0).iter().map(Vec::len).collect();
    assert_eq!(lengths, [3, 3, 1]);
}

#[test]
fn what_a_full_socket_does_not_take_is_dropped_and_counted() {
    let mut t = Fixture::with_sockets(1, 3, None);
    for length in [2, 2, 2, 2, 9, 9] {
        t.push(0, &vec![1; length]);
    }
    t.flush();
    assert_eq!(t.counted(), (3, [3, 0]));
}

#[test]
fn refusal_costs_one_packet_and_not_those_behind_it() {
    let mut t = Fixture::with_sockets(1, usize::MAX, Some(0));
    for _ in 0..5 {
        t.push(0, b"ab");
    }
    t.flush();
    assert_eq!(t.counted(), (4, [0, 1]));
}
