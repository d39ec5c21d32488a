//! One connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use rustls_pki_types::CertificateDer;

use super::{Closed, DatagramError, OpenError, Receiver, Sender, until};
use crate::code::CloseCode;

/// One authenticated connection. Cloning shares it; dropping the last handle, streams included,
/// closes it with code 0, which the peer reads as unknown.
#[derive(Debug, Clone)]
pub struct Connection {
    quinn: quinn::Connection,
    open: Arc<AtomicUsize>,
    endpoint_open: Arc<AtomicUsize>,
}

impl Connection {
    /// - `endpoint_open`: counts the streams of all connections of the endpoint.
    pub(super) fn new(quinn: quinn::Connection, endpoint_open: Arc<AtomicUsize>) -> Self {
        Self {
            quinn,
            open: Arc::default(),
            endpoint_open,
        }
    }

    /// Opens a stream. The peer hears of it with its first bytes.
    ///
    /// # Errors
    /// [`OpenError::TimedOut`] if the peer's limit of streams is reached and stays so.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn open(&self, deadline: Instant) -> Result<(Sender, Receiver), OpenError> {
        let halves = until(deadline, OpenError::TimedOut, async {
            self.quinn
                .open_bi()
                .await
                .map_err(|error| OpenError::Closed(error.into()))
        });
        Ok(self.wrap(halves.await?))
    }

    /// Waits for a stream that the peer opens.
    ///
    /// Has no deadline: the peer need not open any. Streams that came before the connection ended
    /// are still returned.
    ///
    /// # Errors
    /// [`Closed`]: the connection has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn accept_stream(&self) -> Result<(Sender, Receiver), Closed> {
        Ok(self.wrap(self.quinn.accept_bi().await?))
    }

    /// How many streams are open here, whoever opened them: those of which at least one half is
    /// neither dropped nor done. Streams in the reaper count.
    pub fn open_streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Queues `datagram`, waiting for room in the send buffer. Never drops another one for it.
    ///
    /// # Errors
    /// [`DatagramError`]; the datagram is gone.
    ///
    /// # Cancel safety
    /// Cancel safe: until the future resolves, nothing is queued.
    pub async fn send_datagram(
        &self,
        datagram: Bytes,
        deadline: Instant,
    ) -> Result<(), DatagramError> {
        let got_bytes = datagram.len();
        until(deadline, DatagramError::Full, async {
            self.quinn
                .send_datagram_wait(datagram)
                .await
                .map_err(|error| self.datagram_error(error, got_bytes))
        })
        .await
    }

    /// Queues `datagram` if the send buffer has room. Never drops another one for it.
    ///
    /// # Errors
    /// [`DatagramError`]; the datagram is gone.
    pub fn try_send_datagram(&self, datagram: Bytes) -> Result<(), DatagramError> {
        let got_bytes = datagram.len();
        // Polled once: quinn's call without a wait would drop the oldest to make room.
        match self.quinn.send_datagram_wait(datagram).now_or_never() {
            Some(sent) => sent.map_err(|error| self.datagram_error(error, got_bytes)),
            None => Err(DatagramError::Full),
        }
    }

    /// Waits for a datagram of the peer.
    ///
    /// Has no deadline: the peer need not send any. Datagrams that came before the connection ended
    /// are still returned.
    ///
    /// # Errors
    /// [`Closed`]: the connection has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn read_datagram(&self) -> Result<Bytes, Closed> {
        Ok(self.quinn.read_datagram().await?)
    }

    /// Takes a datagram of the peer if one is there.
    ///
    /// # Errors
    /// As [`Self::read_datagram`].
    pub fn try_read_datagram(&self) -> Option<Result<Bytes, Closed>> {
        let read = self.quinn.read_datagram().now_or_never()?;
        Some(read.map_err(Into::into))
    }

    /// The largest datagram that the path carries now, in bytes; `None` if the peer takes none.
    /// Grows as the path is discovered, and shrinks after a black hole.
    pub fn max_datagram_size(&self) -> Option<usize> {
        self.quinn.max_datagram_size()
    }

    /// Room in the datagram send buffer, in bytes.
    pub fn datagram_buffer_space(&self) -> usize {
        self.quinn.datagram_send_buffer_space()
    }

    /// Closes the connection with `code`.
    ///
    /// Never waits; may be repeated, and only the first call counts. Wakes everybody who waits on
    /// the connection or on one of its streams. What was not acknowledged is given up.
    ///
    /// - `reason`: for people, cut to what fits one packet.
    pub fn close(&self, code: CloseCode, reason: &[u8]) {
        // quinn would put this call's reason in the place of why the connection really ended.
        if self.quinn.close_reason().is_none() {
            self.quinn.close(code.number().into(), reason);
        }
    }

    /// Waits until the connection has ended, for whatever reason.
    ///
    /// Has no deadline: a connection may live for ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> Closed {
        self.quinn.closed().await.into()
    }

    /// Why the connection has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<Closed> {
        self.quinn.close_reason().map(Into::into)
    }

    /// The round-trip time, smoothed.
    pub fn rtt(&self) -> Duration {
        self.quinn.rtt()
    }

    /// What the transport has counted and estimates.
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.quinn.stats();
        ConnectionStats {
            black_holes: stats.path.black_holes_detected,
            congestion_events: stats.path.congestion_events,
            congestion_window_bytes: stats.path.cwnd,
            lost_bytes: stats.path.lost_bytes,
            lost_packets: stats.path.lost_packets,
            min_rtt: stats.path.min_rtt,
            mtu_bytes: stats.path.current_mtu,
            received_bytes: stats.udp_rx.bytes,
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            sent_packets: stats.path.sent_packets,
            sent_stream_frames: stats.frame_tx.stream,
        }
    }

    /// Where the peer is.
    pub fn remote_address(&self) -> SocketAddr {
        self.quinn.remote_address()
    }

    /// The peer's certificate chain, its own first; empty if it gave none.
    pub fn peer_chain(&self) -> Vec<CertificateDer<'static>> {
        self.quinn
            .peer_identity()
            .and_then(|identity| identity.downcast().ok())
            .map(|chain| *chain)
            .unwrap_or_default()
    }

    /// Tells the connections of this process apart while they live.
    pub fn stable_id(&self) -> usize {
        self.quinn.stable_id()
    }

    fn wrap(&self, (send, receive): (quinn::SendStream, quinn::RecvStream)) -> (Sender, Receiver) {
        let open = OpenStream::count([&self.open, &self.endpoint_open]);
        (
            Sender::new(send, open.clone()),
            Receiver::new(receive, open),
        )
    }

    fn datagram_error(&self, error: quinn::SendDatagramError, got_bytes: usize) -> DatagramError {
        match error {
            quinn::SendDatagramError::ConnectionLost(error) => DatagramError::Closed(error.into()),
            quinn::SendDatagramError::Disabled | quinn::SendDatagramError::UnsupportedByPeer => {
                DatagramError::Unsupported
            }
            quinn::SendDatagramError::TooLarge => DatagramError::TooLarge {
                got_bytes,
                limit_bytes: self.max_datagram_size().unwrap_or(0),
            },
        }
    }
}

/// What the transport has counted and estimates, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionStats {
    /// How often the path stopped carrying large packets.
    pub black_holes: u64,
    /// How often congestion was seen.
    pub congestion_events: u64,
    /// How many bytes may be in flight.
    pub congestion_window_bytes: u64,
    /// Bytes in packets that were declared lost.
    pub lost_bytes: u64,
    /// Packets that were declared lost.
    pub lost_packets: u64,
    /// The least round-trip time that was seen.
    pub min_rtt: Duration,
    /// The largest UDP payload that the path carries.
    pub mtu_bytes: u16,
    /// Bytes in UDP payloads received.
    pub received_bytes: u64,
    /// The round-trip time, smoothed.
    pub rtt: Duration,
    /// Bytes in UDP payloads sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// STREAM frames sent, those sent again included.
    pub sent_stream_frames: u64,
}

/// Counts a stream as open until both halves have let go of it, for its connection and its endpoint.
#[derive(Debug)]
pub(super) struct OpenStream([Arc<AtomicUsize>; 2]);

impl OpenStream {
    fn count(open: [&Arc<AtomicUsize>; 2]) -> Arc<Self> {
        Arc::new(Self(open.map(|open| {
            open.fetch_add(1, Ordering::Relaxed);
            open.clone()
        })))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        for open in &self.0 {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
