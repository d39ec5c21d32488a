//! An RTP stream from one ffmpeg to another, counted on both sides of the mesh.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

/// Frames that the receiver has to decode; the sender sends a second more.
pub(crate) const FRAMES: u32 = 90;

/// What is still under way this long after the sender has ended is lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// What crossed.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// RTP packets that ffmpeg handed to the listen.
    pub(crate) sent: usize,
    /// Those of them that arrived at the service.
    pub(crate) arrived: usize,
    /// Frames that the receiving ffmpeg decoded without an error.
    pub(crate) frames_decoded: u32,
}

impl Crossing {
    /// Packets that were sent and did not arrive.
    pub(crate) fn lost(&self) -> usize {
        self.sent - self.arrived
    }
}

/// Sends RTP to the listen at `near`; the service is at `far`, and this binds it.
///
/// Both ends are counted by a tap before the mesh and one behind it, by RTP sequence number.
pub(crate) async fn cross(near: SocketAddr, far: SocketAddr) -> Crossing {
    let tap = UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("loopback has free ports");
    let service = UdpSocket::bind(far).await.expect("the port was found free");
    let player_port = even_port_pair();

    let mut player = spawn(&[
        "-i",
        &format!("rtp://127.0.0.1:{player_port}"),
        "-map",
        "0:v",
        "-frames:v",
        &FRAMES.to_string(),
        "-f",
        "null",
        "-",
    ]);
    let sender_to = format!(
        "rtp://127.0.0.1:{}?pkt_size=1200",
        tap.local_addr().unwrap().port()
    );
    let mut sender = spawn(&[
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=640x360:rate=30",
        "-t",
        "5",
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

    let (mut sent, mut arrived) = (BTreeSet::new(), BTreeSet::new());
    let (mut before, mut behind) = ([0; 2_048], [0; 2_048]);
    let player_at = SocketAddr::from(([127, 0, 0, 1], player_port));
    let mut ended: Option<ExitStatus> = None;
    let mut lost_at = causeway::clock::now();
    loop {
        tokio::select! {
            biased;
            Ok((length, _)) = service.recv_from(&mut behind) => {
                arrived.insert(sequence(&behind[..length]));
                // The player closes its port when it has its frames; that is no loss of ours.
                let _ = service.send_to(&behind[..length], player_at).await;
            }
            Ok((length, _)) = tap.recv_from(&mut before) => {
                sent.insert(sequence(&before[..length]));
                tap.send_to(&before[..length], near).await.expect("the listen is bound");
            }
            status = sender.wait(), if ended.is_none() => {
                ended = Some(status.expect("a child can be waited for"));
                lost_at = causeway::clock::now() + LOST_AFTER;
            }
            () = tokio::time::sleep_until(lost_at.into()), if ended.is_some() => break,
        }
        if ended.is_some() && arrived.len() == sent.len() {
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
        sent: sent.len(),
        arrived: arrived.intersection(&sent).count(),
        frames_decoded: if decoded.success() { FRAMES } else { 0 },
    }
}

/// The extended key of an RTP packet: its sequence number, which does not wrap in five seconds.
fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-loglevel", "error", "-xerror"])
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
