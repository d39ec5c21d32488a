use std::{
    fs::File,
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::*;
use crate::lateness::Lateness;

/// A source that always has more, and a sink that takes it all.
struct Flood {
    zeros: File,
    turns: usize,
    handed_over: u64,
    stop: UnixStream,
}

const TURNS: usize = 1_000;
const EACH_TURN: usize = 1_024;
const BYTES: usize = 64;

impl Ports for Flood {
    type Packet = ();

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.zeros.as_fd()]
    }

    fn receive(
        &mut self,
        _: usize,
        _: &mut OwnDrops,
        mut take: impl FnMut(Arrived<()>),
    ) -> io::Result<()> {
        self.turns += 1;
        if self.turns >= TURNS {
            self.stop.write_all(b"x")?;
        }
        for _ in 0..EACH_TURN {
            take(Arrived {
                from: HostId(0),
                to: HostId(1),
                bytes: BYTES,
                packet: (),
            });
        }
        Ok(())
    }

    fn send(
        &mut self,
        deliveries: &mut Vec<Delivery<()>>,
        _: &mut OwnDrops,
        mut sent: impl FnMut(&Delivery<()>),
    ) {
        for delivery in deliveries.drain(..) {
            self.handed_over += 1;
            sent(&delivery);
        }
    }

    fn unread(&mut self) -> u64 {
        7
    }
}

#[test]
fn flood_is_handed_over_as_fast_as_it_is_read_and_fills_nothing() {
    let topology =
        "seed = 1\ndefault = \"delay 1ms\"\n[[host]]\nname = \"a\"\n[[host]]\nname = \"b\"";
    let reached_at = vec![Vec::new(), Vec::new()];
    let topology = topology.parse().unwrap();
    let mut emulator = Emulator::new(
        "flood",
        &topology,
        reached_at,
        Lateness::default(),
        clock::now(),
    );
    let (stop, stopped) = UnixStream::pair().unwrap();
    let mut flood = Flood {
        zeros: File::open("/dev/zero").unwrap(),
        turns: 0,
        handed_over: 0,
        stop,
    };
    let report = run(&mut flood, &mut emulator, None, stopped.as_fd()).unwrap();
    assert!(report.packets.received >= (TURNS * EACH_TURN) as u64);
    assert_eq!(report.packets.dropped_total(), 0, "{report:?}");
    assert!(report.packets.conserved);
    assert_eq!(report.packets.delivered, flood.handed_over);
    assert_eq!(report.lateness.count, flood.handed_over);
    // What was read in the last milliseconds, and not three quarters of it all.
    let all = (TURNS * EACH_TURN * (BYTES + 128)) as u64;
    assert!(report.queued_bytes_max < all / 10, "{report:?}");
    assert_eq!(report.own_drops["unread"], 7);
}
