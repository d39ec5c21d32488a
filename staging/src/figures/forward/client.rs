//! The program at both ends of a way: sends packets at a rate, and hears when they arrive.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use causeway::clock;
use rustix::net::sockopt;

use crate::fleet::ports::ANY_PORT;

/// What is sent in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Packets a second.
    pub(super) rate: u32,
    /// Bytes of each packet.
    pub(super) bytes: usize,
    /// How long it is sent before anything is measured.
    pub(super) warm_up: Duration,
    /// How long it is measured.
    pub(super) window: Duration,
}

/// What came of a [`Load`], of the packets of its window alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// How many were sent.
    pub(super) sent: u64,
    /// How many a second: less than was asked for, if this machine could not.
    pub(super) rate: f64,
    /// How many arrived.
    pub(super) received: u64,
    /// What was used on the way from the begin of the window until the last had arrived.
    pub(super) used: Duration,
    /// Half of the packets were not longer on their way.
    pub(super) p50: Duration,
    /// All but one in a hundred were not longer on their way.
    pub(super) p99: Duration,
}

/// Both ends of one way, on one clock.
#[derive(Debug)]
pub(super) struct Client {
    out: UdpSocket,
    back: UdpSocket,
    origin: Instant,
    /// Tells packets of one load from stray ones of those before.
    load: u32,
}

impl Client {
    /// Binds both sockets.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn new() -> io::Result<Self> {
        let (out, back) = (UdpSocket::bind(ANY_PORT)?, UdpSocket::bind(ANY_PORT)?);
        // Whatever the kernel grants: this program must not be where packets are lost.
        sockopt::set_socket_recv_buffer_size(&back, BUFFER_BYTES)?;
        sockopt::set_socket_send_buffer_size(&out, BUFFER_BYTES)?;
        back.set_read_timeout(Some(SILENCE))?;
        Ok(Self {
            out,
            back,
            origin: clock::now(),
            load: 0,
        })
    }

    /// Where packets must arrive in the end.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn destination(&self) -> io::Result<SocketAddr> {
        self.back.local_addr()
    }

    /// Sends to `first` from now on, as soon as something arrives from there.
    ///
    /// # Errors
    /// Nothing has arrived for [`OPEN_WITHIN`].
    pub(super) fn connect(&mut self, first: SocketAddr) -> anyhow::Result<()> {
        self.out.connect(first)?;
        let by = clock::now() + OPEN_WITHIN;
        let mut buffer = [0; MAX_BYTES];
        loop {
            // Refused until somebody listens there.
            let _ = self.out.send(&[0; HEADER_BYTES]);
            if self.back.recv(&mut buffer).is_ok() {
                return Ok(());
            }
            ensure!(clock::now() < by, "no packet arrives through {first}");
        }
    }

    /// Sends a load, and waits for what arrives of it.
    ///
    /// - `used`: what the way has used so far; asked at the begin of the window and after the end.
    ///
    /// # Errors
    /// A socket failed, or `used`.
    pub(super) fn carry(
        &mut self,
        load: Load,
        mut used: impl FnMut() -> io::Result<Duration>,
    ) -> anyhow::Result<Heard> {
        self.load += 1;
        let packets = |time: Duration| (time.as_secs_f64() * f64::from(load.rate)).ceil() as u32;
        let first = packets(load.warm_up);
        let total = first + packets(load.window).max(1);
        let done = AtomicBool::new(false);
        let this = &*self;
        let (sent, listened) = thread::scope(|scope| {
            let listener = scope.spawn(|| this.listen(first, total, &done));
            let sent = this.send(load, first, total, &mut used);
            done.store(true, Ordering::Relaxed);
            (sent, listener.join())
        });
        let (before, rate) = sent?;
        let mut latencies = listened.map_err(|_| anyhow::anyhow!("the listener panicked"))??;
        let used = used()?.saturating_sub(before);
        latencies.sort_unstable();
        let quantile = |share: usize| {
            let at = latencies.len() * share / 100;
            latencies.get(at).copied().unwrap_or_default()
        };
        Ok(Heard {
            sent: u64::from(total - first),
            rate,
            received: latencies.len() as u64,
            used,
            p50: quantile(50),
            p99: quantile(99),
        })
    }

    /// Sends `total` packets; what was used before packet `first`, and the rate from there on.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, so that no runtime delays what it sends"
    )]
    fn send(
        &self,
        load: Load,
        first: u32,
        total: u32,
        used: &mut impl FnMut() -> io::Result<Duration>,
    ) -> anyhow::Result<(Duration, f64)> {
        let mut packet = vec![0; load.bytes.clamp(HEADER_BYTES, MAX_BYTES)];
        packet[..4].copy_from_slice(&self.load.to_be_bytes());
        let after =
            |packets: u32| Duration::from_secs_f64(f64::from(packets) / f64::from(load.rate));
        let mut began = clock::now();
        let mut before = Duration::ZERO;
        for number in 0..total {
            if number == first {
                before = used()?;
                // What that took is not made up for by a burst.
                began = clock::now() - after(number);
            }
            let due = began + after(number);
            let mut now = clock::now();
            // Several are sent after one sleep if it was longer than asked for.
            while now < due {
                thread::sleep(due - now);
                now = clock::now();
            }
            packet[4..8].copy_from_slice(&number.to_be_bytes());
            packet[8..16].copy_from_slice(&self.nanos(now).to_be_bytes());
            // A refusal is one of the packets before, and shows as loss.
            let _ = self.out.send(&packet);
        }
        let took = clock::now() - (began + after(first));
        let gaps = f64::from((total - first).saturating_sub(1).max(1));
        Ok((
            before,
            (gaps / took.as_secs_f64()).min(f64::from(load.rate)),
        ))
    }

    /// How long each packet from `first` on was on its way, until all or no more arrive.
    fn listen(&self, first: u32, total: u32, done: &AtomicBool) -> io::Result<Vec<Duration>> {
        let mut latencies = Vec::with_capacity((total - first) as usize);
        let mut received = 0;
        let mut buffer = [0; MAX_BYTES];
        while received < total {
            let bytes = match self.back.recv(&mut buffer) {
                Ok(bytes) => bytes,
                Err(error) if is_silence(&error) && done.load(Ordering::Relaxed) => break,
                Err(error) if is_silence(&error) => continue,
                Err(error) => return Err(error),
            };
            let now = self.nanos(clock::now());
            let Some((load, number, sent)) = read(&buffer[..bytes]) else {
                continue;
            };
            if load != self.load {
                continue;
            }
            received += 1;
            if number >= first {
                latencies.push(Duration::from_nanos(now.saturating_sub(sent)));
            }
        }
        Ok(latencies)
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from((now - self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Load, number and send time of a packet.
fn read(packet: &[u8]) -> Option<(u32, u32, u64)> {
    let (load, rest) = packet.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (sent, _) = rest.split_first_chunk()?;
    Some((
        u32::from_be_bytes(*load),
        u32::from_be_bytes(*number),
        u64::from_be_bytes(*sent),
    ))
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

const HEADER_BYTES: usize = 16;
/// The largest packets that are carried.
const MAX_BYTES: usize = 2_048;
const BUFFER_BYTES: usize = 4 << 20;
/// What has not arrived so long after everything else is lost.
const SILENCE: Duration = Duration::from_millis(50);
/// Nodes link up within seconds, on a busy machine too.
pub(super) const OPEN_WITHIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        rate: 2_000,
        bytes: 100,
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(100),
    };

    #[test]
    fn packets_that_arrive_are_counted_without_those_of_the_warm_up() {
        let mut client = Client::new().unwrap();
        client.connect(client.destination().unwrap()).unwrap();
        let mut asked = 0;
        let heard = client.carry(LOAD, || {
            asked += 1;
            Ok(Duration::from_micros(10 * asked))
        });
        let heard = heard.unwrap();
        assert_eq!((heard.sent, heard.received), (200, 200));
        assert_eq!(heard.used, Duration::from_micros(10));
        assert!(heard.p50 > Duration::ZERO && heard.p50 <= heard.p99);
        assert!(heard.rate > 0.0 && heard.rate <= 2_000.0);
    }

    #[test]
    fn packets_that_do_not_arrive_are_missing() {
        let mut client = Client::new().unwrap();
        let nobody = UdpSocket::bind(ANY_PORT).unwrap();
        client.out.connect(nobody.local_addr().unwrap()).unwrap();
        let heard = client.carry(LOAD, || Ok(Duration::ZERO)).unwrap();
        assert_eq!((heard.sent, heard.received), (200, 0));
    }
}
