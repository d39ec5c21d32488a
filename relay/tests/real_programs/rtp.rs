//! An RTP stream from one ffmpeg to another, counted on both sides of the mesh.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use causeway::clock;
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

/// What is sent, and what is to be seen of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Show {
    /// How long the sender sends.
    pub(crate) seconds: u32,
    /// Frames that the receiver has to decode, of 30 in a second.
    pub(crate) frames: u32,
    pub(crate) on_error: OnError,
}

/// What the receiver does with a stream that has errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It fails.
    Fail,
    /// It decodes what it can.
    Conceal,
}

/// What crossed.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// What ffmpeg handed to the listen, by RTP sequence number.
    packets: BTreeMap<u16, Packet>,
    /// Frames that the receiving ffmpeg decoded.
    pub(crate) frames_decoded: u32,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    sent: Instant,
    /// When it was first at the service.
    arrived: Option<Instant>,
}

impl Crossing {
    /// RTP packets that ffmpeg handed to the listen.
    pub(crate) fn sent(&self) -> usize {
        self.packets.len()
    }

    /// Those that did not arrive at the service.
    pub(crate) fn lost(&self) -> usize {
        self.lost_among(|_| true)
    }

    /// As [`Crossing::lost`], of those that were sent between two moments.
    pub(crate) fn lost_between(&self, from: Instant, to: Instant) -> usize {
        self.lost_among(|sent| (from..to).contains(&sent))
    }

    /// Those that arrived between two moments.
    pub(crate) fn arrived_between(&self, from: Instant, to: Instant) -> usize {
        let arrived = self.packets.values().filter_map(|packet| packet.arrived);
        arrived.filter(|at| (from..to).contains(at)).count()
    }

    /// The longest time without an arrival that began between two moments.
    pub(crate) fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let arrived = self.packets.values().filter_map(|packet| packet.arrived);
        let mut arrived: Vec<Instant> = arrived.collect();
        arrived.sort_unstable();
        let gaps = arrived.windows(2);
        let gaps = gaps.filter(|pair| (from..to).contains(&pair[0]));
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    fn lost_among(&self, of: impl Fn(Instant) -> bool) -> usize {
        let lost = |packet: &&Packet| packet.arrived.is_none() && of(packet.sent);
        self.packets.values().filter(lost).count()
    }
}

/// Sends RTP to the listen at `near`; the service is at `far`, and this binds it.
///
/// Both ends are counted by a tap before the mesh and one behind it, by RTP sequence number.
pub(crate) async fn cross(near: SocketAddr, far: SocketAddr, show: Show) -> Crossing {
    let tap = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has free ports");
    let service = UdpSocket::bind(far).await.expect("the port was found free");
    let player_port = even_port_pair();

    let frames = show.frames.to_string();
    let errors: &[&str] = match show.on_error {
        OnError::Fail => &["-loglevel", "error", "-xerror"],
        OnError::Conceal => &["-loglevel", "fatal"],
    };
    let watch = [
        "-i",
        &format!("rtp://127.0.0.1:{player_port}"),
        "-map",
        "0:v",
        "-frames:v",
        &frames,
        "-f",
        "null",
        "-",
    ];
    let mut player = spawn(&[errors, &watch].concat());
    let sender_to = format!(
        "rtp://127.0.0.1:{}?pkt_size=1200",
        tap.local_addr().unwrap().port()
    );
    let mut sender = spawn(&[
        "-loglevel",
        "error",
        "-xerror",
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=640x360:rate=30",
        "-t",
        &show.seconds.to_string(),
        "-c:v",
        "mpeg2video",
        "-g",
        "15",
        "-b:v",
        "2M",
        "-f",
        "rtp_mpegts",
        &sender_to,
    ]);

    let mut packets: BTreeMap<u16, Packet> = BTreeMap::new();
    let mut arrived = 0;
    let (mut before, mut behind) = ([0; 2_048], [0; 2_048]);
    let player_at = SocketAddr::from(([127, 0, 0, 1], player_port));
    let mut ended: Option<ExitStatus> = None;
    let mut lost_at = clock::now();
    loop {
        tokio::select! {
            biased;
            Ok((length, _)) = service.recv_from(&mut behind) => {
                if let Some(packet) = packets.get_mut(&sequence(&behind[..length]))
                    && packet.arrived.is_none()
                {
                    packet.arrived = Some(clock::now());
                    arrived += 1;
                }
                // The player closes its port when it has its frames; that is no loss of ours.
                let _ = service.send_to(&behind[..length], player_at).await;
            }
            Ok((length, _)) = tap.recv_from(&mut before) => {
                let packet = Packet { sent: clock::now(), arrived: None };
                packets.insert(sequence(&before[..length]), packet);
                tap.send_to(&before[..length], near).await.expect("the listen is bound");
            }
            status = sender.wait(), if ended.is_none() => {
                ended = Some(status.expect("a child can be waited for"));
                lost_at = clock::now() + LOST_AFTER;
            }
            () = tokio::time::sleep_until(lost_at.into()), if ended.is_some() => break,
        }
        if ended.is_some() && arrived == packets.len() {
            break;
        }
    }
    assert!(
        ended.is_some_and(|status| status.success()),
        "the sending ffmpeg failed"
    );
    let decoded = timeout(Duration::from_secs(10), player.wait()).await;
    let decoded = decoded
        .expect("the player ends when it has its frames")
        .expect("it can be waited for");
    Crossing {
        packets,
        frames_decoded: if decoded.success() { show.frames } else { 0 },
    }
}

/// The sequence number of an RTP packet. ffmpeg starts below 4,096, so that it does not wrap within
/// the five minutes that 2 Mbit/s take for the rest.
fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// What is still under way this long after the sender has ended is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

fn spawn(arguments: &[&str]) -> Child {
    Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("ffmpeg is installed")
}

/// RTP takes an even port and the one above it for RTCP.
fn even_port_pair() -> u16 {
    for _ in 0..256 {
        let port = super::fleet::free_both().port();
        if port.is_multiple_of(2) && super::fleet::free_both().port() == port + 1 {
            return port;
        }
    }
    panic!("no pair of ports is free");
}
