//! Decides which inbound handshakes a worker takes on, before anything about the peer is known.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Limits of [`Admission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdmissionLimits {
    /// Handshakes that one source may start each second, in the long run.
    pub(crate) per_source_per_s: u32,
    /// Handshakes that one source may start at once.
    pub(crate) per_source_burst: u32,
    /// Handshakes under way that have not said Hello; above it new ones are ignored.
    pub(crate) unauthenticated: usize,
    /// From this many on, a source has to prove its address first (QUIC Retry).
    pub(crate) retry_above: usize,
}

/// Admits inbound handshakes: a rate for each source, a proof of address under load, and a cap on
/// those that have not authenticated.
///
/// An address that is not proven can be anybody's, so a flood of forged ones must cost no memory:
/// under load they are answered with Retry, which needs none, and only proven ones are counted.
/// IPv6 sources are counted by /64, which is what one host is given.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: AdmissionLimits,
    sources: BTreeMap<IpAddr, Bucket>,
    unauthenticated: usize,
}

#[derive(Debug)]
struct Bucket {
    /// When the bucket would be full again; the past means that it is.
    full_at: Instant,
}

/// What to do with an inbound handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Take it on; [`Admission::handle_settled`] must follow when it has said Hello or failed.
    Accept,
    /// Drop it without an answer.
    Ignore(Turned),
    /// Have it prove its address.
    Retry,
}

/// Why an inbound handshake was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Too many handshakes are under way.
    Cap,
    /// The source starts too many.
    Rate,
}

impl Admission {
    /// Starts with nothing under way.
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            sources: BTreeMap::new(),
            unauthenticated: 0,
        }
    }

    /// Decides about one inbound handshake.
    ///
    /// - `validated`: the source has proven its address with a Retry token.
    pub(crate) fn handle_incoming(
        &mut self,
        now: Instant,
        source: IpAddr,
        validated: bool,
    ) -> Admit {
        if self.unauthenticated >= self.limits.unauthenticated {
            return Admit::Ignore(Turned::Cap);
        }
        let source = counted_as(source);
        let no_room = self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source);
        if !validated && (self.unauthenticated >= self.limits.retry_above || no_room) {
            return Admit::Retry;
        }
        if no_room {
            self.sources.retain(|_, bucket| bucket.full_at > now);
            if self.sources.len() >= MAX_SOURCES {
                return Admit::Ignore(Turned::Rate);
            }
        }
        if !self.charge(now, source) {
            return Admit::Ignore(Turned::Rate);
        }
        self.unauthenticated += 1;
        Admit::Accept
    }

    /// An accepted handshake has said Hello, or failed.
    pub(crate) fn handle_settled(&mut self) {
        debug_assert!(
            self.unauthenticated > 0,
            "settled more handshakes than were accepted"
        );
        self.unauthenticated = self.unauthenticated.saturating_sub(1);
    }

    /// Handshakes under way.
    #[cfg(test)]
    pub(crate) fn unauthenticated(&self) -> usize {
        self.unauthenticated
    }

    /// Takes one token of a bucket that is kept as the time at which it is full again.
    fn charge(&mut self, now: Instant, source: IpAddr) -> bool {
        let token = Duration::from_secs(1) / self.limits.per_source_per_s.max(1);
        let bucket = self
            .sources
            .entry(source)
            .or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + token;
        if full_at > now + token * self.limits.per_source_burst {
            return false;
        }
        bucket.full_at = full_at;
        true
    }
}

fn counted_as(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = v6.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        v4 => v4,
    }
}

/// About 400 kB; a mesh has hundreds of nodes, the rest is a flood.
const MAX_SOURCES: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        per_source_per_s: 10,
        per_source_burst: 3,
        unauthenticated: 8,
        retry_above: 4,
    };

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary origin for virtual time"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn source_over_its_burst_is_ignored_until_a_token_is_back() {
        let mut admission = Admission::new(LIMITS);
        let now = origin();
        for _ in 0..3 {
            assert_eq!(
                admission.handle_incoming(now, source(1), false),
                Admit::Accept
            );
            admission.handle_settled();
        }
        let ignored = Admit::Ignore(Turned::Rate);
        assert_eq!(admission.handle_incoming(now, source(1), false), ignored);
        // Another source is not made to wait for it.
        assert_eq!(
            admission.handle_incoming(now, source(2), false),
            Admit::Accept
        );
        let token = Duration::from_millis(100);
        let early = now + token - Duration::from_nanos(1);
        assert_eq!(admission.handle_incoming(early, source(1), false), ignored);
        assert_eq!(
            admission.handle_incoming(now + token, source(1), false),
            Admit::Accept
        );
    }

    #[test]
    fn load_asks_for_proof_and_the_cap_holds_even_with_it() {
        let mut admission = Admission::new(LIMITS);
        let now = origin();
        for number in 0..4 {
            assert_eq!(
                admission.handle_incoming(now, source(number), false),
                Admit::Accept
            );
        }
        assert_eq!(
            admission.handle_incoming(now, source(4), false),
            Admit::Retry
        );
        for number in 4..8 {
            assert_eq!(
                admission.handle_incoming(now, source(number), true),
                Admit::Accept
            );
        }
        assert_eq!(admission.unauthenticated(), 8);
        assert_eq!(
            admission.handle_incoming(now, source(9), true),
            Admit::Ignore(Turned::Cap)
        );
        admission.handle_settled();
        assert_eq!(
            admission.handle_incoming(now, source(9), true),
            Admit::Accept
        );
    }

    #[test]
    fn forged_sources_cost_bounded_memory() {
        let mut admission = Admission::new(LIMITS);
        let now = origin();
        for number in 0..100_000 {
            if admission.handle_incoming(now, source(number), false) == Admit::Accept {
                admission.handle_settled();
            }
        }
        assert_eq!(admission.sources.len(), MAX_SOURCES);
        // Who proves its address gets in as soon as somebody's bucket is full again.
        let later = now + Duration::from_secs(1);
        assert_eq!(
            admission.handle_incoming(later, source(200_000), true),
            Admit::Accept
        );
    }

    #[test]
    fn ipv6_hosts_are_counted_by_their_64_bit_prefix() {
        let mut admission = Admission::new(LIMITS);
        let now = origin();
        let address = |host: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host));
        for host in 0..3 {
            assert_eq!(
                admission.handle_incoming(now, address(host), false),
                Admit::Accept
            );
        }
        let fourth = admission.handle_incoming(now, address(3), false);
        assert_eq!(fourth, Admit::Ignore(Turned::Rate));
    }
}
