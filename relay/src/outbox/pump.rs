//! The task that moves packets from the queue into the connection.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Class, Shared,
    queue::Queue,
    turn::{Change, Progress, Turn},
};
use crate::{
    clock,
    deadline::{Closed, DatagramError},
    tasks::{Task, Wait},
};

pub(super) struct Pump {
    shared: Arc<Shared>,
    probes: mpsc::Receiver<Bytes>,
    data: mpsc::Receiver<Bytes>,
    queue: Queue,
    turn: Turn,
}

enum Wake {
    Stop,
    Timer,
    Control,
    Packet(Class, Option<Bytes>),
    Room(Class, Result<(), DatagramError>),
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        probes: mpsc::Receiver<Bytes>,
        data: mpsc::Receiver<Bytes>,
    ) -> Self {
        Self {
            shared,
            probes,
            data,
            queue: Queue::default(),
            turn: Turn::new(),
        }
    }

    pub(super) async fn run(mut self: Box<Self>, task: Task) {
        let mut now = clock::now();
        loop {
            task.waits(if self.queue.front(false).is_some() {
                Wait::Room
            } else {
                Wait::Message
            });
            let wake = self.next_wake(now, &task).await;
            now = clock::now();
            let sent = match wake {
                Wake::Stop | Wake::Packet(_, None) => return,
                Wake::Timer => Ok(()),
                Wake::Control => {
                    let target = self.shared.control_target.load(Ordering::Relaxed);
                    self.turn.handle_announcement(now, target);
                    Ok(())
                }
                Wake::Packet(class, Some(packet)) => {
                    self.enqueue(class, packet);
                    Ok(())
                }
                Wake::Room(class, sent) => self.on_sent(class, sent).map(|_| ()),
            };
            self.take_handed_over();
            self.look(now);
            if sent.and_then(|()| self.feed()).is_err() {
                return;
            }
        }
    }

    /// The only wait. `Room` sends the packet whose turn it is; dropped before, it has not.
    async fn next_wake(&mut self, now: Instant, task: &Task) -> Wake {
        let head = self
            .queue
            .front(self.turn.is_holding())
            .map(|(class, packet)| (class, packet.clone()));
        let connection = &self.shared.connection;
        let room = async {
            match head {
                Some((class, packet)) => Wake::Room(
                    class,
                    connection.send_datagram(packet, now + ROOM_WAIT).await,
                ),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = task.stopping() => Wake::Stop,
            _ = connection.closed() => Wake::Stop,
            () = clock::sleep_until(self.turn.poll_timeout()) => Wake::Timer,
            () = self.shared.control.notified() => Wake::Control,
            probe = self.probes.recv() => Wake::Packet(Class::Probe, probe),
            room = room => room,
            packet = self.data.recv() => Wake::Packet(Class::Data, packet),
        }
    }

    fn enqueue(&mut self, class: Class, packet: Bytes) {
        for _ in 0..self.queue.push(class, packet) {
            self.shared.counters.on_pushed_out(class);
            self.left(class);
        }
    }

    /// Takes the rest of the batch, so that a turn is worth its while. Bounded by the channels.
    fn take_handed_over(&mut self) {
        for _ in 0..self.probes.len() {
            if let Ok(probe) = self.probes.try_recv() {
                self.enqueue(Class::Probe, probe);
            }
        }
        for _ in 0..self.data.len() {
            if let Ok(packet) = self.data.try_recv() {
                self.enqueue(Class::Data, packet);
            }
        }
    }

    /// Whether the control stream has had its turn.
    fn look(&mut self, now: Instant) {
        if self.turn.poll_timeout().is_none() {
            return;
        }
        let stats = self.shared.connection.stats();
        let progress = Progress {
            stream_frames: stats.sent_stream_frames,
            dry: self.shared.connection.datagram_buffer_space() >= self.shared.dry_space,
            rtt: stats.rtt,
        };
        let held = match self.turn.handle_progress(now, progress) {
            Change::None => return,
            Change::Held => {
                self.shared.counters.on_hold();
                true
            }
            Change::Released => false,
            Change::GivenUp => {
                self.shared.counters.on_hold_in_vain();
                false
            }
        };
        self.shared.held.store(held, Ordering::Relaxed);
    }

    /// Sends what there is room for.
    fn feed(&mut self) -> Result<(), Closed> {
        while let Some((class, packet)) = self.queue.front(self.turn.is_holding()) {
            let sent = self.shared.connection.try_send_datagram(packet.clone());
            if !self.on_sent(class, sent)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes the first packet of `class` out, unless there was no room for it; whether it did.
    fn on_sent(&mut self, class: Class, sent: Result<(), DatagramError>) -> Result<bool, Closed> {
        match sent {
            Ok(()) => self.shared.counters.on_pumped(class),
            Err(DatagramError::Full) => return Ok(false),
            // It stays in the queue, which the drop counts.
            Err(DatagramError::Closed(closed)) => return Err(closed),
            Err(error @ (DatagramError::TooLarge { .. } | DatagramError::Unsupported)) => {
                self.shared.counters.on_error(&error);
            }
        }
        self.queue.pop(class);
        self.left(class);
        Ok(true)
    }

    /// A packet left the queue, sent or not.
    fn left(&self, class: Class) {
        if class == Class::Data {
            self.shared.backlog.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.probes.close();
        self.data.close();
        self.take_handed_over();
        self.shared.counters.on_closed(self.queue.len() as u64);
        while let Some((class, _)) = self.queue.front(false) {
            self.queue.pop(class);
            self.left(class);
        }
        self.shared.held.store(false, Ordering::Relaxed);
    }
}

/// Only makes the wait for room end; the pump then waits again.
const ROOM_WAIT: Duration = Duration::from_secs(1);
