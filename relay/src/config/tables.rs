//! The numbers of a node: what a whole fleet shares, and what one node's memory bounds.

use std::time::Duration;

use super::document::{Key, Notes, Root, Section, SectionKeys, Shape};

/// What is equal on all nodes of a fleet, and part of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// How fast silence is noticed.
    pub liveness: Liveness,
    /// From the start of a dial to the peer's Hello.
    pub dial_timeout: Duration,
    /// From a dialer's first packet to its Hello.
    pub hello_timeout: Duration,
    /// From a local program's first byte to the far service's answer.
    pub open_timeout: Duration,
    /// How long a stream may take to end in order before it is reset.
    pub close_timeout: Duration,
    /// The longest pause between two dials of a peer.
    pub backoff_max: Duration,
    /// How long a link is up before failures before it are forgotten.
    pub backoff_reset: Duration,
    /// From the order to end until the process is gone.
    pub shutdown_timeout: Duration,
}

/// How fast silence is noticed, and what probing for it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Liveness {
    /// Down within 0.9 s and a round trip.
    #[default]
    Default,
    /// Down within 0.3 s and a round trip, for three times the probes.
    Fast,
}

impl Liveness {
    /// The word for it in the file and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fast => "fast",
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::read_section(&Section::absent(&SHARED, &Notes::new("")))
    }
}

impl Shared {
    pub(super) fn read(root: &Root<'_>) -> Self {
        Self::read_section(&root.section(&SHARED))
    }

    fn read_section(section: &Section<'_>) -> Self {
        let millis = |name| Duration::from_millis(section.number(name));
        let words = [Liveness::Default, Liveness::Fast].map(|mode| (mode.word(), mode));
        Self {
            liveness: section
                .optional("liveness")
                .and_then(|value| value.word(&words))
                .unwrap_or_default(),
            dial_timeout: millis("dial_timeout_ms"),
            hello_timeout: millis("hello_timeout_ms"),
            open_timeout: millis("open_timeout_ms"),
            close_timeout: millis("close_timeout_ms"),
            backoff_max: millis("backoff_max_ms"),
            backoff_reset: millis("backoff_reset_ms"),
            shutdown_timeout: millis("shutdown_timeout_ms"),
        }
    }
}

/// What a node admits and keeps: beyond each of these it refuses or drops, and counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// New connections a second from one source address, after the burst.
    pub connections_per_source_per_s: u32,
    /// New connections at once from one source address.
    pub connections_per_source_burst: u32,
    /// Handshakes under way whose peer has not proved itself.
    pub unauthenticated_handshakes: usize,
    /// Handshakes under way from which on a source must prove its address first (QUIC Retry).
    pub retry_above: usize,
    /// Links, whoever dialed them.
    pub links: usize,
    /// Dials at once to peers that were fine when last seen.
    pub dials: usize,
    /// Dials at once to peers whose last dial failed.
    pub retry_dials: usize,
    /// Connections and streams that are being closed in the background.
    pub closing: usize,
    /// UDP flows of each listen, and of all services together.
    pub udp_flows: usize,
    /// TCP streams of listens and of services.
    pub tcp_streams: usize,
    /// Bits a second that it sends in all, from which on it takes nothing new; 0 for no limit.
    pub rate_bits_per_s: u64,
    /// Bytes that QUIC may buffer for all links together.
    pub link_memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self::read_section(&Section::absent(&LIMITS, &Notes::new("")))
    }
}

impl Limits {
    pub(super) fn read(root: &Root<'_>) -> Self {
        let section = root.section(&LIMITS);
        let limits = Self::read_section(&section);
        let (above, cap) = (limits.retry_above, limits.unauthenticated_handshakes);
        if above > cap {
            // One of them is in the file, since the defaults agree.
            if let Some(value) = section.optional("retry_above") {
                value.refuse(format!(
                    "at most unauthenticated_handshakes, which is {cap}"
                ));
            } else if let Some(value) = section.optional("unauthenticated_handshakes") {
                value.refuse(format!("at least retry_above, which is {above}"));
            }
        }
        limits
    }

    fn read_section(section: &Section<'_>) -> Self {
        let small = |name| u32::try_from(section.number(name)).expect(RANGES_FIT);
        let count = |name| usize::try_from(section.number(name)).expect(RANGES_FIT);
        Self {
            connections_per_source_per_s: small("connections_per_source_per_s"),
            connections_per_source_burst: small("connections_per_source_burst"),
            unauthenticated_handshakes: count("unauthenticated_handshakes"),
            retry_above: count("retry_above"),
            links: count("links"),
            dials: count("dials"),
            retry_dials: count("retry_dials"),
            closing: count("closing"),
            udp_flows: count("udp_flows"),
            tcp_streams: count("tcp_streams"),
            rate_bits_per_s: section.number("rate_mbps") * 1_000_000,
            link_memory_bytes: section.number("link_memory_mb") << 20,
        }
    }
}

const RANGES_FIT: &str = "no range of [limits] exceeds 32 bits";

const fn number(name: &'static str, default: u64, range: (u64, u64), doc: &'static str) -> Key {
    Key {
        name,
        doc,
        value: Shape::Number { default, range },
    }
}

pub(super) static SHARED: SectionKeys = SectionKeys {
    name: "shared",
    repeats: false,
    doc: "Equal on all nodes of a fleet: these keys are part of the release, which status shows.",
    keys: &[
        Key {
            name: "liveness",
            doc: "How fast silence is noticed: \"default\" finds a dead link within 0.9 s and a round\n\
                  trip, \"fast\" within 0.3 s, for three times the probes and more false alarms.",
            value: Shape::Optional(r#""default""#),
        },
        // 4 s is six round trips of the longest distances (300 ms), with the address race and one
        // lost packet's retransmission on top.
        number(
            "dial_timeout_ms",
            4_000,
            (200, 60_000),
            "From the start of a dial to the peer's Hello. Too big: a dial to a dead address holds\n\
             one of `dials` for that long.",
        ),
        number(
            "hello_timeout_ms",
            4_000,
            (200, 60_000),
            "From a dialer's first packet to its Hello. Too big: silent strangers hold places among\n\
             `unauthenticated_handshakes`.",
        ),
        number(
            "open_timeout_ms",
            5_000,
            (200, 60_000),
            "Until the far service has answered a local program; what is left of it travels along.\n\
             Too big: programs wait for services that will not answer.",
        ),
        number(
            "close_timeout_ms",
            2_000,
            (100, 30_000),
            "How long a refused stream may take to hear why before it is reset. Too big: peers that\n\
             do not listen fill `closing`, and the oldest are reset early.",
        ),
        number(
            "backoff_max_ms",
            5_000,
            (100, 60_000),
            "The longest pause between two dials of a peer that fails. Too big: a peer that nobody\n\
             announces comes back that much later.",
        ),
        number(
            "backoff_reset_ms",
            10_000,
            (100, 600_000),
            "How long a link must be up before earlier failures are forgotten. Too big: a single\n\
             loss after a bad hour waits as long as the bad hour did.",
        ),
        number(
            "shutdown_timeout_ms",
            5_000,
            (100, 600_000),
            "From SIGTERM until the process is gone, whatever its peers do. Too big: restarts wait\n\
             for peers that do not answer.",
        ),
    ],
    more: "",
};

pub(super) static LIMITS: SectionKeys = SectionKeys {
    name: "limits",
    repeats: false,
    doc: "What this node admits and keeps. Beyond each it refuses or drops, and counts that.",
    keys: &[
        number(
            "connections_per_source_per_s",
            20,
            (1, 100_000),
            "New connections a second from one source address. Too big: one host can spend this\n\
             node's CPU on handshakes, about 0.25 ms each.",
        ),
        number(
            "connections_per_source_burst",
            100,
            (1, 100_000),
            "New connections at once from one source address, above the rate.",
        ),
        number(
            "unauthenticated_handshakes",
            256,
            (1, 65_536),
            "Handshakes under way whose peer has not proved who it is, 40 KiB each. Further ones\n\
             are refused.",
        ),
        number(
            "retry_above",
            64,
            (0, 65_536),
            "Handshakes under way from which on a source must first prove its address (QUIC Retry),\n\
             which costs it a round trip. Too big: forged sources get further.",
        ),
        number(
            "links",
            128,
            (1, 65_536),
            "Links, whoever dialed them; about 150 kB each while idle, and they share `link_memory_mb`.\n\
             Further ones are refused.",
        ),
        number(
            "dials",
            32,
            (1, 4_096),
            "Dials at once to peers that were fine when last seen. Others wait their turn; a dial\n\
             without an answer for 50 ms gives its place away and goes on.",
        ),
        number(
            "retry_dials",
            256,
            (1, 4_096),
            "Dials at once to peers whose last dial failed, apart from `dials`, so that dead peers\n\
             do not hold up the living.",
        ),
        number(
            "closing",
            1_024,
            (1, 65_536),
            "Streams being closed in the background. Beyond it, the oldest is reset.",
        ),
        number(
            "udp_flows",
            4_096,
            (1, 1_048_576),
            "UDP flows of each listen, one for each client address, and of all services together.\n\
             Further clients are dropped.",
        ),
        number(
            "tcp_streams",
            1_024,
            (1, 1_048_576),
            "TCP streams, those of listens and those of services; one listen, or one peer, holds at\n\
             most as many as are free besides. Further connections are refused.",
        ),
        number(
            "rate_mbps",
            0,
            (0, 1_000_000),
            "Megabits a second that this node sends in all. From there on it takes no new flows and\n\
             streams and says \"retry elsewhere\"; those that it has go on. 0 for no limit.",
        ),
        number(
            "link_memory_mb",
            2_048,
            (64, 1_048_576),
            "MiB that QUIC may buffer for all `links` together. A link's windows are its share of it,\n\
             at most 16 MiB each way, and at least 1 MiB even where that exceeds it: 128 links get\n\
             7 MiB, 200 Mbit/s over 300 ms. Too big: the node holds that much when peers read slowly.",
        ),
    ],
    more: "",
};
