//! The loop of the real-time backends: one thread, one wait, timers finer than a millisecond.

use std::{io, os::fd::BorrowedFd, time::Instant};

use rustix::event::{PollFd, PollFlags};

use crate::{
    clock,
    control::{Command, Interest, Server},
    emulator::Emulator,
    engine::{Delivery, HostId},
    report::{OwnDrop, OwnDrops, Report},
};

pub use self::wait::idle_timer;
pub(crate) use self::wait::{be_precise, pause, wait};

#[cfg(test)]
mod tests;
mod wait;

/// Where packets come from and go to.
pub trait Ports {
    /// What is carried.
    type Packet: Clone;

    /// What to wait on; the index of each is what [`Self::receive`] is called with.
    fn sources(&self) -> Vec<BorrowedFd<'_>>;

    /// Reads some packets from the source at `index` and gives each to `take`: few enough that the
    /// other sources have their turn.
    ///
    /// Losses that no model means are counted in `drops`.
    ///
    /// # Errors
    /// Only what the backend cannot go on after.
    fn receive(
        &mut self,
        index: usize,
        drops: &mut OwnDrops,
        take: impl FnMut(Arrived<Self::Packet>),
    ) -> io::Result<()>;

    /// Hands packets over and empties `deliveries`; never waits. Those of one pair stay in order.
    ///
    /// Tells `sent` of each packet as soon as it has left; not of one that the system did not take.
    fn send(
        &mut self,
        deliveries: &mut Vec<Delivery<Self::Packet>>,
        drops: &mut OwnDrops,
        sent: impl FnMut(&Delivery<Self::Packet>),
    );

    /// How many packets the system dropped before they were read, since the start.
    fn unread(&mut self) -> u64;
}

/// A packet that was read from a source.
#[derive(Debug)]
pub struct Arrived<P> {
    /// Who sent it.
    pub from: HostId,
    /// Whom it is for.
    pub to: HostId,
    /// Of the IP packet.
    pub bytes: usize,
    /// What is carried.
    pub packet: P,
}

/// Carries packets until `stop` is readable or [`Command::Stop`] comes; says what was done.
///
/// # Errors
/// What the ports cannot go on after.
pub fn run<P: Ports>(
    ports: &mut P,
    emulator: &mut Emulator<P::Packet>,
    mut control: Option<Server>,
    stop: BorrowedFd<'_>,
) -> io::Result<Report> {
    be_precise()?;
    let mut due = Vec::new();
    let mut is_over = false;
    while !is_over {
        let ready = next_ready(ports, control.as_ref(), stop, emulator.poll_timeout())?;
        // What is read or due in this turn, is as of now.
        let now = clock::now();
        is_over = ready.stop;
        if ready.control
            && let Some(server) = &mut control
        {
            server.serve(|command| {
                is_over |= command == Command::Stop;
                if command == Command::Show {
                    emulator.own_drops.set(OwnDrop::Unread, ports.unread());
                }
                emulator.handle_command(now, &command)
            });
        }
        let mut drops = OwnDrops::default();
        for index in ready.ports {
            ports.receive(index, &mut drops, |arrived| {
                let Arrived {
                    from,
                    to,
                    bytes,
                    packet,
                } = arrived;
                emulator.handle_packet(now, from, to, bytes, packet);
            })?;
        }
        // All of it before anything is read again: what is read faster than it is handed over
        // would fill the emulator, and not the system's queues, where it shows as unread.
        loop {
            while due.len() < MAX_DUE
                && let Some(delivery) = emulator.poll_delivery(now)
            {
                due.push(delivery);
            }
            if due.is_empty() {
                break;
            }
            // The clock once more for each: what is sent first must not count as late as the last.
            ports.send(&mut due, &mut drops, |delivery| {
                emulator.on_handed_over(clock::now(), delivery.deadline);
            });
        }
        emulator.own_drops.absorb(&drops);
    }
    emulator.own_drops.set(OwnDrop::Unread, ports.unread());
    Ok(emulator.report(clock::now()))
}

/// What a turn has to look at.
struct Ready {
    stop: bool,
    control: bool,
    ports: Vec<usize>,
}

/// The only wait.
fn next_ready<P: Ports>(
    ports: &P,
    control: Option<&Server>,
    stop: BorrowedFd<'_>,
    until: Option<Instant>,
) -> io::Result<Ready> {
    let reads = |source| PollFd::from_borrowed_fd(source, PollFlags::IN);
    let mut waits = vec![reads(stop)];
    let controls = control.into_iter().flat_map(Server::sources);
    waits.extend(controls.map(|(source, interest)| {
        let flags = match interest {
            Interest::Read => PollFlags::IN,
            Interest::ReadAndWrite => PollFlags::IN | PollFlags::OUT,
            Interest::Write => PollFlags::OUT,
        };
        PollFd::from_borrowed_fd(source, flags)
    }));
    let first_port = waits.len();
    waits.extend(ports.sources().into_iter().map(reads));
    wait(&mut waits, until)?;
    let is_ready = |wait: &PollFd<'_>| !wait.revents().is_empty();
    Ok(Ready {
        stop: is_ready(&waits[0]),
        control: waits[1..first_port].iter().any(is_ready),
        ports: waits[first_port..]
            .iter()
            .enumerate()
            .filter(|(_, wait)| is_ready(wait))
            .map(|(index, _)| index)
            .collect(),
    })
}

/// Packets that are handed over at one go, so that they share few calls of the system.
const MAX_DUE: usize = 256;
