//! Everything that a node counts, as handles made once.

use router::{
    choice,
    gossip::Farewell,
    health::{Reason, Way},
    outlier,
};

use crate::{
    adverts::AdvertRefusedReason,
    code::{CloseCode, RefuseCode},
    deadline::SendError,
    id::NodeId,
    identity::PeerError,
    policies::PolicyRefusedReason,
    tcp::splice::SpliceError,
    telemetry::{Counter, CounterBy, Label, Metrics},
    wire::{FrameErrorReason, HeaderErrorReason, PieceErrorReason},
};

/// Declares a closed list of words to count by.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

labels! {
    /// Why a packet was dropped on this node.
    PacketDrop {
        /// Its next region has had what it may have.
        Capped = "capped",
        /// More came while their flow was opened than are held.
        HeldFull = "held_full",
        /// The link closed under it.
        LinkClosed = "link_closed",
        /// It would visit a node twice.
        Loop = "loop",
        /// It has hops to go, and there is no usable link to the next.
        NoLink = "no_link",
        /// The local socket failed.
        LocalError = "local_error",
        /// The local program does not read.
        LocalFull = "local_full",
        /// No local program is there.
        LocalRefused = "local_refused",
        /// It came to a service's socket from somebody else.
        NotFromService = "not_from_service",
        /// Its flow is not one of its link.
        NotOfLink = "not_of_link",
        /// Its flow could not be opened in time.
        NotOpened = "not_opened",
        /// The far end refused its flow.
        FlowRefused = "flow_refused",
        /// It is larger than is carried.
        TooLarge = "too_large",
        /// The listen has as many flows as it may.
        TooManyFlows = "too_many_flows",
        /// The link's queue is full.
        QueueFull = "queue_full",
        /// No flow of that number is open.
        UnknownFlow = "unknown_flow",
    }
}

labels! {
    /// Why a frame or a stream of other nodes was not carried on.
    ForwardRefusal {
        /// It would visit a node twice.
        Loop = "loop",
        /// There is no usable link to the next node.
        NoLink = "no_link",
        /// The last node that it names as passed is not the one that it came from.
        NotFromSender = "not_from_sender",
        /// It has passed more nodes than an answer could go back along.
        TooLong = "too_long",
    }
}

labels! {
    /// Why a peer is thought of otherwise than before: the kinds of [`Reason`].
    ConditionReason {
        /// Replies came.
        Answered = "answered",
        /// Queues stand on the way in.
        DelayedIn = "delayed_in",
        /// Queues stand on the way out.
        DelayedOut = "delayed_out",
        /// Queues stand on the way there and back.
        DelayedRound = "delayed_round",
        /// A reply is late.
        Late = "late",
        /// The first link.
        Linked = "linked",
        /// Too much is lost on the way in.
        LossyIn = "lossy_in",
        /// Too much is lost on the way out.
        LossyOut = "lossy_out",
        /// Too many probes are lost.
        LossyRound = "lossy_round",
        /// There is no link.
        NoLink = "no_link",
        /// What was wrong is over.
        Recovered = "recovered",
        /// The link is down.
        Silent = "silent",
        /// Confirming probes were not answered either.
        Unanswered = "unanswered",
    }
}

impl From<Reason> for ConditionReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Answered => Self::Answered,
            Reason::Delayed(Way::In) => Self::DelayedIn,
            Reason::Delayed(Way::Out) => Self::DelayedOut,
            Reason::Delayed(Way::Round) => Self::DelayedRound,
            Reason::Late => Self::Late,
            Reason::Linked => Self::Linked,
            Reason::Lossy(Way::In) => Self::LossyIn,
            Reason::Lossy(Way::Out) => Self::LossyOut,
            Reason::Lossy(Way::Round) => Self::LossyRound,
            Reason::NoLink => Self::NoLink,
            Reason::Recovered => Self::Recovered,
            Reason::Silent => Self::Silent,
            Reason::Unanswered => Self::Unanswered,
        }
    }
}

labels! {
    /// What became of a peer's report of what arrived.
    ReportEnd {
        /// It cannot be true.
        Impossible = "impossible",
        /// It was taken in.
        Taken = "taken",
    }
}

labels! {
    /// How a TCP stream ended.
    StreamEnd {
        /// Both halves in order.
        Complete = "complete",
        /// The link broke, or the far end.
        LinkBroke = "link_broke",
        /// The local program broke off.
        LocalBroke = "local_broke",
        /// The node is ending.
        Shutdown = "shutdown",
        /// A side took nothing for too long.
        Stalled = "stalled",
    }
}

labels! {
    /// Why a peer's certificate did not pass: the kinds of [`PeerError`].
    PeerErrorKind {
        /// The chain is too long.
        ChainTooLong = "chain_too_long",
        /// Past its end.
        Expired = "expired",
        /// More than one URI name.
        ManyNames = "many_names",
        /// None at all.
        NoCertificate = "no_certificate",
        /// No URI name.
        NoName = "no_name",
        /// The URI name is not of a node's form.
        NotANode = "not_a_node",
        /// Before its begin.
        NotYetValid = "not_yet_valid",
        /// Another reason of the chain check.
        Rejected = "rejected",
        /// Not signed by a CA of the bundle.
        UnknownIssuer = "unknown_issuer",
        /// Cannot be read.
        Unreadable = "unreadable",
        /// Of another node than was dialed.
        WrongName = "wrong_name",
        /// Of another trust domain.
        WrongTrustDomain = "wrong_trust_domain",
        /// Not for what a node does.
        WrongUsage = "wrong_usage",
    }
}

impl From<&PeerError> for PeerErrorKind {
    fn from(error: &PeerError) -> Self {
        match error {
            PeerError::ChainTooLong { .. } => Self::ChainTooLong,
            PeerError::Expired { .. } => Self::Expired,
            PeerError::ManyNames { .. } => Self::ManyNames,
            PeerError::NoCertificate => Self::NoCertificate,
            PeerError::NoName => Self::NoName,
            PeerError::NotANode { .. } => Self::NotANode,
            PeerError::NotYetValid { .. } => Self::NotYetValid,
            PeerError::Rejected { .. } => Self::Rejected,
            PeerError::UnknownIssuer => Self::UnknownIssuer,
            PeerError::Unreadable { .. } => Self::Unreadable,
            PeerError::WrongName { .. } => Self::WrongName,
            PeerError::WrongTrustDomain { .. } => Self::WrongTrustDomain,
            PeerError::WrongUsage { .. } => Self::WrongUsage,
        }
    }
}

impl From<&SpliceError> for StreamEnd {
    fn from(error: &SpliceError) -> Self {
        match error {
            SpliceError::LocalRead(_) | SpliceError::LocalWrite(_) => Self::LocalBroke,
            SpliceError::LocalStalled | SpliceError::Send(SendError::TimedOut) => Self::Stalled,
            SpliceError::Receive(_) | SpliceError::Send(_) => Self::LinkBroke,
            SpliceError::Shutdown => Self::Shutdown,
        }
    }
}

labels! {
    /// Why a node is to get nothing new: the kinds of [`outlier::Reason`].
    EjectionReason {
        /// Too many failures in a row.
        Run = "run",
        /// Far below the others of its region.
        Share = "share",
        /// Far below the others, as most of its peers see it.
        Votes = "votes",
    }
}

impl From<outlier::Reason> for EjectionReason {
    fn from(reason: outlier::Reason) -> Self {
        match reason {
            outlier::Reason::Run => Self::Run,
            outlier::Reason::Share => Self::Share,
            outlier::Reason::Votes => Self::Votes,
        }
    }
}

labels! {
    /// Why traffic took another path: the reasons of the router's choice.
    MoveReason {
        /// The overlay path is better by the margin.
        Better = "better",
        /// The direct path is as good as any again.
        DirectWell = "direct_well",
        /// The path in use came to pass through a node that drains.
        Draining = "draining",
        /// There was none before.
        Found = "found",
        /// The path in use cannot be used any more.
        Lost = "lost",
        /// The path in use was a last resort, and this one is not.
        Sounder = "sounder",
        /// The path in use became suspect.
        Suspect = "suspect",
    }
}

impl From<choice::Reason> for MoveReason {
    fn from(reason: choice::Reason) -> Self {
        match reason {
            choice::Reason::Better => Self::Better,
            choice::Reason::DirectWell => Self::DirectWell,
            choice::Reason::Draining => Self::Draining,
            choice::Reason::Found => Self::Found,
            choice::Reason::Lost => Self::Lost,
            choice::Reason::Sounder => Self::Sounder,
            choice::Reason::Suspect => Self::Suspect,
        }
    }
}

labels! {
    /// Why a node is not in the mesh any more.
    GoneReason {
        /// Nothing was heard of it for as long as that is believed to be chance.
        Expired = "expired",
        /// It said so.
        Left = "left",
    }
}

impl From<Farewell> for GoneReason {
    fn from(farewell: Farewell) -> Self {
        match farewell {
            Farewell::Expired => Self::Expired,
            Farewell::Left => Self::Left,
        }
    }
}

labels! {
    /// What became of an inbound connection.
    InboundEnd {
        /// No Hello by the deadline.
        Deadline = "deadline",
        /// It became a link.
        Established = "established",
        /// TLS failed; `relay.peer.refused` has the reasons that are about certificates.
        Handshake = "handshake",
        /// Two names with one key.
        KeyCollision = "key_collision",
        /// Hello could not be read.
        Malformed = "malformed",
        /// The node dialed itself.
        Myself = "myself",
        /// No protocol in common.
        NoCommonProtocol = "no_common_protocol",
        /// Turned away: as many handshakes are under way as may.
        Cap = "cap",
        /// Turned away: its source starts too many.
        Rate = "rate",
        /// Had to prove its address first.
        Retry = "retry",
        /// The certificate does not pass any more.
        Untrusted = "untrusted",
        /// Hello and certificate name different nodes.
        WrongName = "wrong_name",
    }
}

/// Everything that a node counts.
#[derive(Debug)]
pub struct Counts {
    /// Figures in adverts that no network can have.
    pub adverts_adjusted: Counter,
    /// Adverts that did not pass.
    pub adverts_refused: CounterBy<AdvertRefusedReason>,
    /// Adverts that were not asked for.
    pub adverts_unasked: Counter,
    /// Changes of what is thought of peers.
    pub conditions: CounterBy<ConditionReason>,
    /// Dials that were started.
    pub dials: Counter,
    /// Dials that came to nothing.
    pub dials_failed: Counter,
    /// Declarations of services that were not what the peer held.
    pub declarations_differed: Counter,
    /// Nodes that are to get nothing new for a while.
    pub ejections: CounterBy<EjectionReason>,
    /// Flows that a peer opened and that were accepted.
    pub flows_accepted: Counter,
    /// Frames and streams of other nodes that were not carried on.
    pub forward_refused: CounterBy<ForwardRefusal>,
    /// Frames of other nodes that were carried on.
    pub frames_forwarded: Counter,
    /// Control frames that found their queue full.
    pub frames_dropped: Counter,
    /// Control frames that closed their link.
    pub frames_refused: CounterBy<FrameErrorReason>,
    /// Control frames of a type that this build does not know.
    pub frames_skipped: Counter,
    /// Gossip of the mesh that found its queue full.
    pub gossip_dropped: Counter,
    /// Datagrams whose header could not be read.
    pub headers_refused: CounterBy<HeaderErrorReason>,
    /// Inbound connections.
    pub inbound: CounterBy<InboundEnd>,
    /// Links that ended.
    pub links_closed: CounterBy<CloseCode>,
    /// Links that were to be replaced because their congestion window had collapsed.
    pub links_renewed: Counter,
    /// Local TCP connections that found no way to their service.
    pub opens_failed: Counter,
    /// Streams and flows that a peer asked for and did not get.
    pub opens_refused: CounterBy<RefuseCode>,
    /// Packets given to local programs.
    pub packets_delivered: Counter,
    /// Packets that were dropped.
    pub packets_dropped: CounterBy<PacketDrop>,
    /// Datagrams of other nodes' packets that were carried on.
    pub packets_forwarded: Counter,
    /// Packets that a node on the way could not carry on in one piece.
    pub packets_too_large: Counter,
    /// Packets taken from local programs.
    pub packets_taken: Counter,
    /// Peers whose certificate did not pass, on either side.
    pub peers_refused: CounterBy<PeerErrorKind>,
    /// Pieces of packets that were dropped.
    pub pieces_refused: CounterBy<PieceErrorReason>,
    /// Policies of the fleet that were not taken.
    pub policies_refused: CounterBy<PolicyRefusedReason>,
    /// Probes of the request loop that found it busy.
    pub probes_dropped: Counter,
    /// Probe replies that found their judge busy.
    pub replies_dropped: Counter,
    /// Reports of what arrived at peers.
    pub reports: CounterBy<ReportEnd>,
    /// TCP streams by how they ended.
    pub streams_ended: CounterBy<StreamEnd>,
    /// Streams between other nodes by how they ended.
    pub streams_forwarded: CounterBy<StreamEnd>,
    /// Bytes of streams between other nodes.
    pub stream_bytes_forwarded: Counter,
    /// Bytes of TCP streams, from local programs to links.
    pub stream_bytes_in: Counter,
    /// Bytes of TCP streams, from links to local programs.
    pub stream_bytes_out: Counter,
    /// Nodes in whose name two processes seemed to speak.
    pub nodes_contested: Counter,
    /// Times that this node suspected itself.
    pub nodes_doubted: Counter,
    /// Nodes that are not in the mesh any more.
    pub nodes_gone: CounterBy<GoneReason>,
    /// Traffic that took another path.
    pub route_moves: CounterBy<MoveReason>,
    /// Streams that a peer opened without a readable `Open`.
    pub streams_unread: Counter,
}

impl Counts {
    /// Registers every instrument once.
    pub fn new(metrics: &Metrics) -> Self {
        let m = metrics;
        Self {
            adverts_adjusted: m.counter(
                "relay.advert.adjusted",
                "{figure}",
                "Figures in adverts that no network can have, taken for the nearest that one can",
            ),
            adverts_refused: m.counter_by(
                "relay.advert.refused",
                "{advert}",
                "reason",
                "Adverts that did not pass",
            ),
            adverts_unasked: m.counter(
                "relay.advert.unasked",
                "{advert}",
                "Adverts that were not asked for",
            ),
            conditions: m.counter_by(
                "relay.peer.condition_changed",
                "{change}",
                "reason",
                "Changes of what is thought of peers",
            ),
            dials: m.counter("relay.dial.started", "{dial}", "Dials that were started"),
            dials_failed: m.counter("relay.dial.failed", "{dial}", "Dials that came to nothing"),
            declarations_differed: m.counter(
                "relay.service.differed",
                "{declaration}",
                "Digests that did not match what was held, after which services are declared again",
            ),
            ejections: m.counter_by(
                "relay.node.ejected",
                "{ejection}",
                "reason",
                "Times that a node failed what it was asked, so that nothing new went there",
            ),
            flows_accepted: m.counter("relay.flow.accepted", "{flow}", "Flows opened by peers"),
            forward_refused: m.counter_by(
                "relay.forward.refused",
                "{request}",
                "reason",
                "Control frames and streams of other nodes that were not carried on",
            ),
            frames_forwarded: m.counter(
                "relay.frame.forwarded",
                "{frame}",
                "Control frames of other nodes that were carried on",
            ),
            frames_dropped: m.counter(
                "relay.frame.dropped",
                "{frame}",
                "Control frames that found their queue full",
            ),
            frames_refused: m.counter_by(
                "relay.frame.refused",
                "{frame}",
                "reason",
                "Control frames that closed their link",
            ),
            frames_skipped: m.counter(
                "relay.frame.skipped",
                "{frame}",
                "Control frames of an unknown type",
            ),
            gossip_dropped: m.counter(
                "relay.gossip.dropped",
                "{frame}",
                "Gossip of the mesh that found the router's queue full",
            ),
            headers_refused: m.counter_by(
                "relay.datagram.refused",
                "{datagram}",
                "reason",
                "Datagrams whose header could not be read",
            ),
            inbound: m.counter_by(
                "relay.inbound.ended",
                "{connection}",
                "outcome",
                "Inbound connections by what became of them",
            ),
            links_closed: m.counter_by("relay.link.closed", "{link}", "code", "Links that ended"),
            links_renewed: m.counter(
                "relay.link.renewed",
                "{link}",
                "Links that were to be replaced because their congestion window had collapsed",
            ),
            opens_failed: m.counter(
                "relay.stream.open_failed",
                "{stream}",
                "Local TCP connections that were reset because their service was not reached",
            ),
            opens_refused: m.counter_by(
                "relay.open.refused",
                "{request}",
                "code",
                "Streams and flows that peers asked for and did not get",
            ),
            packets_delivered: m.counter(
                "relay.packet.delivered",
                "{packet}",
                "Packets given to local programs",
            ),
            packets_dropped: m.counter_by(
                "relay.packet.dropped",
                "{packet}",
                "reason",
                "Packets dropped on this node",
            ),
            packets_forwarded: m.counter(
                "relay.packet.forwarded",
                "{datagram}",
                "Datagrams of packets between other nodes that were carried on",
            ),
            packets_too_large: m.counter(
                "relay.packet.too_large_ahead",
                "{packet}",
                "Packets that a node on the way found too large for the next link",
            ),
            packets_taken: m.counter(
                "relay.packet.taken",
                "{packet}",
                "Packets taken from local programs",
            ),
            peers_refused: m.counter_by(
                "relay.peer.refused",
                "{handshake}",
                "reason",
                "Peers whose certificate did not pass",
            ),
            pieces_refused: m.counter_by(
                "relay.piece.refused",
                "{piece}",
                "reason",
                "Pieces of split packets that were dropped",
            ),
            policies_refused: m.counter_by(
                "relay.policy.refused",
                "{policy}",
                "reason",
                "Policies of the fleet that were not taken",
            ),
            probes_dropped: m.counter(
                "relay.probe.dropped",
                "{probe}",
                "Probes of the request loop that found it busy",
            ),
            replies_dropped: m.counter(
                "relay.probe.reply_dropped",
                "{reply}",
                "Probe replies that found their judge busy",
            ),
            nodes_contested: m.counter(
                "relay.node.contested",
                "{node}",
                "Times that two processes were found to speak in one node's name",
            ),
            nodes_doubted: m.counter(
                "relay.node.doubted",
                "{doubt}",
                "Times that this node lost many links at once and suspected itself",
            ),
            nodes_gone: m.counter_by(
                "relay.node.gone",
                "{node}",
                "reason",
                "Nodes that are not in the mesh any more",
            ),
            route_moves: m.counter_by(
                "relay.route.moved",
                "{move}",
                "reason",
                "Times that traffic for a node took another path",
            ),
            reports: m.counter_by(
                "relay.link.report",
                "{report}",
                "outcome",
                "Reports by peers of what arrived there",
            ),
            streams_ended: m.counter_by(
                "relay.stream.ended",
                "{stream}",
                "outcome",
                "TCP streams by how they ended",
            ),
            streams_forwarded: m.counter_by(
                "relay.forward.ended",
                "{stream}",
                "outcome",
                "Streams between other nodes by how they ended",
            ),
            stream_bytes_forwarded: m.counter(
                "relay.stream.forwarded",
                "By",
                "Bytes of streams between other nodes, both ways",
            ),
            stream_bytes_in: m.counter(
                "relay.stream.taken",
                "By",
                "Bytes of TCP streams taken from local programs",
            ),
            stream_bytes_out: m.counter(
                "relay.stream.delivered",
                "By",
                "Bytes of TCP streams given to local programs",
            ),
            streams_unread: m.counter(
                "relay.stream.unread",
                "{stream}",
                "Streams opened by peers without a readable Open",
            ),
        }
    }

    /// Counts a packet that is dropped.
    pub fn drop_packet(&self, why: PacketDrop) {
        self.packets_dropped.incr(why);
    }

    /// Counts a TCP stream that has ended, and tells the operator if it did not end in order.
    pub(crate) fn spliced(&self, ended: Result<(), SpliceError>, service: &str, peer: &NodeId) {
        let outcome = match &ended {
            Ok(()) => StreamEnd::Complete,
            Err(error) => StreamEnd::from(error),
        };
        self.streams_ended.incr(outcome);
        if let Err(error) = ended {
            tracing::debug!(%error, service, %peer, "TCP stream broke");
        }
    }
}
