//! The control task of a link: frames from the peer, probes, and what the keeper must know.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use router::{
    liveness::{Liveness, Loop, Output},
    window::{ArrivalReport, Loss},
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Sleep, sleep_until, timeout_at},
};
use tokio_util::sync::WaitForCancellationFuture;

use super::{
    Link,
    frames::{FrameReader, ReadFrameError},
    outgoing::Outgoing,
    probes::{ProbesIn, ProbesOut},
    relayed,
};
use crate::{
    clock,
    code::CloseCode,
    counts::ReportEnd,
    deadline::{Closed, ReadError},
    mesh::Mesh,
    navigator::NavigatorEvent,
    peer::{LinkEvent, Measure, PeerEvent},
    routes::Way,
    tasks::{Task, Wait},
    udp::{FlowAnswer, service},
    wire::{
        Datagram, Direction, FlowId, Frame, FrameErrorReason, Probe, RemainingHops, ServicesDecl,
        ServicesDigest,
    },
};

/// Owns the liveness of one link.
pub(super) struct Control {
    pub(super) mesh: Arc<Mesh>,
    pub(super) link: Arc<Link>,
    pub(super) frames: FrameReader,
    pub(super) liveness: Liveness,
    /// Ids of replies to probes of the packet loop.
    pub(super) replies: ProbesOut,
    /// Ids of the peer's probes of the request loop.
    pub(super) probes: ProbesIn,
    /// What became of packets to the peer.
    pub(super) outgoing: Outgoing,
    /// What became of probes, as far as the keeper has not heard of it.
    pub(super) probed: Probed,
    /// How long this process stood still, if the keeper has not heard of it.
    pub(super) stalled: Option<Duration>,
    /// The keeper of the peer.
    pub(super) keeper: mpsc::Sender<PeerEvent>,
    pub(super) next_digest: Instant,
    /// Frames handled since the timer was last looked at.
    pub(super) frames_in_row: usize,
    /// Whether the keeper knows that the link has ended.
    pub(super) told: bool,
}

/// Results of probes on their way to the keeper.
#[derive(Debug, Default)]
pub(super) struct Probed {
    loss: Loss,
    /// The last round trip of the packet loop.
    round_trip: Option<Duration>,
}

enum Wake {
    Frame(Result<Option<Frame>, ReadFrameError>),
    Reply(u64),
    Stop,
    Timer,
}

impl Control {
    /// Runs until the link's end, and tells the keeper about it.
    pub(super) async fn run(mut self: Box<Self>, task: Task) {
        self.declare_services();
        // Both are kept from turn to turn: there are a dozen in a second on a link that is idle.
        let mut stop = pin!(task.stopping());
        let mut timer = pin!(sleep_until(self.next_timeout().into()));
        loop {
            let wake = self.next_wake(&task, stop.as_mut(), timer.as_mut()).await;
            let now = clock::now();
            let ended = match wake {
                Wake::Stop => Err(Ended::Stopping),
                Wake::Reply(id) => {
                    self.liveness.handle_reply(now, Loop::Packet, id);
                    Ok(())
                }
                Wake::Timer => {
                    self.handle_timeout(now);
                    Ok(())
                }
                Wake::Frame(frame) => {
                    self.frames_in_row += 1;
                    // Frames go before the timer, since replies are among them. A peer that floods
                    // this node with them is judged all the same.
                    if self.frames_in_row >= FRAMES_IN_ROW {
                        self.handle_timeout(now);
                    }
                    self.handle_read(now, frame).await
                }
            };
            self.perform_outputs(now).await;
            match ended {
                Ok(()) => {}
                Err(Ended::Stopping | Ended::Lost) => break,
                Err(Ended::Misbehaved(why)) => {
                    self.link.close(CloseCode::Malformed, &why);
                    break;
                }
            }
        }
        // Its owner closes the link before or right after it stops this task; until then the stream
        // is held, since letting go of it would tell the peer something else.
        task.waits(Wait::Close);
        let by = clock::now() + CLOSED_WITHIN;
        if let Ok(cause) = timeout_at(by.into(), self.link.connection.closed()).await {
            self.link.set_ended();
            self.tell(LinkEvent::Closed(cause)).await;
            self.told = true;
        }
    }

    /// - `stop`: has not resolved yet.
    async fn next_wake(
        &mut self,
        task: &Task,
        stop: Pin<&mut WaitForCancellationFuture<'_>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Wake {
        task.waits(Wait::Reply);
        clock::arm(timer.as_mut(), Some(self.next_timeout()));
        tokio::select! {
            biased;
            () = stop => Wake::Stop,
            id = self.replies.next() => Wake::Reply(id),
            frame = self.frames.next() => Wake::Frame(frame),
            () = timer => Wake::Timer,
        }
    }

    fn next_timeout(&self) -> Instant {
        let probe = self.liveness.poll_timeout();
        probe.map_or(self.next_digest, |at| at.min(self.next_digest))
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.frames_in_row = 0;
        let (due, voided) = (self.liveness.poll_timeout(), self.liveness.voided());
        self.liveness.handle_timeout(now);
        if self.liveness.voided() > voided {
            self.stalled = due.map(|due| now.saturating_duration_since(due));
        }
        if now >= self.next_digest {
            self.next_digest = now + DIGEST_EVERY;
            let digest = self.mesh.exposed.declared_to(&self.link.peer).digest();
            self.link.send_frame(Frame::ServicesDigest(digest));
        }
    }

    async fn handle_read(
        &mut self,
        now: Instant,
        read: Result<Option<Frame>, ReadFrameError>,
    ) -> Result<(), Ended> {
        match read {
            Ok(Some(frame)) => self.handle_frame(now, frame).await,
            Ok(None) => Err(Ended::Misbehaved("the control stream ended".into())),
            Err(ReadFrameError::Frame(error)) => {
                self.mesh.counts.frames_refused.incr(error.reason());
                Err(Ended::Misbehaved(error.to_string()))
            }
            Err(ReadFrameError::Read(ReadError::Closed(_))) => Err(Ended::Lost),
            // The connection is there, its control stream is not: nothing would judge the link.
            Err(error @ (ReadFrameError::Ended | ReadFrameError::Read(_))) => {
                Err(Ended::Misbehaved(error.to_string()))
            }
        }
    }

    async fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), Ended> {
        match frame {
            Frame::Promote { epoch } => self.tell(LinkEvent::Promote(epoch)).await,
            Frame::Promoted { epoch } => self.tell(LinkEvent::Promoted(epoch)).await,
            // A full queue is a request loop that does not work; silence is what says so.
            Frame::Probe { id } => {
                if !self.probes.push(id) {
                    self.mesh.counts.probes_dropped.incr();
                }
            }
            Frame::ProbeReply { id } => self.liveness.handle_reply(now, Loop::Request, id),
            Frame::Services(declared) => self.take_services(declared),
            Frame::ServicesDigest(digest) => self.compare_services(digest),
            Frame::ServicesWanted { .. } => self.declare_services(),
            Frame::OpenFlow(open) => {
                let (link, flow) = (&self.link, self.flow_of_peer(open.flow));
                let way = Way::direct(link.clone());
                service::open(&self.mesh, way, &link.peer, flow, &open);
            }
            Frame::FlowAccepted { flow } => self.tell_flow(flow, FlowAnswer::Accepted),
            Frame::FlowRefused { flow, code, .. } => {
                self.tell_flow(flow, FlowAnswer::Refused(code));
            }
            Frame::Relayed(relayed) => relayed::handle(&self.mesh, &self.link, *relayed),
            frame @ (Frame::Advert { .. }
            | Frame::AdvertOffer(_)
            | Frame::AdvertRequest(_)
            | Frame::AdvertDigest(_)
            | Frame::Policy { .. }
            | Frame::PolicyDigest { .. }) => self.gossip(frame),
            Frame::LinkReport(report) => self.handle_report(&report).await,
            Frame::CloseFlow {
                flow,
                direction: Direction::Forward,
                ..
            } => {
                service::close(&self.mesh, self.flow_of_peer(flow));
            }
            // The far end has lost a flow of ours: it is opened again with its next packet.
            Frame::CloseFlow {
                flow,
                direction: Direction::Back,
                ..
            } => {
                self.tell_flow(flow, FlowAnswer::Closed);
            }
            Frame::Unknown { .. } => self.mesh.counts.frames_skipped.incr(),
            // These belong on other streams, or before everything else.
            Frame::Hello(_) | Frame::Open(_) | Frame::Accept { .. } | Frame::Refuse { .. } => {
                let refused = &self.mesh.counts.frames_refused;
                refused.incr(FrameErrorReason::OutOfPlace);
                return Err(Ended::Misbehaved("a frame out of place".into()));
            }
        }
        Ok(())
    }

    /// What is dropped here is found by the next digest; an error otherwise means that the router has
    /// ended, and the link will with it.
    fn gossip(&self, frame: Frame) {
        let from = self.link.peer_key;
        let told = self
            .mesh
            .navigator
            .try_send(NavigatorEvent::Gossip { from, frame });
        if let Err(TrySendError::Full(_)) = told {
            self.mesh.counts.gossip_dropped.incr();
        }
    }

    async fn handle_report(&mut self, report: &ArrivalReport) {
        let (numbered, dropped) = (self.link.numbered(), self.link.outbox.counts().dropped());
        let loss = self.outgoing.handle_report(report, numbered, dropped);
        let Some(loss) = loss else {
            return self.mesh.counts.reports.incr(ReportEnd::Impossible);
        };
        self.mesh.counts.reports.incr(ReportEnd::Taken);
        let measure = Measure::Sent {
            loss,
            delay: report.variation.map(|(least, _)| least),
            jitter: report.jitter,
        };
        self.tell(LinkEvent::Measured(measure)).await;
    }

    /// A flow that the peer numbers `number`.
    fn flow_of_peer(&self, number: u32) -> FlowId {
        FlowId {
            ingress: self.link.peer_key,
            generation: self.link.peer_generation,
            number,
        }
    }

    fn tell_flow(&self, flow: u32, answer: FlowAnswer) {
        self.link.tell_flow(flow, RemainingHops::NONE, answer);
    }

    /// The link knows what was declared on it, the peer what was declared on any.
    fn take_services(&self, declared: ServicesDecl) {
        let declared = Arc::new(declared);
        self.link.set_declared(declared.clone());
        if let Some(peer) = self.mesh.links.snapshot().get(&self.link.peer_key) {
            peer.keep_declared(self.link.peer_generation, declared);
        }
    }

    /// Asks for a new declaration where what is held is not what the peer believes to have said.
    fn compare_services(&self, theirs: ServicesDigest) {
        let held = self.link.declared().digest();
        if held != theirs {
            self.mesh.counts.declarations_differed.incr();
            self.link.send_frame(Frame::ServicesWanted {
                have_version: held.version,
            });
        }
    }

    fn declare_services(&self) {
        self.link.send_frame(Frame::Services(
            self.mesh.exposed.declared_to(&self.link.peer),
        ));
    }

    async fn perform_outputs(&mut self, now: Instant) {
        // First, since what follows is to be judged by it.
        if let Some(stalled) = self.stalled.take() {
            self.tell(LinkEvent::Stalled(stalled)).await;
        }
        while let Some(output) = self.liveness.poll_output() {
            match output {
                Output::SendProbe {
                    r#loop: Loop::Packet,
                    id,
                } => {
                    let sent_us = self.mesh.micros(now);
                    self.link
                        .send_probe(&Datagram::Probe(Probe { id, sent_us }));
                }
                Output::SendProbe {
                    r#loop: Loop::Request,
                    id,
                } => {
                    self.link.send_frame(Frame::Probe { id });
                }
                Output::StateChanged { to, .. } => {
                    self.link.set_health(to);
                    self.tell(LinkEvent::Health(to)).await;
                }
                Output::Silent => self.tell(LinkEvent::Silent).await,
                Output::Probed(_, loss) => {
                    self.probed.loss.delivered += loss.delivered;
                    self.probed.loss.lost += loss.lost;
                }
                Output::RoundTrip(Loop::Packet, round_trip) => {
                    self.probed.round_trip = Some(round_trip);
                }
                // It is that of a stream, which QUIC repairs.
                Output::RoundTrip(Loop::Request, _) => {}
            }
        }
        self.link.set_srtt(self.liveness.srtt());
        self.tell_probed().await;
    }

    /// What is no news of its own waits for the packet loop's next reply: the keeper of an idle
    /// link is woken for half of the probes.
    async fn tell_probed(&mut self) {
        if self.probed.round_trip.is_none() && self.probed.loss.lost == 0 {
            return;
        }
        let Probed { loss, round_trip } = std::mem::take(&mut self.probed);
        let measure = Measure::Probed {
            loss,
            round_trip,
            srtt: self.liveness.srtt(),
        };
        self.tell(LinkEvent::Measured(measure)).await;
    }

    /// The keeper takes its events at once and never waits for a link, so this does not wait long.
    async fn tell(&self, event: LinkEvent) {
        let event = PeerEvent::Link(Box::new((self.link.generation, event)));
        // An error means that the keeper has ended, and the link will with it.
        let _ = self.keeper.send(event).await;
    }
}

impl Drop for Control {
    /// A task that ends in another way, by a panic of its own, leaves no link behind that nobody
    /// judges.
    fn drop(&mut self) {
        if !self.told {
            let code = match std::thread::panicking() {
                true => CloseCode::Overloaded,
                false => CloseCode::Shutdown,
            };
            self.link.close(code, "the control task has ended");
            let event = LinkEvent::Closed(Closed::Here);
            let event = PeerEvent::Link(Box::new((self.link.generation, event)));
            // A keeper without room for it, or that has ended, finds the link closed.
            let _ = self.keeper.try_send(event);
        }
    }
}

/// Why the control task is through with the link.
enum Ended {
    Lost,
    Misbehaved(String),
    Stopping,
}

/// A declaration that was lost is noticed within this time.
pub(super) const DIGEST_EVERY: Duration = Duration::from_secs(10);
/// As many as one read brings at most.
const FRAMES_IN_ROW: usize = 64;
/// A link whose control task has ended is closed in the same moment.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
