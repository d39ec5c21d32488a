//! The forwarder of a lab: every packet that leaves a region comes through here.

use std::{
    fs::File,
    io::{self, ErrorKind},
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use bytes::Bytes;

use super::{Addresses, EnterError, Namespace, Tun, addresses, payload_offset, tun::DEVICE};
use crate::{
    engine::{Delivery, HostId},
    realtime::{Arrived, Ports},
    report::{OwnDrop, OwnDrops},
};

/// The TUN device of each region.
#[derive(Debug)]
pub(super) struct Forwarder {
    regions: Vec<Region>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Region {
    tun: Tun,
    addresses: Addresses,
    /// The counters of the region's devices, whatever namespace they are read in.
    devices: File,
}

impl Forwarder {
    pub(super) fn new() -> Self {
        Self {
            regions: Vec::new(),
            buffer: vec![0; MAX_PACKET_BYTES],
        }
    }

    pub(super) fn add(
        &mut self,
        namespace: &Namespace,
        tun: Tun,
        addresses: Addresses,
    ) -> Result<(), EnterError> {
        let devices = namespace.run_in(|| File::open("/proc/thread-self/net/dev"))?;
        let devices = devices.map_err(|source| EnterError {
            path: "/proc/thread-self/net/dev".into(),
            source,
        })?;
        self.regions.push(Region {
            tun,
            addresses,
            devices,
        });
        Ok(())
    }

    fn region_of(&self, address: IpAddr) -> Option<HostId> {
        let has = |region: &Region| match address {
            IpAddr::V4(address) => region.addresses.v4 == address,
            IpAddr::V6(address) => region.addresses.v6 == address,
        };
        let index = self.regions.iter().position(has)?;
        u32::try_from(index).ok().map(HostId)
    }
}

impl Ports for Forwarder {
    type Packet = Bytes;

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.regions
            .iter()
            .map(|region| region.tun.as_fd())
            .collect()
    }

    fn receive(
        &mut self,
        index: usize,
        drops: &mut OwnDrops,
        mut take: impl FnMut(Arrived<Bytes>),
    ) -> io::Result<()> {
        let from = HostId(u32::try_from(index).expect("an index of a region"));
        for _ in 0..BATCH {
            let bytes = match self.regions[index].tun.recv(&mut self.buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let packet = &self.buffer[..bytes];
            // Multicast, such as a system's own search for routers, is for nobody here.
            let to = addresses(packet).and_then(|(_, to)| self.region_of(to));
            let Some(to) = to.filter(|to| *to != from) else {
                drops.add(OwnDrop::NoHost, 1);
                continue;
            };
            take(Arrived {
                from,
                to,
                bytes,
                packet: Bytes::copy_from_slice(packet),
            });
        }
        Ok(())
    }

    fn send(
        &mut self,
        deliveries: &mut Vec<Delivery<Bytes>>,
        drops: &mut OwnDrops,
        mut sent: impl FnMut(&Delivery<Bytes>),
    ) {
        for delivery in deliveries.drain(..) {
            let tun = &self.regions[delivery.to.0 as usize].tun;
            let taken = match delivery.corruption {
                None => tun.send(&delivery.payload),
                Some(corruption) => {
                    // Not the header: where it led is decided.
                    let mut packet = delivery.payload.to_vec();
                    let payload = payload_offset(&packet);
                    corruption.flip(&mut packet[payload..]);
                    tun.send(&packet)
                }
            };
            match taken {
                Ok(_) => sent(&delivery),
                Err(_) => drops.add(OwnDrop::Unsent, 1),
            }
        }
    }

    fn unread(&mut self) -> u64 {
        self.regions
            .iter()
            .map(|region| unread(&region.devices))
            .sum()
    }
}

/// Packets that the kernel dropped because the device's queue was full.
fn unread(devices: &File) -> u64 {
    let mut text = vec![0; 8 * 1_024];
    let bytes = devices.read_at(&mut text, 0).unwrap_or(0);
    dropped_in(&String::from_utf8_lossy(&text[..bytes]))
}

/// What our device dropped of what it was to send, from a table as in `/proc/net/dev`.
fn dropped_in(table: &str) -> u64 {
    let figures = table.lines().find_map(|line| {
        let (name, figures) = line.split_once(':')?;
        (name.trim() == DEVICE).then_some(figures)
    });
    let dropped = figures.and_then(|figures| figures.split_whitespace().nth(DROPPED_COLUMN));
    dropped
        .and_then(|dropped| dropped.parse().ok())
        .unwrap_or(0)
}

/// Packets that are read at one go from one region, so that none waits long for the others.
const BATCH: usize = 64;
/// More than any MTU that a device can have.
const MAX_PACKET_BYTES: usize = 65_536;
/// Eight columns of what was received; then bytes, packets and errors.
const DROPPED_COLUMN: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_our_device_on_its_way_out() {
        let table = "\
            Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:     1       2    3    4    5     6          7         8        9       10   11   12    0     0       0          0\n\
            netem0:     1       2    3    4    5     6          7         8        9       10   11   13    0     0       0          0\n";
        assert_eq!(dropped_in(table), 13);
        assert_eq!(dropped_in("netem0:"), 0);
        assert_eq!(dropped_in(""), 0);
    }
}
